"""Traced arrays, as the rooms of a trace know them."""

from rushlight.compiler.values import Abstract as Abstract
from rushlight.compiler.values import refuse as refuse

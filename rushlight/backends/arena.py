"""The memory for what eager calls' kernels keep between each other: a thread's piece, valid until the next call."""

from __future__ import annotations

from rushlight.compiler.arena import Arena

#: Apart from the compiled functions' one, which may be in use while an eager call is made.
arena = Arena()

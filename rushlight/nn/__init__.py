"""torch.nn: modules, layers, losses, initialisation. See README.md."""

from rushlight.nn.module import Module
from rushlight.nn.parameter import Buffer, Parameter, UninitializedBuffer, UninitializedParameter

__all__ = ["Buffer", "Module", "Parameter", "UninitializedBuffer", "UninitializedParameter"]

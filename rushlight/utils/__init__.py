"""torch.utils: data loading and checkpointing. See README.md."""

from rushlight.utils import checkpoint as checkpoint
from rushlight.utils import data as data

__all__ = ["checkpoint", "data"]

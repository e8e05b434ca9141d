"""torch.utils: data loading, checkpointing and counting of operations. See README.md."""

from rushlight.utils import checkpoint as checkpoint
from rushlight.utils import data as data
from rushlight.utils import flop_counter as flop_counter

__all__ = ["checkpoint", "data", "flop_counter"]

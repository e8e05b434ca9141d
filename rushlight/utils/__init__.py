"""torch.utils: data loading, checkpointing, DLPack and counting of operations. See README.md."""

from rushlight.utils import checkpoint as checkpoint
from rushlight.utils import data as data
from rushlight.utils import dlpack as dlpack
from rushlight.utils import flop_counter as flop_counter

__all__ = ["checkpoint", "data", "dlpack", "flop_counter"]

"""Where PyTorch keeps what collates, and its table; the code is in `rushlight.utils.data.collate`."""

from rushlight.utils.data.collate import *  # noqa: F403 (a second name for the same module)
from rushlight.utils.data.collate import __all__ as __all__

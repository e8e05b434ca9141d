"""torch.utils.dlpack: memory shared with other libraries."""

from rushlight.tensor.capsules import DLDeviceType
from rushlight.tensor.dlpack import from_dlpack, to_dlpack

__all__ = ["DLDeviceType", "from_dlpack", "to_dlpack"]

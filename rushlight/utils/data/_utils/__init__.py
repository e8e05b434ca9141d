"""PyTorch's places for what programs import from there: `_utils.collate`."""

from rushlight.utils.data._utils import collate as collate

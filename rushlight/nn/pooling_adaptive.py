"""Pooling to a given output size: adaptive and fractional pools, whose windows follow from the input."""

from __future__ import annotations

from typing import Any

from rushlight.nn import functional as F
from rushlight.nn.making import repeated
from rushlight.nn.module import Module
from rushlight.tensor.tensor import Tensor


class _AdaptiveMaxPoolNd(Module):
    """The constructor of the adaptive maximum pools."""

    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__()
        self.output_size = output_size
        self.return_indices = return_indices

    def extra_repr(self) -> str:
        """The size."""
        return f"output_size={self.output_size}"


class AdaptiveMaxPool1d(_AdaptiveMaxPoolNd):
    """Maxima of `output_size` windows that cover the length of (N, C, L)."""

    def forward(self, input: Tensor) -> Any:
        """(N, C, L) to (N, C, output_size)."""
        return F.adaptive_max_pool1d(input, self.output_size, self.return_indices)


class AdaptiveMaxPool2d(_AdaptiveMaxPoolNd):
    """Maxima of windows that cover (N, C, H, W); a size of None is the input's."""

    def forward(self, input: Tensor) -> Any:
        """(N, C, H, W) to (N, C, *output_size)."""
        return F.adaptive_max_pool2d(input, self.output_size, self.return_indices)


class AdaptiveMaxPool3d(_AdaptiveMaxPoolNd):
    """Maxima of windows that cover (N, C, D, H, W); a size of None is the input's."""

    def forward(self, input: Tensor) -> Any:
        """(N, C, D, H, W) to (N, C, *output_size)."""
        return F.adaptive_max_pool3d(input, self.output_size, self.return_indices)


class _AdaptiveAvgPoolNd(Module):
    """The constructor of the adaptive average pools."""

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def extra_repr(self) -> str:
        """The size."""
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_AdaptiveAvgPoolNd):
    """Means of `output_size` windows that cover the length of (N, C, L)."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, L) to (N, C, output_size)."""
        return F.adaptive_avg_pool1d(input, self.output_size)


class AdaptiveAvgPool2d(_AdaptiveAvgPoolNd):
    """Means of windows that cover (N, C, H, W); a size of None is the input's.

    >>> import rushlight
    >>> rushlight.nn.AdaptiveAvgPool2d((5, None))(rushlight.ones(1, 64, 10, 9)).shape
    torch.Size([1, 64, 5, 9])
    """

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, *output_size)."""
        return F.adaptive_avg_pool2d(input, self.output_size)


class AdaptiveAvgPool3d(_AdaptiveAvgPoolNd):
    """Means of windows that cover (N, C, D, H, W); a size of None is the input's."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, D, H, W) to (N, C, *output_size)."""
        return F.adaptive_avg_pool3d(input, self.output_size)


class _FractionalMaxPoolNd(Module):
    """The constructor of the fractional maximum pools: a size, or a ratio of the input's size."""

    _dims: int

    def __init__(
        self,
        kernel_size: Any,
        output_size: Any = None,
        output_ratio: Any = None,
        return_indices: bool = False,
        _random_samples: Tensor | None = None,
    ) -> None:
        super().__init__()
        name, dims = type(self).__name__, self._dims
        self.kernel_size = repeated(kernel_size, dims)
        self.return_indices = return_indices
        self.register_buffer("_random_samples", _random_samples)
        self.output_size = repeated(output_size, dims) if output_size is not None else None
        self.output_ratio = repeated(output_ratio, dims) if output_ratio is not None else None
        if output_size is None and output_ratio is None:
            raise ValueError(
                f"{name} requires specifying either an output size, or a pooling ratio"
            )
        if output_size is not None and output_ratio is not None:
            raise ValueError("only one of output_size and output_ratio may be specified")
        if self.output_ratio is not None and not all(0 < r < 1 for r in self.output_ratio):
            raise ValueError(f"output_ratio must be between 0 and 1 (got {output_ratio})")

    def _pool(self, function: Any, input: Tensor) -> Any:
        return function(
            input, self.kernel_size, self.output_size, self.output_ratio, self.return_indices,
            _random_samples=self._random_samples,
        )  # fmt: skip


class FractionalMaxPool2d(_FractionalMaxPoolNd):
    """Maxima of (N, C, H, W) in windows at random steps. Source: Graham, "Fractional MaxPooling", arXiv 1412.6071."""

    _dims = 2

    def forward(self, input: Tensor) -> Any:
        """(N, C, H, W) to the wanted sizes."""
        return self._pool(F.fractional_max_pool2d, input)


class FractionalMaxPool3d(_FractionalMaxPoolNd):
    """Maxima of (N, C, D, H, W) in windows at random steps. Source: Graham, arXiv 1412.6071."""

    _dims = 3

    def forward(self, input: Tensor) -> Any:
        """(N, C, D, H, W) to the wanted sizes."""
        return self._pool(F.fractional_max_pool3d, input)


__all__ = [
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d", "FractionalMaxPool2d", "FractionalMaxPool3d",
]  # fmt: skip

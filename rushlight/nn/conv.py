"""Convolutions and transposed convolutions over one, two and three dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rushlight.nn import functional as F
from rushlight.nn import init
from rushlight.nn.making import parameter, repeated
from rushlight.nn.module import Module
from rushlight.nn.parameter import Parameter
from rushlight.tensor.tensor import Tensor

_PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class _ConvNd(Module):
    """What all convolutions have: sizes, checks, weights. Subclasses set `_dims` and `forward`."""

    _dims: int
    _transposed = False
    in_channels: int
    out_channels: int
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Any
    dilation: tuple[int, ...]
    transposed: bool
    output_padding: tuple[int, ...]
    groups: int
    padding_mode: str
    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        output_padding: Any,
        groups: int,
        bias: bool,
        padding_mode: str,
        device: Any,
        dtype: Any,
    ) -> None:
        super().__init__()
        dims = self._dims
        if groups <= 0:
            raise ValueError(f"groups must be a positive integer, but got {groups}")
        if in_channels % groups != 0:
            raise ValueError(
                f"in_channels must be divisible by groups: {in_channels} by {groups} is not"
            )
        if out_channels % groups != 0:
            raise ValueError(
                f"out_channels must be divisible by groups: {out_channels} by {groups} is not"
            )
        if padding_mode not in _PADDING_MODES:
            raise ValueError(
                f"padding_mode must be one of {_PADDING_MODES}, but got padding_mode='{padding_mode}'"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = repeated(kernel_size, dims)
        self.stride = repeated(stride, dims)
        self.padding = padding if isinstance(padding, str) else repeated(padding, dims)
        self.dilation = repeated(dilation, dims)
        self.transposed = self._transposed
        self.output_padding = repeated(output_padding, dims)
        self.groups = groups
        self.padding_mode = padding_mode
        self._reversed_padding_repeated_twice = self._padding_of_each_side()
        inner = (
            (in_channels, out_channels // groups)
            if self._transposed
            else (out_channels, in_channels // groups)
        )
        self.weight = parameter(*inner, *self.kernel_size, device=device, dtype=dtype)
        if bias:
            self.bias = parameter(out_channels, device=device, dtype=dtype)
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def _padding_of_each_side(self) -> list[int]:
        """The padding as F.pad takes it: last dimension first, both sides; checks a padding given by name."""
        if not isinstance(self.padding, str):
            return [p for p in reversed(self.padding) for _ in range(2)]
        if self.padding not in ("same", "valid"):
            raise ValueError(
                f"Invalid padding string {self.padding!r}, should be one of 'same', 'valid'"
            )
        if self.padding == "valid":
            return [0] * (2 * self._dims)
        if any(s != 1 for s in self.stride):
            raise ValueError("padding='same' is not supported for strided convolutions")
        sides: list[int] = []
        for k, d in zip(reversed(self.kernel_size), reversed(self.dilation)):
            total = d * (k - 1)
            sides += [total // 2, total - total // 2]
        return sides

    def reset_parameters(self) -> None:
        """Draws weight and bias anew: even in ±1/sqrt(fan_in)."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in, _ = init._calculate_fan_in_and_fan_out(self.weight)
            if fan_in != 0:
                bound = 1 / math.sqrt(fan_in)
                init.uniform_(self.bias, -bound, bound)

    def _convolve(self, function: Any, input: Tensor) -> Tensor:
        """A convolution with padding by zeros, or by `padding_mode` beforehand."""
        if self.padding_mode != "zeros":
            input = F.pad(input, self._reversed_padding_repeated_twice, mode=self.padding_mode)
            return function(  # type: ignore[no-any-return]
                input,
                self.weight,
                self.bias,
                self.stride,
                (0,) * self._dims,
                self.dilation,
                self.groups,
            )
        return function(  # type: ignore[no-any-return]
            input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )

    def extra_repr(self) -> str:
        """Channels, kernel and whatever is not the default."""
        parts = [
            f"{self.in_channels}, {self.out_channels}",
            f"kernel_size={self.kernel_size}, stride={self.stride}",
        ]
        if self.padding != (0,) * len(self.padding):
            parts.append(f"padding={self.padding}")
        if self.dilation != (1,) * len(self.dilation):
            parts.append(f"dilation={self.dilation}")
        if self.output_padding != (0,) * len(self.output_padding):
            parts.append(f"output_padding={self.output_padding}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.bias is None:
            parts.append("bias=False")
        if self.padding_mode != "zeros":
            parts.append(f"padding_mode={self.padding_mode}")
        return ", ".join(parts)


class _Conv(_ConvNd):
    """The constructor that Conv1d, Conv2d and Conv3d share."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, 0, groups, bias, padding_mode, device,
            dtype,
        )  # fmt: skip


class Conv1d(_Conv):
    """Cross-correlates (N, C_in, L) with a kernel of length `kernel_size`: (N, C_out, L_out).

    `padding` is a number, one per dimension, 'valid' or 'same'; `padding_mode` says what stands there.

    >>> import rushlight
    >>> rushlight.nn.Conv1d(16, 33, 3, stride=2)(rushlight.ones(20, 16, 50)).shape
    torch.Size([20, 33, 24])
    """

    _dims = 1

    def forward(self, input: Tensor) -> Tensor:
        """(N, C_in, L) or (C_in, L) to (N, C_out, L_out) or (C_out, L_out)."""
        return self._convolve(F.conv1d, input)


class Conv2d(_Conv):
    """Cross-correlates (N, C_in, H, W) with kernels of `kernel_size`: (N, C_out, H_out, W_out).

    H_out = (H + 2 padding - dilation (kernel - 1) - 1) // stride + 1, and W_out likewise. With `groups` each group
    of outputs sees its own group of inputs. `weight` is (C_out, C_in / groups, kH, kW).

    >>> import rushlight
    >>> rushlight.nn.Conv2d(1, 6, 5, padding=2)(rushlight.ones(64, 1, 28, 28)).shape
    torch.Size([64, 6, 28, 28])
    """

    _dims = 2

    def forward(self, input: Tensor) -> Tensor:
        """(N, C_in, H, W) or (C_in, H, W) to (N, C_out, H_out, W_out) or (C_out, H_out, W_out)."""
        return self._convolve(F.conv2d, input)


class Conv3d(_Conv):
    """Cross-correlates (N, C_in, D, H, W) with kernels of `kernel_size`: (N, C_out, D_out, H_out, W_out)."""

    _dims = 3

    def forward(self, input: Tensor) -> Tensor:
        """(N, C_in, D, H, W) or without N, to the same with C_out and the sizes out."""
        return self._convolve(F.conv3d, input)


class _ConvTransposeNd(_ConvNd):
    """What transposed convolutions share: the constructor, and the padding that a wanted output size needs."""

    _transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if padding_mode != "zeros":
            raise ValueError(
                f'Only "zeros" padding mode is supported for {type(self).__name__}, not "{padding_mode}"'
            )
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, output_padding, groups, bias,
            padding_mode, device, dtype,
        )  # fmt: skip

    def _output_padding(
        self,
        input: Tensor,
        output_size: Sequence[int] | None,
        stride: Sequence[int],
        padding: Sequence[int],
        kernel_size: Sequence[int],
        num_spatial_dims: int,
        dilation: Sequence[int] | None = None,
    ) -> tuple[int, ...]:
        """The output padding that gives `output_size`; ValueError where none in [0, stride) does."""
        if output_size is None:
            return repeated(self.output_padding, num_spatial_dims)
        dims = num_spatial_dims
        leading = input.dim() - dims
        wanted = list(output_size)
        if len(wanted) == leading + dims:
            wanted = wanted[leading:]
        if len(wanted) != dims:
            raise ValueError(
                f"ConvTranspose{dims}D: for {input.dim()}D input, output_size must have {dims} or {leading + dims} "
                f"elements (got {len(output_size)})"
            )
        dilation = dilation or (1,) * dims
        smallest = [
            (input.size(d + leading) - 1) * stride[d]
            - 2 * padding[d]
            + dilation[d] * (kernel_size[d] - 1)
            + 1
            for d in range(dims)
        ]
        largest = [low + s - 1 for low, s in zip(smallest, stride)]
        if any(not low <= n <= high for low, n, high in zip(smallest, wanted, largest)):
            raise ValueError(
                f"requested an output size of {output_size}, but valid sizes range from {smallest} to {largest} "
                f"(for an input of {input.size()[2:]})"
            )
        return tuple(n - low for n, low in zip(wanted, smallest))

    def _convolve_transposed(
        self, function: Any, input: Tensor, output_size: Sequence[int] | None
    ) -> Tensor:
        extra = self._output_padding(
            input,
            output_size,
            self.stride,
            self.padding,
            self.kernel_size,
            self._dims,
            self.dilation,
        )
        return function(  # type: ignore[no-any-return]
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            extra,
            self.groups,
            self.dilation,
        )


class ConvTranspose1d(_ConvTransposeNd):
    """The gradient of a Conv1d as a layer: (N, C_in, L) to (N, C_out, L_out).

    L_out = (L - 1) stride - 2 padding + dilation (kernel - 1) + output_padding + 1.
    """

    _dims = 1

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(N, C_in, L) to (N, C_out, L_out); `output_size` picks among the lengths that are possible."""
        return self._convolve_transposed(F.conv_transpose1d, input, output_size)


class ConvTranspose2d(_ConvTransposeNd):
    """The gradient of a Conv2d as a layer: (N, C_in, H, W) to (N, C_out, H_out, W_out).

    H_out = (H - 1) stride - 2 padding + dilation (kernel - 1) + output_padding + 1, and W_out likewise.
    `weight` is (C_in, C_out / groups, kH, kW).
    """

    _dims = 2

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(N, C_in, H, W) to (N, C_out, H_out, W_out); `output_size` picks among the possible sizes."""
        return self._convolve_transposed(F.conv_transpose2d, input, output_size)


class ConvTranspose3d(_ConvTransposeNd):
    """The gradient of a Conv3d as a layer: (N, C_in, D, H, W) to (N, C_out, D_out, H_out, W_out)."""

    _dims = 3

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(N, C_in, D, H, W) to the sizes out; `output_size` picks among the possible sizes."""
        return self._convolve_transposed(F.conv_transpose3d, input, output_size)


__all__ = [
    "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d", "_ConvNd",
]  # fmt: skip

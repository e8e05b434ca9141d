"""Convolutions: conv1d to conv3d and their transposes, on one primitive and its two adjoints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rushlight.ops.complex_numbers import conjugate
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.reduction import sum
from rushlight.ops.shape import narrow, select, unsqueeze
from rushlight.primitives import convolution as c
from rushlight.primitives import elementwise as p
from rushlight.primitives import structural as s

Sizes = tuple[int, ...]


def sizes(value: Any, rank: int, name: str, what: str) -> Sizes:
    """An int for all dimensions, or one for each."""
    if type(value) is tuple and len(value) == rank and {*map(type, value)} == {int}:
        return value
    if isinstance(value, (tuple, list)):
        if len(value) == 1:
            value = tuple(value) * rank
        if len(value) != rank:
            raise RuntimeError(
                f"{name}: expected {what} to be a single integer value or a list of {rank} values, "
                f"but got {what}={list(value)}"
            )
        return tuple(int(v) for v in value)
    if hasattr(value, "__index__"):
        return (value.__index__(),) * rank
    raise TypeError(
        f"{name}(): argument '{what}' must be tuple of ints, not {type(value).__name__}"
    )


def _with_bias(out: Any, bias: Any) -> Any:
    if bias is None:
        return out
    if bias.shape != (out.shape[1],):
        raise RuntimeError(
            f"Given weight of size with {out.shape[1]} output channels, expected bias to be "
            f"1-dimensional with {out.shape[1]} "
            f"elements, but got bias of size {list(bias.shape)} instead"
        )
    return p.add(out, s.reshape(bias, shape=(out.shape[1], *(1,) * (out.ndim - 2))))


@op(function=False, node="ConvolutionBackward0")
def convolution(
    input: Array,
    weight: Array,
    bias: Array | None,
    stride: Sizes,
    before: Sizes,
    after: Sizes,
    dilation: Sizes,
    groups: int,
) -> Array:
    """Windows of `input` (N, C, ...) times `weight` (O, C / groups, ...), plus `bias` (O)."""
    out = c.convolve(
        input, weight, stride=stride, before=before, after=after, dilation=dilation, groups=groups
    )
    return _with_bias(out, bias)


@convolution.gradient("input")
def convolution_gradient_input(
    grad: Array,
    weight: Array,
    input_shape: Any,
    stride: Any,
    before: Any,
    after: Any,
    dilation: Any,
    groups: int,
) -> Array:
    return convolution_input(
        grad, conjugate(weight), stride, before, after, dilation, groups, tuple(input_shape[2:])
    )


@convolution.gradient("weight")
def convolution_gradient_weight(
    grad: Array,
    input: Array,
    weight_shape: Any,
    stride: Any,
    before: Any,
    after: Any,
    dilation: Any,
    groups: int,
) -> Array:
    return convolution_weight(
        conjugate(input), grad, stride, before, after, dilation, groups, tuple(weight_shape[2:])
    )


@convolution.gradient("bias")
def convolution_gradient_bias(grad: Array) -> Array:
    return sum(grad, (0, *range(2, grad.ndim)))


@op(function=False, node="ConvolutionBackward0")
def convolution_input(
    input: Array,
    weight: Array,
    stride: Sizes,
    before: Sizes,
    after: Sizes,
    dilation: Sizes,
    groups: int,
    size: Sizes,
) -> Array:
    """The adjoint of a convolution in its input: `input` (N, O, ...) back to (N, C, *size)."""
    return c.convolve_input(
        input,
        weight,
        stride=stride,
        before=before,
        after=after,
        dilation=dilation,
        groups=groups,
        size=size,
    )


@convolution_input.gradient("input")
def convolution_input_gradient_input(
    grad: Array, weight: Array, stride: Any, before: Any, after: Any, dilation: Any, groups: int
) -> Array:
    return convolution(grad, conjugate(weight), None, stride, before, after, dilation, groups)


@convolution_input.gradient("weight")
def convolution_input_gradient_weight(
    grad: Array,
    input: Array,
    weight_shape: Any,
    stride: Any,
    before: Any,
    after: Any,
    dilation: Any,
    groups: int,
) -> Array:
    return convolution_weight(
        grad, conjugate(input), stride, before, after, dilation, groups, tuple(weight_shape[2:])
    )


@op(function=False, node="ConvolutionBackward0")
def convolution_weight(
    input: Array,
    other: Array,
    stride: Sizes,
    before: Sizes,
    after: Sizes,
    dilation: Sizes,
    groups: int,
    size: Sizes,
) -> Array:
    """The adjoint of a convolution in its weight, for an input (N, C, ...) and a gradient (N, O, ...)."""
    return c.convolve_weight(
        input,
        other,
        stride=stride,
        before=before,
        after=after,
        dilation=dilation,
        groups=groups,
        size=size,
    )


@convolution_weight.gradient("input")
def convolution_weight_gradient_input(
    grad: Array,
    other: Array,
    input_shape: Any,
    stride: Any,
    before: Any,
    after: Any,
    dilation: Any,
    groups: int,
) -> Array:
    return convolution_input(
        conjugate(other), grad, stride, before, after, dilation, groups, tuple(input_shape[2:])
    )


@convolution_weight.gradient("other")
def convolution_weight_gradient_other(
    grad: Array, input: Array, stride: Any, before: Any, after: Any, dilation: Any, groups: int
) -> Array:
    return convolution(conjugate(input), grad, None, stride, before, after, dilation, groups)


_PLAIN = ((1, 1), (0, 0), (0, 0), (1, 1), 1)


@convolution.samples
def convolution_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 2, 4, 5), make(3, 2, 2, 3), make(3), *_PLAIN)


@convolution_input.samples
def convolution_input_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3, 3, 3), make(3, 2, 2, 3), *_PLAIN, (4, 5))


@convolution_weight.samples
def convolution_weight_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 2, 4, 5), make(2, 3, 3, 3), *_PLAIN, (2, 3))


@op(function=False, node="ConstantPadNdBackward0")
def extended(input: Array, after: Sizes) -> Array:
    """Zeros after the last elements."""
    return s.pad(input, 0, before=(0,) * input.ndim, after=after)


@extended.gradient("input")
def extended_gradient(grad: Array, input_shape: Any) -> Array:
    for axis, n in enumerate(input_shape):
        grad = narrow(grad, axis, 0, n)
    return grad


@extended.samples
def extended_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3), (0, 2))


# -- what users call ----------------------------------------------------------------------------------------


def _check(name: str, rank: int, input: Any, weight: Any, groups: int, transposed: bool) -> None:
    shape, wshape = list(input.shape), list(weight.shape)
    if len(wshape) != rank + 2:
        raise RuntimeError(
            f"{name}: expected a weight of {rank + 2} dimensions, but got shape {wshape}"
        )
    if len(shape) not in (rank + 1, rank + 2):
        raise RuntimeError(
            f"Expected {rank + 1}D (unbatched) or {rank + 2}D (batched) input to {name}, but got input of size: {shape}"
        )
    if groups < 1:
        raise RuntimeError("non-positive groups is not supported")
    have = shape[-rank - 1]
    takes = wshape[0] if transposed else wshape[1] * groups
    if have != takes:
        raise RuntimeError(
            f"Given {'transposed=1' if transposed else f'groups={groups}'}, weight of size "
            f"{wshape}, expected input{shape} to have {takes} "
            f"channels, but got {have} channels instead"
        )
    if wshape[0] % groups:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, "
            f"but got weight of size {wshape} instead"
        )
    if input.dtype != weight.dtype:
        raise RuntimeError(
            f"Input type ({_type(input)}) and weight type ({_type(weight)}) should be the same: "
            "convert one with .to(dtype)"
        )


def _type(x: Any) -> str:
    return getattr(x.dtype, "name", str(x.dtype))


def _positive(name: str, stride: Sizes, dilation: Sizes) -> None:
    if min(stride) < 1:
        raise RuntimeError("non-positive stride is not supported")
    if min(dilation) < 1:
        raise RuntimeError("dilation should be greater than zero")


def _conv(rank: int) -> Any:
    name = f"conv{rank}d"

    def body(
        input: Array,
        weight: Array,
        bias: Any = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Array:
        _check(name, rank, input, weight, groups, False)
        steps, spacing = (
            sizes(stride, rank, name, "stride"),
            sizes(dilation, rank, name, "dilation"),
        )
        _positive(name, steps, spacing)
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise RuntimeError(
                    f"Invalid padding string: '{padding}'; it may be 'same' or 'valid'"
                )
            if padding == "same":
                if max(steps) > 1:
                    raise RuntimeError("padding='same' is not supported for strided convolutions")
                total = [d * (k - 1) for d, k in zip(spacing, tuple(weight.shape)[2:], strict=True)]
                before = tuple(n // 2 for n in total)
                after = tuple(n - n // 2 for n in total)
            else:
                before = after = (0,) * rank
        else:
            before = after = sizes(padding, rank, name, "padding")
            if min(before) < 0:
                raise RuntimeError("negative padding is not supported")
        if len(input.shape) == rank + 1:
            return select(
                convolution(
                    unsqueeze(input, 0), weight, bias, steps, before, after, spacing, groups
                ),
                0,
                0,
            )
        return convolution(input, weight, bias, steps, before, after, spacing, groups)

    body.__name__ = name
    body.__doc__ = f"""Slides `weight` (out, in / groups, *kernel) over `input` (batch, in, *size),
    or one sample without its batch.

    `padding` is a size for both ends, or "same" or "valid". The result has shape (batch, out, *size'), where
    size' = (size + 2 padding - dilation (kernel - 1) - 1) // stride + 1.

    >>> import rushlight
    >>> rushlight.conv{rank}d(rushlight.ones(1, 1{", 4" * rank}), rushlight.ones(2, 1{", 3" * rank})).shape
    torch.Size([1, 2{", 2" * rank}])
    """
    declared = op(body, composite=True, aliases=(f"nn.functional.{name}",))

    @declared.samples
    def samples(make: Any) -> Iterator[Any]:
        size, kernel = (5, 4, 3)[:rank], (2, 3, 2)[:rank]
        yield Sample(make(2, 2, *size), make(3, 2, *kernel), make(3))
        yield Sample(make(2, 2, *size), make(3, 2, *kernel), None, 2, 1)
        yield Sample(make(2, *size), make(4, 1, *kernel), make(4), 1, "same", 1, 2)
        yield Sample(make(1, 1, *(n + 2 for n in size)), make(1, 1, *kernel), None, 1, 1, 2)
        yield Bad(
            make(2, 3, *size),
            make(3, 2, *kernel),
            raises=RuntimeError,
            says="to have 2 channels, but got 3",
        )
        yield Bad(
            make(2, 2, *(1,) * rank),
            make(3, 2, *(2,) * rank),
            raises=RuntimeError,
            says="Kernel size can't be greater",
        )

    return declared


conv1d, conv2d, conv3d = _conv(1), _conv(2), _conv(3)


def _conv_transpose(rank: int) -> Any:
    name = f"conv_transpose{rank}d"

    def body(
        input: Array,
        weight: Array,
        bias: Any = None,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        dilation: Any = 1,
    ) -> Array:
        _check(name, rank, input, weight, groups, True)
        steps, spacing = (
            sizes(stride, rank, name, "stride"),
            sizes(dilation, rank, name, "dilation"),
        )
        cut, extra = (
            sizes(padding, rank, name, "padding"),
            sizes(output_padding, rank, name, "output_padding"),
        )
        _positive(name, steps, spacing)
        if any(e >= max(n, d) and e for e, n, d in zip(extra, steps, spacing, strict=True)):
            raise RuntimeError(
                "output padding must be smaller than either stride or dilation, but got "
                f"output_padding {extra}, stride {steps} and dilation {spacing}"
            )
        single = len(input.shape) == rank + 1
        x = unsqueeze(input, 0) if single else input
        wshape = tuple(weight.shape)
        size = tuple(
            (n - 1) * t - 2 * q + d * (k - 1) + e + 1
            for n, t, q, d, k, e in zip(
                tuple(x.shape)[2:], steps, cut, spacing, wshape[2:], extra, strict=True
            )
        )
        if min(size) < 1:
            raise RuntimeError(
                f"{name}: output size {list(size)} is too small for input of size {list(input.shape)}"
            )
        # Output padding is what the forward convolution would not have reached.
        after = tuple(q - e for q, e in zip(cut, extra, strict=True))
        short = tuple(max(0, -a) for a in after)
        grown = tuple(n - a for n, a in zip(size, short, strict=True))
        out = convolution_input(
            x, weight, steps, cut, tuple(max(0, a) for a in after), spacing, groups, grown
        )
        if any(short):
            out = extended(out, (0, 0, *short))
        if bias is not None:
            out = out + bias.reshape((-1,) + (1,) * rank)
        return select(out, 0, 0) if single else out

    body.__name__ = name
    body.__doc__ = f"""The adjoint of `conv{rank}d`: spreads `input` (batch, in, *size) by `weight`
    (in, out / groups, *kernel).

    The size of the result is (size - 1) stride - 2 padding + dilation (kernel - 1) + output_padding + 1.
    """
    declared = op(body, composite=True, aliases=(f"nn.functional.{name}",))

    @declared.samples
    def samples(make: Any) -> Iterator[Any]:
        size, kernel = (3, 4, 2)[:rank], (2, 3, 2)[:rank]
        yield Sample(make(2, 2, *size), make(2, 3, *kernel), make(3))
        yield Sample(make(2, 2, *size), make(2, 3, *kernel), None, 2, 1, 1)
        yield Sample(make(4, *size), make(4, 1, *kernel), make(2), 2, 0, 1, 2)
        yield Bad(
            make(2, 3, *size), make(2, 3, *kernel), raises=RuntimeError, says="to have 2 channels"
        )

    return declared


conv_transpose1d, conv_transpose2d, conv_transpose3d = (_conv_transpose(rank) for rank in (1, 2, 3))

"""Activation functions. `inplace=True` writes into the input, as the method with an underscore does."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from rushlight.core.dtypes import BOOL, COMPLEX, FLOATING
from rushlight.core.shapes import dimension, size_of
from rushlight.ops.complex_numbers import conjugate
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.operands import promote
from rushlight.ops.pointwise import abs, exp, sigmoid, tanh
from rushlight.ops.reduction import sum
from rushlight.ops.sampling import unary_samples
from rushlight.ops.selection import choose, gate
from rushlight.ops.shape import chunk, to_shape
from rushlight.primitives import elementwise as p
from rushlight.primitives import special
from rushlight.primitives import structural as s

SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def _scaled(x: Any, factor: float) -> Any:
    return p.mul(*promote(x, float(factor)))


def _floating(name: str, x: Any) -> None:
    if x.dtype not in FLOATING:
        raise NotImplementedError(
            f"\"{name}_cpu\" not implemented for '{x.dtype}': activations work on floating dtypes"
        )


def _wants_inplace(declared: Any, input: Any, inplace: bool, *args: Any) -> Any:
    return declared.inplace(input, *args) if inplace else declared(input, *args)


# -- piecewise linear ---------------------------------------------------------------------------------------


@op(method=True, inplace=True)
def relu(input: Array) -> Array:
    """max(x, 0), elementwise. NaN stays NaN.

    >>> import rushlight
    >>> rushlight.relu(rushlight.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    if input.dtype == BOOL:
        raise RuntimeError("Boolean inputs not supported for relu")
    return p.maximum(input, 0)


@relu.gradient("input")
def relu_gradient(grad: Array, out: Array) -> Array:
    return gate(grad, out, 0, None)


@op(module="nn.functional", name="relu", composite=True)
def functional_relu(input: Array, inplace: bool = False) -> Array:
    """max(x, 0), elementwise; `inplace` writes into the input."""
    return relu.inplace(input) if inplace else relu(input)


@relu.samples
def _kinked(make: Any) -> Iterator[Any]:
    yield Sample(make.distinct(3, 4))
    yield Sample(make((), low=0.5))
    yield Sample(make(0, 2))
    yield Bad("text", raises=TypeError, says="must be Tensor")


functional_relu.samples(_kinked)


@op(function=False, inplace=True, node="HardtanhBackward0")
def relu6_values(input: Array) -> Array:
    """The elements of `relu6`."""
    _floating("relu6", input)
    return p.minimum(p.maximum(input, 0), 6)


@relu6_values.gradient("input")
def relu6_gradient(grad: Array, input: Array) -> Array:
    return gate(grad, input, 0, 6)


@relu6_values.samples
def relu6_values_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.distinct(3, 4))
    yield Sample(make((), low=0.6, high=0.7))
    yield Sample(make(0, 2))
    yield Sample(make(3, 4, low=5, high=5.9))


@op(module="nn.functional", composite=True)
def relu6(input: Array, inplace: bool = False) -> Array:
    """min(max(x, 0), 6), elementwise."""
    return _wants_inplace(relu6_values, input, inplace)


relu6.samples(relu6_values_samples)


@op(function=False, inplace=True, node="LeakyReluBackward0")
def leaky_relu_values(input: Array, negative_slope: float = 0.01) -> Array:
    """The elements of `leaky_relu`."""
    _floating("leaky_relu", input)
    return s.select(p.greater(input, 0), input, _scaled(input, negative_slope))


@leaky_relu_values.gradient("input")
def leaky_relu_gradient(grad: Array, input: Array, negative_slope: float) -> Array:
    return choose(input > 0, grad, grad * negative_slope)


@leaky_relu_values.samples
def leaky_relu_values_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.distinct(3, 4))
    yield Sample(make((), low=0.6, high=0.7))
    yield Sample(make(0, 2))
    yield Sample(make.distinct(3, 4), 0.2)


@op(module="nn.functional", composite=True)
def leaky_relu(input: Array, negative_slope: float = 0.01, inplace: bool = False) -> Array:
    """X where it is positive, else negative_slope * x."""
    return _wants_inplace(leaky_relu_values, input, inplace, negative_slope)


leaky_relu.samples(leaky_relu_values_samples)


@op(function=False, inplace=True, node="EluBackward0")
def elu_values(input: Array, alpha: float = 1.0) -> Array:
    """The elements of `elu`."""
    _floating("elu", input)
    return s.select(p.greater(input, 0), input, _scaled(p.expm1(p.minimum(input, 0)), alpha))


@elu_values.gradient("input")
def elu_gradient(grad: Array, input: Array, alpha: float) -> Array:
    return choose(input > 0, grad, grad * alpha * exp(-gate(-input, input, None, 0, True)))


@elu_values.samples
def elu_values_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.distinct(3, 4))
    yield Sample(make((), low=0.6, high=0.7))
    yield Sample(make(0, 2))
    yield Sample(make.distinct(3, 4), 0.7)


@op(module="nn.functional", composite=True)
def elu(input: Array, alpha: float = 1.0, inplace: bool = False) -> Array:
    """X where it is positive, else alpha * (exp(x) - 1) (Clevert and others, 2015)."""
    return _wants_inplace(elu_values, input, inplace, alpha)


elu.samples(elu_values_samples)


@op(function=False, inplace=True, node="EluBackward0")
def celu_values(input: Array, alpha: float = 1.0) -> Array:
    """The elements of `celu`."""
    _floating("celu", input)
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    return s.select(
        p.greater(input, 0), input, _scaled(p.expm1(_scaled(p.minimum(input, 0), 1 / alpha)), alpha)
    )


@celu_values.gradient("input")
def celu_gradient(grad: Array, input: Array, alpha: float) -> Array:
    return choose(input > 0, grad, grad * exp(-gate(-input, input, None, 0, True) / alpha))


@celu_values.samples
def celu_values_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.distinct(3, 4))
    yield Sample(make((), low=0.6, high=0.7))
    yield Sample(make(0, 2))
    yield Sample(make.distinct(3, 4), 0.7)


@op(module="nn.functional", composite=True)
def celu(input: Array, alpha: float = 1.0, inplace: bool = False) -> Array:
    """max(0, x) + min(0, alpha * (exp(x / alpha) - 1)) (Barron, 2017)."""
    return _wants_inplace(celu_values, input, inplace, alpha)


celu.samples(celu_values_samples)


@op(function=False, inplace=True, node="EluBackward0")
def selu_values(input: Array) -> Array:
    """The elements of `selu`."""
    _floating("selu", input)
    low = _scaled(p.expm1(p.minimum(input, 0)), SELU_SCALE * SELU_ALPHA)
    return s.select(p.greater(input, 0), _scaled(input, SELU_SCALE), low)


@selu_values.gradient("input")
def selu_gradient(grad: Array, input: Array) -> Array:
    low = SELU_SCALE * SELU_ALPHA * exp(-gate(-input, input, None, 0, True))
    return grad * choose(input > 0, SELU_SCALE, low)


@selu_values.samples
def selu_values_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.distinct(3, 4))
    yield Sample(make((), low=0.6, high=0.7))
    yield Sample(make(0, 2))


@op(module="nn.functional", composite=True)
def selu(input: Array, inplace: bool = False) -> Array:
    """Self-normalising elu with fixed scale and alpha (Klambauer and others, 2017)."""
    return _wants_inplace(selu_values, input, inplace)


selu.samples(selu_values_samples)


@op(function=False, inplace=True, node="SiluBackward0")
def silu_values(input: Array) -> Array:
    """The elements of `silu`."""
    if input.dtype in COMPLEX:
        return p.div(input, p.add(p.exp(p.neg(input)), 1))
    _floating("silu", input)
    return p.mul(input, p.logistic(input))


@silu_values.gradient("input")
def silu_gradient(grad: Array, input: Array) -> Array:
    gate_ = sigmoid(input)
    return grad * conjugate(gate_ * (1 + input * (1 - gate_)))


@silu_values.samples
def silu_values_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4))
    yield Sample(make(()))
    yield Sample(make(0, 2))


@op(module="nn.functional", composite=True)
def silu(input: Array, inplace: bool = False) -> Array:
    """X * sigmoid(x) (Elfwing and others, 2017)."""
    return _wants_inplace(silu_values, input, inplace)


silu.samples(silu_values_samples)


@op(function=False, inplace=True, node="MishBackward0")
def mish_values(input: Array) -> Array:
    """The elements of `mish`."""
    _floating("mish", input)
    return p.mul(input, p.tanh(p.softplus(input)))


@mish_values.gradient("input")
def mish_gradient(grad: Array, input: Array) -> Array:
    inner, gate_ = tanh(softplus(input)), sigmoid(input)
    return grad * (inner + input * gate_ * (1 - inner * inner))


@mish_values.samples
def mish_values_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4))
    yield Sample(make(()))
    yield Sample(make(0, 2))


@op(module="nn.functional", composite=True)
def mish(input: Array, inplace: bool = False) -> Array:
    """X * tanh(softplus(x)) (Misra, 2019)."""
    return _wants_inplace(mish_values, input, inplace)


mish.samples(mish_values_samples)


@op(function=False, inplace=True, node="HardtanhBackward0")
def hardtanh_values(input: Array, min_val: float = -1.0, max_val: float = 1.0) -> Array:
    """The elements of `hardtanh`."""
    _floating("hardtanh", input)
    if min_val > max_val:
        raise ValueError(f"min_val cannot be greater than max_val: {min_val} > {max_val}")
    return p.minimum(p.maximum(input, promote(input, min_val)[1]), promote(input, max_val)[1])


@hardtanh_values.gradient("input")
def hardtanh_gradient(grad: Array, input: Array, min_val: float, max_val: float) -> Array:
    return gate(grad, input, min_val, max_val)


@hardtanh_values.samples
def hardtanh_values_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.distinct(3, 4))
    yield Sample(make((), low=0.6, high=0.7))
    yield Sample(make(0, 2))
    yield Sample(make.distinct(3, 4), -0.24, 0.36)


@op(module="nn.functional", composite=True)
def hardtanh(
    input: Array, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Array:
    """X kept in [min_val, max_val]."""
    return _wants_inplace(hardtanh_values, input, inplace, min_val, max_val)


hardtanh.samples(hardtanh_values_samples)


@op(function=False, inplace=True, node="HardsigmoidBackward0")
def hardsigmoid_values(input: Array) -> Array:
    """The elements of `hardsigmoid`."""
    _floating("hardsigmoid", input)
    return _scaled(p.minimum(p.maximum(p.add(input, 3), 0), 6), 1 / 6)


@hardsigmoid_values.gradient("input")
def hardsigmoid_gradient(grad: Array, input: Array) -> Array:
    return gate(grad / 6, input, -3, 3)


@hardsigmoid_values.samples
def hardsigmoid_values_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4))
    yield Sample(make(()))
    yield Sample(make(0, 2))
    yield Sample(make(3, low=3.1, high=5))


@op(module="nn.functional", composite=True)
def hardsigmoid(input: Array, inplace: bool = False) -> Array:
    """min(max(x + 3, 0), 6) / 6."""
    return _wants_inplace(hardsigmoid_values, input, inplace)


hardsigmoid.samples(hardsigmoid_values_samples)


@op(function=False, inplace=True, node="HardswishBackward0")
def hardswish_values(input: Array) -> Array:
    """The elements of `hardswish`."""
    _floating("hardswish", input)
    return p.mul(input, _scaled(p.minimum(p.maximum(p.add(input, 3), 0), 6), 1 / 6))


@hardswish_values.gradient("input")
def hardswish_gradient(grad: Array, input: Array) -> Array:
    return choose(input < -3, 0, choose(input <= 3, grad * (input / 3 + 0.5), grad))


@hardswish_values.samples
def hardswish_values_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4))
    yield Sample(make(()))
    yield Sample(make(0, 2))
    yield Sample(make(3, low=3.1, high=5))


@op(module="nn.functional", composite=True)
def hardswish(input: Array, inplace: bool = False) -> Array:
    """X * hardsigmoid(x) (Howard and others, 2019)."""
    return _wants_inplace(hardswish_values, input, inplace)


hardswish.samples(hardswish_values_samples)


@op(function=False, inplace=True, node="ThresholdBackward0")
def threshold_values(input: Array, threshold: float = 0.0, value: float = 0.0) -> Array:
    """The elements of `threshold`."""
    _floating("threshold", input)
    return s.select(p.greater(input, promote(input, threshold)[1]), input, promote(input, value)[1])


@threshold_values.gradient("input")
def threshold_gradient(grad: Array, input: Array, threshold: float) -> Array:
    return gate(grad, input, threshold, None)


@threshold_values.samples
def threshold_values_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.distinct(3, 4), 0.15, -1.0)
    yield Sample(make(()), -3.0, 1.0)


@op(module="nn.functional", composite=True)
def threshold(
    input: Array, threshold: float = 0.0, value: float = 0.0, inplace: bool = False
) -> Array:
    """X where it is above `threshold`, else `value`."""
    return _wants_inplace(threshold_values, input, inplace, threshold, value)


threshold.samples(threshold_values_samples)


@op(function=False)
def normal_density(input: Array) -> Array:
    """The density of the normal distribution with mean 0 and variance 1."""
    return special.normal_density(input)


@normal_density.gradient("input")
def normal_density_gradient(grad: Array, input: Array, out: Array) -> Array:
    return grad * -input * out


@normal_density.samples
def normal_density_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4))


@op(function=False)
def normal_distribution(input: Array) -> Array:
    """How much of that distribution lies below a number."""
    return special.normal_distribution(input)


@normal_distribution.gradient("input")
def normal_distribution_gradient(grad: Array, input: Array) -> Array:
    return grad * normal_density(input)


@normal_distribution.samples
def normal_distribution_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4))


@op(module="nn.functional", differentiable=True)
def gelu(input: Array, *, approximate: str = "none") -> Array:
    """X * Phi(x) with the normal distribution's Phi, or its "tanh" approximation (Hendrycks and Gimpel, 2016)."""
    _floating("gelu", input)
    if approximate == "none":
        return p.mul(input, special.normal_distribution(input))
    if approximate != "tanh":
        raise RuntimeError(f"approximate argument must be either none or tanh: {approximate!r}")
    cube = p.mul(input, p.mul(input, input))
    inner = p.tanh(_scaled(p.add(input, _scaled(cube, 0.044715)), math.sqrt(2 / math.pi)))
    return p.mul(_scaled(input, 0.5), p.add(inner, 1))


@gelu.gradient("input")
def gelu_gradient(grad: Array, input: Array, approximate: str) -> Array:
    if approximate == "none":
        return grad * (normal_distribution(input) + input * normal_density(input))
    scale = math.sqrt(2 / math.pi)
    inner = tanh((input + input * input * input * 0.044715) * scale)
    slope = (1 - inner * inner) * (1 + input * input * (3 * 0.044715)) * scale
    return grad * ((inner + 1) * 0.5 + input * slope * 0.5)


@gelu.samples
def gelu_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4))
    yield Sample(make(3, 4), approximate="tanh")
    yield Bad(make(3), approximate="some", raises=RuntimeError, says="approximate argument")


@op(module="nn.functional")
def softplus(input: Array, beta: float = 1.0, threshold: float = 20.0) -> Array:
    """log(1 + exp(beta x)) / beta; x itself where beta x is above `threshold`."""
    _floating("softplus", input)
    x = input if beta == 1 else _scaled(input, beta)
    soft = p.softplus(x)
    return s.select(
        p.greater(x, float(threshold)), input, soft if beta == 1 else _scaled(soft, 1 / beta)
    )


@softplus.gradient("input")
def softplus_gradient(grad: Array, input: Array, beta: float, threshold: float) -> Array:
    x = input * beta
    return grad * choose(x > threshold, 1.0, sigmoid(x))


@softplus.samples
def softplus_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4))
    yield Sample(make(3, 4), 2.0, 1.5)


@op(module="nn.functional")
def logsigmoid(input: Array) -> Array:
    """log(sigmoid(x)) without overflow."""
    _floating("logsigmoid", input)
    return p.neg(p.softplus(p.neg(input)))


@logsigmoid.gradient("input")
def logsigmoid_gradient(grad: Array, input: Array) -> Array:
    return grad * sigmoid(-input)


@op(module="nn.functional")
def softsign(input: Array) -> Array:
    """X / (1 + |x|)."""
    return p.div(input, p.add(p.absolute(input), 1))


@softsign.gradient("input")
def softsign_gradient(grad: Array, input: Array) -> Array:
    size = abs(input) + 1
    return grad / (size * size)


@op(module="nn.functional")
def tanhshrink(input: Array) -> Array:
    """X - tanh(x)."""
    return p.sub(input, p.tanh(input))


@tanhshrink.gradient("input")
def tanhshrink_gradient(grad: Array, input: Array) -> Array:
    inner = tanh(input)
    return grad * inner * inner


for _call in (logsigmoid, softsign, tanhshrink):
    _call.samples(unary_samples())


@op(aliases=("nn.functional.hardshrink",), method=True)
def hardshrink(input: Array, lambd: float = 0.5) -> Array:
    """X where |x| > lambd, else 0."""
    inside = p.less_equal(p.absolute(input), promote(input, float(lambd))[1])
    return s.select(inside, s.full(0, shape=(), dtype=input.dtype), input)


@hardshrink.gradient("input")
def hardshrink_gradient(grad: Array, input: Array, lambd: float) -> Array:
    return choose(abs(input) <= lambd, 0, grad)


@op(module="nn.functional")
def softshrink(input: Array, lambd: float = 0.5) -> Array:
    """X moved towards 0 by lambd, and 0 where |x| <= lambd."""
    if lambd < 0:
        raise RuntimeError(f"lambda must be greater or equal to 0, but found to be {lambd}.")
    bound = promote(input, float(lambd))[1]
    inside = p.less_equal(p.absolute(input), bound)
    moved = p.sub(input, p.mul(p.sign(input), bound))
    nan = p.is_nan(input)
    return s.select(nan, input, s.select(inside, s.full(0, shape=(), dtype=input.dtype), moved))


@softshrink.gradient("input")
def softshrink_gradient(grad: Array, input: Array, lambd: float) -> Array:
    return choose(abs(input) <= lambd, 0, grad)


@hardshrink.samples
def hardshrink_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.distinct(3, 4))
    yield Sample(make.distinct(3, 4), 0.2)


softshrink.samples(hardshrink_samples)


def _channel_shape(input: Any, count: int) -> tuple[int, ...]:
    """The shape in which weights, one or one for each channel, broadcast with the input."""
    if count == 1:
        return ()
    have = input.shape[1] if input.ndim > 1 else 1
    if not input.ndim or have != count:
        raise RuntimeError(
            "Mismatch of parameter numbers and input channel size. Found parameter numbers = "
            f"{count} and channel size = {have}."
        )
    return (count, *(1,) * (input.ndim - 2))


@op(method=True, aliases=("nn.functional.prelu",))
def prelu(input: Array, weight: Array) -> Array:
    """X where it is positive, else weight * x; `weight` has one element, or one for each channel (dimension 1)."""
    if weight.ndim > 1:
        raise RuntimeError(
            f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {weight.ndim}"
        )
    wide = s.reshape(weight, shape=_channel_shape(input, weight.size))
    return s.select(p.greater(input, 0), input, p.mul(wide, input))


@prelu.gradient("input")
def prelu_gradient_input(grad: Array, input: Array, weight: Array) -> Array:
    wide = to_shape(weight, _channel_shape(input, size_of(weight.shape)))
    return choose(input > 0, grad, grad * wide)


@prelu.gradient("weight")
def prelu_gradient_weight(grad: Array, input: Array, weight_shape: Any) -> Array:
    slope = choose(input > 0, 0, grad * input)
    if size_of(weight_shape) == 1:
        return to_shape(sum(slope), tuple(weight_shape))
    return to_shape(sum(slope, (0, *range(2, input.ndim))), tuple(weight_shape))


@prelu.samples
def prelu_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.distinct(3, 4), make(1))
    yield Sample(make.distinct(2, 3, 4), make(3))
    yield Bad(make(2, 3), make(2), raises=RuntimeError, says="Mismatch of parameter numbers")


@op(module="nn.functional", composite=True)
def glu(input: Array, dim: int = -1) -> Array:
    """A * sigmoid(b), where a and b are the halves of `input` along `dim` (Dauphin and others, 2016)."""
    if not len(input.shape):
        raise RuntimeError("glu does not support scalars because halving size must be even")
    size = tuple(input.shape)[dimension(dim, len(input.shape))]
    if size % 2:
        raise RuntimeError(f"Halving dimension must be even, but dimension {dim} is size {size}")
    a, b = chunk(input, 2, dim)
    return a * sigmoid(b)


@glu.samples
def glu_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4))
    yield Sample(make(4, 3), 0)
    yield Bad(make(3), raises=RuntimeError, says="must be even")

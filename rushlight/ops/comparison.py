"""Comparisons, bounds, logic and bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from rushlight.core.dtypes import BOOL, COMPLEX, FLOAT64, FLOATING, INTEGRAL
from rushlight.ops.declare import Array, Bad, Operand, Sample, op
from rushlight.ops.operands import promote, promote_all, to
from rushlight.ops.sampling import binary_samples, unary_samples
from rushlight.ops.selection import choose, gate
from rushlight.primitives import elementwise as p
from rushlight.primitives.reduction import reduce_all
from rushlight.primitives.structural import full, select


def _comparison(
    name: str,
    compute: Callable[[Any, Any], Any],
    sign: str,
    operator: str,
    aliases: tuple[str, ...] = (),
) -> Any:
    ordered = sign not in ("==", "!=")

    def body(input: Operand, other: Operand) -> Array:
        a, b = promote(input, other)
        if ordered and (
            getattr(a, "dtype", None) in COMPLEX or getattr(b, "dtype", None) in COMPLEX
        ):
            raise RuntimeError(
                f"{name}: complex numbers have no order; compare abs() or real parts"
            )
        return compute(a, b)

    body.__name__, body.__doc__ = (
        name,
        f"Whether input {sign} other, elementwise, broadcast and promoted: a bool tensor.",
    )
    declared = op(
        body,
        method=True,
        inplace=True,
        operators=(operator,),
        aliases=aliases,
        differentiable=False,
    )
    declared.samples(binary_samples())
    return declared


eq = _comparison("eq", p.equal, "==", "__eq__")
ne = _comparison("ne", p.not_equal, "!=", "__ne__", ("not_equal",))
lt = _comparison("lt", p.less, "<", "__lt__", ("less",))
le = _comparison("le", p.less_equal, "<=", "__le__", ("less_equal",))
gt = _comparison("gt", p.greater, ">", "__gt__", ("greater",))
ge = _comparison("ge", p.greater_equal, ">=", "__ge__", ("greater_equal",))


# -- the larger and the smaller -----------------------------------------------------------------------------


def _ordered(name: str, a: Any, b: Any) -> tuple[Any, Any]:
    a, b = promote(a, b)
    if a.dtype in COMPLEX:
        raise RuntimeError(f"{name} not implemented for complex tensors.")
    return a, b


def _extreme(name: str, compute: Callable[[Any, Any], Any], says: str) -> Any:
    def body(input: Array, other: Array) -> Array:
        return compute(*_ordered(name, input, other))

    body.__name__, body.__doc__ = name, says
    declared = op(body, method=True)

    @declared.gradient("input")
    def _(grad: Array, input: Array, other: Array) -> Array:
        return share(
            grad, input, other, name.endswith("max") or name == "maximum", name.startswith("f")
        )

    @declared.gradient("other")
    def _(grad: Array, input: Array, other: Array) -> Array:
        return grad - share(
            grad, input, other, name.endswith("max") or name == "maximum", name.startswith("f")
        )

    @declared.samples
    def samples(make: Any) -> Iterator[Any]:
        yield Sample(make.distinct(3, 4), make(3, 4, low=3, high=4))
        yield Sample(make(3, 1, low=-4, high=-3), make(4))
        yield Bad(make(3), make(4), raises=RuntimeError, says="must match the size")

    return declared


@op(function=False)
def share(grad: Array, input: Array, other: Array, largest: bool, skip_nan: bool) -> Array:
    """The first operand's part of the gradient of a maximum or minimum: all, half (at ties) or none."""
    a, b = promote(input, other)
    wins = p.greater(a, b) if largest else p.less(a, b)
    if a.dtype in FLOATING:
        wins = p.logical_or(wins, p.is_nan(b) if skip_nan else p.is_nan(a))
    half = p.mul(grad, promote(grad, 0.5)[1])
    return select(wins, grad, select(p.equal(a, b), half, 0))


@share.gradient("grad")
def share_gradient(grad: Array, input: Array, other: Array, largest: bool, skip_nan: bool) -> Array:
    return share(grad, input, other, largest, skip_nan)


share.gradient("input")(lambda grad: grad * 0)
share.gradient("other")(lambda grad: grad * 0)


@share.samples
def share_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make.distinct(3, 4), make(3, 4, low=5, high=6), True, False)


maximum = _extreme("maximum", p.maximum, "The larger of two elements; NaN if one is NaN.")
minimum = _extreme("minimum", p.minimum, "The smaller of two elements; NaN if one is NaN.")
fmax = _extreme("fmax", p.fmax, "The larger of two elements; a number beats NaN.")
fmin = _extreme("fmin", p.fmin, "The smaller of two elements; a number beats NaN.")


@op(function=False, node="ClampBackward1")
def clamp_tensors(input: Array, min: Operand, max: Operand) -> Array:
    """`clamp` between bounds of which at least one is a tensor."""
    x, low, high = promote_all(input, min, max)
    return p.minimum(p.maximum(x, low), high)


@clamp_tensors.gradient("input")
def clamp_tensors_gradient(grad: Array, input: Array, min: Any, max: Any) -> Array:
    return choose((input >= min) & (input <= max), grad, 0)


@clamp_tensors.gradient("min")
def clamp_tensors_gradient_min(grad: Array, input: Array, min: Any, max: Any) -> Array:
    return choose((input < min) & (min < max), grad, 0)


@clamp_tensors.gradient("max")
def clamp_tensors_gradient_max(grad: Array, input: Array, min: Any, max: Any) -> Array:
    return choose((input > max) | (min > max), grad, 0)


@clamp_tensors.samples
def clamp_tensors_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.distinct(3, 4), make(4, low=-0.31, high=-0.30), make((), low=0.21, high=0.22))


@op(function=False, node="ClampBackward1")
def clamp_low(input: Array, min: Array) -> Array:
    """`clamp` from below by a tensor."""
    return p.maximum(*promote(input, min))


@clamp_low.gradient("input")
def clamp_low_gradient(grad: Array, input: Array, min: Array) -> Array:
    return choose(input >= min, grad, 0)


@clamp_low.gradient("min")
def clamp_low_gradient_min(grad: Array, input: Array, min: Array) -> Array:
    return choose(input < min, grad, 0)


@op(function=False, node="ClampBackward1")
def clamp_high(input: Array, max: Array) -> Array:
    """`clamp` from above by a tensor."""
    return p.minimum(*promote(input, max))


@clamp_high.gradient("input")
def clamp_high_gradient(grad: Array, input: Array, max: Array) -> Array:
    return choose(input <= max, grad, 0)


@clamp_high.gradient("max")
def clamp_high_gradient_max(grad: Array, input: Array, max: Array) -> Array:
    return choose(input > max, grad, 0)


@op(function=False, node="ClampBackward1")
def clamp_numbers(input: Array, min: Any, max: Any) -> Array:
    """`clamp` between numbers; None is no bound."""
    if input.dtype in COMPLEX:
        raise RuntimeError("clamp is not supported for complex types")
    if (min is not None and min != min) or (max is not None and max != max):
        return full(float("nan"), shape=input.shape, dtype=input.dtype)
    if min is not None:
        input, low = promote(input, min)
        input = p.maximum(input, low)
    if max is not None:
        input, high = promote(input, max)
        input = p.minimum(input, high)
    return input


@clamp_numbers.gradient("input")
def clamp_numbers_gradient(grad: Array, input: Array, min: Any, max: Any) -> Array:
    return gate(grad, input, min, max, True)


@clamp_numbers.samples
def clamp_numbers_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.distinct(3, 4), -0.21, 0.36)


def _number(bound: Any) -> Any:
    return bound.item() if hasattr(bound, "item") and not hasattr(bound, "requires_grad") else bound


@op(method=True, inplace=True, composite=True, aliases=("clip",))
def clamp(input: Array, min: Any = None, max: Any = None) -> Array:
    """Elements below `min` become `min`, above `max` become `max`; bounds are numbers or tensors.

    Raises RuntimeError where both bounds are None.

    >>> import rushlight
    >>> rushlight.clamp(rushlight.tensor([-2.0, 0.5, 9.0]), -1, 1)
    tensor([-1.0000,  0.5000,  1.0000])
    """
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    low, high = hasattr(min, "dtype"), hasattr(max, "dtype")
    if not low and not high:
        return clamp_numbers(input, min, max)
    if max is None:
        return clamp_low(input, min)
    if min is None:
        return clamp_high(input, max)
    return clamp_tensors(input, min, max)


@clamp.samples
def clamp_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.distinct(3, 4), -0.21, 0.36)
    yield Sample(make.distinct(3, 4), max=0.11)
    yield Sample(make.distinct(3, 4), min=make(4, low=-0.31, high=-0.30))
    yield Sample(make.distinct(3, 4), max=make((), low=0.21, high=0.22))
    yield Bad(make(3), raises=RuntimeError, says="At least one")


@op(method=True, inplace=True, composite=True)
def clamp_min(input: Array, min: Any) -> Array:
    """Elements below `min` become `min`."""
    return clamp(input, min, None)


@op(method=True, inplace=True, composite=True)
def clamp_max(input: Array, max: Any) -> Array:
    """Elements above `max` become `max`."""
    return clamp(input, None, max)


def _one_bound(make: Any) -> Iterator[Any]:
    yield Sample(make.distinct(3, 4), 0.11)


clamp_min.samples(_one_bound)
clamp_max.samples(_one_bound)


# -- logic and bits -----------------------------------------------------------------------------------------


def _logical(name: str, compute: Callable[[Any, Any], Any], says: str) -> Any:
    def body(input: Array, other: Array) -> Array:
        return compute(*promote(input, other))

    body.__name__, body.__doc__ = name, says
    declared = op(body, method=True, inplace=True, differentiable=False)

    @declared.samples
    def samples(make: Any) -> Iterator[Any]:
        yield Sample(make.bools(3, 4), make.bools(4))
        yield Sample(make.ints(3, high=2), make(3))

    return declared


logical_and = _logical("logical_and", p.logical_and, "Whether both elements are not zero.")
logical_or = _logical("logical_or", p.logical_or, "Whether one of the elements is not zero.")
logical_xor = _logical(
    "logical_xor", p.logical_xor, "Whether just one of the elements is not zero."
)


@op(method=True, inplace=True, differentiable=False)
def logical_not(input: Array) -> Array:
    """Whether each element is zero."""
    return p.logical_not(input)


logical_not.samples(unary_samples())


def _bits(
    name: str, compute: Callable[[Any, Any], Any], says: str, operators: tuple[str, ...]
) -> Any:
    shift = "shift" in name

    def body(input: Operand, other: Operand) -> Array:
        a, b = promote(input, other)
        dtype = getattr(a, "dtype", None) or b.dtype
        if dtype not in INTEGRAL or (shift and dtype == BOOL):
            raise RuntimeError(
                f"\"{name}_cpu\" not implemented for '{dtype}': it works on integers"
                + ("" if shift else " and bools")
            )
        return compute(a, b)

    body.__name__, body.__doc__ = name, says
    declared = op(body, method=True, inplace=True, operators=operators, differentiable=False)

    @declared.samples
    def samples(make: Any) -> Iterator[Any]:
        yield Sample(make.ints(3, 4), make.ints(4))
        yield Sample(make.ints(3), 5)
        yield Bad(make(3), make(3), raises=RuntimeError, says="not implemented")

    return declared


bitwise_and = _bits(
    "bitwise_and", p.bit_and, "The bits set in both.", ("__and__", "__rand__", "__iand__")
)
bitwise_or = _bits(
    "bitwise_or", p.bit_or, "The bits set in one or both.", ("__or__", "__ror__", "__ior__")
)
bitwise_xor = _bits(
    "bitwise_xor", p.bit_xor, "The bits set in just one.", ("__xor__", "__rxor__", "__ixor__")
)
bitwise_left_shift = _bits(
    "bitwise_left_shift", p.shift_left, "The bits moved up.", ("__lshift__", "__ilshift__")
)
bitwise_right_shift = _bits(
    "bitwise_right_shift",
    p.shift_right,
    "The bits moved down, the sign kept.",
    ("__rshift__", "__irshift__"),
)


@op(method=True, inplace=True, operators=("__invert__",), differentiable=False)
def bitwise_not(input: Array) -> Array:
    """All bits turned over; of bools the opposite."""
    if input.dtype not in INTEGRAL:
        raise RuntimeError(
            f"\"bitwise_not_cpu\" not implemented for '{input.dtype}': it works on integers and bools"
        )
    return p.bit_not(input)


@bitwise_not.samples
def bitwise_not_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.ints(3))
    yield Sample(make.bools(3))
    yield Bad(make(3), raises=RuntimeError, says="not implemented")


# -- tensors as a whole -------------------------------------------------------------------------------------


@op(method=True, differentiable=False)
def isclose(
    input: Array, other: Array, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> Array:
    """Whether |input - other| <= atol + rtol * |other|, elementwise; infinities are close to themselves."""
    if input.dtype != other.dtype:
        raise RuntimeError(f"{input.dtype} did not match {other.dtype}")
    if rtol < 0 or atol < 0:
        raise RuntimeError(
            f"rtol and atol must be greater than or equal to zero, but got rtol {rtol} and atol {atol}"
        )
    same = p.equal(input, other)
    if input.dtype in INTEGRAL:
        input, other = to(input, FLOAT64), to(other, FLOAT64)
    elif equal_nan:
        same = p.logical_or(same, p.logical_and(p.is_nan(input), p.is_nan(other)))
    size = p.absolute(other)
    bound = p.add(p.mul(size, promote(size, rtol)[1]), promote(size, atol)[1])
    distance = p.absolute(p.sub(input, other))
    near = p.logical_and(p.less_equal(distance, bound), p.is_finite(distance))
    return p.logical_or(same, near)


isclose.samples(binary_samples(numbers=False))


@op(method=True, composite=True, differentiable=False, traceable=False)
def allclose(
    input: Array, other: Array, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> bool:
    """Whether all elements are close (see `isclose`)."""
    return _all_true(isclose(input, other, rtol, atol, equal_nan))


@op(method=True, composite=True, differentiable=False, traceable=False)
def equal(input: Array, other: Array) -> bool:
    """Whether both have the same shape and elements."""
    return tuple(input.shape) == tuple(other.shape) and _all_true(eq(input, other))


def _all_true(x: Any) -> bool:
    return bool(reduce_all(x._array, axes=tuple(range(x.ndim)), keepdim=False))


allclose.samples(binary_samples(numbers=False))


@equal.samples
def equal_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3), make(3))
    yield Sample(make(3), make(4))

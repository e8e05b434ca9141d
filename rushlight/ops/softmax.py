"""Softmax and its kin, one primitive each way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rushlight.core import dtypes, shapes
from rushlight.core.sites import warn_user
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.operands import to
from rushlight.ops.pointwise import exp
from rushlight.ops.record import type_name
from rushlight.ops.reduction import sum
from rushlight.primitives.softmax import log_softmax as p_log_softmax
from rushlight.primitives.softmax import softmax as p_softmax


def _real(name: str, x: Array, dtype: Any) -> Array:
    """The elements to compute with; NotImplementedError if they are no floats."""
    if dtype is not None:
        x = to(x, dtypes.to_numpy(dtype))
    if x.dtype not in dtypes.FLOATING:
        raise NotImplementedError(
            f"\"{name}_lastdim_kernel_impl\" not implemented for '{type_name(x.dtype)}': convert "
            "to a floating dtype, "
            "or give dtype="
        )
    return x


@op(method=True, aliases=("special.softmax",))
def softmax(input: Array, dim: int, dtype: Any = None) -> Array:
    """exp(x) / sum(exp(x)) along `dim`; computed in `dtype` if one is given.

    Raises NotImplementedError for integers and complex numbers.

    >>> import rushlight
    >>> rushlight.softmax(rushlight.tensor([0.0, 0.0]), 0)
    tensor([0.5000, 0.5000])
    """
    x = _real("softmax", input, dtype)
    return p_softmax(x, axis=shapes.dimension(dim, x.ndim))


@softmax.gradient("input")
def softmax_gradient(grad: Array, out: Array, dim: Any) -> Array:
    inner = grad * out
    return inner - out * sum(inner, dim, True)


@op(method=True, aliases=("special.log_softmax",))
def log_softmax(input: Array, dim: int, dtype: Any = None) -> Array:
    """log(softmax(x)) along `dim`, without overflow or loss of digits.

    Computed in `dtype` if one is given.

    Raises NotImplementedError for integers and complex numbers.

    >>> import rushlight
    >>> rushlight.log_softmax(rushlight.tensor([0.0, 0.0]), 0)
    tensor([-0.6931, -0.6931])
    """
    x = _real("log_softmax", input, dtype)
    return p_log_softmax(x, axis=shapes.dimension(dim, x.ndim))


@log_softmax.gradient("input")
def log_softmax_gradient(grad: Array, out: Array, dim: Any) -> Array:
    return grad - exp(out) * sum(grad, dim, True)


def _samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), 1)
    yield Sample(make(2, 3, 4), 0)
    yield Sample(make(()), 0)
    yield Sample(make(0, 3), 1)
    yield Sample(make.ints(2, 3), -1, dtype=dtypes.float64)
    yield Bad(make.ints(3), 0, raises=NotImplementedError, says="not implemented for")
    yield Bad(make(3), 1, raises=IndexError, says="out of range")


def _functional(name: str, compute: Any, says: str) -> Any:
    """The form in nn.functional: `dim` may be left out there, with a warning."""

    def body(
        input: Array, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
    ) -> Array:
        if dim is None:
            dim = 0 if input.ndim in (0, 1, 3) else 1
            warn_user(
                f"Implicit dimension choice for {name} has been deprecated. Change the call to "
                "include dim=X as an "
                f"argument; here it is dim={dim}."
            )
        return compute(input, dim, dtype)

    body.__name__, body.__doc__ = name, says
    declared = op(body, module="nn.functional", composite=True)
    declared.samples(_samples)
    return declared


softmax.samples(_samples)
log_softmax.samples(_samples)

softmax_functional = _functional("softmax", softmax, "exp(x) / sum(exp(x)) along `dim`.")
log_softmax_functional = _functional("log_softmax", log_softmax, "log(softmax(x)) along `dim`.")
softmin_functional = _functional(
    "softmin", lambda x, dim, dtype: softmax(-x, dim, dtype), "softmax(-x) along `dim`."
)

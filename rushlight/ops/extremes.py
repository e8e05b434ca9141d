"""Largest and smallest: max, amax, aminmax, argmax, and the running ones, cummax and cummin."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from rushlight.core import shapes
from rushlight.core.dtypes import BOOL, INT64
from rushlight.ops.comparison import maximum, minimum
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.positions import back_to_places, check_ordered, chosen, shared_by_ties
from rushlight.ops.reduction import axes_of
from rushlight.primitives import structural as s
from rushlight.primitives.reduction import argmax as p_argmax
from rushlight.primitives.reduction import argmin as p_argmin
from rushlight.primitives.reduction import cumulative_max, cumulative_min, reduce_max, reduce_min

# -- max and min -----------------------------------------------------------------------------------


def _with_index(name: str, position: Any) -> Any:
    def body(input: Array, dim: int, keepdim: bool = False) -> Any:
        check_ordered(name, input)
        axis = shapes.dimension(dim, input.ndim)
        if input.ndim and input.shape[axis] == 0:
            raise IndexError(f"{name}(): Expected reduction dim {axis} to have non-zero size.")
        if not input.ndim:
            return s.copy(input), s.full(0, shape=(), dtype=INT64)
        return chosen(input, position(input, axis=axis), axis, bool(keepdim))

    body.__name__ = name
    body.__doc__ = f"`{name}` along one dimension: values and indices."
    declared = op(
        body,
        name=f"{name}_along",
        outputs=("values", "indices"),
        result=name,
        function=False,
        node=f"{name.capitalize()}Backward0",
    )

    @declared.gradient("input")
    def _(
        grad: Array, indices: Array, input_shape: tuple[int, ...], dim: int, keepdim: bool
    ) -> Array:
        return back_to_places(grad, indices, input_shape, dim, keepdim)

    @declared.samples
    def samples(make: Any) -> Iterator[Any]:
        yield Sample(make.distinct(3, 4), 1)
        yield Sample(make.distinct(3, 4), 0, True)
        yield Bad(make(3, 0), 1, raises=IndexError, says="non-zero size")

    return declared


max_along = _with_index("max", p_argmax)
min_along = _with_index("min", p_argmin)


def _check_any(name: str, x: Any, axes: tuple[int, ...], given: bool) -> None:
    """There must be an element to choose from.

    IndexError for an empty dim, RuntimeError for an empty tensor.
    """
    if x.size or all(n for n in (x.shape[a] for a in axes)):
        return
    if given:
        empty = next(a for a in axes if not x.shape[a])
        raise IndexError(
            f"{name}(): Expected reduction dim {empty} to have non-zero size, in shape "
            f"{list(x.shape)}."
        )
    raise RuntimeError(
        f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify the "
        "reduction dim with the "
        "'dim' argument."
    )


def _extreme(name: str, compute: Any) -> Any:
    def body(input: Array, dim: Any = (), keepdim: bool = False) -> Array:
        check_ordered(name, input)
        axes = axes_of(dim, input.ndim)
        _check_any(name, input, axes, dim != () and dim is not None)
        return compute(input, axes=axes, keepdim=bool(keepdim))

    body.__name__ = name
    body.__doc__ = (
        f"The {'largest' if 'max' in name else 'smallest'} element of all, or along `dim`; NaN if "
        "there is one. Equal "
        "ones share the gradient."
    )
    declared = op(body, method=True)
    declared.gradient("input")(shared_by_ties)

    @declared.samples
    def samples(make: Any) -> Iterator[Any]:
        yield Sample(make.distinct(3, 4))
        yield Sample(make.distinct(3, 4), 1)
        yield Sample(make.distinct(2, 3, 4), (0, 2), True)
        yield Bad(make(3, 0), 1, raises=IndexError, says="non-zero size")
        yield Bad(make(0), raises=RuntimeError, says="numel() == 0")

    return declared


amax = _extreme("amax", reduce_max)
amin = _extreme("amin", reduce_min)


def _of_all(name: str, compute: Any) -> Any:
    def body(input: Array) -> Array:
        check_ordered(name, input)
        _check_any(name, input, tuple(range(input.ndim)), False)
        return compute(input, axes=tuple(range(input.ndim)), keepdim=False)

    body.__name__ = f"{name}_all"
    body.__doc__ = f"`{name}` of all elements."
    declared = op(body, function=False, node=f"{name.capitalize()}Backward1")

    @declared.gradient("input")
    def _(grad: Array, input: Array, out: Array) -> Array:
        return shared_by_ties(grad, input, out, None, False)

    @declared.samples
    def samples(make: Any) -> Iterator[Any]:
        yield Sample(make.distinct(3, 4))
        yield Sample(make(()))

    return declared


def _max_like(name: str, along: Any, pairwise: Any, words: tuple[str, str]) -> Any:
    whole = _of_all(name, reduce_max if name == "max" else reduce_min)

    def body(input: Array, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
        if dim is None:
            return whole(input) if other is None else pairwise(input, other)
        if hasattr(dim, "dtype") and not isinstance(dim, np.generic):
            return pairwise(input, dim)
        return along(input, dim, keepdim)

    body.__name__ = name
    body.__doc__ = (
        f"`{name}(input)`: the {words[0]} element; `{name}(input, dim)`: values and indices along "
        "a dimension; "
        f"`{name}(input, other)`: `{words[1]}` of two tensors."
    )
    declared = op(body, method=True, composite=True)

    @declared.samples
    def samples(make: Any) -> Iterator[Any]:
        yield Sample(make.distinct(3, 4))
        yield Sample(make.distinct(3, 4), 1)
        yield Sample(make.distinct(3, 4), 0, True)
        yield Sample(make(3, 4), make(4, low=3, high=4))
        yield Bad(make(0), raises=RuntimeError, says="numel() == 0")

    return declared


max = _max_like("max", max_along, maximum, ("largest", "maximum"))
min = _max_like("min", min_along, minimum, ("smallest", "minimum"))


@op(method=True, outputs=("min", "max"))
def aminmax(input: Array, *, dim: int | None = None, keepdim: bool = False) -> Any:
    """The smallest and the largest element, of all or along `dim`.

    >>> import rushlight
    >>> low, high = rushlight.aminmax(rushlight.tensor([3, 1, 2]))
    >>> low, high
    (tensor(1), tensor(3))
    """
    check_ordered("aminmax", input)
    axes = axes_of(dim, input.ndim)
    if dim is None and not input.size:
        raise RuntimeError(
            "aminmax(): cannot compute aminmax over an empty dimension as the operation has no "
            "identity."
        )
    _check_any("aminmax", input, axes, True)
    return tuple(f(input, axes=axes, keepdim=bool(keepdim)) for f in (reduce_min, reduce_max))


@aminmax.gradient("input")
def aminmax_gradient(
    grads: Any, input: Array, min: Array, max: Array, dim: Any, keepdim: bool
) -> Array:
    low, high = (
        shared_by_ties(g, input, reached, dim, keepdim)
        for g, reached in zip(grads, (min, max), strict=True)
    )
    return low + high


@aminmax.samples
def aminmax_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.distinct(3, 4))
    yield Sample(make.distinct(3, 4), dim=1, keepdim=True)
    yield Bad(make(0), raises=RuntimeError, says="empty dimension")


def _position(name: str, compute: Any) -> Any:
    def body(input: Array, dim: int | None = None, keepdim: bool = False) -> Array:
        check_ordered(name, input)
        if input.dtype == BOOL:
            raise RuntimeError(f"{name}(): does not support bool input")
        if dim is None:
            if not input.size:
                raise IndexError(
                    f"{name}(): Expected reduction dim to be specified for input.numel() == 0."
                )
            at = compute(s.reshape(input, shape=(input.size,)), axis=0)
            return s.reshape(at, shape=(1,) * input.ndim) if keepdim else at
        axis = shapes.dimension(dim, input.ndim)
        if not input.ndim:
            return s.full(0, shape=(), dtype=INT64)
        if not input.shape[axis]:
            raise IndexError(f"{name}(): Expected reduction dim {axis} to have non-zero size.")
        at = compute(input, axis=axis)
        return s.reshape(at, shape=shapes.reduced(input.shape, (axis,), True)) if keepdim else at

    which = "largest" if name == "argmax" else "smallest"
    body.__name__ = name
    body.__doc__ = f"The index of the {which} element: of all flattened, or along `dim`."
    declared = op(body, method=True, differentiable=False)

    @declared.samples
    def samples(make: Any) -> Iterator[Any]:
        yield Sample(make.distinct(3, 4))
        yield Sample(make.distinct(3, 4), 1)
        yield Sample(make.distinct(3, 4), 0, True)
        yield Bad(make(0), raises=IndexError, says="numel() == 0")

    return declared


argmax = _position("argmax", p_argmax)
argmin = _position("argmin", p_argmin)


# -- running extremes ------------------------------------------------------------------------------


def _running(name: str, compute: Any) -> Any:
    def body(input: Array, dim: int) -> Any:
        check_ordered(name, input)
        axis = shapes.dimension(dim, input.ndim)
        if not input.ndim or not input.size:
            return s.copy(input), s.full(0, shape=input.shape, dtype=INT64)
        return compute(input, axis=axis)

    which = "largest" if name == "cummax" else "smallest"
    body.__name__ = name
    body.__doc__ = f"The {which} element so far along `dim`, and where it is."
    declared = op(body, method=True, outputs=("values", "indices"))

    @declared.gradient("input")
    def _(grad: Array, indices: Array, input_shape: tuple[int, ...], dim: int) -> Array:
        return back_to_places(grad, indices, input_shape, dim, True)

    @declared.samples
    def samples(make: Any) -> Iterator[Any]:
        yield Sample(make.distinct(3, 4), 1)
        yield Sample(make.distinct(5), 0)
        yield Bad(make(3), 1, raises=IndexError, says="out of range")

    return declared


cummax = _running("cummax", cumulative_max)
cummin = _running("cummin", cumulative_min)

"""`x[...]` and `x[...] = v`: everything that may stand between the brackets, and the ops behind it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from rushlight.core import shapes
from rushlight.core.dtypes import BOOL, INT64, INTEGRAL, UINT8
from rushlight.ops import record, tape
from rushlight.ops.declare import Array, Sample, op
from rushlight.ops.selection import choose
from rushlight.primitives import gather as g
from rushlight.primitives import structural as s
from rushlight.primitives.interpreter import slot
from rushlight.primitives.views import Steps
from rushlight.tensor.tensor import Tensor, wrap

# -- the ops ------------------------------------------------------------------------------------------------


@op(function=False, view=True, node="SliceBackward0")
def indexed_view(input: Array, steps: Steps) -> Steps:
    """What an index of ints, slices, None and `...` looks at."""
    return steps


@op(function=False, view=True, node="SelectBackward0")
def indexed_part(input: Array, steps: Steps) -> Steps:
    """What an index with an int in it looks at."""
    return steps


@op(function=False, view=True, node="UnsqueezeBackward0")
def indexed_wider(input: Array, steps: Steps) -> Steps:
    """What an index of None alone looks at."""
    return steps


@op(function=False, view=True, node="AliasBackward0")
def indexed_whole(input: Array, steps: Steps) -> Steps:
    """What `x[...]` looks at."""
    return steps


@op(function=False, node="IndexBackward0")
def indexed(input: Array, indices: list[Array], axes: tuple[int, ...], front: bool) -> Array:
    """The elements at integer indices along `axes`."""
    return g.take(input, *indices, axes=axes, front=front)


@indexed.gradient("input")
def indexed_gradient(grad: Array, input_shape: Any, indices: Any, axes: Any, front: bool) -> Array:
    return scattered(grad, indices, axes, front, tuple(input_shape))


@op(function=False, node="IndexPutBackward0")
def scattered(
    input: Array, indices: list[Array], axes: tuple[int, ...], front: bool, shape: tuple[int, ...]
) -> Array:
    """Zeros of `shape` with the elements added at integer indices: the adjoint of `indexed`."""
    zero = s.full(0, shape=shape, dtype=input.dtype)
    return g.put_add(zero, input, *indices, axes=axes, front=front)


@scattered.gradient("input")
def scattered_gradient(grad: Array, indices: Any, axes: Any, front: bool) -> Array:
    return indexed(grad, indices, axes, front)


@op(function=False, node="IndexPutBackward0")
def index_written(
    input: Array,
    value: Array,
    indices: list[Array],
    axes: tuple[int, ...],
    front: bool,
    accumulate: bool,
) -> Array:
    """`input` with `value` at integer indices, or added there."""
    write = g.put_add if accumulate else g.put
    return write(input, value, *indices, axes=axes, front=front)


@index_written.gradient("input")
def index_written_gradient_input(
    grad: Array, indices: Any, axes: Any, front: bool, accumulate: bool
) -> Array:
    if accumulate:
        return grad
    return index_written(grad, indexed(grad, indices, axes, front) * 0, indices, axes, front, False)


@index_written.gradient("value")
def index_written_gradient_value(grad: Array, indices: Any, axes: Any, front: bool) -> Array:
    return indexed(grad, indices, axes, front)


@indexed.samples
def indexed_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), [make.ints(2, high=3)], (0,), False)
    yield Sample(make(3, 4, 2), [make.ints(2, high=3), make.ints(2, high=2)], (0, 2), True)


@scattered.samples
def scattered_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 4), [make.ints(2, high=3)], (0,), False, (3, 4))


@index_written.samples
def index_written_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make(4), [make.ints(2, high=3)], (0,), False, True)


# -- what stands between the brackets -----------------------------------------------------------------------


def _as_index(item: Any) -> Any:
    """An item as an int, slice, None, Ellipsis, bool, or an index array."""
    if isinstance(item, Tensor):
        array = item._array
        if array.dtype not in INTEGRAL:
            raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
        if array.dtype == UINT8:
            array = s.cast(array, dtype=BOOL)
        if not array.ndim and array.dtype != BOOL and slot.recorder is None:
            return int(array)
        return array
    if isinstance(item, np.ndarray):
        return _as_index(wrap(item))
    if isinstance(item, (list, tuple, range)):
        return _listed_index(item)
    return item


def _listed_index(items: Any) -> Any:
    rows: list[Any] = list(items)
    plain = [i.tolist() if isinstance(i, (Tensor, np.ndarray)) else i for i in rows]
    array = np.array(plain) if plain else np.zeros(0, np.int64)
    if array.dtype.kind not in "iub":
        raise TypeError(
            "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are "
            f"valid indices (got {type(items).__name__})"
        )
    return array.astype(np.int64) if array.dtype != bool else array


def _items(index: Any) -> list[Any]:
    if isinstance(index, tuple):
        return [_as_index(i) for i in index]
    if isinstance(index, list) and any(
        isinstance(i, (slice, type(None), type(...), list, tuple, Tensor)) for i in index
    ):
        # A list of such things is an index for each dimension only if it holds slices; lists of lists are one array.
        if any(isinstance(i, (slice, type(None), type(...))) for i in index):
            return [_as_index(i) for i in index]
    return [_as_index(index)]


def _is_array(item: Any) -> bool:
    return hasattr(item, "dtype") and not isinstance(item, np.generic)


class _Plan:
    """What an index asks for: steps of a view, then index arrays along axes of that view."""

    def __init__(self, shape: tuple[int, ...], index: Any) -> None:
        items = _items(index)
        used = sum(
            1
            for i in items
            if i is not None
            and i is not ...
            and not isinstance(i, bool)
            and not (_is_array(i) and i.dtype == BOOL)
        )
        used += sum(i.ndim for i in items if _is_array(i) and i.dtype == BOOL)
        if used > len(shape):
            raise IndexError(f"too many indices for tensor of dimension {len(shape)}")
        if sum(1 for i in items if i is ...) > 1:
            raise IndexError("an index can only have a single ellipsis ('...')")
        if not any(i is ... for i in items):
            items.append(...)
        self.starts, self.stops, self.strides = [0] * len(shape), list(shape), [1] * len(shape)
        self.kept: list[int] = []  # the shape after ints and None
        self.arrays: list[tuple[int, Any]] = []  # (axis of the view, index array or mask)
        self.kinds: set[str] = set()
        d = 0
        for item in items:
            if item is ...:
                for _ in range(len(shape) - used):
                    self.kept.append(shape[d])
                    d += 1
            else:
                d = self._take(shape, d, item)
        self.shape = shape

    def _take(self, shape: tuple[int, ...], d: int, item: Any) -> int:
        if item is None:
            self.kinds.add("wider")
            self.kept.append(1)
            return d
        if isinstance(item, (bool, np.bool_)):
            self.kinds.add("array")
            self.arrays.append((len(self.kept), np.zeros(1 if item else 0, np.int64)))
            self.kept.append(1)
            return d
        if _is_array(item):
            self.kinds.add("array")
            if item.dtype == BOOL:
                return self._take_mask(shape, d, item)
            self.arrays.append((len(self.kept), item))
            self.kept.append(shape[d])
            return d + 1
        if isinstance(item, slice):
            self._slice(shape, d, item)
            return d + 1
        if hasattr(item, "__index__"):
            self._int(shape, d, item.__index__())
            return d + 1
        raise TypeError(
            "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are "
            f"valid indices (got {type(item).__name__})"
        )

    def _int(self, shape: tuple[int, ...], d: int, i: int) -> None:
        size = shape[d]
        if not -size <= i < size:
            raise IndexError(f"index {i} is out of bounds for dimension {d} with size {size}")
        i += size if i < 0 else 0
        self.starts[d], self.stops[d] = i, i + 1
        self.kinds.add("part")

    def _slice(self, shape: tuple[int, ...], d: int, item: slice) -> None:
        step = 1 if item.step is None else int(item.step)
        if step <= 0:
            raise ValueError(
                "step must be greater than zero: rushlight has no negative steps; use flip()"
            )
        first = None if item.start is None else int(item.start)
        last = None if item.stop is None else int(item.stop)
        start, stop, _ = slice(first, last, step).indices(shape[d])
        stop = max(start, stop)
        self.starts[d], self.stops[d], self.strides[d] = start, stop, step
        self.kept.append(-(-(stop - start) // step))
        if (start, stop, step) != (0, shape[d], 1):
            self.kinds.add("slice")

    def _take_mask(self, shape: tuple[int, ...], d: int, mask: Any) -> int:
        if mask.shape != tuple(shape[d : d + mask.ndim]):
            at = next((i for i, (m, n) in enumerate(zip(mask.shape, shape[d:])) if m != n), 0)
            raise IndexError(
                f"The shape of the mask {list(mask.shape)} at index {at} does not match the shape "
                f"of the indexed tensor {list(shape)} at index {d + at}"
            )
        if not mask.ndim:
            return self._take(shape, d, bool(mask))
        places = g.nonzero(mask)
        for k in range(mask.ndim):
            self.arrays.append((len(self.kept), s.copy(places[:, k])))
            self.kept.append(shape[d + k])
        return d + mask.ndim

    def steps(self) -> Steps:
        """The view that ints, slices and None lead to."""
        steps: list[Any] = []
        if (tuple(self.starts), tuple(self.stops), tuple(self.strides)) != (
            (0,) * len(self.shape),
            self.shape,
            (1,) * len(self.shape),
        ):
            steps.append(
                (
                    s.slice_,
                    {
                        "starts": tuple(self.starts),
                        "stops": tuple(self.stops),
                        "steps": tuple(self.strides),
                    },
                )
            )
        after = tuple(-(-(b - a) // c) for a, b, c in zip(self.starts, self.stops, self.strides))
        if tuple(self.kept) != after:
            steps.append((s.reshape, {"shape": tuple(self.kept)}))
        return tuple(steps)

    def gathered(self) -> tuple[list[Any], tuple[int, ...], bool]:
        """Index arrays, their axes, and whether their dimensions come first (where slices lie between them)."""
        axes = tuple(axis for axis, _ in self.arrays)
        together = all(b == a + 1 for a, b in itertools.pairwise(axes))
        arrays = [s.cast(i, dtype=INT64) if i.dtype != INT64 else i for _, i in self.arrays]
        return arrays, axes, not together


def _view(x: Tensor, plan: _Plan) -> Tensor:
    steps = plan.steps()
    if "part" in plan.kinds:
        return indexed_part(x, steps)  # type: ignore[no-any-return]
    if "slice" in plan.kinds:
        return indexed_view(x, steps)  # type: ignore[no-any-return]
    return (indexed_wider if "wider" in plan.kinds else indexed_whole)(x, steps)  # type: ignore[no-any-return]


def _quick(x: Tensor, index: Any) -> Tensor | None:
    """x[i] and x[a:b] without a plan."""
    shape = x._array.shape
    if not shape:
        return None
    size = shape[0]
    rest = (0,) * (len(shape) - 1)
    if type(index) is int:
        if not -size <= index < size:
            raise IndexError(f"index {index} is out of bounds for dimension 0 with size {size}")
        i = index + size if index < 0 else index
        cut = {"starts": (i, *rest), "stops": (i + 1, *shape[1:]), "steps": (1,) * len(shape)}
        return indexed_part(x, ((s.slice_, cut), (s.reshape, {"shape": shape[1:]})))  # type: ignore[no-any-return]
    if type(index) is slice and index.step is None:
        start, stop, _ = index.indices(size)
        cut = {
            "starts": (start, *rest),
            "stops": (max(start, stop), *shape[1:]),
            "steps": (1,) * len(shape),
        }
        return indexed_view(x, ((s.slice_, cut),))  # type: ignore[no-any-return]
    return None


def getitem(self: Tensor, index: Any) -> Tensor:
    """`x[index]`: a view for ints, slices, None and `...`; a copy where masks or index tensors take part.

    >>> import rushlight
    >>> x = rushlight.arange(6).reshape(2, 3)
    >>> x[1], x[:, 1:], x[x > 3]
    (tensor([3, 4, 5]), tensor([[1, 2],
            [4, 5]]), tensor([4, 5]))
    """
    kind = type(index)
    if kind is int or kind is slice:
        found = _quick(self, index)
        if found is not None:
            return found
    plan = _Plan(tuple(self._array.shape), index)
    if not plan.arrays:
        return _view(self, plan)
    steps = plan.steps()
    base = indexed_view(self, steps) if steps else self
    arrays, axes, front = plan.gathered()
    return indexed(base, [wrap(a) for a in arrays], axes, front)  # type: ignore[no-any-return]


def _mask_for(x: Tensor, index: Any, value: Tensor) -> Any:
    """The mask in x's dimensions if `index` is one, and the value the same for all that it selects; else None.

    Then a choice between two tensors says it, in which no shape depends on values.
    """
    if not isinstance(index, Tensor) or index._array.dtype not in (BOOL, UINT8):
        return None
    mask, shape = _as_index(index), x._array.shape
    rest = len(shape) - mask.ndim
    if mask.shape != shape[: mask.ndim]:
        return None
    have = value._array.shape
    if len(have) > rest + 1 or (len(have) == rest + 1 and have[0] != 1):
        return None
    return s.reshape(mask, shape=(*mask.shape, *(1,) * rest))


def setitem(self: Tensor, index: Any, value: Any) -> None:
    """`x[index] = value`: the value is cast and broadcast; nothing is written where the index is out of range."""
    if not isinstance(value, Tensor):
        value = (
            wrap(np.asarray(value, self._array.dtype))
            if not isinstance(value, (list, tuple))
            else _tensor_of(value, self)
        )
    mask = _mask_for(self, index, value)
    if mask is not None:
        value = _fitting(value, (1, *self._array.shape[index._array.ndim :]))
        if value._array.dtype != self._array.dtype:
            value = tape.slots.cast(value, self._array.dtype)
        tape.slots.copy_to(self, choose(wrap(mask), value, self))
        return
    plan = _Plan(tuple(self._array.shape), index)
    if not plan.arrays:
        target = _view(self, plan)
        tape.slots.copy_to(target, _fitting(value, tuple(target._array.shape)))
        return
    steps = plan.steps()
    target = indexed_view(self, steps) if steps else self
    arrays, axes, front = plan.gathered()
    shape = g.take.primitive.rule(target._array, *arrays, axes=axes, front=front).shape  # type: ignore[attr-defined]
    value = _fitting(value, shape)
    if value._array.dtype != target._array.dtype:
        if (
            plan.kinds
            and isinstance(index, Tensor)
            and index._array.dtype != BOOL
            and value._array.ndim
        ):
            raise RuntimeError(
                f"Index put requires the source and destination dtypes match, got {value.dtype} "
                f"for the source and {target.dtype} for the destination."
            )
        value = tape.slots.cast(value, target._array.dtype)
    written = index_written(target, value, [wrap(a) for a in arrays], axes, front, False)
    tape.slots.copy_to(target, written)


def _tensor_of(value: Any, like: Tensor) -> Tensor:
    raise TypeError(
        f"can't assign a {type(value).__name__} to a "
        f"torch.{record.type_name(like._array.dtype)}Tensor: make it a tensor first"
    )


def _fitting(value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The value without leading dimensions of size 1 that the target lacks; RuntimeError where it
    does not broadcast.
    """
    have = tuple(value._array.shape)
    while len(have) > len(shape) and have[0] == 1:
        have = have[1:]
    if not shapes.can_broadcast(have, shape):
        raise RuntimeError(
            f"shape mismatch: value tensor of shape {list(value._array.shape)} cannot be broadcast "
            f"to indexing result of shape {list(shape)}"
        )
    return value if have == tuple(value._array.shape) else value.reshape(have)  # type: ignore[attr-defined, no-any-return]


def index_arguments(x: Any, indices: Any) -> tuple[Any, list[Any], tuple[int, ...], bool]:
    """What `index_put` and its kin index: a view, index arrays, their axes, whether these come first."""
    plan = _Plan(tuple(x._array.shape), tuple(slice(None) if i is None else i for i in indices))
    arrays, axes, front = plan.gathered()
    return x, arrays, axes, front


METHODS: dict[str, Any] = {"__getitem__": getitem, "__setitem__": setitem}

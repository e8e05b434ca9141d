"""Products along any dimensions: tensordot, einsum, chains of matrices, traces, cross products."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rushlight.core import shapes
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.products import bmm, mm
from rushlight.ops.reduction import sum
from rushlight.ops.shape import (
    diagonal,
    expand,
    permute,
    select,
    to_shape,
    unsqueeze,
)
from rushlight.ops.turning import roll

# -- any dimensions -----------------------------------------------------------------------------------------


@op(composite=True)
def tensordot(a: Array, b: Array, dims: Any = 2, out: Any = None) -> Array:
    """The sum over pairs of dimensions: the last `dims` of a with the first of b, or two lists of dimensions."""
    ra, rb = len(a.shape), len(b.shape)
    if hasattr(dims, "tolist"):
        dims = dims.tolist()
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        if dims > min(ra, rb):
            raise RuntimeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}")
        left, right = list(range(ra - dims, ra)), list(range(dims))
    else:
        left, right = ([d] if isinstance(d, int) else list(d) for d in dims)
    left, right = [shapes.dimension(d, ra) for d in left], [shapes.dimension(d, rb) for d in right]
    sa, sb = tuple(a.shape), tuple(b.shape)
    for i, j in zip(left, right, strict=True):
        if (
            sa[i] != sb[j] and sa[i] == 1
        ):  # as in PyTorch, size 1 broadcasts: the other side is summed first
            b = sum(b, j, True)
        elif sa[i] != sb[j] and sb[j] == 1:
            a = sum(a, i, True)
        elif sa[i] != sb[j]:
            raise RuntimeError(
                f"contracted dimensions need to match, but first has size {sa[i]} in dim {i} and second "
                f"has size {sb[j]} in dim {j}"
            )
    letters = list(range(ra))
    others = [ra + j for j in range(rb)]
    for i, j in zip(left, right, strict=True):
        others[j] = letters[i]
    kept = [i for i in letters if i not in left] + [ra + j for j in range(rb) if j not in right]
    result = _contract_pair(a, letters, b, others, kept)
    return result if out is None else out.copy_(result)


@tensordot.samples
def tensordot_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3, 4), make(3, 4, 5))
    yield Sample(make(2, 3), make(4, 3), ([1], [1]))
    yield Sample(make(2), make(3), 0)
    yield Bad(make(2, 3), make(4, 3), 1, raises=RuntimeError, says="need to match")


def _contract_pair(a: Any, la: list[int], b: Any, lb: list[int], kept: list[int]) -> Any:
    """Sums over labels that are not kept; the result's dimensions are in the order of `kept`."""
    for x in [x for x in la if x not in lb and x not in kept]:
        a = sum(a, la.index(x))
        la = [y for y in la if y != x]
    for x in [x for x in lb if x not in la and x not in kept]:
        b = sum(b, lb.index(x))
        lb = [y for y in lb if y != x]
    batch = [x for x in la if x in lb and x in kept]
    summed = [x for x in la if x in lb and x not in kept]
    rows, columns = [x for x in la if x not in lb], [x for x in lb if x not in la]
    size: dict[int, int] = {}
    for x, n in (*zip(la, tuple(a.shape)), *zip(lb, tuple(b.shape))):
        if size.get(x, 1) == 1:  # where one side has size 1 it broadcasts
            size[x] = n

    def count(labels):
        return shapes.size_of(size[x] for x in labels)

    left = permute(a, tuple(la.index(x) for x in (*batch, *rows, *summed)))
    left = to_shape(
        expand(left, tuple(size[x] for x in (*batch, *rows, *summed))),
        (count(batch), count(rows), count(summed)),
    )
    right = permute(b, tuple(lb.index(x) for x in (*batch, *summed, *columns)))
    right = to_shape(
        expand(right, tuple(size[x] for x in (*batch, *summed, *columns))),
        (count(batch), count(summed), count(columns)),
    )
    order = (*batch, *rows, *columns)
    out = to_shape(bmm(left, right), tuple(size[x] for x in order))
    return permute(out, tuple(order.index(x) for x in kept)) if kept else out


_ELLIPSIS = 1000  # labels from here on stand for the dimensions of "..."


def _labels(equation: str, operands: list[Any]) -> tuple[list[list[int]], list[int]]:
    text = equation.replace(" ", "")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        raise RuntimeError(
            f"einsum(): more operands were provided than specified in the equation: {len(operands)} for {equation!r}"
            if len(operands) > len(terms)
            else f"einsum(): fewer operands were provided than specified in the equation: {len(operands)} "
            f"for {equation!r}"
        )
    labels, widest = [], 0
    for i, (term, x) in enumerate(zip(terms, operands, strict=True)):
        rank = len(x.shape)
        before, dots, after = term.partition("...")
        for c in before + after:
            if not c.isalpha():
                raise RuntimeError(
                    f"einsum(): invalid subscript given at index {text.index(c)} in the equation string, "
                    "subscripts must be in [a-zA-Z]"
                )
        hidden = rank - len(before) - len(after)
        if hidden < 0 or (hidden and not dots):
            raise RuntimeError(
                f"einsum(): the number of subscripts in the equation ({len(before) + len(after)}) does not "
                "match the number of "
                f"dimensions ({rank}) for operand {i}"
                + (" and no ellipsis was given" if not dots else "")
            )
        widest = max(widest, hidden)
        labels.append(
            [*map(ord, before), *range(_ELLIPSIS + hidden - 1, _ELLIPSIS - 1, -1), *map(ord, after)]
        )
    dotted = list(range(_ELLIPSIS + widest - 1, _ELLIPSIS - 1, -1))
    if arrow:
        before, dots, after = right.partition("...")
        result = [*map(ord, before), *(dotted if dots else ()), *map(ord, after)]
    else:
        plain = [x for term in labels for x in term if x < _ELLIPSIS]
        result = dotted + sorted(x for x in set(plain) if plain.count(x) == 1)
    known = {x for term in labels for x in term}
    for x in result:
        if x not in known:
            raise RuntimeError(
                f"einsum(): output subscript {chr(x)} does not appear in the equation for any input operand"
            )
        if result.count(x) > 1:
            raise RuntimeError(
                f"einsum(): output subscript {chr(x)} appears more than once in the output"
            )
    return labels, result


def _listed_labels(args: tuple[Any, ...]) -> tuple[list[Any], list[list[int]], list[int] | None]:
    """Einsum's other form: tensor, [0, 1], tensor, [1, 2], ..., [0, 2]."""
    operands, labels = list(args[: len(args) // 2 * 2 : 2]), [list(x) for x in args[1::2]]
    return operands, labels, list(args[-1]) if len(args) % 2 else None


@op(composite=True)
def einsum(*args: Any) -> Array:
    """Sums of products by index letters: einsum("ij,jk->ik", a, b) is a @ b. Also einsum(a, [0, 1], b, [1, 2], [0, 2]).

    >>> import rushlight
    >>> rushlight.einsum("ii->i", rushlight.tensor([[1, 2], [3, 4]]))
    tensor([1, 4])
    """
    if not args:
        raise ValueError(
            "einsum(): must specify the equation string and at least one operand, or at least one operand "
            "and its subscripts list"
        )
    if isinstance(args[0], str):
        operands = (
            list(args[1])
            if len(args) == 2 and isinstance(args[1], (list, tuple))
            else list(args[1:])
        )
        if not operands:
            raise RuntimeError("einsum(): must provide at least one operand")
        labels, result = _labels(args[0], operands)
    else:
        operands, listed, wanted = _listed_labels(args)
        letters = [
            ["..." if x is Ellipsis else chr(97 + x if x < 26 else 39 + x) for x in term]
            for term in listed
        ]
        text = ",".join("".join(term) for term in letters)
        if wanted is not None:
            text += "->" + "".join(
                "..." if x is Ellipsis else chr(97 + x if x < 26 else 39 + x) for x in wanted
            )
        labels, result = _labels(text, operands)
    _check_sizes(labels, operands)
    for i, (x, term) in enumerate(zip(operands, labels, strict=True)):
        operands[i], labels[i] = _without_repeats(x, term)
    while len(operands) > 1:
        left, right = operands[:2]
        later = {y for term in labels[2:] for y in term} | set(result)
        kept = [y for y in dict.fromkeys([*labels[0], *labels[1]]) if y in later]
        if len(operands) == 2:
            kept = list(result)
        operands[:2] = [_contract_pair(left, list(labels[0]), right, list(labels[1]), kept)]
        labels[:2] = [kept]
    return _arranged(operands[0], labels[0], result)


def _check_sizes(labels: list[list[int]], operands: list[Any]) -> None:
    size: dict[int, int] = {}
    for i, (term, x) in enumerate(zip(labels, operands, strict=True)):
        for label, n in zip(term, tuple(x.shape), strict=True):
            have = size.get(label, 1)
            if n != 1 and have not in (1, n):
                name = "..." if label >= _ELLIPSIS else chr(label)
                raise RuntimeError(
                    f"einsum(): subscript {name} has size {n} for operand {i} which does not broadcast "
                    f"with previously seen size {have}"
                )
            size[label] = max(have, n) if n else 0


def _without_repeats(x: Any, term: list[int]) -> tuple[Any, list[int]]:
    for label in list(dict.fromkeys(term)):
        while term.count(label) > 1:
            i = term.index(label)
            j = term.index(label, i + 1)
            x = diagonal(x, 0, i, j)
            term = [y for k, y in enumerate(term) if k not in (i, j)] + [label]
    return x, term


def _arranged(x: Any, term: list[int], result: list[int]) -> Any:
    gone = tuple(i for i, label in enumerate(term) if label not in result)
    if gone:
        x = sum(x, gone)
        term = [label for label in term if label in result]
    order = tuple(term.index(label) for label in result)
    return permute(x, order) if order != tuple(range(len(order))) else x


@einsum.samples
def einsum_samples(make: Any) -> Iterator[Any]:
    yield Sample("ij,jk->ik", make(2, 3), make(3, 4))
    yield Sample("...ij,...jk->...ik", make(2, 2, 3), make(3, 4))
    yield Sample("ii", make(3, 3))
    yield Sample("bn,anm,bm->ba", make(2, 3), make(4, 3, 5), make(2, 5))
    yield Sample("i,j", make(2), make(3))
    yield Sample(make(2, 3), [0, 1], make(3, 4), [1, 2], [0, 2])
    yield Bad("ij,jk", make(2, 3), make(4, 5), raises=RuntimeError, says="does not broadcast")
    yield Bad("ij->ik", make(2, 3), raises=RuntimeError, says="output subscript k")


@op(composite=True)
def chain_matmul(*matrices: Any) -> Array:
    """The product of several matrices, in the order that costs least."""
    return multi_dot(list(matrices))


@op(module="linalg", composite=True)
def multi_dot(tensors: Any, *, out: Any = None) -> Array:
    """The product of several matrices (the first and last may be vectors), in the order that costs least."""
    items = list(tensors)
    if len(items) < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {len(items)}")
    first, last = len(items[0].shape) == 1, len(items[-1].shape) == 1
    items[0] = unsqueeze(items[0], 0) if first else items[0]
    items[-1] = unsqueeze(items[-1], 1) if last else items[-1]
    sizes = [next(iter(x.shape)) for x in items] + [tuple(items[-1].shape)[1]]
    count = len(items)
    cost: dict[tuple[int, int], tuple[int, int]] = {(i, i): (0, i) for i in range(count)}
    for length in range(1, count):
        for i in range(count - length):
            j = i + length
            cost[i, j] = min(
                (cost[i, k][0] + cost[k + 1, j][0] + sizes[i] * sizes[k + 1] * sizes[j + 1], k)
                for k in range(i, j)
            )

    def product(i: int, j: int) -> Any:
        if i == j:
            return items[i]
        k = cost[i, j][1]
        return mm(product(i, k), product(k + 1, j))

    result = product(0, count - 1)
    if first:
        result = select(result, 0, 0)
    if last:
        result = select(result, -1, 0)
    return result if out is None else out.copy_(result)


@chain_matmul.samples
def chain_matmul_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3), make(3, 4), make(4, 2))


@multi_dot.samples
def multi_dot_samples(make: Any) -> Iterator[Any]:
    yield Sample([make(3), make(3, 4), make(4)])
    yield Bad([make(3, 3)], raises=RuntimeError, says="at least 2")


@op(method=True, composite=True)
def trace(input: Array) -> Array:
    """The sum of a matrix's diagonal."""
    if len(input.shape) != 2:
        raise RuntimeError(
            "trace: expected a matrix, but got tensor with dim " + str(len(input.shape))
        )
    return sum(diagonal(input))


@trace.samples
def trace_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4))
    yield Bad(make(3), raises=RuntimeError, says="expected a matrix")


@op(module="linalg", composite=True, aliases=("cross",))
def cross(input: Array, other: Array, *, dim: int = -1) -> Array:
    """The cross product of vectors of size 3 along `dim`."""
    axis = shapes.dimension(dim, max(len(input.shape), len(other.shape)))
    if tuple(input.shape)[dim] != 3 or tuple(other.shape)[dim] != 3:
        raise RuntimeError(
            f"linalg.cross: inputs dimension {dim} must have length 3. Got {tuple(input.shape)[dim]} and "
            f"{tuple(other.shape)[dim]}"
        )
    shape = shapes.broadcast(tuple(input.shape), tuple(other.shape))
    a, b = expand(input, shape), expand(other, shape)
    return roll(a, -1, axis) * roll(b, -2, axis) - roll(a, -2, axis) * roll(b, -1, axis)


@cross.samples
def cross_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3), make(2, 3))
    yield Sample(make(3, 2), make(3, 1), dim=0)

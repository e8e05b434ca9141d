"""Covariances, distances of rows, finite differences, and membership: cov, corrcoef, pdist, gradient, renorm, isin."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rushlight.core import dtypes
from rushlight.core.dtypes import BOOL, INT64
from rushlight.core.shapes import dimension, dimensions, size_of
from rushlight.core.sites import warn_user
from rushlight.ops.arithmetic import in_dtype
from rushlight.ops.comparison import clamp
from rushlight.ops.complex_numbers import conjugate, imag, is_complex_dtype, real
from rushlight.ops.creation import complex
from rushlight.ops.declare import Array, Bad, Operand, Sample, op
from rushlight.ops.joining import cat, take_listed
from rushlight.ops.linear_algebra import plain
from rushlight.ops.norms import vector_norm
from rushlight.ops.operands import promote
from rushlight.ops.pointwise import sqrt
from rushlight.ops.products import matmul
from rushlight.ops.reduction import sum
from rushlight.ops.selection import choose
from rushlight.ops.shape import diagonal, narrow, reshape, select, t, unsqueeze
from rushlight.primitives import elementwise as p
from rushlight.primitives import structural as s
from rushlight.primitives.sorting import searchsorted, take_along
from rushlight.primitives.sorting import sort as p_sort

# -- covariance -------------------------------------------------------------------------------------------


def _floats(x: Any) -> Any:
    if plain(x.dtype) in dtypes.INEXACT:
        return x
    return in_dtype(x, dtypes.get_default_dtype().numpy)


@op(method=True, composite=True)
def cov(
    input: Array,
    *,
    correction: int = 1,
    fweights: Array | None = None,
    aweights: Array | None = None,
) -> Array:
    """Covariances of the variables in the rows of `input`, whose columns are observations.

    fweights says how often each observation counts (integers), aweights how much (floating point).
    The sum of squares is divided by the sum of weights less `correction` (weighted by aweights).

    >>> import rushlight
    >>> rushlight.cov(rushlight.tensor([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]]))
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    if input.ndim > 2:
        raise RuntimeError(
            f"cov(): expected input to have two or fewer dimensions but got an input with {input.ndim} dimensions"
        )
    if plain(input.dtype) == BOOL:
        raise RuntimeError("cov(): bool dtype is not supported for input")
    x = input if input.ndim == 2 else reshape(input, (1, -1))
    count = x.shape[1]
    weights = None
    for given, name, kinds in ((fweights, "fweights", "iu"), (aweights, "aweights", "fV")):
        if given is None:
            continue
        if given.ndim > 1:
            raise RuntimeError(
                f"cov(): expected {name} to have one or fewer dimensions but got {given.ndim}"
            )
        if plain(given.dtype).kind not in kinds:
            what = "integral" if name == "fweights" else "floating point"
            raise RuntimeError(
                f"cov(): expected {name} to have {what} dtype but got {name} with {given.dtype} dtype"
            )
        if size_of(given.shape) != count:
            raise RuntimeError(
                f"cov(): expected {name} to have the same numel as there are observations in the input but got "
                f"{size_of(given.shape)} != {count}"
            )
        flat = reshape(given, (-1,))
        weights = flat if weights is None else weights * flat
    x = _floats(x)
    if weights is None:
        mean = sum(x, 1) / count if count else sum(x, 1) * float("nan")
        total: Any = count
        divisor: Any = max(count - correction, 0)
        if count - correction <= 0:
            warn_user(
                "cov(): degrees of freedom is <= 0. Correction should be strictly less than the number of observations."
            )
    else:
        total = sum(weights)
        mean = sum(x * weights, 1) / total
        if aweights is not None and correction:
            lost = sum(weights * reshape(aweights, (-1,))) / total
            divisor = clamp(total - correction * lost, 0)
        else:
            divisor = clamp(total - correction, 0)
    x = x - unsqueeze(mean, 1)
    weighted = x if weights is None else x * weights
    product = matmul(weighted, t(conjugate(x)))
    out = (
        product / divisor
        if not isinstance(divisor, int) or divisor
        else product / (sum(product) * 0)
    )
    return select(select(out, 0, 0), 0, 0) if x.shape[0] == 1 else out


@op(method=True, composite=True)
def corrcoef(input: Array) -> Array:
    """Correlation coefficients (Pearson) of the variables in the rows of `input`.

    >>> import rushlight
    >>> rushlight.corrcoef(rushlight.tensor([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]]))
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    if input.ndim > 2:
        raise RuntimeError(
            f"corrcoef(): expected input to have two or fewer dimensions but got an input with {input.ndim} dimensions"
        )
    c = cov(input)
    if not c.ndim:
        return c / c
    spread = diagonal(c)
    spread = sqrt(real(spread) if is_complex_dtype(c.dtype) else spread)
    c = c / unsqueeze(spread, 1) / unsqueeze(spread, 0)
    if is_complex_dtype(c.dtype):
        return complex(clamp(real(c), -1, 1), clamp(imag(c), -1, 1))
    return clamp(c, -1, 1)


@cov.samples
def cov_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 5))
    yield Sample(make(5), correction=0)
    yield Sample(make(3, 5), fweights=make.ints(5, low=1), aweights=make(5, low=0.5))
    yield Sample(make(2, 4, dtype=dtypes.complex128))
    yield Bad(make(2, 3, 4), raises=RuntimeError, says="two or fewer dimensions")
    yield Bad(make(3, 5), fweights=make(5), raises=RuntimeError, says="integral")


@corrcoef.samples
def corrcoef_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(1, 5).detach())
    yield Sample(
        make.tensor([[0.1, 0.9, 0.3, -1.1], [0.5, -0.2, 0.7, 0.1]], dtypes.float64).detach()
    )
    yield Sample(make(2, 5))
    yield Bad(make(2, 3, 4), raises=RuntimeError, says="two or fewer dimensions")


# -- rows -------------------------------------------------------------------------------------------------


@op(composite=True, aliases=("nn.functional.pdist",))
def pdist(input: Array, p: float = 2) -> Array:
    """Distances of order p between all pairs of rows i < j of a matrix, (n, m) to (n (n - 1) / 2,).

    >>> import rushlight
    >>> rushlight.pdist(rushlight.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]]))
    tensor([5.0000, 1.0000, 4.2426])
    """
    if input.ndim != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {input.ndim}D")
    if plain(input.dtype).kind not in "fV":
        raise RuntimeError("pdist only supports floating-point dtypes")
    if p < 0:
        raise RuntimeError("pdist only supports non-negative p values")
    n = input.shape[0]
    first = tuple(i for i in range(n) for _ in range(i + 1, n))
    second = tuple(j for i in range(n) for j in range(i + 1, n))
    apart = take_listed(input, first, 0) - take_listed(input, second, 0)
    return sum(apart, 1) if not input.shape[1] else vector_norm(apart, p, 1)


@pdist.samples
def pdist_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(4, 3))
    yield Sample(make.distinct(4, 3), 1)
    yield Sample(make.distinct(3, 2), 3.0)
    yield Sample(make(1, 3).detach())
    yield Bad(make(3), raises=RuntimeError, says="2D")
    yield Bad(make(3, 2), -1, raises=RuntimeError, says="non-negative")


@op(method=True, inplace=True, composite=True)
def renorm(input: Array, p: float, dim: int, maxnorm: float) -> Array:
    """Slices along `dim` whose norm of order p is above `maxnorm` scaled down to it.

    >>> import rushlight
    >>> rushlight.renorm(rushlight.tensor([[3.0, 4.0], [0.3, 0.4]]), 2, 0, 1)
    tensor([[0.6000, 0.8000],
            [0.3000, 0.4000]])
    """
    if input.ndim < 2:
        raise RuntimeError(
            f"renorm: input needs at least 2 dimensions, got {input.ndim} dimensions"
        )
    if p <= 0:
        raise RuntimeError("renorm: non-positive norm not supported")
    if maxnorm < 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm}")
    axis = dimension(dim, input.ndim)
    size = vector_norm(input, p, tuple(d for d in range(input.ndim) if d != axis), True)
    return input * choose(size > maxnorm, maxnorm / (size + 1e-7), 1.0)


@renorm.samples
def renorm_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), 2, 0, 1.0)
    yield Sample(make.distinct(2, 3, 2), 1, -1, 0.5)
    yield Sample(make(3, 4), 3, 1, 100.0)
    yield Bad(make(3), 2, 0, 1.0, raises=RuntimeError, says="at least 2 dimensions")
    yield Bad(make(3, 4), 0, 0, 1.0, raises=RuntimeError, says="non-positive")


# -- finite differences -----------------------------------------------------------------------------------


def _slopes(x: Any, axis: int, spacing: Any, edge_order: int) -> Any:
    """Second order inside (by unequal steps too), first or second order at the two ends."""
    n = x.shape[axis]

    def part(start: int, length: int) -> Any:
        return narrow(x, axis, start, length)

    if not hasattr(spacing, "ndim") or not spacing.ndim:
        inner = (part(2, n - 2) - part(0, n - 2)) / (spacing * 2)
        if edge_order == 1:
            first, last = (
                (part(1, 1) - part(0, 1)) / spacing,
                (part(n - 1, 1) - part(n - 2, 1)) / spacing,
            )
        else:
            first = (part(0, 1) * -1.5 + part(1, 1) * 2 - part(2, 1) * 0.5) / spacing
            last = (part(n - 1, 1) * 1.5 - part(n - 2, 1) * 2 + part(n - 3, 1) * 0.5) / spacing
        return cat([first, inner, last], axis)
    shape = [1] * x.ndim
    shape[axis] = n - 1
    steps = reshape(narrow(spacing, 0, 1, n - 1) - narrow(spacing, 0, 0, n - 1), tuple(shape))

    def step(start: int, length: int = 1) -> Any:
        return narrow(steps, axis, start, length)

    left, right = step(0, n - 2), step(1, n - 2)
    inner = (
        part(0, n - 2) * (-right / (left * (left + right)))
        + part(1, n - 2) * ((right - left) / (left * right))
        + part(2, n - 2) * (left / (right * (left + right)))
    )
    if edge_order == 1:
        first = (part(1, 1) - part(0, 1)) / step(0)
        last = (part(n - 1, 1) - part(n - 2, 1)) / step(n - 2)
        return cat([first, inner, last], axis)
    a, b = step(0), step(1)
    first = part(0, 1) * (-(a * 2 + b) / (a * (a + b))) + part(1, 1) * ((a + b) / (a * b))
    first = first - part(2, 1) * (a / (b * (a + b)))
    a, b = step(n - 3), step(n - 2)
    last = part(n - 3, 1) * (b / (a * (a + b))) - part(n - 2, 1) * ((a + b) / (a * b))
    last = last + part(n - 1, 1) * ((b * 2 + a) / (b * (a + b)))
    return cat([first, inner, last], axis)


@op(composite=True)
def gradient(input: Array, *, spacing: Any = 1, dim: Any = None, edge_order: int = 1) -> Any:
    """Slopes of a function of which `input` holds values on a grid, along all dimensions or `dim`: one tensor each.

    `spacing` is a step, or for each dimension a step or a tensor of coordinates. Inside, slopes are
    exact for parabolas; at the ends too with edge_order=2.

    >>> import rushlight
    >>> rushlight.gradient(rushlight.tensor([1.0, 4.0, 9.0, 16.0]))[0]
    tensor([3., 4., 6., 7.])
    """
    spacing = 1 if spacing is None else spacing
    axes = tuple(range(input.ndim)) if dim is None else dimensions(dim, input.ndim)
    if edge_order not in (1, 2):
        raise RuntimeError(
            f"torch.gradient only supports edge_order=1 and edge_order=2, not {edge_order}."
        )
    if isinstance(spacing, (tuple, list)):
        if len(spacing) != len(axes):
            raise RuntimeError(
                f"torch.gradient expected spacing to be unspecified, a scalar, or a list of length {len(axes)}, but "
                f"got a list of length {len(spacing)}"
            )
        steps = list(spacing)
    else:
        steps = [spacing] * len(axes)
    for axis, step in zip(axes, steps, strict=True):
        if input.shape[axis] < edge_order + 1:
            raise RuntimeError(
                "torch.gradient expected each dimension size to be at least edge_order+1, but dimension "
                f"{axis} has size {input.shape[axis]}"
            )
        if getattr(step, "ndim", 0) and tuple(step.shape) != (input.shape[axis],):
            raise RuntimeError(
                "torch.gradient expected each element of spacing to have the length of its dimension: "
                f"{list(step.shape)} for dimension {axis} of size {input.shape[axis]}"
            )
    x = _floats(input)
    return [_slopes(x, axis, step, edge_order) for axis, step in zip(axes, steps, strict=True)]


@gradient.samples
def gradient_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(5))
    yield Sample(make(3, 4), spacing=0.5, dim=1, edge_order=2)
    at = make.tensor([0.0, 1.0, 3.0, 3.5], dtypes.float64).detach()
    yield Sample(make(3, 4), spacing=(2.0, at))
    yield Sample(make(4), spacing=(at,), edge_order=2)
    yield Bad(make(1), raises=RuntimeError, says="at least edge_order+1")
    yield Bad(make(3), edge_order=3, raises=RuntimeError, says="edge_order")


# -- membership -------------------------------------------------------------------------------------------


@op(differentiable=False)
def isin(
    elements: Operand, test_elements: Operand, *, assume_unique: bool = False, invert: bool = False
) -> Array:
    """For each of `elements` whether it is among `test_elements` (invert=True: whether it is not).

    >>> import rushlight
    >>> rushlight.isin(rushlight.tensor([1, 2, 3]), rushlight.tensor([3, 1]))
    tensor([ True, False,  True])
    """
    a, b = promote(elements, test_elements)
    dtype = (a if hasattr(a, "dtype") else b).dtype
    shape = getattr(a, "shape", ())
    if not hasattr(b, "dtype"):
        b = s.full(b, shape=(1,), dtype=dtype)
    if not hasattr(a, "dtype"):
        a = s.full(a, shape=(), dtype=dtype)
    if dtype == BOOL:
        a, b = (s.cast(x, dtype=dtypes.UINT8) for x in (a, b))
    count = size_of(b.shape)
    if not count:
        found = s.full(False, shape=tuple(shape), dtype=BOOL)
    else:
        ordered, _ = p_sort(s.reshape(b, shape=(count,)), axis=0, descending=False, stable=True)
        flat = s.reshape(a, shape=(size_of(shape),))
        at = p.minimum(searchsorted(ordered, flat, right=False, dtype=INT64), count - 1)
        found = s.reshape(p.equal(take_along(ordered, at, axis=0), flat), shape=tuple(shape))
    return p.logical_not(found) if invert else found


@isin.samples
def isin_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.ints(3, 4), make.ints(5))
    yield Sample(make.ints(3), 2, invert=True)
    yield Sample(2, make.ints(3))
    yield Sample(make.bools(3), make.bools(1))
    yield Sample(make(3), make(0))
    yield Bad("a", make(3), raises=TypeError, says="must be Tensor")

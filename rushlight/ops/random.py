"""Random tensors: rand, randn, randint, randperm and their kin, and the methods that fill a tensor in place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rushlight.core import dtypes
from rushlight.core.dtypes import FLOAT64, FLOATING, INT64
from rushlight.core.shapes import broadcast
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.operands import sequence, to
from rushlight.ops.record import check_writable, forget_history
from rushlight.primitives import elementwise as p
from rushlight.primitives import structural as s
from rushlight.primitives.chance import poisson_counts
from rushlight.primitives.reduction import cumulative_sum
from rushlight.primitives.sorting import searchsorted, sort
from rushlight.random import streams
from rushlight.random.draws import draw
from rushlight.tensor.storage import write
from rushlight.tensor.tensor import Tensor


def _default(dtype: Any) -> Any:
    return dtypes.get_default_dtype().numpy if dtype is None else dtype


def _sizes(size: tuple[Any, ...], name: str) -> tuple[int, ...]:
    shape = sequence(size)
    if min(shape, default=0) < 0:
        raise RuntimeError(
            f"Trying to create tensor with negative dimension {min(shape)}: {name} was given {list(shape)}"
        )
    return shape


def _floating(name: str, dtype: Any) -> None:
    if dtype not in FLOATING:
        raise NotImplementedError(
            f"\"{name}\" not implemented for '{dtype}': it makes floating point numbers"
        )


# -- from a shape -------------------------------------------------------------------------------------------


@op(factory=True, differentiable=False)
def rand(*size: Any, generator: Any = None, dtype: Any = None) -> Array:
    """Uniform numbers in [0, 1).

    >>> import rushlight
    >>> _ = rushlight.manual_seed(0)
    >>> rushlight.rand(2)
    tensor([0.4963, 0.7682])
    """
    dtype = _default(dtype)
    _floating("uniform", dtype)
    return draw(streams.uniform, generator, _sizes(size, "rand"), dtype)


@op(factory=True, differentiable=False)
def randn(*size: Any, generator: Any = None, dtype: Any = None) -> Array:
    """Normal numbers of mean 0 and variance 1."""
    dtype = _default(dtype)
    _floating("normal_kernel_cpu", dtype)
    return draw(streams.normal, generator, _sizes(size, "randn"), dtype)


def _bounds(low: Any, high: Any) -> tuple[int, int]:
    if high <= low:
        raise RuntimeError(
            f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}"
        )
    return int(low), int(high)


@op(factory=True, differentiable=False)
def randint(
    low: Any = 0, high: Any = None, size: Any = None, *, generator: Any = None, dtype: Any = None
) -> Array:
    """Integers in [low, high): `randint(high, size)` or `randint(low, high, size)`."""
    if size is None and isinstance(high, (tuple, list)):
        low, high, size = 0, low, high
    elif high is None:
        low, high = 0, low
    if size is None:
        raise TypeError("randint() missing required argument: 'size'")
    first, last = _bounds(low, high)
    return draw(
        streams.integers,
        generator,
        _sizes((size,), "randint"),
        INT64 if dtype is None else dtype,
        first,
        last,
    )


@op(factory=True, differentiable=False)
def randperm(n: int, *, generator: Any = None, dtype: Any = None) -> Array:
    """A random order of 0..n-1."""
    if n < 0:
        raise RuntimeError(f"n must be non-negative, got {n}")
    return to(draw(streams.permutation, generator, int(n)), INT64 if dtype is None else dtype)


@rand.samples
def rand_samples(make: Any) -> Iterator[Any]:
    yield Sample(2, 3)
    yield Sample((0, 3))
    yield Sample(2, dtype=dtypes.float64)
    yield Bad(-1, raises=RuntimeError, says="negative dimension")


randn.samples(rand_samples)


@randint.samples
def randint_samples(make: Any) -> Iterator[Any]:
    yield Sample(10, (2, 3))
    yield Sample(-5, 5, (4,))
    yield Sample(3, size=(2,))
    yield Bad(5, 5, (2,), raises=RuntimeError, says="less than 'to'")


@randperm.samples
def randperm_samples(make: Any) -> Iterator[Any]:
    yield Sample(10)
    yield Sample(0)
    yield Bad(-1, raises=RuntimeError, says="non-negative")


# -- like another tensor ------------------------------------------------------------------------------------


@op(factory=True, differentiable=False)
def rand_like(input: Array, *, dtype: Any = None, generator: Any = None) -> Array:
    """Uniform numbers in [0, 1), in the shape and dtype of `input`."""
    kind = input.dtype if dtype is None else dtype
    _floating("uniform", kind)
    return draw(streams.uniform, generator, input.shape, kind)


@op(factory=True, differentiable=False)
def randn_like(input: Array, *, dtype: Any = None, generator: Any = None) -> Array:
    """Normal numbers in the shape and dtype of `input`."""
    kind = input.dtype if dtype is None else dtype
    _floating("normal_kernel_cpu", kind)
    return draw(streams.normal, generator, input.shape, kind)


@op(factory=True, differentiable=False)
def randint_like(
    input: Array, low: Any = 0, high: Any = None, *, dtype: Any = None, generator: Any = None
) -> Array:
    """Integers in [low, high), in the shape and dtype of `input`."""
    if high is None:
        low, high = 0, low
    first, last = _bounds(low, high)
    return draw(
        streams.integers,
        generator,
        input.shape,
        input.dtype if dtype is None else dtype,
        first,
        last,
    )


def _like_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3))
    yield Sample(make(0, 3))


rand_like.samples(_like_samples)
randn_like.samples(_like_samples)


@randint_like.samples
def randint_like_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.ints(2, 3), 5)
    yield Sample(make.ints(2, 3), -2, 5)


# -- of given distributions ---------------------------------------------------------------------------------


@op(method=True, differentiable=False)
def bernoulli(input: Array, p: Any = None, *, generator: Any = None) -> Array:
    """1 with the chance that each element says (or with chance p everywhere), else 0."""
    if p is not None:
        return draw(streams.bernoulli, generator, input.shape, input.dtype, _chance(p))
    _floating("bernoulli_tensor_cpu_p_", input.dtype)
    return _with_chances(generator, input, input.dtype)


def _with_chances(generator: Any, chances: Any, dtype: Any) -> Any:
    """1 with each element's own chance, else 0."""
    spots = draw(streams.unit, generator, chances.shape, chances.dtype)
    return s.cast(p.less(spots, s.cast(chances, dtype=FLOAT64)), dtype=dtype)


def _chance(value: Any) -> float:
    if not 0 <= value <= 1:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={value}")
    return float(value)


@bernoulli.samples
def bernoulli_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4, low=0.1, high=0.9))
    yield Sample(make(3, 4), 0.3)
    yield Bad(make(3), 1.5, raises=RuntimeError, says="in [0, 1]")


@op(factory=True, differentiable=False)
def normal(
    mean: Any, std: Any = 1.0, size: Any = None, *, generator: Any = None, dtype: Any = None
) -> Array:
    """Normal numbers: `mean` and `std` are tensors, or numbers with a `size`."""
    mean, std = (getattr(x, "_array", x) for x in (mean, std))
    if getattr(std, "dtype", None) is None and std < 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")
    if size is not None:
        return draw(
            streams.normal,
            generator,
            _sizes((size,), "normal"),
            _default(dtype),
            float(mean),
            float(std),
        )
    tensors = [x for x in (mean, std) if hasattr(x, "dtype")]
    if not tensors:
        raise TypeError(
            "normal() missing required argument: 'size', because mean and std are numbers"
        )
    shape = broadcast(*(x.shape for x in tensors))
    out = draw(streams.normal, generator, shape, tensors[0].dtype)
    return p.add(p.mul(out, std), mean)


@normal.samples
def normal_samples(make: Any) -> Iterator[Any]:
    yield Sample(0.5, 2.0, (3, 4))
    yield Bad(0.0, -1.0, (2,), raises=RuntimeError, says="std >= 0.0")


@op(method=True, differentiable=False, traceable=False)
def multinomial(
    input: Array, num_samples: int, replacement: bool = False, *, generator: Any = None
) -> Array:
    """Indices drawn with the chances that each row of weights gives: (..., num_samples) in int64."""
    _floating("multinomial", input.dtype)
    if input.ndim not in (1, 2):
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    if num_samples <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    if not replacement and num_samples > input.shape[-1]:
        raise RuntimeError(
            "cannot sample n_sample > prob_dist.size(-1) samples without replacement"
        )
    if replacement:
        return _with_replacement(input, num_samples, generator)
    ratio = p.div(input, draw(streams.exponential, generator, input.shape, input.dtype))
    _, order = sort(ratio, axis=input.ndim - 1, descending=True, stable=True)
    stops = (*input.shape[:-1], num_samples)
    return s.copy(s.slice_(order, starts=(0,) * input.ndim, stops=stops, steps=(1,) * input.ndim))


def _with_replacement(input: Any, count: int, generator: Any) -> Any:
    """By where uniform numbers fall among the sums of chances: the inverse of the distribution function."""
    last = input.ndim - 1
    sums = cumulative_sum(input, axis=last)
    total = s.slice_(
        sums,
        starts=(*(0,) * last, input.shape[-1] - 1),
        stops=sums.shape,
        steps=(1,) * input.ndim,
    )
    edges = s.cast(p.div(sums, s.expand(total, shape=sums.shape)), dtype=FLOAT64)
    spots = draw(streams.uniform, generator, (*input.shape[:-1], count), FLOAT64)
    found = searchsorted(edges, spots, right=False, dtype=INT64)
    return p.minimum(found, s.full(input.shape[-1] - 1, shape=(), dtype=INT64))


@multinomial.samples
def multinomial_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(4, low=0.1), 2)
    yield Sample(make(3, 4, low=0.1), 5, True)
    yield Bad(make(3, low=0.1), 4, raises=RuntimeError, says="without replacement")


@op(differentiable=False)
def poisson(input: Array, generator: Any = None) -> Array:
    """Counts drawn with each element's rate."""
    _floating("poisson_cpu", input.dtype)
    return poisson_counts(input, draw(streams.word, generator))


@poisson.samples
def poisson_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4, low=0.1))


# -- in place -----------------------------------------------------------------------------------------------


def _fill(self: Tensor, name: str, stream: Any, generator: Any, *arguments: Any) -> Tensor:
    """Overwrites a tensor with random numbers; it no longer depends on what made it."""
    check_writable(self, name, False)
    write(self, draw(stream, generator, self._array.shape, self._array.dtype, *arguments), name)
    forget_history(self)
    return self


def uniform_(
    self: Tensor, from_: float = 0.0, to: float = 1.0, *, generator: Any = None, **kwargs: Any
) -> Tensor:
    """Fills the tensor with uniform numbers in [from, to)."""
    low = kwargs.pop("from", from_)
    if kwargs:
        raise TypeError(f"uniform_() got an unexpected keyword argument '{next(iter(kwargs))}'")
    if low > to:
        raise RuntimeError(
            f"uniform_ expects to return a [from, to) range, but found from={low} > to={to}"
        )
    _floating("uniform", self._array.dtype)
    return _fill(self, "uniform_", streams.uniform, generator, low, to)


def normal_(self: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Any = None) -> Tensor:
    """Fills the tensor with normal numbers."""
    if std < 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")
    _floating("normal_kernel_cpu", self._array.dtype)
    return _fill(self, "normal_", streams.normal, generator, mean, std, self.is_contiguous())


def random_(
    self: Tensor,
    from_: int | None = None,
    to: int | None = None,
    *,
    generator: Any = None,
    **kwargs: Any,
) -> Tensor:
    """Fills the tensor with integers: in [from, to), in [0, to), or all that its dtype holds exactly."""
    low = kwargs.pop("from", from_)
    if low is None and to is None:
        return _fill(self, "random_", streams.whole, generator)
    if to is None:
        low, to = 0, low
    first, last = _bounds(0 if low is None else low, to)
    return _fill(self, "random_", streams.integers, generator, first, last)


def bernoulli_(self: Tensor, p: Any = 0.5, *, generator: Any = None) -> Tensor:
    """Fills the tensor with ones of chance p (a number, or a tensor of chances), else zeros."""
    if isinstance(p, Tensor):
        check_writable(self, "bernoulli_", False)
        chances = s.expand(p._array, shape=self._array.shape)
        write(self, _with_chances(generator, chances, self._array.dtype), "bernoulli_")
        forget_history(self)
        return self
    return _fill(self, "bernoulli_", streams.bernoulli, generator, _chance(p))


def exponential_(self: Tensor, lambd: float = 1.0, *, generator: Any = None) -> Tensor:
    """Fills the tensor with exponentially distributed numbers of the given rate."""
    if lambd <= 0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd}")
    _floating("exponential", self._array.dtype)
    return _fill(self, "exponential_", streams.exponential, generator, lambd)


def cauchy_(
    self: Tensor, median: float = 0.0, sigma: float = 1.0, *, generator: Any = None
) -> Tensor:
    """Fills the tensor with numbers of Cauchy's distribution."""
    if sigma <= 0:
        raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma}")
    _floating("cauchy", self._array.dtype)
    return _fill(self, "cauchy_", streams.cauchy, generator, median, sigma)


def log_normal_(
    self: Tensor, mean: float = 1.0, std: float = 2.0, *, generator: Any = None
) -> Tensor:
    """Fills the tensor with numbers whose logarithm is normal."""
    if std <= 0:
        raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={std}")
    _floating("log_normal", self._array.dtype)
    return _fill(self, "log_normal_", streams.log_normal, generator, mean, std)


def geometric_(self: Tensor, p: float, *, generator: Any = None) -> Tensor:
    """Fills the tensor with the number of tries that a success of chance p takes."""
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p}")
    return _fill(self, "geometric_", streams.geometric, generator, p)


METHODS: dict[str, Any] = {
    f.__name__: f
    for f in (
        uniform_,
        normal_,
        random_,
        bernoulli_,
        exponential_,
        cauchy_,
        log_normal_,
        geometric_,
    )
}

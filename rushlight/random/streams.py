"""How PyTorch turns the words of MT19937 into numbers, found by experiment; each function draws from a generator.

Uniform numbers have as many bits as the dtype's significand; normals of 16 and more elements come in blocks of 16
(Box and Muller, 1958), fewer one by one with the second of each pair kept for the next call.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from rushlight.core.dtypes import BFLOAT16, BOOL, FLOAT16, FLOAT32, FLOAT64, HALF
from rushlight.primitives import elementwise as p
from rushlight.primitives import structural as s
from rushlight.random.generator import Generator

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]

_DIGITS = {FLOAT16: 11, BFLOAT16: 8, FLOAT32: 24}


def _unit(generator: Generator, count: int, dtype: Any) -> Array:
    """Uniform numbers in [0, 1) as float64: of 53 bits for float64, of 24 for all other types."""
    if dtype == FLOAT64:
        return generator.doubles(count)
    return (generator.words(count) & np.uint64((1 << 24) - 1)) * 2.0**-24


def uniform(
    generator: Generator, shape: Shape, dtype: Any, low: float = 0.0, high: float = 1.0
) -> Array:
    """Uniform numbers in [low, high)."""
    unit = _unit(generator, math.prod(shape), dtype).reshape(shape)
    if (low, high) != (0, 1):
        a, b = dtype.type(low), dtype.type(high)
        unit = unit * float(b - a) + float(a)
    found: Array = unit.astype(dtype)
    if (
        dtype in HALF
    ):  # rounding may have reached the upper bound, which does not belong to the range
        found[found == dtype.type(high)] = low
    return found


def integers(generator: Generator, shape: Shape, dtype: Any, low: int, high: int) -> Array:
    """Integers in [low, high); ranges of 2^28 and more take two words each."""
    span = high - low
    count = math.prod(shape)
    words = generator.long_words(count) if span >= 1 << 28 else generator.words(count)
    if 0 < span < 1 << 64:
        words = words % np.uint64(span)
    return (words.astype(np.int64) + np.int64(low)).astype(dtype).reshape(shape)


def whole(generator: Generator, shape: Shape, dtype: Any) -> Array:
    """What `random_()` gives: all non-negative integers that the dtype holds exactly."""
    count = math.prod(shape)
    if dtype == BOOL:
        return (generator.words(count) & np.uint64(1)).astype(dtype).reshape(shape)
    if dtype == FLOAT64:
        return (generator.long_words(count) % np.uint64((1 << 53) + 1)).astype(dtype).reshape(shape)
    if dtype in _DIGITS:
        return (
            (generator.words(count) % np.uint64((1 << _DIGITS[dtype]) + 1))
            .astype(np.float64)
            .astype(dtype)
            .reshape(shape)
        )
    limit = int(np.iinfo(dtype).max)
    words = generator.long_words(count) if dtype.itemsize == 8 else generator.words(count)
    return (
        (words % np.uint64(limit + 1) if limit < (1 << 64) - 1 else words)
        .astype(dtype)
        .reshape(shape)
    )


def permutation(generator: Generator, count: int) -> Array:
    """A random order of 0..count-1: each place is exchanged with one of those from it on."""
    order = list(range(count))
    if count > 1:
        jumps = (generator.words(count - 1) % np.arange(count, 1, -1, dtype=np.uint64)).tolist()
        for i, jump in enumerate(jumps):
            j = i + jump
            order[i], order[j] = order[j], order[i]
    return np.array(order, np.int64)


def normal(
    generator: Generator,
    shape: Shape,
    dtype: Any,
    mean: float = 0.0,
    std: float = 1.0,
    blocks: bool = True,
) -> Array:
    """Normal numbers. `blocks=False` is how PyTorch fills memory that is not contiguous."""
    count = math.prod(shape)
    if count >= 16 and blocks:
        values = _blocks(generator, count, dtype, mean, std)
    else:
        values = (one_by_one(generator, count) * std + mean).astype(dtype)
    return values.reshape(shape)


def _blocks(generator: Generator, count: int, dtype: Any, mean: float, std: float) -> Array:
    wide = FLOAT64 if dtype == FLOAT64 else FLOAT32
    full, rest = divmod(count, 16)
    unit = _unit(generator, count + (16 if rest else 0), dtype).astype(wide, copy=False)
    values = np.empty(count, wide)
    if rest:  # the last 16 are drawn again, also those that a block had filled
        unit[16 * full : 16 * full + 16] = unit[-16:]
        unit = unit[: 16 * full + 16]
    made = _pairs(unit.reshape(-1, 16), mean, std)
    values[: 16 * full] = made[:full].reshape(-1)
    if rest:
        values[-16:] = made[full]
    return values.astype(dtype, copy=False)


def _pairs(unit: Array, mean: float, std: float) -> Array:
    """Blocks of 16 uniforms as blocks of 16 normals."""
    radius = np.sqrt(-2 * np.log(1 - unit[:, :8]))
    angle = unit.dtype.type(2 * math.pi) * unit[:, 8:]
    both = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], 1)
    return both if mean == 0 and std == 1 else both * unit.dtype.type(std) + unit.dtype.type(mean)


def one_by_one(generator: Generator, count: int) -> Array:
    """Normal float64 numbers, made two at a time; one may be kept for the next call."""
    values: list[float] = []
    if count and generator.kept_normal is not None:
        values.append(generator.kept_normal)
        generator.kept_normal = None
    missing = count - len(values)
    if missing > 0:
        unit = generator.doubles(missing + missing % 2)
        radius = np.sqrt(-2 * np.log1p(-unit[1::2]))
        angle = 2 * math.pi * unit[0::2]
        both = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).reshape(-1)
        values.extend(both[:missing].tolist())
        if missing % 2:
            generator.kept_normal = float(both[-1])
    return np.array(values, np.float64)


class Elementwise:
    """A stream each of whose numbers follows from words of its own, by primitives.

    A compiled program is given the words, and makes the numbers where they are used. `draw` (draws.py) joins the two.
    """

    def __init__(self, words: Callable[..., Array], numbers: Callable[..., Any]) -> None:
        #: words(generator, shape)
        self.words = words
        #: numbers(words, dtype, *arguments)
        self.numbers = numbers


def long_words(generator: Generator, shape: Shape) -> Array:
    """64-bit words."""
    return generator.long_words(math.prod(shape)).reshape(shape)


def _less(words: Any, dtype: Any, chance: float) -> Any:
    # The 53 low bits are a uniform number times 2^53. Powers of 2 are exact, so integers are compared where PyTorch
    # compares float64 numbers.
    low = p.bit_and(words, (1 << 53) - 1)
    return s.cast(p.less(low, math.ceil(chance * 2.0**53)), dtype=dtype)


#: 1 with a fixed chance, else 0.
bernoulli = Elementwise(long_words, _less)


def unit(generator: Generator, shape: Shape, dtype: Any) -> Array:
    """Uniform numbers in [0, 1) as float64, with as many bits as chances of this dtype are compared with."""
    return _unit(generator, math.prod(shape), FLOAT64 if dtype == FLOAT64 else FLOAT32).reshape(
        shape
    )


def exponential(generator: Generator, shape: Shape, dtype: Any, rate: float = 1.0) -> Array:
    """Exponentially distributed numbers."""
    return (-np.log1p(-generator.doubles(math.prod(shape))) / rate).astype(dtype).reshape(shape)


def cauchy(generator: Generator, shape: Shape, dtype: Any, median: float, sigma: float) -> Array:
    """Numbers of Cauchy's distribution."""
    unit = generator.doubles(math.prod(shape))
    return (median + sigma * np.tan(math.pi * (unit - 0.5))).astype(dtype).reshape(shape)


def log_normal(generator: Generator, shape: Shape, dtype: Any, mean: float, std: float) -> Array:
    """Numbers whose logarithm is normal."""
    return np.exp(one_by_one(generator, math.prod(shape)) * std + mean).astype(dtype).reshape(shape)


def geometric(generator: Generator, shape: Shape, dtype: Any, chance: float) -> Array:
    """How many tries a success of the given chance takes."""
    unit = generator.doubles(math.prod(shape))
    return np.ceil(np.log(unit) / math.log1p(-chance)).astype(dtype).reshape(shape)


def word(generator: Generator) -> Array:
    """One 32-bit word as an int64: the seed of what has no stream of PyTorch's."""
    return generator.words(1).astype(np.int64).reshape(())

"""The largest elements of windows at random steps (Graham, "Fractional max-pooling", arXiv 1412.6071)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from rushlight.core.dtypes import INT64
from rushlight.ops.convolution import sizes
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.extremes import max
from rushlight.ops.gathering import gather
from rushlight.ops.random import rand
from rushlight.ops.shape import narrow, to_shape
from rushlight.primitives import elementwise as p
from rushlight.primitives import structural as s


@op(function=False, differentiable=False)
def places_of_windows(
    samples: Array, plane: Sequence[int], size: Sequence[int], out: Sequence[int]
) -> Array:
    """The places of all windows' elements in flattened planes: samples (N, C, rank) to (N, C, windows, elements).

    Along a dimension of n elements, window i of the first m - 1 starts at [(i + u) a] - [u a], where
    a = (n - k) / (m - 1) and u is the sample; the last one ends where the plane ends.
    """
    rank, lead = len(plane), samples.shape[:2]
    total: Any = s.full(0, shape=(*lead, 1, 1), dtype=INT64)
    for axis, (n, k, m) in enumerate(zip(plane, size, out, strict=True)):
        # Samples are in the order width, height for planes, and depth, height, width for volumes.
        which = 1 - axis if rank == 2 else axis
        u = s.slice_(samples, starts=(0, 0, which), stops=(*lead, which + 1), steps=(1, 1, 1))
        starts = s.full(n - k, shape=(*lead, 1), dtype=INT64)
        if m > 1:
            step = (n - k) / (m - 1)
            i = s.cast(s.iota(length=m - 1, dtype=INT64), dtype=samples.dtype)
            first = p.sub(p.trunc(p.mul(p.add(i, u), step)), p.trunc(p.mul(u, step)))
            starts = s.concatenate(s.cast(first, dtype=INT64), starts, axis=2)
        inside = p.add(s.reshape(starts, shape=(*lead, m, 1)), s.iota(length=k, dtype=INT64))
        # (lead, windows so far, 1, elements so far, 1) and (lead, 1, m, 1, k)
        windows, elements = total.shape[2:]
        total = p.add(
            s.reshape(p.mul(total, n), shape=(*lead, windows, 1, elements, 1)),
            s.reshape(inside, shape=(*lead, 1, m, 1, k)),
        )
        total = s.reshape(total, shape=(*lead, windows * m, elements * k))
    return total


@places_of_windows.samples
def places_of_windows_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(1, 2, 2, low=0.1, high=0.9), (5, 6), (2, 3), (3, 2))


def _wanted(name: str, rank: int, shape: tuple[int, ...], size: Any, ratio: Any) -> Any:
    """The sizes of the result, from `output_size` or `output_ratio`."""
    if size is None and ratio is None:
        raise ValueError(f"{name} requires specifying either an output_size or an output_ratio")
    if size is not None:
        return sizes(size, rank, name, "output_size")
    ratios = tuple(ratio) if isinstance(ratio, (tuple, list)) else (ratio,) * rank
    if len(ratios) != rank:
        raise ValueError(f"{name} requires output_ratio to be a number or {rank} of them")
    return tuple(int(n * r) for n, r in zip(shape[-rank:], ratios, strict=True))


def _fractional(rank: int) -> Any:
    name = f"fractional_max_pool{rank}d"

    def body(
        input: Array,
        kernel_size: Any,
        output_size: Any = None,
        output_ratio: Any = None,
        return_indices: bool = False,
        _random_samples: Any = None,
    ) -> Any:
        shape = tuple(input.shape)
        if len(shape) not in (rank + 1, rank + 2) or 0 in shape[-rank - 1 :]:
            raise RuntimeError(
                f"{name}: Expected a {rank + 1}D or {rank + 2}D input without empty planes, but got {list(shape)}"
            )
        size = sizes(kernel_size, rank, name, "kernel_size")
        out = _wanted(name, rank, shape, output_size, output_ratio)
        plane = shape[-rank:]
        for n, k, m in zip(plane, size, out, strict=True):
            if m < 1 or m + k - 1 > n:
                raise RuntimeError(
                    f"{name}: {m} windows of {k} elements do not fit into {n}: at most {n - k + 1 if n > k else 0} do"
                )
        lead = (1, shape[0]) if len(shape) == rank + 1 else shape[:2]
        several = _random_samples is not None and _random_samples.shape[0] > lead[0] == 1
        if several and len(shape) == rank + 1:  # PyTorch reads the first and overlooks the others
            _random_samples = narrow(_random_samples, 0, 0, 1)
        samples = _random_samples
        if samples is None:
            samples = rand(*lead, rank, dtype=input.dtype)
        if samples.dtype != input.dtype:
            raise RuntimeError(f"{name}: Expect _random_samples to have the same dtype as input")
        if tuple(samples.shape) != (*lead, rank):
            raise RuntimeError(
                f"{name}: _random_samples should have the shape {[*lead, rank]}, not {list(samples.shape)}"
            )
        places = places_of_windows(samples, plane, size, out)
        count, each = math.prod(out), math.prod(size)
        flat = to_shape(input, (*lead, math.prod(plane)))
        found = to_shape(
            gather(flat, 2, to_shape(places, (*lead, count * each))), (*lead, count, each)
        )
        values, at = max(found, 3, True)
        target = (*shape[:-rank], *out)
        if not return_indices:
            return to_shape(values, target)
        return to_shape(values, target), to_shape(gather(places, 3, at), target)

    body.__name__ = name
    body.__doc__ = f"""The largest element of windows at random steps, over the last {rank} dimensions.

    The result's sizes are `output_size`, or the input's times `output_ratio`; `return_indices` adds the places in
    the flattened planes. Raises ValueError without either, RuntimeError where the windows do not fit.
    """
    declared = op(body, composite=True, module="nn.functional")

    @declared.samples
    def samples(make: Any) -> Iterator[Any]:
        shape, given = (2, 2, 5, 6, 4)[: rank + 2], make(2, 2, rank, low=0.1, high=0.9)
        yield Sample(make.distinct(*shape), 2, 3, _random_samples=given.detach())
        yield Sample(make.distinct(*shape), 2, None, 0.5, _random_samples=given.detach())
        yield Bad(make(*shape), 2, raises=ValueError, says="either an output_size")
        yield Bad(make(*shape), 4, 5, raises=RuntimeError, says="do not fit")

    return declared


fractional_max_pool2d, fractional_max_pool3d = _fractional(2), _fractional(3)

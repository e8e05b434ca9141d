"""affine_grid and grid_sample: the parts of a spatial transformer (M. Jaderberg et al., 2015).

A grid holds one location for each element of the result, in coordinates that run from -1 to 1 across the input:
(x, y) of images, (x, y, z) of volumes, the last dimension of the input first.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

from rushlight.core import dtypes
from rushlight.core.shapes import size_of
from rushlight.core.sites import warn_user
from rushlight.ops.arithmetic import in_dtype
from rushlight.ops.comparison import clamp
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.gathering import gather
from rushlight.ops.pointwise import abs, floor, round
from rushlight.ops.products import matmul
from rushlight.ops.selection import choose
from rushlight.ops.shape import expand, matrix_transpose, reshape, select, unsqueeze
from rushlight.primitives import elementwise as p
from rushlight.primitives import structural as s

_DEFAULT = (
    "Default {0} behavior has changed to align_corners=False since 1.3.0. Please specify align_corners=True if the "
    "old behavior is desired. See the documentation of {0} for details."
)


# -- affine_grid ------------------------------------------------------------------------------------------


@op(function=False, differentiable=False)
def base_grid(like: Array, sizes: tuple[int, ...], align_corners: bool) -> Array:
    """The locations of the elements of a tensor with these spatial sizes, and a last coordinate 1."""
    dtype, rank = like.dtype, len(sizes)
    columns = []
    for axis in reversed(range(rank)):
        n = sizes[axis]
        line = s.cast(s.iota(length=n, dtype=dtypes.INT64), dtype=dtype)
        if align_corners:
            line = p.sub(p.mul(line, 2 / (n - 1)), 1) if n > 1 else p.mul(line, 0)
        else:
            line = p.sub(p.mul(p.add(line, 0.5), 2 / n), 1)
        shape = [1] * rank
        shape[axis] = n
        whole = s.expand(s.reshape(line, shape=tuple(shape)), shape=tuple(sizes))
        columns.append(s.reshape(whole, shape=(*sizes, 1)))
    columns.append(s.full(1, shape=(*sizes, 1), dtype=dtype))
    return s.reshape(s.concatenate(*columns, axis=rank), shape=(size_of(sizes), rank + 1))


@base_grid.samples
def base_grid_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2), (2, 3), True)
    yield Sample(make(2), (2, 3, 1), False)


@op(module="nn.functional", composite=True)
def affine_grid(theta: Array, size: Any, align_corners: bool | None = None) -> Array:
    """The grid on which grid_sample() applies affine maps: `theta` of shape (N, 2, 3) for images of
    `size` (N, C, H, W), giving (N, H, W, 2); or (N, 3, 4) and (N, C, D, H, W), giving (N, D, H, W, 3).

    With align_corners=True, -1 and 1 are the centers of the first and last elements; else their
    outer edges.

    >>> import rushlight
    >>> theta = rushlight.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    >>> rushlight.nn.functional.affine_grid(theta, (1, 1, 1, 2), align_corners=False)
    tensor([[[[-0.5000,  0.0000],
              [ 0.5000,  0.0000]]]])
    """
    if align_corners is None:
        warn_user(_DEFAULT.format("affine_grid"))
        align_corners = False
    if not theta.is_floating_point():
        raise ValueError(f"Expected theta to have floating point type, but got {theta.dtype}")
    size = tuple(size)
    rank = len(size) - 2
    if rank not in (2, 3):
        raise NotImplementedError(
            "affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms, respectively. "
            f"Got size {size}."
        )
    if theta.ndim != 3 or tuple(theta.shape[-2:]) != (rank, rank + 1):
        raise ValueError(
            f"Expected a batch of {rank}D affine matrices of shape Nx{rank}x{rank + 1} for size {size}. Got "
            f"{tuple(theta.shape)}."
        )
    if min(size) <= 0:
        raise ValueError(f"Expected non-zero, positive output size. Got {size}")
    grid = matmul(base_grid(theta, size[2:], bool(align_corners)), matrix_transpose(theta))
    return reshape(grid, (size[0], *size[2:], rank))


@affine_grid.samples
def affine_grid_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 2, 3), (2, 1, 3, 4), True)
    yield Sample(make(2, 2, 3), (2, 1, 1, 4), False)
    yield Sample(make(1, 3, 4), (1, 1, 2, 3, 2), False)
    yield Bad(make(2, 3, 3), (2, 1, 3, 4), False, raises=ValueError, says="2D affine matrices")
    yield Bad(make(2, 2, 3), (2, 3, 4), False, raises=NotImplementedError, says="4D and 5D")


# -- grid_sample ------------------------------------------------------------------------------------------


def _within(x: Any, top: float) -> Any:
    """The coordinate, held in [0, top]; no gradient passes where it is held."""
    return choose(x > 0, choose(x < top, x, float(top)), 0.0)


def _mirrored(x: Any, size: int, align_corners: bool) -> Any:
    """The coordinate reflected at the borders until it lies between them."""
    low, span = (0.0, float(size - 1)) if align_corners else (-0.5, float(size))
    if not span:
        return x * 0
    x = abs(x - low)
    turns = floor(x / span).detach()
    rest = x - turns * span
    even = floor(turns / 2) * 2 == turns
    return choose(even, rest + low, span - rest + low)


def _placed(x: Any, size: int, padding: str, align_corners: bool) -> Any:
    """A coordinate of the input, as the padding has it."""
    if padding == "border":
        return _within(x, size - 1)
    if padding == "reflection":
        return _within(_mirrored(x, size, align_corners), size - 1)
    return x


def _values(flat: Any, places: list[Any], sizes: tuple[int, ...]) -> Any:
    """Elements of `flat` (N, C, size) at whole coordinates (N, P) per axis; 0 outside."""
    inside: Any = None
    index: Any = None
    for x, n in zip(places, sizes, strict=True):
        x = x.detach()
        here = (x >= 0) & (x <= n - 1)
        inside = here if inside is None else inside & here
        whole = in_dtype(clamp(choose(here, x, 0.0), 0, n - 1), dtypes.INT64)
        index = whole if index is None else index * n + whole
    shape = (*flat.shape[:2], index.shape[-1])
    taken = gather(flat, 2, expand(unsqueeze(index, 1), *shape))
    return choose(unsqueeze(inside, 1), taken, 0.0)


def _cubic(t: Any, a: float = -0.75) -> list[Any]:
    """Weights of four neighbours for cubic convolution (R. Keys, 1981)."""

    def near(x: Any) -> Any:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x: Any) -> Any:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    return [far(t + 1), near(t), near(1 - t), far(2 - t)]


def _check_grid(input: Any, grid: Any, mode: str, padding_mode: str) -> None:
    if mode not in ("bilinear", "nearest", "bicubic"):
        raise ValueError(
            "nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', but got: "
            f"'{mode}'"
        )
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ValueError(
            "nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or 'reflection', but got: "
            f"'{padding_mode}'"
        )
    if input.ndim not in (4, 5) or input.ndim != grid.ndim:
        raise RuntimeError(
            "grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, but got input with "
            f"sizes {list(input.shape)} and grid with sizes {list(grid.shape)}"
        )
    if input.shape[0] != grid.shape[0]:
        raise RuntimeError(
            "grid_sampler(): expected grid and input to have same batch size, but got input with sizes "
            f"{list(input.shape)} and grid with sizes {list(grid.shape)}"
        )
    if grid.shape[-1] != input.ndim - 2:
        raise RuntimeError(
            f"grid_sampler(): expected grid to have size {input.ndim - 2} in last dimension, but got grid with sizes "
            f"{list(grid.shape)}"
        )
    if min(input.shape[2:]) == 0:
        raise RuntimeError(
            f"grid_sampler(): expected input to have non-empty spatial dimensions, but input has sizes "
            f"{list(input.shape)}"
        )
    if input.dtype != grid.dtype:
        raise RuntimeError(
            "grid_sampler(): expected input and grid to have same dtype, but input has "
            f"{input.dtype} and grid has {grid.dtype}"
        )
    if mode == "bicubic" and input.ndim != 4:
        raise RuntimeError(
            f"grid_sampler(): bicubic interpolation only supports 4D input, not {list(input.shape)}"
        )


@op(module="nn.functional", composite=True)
def grid_sample(
    input: Array,
    grid: Array,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Array:
    """The input (N, C, H, W) at the locations of `grid` (N, Hout, Wout, 2), as (N, C, Hout, Wout); or of volumes
    (N, C, D, H, W) and (N, Dout, Hout, Wout, 3).

    Between elements `mode` decides: "bilinear" (of volumes, trilinear), "nearest", or "bicubic" (images only);
    outside the input `padding_mode`: "zeros", "border" (the nearest element), "reflection". align_corners is as in
    affine_grid(). Raises ValueError for other modes, RuntimeError for shapes that do not fit.

    >>> import rushlight
    >>> image = rushlight.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    >>> rushlight.nn.functional.grid_sample(image, rushlight.zeros(1, 1, 1, 2), align_corners=False)
    tensor([[[[2.5000]]]])
    """
    if align_corners is None:
        warn_user(_DEFAULT.format("grid_sample"))
        align_corners = False
    _check_grid(input, grid, mode, padding_mode)
    return _sampled(input, grid, mode, padding_mode, bool(align_corners))


def _sampled(input: Any, grid: Any, mode: str, padding: str, align_corners: bool) -> Any:
    sizes = tuple(input.shape[2:])
    rank, batch = len(sizes), grid.shape[0]
    out_sizes = tuple(grid.shape[1:-1])
    points = reshape(grid, (batch, size_of(out_sizes), rank))
    flat = reshape(input, (*input.shape[:2], size_of(sizes)))
    at = []
    for axis, n in enumerate(sizes):
        x = select(points, -1, rank - 1 - axis)
        x = (x + 1) * ((n - 1) / 2) if align_corners else ((x + 1) * n - 1) / 2
        at.append(x if mode == "bicubic" else _placed(x, n, padding, align_corners))
    if mode == "nearest":
        out = _values(flat, [round(x) for x in at], sizes)
        return reshape(out, (*input.shape[:2], *out_sizes))
    starts = [floor(x).detach() for x in at]
    rests = [x - begin for x, begin in zip(at, starts, strict=True)]
    if mode == "bilinear":
        weights = [[1 - t, t] for t in rests]
        first = 0
    else:
        weights = [_cubic(t) for t in rests]
        first = -1
    out = None
    for corner in product(range(len(weights[0])), repeat=rank):
        places = [begin + (first + c) for begin, c in zip(starts, corner, strict=True)]
        if mode == "bicubic":
            places = [
                _placed(x, n, padding, align_corners) for x, n in zip(places, sizes, strict=True)
            ]
        weight = weights[0][corner[0]]
        for w, c in zip(weights[1:], corner[1:], strict=True):
            weight = weight * w[c]
        term = _values(flat, places, sizes) * unsqueeze(weight, 1)
        out = term if out is None else out + term
    return reshape(out, (*input.shape[:2], *out_sizes))


@grid_sample.samples
def grid_sample_samples(make: Any) -> Iterator[Any]:
    def grid(*shape: int) -> Any:
        return make(*shape, low=-0.83, high=0.79)

    for mode in ("bilinear", "nearest", "bicubic"):
        yield Sample(make(2, 3, 4, 5), grid(2, 2, 3, 2), mode, "zeros", False)
        yield Sample(make(2, 1, 3, 3), make(2, 2, 3, 2, low=-1.9, high=1.7), mode, "border", True)
        yield Sample(
            make(1, 2, 3, 4), make(1, 2, 2, 2, low=-1.9, high=1.7), mode, "reflection", False
        )
    yield Sample(make(1, 2, 2, 3, 4), grid(1, 2, 2, 2, 3), align_corners=True)
    yield Bad(
        make(2, 3, 4), grid(2, 2, 2), align_corners=True, raises=RuntimeError, says="4D or 5D"
    )
    yield Bad(
        make(1, 1, 2, 2), grid(1, 1, 1, 3), align_corners=True, raises=RuntimeError, says="size 2"
    )
    yield Bad(make(1, 1, 2, 2), grid(1, 1, 1, 2), "linear", raises=ValueError, says="expected mode")


_MODES = ("bilinear", "nearest", "bicubic")
_PADDINGS = ("zeros", "border", "reflection")


@op(composite=True, aliases=("grid_sampler_2d", "grid_sampler_3d"))
def grid_sampler(
    input: Array, grid: Array, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> Array:
    """grid_sample() with its modes as numbers: 0 bilinear, 1 nearest, 2 bicubic; 0 zeros, 1 border, 2 reflection."""
    mode, padding = _MODES[interpolation_mode], _PADDINGS[padding_mode]
    _check_grid(input, grid, mode, padding)
    return _sampled(input, grid, mode, padding, bool(align_corners))


@grid_sampler.samples
def grid_sampler_samples(make: Any) -> Iterator[Any]:
    grid = make(1, 2, 2, 2, low=-0.83, high=0.79)
    yield Sample(make(1, 2, 3, 4), grid, 0, 0, False)
    yield Bad(make(2, 2, 3, 4), grid, 0, 0, False, raises=RuntimeError, says="same batch size")

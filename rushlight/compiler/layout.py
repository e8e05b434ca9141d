"""Layout: in which order the dimensions of a value lie in memory.

Convolutions and what follows them keep channels side by side (many channels) or images side by side (few channels, a
batch that fills a vector): lanes are then never wasted, whatever the width of the picture. Elementwise values follow
what they are made of. Everything else lies in the order of its indices.
"""

from __future__ import annotations

from rushlight.compiler.graph import Var
from rushlight.compiler.grouping import Group
from rushlight.loops.arrays import Array
from rushlight.loops.target import Target

CONVOLUTIONS = frozenset({"convolve", "convolve_input"})
#: Heavy primitives whose result has the shape of pictures and should lie as their first operand does.
FOLLOWING = frozenset(
    {"max_windows", "place_windows", "pick_windows", "sum_windows", "spread_windows", "pad", "flip"}
)


def order_of(array: Array) -> tuple[int, ...] | None:
    """The order of an array's dimensions, outermost first; None if it lies as its indices do."""
    if array.is_contiguous or 0 in array.strides:
        return None
    return tuple(sorted(range(array.ndim), key=lambda d: (-array.strides[d], d)))


def picture_order(shape: tuple[int, ...], lanes: int) -> tuple[int, ...] | None:
    """The order for images (N, C, ...) that convolutions make."""
    batch, channels = shape[:2]
    rest = tuple(range(2, len(shape)))
    if channels >= lanes:
        return (0, *rest, 1)
    if batch >= lanes and batch % lanes == 0:
        return (1, *rest, 0)
    return None


def choose_order(
    group: Group, var: Var, arrays: dict[Var, Array], target: Target
) -> tuple[int, ...] | None:
    """The order in which the dimensions of a group's result lie."""
    if var.ndim < 3:
        return None
    head = group.head
    if head is not None and head.primitive.name in CONVOLUTIONS:
        return picture_order(var.shape, target.lanes("float")) if var.shape == group.shape else None
    if head is not None and head.primitive.name not in FOLLOWING:
        return None
    best: tuple[int, tuple[int, ...] | None] = (0, None)
    for equation in group.equations:
        for operand in equation.operands:
            if not isinstance(operand, Var) or operand in group.members:
                continue
            array = arrays.get(operand)
            if array is None or operand.ndim != var.ndim:
                continue
            if head is None and operand.shape != var.shape:
                continue
            if operand.size > best[0]:
                best = (operand.size, order_of(array))
    return best[1]

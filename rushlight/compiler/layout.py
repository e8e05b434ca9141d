"""Layout: in which order the dimensions of a value lie in memory.

Pictures (N, C, ...) keep channels side by side (many channels), or images (few channels, a batch that fills vectors),
or lie as users have them (few channels, and rows that fill vectors): few lanes are then wasted. It is one decision for
all pictures that convolutions, poolings and elementwise equations tie together, made by what their convolutions would
cost, because a chain that changes its layout half way pays for the copies. Sequences that are only read with steps and
batch exchanged lie as they are read. Everything else lies in the order of its indices.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from rushlight.compiler.graph import Equation, Graph, Var
from rushlight.compiler.grouping import VIRTUAL, Group
from rushlight.loops.arrays import Array
from rushlight.loops.target import Target
from rushlight.primitives.lowerings.elementwise import LOWERED
from rushlight.primitives.lowerings.images_in_lanes import MOST_TAPS
from rushlight.primitives.lowerings.pixels_in_lanes import share_of_lanes
from rushlight.primitives.structural import copy

#: Convolutions, and how many of their operands are pictures (the result of the first two is one, too).
CONVOLUTIONS = {"convolve": 1, "convolve_input": 1, "convolve_weight": 2}
#: Gradients through a pooling, which find their way whatever the layout: best if channels or pixels lie side by side.
PLACED = frozenset({"convolve_input_placed", "convolve_weight_placed"})
#: Heavy primitives whose operands and results are pictures that lie alike.
FOLLOWING = frozenset(
    {"max_windows", "place_windows", "pick_windows", "sum_windows", "spread_windows", "pad", "flip"}
)
#: Heavy primitives that can write their first result in any order of its rows.
ROWS = frozenset({"take", "lstm", "gru", "elman"})
#: Shares of the peak that tiles reach: images in lanes with rows of pictures in the first cache, or beyond it;
#: channels in lanes, where each lane has a channel.
NEAR, FAR, CHANNELS = 0.95, 0.62, 0.92
#: What is left of the peak where windows are worked on one number at a time.
SCATTERED = 0.6

Order = tuple[int, ...]


class Pictures:
    """Pictures that lie alike, and the convolutions among them."""

    def __init__(self) -> None:
        self.values: list[Var] = []
        self.convolutions: list[Equation] = []

    def images_are_better(self, target: Target) -> bool:
        """Whether images, not channels, should lie side by side."""
        images = channels = 0.0
        for equation in self.convolutions:
            x, channels_out, channels_in, kernel, results = _sizes(equation)
            lanes = target.lanes("double" if x.dtype.itemsize == 8 else "float")
            if (
                x.dtype.itemsize < 4
                or x.shape[0] % lanes
                or equation.params.get("groups", 1) != 1
                or kernel[-1] > MOST_TAPS
            ):
                return False
            flops = x.shape[0] * channels_in * channels_out * math.prod(kernel) * results
            rows = channels_in * math.prod(x.shape[3:]) * kernel[0] * target.vector_bytes
            images += flops / (NEAR if rows <= target.first_cache else FAR)
            if equation.primitive.name in PLACED:
                channels += flops / math.prod(equation.params["window"]) / SCATTERED
                continue
            share = share_of_lanes(channels_out, lanes)
            if equation.primitive.name == "convolve" and x.shape[1] < lanes:
                share = max(share, share_of_lanes(equation.outputs[0].shape[-1], lanes))
            channels += flops / (share * CHANNELS)
        return images < channels


def _sizes(equation: Equation) -> tuple[Var, int, int, tuple[int, ...], int]:
    """The pictures that are read, result and inner channels of the loop nest, the kernel's size, result pixels."""
    x, other = equation.operands[:2]
    name, result = equation.primitive.name, equation.outputs[0]
    if name == "convolve_weight_placed":
        pixels = math.prod(equation.params["shape"])
        return x, other.shape[1], x.shape[1], result.shape[2:], pixels
    if name == "convolve_input_placed":
        weight = equation.operands[2]
        pixels = math.prod(equation.params["shape"])
        return result, weight.shape[1], weight.shape[0], weight.shape[2:], pixels
    if name == "convolve":
        return x, other.shape[0], other.shape[1], other.shape[2:], math.prod(result.shape[2:])
    if name == "convolve_input":
        return x, other.shape[1], other.shape[0], other.shape[2:], math.prod(x.shape[2:])
    return x, other.shape[1], x.shape[1], result.shape[2:], math.prod(other.shape[2:])


def _pictures(equation: Equation) -> list[Var]:
    """The values of an equation that lie alike."""
    name = equation.primitive.name
    if name in CONVOLUTIONS:
        operands = list(equation.operands[: CONVOLUTIONS[name]])
        return [*operands, *(equation.outputs if name != "convolve_weight" else ())]
    if name in PLACED:
        return [equation.operands[0] if name == "convolve_weight_placed" else equation.outputs[0]]
    if name in FOLLOWING:
        return [
            o for o in (*equation.operands, *equation.outputs) if isinstance(o, Var) and o.ndim > 2
        ]
    if name in LOWERED:
        shape = equation.outputs[0].shape
        if len(shape) < 3:
            return []
        return [
            v for v in (*equation.operands, *equation.outputs) if isinstance(v, Var) and v.shape == shape
        ]  # fmt: skip
    return []


def find_pictures(graph: Graph) -> list[Pictures]:
    """The pictures of a graph, in sets that lie alike."""
    leader: dict[Var, Var] = {}

    def find(var: Var) -> Var:
        path = []
        while leader.setdefault(var, var) is not var:
            path.append(var)
            var = leader[var]
        for each in path:
            leader[each] = var
        return var

    for equation in graph.equations:
        tied = _pictures(equation)
        for other in tied:
            leader[find(other)] = find(tied[0])
    sets: dict[Var, Pictures] = {}
    for var in list(leader):
        sets.setdefault(find(var), Pictures()).values.append(var)
    for equation in graph.equations:
        if equation.primitive.name in CONVOLUTIONS or equation.primitive.name in PLACED:
            sets[find(_pictures(equation)[0])].convolutions.append(equation)
    return [s for s in sets.values() if s.convolutions]


def choose_layouts(graph: Graph, target: Target) -> dict[Var, Order | None]:
    """The order of the dimensions, outermost first, of every picture; None for the order of the indices."""
    orders: dict[Var, Order | None] = {}
    for pictures in find_pictures(graph):
        images = pictures.images_are_better(target)
        for var in pictures.values:
            rest = tuple(range(2, var.ndim))
            lanes = target.lanes("double" if var.dtype.itemsize == 8 else "float")
            orders[var] = (
                (1, *rest, 0) if images else (0, *rest, 1) if var.shape[1] >= lanes else None
            )
    return orders | _turned_rows(graph)


def _turned_rows(graph: Graph) -> dict[Var, Order | None]:
    """Values made of rows that all who read them want in another order: they are made in that order."""
    axes: dict[Var, set[Order]] = {}
    others = set(graph.outputs)
    for equation in graph.equations:
        for operand in equation.operands:
            if isinstance(operand, Var) and equation.primitive.name == "permute":
                axes.setdefault(operand, set()).add(tuple(equation.params["axes"]))
            elif isinstance(operand, Var):
                others.add(operand)
    return {
        var: next(iter(wanted))
        for var, wanted in axes.items()
        if len(wanted) == 1
        and var not in others
        and var.equation is not None
        and var.equation.primitive.name in ROWS
        and var is var.equation.outputs[0]
        and max(wanted)[-1] == var.ndim - 1
    }


def turn_inputs(
    graph: Graph, orders: Mapping[Var, Order | None]
) -> tuple[Graph, dict[Var, Order | None]]:
    """Pictures that come from elsewhere (an input, a view) are turned once, by a copy that all who read them share."""
    kernels = {*CONVOLUTIONS, *FOLLOWING, *LOWERED, *VIRTUAL}
    made = {v for e in graph.equations if e.primitive.name in kernels for v in e.outputs}
    copies: dict[Var, Var] = {}
    layouts = dict(orders)
    equations: list[Equation] = []

    replaced: dict[Var, Var] = {}

    def operand_of(operand: Any) -> Any:
        if not isinstance(operand, Var):
            return operand
        new = replaced.get(operand, operand)
        order = orders.get(operand)
        if order is None or order[-1] != 0 or operand in made:
            return new
        if operand not in copies:
            turned = Equation(copy.primitive, (new,), {}, (operand.aval,))
            equations.append(turned)
            copies[operand] = turned.outputs[0]
            layouts[turned.outputs[0]] = order
        return copies[operand]

    for equation in graph.equations:
        tied = _pictures(equation)
        operands = tuple(
            operand_of(o) if o in tied else replaced.get(o, o) if isinstance(o, Var) else o
            for o in equation.operands
        )
        if all(a is b for a, b in zip(operands, equation.operands, strict=True)):
            equations.append(equation)
            continue
        again = Equation(
            equation.primitive, operands, equation.params, [o.aval for o in equation.outputs],
            equation.scope, equation.site,
        )  # fmt: skip
        equations.append(again)
        for old, new in zip(equation.outputs, again.outputs, strict=True):
            replaced[old] = new
            if old in orders:
                layouts[new] = orders[old]
    return Graph(graph.inputs, equations, [replaced.get(o, o) for o in graph.outputs]), layouts


def order_of(array: Array) -> Order | None:
    """The order of an array's dimensions, outermost first; None if it lies as its indices do."""
    if array.is_contiguous or 0 in array.strides:
        return None
    return tuple(sorted(range(array.ndim), key=lambda d: (-array.strides[d], d)))


def choose_order(
    group: Group, var: Var, arrays: Mapping[Var, Array], layouts: Mapping[Var, Order | None]
) -> Order | None:
    """The order in which the dimensions of a group's result lie."""
    if var.ndim < 3:
        return None
    if var in layouts:
        return layouts[var]
    head = group.head
    if head is not None and head.primitive.name not in FOLLOWING:
        return None
    best: tuple[int, Order | None] = (0, None)
    for operand in _read_by(group):
        array = arrays.get(operand)
        if (
            array is None
            or operand.ndim != var.ndim
            or (head is None and operand.shape != var.shape)
        ):
            continue
        if operand.size > best[0]:
            best = (operand.size, order_of(array))
    return best[1]


def _read_by(group: Group) -> Iterable[Var]:
    for equation in group.equations:
        for operand in equation.operands:
            if isinstance(operand, Var) and operand not in group.members:
                yield operand

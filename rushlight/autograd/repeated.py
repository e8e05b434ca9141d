"""A backward whose tape was seen before, with its kernels chained: Python is passed once, not once a node.

Training goes back over the same tape in every step: the same nodes with the same edges, on arrays of the same shapes.
Here a tape is told by its key: what all its nodes' gradients follow from, but for the elements of arrays. A backward of
a new key runs node by node, in the engine, and so do the next ones, until they have taken as long as chaining takes.
Then one is followed while it runs (chaining.py): which kernel each node used, on which arrays, and where its results
went. From then on those kernels run as one native call, or a few where some node in between has none.

Chained kernels are the ones that nodes use when they run alone, on the same numbers; NumPy's own results are only
replaced by kernels that have its bits (backends/exact.py). So nobody can tell by results which way a backward went, and
the past of a process changes no bit of them. Where more is to be told than results, the engine runs node by node:
hooks, `create_graph`, anomaly mode, a trace, a saved tensor that was written, nodes of users' Functions.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from operator import attrgetter
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from rushlight.autograd.node import Node
from rushlight.backends.settings import settings
from rushlight.core.dtypes import get_default_dtype

if TYPE_CHECKING:
    from rushlight.autograd.chaining import Follower

ndarray = np.ndarray

#: A backward of fewer nodes than that gains nothing; one of more would take long to chain.
FEWEST_NODES, MOST_NODES = 4, 3000
#: Where a tape keeps more than that, Python's share of the time is small, and memory is given back node by node.
MOST_BYTES = 96 << 20
#: What it takes to chain a tape. A key's backwards run node by node until they have taken that long together.
SECONDS, SECONDS_A_NODE = 5e-3, 2e-4
#: How many keys are remembered; then the oldest go.
MOST_KEYS = 128

Root = tuple[Node, int, Any]
_number = attrgetter("number")


class _Keys(threading.local):
    """The tapes that this thread has seen."""

    def __init__(self) -> None:
        #: Seconds that a tape's backwards have taken, or its chains, or None where it has none.
        self.known: dict[Any, Any] = {}


_keys = _Keys()


def plain(value: Any) -> Any:
    """A parameter of an op as a part of a key: equal only where the op does the same. TypeError where it cannot be."""
    kind = type(value)
    if kind is tuple or kind is list:
        return (kind, *map(plain, value))
    if kind is int or kind is bool or value is None or kind is str:
        return (kind, value)
    if kind is float:
        return value if value else repr(value)  # 0.0 equals -0.0
    if isinstance(value, np.dtype):
        return value
    raise TypeError("not a plain parameter")


def frozen(steps: Any) -> Any:
    """The steps to a view as a part of a key."""
    return tuple([(view, *params.items()) for view, params in steps])


class Survey:
    """A tape, looked over before a backward."""

    __slots__ = ("arrays", "began", "follower", "key", "nodes")

    def __init__(self, key: Any, nodes: list[Node], arrays: list[Any]) -> None:
        self.key, self.nodes, self.arrays = key, nodes, arrays
        self.began = 0.0
        #: Told of everything that the engine does, if this backward is to be chained.
        self.follower: Follower | None = None

    def gradients(self, retain_graph: bool) -> dict[Node, list[Any]] | None:
        """Runs the tape's chains and gives what is left to be added at leaves; None, and nothing done, without them."""
        nodes, arrays = self.nodes, self.arrays
        self.nodes, self.arrays = [], []  # the engine is to hold nothing longer than it needs it
        found = _keys.known.get(self.key, 0.0)
        if found is None:
            return None
        if not isinstance(found, float):
            return found.run(nodes, arrays, retain_graph)  # type: ignore[no-any-return]
        self.began = perf_counter()
        if found > SECONDS + SECONDS_A_NODE * len(nodes):
            from rushlight.autograd.chaining import Follower

            self.follower = Follower(nodes, arrays)
        return None

    def finish(self) -> None:
        """After a backward that ran node by node."""
        if not self.began:
            return
        known = _keys.known
        if self.follower is not None:
            known[self.key] = self.follower.chained()
            return
        spent = known.get(self.key)
        if spent is None:
            if len(known) >= MOST_KEYS:
                del known[next(iter(known))]
            spent = 0.0
        known[self.key] = spent + perf_counter() - self.began


def survey(roots: Sequence[Root]) -> Survey | None:
    """Looks over the tape behind the roots; None where the engine has to run node by node."""
    if len(roots) != 1 or not settings.native:
        return None
    root, output, grad = roots[0]
    if root.released or type(grad) is not ndarray:
        return None
    index: dict[Node, int] = {root: 0}
    stack = [root]
    while stack:
        for edge in stack.pop().edges:
            if edge is not None and edge[0] not in index:
                index[edge[0]] = 0
                stack.append(edge[0])
        if len(index) > MOST_NODES:
            return None
    if len(index) < FEWEST_NODES:
        return None
    nodes = sorted(index, key=_number, reverse=True)
    for i, node in enumerate(nodes):
        index[node] = i
    key: list[Any] = [output, get_default_dtype()]
    arrays: list[Any] = [grad]
    try:
        for node in nodes:
            if node.tensor_hooks or node.retained or node.pre_hooks or node.post_hooks:
                return None
            for edge in node.edges:
                if edge is None:
                    key.append(None)
                else:
                    key += (index[edge[0]], edge[1])
            key.append(node.outputs)
            if not node.describe(key, arrays):
                return None
    except TypeError:  # a parameter that is not plain
        return None
    held = 0
    for array in arrays:
        if type(array) is not ndarray:
            return None
        held += array.nbytes
        key += (array.shape, array.dtype)
        if not array.flags.c_contiguous:
            key.append(array.strides)
    if held > MOST_BYTES:
        return None
    try:
        found = tuple(key)
        hash(found)
    except TypeError:
        return None
    return Survey(found, nodes, arrays)

"""The idea of rushlight in about 300 lines that run:  python docs/from_scratch.py

Four floors, each standing on the one below:

    1. primitives   pure functions on arrays, all reached through one point
    2. tape         tensors that remember how they were made; backward walks what they remember
    3. ops          what users call: a forward in primitives, and a gradient written in ops
    4. compile      fill the one point with a recorder, run the whole training step once, and keep the program

rushlight itself is this, with torch's names and edge cases, and with native code in place of the last floor's NumPy.
tests/docs/test_from_scratch.py holds this file to rushlight's own numbers.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

# ---------------------------------------------------------------------------------------------------------
# 1. Primitives. Each is declared once: a shape rule and a NumPy reference. Every call passes `call`, so that
#    whoever fills `recorder` sees all that a program computes.

recorder: Program | None = None


class Abstract:
    """A value while a program is being recorded: a place in the program, with a shape and nothing in it."""

    def __init__(self, place: int, shape: tuple[int, ...]) -> None:
        self.place, self.shape, self.ndim = place, shape, len(shape)


def primitive(
    rule: Callable[..., tuple[int, ...]], reference: Callable[..., Any]
) -> Callable[..., Any]:
    """Declares a primitive: `rule` gives the result's shape, `reference` computes it."""

    def call(*arrays: Any, **params: Any) -> Any:
        if recorder is not None:
            return recorder.record(reference, rule, arrays, params)
        rule(*arrays, **params)  # raises on the user's line what the user should read
        return np.asarray(reference(*arrays, **params))

    return call


def same(*arrays: Any, **params: Any) -> tuple[int, ...]:
    """The rule of elementwise primitives."""
    return np.broadcast_shapes(*(getattr(a, "shape", ()) for a in arrays))


def product_shape(a: Any, b: Any) -> tuple[int, ...]:
    """The rule of the matrix product."""
    if a.shape[1] != b.shape[0]:
        raise RuntimeError(f"shapes cannot be multiplied: {a.shape} and {b.shape}")
    return a.shape[0], b.shape[1]


def reduced(x: Any, *, axes: tuple[int, ...], keepdims: bool) -> tuple[int, ...]:
    """The rule of reductions."""
    return tuple(1 if i in axes else n for i, n in enumerate(x.shape) if keepdims or i not in axes)


p_add = primitive(same, np.add)
p_mul = primitive(same, np.multiply)
p_exp = primitive(same, np.exp)
p_log = primitive(same, np.log)
p_greater = primitive(same, lambda a, b: np.greater(a, b).astype(np.float64))
p_power = primitive(same, lambda x, *, to: np.power(x, to))
p_matmul = primitive(product_shape, np.matmul)
p_transpose = primitive(lambda x: x.shape[::-1], np.transpose)
p_sum = primitive(reduced, lambda x, *, axes, keepdims: np.sum(x, axes, keepdims=keepdims))
p_max = primitive(reduced, lambda x, *, axes, keepdims: np.max(x, axes, keepdims=keepdims))
p_expand = primitive(lambda x, *, shape: shape, lambda x, *, shape: np.broadcast_to(x, shape))


# ---------------------------------------------------------------------------------------------------------
# 2. The tape. A tensor made by an op keeps a node: the op's gradient, and the tensors it was made from.

order = itertools.count()


class Node:
    """What an op leaves behind: how to send a gradient back, and to whom."""

    def __init__(
        self, backward: Callable[[Tensor], tuple[Tensor | None, ...]], inputs: tuple[Tensor, ...]
    ) -> None:
        self.backward, self.inputs, self.order = backward, inputs, next(order)


class Tensor:
    """An array that remembers how it was made."""

    def __init__(self, array: Any, requires_grad: bool = False, node: Node | None = None) -> None:
        self.array = array if isinstance(array, Abstract) else np.asarray(array, np.float64)
        self.requires_grad = requires_grad or node is not None
        self.node = node
        self.grad: Tensor | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of each dimension."""
        return tuple(self.array.shape)

    def __add__(self, other: Any) -> Tensor:
        return add(self, tensor(other))

    def __mul__(self, other: Any) -> Tensor:
        return mul(self, tensor(other))

    def __neg__(self) -> Tensor:
        return self * -1.0

    def __sub__(self, other: Any) -> Tensor:
        return self + -tensor(other)

    def __truediv__(self, other: Any) -> Tensor:
        return self * power(tensor(other), to=-1.0)

    def __matmul__(self, other: Tensor) -> Tensor:
        return matmul(self, other)

    def backward(self) -> None:
        """Adds d self / d leaf to the `grad` of every leaf. Iterative: a graph may be as deep as it likes.

        Nodes run from the newest to the oldest, so each has all its gradient when its turn comes.
        """
        gradients: dict[Node | Tensor, Tensor] = {}
        waiting: list[tuple[int, Node]] = []

        def arrive(target: Tensor, gradient: Tensor) -> None:
            key = target.node or target
            if isinstance(key, Node) and key not in gradients:
                heapq.heappush(waiting, (-key.order, key))
            gradients[key] = gradients[key] + gradient if key in gradients else gradient

        arrive(self, Tensor(np.ones(self.shape)))
        while waiting:
            _, node = heapq.heappop(waiting)
            for source, gradient in zip(
                node.inputs, node.backward(gradients.pop(node)), strict=True
            ):
                if source.requires_grad and gradient is not None:
                    arrive(source, sum_to(gradient, source.shape))
        for leaf, gradient in gradients.items():
            if isinstance(leaf, Tensor):
                leaf.grad = gradient if leaf.grad is None else leaf.grad + gradient


def tensor(value: Any, requires_grad: bool = False) -> Tensor:
    """A tensor of a value; tensors are passed through."""
    return value if isinstance(value, Tensor) else Tensor(value, requires_grad)


# ---------------------------------------------------------------------------------------------------------
# 3. Ops. The body computes on arrays by primitives. The gradient computes on tensors by ops, so that it can be
#    differentiated again. One declaration gives both.


def op(body: Callable[..., Any]) -> Any:
    """Declares an op; its gradient is added with `@name.gradient`."""
    formula: list[Callable[..., Any]] = []

    def call(*tensors: Tensor, **options: Any) -> Tensor:
        out = Tensor(body(*(t.array for t in tensors), **options))
        if any(t.requires_grad for t in tensors):
            out.requires_grad = True
            out.node = Node(lambda grad: formula[0](grad, out, *tensors, **options), tensors)
        return out

    call.gradient = formula.append  # type: ignore[attr-defined]
    return call


@op
def add(a: Any, b: Any) -> Any:
    """A + b, broadcast."""
    return p_add(a, b)


@add.gradient
def _(grad: Tensor, out: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    return grad, grad


@op
def mul(a: Any, b: Any) -> Any:
    """A * b, broadcast."""
    return p_mul(a, b)


@mul.gradient
def _(grad: Tensor, out: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    return grad * b, grad * a


@op
def exp(x: Any) -> Any:
    """E to the power of x."""
    return p_exp(x)


@exp.gradient
def _(grad: Tensor, out: Tensor, x: Tensor) -> tuple[Tensor]:
    return (grad * out,)


@op
def log(x: Any) -> Any:
    """The natural logarithm."""
    return p_log(x)


@log.gradient
def _(grad: Tensor, out: Tensor, x: Tensor) -> tuple[Tensor]:
    return (grad / x,)


@op
def power(x: Any, to: float) -> Any:
    """X to a fixed power."""
    return p_power(x, to=to)


@power.gradient
def _(grad: Tensor, out: Tensor, x: Tensor, to: float) -> tuple[Tensor]:
    return (grad * power(x, to=to - 1) * to,)


@op
def relu(x: Any) -> Any:
    """X where it is positive, else zero."""
    return p_mul(x, p_greater(x, 0.0))


@relu.gradient
def _(grad: Tensor, out: Tensor, x: Tensor) -> tuple[Tensor]:
    return (grad * Tensor(p_greater(x.array, 0.0)),)


@op
def matmul(a: Any, b: Any) -> Any:
    """The matrix product."""
    return p_matmul(a, b)


@matmul.gradient
def _(grad: Tensor, out: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    return grad @ transpose(b), transpose(a) @ grad


@op
def transpose(x: Any) -> Any:
    """Rows and columns exchanged."""
    return p_transpose(x)


@transpose.gradient
def _(grad: Tensor, out: Tensor, x: Tensor) -> tuple[Tensor]:
    return (transpose(grad),)


@op
def total(x: Any, axes: tuple[int, ...]) -> Any:
    """The sum along axes, which stay with size 1."""
    return p_sum(x, axes=axes, keepdims=True)


@total.gradient
def _(grad: Tensor, out: Tensor, x: Tensor, axes: tuple[int, ...]) -> tuple[Tensor]:
    return (expand(grad, shape=x.shape),)


@op
def expand(x: Any, shape: tuple[int, ...]) -> Any:
    """Dimensions of size 1 repeated."""
    return p_expand(x, shape=shape)


@expand.gradient
def _(grad: Tensor, out: Tensor, x: Tensor, shape: tuple[int, ...]) -> tuple[Tensor]:
    return (sum_to(grad, x.shape),)


def sum_to(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Undoes broadcasting: sums the dimensions that were added or repeated."""
    while len(x.shape) > len(shape):
        x = drop_first(total(x, axes=(0,)))
    axes = tuple(i for i, n in enumerate(shape) if n == 1 and x.shape[i] != 1)
    return total(x, axes=axes) if axes else x


p_drop_first = primitive(lambda x: x.shape[1:], lambda x: x[0])
p_add_first = primitive(lambda x: (1, *x.shape), lambda x: x[None])


@op
def drop_first(x: Any) -> Any:
    """A first dimension of size 1 taken away."""
    return p_drop_first(x)


@drop_first.gradient
def _(grad: Tensor, out: Tensor, x: Tensor) -> tuple[Tensor]:
    return (add_first(grad),)


@op
def add_first(x: Any) -> Any:
    """A first dimension of size 1 put before."""
    return p_add_first(x)


@add_first.gradient
def _(grad: Tensor, out: Tensor, x: Tensor) -> tuple[Tensor]:
    return (drop_first(grad),)


def cross_entropy(scores: Tensor, wanted: Tensor) -> Tensor:
    """The mean of -log softmax(scores) at the wanted classes (rows of zeros with a one)."""
    largest = Tensor(
        p_max(scores.array, axes=(1,), keepdims=True)
    )  # keeps exp in range; no gradient flows
    shifted = scores - largest
    chosen = total(shifted * wanted, axes=(1,))
    return total(log(total(exp(shifted), axes=(1,))) - chosen, axes=(0,)) * (1.0 / scores.shape[0])


# ---------------------------------------------------------------------------------------------------------
# 4. Compile. A recorder in the slot turns one run of a function into a list of calls; tensors that the function
#    writes become results, stored back when the program runs. rushlight emits native code here.


class Program:
    """Calls in order, each with the places of its operands."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, list[Any], dict[str, Any]]] = []
        self.constants: dict[int, Any] = {}
        self.places = itertools.count()

    def record(
        self, reference: Any, rule: Any, arrays: tuple[Any, ...], params: dict[str, Any]
    ) -> Abstract:
        """Notes a call: the rule runs, the reference does not."""
        operands = [a.place if isinstance(a, Abstract) else self.constant(a) for a in arrays]
        result = Abstract(next(self.places), rule(*arrays, **params))
        self.calls.append((reference, [result.place, *operands], params))
        return result

    def constant(self, value: Any) -> int:
        """A value that is the same in every run."""
        place = next(self.places)
        self.constants[place] = value
        return place

    def run(self, values: dict[int, Any]) -> dict[int, Any]:
        """All values of one run, given those of the inputs."""
        values = {**self.constants, **values}
        for reference, (result, *operands), params in self.calls:
            values[result] = reference(*(values[o] for o in operands), **params)
        return values


def compile(step: Callable[..., Tensor], state: list[Tensor]) -> Callable[..., np.ndarray]:
    """A whole training step as one program. `state` lists the tensors that the step reads and writes."""
    known: tuple[Program, list[int], list[int], list[int], int] | None = None

    def trace(*inputs: Tensor) -> tuple[Program, list[int], list[int], list[int], int]:
        global recorder  # noqa: PLW0603
        program, kept = Program(), [t.array for t in state]

        def enter(t):
            return Tensor(Abstract(next(program.places), t.shape))

        arguments = [enter(t) for t in inputs]
        for t in state:
            t.array = Abstract(next(program.places), t.shape)
        begin = [t.array.place for t in state]
        recorder = program
        try:
            loss = step(*arguments)
            end = [t.array.place for t in state]
        finally:
            recorder = None
            for t, array in zip(state, kept, strict=True):
                t.array, t.grad = array, None
        return program, [a.array.place for a in arguments], begin, end, loss.array.place

    def call(*inputs: Tensor) -> np.ndarray:
        nonlocal known
        known = known or trace(*inputs)
        program, arguments, begin, end, loss = known
        given = dict(zip(arguments, (t.array for t in inputs), strict=True))
        values = program.run({**given, **dict(zip(begin, (t.array for t in state), strict=True))})
        for t, place in zip(state, end, strict=True):
            t.array = values[place]
        return np.asarray(values[loss])

    return call


# ---------------------------------------------------------------------------------------------------------
# A small network on points of two rings, eagerly and compiled: the same losses.


def rings(count: int = 200) -> tuple[Tensor, Tensor]:
    """Points near two circles, and rows that say which."""
    random = np.random.default_rng(0)
    which = np.arange(count) % 2
    angle, radius = random.uniform(0, 2 * np.pi, count), 1 + which + random.normal(0, 0.1, count)
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
    return Tensor(points), Tensor(np.eye(2)[which])


def network() -> list[Tensor]:
    """Weights and biases of a network with one hidden layer."""
    random = np.random.default_rng(1)
    shapes = [(2, 16), (16,), (16, 2), (2,)]
    return [Tensor(random.normal(0, 0.5, shape), requires_grad=True) for shape in shapes]


def training_step(weights: list[Tensor], rate: float = 0.5) -> Callable[[Tensor, Tensor], Tensor]:
    """Forward, loss, backward and update, as a function of a batch."""
    w1, b1, w2, b2 = weights

    def step(x: Tensor, y: Tensor) -> Tensor:
        for w in weights:
            w.grad = None
        loss = cross_entropy(relu(x @ w1 + b1) @ w2 + b2, y)
        loss.backward()
        for w in weights:
            assert w.grad is not None
            w.array = p_add(w.array, p_mul(w.grad.array, -rate))
        return loss

    return step


def losses(compiled: bool, steps: int = 100) -> Iterator[float]:
    """The losses of a training run."""
    x, y = rings()
    weights = network()
    step = training_step(weights)
    program = compile(step, weights) if compiled else None
    for _ in range(steps):
        value = program(x, y) if program else step(x, y).array
        yield float(value.reshape(()))


if __name__ == "__main__":
    for i, (eager, native) in enumerate(zip(losses(False), losses(True), strict=True)):
        assert abs(eager - native) < 1e-12
        if i % 20 == 0 or i == 99:
            print(f"step {i:3d}  loss {eager:.4f}  (compiled {native:.4f})")

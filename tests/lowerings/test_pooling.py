"""Poolings in compiled programs: as parts of convolutions, alone, and their gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("llvmlite")

import rushlight
from rushlight.compiler.executable import Executable
from rushlight.compiler.graph import Equation, Graph, Var, evaluate
from rushlight.compiler.passes import drop_dead
from rushlight.primitives import convolution, pooling
from rushlight.primitives.elementwise import add, greater, maximum
from rushlight.primitives.primitive import Aval
from rushlight.primitives.reduction import reduce_sum
from rushlight.primitives.structural import select

F32 = np.dtype(np.float32)


class Writer:
    """Writes a graph, call by call."""

    def __init__(self, *shapes: tuple[int, ...]) -> None:
        self.inputs = [Var(Aval(s, F32)) for s in shapes]
        self.equations: list[Equation] = []

    def call(self, operation: Any, *operands: Any, **params: Any) -> Any:
        """One call of a primitive; a Var, or a tuple of them."""
        primitive = operation.primitive
        avals = primitive.rule(*[o.aval if isinstance(o, Var) else o for o in operands], **params)
        equation = Equation(
            primitive, operands, params, avals if isinstance(avals, tuple) else (avals,)
        )
        self.equations.append(equation)
        return equation.outputs if len(equation.outputs) > 1 else equation.outputs[0]


def check(writer: Writer, outputs: list[Any], arrays: list[Any]) -> Executable:
    """Runs the graph natively and by the references."""
    graph = Graph(writer.inputs, writer.equations, outputs)
    want = evaluate(graph, arrays)
    program = Executable(graph)
    for got, expected in zip(program.run(arrays), want, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-4)
    return program


def chain(
    batch: int, channels: int, size: int, window: int, stride: int, before: int, after: int
) -> tuple[Any, ...]:
    """Convolution, bias, relu, pooling, and back to the convolution's weight and bias."""
    w = Writer((batch, 1, size, size), (channels, 1, 3, 3), (channels, 1, 1))
    x, weight, bias = w.inputs
    where = {"stride": (1, 1), "before": (0, 0), "after": (0, 0), "dilation": (1, 1), "groups": 1}
    pool = {
        "size": (window,) * 2, "stride": (stride,) * 2, "before": (before,) * 2, "after": (after,) * 2,
        "dilation": (1, 1),
    }  # fmt: skip
    y = w.call(maximum, w.call(add, w.call(convolution.convolve, x, weight, **where), bias), 0)
    largest, places = w.call(pooling.max_windows, y, **pool)
    grad = w.call(add, largest, 1)
    placed = w.call(pooling.place_windows, grad, places, shape=y.shape, **pool)
    masked = w.call(select, w.call(greater, y, 0), placed, 0)
    back = w.call(convolution.convolve_weight, x, masked, size=(3, 3), **where)
    total = w.call(reduce_sum, masked, axes=(0, 2, 3), keepdim=False)
    return w, [largest, places, back, total]


@pytest.mark.parametrize("batch", [1, 16, 32])
@pytest.mark.parametrize(
    ("size", "window", "stride", "before", "after"),
    [
        (10, 2, 2, 0, 0),
        (11, 2, 2, 0, 0),
        (11, 2, 2, 0, 1),
        (11, 3, 3, 0, 0),
        (9, 3, 2, 1, 1),
        (9, 2, 1, 0, 0),
    ],
)
def test_chain_of_a_convolution_and_a_pooling(
    batch: int, size: int, window: int, stride: int, before: int, after: int
) -> None:
    random = np.random.default_rng(batch)
    w, outputs = chain(batch, 5, size, window, stride, before, after)
    arrays = [random.standard_normal(v.shape).astype(np.float32) for v in w.inputs]
    check(w, outputs, arrays)


def test_a_pooling_side_by_side_is_part_of_the_convolution() -> None:
    w, outputs = chain(64, 5, 10, 2, 2, 0, 0)
    random = np.random.default_rng(0)
    program = check(
        w, outputs, [random.standard_normal(v.shape).astype(np.float32) for v in w.inputs]
    )
    names = [kernel.name for segment in program.segments for kernel in segment.kernels]
    assert not any(name.startswith("max_windows") for name in names)


def test_nan_and_infinity_are_pooled_as_the_reference_does() -> None:
    w, outputs = chain(64, 5, 10, 2, 2, 0, 0)
    random = np.random.default_rng(0)
    arrays = [random.standard_normal(v.shape).astype(np.float32) for v in w.inputs]
    arrays[0][3, 0, 4, 4], arrays[0][20, 0, 1, 1] = np.nan, np.inf
    graph = drop_dead(Graph(w.inputs, w.equations, outputs[:2]))
    want = evaluate(graph, arrays)
    got = Executable(graph).run(arrays)
    np.testing.assert_allclose(got[0], want[0], rtol=1e-5, atol=1e-5)
    finite = np.isfinite(want[0])
    np.testing.assert_array_equal(got[1][finite], want[1][finite])


LAYERS: dict[str, Callable[[Any], Any]] = {
    "1d": lambda F: lambda x: F.max_pool1d(x[:, :, 0], 3, 2, 1),
    "dilated": lambda F: lambda x: F.max_pool2d(x, 2, 2, 1, 2),
    "ceil": lambda F: lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True),
    "average": lambda F: (
        lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False)
    ),
    "adaptive": lambda F: lambda x: F.adaptive_avg_pool2d(x, (3, 2)),
    "3d": lambda F: lambda x: F.max_pool3d(x[:, :, None], (1, 2, 3)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("name", LAYERS)
def test_layers_compiled_as_eager(name: str, dtype: str) -> None:
    pool = LAYERS[name](rushlight.nn.functional)
    kind = getattr(rushlight, dtype)

    def run(x: Any) -> Any:
        y = pool(x)
        (y * y).sum().backward()
        return y

    random = np.random.default_rng(0)
    values = random.standard_normal((16, 3, 9, 11)).astype(np.float32)
    results = []
    for step in (run, rushlight.compile(run)):
        x = rushlight.tensor(values).to(kind).requires_grad_()
        y = step(x)
        results.append((y.detach().float().numpy(), x.grad.float().numpy()))
    for eager, compiled in zip(*results, strict=True):
        bound = 1e-5 if dtype != "bfloat16" else 2e-2
        np.testing.assert_allclose(compiled, eager, rtol=bound, atol=bound)

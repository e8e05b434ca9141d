"""Passes: text in, text out; what they keep; and that every graph between them is one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rushlight
from rushlight.compiler.graph import Equation, Graph, Var, evaluate
from rushlight.compiler.passes import (
    PASSES,
    convolve_what_was_placed,
    drop_dead,
    join_updates,
    optimize,
    scalars_first,
    share,
    simplify,
)  # fmt: skip
from rushlight.compiler.text import parse
from rushlight.compiler.verify import Broken, verify
from rushlight.primitives import elementwise
from rushlight.primitives.primitive import Aval
from tests.support.graphs import traced, uncompiled

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import models  # the benchmark programs are no package

pytestmark = pytest.mark.usefixtures("uncompiled")
__all__ = ["uncompiled"]


def _arrays(graph: Graph) -> list[Any]:
    """Arrays for a graph's inputs: numbers of some spread, and indices that fit everywhere."""
    rng = np.random.default_rng(0)
    return [
        rng.standard_normal(v.shape).astype(v.dtype) if v.dtype.kind == "f" else np.ones(v.shape, v.dtype)
        for v in graph.inputs
    ]  # fmt: skip


def _equations(graph: Graph) -> list[str]:
    return [e.primitive.name for e in graph.equations]


@pytest.mark.parametrize("name", models.NAMES)
def test_benchmark_programs_stay_graphs_and_keep_their_results(name: str) -> None:
    step, _, _, x, y, _ = models.build(rushlight, name, 1)
    graph = traced(step, x, y, calls=2)
    verify(graph)
    if name not in ("lenet", "mlp", "vae"):  # by NumPy's references the others take their time
        optimize(graph, lambda _, after: verify(after))
        return
    arrays = _arrays(graph)
    with np.errstate(all="ignore"):
        before = evaluate(graph, arrays)
        for each in PASSES:
            graph = each.run(graph)
            verify(graph)
            after = evaluate(graph, arrays)
            for a, b in zip(before, after, strict=True):
                if each.keeps_bits:
                    np.testing.assert_array_equal(b, a, err_msg=each.name)
                else:
                    scale = float(np.abs(np.where(np.isfinite(a), a, 0)).max(initial=1e-30))
                    np.testing.assert_allclose(
                        b, a, rtol=1e-4, atol=1e-4 * scale, err_msg=each.name
                    )
            before = after


CASES = [
    (
        simplify,
        """graph(
  %0: float32[2,3] "x"
)
  %1: float32[2,3] = copy(%0)
  %2: float32[6] = reshape(%1; shape=(6,))
  %3: float32[3,2] = reshape(%2; shape=(3, 2))
  %4: float32[2,3] = permute(%3; axes=(1, 0))
  %5: float32[3,2] = permute(%4; axes=(1, 0))
  %6: float32[3,2] = mul(%5, 1)
  %7: float32[3,2] = sub(%6, 0)
  %8: float32[3,2] = add(%7, 0)
  return %8
""",
        ["reshape", "add"],
    ),
    (
        share,
        """graph(
  %0: float32[2] "x"
)
  %1: float32[2] = mul(%0, 2)
  %2: float32[2] = mul(%0, 2)
  %3: float32[2] = mul(%0, 2.0)
  %4: float32[2] = add(%1, %2)
  %5: float32[2] = add(%4, %3)
  return %5
""",
        ["mul", "mul", "add", "add"],
    ),
    (
        drop_dead,
        """graph(
  %0: float32[2] "x"
)
  %1: float32[2] = exp(%0)
  %2: float32[2] = neg(%0)
  return %2
""",
        ["neg"],
    ),
    (
        join_updates,
        """graph(
  %0: float32[2] "x",
  %1: float32[3] "y"
)
  %2: float32[5] = full(0; shape=(5,), dtype=dtype('float32'))
  %3: float32[5] = slice_update(%2, %1; starts=(2,), stops=(5,), steps=(1,))
  %4: float32[5] = slice_update(%3, %0; starts=(0,), stops=(2,), steps=(1,))
  return %4
""",
        ["concatenate"],
    ),
    (
        scalars_first,
        """graph(
  %0: float32[4] "x",
  %1: float32[] "step"
)
  %2: float32[4] = exp(%0)
  %3: float32[] = add(%1, 1)
  %4: float32[4] = mul(%2, %3)
  return %4
""",
        ["add", "exp", "mul"],
    ),
    (
        convolve_what_was_placed,
        """graph(
  %0: float32[2,3,4,4] "x"
  %1: float32[5,3,3,3] "weight"
  %2: float32[2,5,1,1] "gradient"
  %3: uint8[2,5,1,1] "places"
)
  %4: float32[2,5,2,2] = place_windows(%2, %3; size=(2, 2), stride=(2, 2), before=(0, 0), after=(0, 0), dilation=(1, 1), shape=(2, 5, 2, 2))
  %5: float32[2,3,4,4] = convolve_input(%4, %1; stride=(1, 1), before=(0, 0), after=(0, 0), dilation=(1, 1), groups=1, size=(4, 4))
  %6: float32[5,3,3,3] = convolve_weight(%0, %4; stride=(1, 1), before=(0, 0), after=(0, 0), dilation=(1, 1), groups=1, size=(3, 3))
  return %5, %6
""",  # noqa: E501
        ["convolve_input_placed", "convolve_weight_placed"],
    ),
]


@pytest.mark.parametrize(("run", "text", "expected"), CASES, ids=[c[0].__name__ for c in CASES])
def test_text_in_text_out(run: Any, text: str, expected: list[str]) -> None:
    graph = parse(text)
    verify(graph)
    after = drop_dead(run(graph))
    verify(after)
    assert _equations(after) == expected
    arrays = _arrays(graph)
    for a, b in zip(evaluate(graph, arrays), evaluate(after, arrays), strict=True):
        np.testing.assert_array_equal(b, a)
    assert str(parse(text)) == str(graph)  # the graph that was given is as it was


def _graph() -> tuple[Graph, Var, Equation]:
    x = Var(Aval((2,), np.dtype(np.float32)))
    equation = Equation(elementwise.neg.primitive, (x,), {}, [x.aval])
    return Graph([x], [equation], list(equation.outputs)), x, equation


def test_broken_graphs_are_refused() -> None:
    good, x, equation = _graph()
    verify(good)
    stranger = Var(x.aval)
    wide = Equation(elementwise.neg.primitive, (x,), {}, [Aval((3,), x.dtype)])
    typed = Equation(elementwise.neg.primitive, (x,), {}, [Aval((2,), np.dtype(np.float64))])
    lost = Equation(elementwise.add.primitive, (x, stranger), {}, [x.aval])
    for graph, says in (
        (Graph([x, x], [equation], equation.outputs), "input 1 is input 0 too"),
        (Graph([*equation.outputs], [], []), "input 0 is made by"),
        (Graph([x], [equation, equation], equation.outputs), "its result is equation 0"),
        (Graph([x], [wide], wide.outputs), r"its rule gives float32\[2\], not float32\[3\]"),
        (Graph([x], [typed], typed.outputs), r"its rule gives float32\[2\], not float64\[2\]"),
        (Graph([x], [lost], lost.outputs), "operand 1 is not made before it"),
        (Graph([], [equation], equation.outputs), "operand 0 is not made before it"),
        (Graph([x], [equation], [stranger]), "output 0 is not made"),
    ):
        with pytest.raises(Broken, match=says):
            verify(graph)

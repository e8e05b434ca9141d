"""The text of a graph: printed for people, and read back to the same graph."""

from __future__ import annotations

import math
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rushlight
from rushlight import nn
from rushlight.capture.naming import plain
from rushlight.capture.recorder import Recorder, Unsuitable
from rushlight.compiler import grammar
from rushlight.compiler.graph import Equation, Graph, Var
from rushlight.compiler.text import parse
from rushlight.compiler.values import Abstract
from rushlight.ops import families
from rushlight.ops.declare import FUNCTIONS, OPS, Bad
from rushlight.primitives import elementwise
from rushlight.primitives.interpreter import recording
from rushlight.primitives.primitive import Aval
from rushlight.tensor.tensor import wrap
from tests.support.graphs import assert_same_graph, check_golden, traced, uncompiled
from tests.support.making import Make, replaced, tensors_in

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import models  # the benchmark programs are no package

families.load_all()
pytestmark = pytest.mark.usefixtures("uncompiled")
__all__ = ["uncompiled"]


def assert_round_trip(graph: Graph) -> None:
    """Text, graph, text, without loss."""
    text = str(graph)
    again = parse(text)
    assert_same_graph(graph, again)
    assert str(again) == text


@pytest.mark.parametrize("name", models.NAMES)
def test_benchmark_programs(name: str) -> None:
    step, _, _, x, y, _ = models.build(rushlight, name, 1)
    graph = traced(step, x, y, calls=2)
    assert_round_trip(graph)
    assert graph.inputs[0].name == "x"
    assert all(e.site.startswith("models.py:") for e in graph.equations)
    assert len({e.scope for e in graph.equations}) > 3


def recorded(name: str, sample: Any) -> Graph | None:
    """What an op calls on a sample; None where it asks for elements, which a trace does not have."""
    recorder = Recorder()
    made: dict[int, Any] = {}

    def hidden(tensor: Any) -> Any:
        if id(tensor) not in made:
            number = len(made)
            made[id(tensor)] = wrap(
                recorder.input(tuple(tensor.shape), tensor._array.dtype, ("tensor", number), f"t {number}")
            )  # fmt: skip
        return made[id(tensor)]

    with recording(recorder), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = FUNCTIONS[name](
                *replaced(sample.args, hidden), **replaced(sample.kwargs, hidden)
            )
        except (RuntimeError, Unsuitable):
            return None
        outputs = [t._array for t in tensors_in(result)]
    return recorder.graph([o for o in outputs if isinstance(o, Abstract)])


def test_every_op() -> None:
    names = [n for n in sorted(OPS) if OPS[n].traceable and OPS[n].sampler]
    checked = set()
    for name in names:
        for sample in OPS[name].samples(Make()):
            graph = None if isinstance(sample, Bad) else recorded(name, sample)
            if graph is not None:
                assert_round_trip(graph)
                checked.add(name)
    assert len(checked) > 0.95 * len(names)


# -- words -------------------------------------------------------------------------------------------------

ANY = st.text(max_size=12)


@given(ANY, ANY)
def test_origins(scope: str, site: str) -> None:
    assert grammar.read_origin(grammar.origin_text(scope, site)) == (scope, site)
    assert "\n" not in grammar.origin_text(scope, site)


@given(ANY)
def test_labels(label: str) -> None:
    text = grammar.quoted(label)
    assert text.isascii() and "\n" not in text
    assert grammar.unquoted(text) == label


VALUES: Any = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | ANY
    | st.sampled_from([np.dtype(n) for n in ("float32", "bool", "uint64", "complex64")])
    | st.just(rushlight.bfloat16.numpy),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=5,
)


@given(ANY, ANY, VALUES, VALUES)
def test_any_parameter_operand_and_origin(scope: str, site: str, param: Any, number: Any) -> None:
    x = Var(Aval((2, 0), np.dtype(np.float32)), name=scope)
    operand = number if isinstance(number, (bool, int, float, complex)) else 1
    equation = Equation(
        elementwise.add.primitive, (x, operand), {}, [Aval((), np.dtype(np.int8))], scope, site
    )
    equation.params = {"first": param, "second": (number,)}
    text = str(Graph([x], [equation], [equation.outputs[0], x]))
    again = parse(text)
    assert str(again) == text
    found = again.equations[0]
    assert repr(found.params) == repr(equation.params)
    assert (found.scope, found.site) == (scope, site)
    assert repr(found.operands[1]) == repr(operand)
    assert again.outputs[1] is again.inputs[0]


def test_no_inputs_no_equations_no_outputs() -> None:
    assert str(parse(str(Graph([], [], [])))) == "graph(\n)\n  return "


def test_special_numbers_keep_their_sign() -> None:
    for value in (math.inf, -math.inf, -0.0, complex(0, -math.inf)):
        tree = grammar.arguments(grammar.value_text(value))[0][0]
        assert repr(grammar.read_value(tree)) == repr(value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "begins with"),
        ("graph(\n  %0: float32[2]\n)", "ends with 'return'"),
        ("graph(\n  %0: float32(2)\n)\n  return %0", "not an input: '%0: float32(2)'"),
        ("graph(\n)\n  %0: float32[2] = wobble(1)\n  return %0", "no primitive 'wobble', in"),
        ("graph(\n)\n  %1: float32[2] = neg(%0)\n  return %1", "%0 is used before it is made, in"),
        ("graph(\n)\n  return %4", "%4 is used before it is made"),
        ("graph(\n)\n  %1 = neg(2)\n  return %1", "not an equation, in"),
        ("graph(\n)\n  %1: float32[2] = neg(2\n  return %1", "the call is not closed, in"),
        ("graph(\n)\n  %1: float32[2] = neg(2, ; a=)\n  return %1", "no list of operands"),
    ],
)
def test_what_is_no_graph_is_refused_with_the_line(text: str, says: str) -> None:
    with pytest.raises(ValueError, match="(?s)" + says.replace("(", r"\(").replace(")", r"\)")):
        parse(text)


# -- golden files --------------------------------------------------------------------------------------------


def mlp_step() -> Graph:
    """A training step: forward, backward, an update with momentum."""
    rushlight.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    optimizer = rushlight.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return traced(step, rushlight.randn(5, 4), rushlight.tensor([0, 1, 1, 0, 1]), calls=2)


def views_and_writes() -> Graph:
    """Views are written through."""

    def function(x: Any) -> Any:
        y = x.clone()
        y[1:].mul_(2)
        y.t()[0] = 1.5
        return y, y[::2].sum()

    return traced(function, rushlight.randn(3, 2))


def convolution() -> Graph:
    """Pictures through a convolution and a pooling."""
    net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))

    def function(x: Any) -> Any:
        with rushlight.no_grad():
            return net(x)

    return traced(function, rushlight.randn(2, 1, 6, 6))


@pytest.mark.parametrize("make", [mlp_step, views_and_writes, convolution])
def test_golden(make: Any, renew: bool) -> None:
    graph = make()
    assert_round_trip(graph)
    text = "\n".join(line.split("  # ")[0] for line in str(graph).splitlines())
    check_golden(make.__name__, text, renew)


# -- names -----------------------------------------------------------------------------------------------------


def test_inputs_are_named_as_people_do() -> None:
    net = nn.Linear(2, 2)

    def step(x: Any, scale: Any = None, *, net: Any = net) -> Any:
        with rushlight.no_grad():
            return net(x) * scale

    graph = traced(step, rushlight.ones(2), rushlight.ones(2))
    assert [v.name for v in graph.inputs][:2] == ["x", "scale"]
    assert plain("step defaults[0]['_modules']['conv']['_parameters']['weight'].grad", step) == (
        "scale.conv.weight.grad"
    )
    assert plain("argument 7", step) == "argument 7"
    assert plain("argument 0", net.forward) == "input"
    assert plain("argument 0", print) == "argument 0"

"""How long NumPy takes for a graph, roughly: what decides whether a native kernel is worth having.

The estimate depends on the graph alone, never on a clock: the same call is made by the same implementation in every
run, so that its result has the same bits.
"""

from __future__ import annotations

from rushlight.compiler.flops import flops
from rushlight.compiler.graph import Equation, Graph, Var
from rushlight.compiler.views import VIEWS

#: Nanoseconds of a call whatever its arrays' sizes: of one NumPy function, and of references that are more than that.
CALL_NS = 1000.0
CALLS_NS = {
    "contract": 6000.0, "convolve": 25_000.0, "convolve_input": 25_000.0, "convolve_weight": 25_000.0,
    "softmax": 5000.0, "log_softmax": 5000.0, "gather": 4000.0, "scatter_add": 4000.0, "put_add": 40_000.0,
    "class_scores": 6000.0, "class_places": 6000.0, "class_weights": 6000.0,
    "attend": 40_000.0, "attend_adjoint": 60_000.0, "normalize_rows": 10_000.0, "normalize_rows_adjoint": 20_000.0,
}  # fmt: skip
#: Nanoseconds for an element of the result or of the largest operand, whichever are more.
ELEMENT_NS = 0.5
SLOW_NS = {
    "exp": 2.0, "log": 2.0, "tanh": 4.0, "logistic": 4.0, "erf": 25.0, "erfc": 25.0, "normal_distribution": 27.0,
    "normal_density": 4.0, "sin": 8.0, "cos": 8.0,
    "power": 10.0, "log1p": 8.0, "expm1": 8.0, "softplus": 15.0, "sqrt": 1.0, "div": 1.0,
    "softmax": 5.0, "log_softmax": 5.0, "select": 2.0, "cast": 0.7,
    "gather": 2.0, "scatter_add": 10.0, "scatter": 5.0, "normalize_rows": 3.0, "normalize_rows_adjoint": 8.0,
    "attend": 10.0, "attend_adjoint": 20.0,
}  # fmt: skip
#: Convolutions and products, in operations (a multiplication and an addition are two) a nanosecond.
PRODUCTS = {"contract": 60.0, "convolve": 15.0, "convolve_input": 10.0, "convolve_weight": 10.0}


def numpy_ns(graph: Graph) -> float:
    """The estimate."""
    return sum(_equation_ns(equation) for equation in graph.equations)


def _equation_ns(equation: Equation) -> float:
    name = equation.primitive.name
    if name in VIEWS or name == "full":
        return 0.0
    operands = [o for o in equation.operands if isinstance(o, Var)]
    result = equation.outputs[0]
    call = CALLS_NS.get(name, 10_000.0 if "windows" in name else CALL_NS)
    if name in PRODUCTS:
        return call + flops(equation) / PRODUCTS[name]
    elements = max([result.size, *(o.size for o in operands)])
    rate = SLOW_NS.get(name, 5.0 if "windows" in name else ELEMENT_NS)
    return call + elements * rate

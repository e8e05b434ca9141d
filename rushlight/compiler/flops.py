"""How many operations an equation asks for: the one table behind the profiler, the counter and the eager costs.

Counted as PyTorch counts them: a multiplication and an addition are two; only products, convolutions and recurrent
layers count, and of a convolution also the taps that fall on padding. Kernels say what they really do (`kernel.flops`):
elementwise work too, and no taps on padding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rushlight.compiler.graph import Equation
from rushlight.core.shapes import size_of

Shape = tuple[int, ...]


def _product(equation: Equation) -> int:
    first, *_ = _shapes(equation)
    return _result(equation) * size_of(first[i] for i in equation.params["axes_a"])


def _convolution(equation: Equation) -> int:
    _, weight = _shapes(equation)
    return _result(equation) * size_of(weight[1:])


def _input_gradient(equation: Equation) -> int:
    grad, weight = _shapes(equation)
    return size_of(grad) * size_of(weight[1:])


def _weight_gradient(equation: Equation) -> int:
    _, grad = _shapes(equation)
    return size_of(grad) * size_of(equation.outputs[0].shape[1:])


def _recurrent(equation: Equation) -> int:
    """The products with the hidden state: a row of the hidden size by the weight, at every step of every sequence."""
    shapes = _shapes(equation)
    weight = shapes[1]
    return size_of(shapes[0][:-1]) * size_of(weight)


def _recurrent_adjoint(place: int) -> Callable[[Equation], int]:
    """The same of a gradient, whose weight is operand `place`."""

    def count(equation: Equation) -> int:
        shapes = _shapes(equation)
        return size_of(shapes[0][:-1]) * size_of(shapes[place])

    return count


def _attention(equation: Equation) -> int:
    """The scores, and their products with the values."""
    query, _, value = _shapes(equation)
    return size_of(query[:-1]) * value[-2] * (query[-1] + value[-1])


def _attention_adjoint(equation: Equation) -> int:
    """Five products: the scores again, and the gradients of weights, values, queries and keys."""
    _, query, _, value, _ = _shapes(equation)
    return size_of(query[:-1]) * value[-2] * (3 * query[-1] + 2 * value[-1])


#: Multiplications with an addition, by primitive.
_MULTIPLICATIONS: dict[str, Callable[[Equation], int]] = {
    "contract": _product, "convolve": _convolution, "convolve_input": _input_gradient,
    "convolve_weight": _weight_gradient, "lstm": _recurrent, "gru": _recurrent, "elman": _recurrent,
    "lstm_adjoint": _recurrent_adjoint(3), "gru_adjoint": _recurrent_adjoint(2),
    "elman_adjoint": _recurrent_adjoint(2), "attend": _attention, "attend_adjoint": _attention_adjoint,
}  # fmt: skip


def flops(equation: Equation) -> int:
    """The operations of one equation."""
    count = _MULTIPLICATIONS.get(equation.primitive.name)
    return 0 if count is None else 2 * count(equation)


def total_flops(equations: Iterable[Equation]) -> int:
    """The operations of several."""
    return sum(map(flops, equations))


def _shapes(equation: Equation) -> list[Shape]:
    return [getattr(operand, "shape", ()) for operand in equation.operands]


def _result(equation: Equation) -> int:
    size: int = equation.outputs[0].size
    return size


__all__ = ["flops", "total_flops"]

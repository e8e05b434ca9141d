"""autograd.functional against PyTorch's, and gradcheck: it passes what is right and fails what is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rushlight

torch = pytest.importorskip("torch", reason="PyTorch is the oracle")

both = pytest.mark.parametrize("lib", [rushlight, torch], ids=["rushlight", "torch"])


def flat(value: Any) -> list[Any]:
    """Nested tuples of tensors as a list of arrays."""
    if isinstance(value, (tuple, list)):
        return [a for v in value for a in flat(v)]
    return [np.asarray(value.detach().numpy())]


def quadratic(x: Any, y: Any) -> Any:
    return (x * x * y).sum() + (y**3).sum()


def pair(x: Any, y: Any) -> Any:
    return x.exp() * y, (x + 2 * y).sum()


def inputs(lib: Any) -> tuple[Any, Any]:
    return lib.tensor([0.3, 0.7]), lib.tensor([1.5, 0.5])


CASES: dict[str, Any] = {
    "jacobian": lambda lib: lib.autograd.functional.jacobian(pair, inputs(lib)),
    "jacobian of one": lambda lib: lib.autograd.functional.jacobian(lib.sin, inputs(lib)[0]),
    "hessian": lambda lib: lib.autograd.functional.hessian(quadratic, inputs(lib)),
    "hessian of one": lambda lib: lib.autograd.functional.hessian(
        lambda x: (x**3).sum() * x[0], inputs(lib)[0]
    ),
    "vjp": lambda lib: lib.autograd.functional.vjp(
        pair, inputs(lib), (lib.tensor([2.0, 1.0]), lib.tensor(3.0))
    ),
    "vjp of a scalar": lambda lib: lib.autograd.functional.vjp(quadratic, inputs(lib)),
    "jvp": lambda lib: lib.autograd.functional.jvp(pair, inputs(lib), inputs(lib)[::-1]),
    "vhp": lambda lib: lib.autograd.functional.vhp(quadratic, inputs(lib), inputs(lib)[::-1]),
    "hvp": lambda lib: lib.autograd.functional.hvp(quadratic, inputs(lib), inputs(lib)[::-1]),
}


@pytest.mark.parametrize("case", CASES)
def test_functional(case: str) -> None:
    ours, theirs = flat(CASES[case](rushlight)), flat(CASES[case](torch))
    assert [a.shape for a in ours] == [b.shape for b in theirs]
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@both
def test_jacobian_of_what_does_not_depend_on_the_input(lib: Any) -> None:
    constant = lib.ones(2)
    found = lib.autograd.functional.jacobian(lambda x: constant, lib.ones(3))
    assert found.tolist() == [[0.0] * 3] * 2
    with pytest.raises(RuntimeError):
        lib.autograd.functional.jacobian(lambda x: constant, lib.ones(3), strict=True)


@both
def test_functional_results_that_can_be_differentiated(lib: Any) -> None:
    x = lib.tensor([0.3, 0.7], requires_grad=True)
    found = lib.autograd.functional.jacobian(lambda v: v**3, x, create_graph=True)
    found.sum().backward()
    assert x.grad.tolist() == pytest.approx([1.8, 4.2])
    assert not lib.autograd.functional.jacobian(lambda v: v**3, x).requires_grad


@both
def test_wrong_use_of_functional(lib: Any) -> None:
    functional = lib.autograd.functional
    with pytest.raises(RuntimeError):
        functional.hessian(lambda x: x * 2, lib.ones(2))
    with pytest.raises(RuntimeError):
        functional.vjp(lambda x: x * 2, lib.ones(2))
    with pytest.raises(RuntimeError):
        functional.jvp(lambda x: x * 2, lib.ones(2), lib.ones(3))
    with pytest.raises(TypeError):
        functional.jacobian(lambda x: 5, lib.ones(2))


def wrong_by(lib: Any, factor: float) -> Any:
    """x ** 2 with a gradient that is off by a factor."""

    class Square(lib.autograd.Function):  # type: ignore[misc, name-defined]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            return grad * 2 * factor * ctx.saved_tensors[0]

    return Square.apply


@both
@pytest.mark.parametrize("fast", [False, True])
def test_gradcheck_passes_what_is_right_and_fails_what_is_wrong(lib: Any, fast: bool) -> None:
    gradcheck = lib.autograd.gradcheck
    x = lib.tensor([0.5, 1.5, -1.0], dtype=lib.float64, requires_grad=True)
    assert gradcheck(wrong_by(lib, 1), x, fast_mode=fast)
    with pytest.raises(RuntimeError, match="Jacobian"):
        gradcheck(wrong_by(lib, 1.01), x, fast_mode=fast)
    assert not gradcheck(wrong_by(lib, 1.01), x, raise_exception=False, fast_mode=fast)


@both
def test_gradcheck_refuses_what_it_cannot_check(lib: Any) -> None:
    with pytest.raises(ValueError, match="at least one input tensor to require gradient"):
        lib.autograd.gradcheck(lib.sin, lib.ones(2, dtype=lib.float64))
    x = lib.ones(2, requires_grad=True)
    with pytest.warns(UserWarning, match="not a double precision"):
        lib.autograd.gradcheck(lib.sin, x, raise_exception=False)


@both
def test_gradcheck_fails_for_results_that_change(lib: Any) -> None:
    calls = [0]

    class Drifting(lib.autograd.Function):  # type: ignore[misc, name-defined]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            calls[0] += 1
            return grad * (2 + 1e-7 * calls[0])

    x = lib.ones(2, dtype=lib.float64, requires_grad=True)
    with pytest.raises(RuntimeError, match=r"[Nn]ondetermin|not reentrant"):
        lib.autograd.gradcheck(Drifting.apply, x, nondet_tol=0.0)


@both
def test_gradgradcheck(lib: Any) -> None:
    x = lib.tensor([0.5, 1.5], dtype=lib.float64, requires_grad=True)
    assert lib.autograd.gradgradcheck(lambda v: v**3, x)

    class Once(lib.autograd.Function):  # type: ignore[misc, name-defined]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            (x,) = ctx.saved_tensors
            return grad * 3 * x.detach() ** 2

    assert lib.autograd.gradcheck(Once.apply, x)
    with pytest.raises(RuntimeError, match="Jacobian"):
        lib.autograd.gradgradcheck(Once.apply, x)

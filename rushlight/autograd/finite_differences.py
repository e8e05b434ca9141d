"""`gradcheck`: gradients of a function against finite differences, and the same for its second derivatives.

Central differences, (f(x + eps) - f(x - eps)) / 2 eps, in float64; a complex input is moved along the real and the
imaginary axis. `fast_mode` compares one random projection of the Jacobians instead of all their entries.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rushlight.autograd import engine
from rushlight.autograd.modes import enable_grad, no_grad
from rushlight.core.dtypes import COMPLEX, COMPLEX128, FLOAT64, INEXACT
from rushlight.tensor.tensor import Tensor, wrap


class GradcheckError(RuntimeError):
    """A gradient differs from the finite difference."""


def _as_tuple(value: Any) -> tuple[Any, ...]:
    if isinstance(value, Tensor):
        return (value,)
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _flat_tensors(values: Sequence[Any]) -> list[Tensor]:
    found: list[Tensor] = []
    for v in values:
        if isinstance(v, Tensor):
            found.append(v)
        elif isinstance(v, (list, tuple)):
            found.extend(_flat_tensors(v))
    return found


def _differentiable(outputs: Sequence[Any]) -> list[Tensor]:
    return [
        o
        for o in outputs
        if isinstance(o, Tensor) and o.requires_grad and o._array.dtype in INEXACT
    ]


def _evaluate(
    func: Callable[..., Any], inputs: Sequence[Any], which: Sequence[int]
) -> list[np.ndarray]:
    """Values of the chosen outputs as float64 or complex128 vectors."""
    with no_grad():
        outputs = _as_tuple(func(*inputs))
    return [
        outputs[i]
        ._array.astype(COMPLEX128 if outputs[i]._array.dtype in COMPLEX else FLOAT64)
        .ravel()
        for i in which
    ]


def _slopes(
    func: Callable[..., Any],
    inputs: Sequence[Any],
    which: Sequence[int],
    array: np.ndarray,
    index: tuple[int, ...],
    step: complex,
) -> list[np.ndarray]:
    """Central differences of the outputs as one element of one input moves along `step`."""
    before = array[index]
    array[index] = before + step
    high = _evaluate(func, inputs, which)
    array[index] = before - step
    low = _evaluate(func, inputs, which)
    array[index] = before
    return [(h - w) / (2 * abs(step)) for h, w in zip(high, low, strict=True)]


def _numeric(
    func: Callable[..., Any],
    inputs: Sequence[Any],
    tensor: Tensor,
    which: Sequence[int],
    eps: float,
) -> list[np.ndarray]:
    """For each output the matrix of d output / d input: (outputs, inputs), and the imaginary axis after the real."""
    array = tensor._array
    columns: list[list[np.ndarray]] = []
    axes = (eps, eps * 1j) if array.dtype in COMPLEX else (eps,)
    for step in axes:
        for index in np.ndindex(array.shape):
            columns.append(_slopes(func, inputs, which, array, index, step))
    count = len(which)
    return [
        np.stack([c[k] for c in columns], axis=1) if columns else np.zeros((0, 0))
        for k in range(count)
    ]


def _analytic(output: Tensor, inputs: Sequence[Tensor], retain: bool = True) -> list[np.ndarray]:
    """The same matrices from backward: one backward for each element (and axis) of the output."""
    size = output._array.size
    complex_output = output._array.dtype in COMPLEX
    rows: list[list[np.ndarray]] = [[] for _ in inputs]
    for unit in (1.0, 1j) if complex_output else (1.0,):
        for k in range(size):
            seed = np.zeros(output._array.shape, output._array.dtype)
            seed.flat[k] = unit
            found = engine.grad(
                output, list(inputs), wrap(seed), retain_graph=True, allow_unused=True
            )
            for row, grad, tensor in zip(rows, found, inputs, strict=True):
                shape, complex_input = tensor._array.shape, tensor._array.dtype in COMPLEX
                if grad is None:
                    row.append(np.zeros(tensor._array.size * (2 if complex_input else 1)))
                    continue
                if grad._array.shape != shape:
                    raise GradcheckError(
                        f"a gradient of shape {grad._array.shape} for an input of shape {shape}"
                    )
                flat = grad._array.ravel()
                row.append(
                    np.concatenate([flat.real, flat.imag])
                    if complex_input
                    else flat.astype(FLOAT64)
                )
    return [
        np.stack(row) if row else np.zeros((0, t._array.size))
        for row, t in zip(rows, inputs, strict=True)
    ]


def _real_rows(jacobian: np.ndarray, complex_output: bool) -> np.ndarray:
    """D Re(out) over d Im(out), as backward with the seeds 1 and 1j gives them."""
    return np.concatenate([jacobian.real, jacobian.imag]) if complex_output else jacobian.real


def gradcheck(
    func: Callable[..., Any],
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_batched_forward_grad: bool = False,
    check_forward_ad: bool = False,
    check_backward_ad: bool = True,
    fast_mode: bool = False,
    masked: bool | None = None,
) -> bool:
    """Whether the gradients of `func(*inputs)` agree with finite differences; raises GradcheckError if not.

    Inputs that require gradients should be float64 or complex128, or the differences are too rough.

    >>> import rushlight
    >>> x = rushlight.ones(3, dtype=rushlight.float64, requires_grad=True)
    >>> rushlight.autograd.gradcheck(lambda x: x * x, (x,))
    True
    """
    if check_forward_ad:
        raise ValueError("gradcheck: rushlight has no forward-mode differentiation to check")
    try:
        _check(
            func,
            _as_tuple(inputs),
            eps,
            atol,
            rtol,
            nondet_tol,
            check_undefined_grad,
            check_grad_dtypes,
            fast_mode,
        )
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def _check(
    func: Callable[..., Any],
    inputs: tuple[Any, ...],
    eps: float,
    atol: float,
    rtol: float,
    nondet_tol: float,
    check_undefined_grad: bool,
    check_grad_dtypes: bool,
    fast_mode: bool,
) -> None:
    tensors = [t for t in _flat_tensors(inputs) if t.requires_grad]
    if not tensors:
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of them do."
        )
    for i, t in enumerate(tensors):
        if t._array.dtype not in (FLOAT64, COMPLEX128):
            warnings.warn(
                f"Input #{i} requires gradient and is not a double precision floating point or "
                "complex. This check will "
                "likely fail if all the inputs are not of double precision floating point or complex.",
                stacklevel=3,
            )
        if t._array.size and any(
            s == 0 and n > 1 for s, n in zip(t._array.strides, t._array.shape, strict=True)
        ):
            raise RuntimeError(
                f"The {i}th input has a dimension with stride 0. gradcheck only supports inputs "
                "that are non-overlapping "
                "to be able to compute the numerical gradients correctly. You should call .contiguous on the input "
                "before passing it to gradcheck."
            )
        if not t.is_leaf:
            t.retain_grad()  # type: ignore[attr-defined]
    outputs = _as_tuple(func(*inputs))
    which = [i for i, o in enumerate(outputs) if any(o is d for d in _differentiable(outputs))]
    if not which:
        for t in tensors:
            if any(
                np.any(np.abs(j) > atol)
                for j in _numeric(func, inputs, t, list(_floating(outputs)), eps)
            ):
                raise GradcheckError("Numerical gradient for function expected to be zero")
        return
    analytic = [_analytic(outputs[i], tensors) for i in which]
    if nondet_tol >= 0:
        again = [_analytic(outputs[i], tensors) for i in which]
        for first, second in zip(analytic, again, strict=True):
            for x, y in zip(first, second, strict=True):
                if x.size and np.nanmax(np.abs(x - y), initial=0) > nondet_tol:
                    raise GradcheckError(
                        "Backward is not reentrant, i.e., running backward with same input and grad_output multiple "
                        "times gives different values, although analytical gradient matches numerical gradient."
                    )
    rng = np.random.default_rng(0)
    for i, tensor in enumerate(tensors):
        numeric = _numeric(func, inputs, tensor, which, eps)
        for k, (o, n) in enumerate(zip(which, numeric, strict=True)):
            expected = _real_rows(n, outputs[o]._array.dtype in COMPLEX)
            found = analytic[k][i]
            if not expected.size and not found.size:
                continue
            a: Any = found
            b: Any = expected
            if fast_mode:
                u, v = rng.standard_normal(a.shape[0]), rng.standard_normal(a.shape[1])
                a, b = np.asarray(u @ a @ v), np.asarray(u @ b @ v)
            if a.shape != b.shape or not np.allclose(a, b, rtol, atol, equal_nan=True):
                raise GradcheckError(
                    f"Jacobian mismatch for output {o} with respect to input {i},\nnumerical:{b}\nanalytical:{a}\n"
                )
    if check_undefined_grad:
        _check_undefined(func, inputs, tensors)
    if check_grad_dtypes:
        for o in which:
            for t, g in zip(
                tensors,
                engine.grad(outputs[o], tensors, _ones_like(outputs[o]), True, allow_unused=True),
                strict=True,
            ):
                if g is not None and g._array.dtype != t._array.dtype:
                    raise GradcheckError(f"a gradient has dtype {g.dtype}, its input {t.dtype}")


def _floating(outputs: Sequence[Any]) -> list[int]:
    return [i for i, o in enumerate(outputs) if isinstance(o, Tensor) and o._array.dtype in INEXACT]


def _ones_like(t: Tensor) -> Tensor:
    return wrap(np.ones(t._array.shape, t._array.dtype))


def _check_undefined(
    func: Callable[..., Any], inputs: tuple[Any, ...], tensors: list[Tensor]
) -> None:
    """Backward must work when only one of several outputs receives a gradient."""
    outputs = _differentiable(_as_tuple(func(*inputs)))
    if len(outputs) < 2:
        return
    for o in outputs:
        for g in engine.grad(o, tensors, _ones_like(o), retain_graph=True, allow_unused=True):
            if g is not None and np.isnan(g._array).all() and g._array.size:
                raise GradcheckError("Expected backward function to handle undefined output grads.")


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Any,
    grad_outputs: Any = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    gen_non_contig_grad_outputs: bool = False,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_fwd_over_rev: bool = False,
    check_rev_over_rev: bool = True,
    fast_mode: bool = False,
    masked: bool = False,
) -> bool:
    """Whether the second derivatives of `func(*inputs)` agree with finite differences of the first."""
    given = _as_tuple(inputs)
    tensors = [t for t in _flat_tensors(given) if t.requires_grad]
    if grad_outputs is None:
        outputs = _differentiable(_as_tuple(func(*given)))
        rng = np.random.default_rng(1)
        seeds = []
        for o in outputs:
            values = rng.standard_normal(o._array.shape)
            if o._array.dtype in COMPLEX:
                values = values + 1j * rng.standard_normal(o._array.shape)
            seed = wrap(np.asarray(values, o._array.dtype))
            seed.requires_grad = True
            seeds.append(seed)
    else:
        seeds = list(_as_tuple(grad_outputs))

    def first_gradients(*args: Any) -> tuple[Tensor, ...]:
        inner, outer = args[: len(given)], args[len(given) :]
        into = [t for t in _flat_tensors(inner) if any(t is k for k in tensors)]
        with enable_grad():  # the differences themselves are taken without
            outputs = _differentiable(_as_tuple(func(*inner)))
            found = engine.grad(outputs, into, list(outer), create_graph=True, allow_unused=True)
        return tuple(g for g in found if g is not None)

    return gradcheck(
        first_gradients, (*given, *seeds), eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception,
        nondet_tol=nondet_tol, check_undefined_grad=check_undefined_grad, check_grad_dtypes=check_grad_dtypes,
        fast_mode=fast_mode,
    )  # fmt: skip

"""Derivatives of functions: jacobian, hessian, and products with them, each built on backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rushlight.autograd import engine
from rushlight.autograd.modes import enable_grad
from rushlight.autograd.slots import slots
from rushlight.primitives import structural
from rushlight.tensor.tensor import Tensor, alias, wrap


def _pack(values: Any, name: str, function: str) -> tuple[bool, tuple[Tensor, ...]]:
    single = not isinstance(values, tuple)
    result = (values,) if single else values
    for i, v in enumerate(result):
        if not isinstance(v, Tensor):
            what = f"Value at index {i} has type" if not single else "given"
            raise TypeError(
                f"The {name} {function} must be a Tensor or a tuple of Tensors; {what} {type(v)}"
            )
    return not single, result


def _fresh(inputs: tuple[Tensor, ...], create_graph: bool) -> tuple[Tensor, ...]:
    """The inputs as tensors of this graph alone; with `create_graph` still tied to the caller's."""
    result = []
    for x in inputs:
        if create_graph and x.requires_grad:
            result.append(x.view_as(x))  # type: ignore[attr-defined]
        else:
            result.append(alias(x).requires_grad_())
    return tuple(result)


def _zeros(x: Tensor) -> Tensor:
    return wrap(structural.full(0, shape=x._array.shape, dtype=x._array.dtype))


def _filled(
    grads: tuple[Tensor | None, ...], like: tuple[Tensor, ...], strict: bool, what: str
) -> tuple[Tensor, ...]:
    result = []
    for i, (g, x) in enumerate(zip(grads, like, strict=True)):
        if g is None and strict:
            raise RuntimeError(
                f"{what} is independent of input {i}. This is not allowed in strict mode."
            )
        result.append(_zeros(x) if g is None else g)
    return tuple(result)


def _answer(many: bool, values: tuple[Any, ...], create_graph: bool) -> Any:
    result = tuple(v if create_graph or not isinstance(v, Tensor) else alias(v) for v in values)
    return result if many else result[0]


def _vector(v: Any, like: tuple[Tensor, ...], many: bool) -> tuple[Tensor, ...]:
    if v is None:
        if len(like) != 1 or like[0]._array.size != 1:
            raise RuntimeError(
                "The vector v can only be None if the user-provided function returns a single "
                "Tensor with a single element."
            )
        return (wrap(structural.full(1, shape=like[0]._array.shape, dtype=like[0]._array.dtype)),)
    _, result = _pack(v, "vector", "v")
    if len(result) != len(like):
        raise RuntimeError(
            f"v is a tuple of invalid length: should be {len(like)} but got {len(result)}."
        )
    for i, (a, b) in enumerate(zip(result, like, strict=True)):
        if a._array.shape != b._array.shape:
            raise RuntimeError(
                f"v has invalid size: entry {i} should be {b.shape} but got {a.shape}."
            )
    return result


def _gradients(
    values: tuple[Tensor | None, ...],
    weights: tuple[Tensor, ...],
    inputs: tuple[Tensor, ...],
    create_graph: bool,
) -> tuple[Tensor | None, ...]:
    """The gradients of the inputs, given those of the values; None where no value depends on one."""
    pairs = [
        (value, weight)
        for value, weight in zip(values, weights, strict=True)
        if value is not None and value.requires_grad
    ]
    if not pairs:
        return (None,) * len(inputs)
    of, grads = zip(*pairs, strict=True)
    return engine.grad(of, inputs, grads, create_graph=create_graph, allow_unused=True)


def _outputs_of(
    func: Callable[..., Any], inputs: tuple[Tensor, ...], where: str, strict: bool
) -> tuple[bool, tuple[Tensor, ...]]:
    many, outputs = _pack(func(*inputs), "outputs of the user-provided function", where)
    if strict and not all(o.requires_grad for o in outputs):
        raise RuntimeError(
            "The outputs of the user-provided function are independent of the inputs. This is "
            "not allowed in strict mode."
        )
    return many, outputs


def vjp(
    func: Callable[..., Any],
    inputs: Any,
    v: Any = None,
    create_graph: bool = False,
    strict: bool = False,
) -> Any:
    """The outputs of `func` and the product of `v` with its Jacobian (backward with `v` as gradient)."""
    many, given = _pack(inputs, "inputs", "of vjp")
    with enable_grad():
        given = _fresh(given, create_graph)
        many_out, outputs = _outputs_of(func, given, "in vjp", strict)
        grads = _gradients(outputs, _vector(v, outputs, many_out), given, create_graph)
    filled = _filled(grads, given, strict, "The output of the user-provided function")
    return _answer(many_out, outputs, create_graph), _answer(many, filled, create_graph)


def jvp(
    func: Callable[..., Any],
    inputs: Any,
    v: Any = None,
    create_graph: bool = False,
    strict: bool = False,
) -> Any:
    """The outputs of `func` and the product of its Jacobian with `v`, by differentiating backward once more."""
    many, given = _pack(inputs, "inputs", "of jvp")
    with enable_grad():
        given = _fresh(given, create_graph)
        direction = _vector(v, given, many)
        many_out, outputs = _outputs_of(func, given, "in jvp", strict)
        seeds = tuple(_zeros(o).requires_grad_() for o in outputs)
        back = _gradients(outputs, seeds, given, True)
        grads = _gradients(back, direction, seeds, create_graph)
    filled = _filled(grads, outputs, strict, "The output of the user-provided function")
    return _answer(many_out, outputs, create_graph), _answer(many_out, filled, create_graph)


def jacobian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """The Jacobian of `func`: for each output and input a tensor of shape output.shape + input.shape.

    >>> import rushlight
    >>> rushlight.autograd.functional.jacobian(lambda x: x * x, rushlight.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """
    if strategy not in ("reverse-mode", "forward-mode"):
        raise RuntimeError('Expected strategy to be either "reverse-mode" or "forward-mode".')
    many, given = _pack(inputs, "inputs", "of jacobian")
    with enable_grad():
        given = _fresh(given, create_graph)
        many_out, outputs = _pack(
            func(*given), "outputs of the user-provided function", "in jacobian"
        )
        table = []
        for i, out in enumerate(outputs):
            rows: list[tuple[Tensor, ...]] = []
            flat = out.reshape(-1)  # type: ignore[attr-defined]
            for k in range(flat.numel()):
                if out.requires_grad:
                    found = engine.grad(
                        flat[k],
                        given,
                        retain_graph=True,
                        create_graph=create_graph,
                        allow_unused=True,
                    )
                elif strict:
                    raise RuntimeError(
                        f"Output {i} of the user-provided function does not require gradients. The "
                        "outputs must be computed in a differentiable manner from the input when running "
                        "in strict mode."
                    )
                else:
                    found = (None,) * len(given)
                rows.append(
                    _filled(found, given, strict, f"Output {i} of the user-provided function")
                )
            blocks = []
            for j, x in enumerate(given):
                shape = (*out._array.shape, *x._array.shape)
                if rows:
                    blocks.append(slots.stack([r[j] for r in rows]).reshape(shape))
                else:
                    blocks.append(wrap(structural.full(0, shape=shape, dtype=x._array.dtype)))
            table.append(_answer(many, tuple(blocks), create_graph))
    return tuple(table) if many_out else table[0]


def hessian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """The second derivatives of a scalar function, as the Jacobian of its gradient."""
    many, given = _pack(inputs, "inputs", "of hessian")

    def gradient(*args: Tensor) -> Any:
        out = func(*args)
        if not isinstance(out, Tensor) or out._array.size != 1:
            raise RuntimeError(
                "The Tensor returned by the function given to hessian should contain a single element"
            )
        return jacobian(lambda *a: func(*a).reshape(()), args, create_graph=True, strict=strict)

    result = jacobian(gradient, given, create_graph=create_graph, strict=strict)
    return result if many else result[0][0]


def vhp(
    func: Callable[..., Any],
    inputs: Any,
    v: Any = None,
    create_graph: bool = False,
    strict: bool = False,
) -> Any:
    """The value of a scalar function and the product of `v` with its Hessian."""
    many, given = _pack(inputs, "inputs", "of vhp")
    with enable_grad():
        given = _fresh(given, create_graph)
        direction = _vector(v, given, many)
        _, outputs = _pack(func(*given), "outputs of the user-provided function", "in vhp")
        if len(outputs) != 1 or outputs[0]._array.size != 1:
            raise RuntimeError(
                "The Tensor returned by the function given to vhp should contain a single element"
            )
        first = engine.grad(outputs[0], given, create_graph=True, allow_unused=True)
        second = _gradients(first, direction, given, create_graph)
    filled = _filled(second, given, strict, "The jacobian of the user-provided function")
    return _answer(False, outputs, create_graph), _answer(many, filled, create_graph)


def hvp(
    func: Callable[..., Any],
    inputs: Any,
    v: Any = None,
    create_graph: bool = False,
    strict: bool = False,
) -> Any:
    """The value of a scalar function and the product of its Hessian with `v`; the Hessian is symmetric, so as `vhp`."""
    return vhp(func, inputs, v, create_graph, strict)

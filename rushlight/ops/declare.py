"""`op`: how an op is declared, and what happens when it is called.

What is an op?
    What a user calls: torch's name, arguments, promotion and errors. Its body computes on arrays, by primitives:

        @op(method=True, inplace=True)
        def sigmoid(input: Array) -> Array:
            return prim.logistic(to_float(input))

    Parameters annotated `Array` are tensors for the caller; `Array | None` may be left out; `Operand` is a tensor
    or a number; `list[Array]` is a sequence of tensors. All others reach the body as they are given.

What does calling it do?
    Given tensors: the body runs on their arrays, the result is wrapped, and if a gradient is wanted a node is
    recorded. Given arrays, while a gradient formula runs without create_graph: just the body. So the formulas
    below are written once, in ops, and run bare or recorded.

How is a gradient written?
    For one input or several, naming what it reads: `grad`, `out` (or the outputs' names), any parameter of the
    body, and `<input>_shape` for the shape alone. Only what is named is kept for backward, and only if that
    input's gradient is wanted:

        @sigmoid.gradient("input")
        def sigmoid_gradient(grad, out):
            return grad * out * (1 - out)

    A formula for several inputs returns a tuple; if it names `needs`, it may leave out (None) what is not needed.
    Gradients are summed to the input's shape and cast to its dtype here, so formulas need not care for
    broadcasting or promotion. Formulas use operators, ops, and the attributes shape, ndim, dtype.

What is a view op?
    Its body answers with the steps (view primitives) that lead from the input to the view. Its gradient, its
    writes and their functional form derive from the steps (rushlight/primitives/views.py).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from numbers import Real
from typing import Any

import numpy as np

from rushlight.autograd.modes import state
from rushlight.autograd.node import edge_of
from rushlight.backends import native
from rushlight.backends.native import NUMPY, SMALL
from rushlight.core.floating import quiet, restore
from rushlight.core.watch import observed, unseen, watch
from rushlight.ops import record as recording
from rushlight.ops import tape
from rushlight.primitives import structural
from rushlight.primitives.interpreter import slot
from rushlight.primitives.primitive import as_arrays
from rushlight.tensor.device import check_available
from rushlight.tensor.exchange import checked_dtype
from rushlight.tensor.tensor import Tensor, contiguous_format, preserve_format, strided, wrap

Array = Any
Operand = Any

ndarray = np.ndarray

#: Every op by its public name, in order of declaration.
OPS: dict[str, Op] = {}

#: The function of every op, by the same names.
FUNCTIONS: dict[str, Any] = {}

#: Called with the function of every op that is declared after the package has been tied together.
LISTENERS: list[Callable[[Any], None]] = []


class Bad:
    """A sample that must be refused: its arguments, the exception's type, and a part of its message."""

    __slots__ = ("args", "kwargs", "raises", "says")

    def __init__(self, *args: Any, raises: type[BaseException], says: str, **kwargs: Any) -> None:
        self.args, self.kwargs, self.raises, self.says = args, kwargs, raises, says


class Sample:
    """Arguments worth testing an op with."""

    __slots__ = ("args", "kwargs")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args, self.kwargs = args, kwargs


class Op:
    """The declaration of one op: reached as `function.op` from the plain function that users call."""

    REQUIRED, OPTIONAL, OPERAND, LIST = range(4)

    def __init__(self, body: Callable[..., Any], name: str, **options: Any) -> None:
        code = body.__code__
        self.fused: bool = options.get("fused", False)
        self.body = _on_arrays(body) if self.fused else body
        self.name = name
        self.module: str = options.get(
            "module", ""
        )  # "" = the top package, "nn.functional", "special", ...
        self.method: bool = options.get("method", False)
        self.inplace: bool = options.get("inplace", False)
        self.operators: tuple[str, ...] = options.get("operators", ())
        self.aliases: tuple[str, ...] = options.get("aliases", ())
        self.property: str = options.get("property", "")
        self.outputs: tuple[str, ...] = options.get("outputs", ())
        self.result: str = (
            options.get("result") or name
        )  # the public name of the class of several results
        #: How many of the last results only the gradient formulas see.
        self.kept: int = options.get("kept", 0)
        self.composite: bool = options.get("composite", False)
        self.view: bool = options.get("view", False)
        self.traceable: bool = options.get("traceable", True)
        self.factory: bool = options.get("factory", False)
        self.function: bool = options.get("function", True)  # whether it is public as a function
        self.node_name: Any = options.get("node") or _node_name(name)
        count = code.co_argcount
        self.names: tuple[str, ...] = code.co_varnames[:count]
        end = count + code.co_kwonlyargcount
        self.keywords: tuple[str, ...] = code.co_varnames[count:end]
        self.variadic: str | None = code.co_varnames[end] if code.co_flags & 0x04 else None
        annotations = body.__annotations__
        kinds = {"Array": 0, "Array | None": 1, "Operand": 2, "list[Array]": 3}
        self.tensors: tuple[tuple[int, int], ...] = tuple(
            (i, kinds[annotations[n]])
            for i, n in enumerate(self.names)
            if annotations.get(n) in kinds
        )
        defaults = body.__defaults__ or ()
        self.defaults: dict[str, Any] = dict(
            zip(self.names[count - len(defaults) :], defaults, strict=True)
        )
        self.defaults.update(body.__kwdefaults__ or {})
        self.formulas: list[tape.Formula] = []
        self.covered: dict[int, tape.Formula] = {}
        self.recipes: dict[int, Any] = {}  # by the set of inputs whose gradients are wanted
        self.takes_list = any(kind == Op.LIST for _, kind in self.tensors)
        #: The number of each tensor parameter's edge, where none is a list.
        self.positions: dict[int, int] = {i: k for k, (i, _) in enumerate(self.tensors)}
        self.differentiable: bool = options.get("differentiable", True)
        self.undefined_grads: bool = options.get("undefined_grads", False)
        self.sampler: Callable[[Any], Iterator[Any]] | None = None

    def samples(self, make: Any) -> Iterable[Any]:
        """The samples declared for this op."""
        return () if self.sampler is None else self.sampler(make)

    def __repr__(self) -> str:
        return f"<op {self.qualified_name}>"

    @property
    def qualified_name(self) -> str:
        """The name with its module, as 'nn.functional.relu'."""
        return f"{self.module}.{self.name}" if self.module else self.name

    def bind(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[list[Any], dict[str, Any]]:
        """Moves keyword arguments that may be positional to their places; TypeError for unknown or doubled ones."""
        names = self.names
        placed = list(args)
        rest: dict[str, Any] = {}
        filled = len(placed)
        last = -1
        for key in kwargs:  # noqa: PLC0206 (most keys need no value)
            if key in names:
                i = names.index(key)
                if i < filled and not (self.variadic and i >= len(names)):
                    raise TypeError(f"{self.name}() got multiple values for argument '{key}'")
                last = max(last, i)
            elif key in self.keywords:
                rest[key] = kwargs[key]
            elif key == self.variadic:
                value = kwargs[key]
                placed.extend(value if isinstance(value, (tuple, list)) else (value,))
            elif key in _NUMPY_NAMES and _NUMPY_NAMES[key] in (*names, *self.keywords):
                renamed = {k: v for k, v in kwargs.items() if k != key}
                return self.bind(args, {**renamed, _NUMPY_NAMES[key]: kwargs[key]})
            else:
                raise TypeError(f"{self.name}() got an unexpected keyword argument '{key}'")
        for i in range(filled, last + 1):
            name = names[i]
            if name in kwargs:
                placed.append(kwargs[name])
            elif name in self.defaults:
                placed.append(self.defaults[name])
            else:
                raise TypeError(f"{self.name}() missing required argument '{name}' (pos {i + 1})")
        return placed, rest

    def value(self, name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """The value of a parameter in a call."""
        if name in self.names:
            i = self.names.index(name)
            return args[i] if i < len(args) else self.defaults[name]
        if name == self.variadic:
            return tuple(args[len(self.names) :])
        return kwargs[name] if name in kwargs else self.defaults[name]


#: NumPy's names for torch's arguments, which torch accepts too.
_NUMPY_NAMES = {
    "axis": "dim",
    "keepdims": "keepdim",
    "x": "input",
    "x1": "input",
    "x2": "other",
    "a": "input",
}


def _on_arrays(body: Callable[..., Any]) -> Callable[..., Any]:
    """A body that is written in ops as one that takes arrays: the ops in it run bare."""

    def run(*args: Any, **kwargs: Any) -> Any:
        before, state.bare = state.bare, True
        try:
            result = body(*args, **kwargs)
        finally:
            state.bare = before
        return result if slot.recorder is not None else as_arrays(result)

    return run


def _node_name(name: str) -> str:
    return "".join(part.capitalize() for part in name.strip("_").split("_")) + "Backward0"


def op(body: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Declares an op and returns the plain function that users call; see the head of this file.

    Options: `module` (where it is public: "" for the package, "nn.functional", ...), `name` (else the body's),
    `aliases`, `method` (also `Tensor.name`), `property` (an attribute of Tensor that calls it), `inplace` (also
    `Tensor.name_`), `operators` ("__add__", ...),
    `outputs` (names of several results), `result` (the name of their class, if not the op's), `kept` (how many of the
    last of them are for the gradient formulas only; the caller then gets the others as a plain tuple),
    `view`, `composite` (the body calls ops on tensors and needs no gradient), `fused` (the body calls ops too, but on
    arrays: all of it is one node with a gradient of its own, and may become one kernel however small the arrays are),
    `factory` (makes a new tensor: also takes layout, device, requires_grad and pin_memory, and its body gets a NumPy
    dtype), `differentiable=False` (results never require a gradient), `undefined_grads=True` (the
    gradient formula is given None, not zeros, for outputs that no gradient reached), `traceable=False` (result
    shapes depend on values),
    `function=False` (a method only), `node` (torch's name for its node where that does not follow from `name`).
    """
    if body is None:
        return lambda actual: op(actual, **options)
    this = Op(body, options.pop("name", None) or body.__name__.strip("_"), **options)
    key = this.qualified_name
    if key in OPS:
        raise ValueError(f"op {key!r} is declared twice")
    OPS[key] = this
    call = (
        _composite_call(this) if this.composite else _view_call(this) if this.view else _call(this)
    )
    call.op = this
    if this.factory:
        call = _factory_call(this, call)
    call.__name__ = call.__qualname__ = this.name
    call.__doc__ = body.__doc__
    call.__module__ = body.__module__
    call.__wrapped__ = body  # inspect.signature and the documentation read it, when asked
    call.op = this
    FUNCTIONS[key] = call

    def gradient(*inputs: str) -> Callable[..., Any]:
        def add(formula: Callable[..., Any]) -> Callable[..., Any]:
            made = tape.Formula(this, formula, tuple(this.names.index(n) for n in inputs))
            this.formulas.append(made)
            for i in made.targets:
                this.covered[i] = made
            return formula

        return add

    def samples(sampler: Callable[[Any], Iterator[Any]]) -> Callable[[Any], Iterator[Any]]:
        this.sampler = sampler
        return sampler

    call.gradient = gradient
    call.samples = samples
    if this.inplace:
        call.inplace = _inplace_call(this, call)
    for listener in LISTENERS:
        listener(call)
    return call


def _unwrap(this: Op, args: list[Any]) -> tuple[list[Any], bool, bool]:
    """The arrays behind the tensors among `args`; whether some require a gradient; whether some are large."""
    arrays = args.copy()
    tracked = large = False
    count = len(args)
    for i, kind in this.tensors:
        if i >= count:
            break
        value = args[i]
        if isinstance(value, Tensor):
            array = arrays[i] = value._array
            if array.size >= SMALL:
                large = True
            if value._requires_grad or (value._base is not None and value.requires_grad):
                tracked = True
        elif kind == 2 and isinstance(value, (int, float, complex)):
            continue
        elif kind == 3 and isinstance(value, (tuple, list)):
            inner = []
            for j, item in enumerate(value):
                if not isinstance(item, Tensor):
                    raise TypeError(
                        f"expected Tensor as element {j} in argument {i} of {this.name}(), but got "
                        f"{type(item).__name__}"
                    )
                inner.append(item._array)
                if item._array.size >= SMALL:
                    large = True
                if item.requires_grad:
                    tracked = True
            arrays[i] = inner
        elif value is None and kind == 1:
            continue
        else:
            arrays[i], also = _convert(this, i, kind, value)
            tracked = tracked or also
    return arrays, tracked, large


def _convert(this: Op, i: int, kind: int, value: Any) -> tuple[Any, bool]:
    """Accepts NumPy scalars as operands; anything else in a tensor's place is a TypeError."""
    if kind == 2 and isinstance(value, np.generic):
        return value.item(), False
    if kind == 2 and isinstance(value, ndarray) and this.operators:
        return value, False
    if kind == 2 and isinstance(value, Real):  # what stands for a number in a trace
        return value, False
    if kind == 3 and isinstance(value, Tensor):
        raise TypeError(
            f"{this.name}(): argument '{this.names[i]}' (position {i + 1}) must be tuple of Tensors, not Tensor"
        )
    wanted = {0: "Tensor", 1: "Tensor", 2: "Tensor or Number", 3: "tuple of Tensors"}[kind]
    raise TypeError(
        f"{this.name}(): argument '{this.names[i]}' (position {i + 1}) must be {wanted}, not {type(value).__name__}"
    )


def _observes(call: Any) -> bool:
    """Whether observers are to be told of a call: of those that compute something, and of each once."""
    return slot.recorder is None and not state.bare and unseen(call)


def _call(this: Op) -> Any:
    """The function users call, for an op whose body computes new arrays."""
    body, tensors, record = this.body, this.tensors, tape.record
    has_out = "out" not in this.keywords and "out" not in this.names
    unwrap, differentiable, finish = _unwrap, this.differentiable, _finish
    bind, fused = this.bind, this.fused

    def call(*args: Any, **kwargs: Any) -> Any:
        if state.bare:
            return body(*args, **kwargs)
        if watch.on and _observes(call):
            return observed(call, args, kwargs)
        out = None
        if kwargs:
            if has_out and "out" in kwargs:
                out = kwargs.pop("out")
            args, kwargs = bind(args, kwargs)  # type: ignore[assignment]
        else:
            args = list(args)  # type: ignore[assignment]
        arrays, tracked, large = unwrap(this, args)  # type: ignore[arg-type]
        result = native.run(body, arrays, kwargs) if large or fused else NUMPY
        if result is NUMPY:
            token = quiet()
            try:
                result = body(*arrays, **kwargs)
            finally:
                restore(token)
        if out is not None:
            return recording.into_out(this, out, result, tracked)
        if type(result) is tuple:
            return finish(this, args, kwargs, arrays, result, tracked)
        for i, _ in tensors:
            if i < len(arrays) and result is arrays[i]:
                result = structural.copy(result)
                break
        tensor = object.__new__(Tensor)
        tensor._array = result
        if tracked and state.grad_enabled and differentiable:
            record(this, args, kwargs, (tensor,), sys._getframe(1))  # type: ignore[arg-type]
        elif state.inference:
            tensor._is_inference = True
        return tensor

    return call


def _factory_call(this: Op, plain: Any) -> Any:
    """The function users call, for an op that makes a new tensor: the arguments that all such ops share."""
    takes_order = "memory_format" in this.keywords

    def call(*args: Any, **kwargs: Any) -> Any:
        if not kwargs:
            return plain(*args)
        requires_grad, dtype = kwargs.pop("requires_grad", False), kwargs.get("dtype")
        if "device" in kwargs:
            check_available(kwargs.pop("device"))
        if dtype is not None:
            kwargs["dtype"] = checked_dtype(dtype, this.name)
        for name, allowed in _FACTORY_ARGUMENTS:
            if name in kwargs and (name != "memory_format" or not takes_order):
                value = kwargs.pop(name)
                if value not in allowed:
                    raise RuntimeError(
                        f"{this.name}(): {name}={value!r} is not possible here; it may be {allowed[-1]!r}"
                    )
        result = plain(*args, **kwargs)
        return result.requires_grad_() if requires_grad else result

    return call


#: Arguments of ops that make tensors, for which there is no choice, and their values.
_FACTORY_ARGUMENTS = (
    ("layout", (None, strided)),
    ("pin_memory", (None, False)),
    ("memory_format", (None, contiguous_format, preserve_format)),
    ("names", (None,)),
)


def _finish(
    this: Op,
    args: Any,
    kwargs: dict[str, Any],
    arrays: list[Any],
    results: tuple[Any, ...],
    tracked: bool,
) -> Any:
    """Wraps several results: a plain tuple, or a named one where the op names its outputs."""
    tensors = tuple(map(wrap, results))
    if tracked and state.grad_enabled and this.differentiable:
        tape.record(this, args, kwargs, tensors, sys._getframe(2))
    elif state.inference:
        for t in tensors:
            t._is_inference = True
    if this.kept:
        return tensors[: -this.kept]
    if this.outputs:
        return recording.named_result(this)(*tensors)
    return tensors


def _view_call(this: Op) -> Any:
    """The function users call, for an op whose body answers with the steps to a view (or several chains)."""
    body = this.body

    def call(*args: Any, **kwargs: Any) -> Any:
        if watch.on and _observes(call):
            return observed(call, args, kwargs)
        if kwargs:
            args, kwargs = this.bind(args, kwargs)  # type: ignore[assignment]
        source = args[0] if args else None
        if not isinstance(source, Tensor):
            if state.bare:
                steps = body(*args, **kwargs)
                if type(steps) is list:
                    return [recording.show(source, s) for s in steps]
                return recording.show(source, steps)
            if source is None and not args:
                raise TypeError(f"{this.name}() missing required argument 'input' (pos 1)")
            raise TypeError(
                f"{this.name}(): argument '{this.names[0]}' (position 1) must be Tensor, not {type(source).__name__}"
            )
        steps = body(source._array, *args[1:], **kwargs)
        if type(steps) is list:
            return recording.make_views(this, source, steps, sys._getframe(1))
        return recording.make_view(this, source, steps, sys._getframe(1))

    return call


def _composite_call(this: Op) -> Any:
    """A composite is its own body: it calls ops on whatever it is given."""
    body, names, has_out = this.body, this.names, "out" in (*this.keywords, *this.names)
    required = [i for i, kind in this.tensors if kind == Op.REQUIRED]

    def call(*args: Any, **kwargs: Any) -> Any:
        if watch.on and _observes(call):
            return observed(call, args, kwargs)
        if kwargs:
            if not has_out and "out" in kwargs:
                out = kwargs.pop("out")
                result = call(*args, **kwargs)
                return result if out is None else recording.into_out_tensor(this, out, result)
            args, kwargs = this.bind(args, kwargs)  # type: ignore[assignment]
        if not state.bare:
            for i in required:
                if i < len(args) and not isinstance(args[i], Tensor):
                    raise TypeError(
                        f"{this.name}(): argument '{names[i]}' (position {i + 1}) must be Tensor, "
                        f"not {type(args[i]).__name__}"
                    )
        return body(*args, **kwargs)

    return call


def _inplace_call(this: Op, functional: Any) -> Any:
    """The in-place form: computes, checks, records, and only then writes."""
    body = this.body
    name = this.name + "_"

    def call(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if watch.on and _observes(call):
            return observed(call, (self, *args), kwargs)  # type: ignore[no-any-return]
        if kwargs:
            bound, kwargs = this.bind((self, *args), kwargs)
        else:
            bound = [self, *args]
        if this.composite:
            recording.check_writable(self, name, False)
            if (
                state.grad_enabled and self.requires_grad
            ):  # formulas may read what is about to be written
                bound[0] = tape.before_writing(self, edge_of(self))
            return recording.assign(self, functional(*bound, **kwargs), name)
        arrays, tracked, _ = _unwrap(this, bound)
        tracked = tracked and state.grad_enabled
        recording.check_writable(self, name, tracked)
        token = quiet()
        try:
            result = body(*arrays, **kwargs)
        finally:
            restore(token)
        if type(result) is tuple:
            result = result[0]
        recording.check_fits(self, result, name)
        return recording.write_result(
            this, self, bound, kwargs, result, name, tracked, sys._getframe(1)
        )

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"In-place form of `{this.name}`: changes the tensor itself and returns it."
    call.op = this  # type: ignore[attr-defined]
    return call

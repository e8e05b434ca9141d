"""What a primitive is, and how a call of one is made.

What is a primitive?
    A pure function on arrays with static parameters. It knows no gradient and none of torch's habits. It is
    declared once:

        window_sum = primitive("window_sum", params=("window", "stride"))

        @window_sum.define_rule          # (operands, params) -> Aval; raises what the user will read
        @window_sum.define_reference     # (xp, operands, params) -> array, in an array namespace

What may an operand be?
    An array, or a Python number, which takes the dtype of the arrays beside it. Arrays of one call share one
    dtype unless the rule says otherwise; casts are calls of their own (`cast`).

What may code do with an array that it hands to primitives?
    Read `shape`, `ndim`, `dtype` and `size`, and call primitives. Nothing else: under a trace it is an abstract
    value that has only these (and Python's operators, which call the primitives).

What may a parameter be?
    Anything hashable that prints: numbers, strings, dtypes, None, and tuples of these. The frozen record of a
    call's parameters (`Primitive.record`) derives equality, hash and text.

When does the rule run?
    Before the reference, eager as well as traced, so that an error is raised on the user's line. A primitive
    declared with `checked=False` has a reference that rejects by itself just what the rule rejects; then the rule
    runs only after a failure, to find the better words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from rushlight.primitives.interpreter import slot

if TYPE_CHECKING:
    from typing import Protocol, TypeVar

    F = TypeVar("F", bound=Callable[..., Any])

    class PrimitiveCall(Protocol):
        """The function that calls a primitive, with the decorators that complete its declaration."""

        primitive: Primitive
        define_rule: Callable[[F], F]
        define_reference: Callable[[F], F]
        define_lowering: Callable[[F], F]

        def __call__(self, *operands: Any, **params: Any) -> Any: ...


ndarray = np.ndarray

#: Every primitive by name, in order of declaration.
PRIMITIVES: dict[str, Primitive] = {}


class Aval:
    """An abstract value: what a shape rule answers with."""

    __slots__ = ("dtype", "shape")

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.shape = shape
        self.dtype = dtype

    def __repr__(self) -> str:
        return f"{self.dtype.name}[{','.join(map(str, self.shape))}]"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Aval) and self.shape == other.shape and self.dtype == other.dtype

    def __hash__(self) -> int:
        return hash((self.shape, self.dtype))


class Primitive:
    """The declaration of one primitive. Calls go through the plain function that `primitive()` returns."""

    __slots__ = (
        "_record",
        "checked",
        "elementwise",
        "lowering",
        "name",
        "outputs",
        "params",
        "reference",
        "reuses",
        "rule",
        "run",
        "streams",
    )

    def __init__(self, name: str, params: tuple[str, ...], outputs: int, checked: bool) -> None:
        self.name = name
        self.params = params
        self.outputs = outputs
        self.checked = checked
        self.elementwise = (
            False  # references of elementwise primitives take operands alone, as ufuncs do
        )
        self.rule: Callable[..., Any] = _missing
        self.reference: Callable[..., Any] = _missing
        self.run: Callable[..., Any] = _missing  # the reference, or what a backend put in its place
        self.lowering: Callable[..., Any] | None = None
        #: Results whose lowering may be given the memory of an operand that nobody needs afterwards, as (result,
        #: operand): it reads no element of that operand after it has written the same element of the result.
        self.reuses: tuple[tuple[int, int], ...] = ()
        #: Of several results: whether the lowering stores each element of the first one once, through its sink, so that
        #: what follows may be computed on it.
        self.streams = False
        self._record: Any = None

    def __repr__(self) -> str:
        return f"<primitive {self.name}>"

    def evaluate(self, operands: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """Runs the reference (or the backend's function) on arrays, without the rule."""
        return as_arrays(
            self.run(*operands) if self.elementwise else self.run(np, *operands, **params)
        )

    def record(self, params: dict[str, Any]) -> Any:
        """The call's parameters as a frozen record: a named tuple, in declared order."""
        if self._record is None:
            from collections import namedtuple

            self._record = namedtuple(self.name, self.params)  # type: ignore[misc]
        return self._record(**params)


def _missing(*args: Any, **kwargs: Any) -> Any:
    raise NotImplementedError("this primitive's declaration is not complete")


def as_arrays(result: Any) -> Any:
    """NumPy gives scalars where 0-d arrays are meant; every result of a primitive is an array."""
    if isinstance(result, tuple):
        return tuple(r if type(r) is ndarray else np.asarray(r) for r in result)
    return np.asarray(result)


def primitive(
    name: str,
    *,
    params: tuple[str, ...] = (),
    outputs: int = 1,
    checked: bool = True,
    reuses: tuple[tuple[int, int], ...] = (),
    streams: bool = False,
) -> PrimitiveCall:
    """Declares a primitive and returns the plain function that calls it; `reuses`, `streams` are as in Primitive.

    The function carries `primitive` (the declaration) and `define_rule`, `define_reference`, `define_lowering`.
    """
    if name in PRIMITIVES:
        raise ValueError(f"primitive {name!r} is declared twice")
    this = PRIMITIVES[name] = Primitive(name, params, outputs, checked)
    this.reuses, this.streams = reuses, streams

    if checked:

        def call(*operands: Any, **params: Any) -> Any:
            if slot.recorder is not None:
                return slot.recorder.record(this, operands, params)
            this.rule(*operands, **params)
            result = this.run(np, *operands, **params)
            return result if type(result) is ndarray else as_arrays(result)

    else:

        def call(*operands: Any, **params: Any) -> Any:
            if slot.recorder is not None:
                return slot.recorder.record(this, operands, params)
            try:
                result = this.run(np, *operands, **params)
            except (ValueError, TypeError, IndexError):
                this.rule(*operands, **params)
                raise
            return result if type(result) is ndarray else as_arrays(result)

    return attach(call, this)


def attach(call: Any, this: Primitive) -> PrimitiveCall:
    """Gives a calling function its name, its declaration and the decorators that complete it."""

    def define_rule(rule: Callable[..., Any]) -> Callable[..., Any]:
        this.rule = rule
        return rule

    def define_reference(reference: Callable[..., Any]) -> Callable[..., Any]:
        this.reference = this.run = reference
        return reference

    def define_lowering(lowering: Callable[..., Any]) -> Callable[..., Any]:
        this.lowering = lowering
        return lowering

    call.__name__ = call.__qualname__ = this.name
    call.primitive = this
    call.define_rule = define_rule
    call.define_reference = define_reference
    call.define_lowering = define_lowering
    return call  # type: ignore[no-any-return]


def dtype_of(*operands: Any) -> np.dtype[Any]:
    """The one dtype that all array operands share; TypeError where they differ. Numbers are passed over."""
    found: np.dtype[Any] | None = None
    for operand in operands:
        d = getattr(operand, "dtype", None)
        if d is None:
            continue
        if found is None:
            found = d
        elif d != found:
            raise TypeError(f"operands of one primitive must share a dtype, not {found} and {d}")
    if found is None:
        raise TypeError("at least one operand must be an array")
    return found


def shape_of(operand: Any) -> tuple[int, ...]:
    """The shape of an array; () for a number."""
    shape: tuple[int, ...] = getattr(operand, "shape", ())
    return shape

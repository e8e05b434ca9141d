"""How a tensor prints: `tensor([1., 2.], requires_grad=True)`, and the options that govern it.

All elements share one form and one width, so that columns line up. Floats are whole (`3.`), fixed
(`2.5000`) or scientific (`2.5000e+09`), decided by the elements that are finite and not zero.
Tensors of more than `threshold` elements show `edgeitems` at both ends of each dimension, and only
these decide the form.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.core import dtypes
from rushlight.core.traced import needs_values
from rushlight.tensor.tensor import Tensor
from rushlight.tensor.values import is_readable


class _Options:
    """The printing options in force."""

    def __init__(self) -> None:
        self.precision = 4
        self.threshold: float = 1000
        self.edgeitems = 3
        self.linewidth = 80
        self.sci_mode: bool | None = None


options = _Options()

_PROFILES: dict[str, tuple[int, float, int]] = {
    "default": (4, 1000, 3),
    "short": (2, 1000, 2),
    "full": (4, float("inf"), 3),
}


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Sets how tensors print.

    `precision` digits follow the point; tensors of more than `threshold` elements are summarised to
    `edgeitems` at each end; lines break at `linewidth`; `profile` is "default", "short" or "full";
    `sci_mode` forces (True) or forbids (False) scientific notation, and None, which every call
    without it sets, lets the values decide.

    >>> import rushlight
    >>> rushlight.set_printoptions(precision=2)
    >>> rushlight.tensor([1.12345])
    tensor([1.12])
    >>> rushlight.set_printoptions(profile="default")
    """
    if profile is not None:
        chosen = _PROFILES.get(profile)
        if chosen is None:
            raise ValueError(
                f"set_printoptions: profile must be one of {', '.join(_PROFILES)}, not {profile!r}"
            )
        options.precision, options.threshold, options.edgeitems = chosen
        options.linewidth = 80
    if precision is not None:
        options.precision = precision
    if threshold is not None:
        options.threshold = threshold
    if edgeitems is not None:
        options.edgeitems = edgeitems
    if linewidth is not None:
        options.linewidth = linewidth
    options.sci_mode = sci_mode


class _Form:
    """The common form and width of the elements of one array (the real or imaginary part of a
    complex one).
    """

    __slots__ = ("kind", "width")

    PLAIN, WHOLE, FIXED, SCIENTIFIC = range(4)

    def __init__(self, shown: Any) -> None:
        self.kind, self.width = self.PLAIN, 1
        if shown.dtype.kind != "f":
            if shown.size:
                self.width = max(len(str(v)) for v in shown.ravel().tolist())
            return
        self.kind = self.WHOLE
        deciding = shown[np.isfinite(shown) & (shown != 0)]
        if not deciding.size:
            return
        sizes = np.abs(deciding).astype(np.float64)
        low, high = float(sizes.min()), float(sizes.max())
        scientific = options.sci_mode
        if scientific is None:
            scientific = high / low > 1000.0 or high > 1.0e8 or low < 1.0e-4
        if scientific:
            self.kind = self.SCIENTIFIC
        elif bool((deciding != np.ceil(deciding)).any()):
            self.kind = self.FIXED
        self.width = max(len(self._text(v)) for v in deciding.tolist())

    def _text(self, value: Any) -> str:
        if self.kind == self.SCIENTIFIC:
            return f"{value:.{options.precision}e}"
        if self.kind == self.FIXED:
            return f"{value:.{options.precision}f}"
        if self.kind == self.WHOLE:
            text = f"{value:.0f}"
            return text if text[-1] in "nf" else text + "."  # nan and inf have no point
        return str(value)

    def text(self, value: Any) -> str:
        """One element, padded on the left."""
        return self._text(value).rjust(self.width)


class _Printer:
    """Prints one array that has elements."""

    def __init__(self, array: Any) -> None:
        self.summarised = array.size > options.threshold
        self.edge = options.edgeitems
        shown = self._shown(array) if self.summarised else array
        if array.dtype.kind == "c":
            self.forms: tuple[_Form, ...] = (_Form(shown.real), _Form(shown.imag))
        else:
            self.forms = (_Form(shown),)

    def _cut(self, n: int) -> bool:
        return self.summarised and n > 2 * self.edge

    def _shown(self, array: Any) -> Any:
        """Only the elements that will be printed."""
        for axis, n in enumerate(array.shape):
            if self._cut(n):
                ends = [*range(self.edge), *range(n - self.edge, n)]
                array = array.take(ends, axis)
        return array

    def element(self, value: Any) -> str:
        """One element of the array, a Python number."""
        if len(self.forms) == 1:
            return self.forms[0].text(value)
        real, imaginary = (
            self.forms[0].text(value.real),
            self.forms[1].text(value.imag).lstrip() + "j",
        )
        return real + imaginary if imaginary[0] in "+-" else real + "+" + imaginary

    def _row(self, array: Any, indent: int) -> str:
        width = sum(form.width for form in self.forms) + len(self.forms) + 1
        per_line = max(1, (options.linewidth - indent) // width)
        if self.summarised and not self.edge:
            texts = ["..."]
        elif self._cut(len(array)):
            texts = [self.element(v) for v in array[: self.edge].tolist()]
            texts.append(" ...")
            texts += [self.element(v) for v in array[-self.edge :].tolist()]
        else:
            texts = [self.element(v) for v in array.tolist()]
        lines = [", ".join(texts[i : i + per_line]) for i in range(0, len(texts), per_line)]
        return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"

    def text(self, array: Any, indent: int) -> str:
        """The array with brackets; lines after the first are indented."""
        if not array.ndim:
            return self.element(array.item())
        if array.ndim == 1:
            return self._row(array, indent)
        if self._cut(len(array)):
            parts = [self.text(a, indent + 1) for a in array[: self.edge]]
            parts.append("...")
            parts += [
                self.text(array[i], indent + 1) for i in range(len(array) - self.edge, len(array))
            ]
        else:
            parts = [self.text(a, indent + 1) for a in array]
        between = "," + "\n" * int(array.ndim - 1) + " " * (indent + 1)
        return "[" + between.join(parts) + "]"


def _origin(tensor: Tensor) -> str | None:
    """What the last suffix says about gradients."""
    if (
        tensor._base is not None
        and tensor._view_error is not None
        and tensor._generation != tensor._base._generation
    ):
        return "grad_fn=<Invalid>"
    node = tensor.history()
    if node is not None:
        return f"grad_fn=<{node.name()}>"
    return "requires_grad=True" if tensor._requires_grad else None


def tensor_repr(tensor: Tensor, contents: str | None = None) -> str:
    """The text of a tensor, as PyTorch prints it; `contents` replaces the elements.

    Under a trace, where tensors have no values, the elements are left out.
    """
    kind = type(tensor)
    plain = (
        kind is Tensor or "_prints_as_tensor" in kind.__dict__
    )  # a Parameter, but no subclass of it
    prefix = "tensor(" if plain else kind.__name__ + "("
    array = tensor._array
    indent = len(prefix)
    default = dtypes.get_default_dtype()
    dtype = tensor.dtype
    suffixes: list[str] = []
    if not array.size:
        if array.ndim != 1:
            suffixes.append(f"size={tuple(array.shape)}")
        if dtype is not default:
            suffixes.append(f"dtype={dtype!r}")
        text = "[]"
    else:
        if not options.edgeitems:
            suffixes.append(f"size={tuple(array.shape)}")
        if dtype not in (default, default.to_complex(), dtypes.int64, dtypes.bool_):
            suffixes.append(f"dtype={dtype!r}")
        if contents is not None:
            text = contents
        elif not is_readable(tensor):
            raise needs_values("It is printed.")
        else:
            if dtype in (dtypes.float16, dtypes.bfloat16):
                array = array.astype(np.float32)
            text = _Printer(array).text(array, indent)
    if contents is not None:
        text = contents
    origin = _origin(tensor)
    if origin is not None:
        suffixes.append(origin)
    return _with_suffixes(prefix + text, suffixes, indent) + ")"


def _with_suffixes(text: str, suffixes: list[str], indent: int) -> str:
    """Appends the suffixes, each on the line of the one before where the line has room."""
    used = len(text) - text.rfind("\n") + 1
    for suffix in suffixes:
        if used + len(suffix) + 2 > options.linewidth:
            text += ",\n" + " " * indent + suffix
            used = indent + len(suffix)
        else:
            text += ", " + suffix
            used += len(suffix) + 2
    return text


class _OptionsContext:
    """Printing options for the length of a `with`."""

    def __init__(self, **changes: Any) -> None:
        self._changes = changes

    def __enter__(self) -> None:
        self._before = dict(vars(options))
        set_printoptions(**self._changes)

    def __exit__(self, *exc: object) -> None:
        vars(options).update(self._before)


def printoptions(**changes: Any) -> _OptionsContext:
    """A context manager for `set_printoptions`.

    >>> import rushlight
    >>> with rushlight.printoptions(precision=1):
    ...     print(rushlight.tensor([0.25, 0.5]))
    tensor([0.2, 0.5])
    """
    return _OptionsContext(**changes)


def _repr(self: Tensor, *, tensor_contents: Any = None) -> str:
    return tensor_repr(self, tensor_contents)


METHODS = {"__repr__": _repr}

"""torch.utils.flop_counter: how many operations each module asks for, forward and backward."""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from rushlight.autograd.modes import state
from rushlight.compiler.flops import flops
from rushlight.core.watch import NODE, OP, watch
from rushlight.ops.flops import call_of, node_call
from rushlight.ops.naming import op_name, stem_of
from rushlight.tensor.tensor import Tensor

#: Formulas that users have registered, by function of an op.
_formulas: dict[Any, Callable[..., int]] = {}
#: What a node computes, where torch does not call it the op's backward.
_NODES = {
    "addmm": "aten.mm", "mm": "aten.mm", "bmm": "aten.bmm", "baddbmm": "aten.bmm",
    "scaled_dot_product_flash_attention_for_cpu": "aten._scaled_dot_product_flash_attention_for_cpu_backward",
}  # fmt: skip
#: What primitives are in compiled programs.
_PRIMITIVES = {
    "contract": "aten.mm", "convolve": "aten.convolution", "convolve_input": "aten.convolution_backward",
    "convolve_weight": "aten.convolution_backward",
    "attend": "aten._scaled_dot_product_flash_attention_for_cpu",
    "attend_adjoint": "aten._scaled_dot_product_flash_attention_for_cpu_backward",
}  # fmt: skip
#: What compiled programs were counted to do.
_programs: weakref.WeakKeyDictionary[Any, list[tuple[str, str, int]]] = weakref.WeakKeyDictionary()
#: The unit of a table, by the size of its largest count.
_UNITS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K"))


def register_flop_formula(
    targets: Any, get_raw: bool = False
) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Registers a formula for an op's function or some: it gets the arguments, shapes in the place of tensors.

    With `get_raw` it gets the tensors themselves. `out_val` is the result, or its shape. It counts for all counters.
    """

    def register(formula: Callable[..., int]) -> Callable[..., int]:
        for target in targets if isinstance(targets, (list, tuple)) else (targets,):
            if not hasattr(target, "op"):
                raise TypeError(f"a formula is registered for functions of ops, not {target!r}")
            _formulas[target] = formula if get_raw else _on_shapes(formula)
        return formula

    return register


class FlopCounterMode:
    """Counts the operations of products, convolutions and recurrent layers while its block runs.

    A multiplication and an addition are two. Every op is counted for each of the modules whose forward is running, and
    its backward with it; what compiled programs do counts too. The counts are torch's, and also those of attention and
    recurrent layers, which PyTorch leaves out on a CPU. `display` prints the table at the end, down to `depth`.

    >>> import rushlight
    >>> net = rushlight.nn.Sequential(rushlight.nn.Linear(4, 8), rushlight.nn.Linear(8, 2))
    >>> with FlopCounterMode(display=False) as counter:
    ...     net(rushlight.ones(3, 4)).sum().backward()
    >>> counter.get_total_flops()
    672
    >>> counter.get_flop_counts()["Sequential.1"]
    {'aten.addmm': 96, 'aten.mm': 192}
    """

    def __init__(
        self,
        mods: Any = None,
        depth: int = 2,
        display: bool = True,
        custom_mapping: Mapping[Any, Callable[..., int]] | None = None,
    ) -> None:
        self.depth, self.display = depth, display
        self.custom = {
            target: formula if getattr(formula, "_get_raw", False) else _on_shapes(formula)
            for target, formula in (custom_mapping or {}).items()
        }
        self.flop_counts: dict[str, dict[str, int]] = {}
        self._names: dict[int, tuple[Any, tuple[str, ...]]] = {}

    def __enter__(self) -> FlopCounterMode:
        self.flop_counts = defaultdict(lambda: defaultdict(int))
        watch.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        watch.remove(self)
        self._names.clear()
        if self.display:
            print(self.get_table(self.depth))  # noqa: T201 - this is what was asked for

    # -- what was counted ----------------------------------------------------------------------------------

    def get_total_flops(self) -> int:
        """All operations."""
        return sum(self.flop_counts.get("Global", {}).values())

    def get_flop_counts(self) -> dict[str, dict[str, int]]:
        """The operations by path of a module and op; "Global" has all of them."""
        return {name: dict(counts) for name, counts in self.flop_counts.items()}

    def get_table(self, depth: int | None = None) -> str:
        """The counts as a table, modules down to `depth`."""
        depth = self.depth if depth is None else depth
        total = self.get_total_flops()
        shown = {k: v for k, v in self.flop_counts.items() if k != "Global"}
        paths = sorted((k for k in shown if k.count(".") < depth), key=_natural)
        tops = [sum(shown[k].values()) for k in paths if "." not in k]
        if sum(tops) < total:  # something ran outside of modules
            paths.insert(0, "Global")
        scale, unit = next(((s, u) for s, u in _UNITS if total >= s), (1.0, ""))
        rows = [("Module", "FLOP", "% Total")]
        for path in paths:
            counts = self.flop_counts[path]
            entries = {path: sum(counts.values())}
            entries |= {f"- {op}": count for op, count in counts.items()}
            lead = " " * path.count(".")
            for name, count in entries.items():
                figure = f"{count / scale:.3f}{unit}" if unit else str(count)
                rows.append((lead + name, figure, f"{count / total:.2%}" if total else "0.00%"))
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        rows.insert(1, tuple("-" * width for width in widths))  # type: ignore[arg-type]
        return "\n".join(
            f"{name.ljust(widths[0])}  {flop.rjust(widths[1])}  {share.rjust(widths[2])}"
            for name, flop, share in rows
        )

    # -- what core.watch calls -----------------------------------------------------------------------------

    def begin(self, kind: int, subject: Any, args: Any, kwargs: Any) -> Any:
        """Notes the arguments of a call while they are what they are."""
        if kind == OP:
            formula = self.custom.get(subject) or _formulas.get(subject)
            if formula is not None:
                return op_name(subject).replace("::", "."), state.scope, formula, (args, kwargs)
            call = call_of(subject, args, kwargs)
            return None if call is None else (_op_key(subject, args), state.scope, call, None)
        if kind == NODE:
            call = node_call(subject, args)
            return None if call is None else (_node_key(subject.name()), subject.scope, call, None)
        return None

    def end(self, token: Any, result: Any) -> None:
        """Counts it."""
        if token is None or result is None:
            return
        name, scope, what, given = token
        if given is None:
            count = what.flops()
        else:
            args, kwargs = given
            count = int(what(*args, **kwargs, out_val=result))
        if count:
            for path in ("Global", *self._paths(scope)):
                self.flop_counts[path][name] += count

    def ran(self, executable: Any, figures: Any) -> None:
        """Counts what a compiled program was traced to, which is what its function asks for eagerly."""
        for path, name, count in _counts_of(executable):
            self.flop_counts[path][name] += count

    def _paths(self, scope: Any) -> tuple[str, ...]:
        """The paths of the modules of a scope, outermost first."""
        if scope is None:
            return ()
        known = self._names.get(id(scope))
        if known is None:
            module, outer = scope
            before = self._paths(outer)
            path = type(module).__name__
            if outer is not None:
                inside = next((p for p, m in outer[0].named_modules() if m is module), path)
                path = f"{before[-1]}.{inside}"
            # The scope is kept, so that its id stays its own.
            known = self._names[id(scope)] = (scope, (*before, path))
        return known[1]


def _counts_of(executable: Any) -> list[tuple[str, str, int]]:
    """The operations of a program, by the paths of modules and by op."""
    known = _programs.get(executable)
    if known is None:
        totals: dict[tuple[str, str], int] = defaultdict(int)
        for equation in executable.traced.equations:
            count = flops(equation)
            if count:
                parts = equation.scope.partition(" (")[0].split(".") if equation.scope else []
                paths = [".".join(parts[: n + 1]) for n in range(len(parts))]
                primitive = equation.primitive.name
                for path in ("Global", *paths):
                    totals[path, _PRIMITIVES.get(primitive, f"aten.{primitive}")] += count
        known = _programs[executable] = [(path, name, n) for (path, name), n in totals.items()]
    return known


def _op_key(function: Any, args: Any) -> str:
    """The name of a product or convolution as torch's counter has it."""
    name = op_name(function)
    if name == "aten::linear":
        return "aten.addmm" if len(args) > 2 and args[2] is not None else "aten.mm"
    return name.replace("::", ".")


def _node_key(node: str) -> str:
    stem = stem_of(node)
    return _NODES.get(stem, f"aten.{stem}_backward")


def _on_shapes(formula: Callable[..., int]) -> Callable[..., int]:
    """The formula on shapes in the place of tensors."""

    def shaped(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.shape
        return type(value)(map(shaped, value)) if type(value) in (list, tuple) else value

    def count(*args: Any, **kwargs: Any) -> int:
        given = {name: shaped(value) for name, value in kwargs.items()}
        return formula(*map(shaped, args), **given, out_shape=given["out_val"])

    return count


def _natural(path: str) -> list[Any]:
    """Paths in the order in which modules count: blocks.2 before blocks.10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in path.split(".")]


__all__ = ["FlopCounterMode", "register_flop_formula"]

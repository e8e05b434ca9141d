"""A summary as text, in torchinfo's form."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from rushlight.report.layers import Layer

if TYPE_CHECKING:
    from rushlight.report.summary import Summary

#: The narrowest column of names, and what wider ones are multiples of.
NAME_WIDTH, NAME_STEP = 40, 5
#: Characters before a name, for each level.
INDENT = 5


class Layout(NamedTuple):
    """What is shown, and how."""

    columns: tuple[str, ...]
    width: int
    depth: int
    ascii_only: bool
    show_depth: bool
    show_names: bool
    hide_recursive: bool
    show_parameters: bool


class Column(NamedTuple):
    """A heading, whether the model must have run, and the text of a layer (given also: is what is below hidden?)."""

    heading: str
    needs_input: bool
    text: Callable[[Layer, bool, int], str]


def _count(count: int) -> str:
    return f"{count:,}" if count > 0 else "--"


def _shape(size: list[int], more: int) -> str:
    if not size and not more:
        return "--"
    return str(size) + (f" +{more}" if more else "")


def _parameters(layer: Layer, deepest: bool) -> int:
    """Of the layer, with those that no row below shows."""
    shows_all = deepest or layer.is_leaf_layer
    return layer.num_params if shows_all else layer.leftover_params()


def _parameter_text(layer: Layer, deepest: bool, total: int) -> str:
    if layer.num_params and layer.is_recursive:
        return "(recursive)"
    text = _count(_parameters(layer, deepest))
    shows_all = deepest or layer.is_leaf_layer
    return f"({text})" if text != "--" and shows_all and not layer.trainable_params else text


def _percent(layer: Layer, deepest: bool, total: int) -> str:
    if layer.num_params and layer.is_recursive:
        return "(recursive)"
    count = _parameters(layer, deepest)
    return f"{count / total:>7.2%}" if count > 0 and total else "     --"


def _summed(attribute: str) -> Callable[[Layer, bool, int], str]:
    """A count of a layer; of a container only where what is below is hidden."""

    def text(layer: Layer, deepest: bool, total: int) -> str:
        if not deepest and not layer.is_leaf_layer:
            return "--"
        return _count(sum(getattr(leaf, attribute) for leaf in layer.leaves()))

    return text


def _flops(layer: Layer, deepest: bool, total: int) -> str:
    """What a layer computes without what layers below it show."""
    if deepest or layer.is_leaf_layer:
        return _count(layer.flops)
    return _count(layer.flops - sum(c.flops for c in layer.children if c.depth == layer.depth + 1))


def _kernel(layer: Layer, deepest: bool, total: int) -> str:
    return "--" if layer.kernel_size is None else str(layer.kernel_size)


COLUMNS = {
    "input_size": Column("Input Shape", True, lambda la, *_: _shape(la.input_size, la.more_inputs)),
    "output_size": Column(
        "Output Shape", True, lambda la, *_: _shape(la.output_size, la.more_outputs)
    ),
    "num_params": Column("Param #", False, _parameter_text),
    "params_percent": Column("Param %", False, _percent),
    "kernel_size": Column("Kernel Shape", False, _kernel),
    "mult_adds": Column("Mult-Adds", True, _summed("macs")),
    "flops": Column("FLOPs", True, _flops),
    "output_bytes": Column("Output Bytes", True, _summed("output_bytes")),
    "trainable": Column("Trainable", False, lambda la, *_: la.trainable),
}


def needs_input(column: str) -> bool:
    """Whether a column has nothing to show of a model that was not called."""
    return COLUMNS[column].needs_input


def text_of(found: Summary, layout: Layout) -> str:
    """The table and its totals."""
    shown = [
        layer
        for layer in found.summary_list
        if layer.depth <= layout.depth and not (layout.hide_recursive and layer.is_recursive)
    ]
    # As wide as all layers need, also those that are too deep to be shown.
    longest = max(len(_name(la, layout)) + INDENT * la.depth + 1 for la in found.summary_list)
    name_width = max(NAME_WIDTH, -(-longest // NAME_STEP) * NAME_STEP)

    def row(name: str, cells: list[str]) -> str:
        return " ".join(
            [name.ljust(name_width), *(cell.ljust(layout.width) for cell in cells)]
        ).rstrip()

    rule = "=" * (name_width + layout.width * len(layout.columns))
    title = "Layer (type" + (" (var_name)" if layout.show_names else "")
    title += ":depth-idx)" if layout.show_depth else ")"
    columns = [COLUMNS[name] for name in layout.columns]
    lines = [rule, row(title, [column.heading for column in columns]), rule]
    for layer in shown:
        name = _lead(layer.depth, layout) + _name(layer, layout)
        deepest = layer.depth == layout.depth
        lines.append(
            row(name, [column.text(layer, deepest, found.total_params) for column in columns])
        )
        if layout.show_parameters:
            lines += _parameter_rows(layer, layout, row)
    return "\n".join([*lines, rule, *_totals(found, rule)])


def _parameter_rows(layer: Layer, layout: Layout, row: Any) -> list[str]:
    """The parameters that a layer holds itself."""
    held = [(name, p) for name, p in layer.module._parameters.items() if p is not None]
    rows = []
    for n, (name, parameter) in enumerate(held, 1):
        branch = "+ " if layout.ascii_only else "└─" if n == len(held) else "├─"
        cells = {"num_params": f"{branch}{parameter.numel():,}"}
        cells["kernel_size"] = str(list(parameter.shape))
        lead = _lead(layer.depth + 1, layout)
        rows.append(row(lead + name, [cells.get(column, "") for column in layout.columns]))
    return rows


def _lead(depth: int, layout: Layout) -> str:
    if not depth:
        return ""
    bar, branch, first = ("|    ", "+ ", "+ ") if layout.ascii_only else ("│    ", "└─", "├─")
    return first if depth == 1 else bar * (depth - 1) + branch


def _name(layer: Layer, layout: Layout) -> str:
    name = layer.class_name
    if layout.show_names and layer.var_name:
        name += f" ({layer.var_name})"
    if layout.show_depth and layer.depth:
        name += f": {layer.depth}-{layer.depth_index}"
    return name


def _totals(found: Summary, rule: str) -> list[str]:
    fixed = found.total_params - found.trainable_params
    lines = [
        f"Total params: {found.total_params:,}",
        f"Trainable params: {found.trainable_params:,}",
        f"Non-trainable params: {fixed:,}",
    ]
    if found.was_run:
        sizes = found.total_input, found.total_output_bytes, found.total_param_bytes
        lines += [
            f"Total mult-adds{_scaled(found.total_mult_adds)}",
            f"Total FLOPs{_scaled(found.total_flops)}",
            rule,
            f"Input size (MB): {sizes[0] / 1e6:.2f}",
            f"Forward/backward pass size (MB): {sizes[1] / 1e6:.2f}",
            f"Params size (MB): {sizes[2] / 1e6:.2f}",
            f"Estimated Total Size (MB): {sum(sizes) / 1e6:.2f}",
        ]
    return [*lines, rule]


def _scaled(count: int) -> str:
    for scale, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "K")):
        if count >= scale:
            return f" ({unit}): {count / scale:,.2f}"
    return f": {count}"


__all__ = ["COLUMNS", "Layout", "needs_input", "text_of"]

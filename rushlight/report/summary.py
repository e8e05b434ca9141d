"""`rushlight.summary`: the layers of a model: shapes, parameters, operations, memory, as torchinfo prints."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rushlight.nn.module import Module
from rushlight.report.layers import Layer, as_written, called_layers, declared_layers
from rushlight.report.summary_table import COLUMNS, Layout, needs_input, text_of
from rushlight.tensor.device import check_available
from rushlight.tensor.tensor import Tensor

ROW_SETTINGS = ("ascii_only", "depth", "hide_recursive_layers", "var_names")


class Summary:
    """What `summary` found. It prints as a table; its totals are attributes.

    `total_params` and `trainable_params` count each parameter once; `total_mult_adds` is torchinfo's count,
    `total_flops` what one forward really computes (a multiplication and an addition are two). In bytes: `total_input`,
    `total_output_bytes` (of layers with parameters, and as much again for gradients) and `total_param_bytes`.
    """

    def __init__(
        self, model: Module, layers: list[Layer], input_size: Any, total_input: int, layout: Layout
    ) -> None:
        self.summary_list, self.input_size, self.formatting = layers, input_size, layout
        self.total_input = total_input
        self.was_run = any(layer.executed for layer in layers)
        whole = layers[0]
        self.total_params, self.trainable_params = whole.num_params, whole.trainable_params
        self.total_param_bytes = whole.param_bytes
        leaves = [layer for layer in layers if layer.is_leaf_layer]
        self.total_mult_adds = sum(layer.macs for layer in leaves)
        self.total_output_bytes = 2 * sum(leaf.output_bytes for leaf in leaves if leaf.num_params)
        self.total_flops = whole.flops

    def __str__(self) -> str:
        return text_of(self, self.formatting)

    __repr__ = __str__


def summary(
    model: Module,
    input: Any = None,
    *,
    input_size: Any = None,
    input_data: Any = None,
    batch_dim: int | None = None,
    cache_forward_pass: bool | None = None,
    col_names: Iterable[str] | None = None,
    col_width: int = 25,
    depth: int = 3,
    device: Any = None,
    dtypes: Sequence[Any] | None = None,
    mode: str = "eval",
    row_settings: Iterable[str] | None = None,
    verbose: int | None = None,
    **kwargs: Any,
) -> Summary:
    """The layers of a model as a tree, with shapes, parameters, mult-adds, flops and memory.

    `input` is what the model is called with: a tensor, a list of arguments or a dict of keyword arguments (that is
    `input_data`); or sizes, (2, 3, 32, 32) or several of them, for inputs that are drawn here (that is `input_size`,
    with `dtypes` where they are no floats). `batch_dim` says where a batch dimension of 1 is put in. Without any, the
    model is not called and only parameters are shown. Further keyword arguments go to its forward.

    `col_names` are some of input_size, output_size, num_params, params_percent, kernel_size, mult_adds, flops,
    output_bytes, trainable; `row_settings` of ascii_only, depth, var_names, hide_recursive_layers. `depth` is how deep
    layers are shown. `verbose` 0 prints nothing, 2 also the parameters of each layer; by default the table is printed,
    except where the result is shown anyway.

    The model is left as it was: modes, buffers, hooks and random numbers. A forward that fails raises RuntimeError,
    which names the layer and the shapes until then.

    >>> import rushlight
    >>> from rushlight import nn
    >>> net = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    >>> found = rushlight.summary(net, (32, 784), verbose=0)
    >>> found.total_params, found.total_mult_adds, found.total_flops
    (101770, 3256640, 6504448)
    """
    if not isinstance(model, Module):
        raise TypeError(f"summary takes a module, not {type(model).__name__}")
    if input is not None:
        if input_size is not None or input_data is not None:
            raise RuntimeError("Only one of (input, input_data, input_size) should be specified.")
        if _is_size(input):
            input_size = input
        else:
            input_data = input
    if input_size is not None and input_data is not None:
        raise RuntimeError("Only one of (input_data, input_size) should be specified.")
    if device is not None:
        check_available(device)
    if mode not in ("train", "eval"):
        raise ValueError(f"mode should be 'train' or 'eval', not {mode!r}")
    model = as_written(model)
    called = input_size is not None or input_data is not None
    layout = _layout(called, col_names, col_width, depth, row_settings, verbose)
    if not called:
        result = Summary(model, declared_layers(model), [], 0, layout)
    else:
        args, named = _arguments(input_data, input_size, batch_dim, dtypes)
        layers = called_layers(model, args, {**named, **kwargs}, mode, batch_dim)
        given = [*args, *named.values()]
        result = Summary(model, layers, _sizes(given), sum(map(_bytes, given)), layout)
    if verbose is None:
        verbose = 0 if hasattr(sys, "ps1") else 1  # a prompt shows the result by itself
    if verbose:
        print(result)  # noqa: T201 - this is what was asked for
    return result


def _layout(
    called: bool,
    col_names: Iterable[str] | None,
    col_width: int,
    depth: int,
    row_settings: Iterable[str] | None,
    verbose: int | None,
) -> Layout:
    """The form of the table, checked."""
    if col_width <= 0:
        raise ValueError(f"Column width must be greater than 0: col_width={col_width}")
    if verbose not in (None, 0, 1, 2):
        raise ValueError(
            f"verbose should be 0 (quiet), 1 or 2 (parameters of each layer), not {verbose!r}"
        )
    if depth < 0:
        raise ValueError(f"depth should be at least 0, not {depth}")
    default = ("output_size", "num_params") if called else ("num_params",)
    columns = default if col_names is None else tuple(col_names)
    _check_names("col_names", columns, tuple(COLUMNS))
    wanting = [name for name in columns if needs_input(name)]
    if wanting and not called:
        raise ValueError(
            f"You must pass an input, or input_size, in order to use columns: {wanting}"
        )
    rows = ("depth",) if row_settings is None else tuple(row_settings)
    _check_names("row_settings", rows, ROW_SETTINGS)
    return Layout(
        columns, col_width, depth, "ascii_only" in rows, "depth" in rows, "var_names" in rows,
        "hide_recursive_layers" in rows, verbose == 2,
    )  # fmt: skip


def _check_names(what: str, given: Sequence[str], allowed: Sequence[str]) -> None:
    for name in given:
        if name not in allowed:
            raise ValueError(f"{what} should be some of {list(allowed)}, not {name!r}")


def _is_size(value: Any) -> bool:
    """Whether something is a size, or some sizes."""
    if not isinstance(value, (tuple, list)) or not value:
        return False
    if all(isinstance(n, int) and not isinstance(n, bool) for n in value):
        return True
    return all(isinstance(part, (tuple, list)) and _is_size(part) for part in value)


def _arguments(
    input_data: Any, input_size: Any, batch_dim: int | None, dtypes: Sequence[Any] | None
) -> tuple[list[Any], dict[str, Any]]:
    """What the model is called with."""
    if input_data is not None:
        if isinstance(input_data, dict):
            return [], input_data
        if isinstance(input_data, (list, tuple)):
            return list(input_data), {}
        return [input_data], {}
    if not _is_size(input_size):
        raise TypeError(
            f"input_size should be a size such as (2, 3, 32, 32), or a list of sizes for several inputs, not "
            f"{input_size!r}"
        )
    sizes = [input_size] if isinstance(input_size[0], int) else list(input_size)
    for size in sizes:
        if any(n <= 0 for n in size):
            raise ValueError(f"input_size should have positive sizes only, not {tuple(size)}")
    if dtypes is not None and len(dtypes) != len(sizes):
        raise ValueError(f"dtypes should be as many as the inputs, {len(sizes)}, not {len(dtypes)}")
    return [
        _drawn(size, batch_dim, dtypes[i] if dtypes is not None else None)
        for i, size in enumerate(sizes)
    ], {}


def _drawn(size: Sequence[int], batch_dim: int | None, dtype: Any) -> Tensor:
    """An input: uniform numbers from 0 to 1 (as integers they are 0, an index that is always there)."""
    import rushlight
    from rushlight.random.generator import Generator

    # From a generator of its own: the user's random numbers go on as if nothing had been drawn.
    value: Tensor = rushlight.rand(*size, generator=Generator().manual_seed(0))
    if batch_dim is not None:
        value = rushlight.unsqueeze(value, batch_dim)
    return value if dtype is None else value.to(dtype)  # type: ignore[attr-defined,no-any-return]


def _sizes(values: Sequence[Any]) -> list[Any]:
    return [v.shape if isinstance(v, Tensor) else type(v).__name__ for v in values]


def _bytes(value: Any) -> int:
    """Of all tensors in a value."""
    if isinstance(value, Tensor):
        return int(value._array.nbytes)
    if isinstance(value, dict):
        return sum(map(_bytes, value.values()))
    return sum(map(_bytes, value)) if isinstance(value, (list, tuple)) else 0


__all__ = ["Summary", "summary"]

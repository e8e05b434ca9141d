"""The layers of a model as they are called: one `Layer` for each call of a module, with what it was given and gave.

Numbers are torchinfo's: sizes are those of the first tensor, mult-adds count a layer's weights once for each sample (of
a convolution for each place, of a recurrent layer for each step). `flops` counts what is really computed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from rushlight.autograd.modes import no_grad
from rushlight.capture.api import Compiled
from rushlight.core.shapes import size_of
from rushlight.nn.hooks import register_module_forward_hook, register_module_forward_pre_hook
from rushlight.nn.module import Module
from rushlight.nn.parameter import is_lazy
from rushlight.random.generator import get_rng_state, set_rng_state
from rushlight.tensor.tensor import Tensor
from rushlight.utils.flop_counter import FlopCounterMode


class Place:
    """Where a module is in the model."""

    def __init__(self, module: Module, name: str, depth: int, parent: Place | None) -> None:
        self.module, self.name, self.depth, self.parent = module, name, depth, parent


def places_of(model: Module) -> list[Place]:
    """All modules of a model, parents first; one that is in several places is listed in each."""
    found: list[Place] = []
    stack = [Place(model, type(model).__name__, 0, None)]
    while stack:
        place = stack.pop()
        found.append(place)
        stack += [
            Place(child, name, place.depth + 1, place)
            for name, child in reversed(place.module._modules.items())
            if child is not None
        ]
    return found


class Layer:
    """One call of a module, or a container that was not called itself."""

    def __init__(self, place: Place, is_recursive: bool) -> None:
        self.module = place.module
        self.class_name = type(place.module).__name__
        self.var_name, self.depth = place.name, place.depth
        #: Its number among the layers of its depth; set when all are known.
        self.depth_index = 0
        self.children: list[Layer] = []  # all below it
        self.is_recursive = is_recursive  # its module was called before
        self.is_leaf_layer = not any(self.module.children())
        self.executed = False
        self.input_size: list[int] = []
        self.output_size: list[int] = []
        #: How many tensors more than that one it was given, and gave.
        self.more_inputs = self.more_outputs = 0
        self.output_bytes = self.macs = self.flops = 0
        self.count_parameters()

    def count_parameters(self) -> None:
        """Parameters of the module and all below it; lazy ones have none until they are called."""
        known = [p for p in self.module.parameters() if not is_lazy(p)]
        self.num_params = sum(p.numel() for p in known)
        self.trainable_params = sum(p.numel() for p in known if p.requires_grad)
        self.param_bytes = sum(p.numel() * p.element_size() for p in known)

    def note(self, args: Any, kwargs: Any, result: Any, batch_dim: int | None) -> None:
        """What the call was given and gave."""
        self.executed = True
        self.class_name = type(self.module).__name__  # a lazy layer has become another
        self.count_parameters()
        self.input_size, _, given = _size(args or tuple(kwargs.values()), batch_dim)
        self.output_size, item, made = _size(result, batch_dim)
        self.more_inputs, self.more_outputs = max(given - 1, 0), max(made - 1, 0)
        self.output_bytes = item * size_of(self.output_size)
        self.macs = self._multiply_adds()

    def _multiply_adds(self) -> int:
        size = self.output_size
        total = 0
        for name, parameter in self.module.named_parameters():
            if name in ("weight", "bias"):
                positions = size[2:] if "Conv" in self.class_name else []
                total += parameter.numel() * size_of([*size[:1], *positions])
            elif "weight" in name or "bias" in name:  # of a recurrent layer, at every step
                total += parameter.numel() * size_of(size[:2])
        return total

    @property
    def kernel_size(self) -> list[int] | int | None:
        """Of a convolution or pooling."""
        size = getattr(self.module, "kernel_size", None)
        return list(size) if isinstance(size, (tuple, list)) else size

    @property
    def trainable(self) -> str:
        """'True', 'False', 'Partial', or '--' without parameters."""
        if not self.num_params:
            return "--"
        if not self.trainable_params:
            return "False"
        return "True" if self.trainable_params == self.num_params else "Partial"

    def leftover_params(self) -> int:
        """Parameters that no layer below it shows."""
        return self.num_params - sum(
            child.num_params if child.is_leaf_layer else child.leftover_params()
            for child in self.children
            if not child.is_recursive
        )

    def leaves(self) -> list[Layer]:
        """The layers that have none below them: itself, or those under it."""
        if self.is_leaf_layer:
            return [self]
        return [child for child in self.children if child.is_leaf_layer]

    def __repr__(self) -> str:
        sizes = f"{self.input_size} -> {self.output_size}" if self.executed else "not called"
        return f"<{self.class_name} ({self.var_name}): {sizes}>"


def _size(value: Any, batch_dim: int | None) -> tuple[list[int], int, int]:
    """The shape of the first tensor (of a dict the last), the bytes of its elements, and how many tensors there are."""
    tensors = list(_tensors(value))
    if not tensors:
        return [], 0, 0
    count = len(tensors)
    if isinstance(value, dict):
        tensors = list(_tensors(list(value.values())[-1:])) or tensors
    one = tensors[0]
    size = list(one.shape)
    if batch_dim is not None and batch_dim < len(size):
        size[batch_dim] = 1
    return size, one.element_size(), count


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
    elif isinstance(getattr(value, "data", None), Tensor):
        yield value.data  # a packed sequence: the rest says how its rows belong together
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)


class _Watcher:
    """Notes the calls of a model's modules while its block runs."""

    def __init__(self, model: Module, batch_dim: int | None) -> None:
        self.layers: list[Layer] = []
        self.running: list[tuple[Layer, int]] = []  # and what was counted before
        self._places = {id(place.module): place for place in places_of(model)}
        self._batch_dim = batch_dim
        self._seen: set[int] = set()
        self._path: dict[int, Layer] = {}  # the last layer of each depth
        self._counter = FlopCounterMode(display=False)

    def __enter__(self) -> _Watcher:
        self._counter.__enter__()
        self._hooks = [
            register_module_forward_pre_hook(self._before),
            register_module_forward_hook(self._after, with_kwargs=True),
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()
        self._counter.__exit__()

    def _before(self, module: Module, args: Any) -> None:
        place = self._places.get(id(module))
        if place is None:  # made in forward: it is no part of the model
            return
        missing = []
        above = place.parent
        while above is not None and above.depth:
            there = self._path.get(above.depth)
            if there is None or there.module is not above.module:
                missing.append(above)
            above = above.parent
        for container in reversed(missing):
            self._add(container)
        self.running.append((self._add(place), self._counter.get_total_flops()))

    def _after(self, module: Module, args: Any, kwargs: Any, result: Any) -> None:
        if id(module) not in self._places:
            return
        while self.running:
            layer, before = self.running.pop()
            if layer.module is module:
                layer.note(args, kwargs, result, self._batch_dim)
                layer.flops = self._counter.get_total_flops() - before
                return

    def _add(self, place: Place) -> Layer:
        layer = Layer(place, id(place.module) in self._seen)
        self._seen.add(id(place.module))
        self.layers.append(layer)
        self._path = {d: known for d, known in self._path.items() if d < place.depth}
        self._path[place.depth] = layer
        return layer


def called_layers(
    model: Module, args: Sequence[Any], kwargs: dict[str, Any], mode: str, batch_dim: int | None
) -> list[Layer]:
    """Calls the model and gives its layers, in the order of their calls. The model is left as it was."""
    with left_alone(model), _Watcher(model, batch_dim) as watcher:
        model.train(mode == "train")
        try:
            model(*args, **kwargs)
        except Exception as error:
            raise RuntimeError(_failure(model, watcher, error)) from error
    return numbered(watcher.layers)


def declared_layers(model: Module) -> list[Layer]:
    """The layers of a model that is not called."""
    seen: set[int] = set()
    layers = []
    for place in places_of(model):
        layers.append(Layer(place, id(place.module) in seen))
        seen.add(id(place.module))
    return numbered(layers)


def numbered(layers: list[Layer]) -> list[Layer]:
    """Numbers the layers of each depth, and says which are below which."""
    counts: dict[int, int] = {}
    above: list[Layer] = []
    for layer in layers:
        layer.depth_index = counts[layer.depth] = counts.get(layer.depth, 0) + 1
        while above and above[-1].depth >= layer.depth:
            above.pop()
        for each in above:
            each.children.append(layer)
        above.append(layer)
    return layers


def _failure(model: Module, watcher: _Watcher, error: Exception) -> str:
    """Which layer failed, and the shapes until then."""
    failed = watcher.running[-1][0] if watcher.running else None
    where = "" if failed is None else f" in {failed.var_name} ({failed.class_name})"
    done = [f"  {layer!r}" for layer in watcher.layers if layer.executed]
    before = "\n".join(["Layers that ran before it:", *done]) if done else "No layer ran before it."
    return f"summary: the forward of {type(model).__name__} failed{where}: {error}\n{before}"


@contextlib.contextmanager
def left_alone(model: Module) -> Iterator[None]:
    """Whatever runs in the block leaves no trace in the model: modes, buffers, random numbers.

    Compiled forwards run as they were written, so that the calls of modules in them are seen. Lazy parameters get their
    shapes: that cannot be taken back.
    """
    compiled = [
        (vars(module), vars(module).pop("forward"))
        for module in model.modules()
        if isinstance(vars(module).get("forward"), Compiled)
    ]
    modes = [(module, module.training) for module in model.modules()]
    buffers = [
        (module._buffers, name, buffer, buffer._version, buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None and not is_lazy(buffer)
    ]
    random = get_rng_state()
    try:
        with no_grad():
            yield
    finally:
        set_rng_state(random)
        for members, forward in compiled:
            members["forward"] = forward
        for module, training in modes:
            module.training = training
        with no_grad():
            for owner, name, buffer, version, value in buffers:
                owner[name] = buffer
                if buffer._version != version:
                    buffer.copy_(value)  # type: ignore[attr-defined]


def as_written(model: Module) -> Module:
    """A compiled module as the one that it was; other modules as they are."""
    kind = type(model)
    if "_compiled" not in vars(kind):
        return model
    plain: Module = object.__new__(kind.__bases__[0])
    object.__setattr__(plain, "__dict__", vars(model))
    return plain


__all__ = ["Layer", "Place", "as_written", "called_layers", "declared_layers", "left_alone"]

"""Whole training steps, eager against compiled: what a step returns, and all state that it leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import rushlight
from rushlight import nn
from rushlight.optim.lr_scheduler import LRScheduler
from rushlight.optim.optimizer import Optimizer
from tests.support.compiled import difference

#: (step, the objects whose state counts)
Built = tuple[Callable[..., Any], Sequence[Any]]


def state_of(thing: Any) -> Any:
    """All that a step can leave behind in an object: tensors, gradients, numbers."""
    if isinstance(thing, nn.Module):
        grads = {n: None if p.grad is None else p.grad.clone() for n, p in thing.named_parameters()}
        return {"state": dict(thing.state_dict()), "grads": grads}
    if isinstance(thing, (Optimizer, LRScheduler)):
        return _plain(thing.state_dict())
    if isinstance(thing, rushlight.Tensor):
        return [thing, thing.grad]
    return _plain(thing)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if not callable(v)}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


def run(build: Callable[[], Built], batches: Sequence[Any], wrap: Callable[..., Any]) -> Any:
    """Builds and runs a step on each batch; (results of all steps, state after the last, the wrapped step)."""
    rushlight.manual_seed(0)
    step, things = build()
    wrapped = wrap(step)
    results = []
    for batch in batches:
        found = wrapped(*batch)
        results.append(found.detach().clone() if isinstance(found, rushlight.Tensor) else found)
    results.append(rushlight.rand(3))  # the random stream stands where it should
    return results, [state_of(t) for t in things], wrapped


def assert_equal_steps(
    build: Callable[[], Built],
    batches: Sequence[Any],
    compiles: int = 1,
    eager_calls: int | None = None,
) -> Any:
    """Eager and compiled agree in everything; the step was compiled that often. Gives the compiled step."""
    wanted, wanted_state, _ = run(build, batches, lambda step: step)
    found, state, compiled = run(build, batches, rushlight.compile)
    stats = compiled.stats()
    assert stats["kept_eager"] is None, stats
    assert stats["compiles"] == compiles, stats
    if eager_calls is not None:
        assert stats["eager_calls"] == eager_calls, stats
    assert not difference(found, wanted, "results"), difference(found, wanted, "results")
    assert not difference(state, wanted_state, "state"), difference(state, wanted_state, "state")
    return compiled


def batches(count: int, *shapes: tuple[int, ...], classes: int = 0, seed: int = 1) -> list[Any]:
    """Batches of normal numbers of these shapes, and of class numbers as long as the first if asked for."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        batch = [
            rushlight.tensor(random.standard_normal(s)).to(rushlight.get_default_dtype())
            for s in shapes
        ]
        if classes:
            batch.append(rushlight.tensor(random.integers(0, classes, shapes[0][0])))
        found.append(tuple(batch))
    return found

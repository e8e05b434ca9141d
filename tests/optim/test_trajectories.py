"""Fifty steps of every optimizer, beside PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rushlight

torch = pytest.importorskip("torch", reason="PyTorch is the oracle")

STEPS = 50

OPTIONS: dict[str, list[dict[str, Any]]] = {
    "SGD": [
        {"lr": 0.05},
        {"lr": 0.05, "momentum": 0.9, "dampening": 0.1, "weight_decay": 0.01},
        {"lr": 0.05, "momentum": 0.9, "nesterov": True},
        {"lr": 0.01, "momentum": 0.5, "maximize": True},
    ],
    "Adam": [{}, {"lr": 0.01, "betas": (0.8, 0.95), "weight_decay": 0.1}, {"amsgrad": True}, {"maximize": True}],
    "AdamW": [{}, {"lr": 0.01, "weight_decay": 0.2, "amsgrad": True}],
    "Adagrad": [{}, {"lr": 0.1, "lr_decay": 0.05, "weight_decay": 0.1, "initial_accumulator_value": 0.2}],
    "RMSprop": [{}, {"centered": True}, {"momentum": 0.9, "centered": True, "weight_decay": 0.05}],
    "Adadelta": [{}, {"lr": 0.5, "rho": 0.8, "weight_decay": 0.1}],
    "Adamax": [{}, {"lr": 0.01, "weight_decay": 0.1}],
    "NAdam": [{}, {"lr": 0.01, "weight_decay": 0.1}, {"decoupled_weight_decay": True, "weight_decay": 0.1}],
    "RAdam": [{}, {"lr": 0.01, "weight_decay": 0.1}, {"decoupled_weight_decay": True, "weight_decay": 0.1}],
    "ASGD": [{}, {"lr": 0.05, "t0": 10, "weight_decay": 0.1}],
    "Rprop": [{}, {"lr": 0.05, "etas": (0.4, 1.3), "step_sizes": (1e-5, 1.0)}],
    "Adafactor": [{}, {"lr": 0.05, "weight_decay": 0.1}],
}  # fmt: skip

CASES = [(name, options) for name, sets in OPTIONS.items() for options in sets]


def loss_of(lib: Any, parameters: Any) -> Any:
    """A function of a matrix, a vector and a number with curvature of many sizes."""
    matrix, vector, number = parameters
    return ((matrix @ vector - 1) ** 2).sum() + (vector**4).sum() + lib.sin(number) * matrix.sum()


def run(lib: Any, name: str, options: dict[str, Any], groups: bool) -> tuple[list[Any], Any]:
    random = np.random.default_rng(0)
    parameters = [
        lib.tensor(random.standard_normal(shape).tolist(), dtype=lib.float64).requires_grad_()
        for shape in ((4, 3), (3,), ())
    ]
    chosen: Any = parameters
    if groups:
        chosen = [{"params": parameters[:1]}, {"params": parameters[1:], "lr": 0.003}]
    optimizer = getattr(lib.optim, name)(chosen, **options)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss_of(lib, parameters).backward()
        optimizer.step()
    return [p.detach().tolist() for p in parameters], optimizer


@pytest.mark.parametrize("groups", [False, True], ids=["one group", "two groups"])
@pytest.mark.parametrize(("name", "options"), CASES, ids=[f"{n}-{o}" for n, o in CASES])
def test_fifty_steps(name: str, options: dict[str, Any], groups: bool) -> None:
    ours, mine = run(rushlight, name, options, groups)
    theirs, other = run(torch, name, options, groups)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    assert repr(mine) == repr(other)
    first, second = mine.state_dict(), other.state_dict()
    assert first["param_groups"] == second["param_groups"]
    assert {k: sorted(v) for k, v in first["state"].items()} == {
        k: sorted(v) for k, v in second["state"].items()
    }


@pytest.mark.parametrize("name", OPTIONS)
def test_goes_on_from_a_state_dict(name: str) -> None:
    """25 steps, a new optimizer with the saved state, 25 more: as 50 in a row."""

    def steps(optimizer: Any, parameters: Any, count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            loss_of(rushlight, parameters).backward()
            optimizer.step()

    def start() -> Any:
        random = np.random.default_rng(1)
        return [
            rushlight.tensor(random.standard_normal(s).tolist()).requires_grad_()
            for s in ((4, 3), (3,), ())
        ]

    make = getattr(rushlight.optim, name)
    whole = start()
    steps(make(whole, lr=0.01), whole, 50)
    parts = start()
    optimizer = make(parts, lr=0.01)
    steps(optimizer, parts, 25)
    again = make(parts, lr=0.5)
    again.load_state_dict(optimizer.state_dict())
    steps(again, parts, 25)
    for a, b in zip(whole, parts, strict=True):
        assert a.tolist() == b.tolist()

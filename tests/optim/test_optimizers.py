"""Every optimizer goes PyTorch's way: 50 steps to 1e-5 over many options; state dicts load both ways."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import rushlight

torch = pytest.importorskip("torch", reason="PyTorch is the oracle")

PAIR = (rushlight, torch)
SHAPES = ((4, 3), (5,), (), (2, 3, 2))

CASES: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.02}),
    ("SGD", {"momentum": 0.9, "nesterov": True, "maximize": True}),
    *[
        (name, options)
        for name in ("Adam", "AdamW")
        for options in (
            {},
            {"amsgrad": True, "weight_decay": 0.1, "betas": (0.8, 0.95)},
            {"maximize": True, "eps": 1e-3, "foreach": False},
        )
    ],
    ("Adam", {"decoupled_weight_decay": True, "weight_decay": 0.1}),
    ("NAdam", {}),
    ("NAdam", {"weight_decay": 0.1, "momentum_decay": 0.01, "maximize": True}),
    ("NAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RAdam", {}),
    ("RAdam", {"weight_decay": 0.1, "betas": (0.8, 0.9), "maximize": True}),
    ("RAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("Adagrad", {}),
    ("Adagrad", {"lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.2, "maximize": True}),
    ("RMSprop", {}),
    ("RMSprop", {"momentum": 0.8, "centered": True, "weight_decay": 0.1, "maximize": True}),
    ("Adadelta", {}),
    ("Adadelta", {"rho": 0.8, "weight_decay": 0.1, "maximize": True}),
    ("Adamax", {}),
    ("Adamax", {"weight_decay": 0.1, "betas": (0.8, 0.9), "maximize": True}),
    ("ASGD", {}),
    ("ASGD", {"t0": 10, "lambd": 0.1, "weight_decay": 0.1, "maximize": True}),
    ("Rprop", {}),
    ("Rprop", {"etas": (0.3, 1.4), "step_sizes": (1e-3, 0.1), "maximize": True}),
    ("Adafactor", {}),
    ("Adafactor", {"weight_decay": 0.1, "d": 2.0, "eps": (1e-5, 1e-2), "beta2_decay": -0.5, "maximize": True}),
    ("Muon", {}),
    ("Muon", {"nesterov": False, "adjust_lr_fn": "match_rms_adamw", "weight_decay": 0.0}),
]  # fmt: skip
IDS = [f"{name}-{i}" for i, (name, _) in enumerate(CASES)]
COMPLEX = [c for c in CASES if c[0] not in ("Adafactor", "Muon")]


def shapes_of(name: str) -> tuple[tuple[int, ...], ...]:
    return ((4, 3), (3, 5), (2, 2), (6, 1)) if name == "Muon" else SHAPES


class Side:
    """One library's parameters in two groups, its optimizer, and the same gradients at each step."""

    def __init__(
        self, lib: Any, name: str, options: dict[str, Any], dtype: str = "float64", lr: Any = 0.02
    ) -> None:
        self.lib, self.dtype, self.random = lib, dtype, np.random.default_rng(7)
        self.params = [self.tensor(shape).requires_grad_() for shape in shapes_of(name)]
        groups = [{"params": self.params[:2]}, {"params": self.params[2:], "lr": 0.05}]
        self.optimizer = getattr(lib.optim, name)(groups, lr=lr, **options)

    def tensor(self, shape: tuple[int, ...]) -> Any:
        values = self.random.standard_normal(shape)
        if "complex" in self.dtype:
            values = values + 1j * self.random.standard_normal(shape)
        return self.lib.tensor(values, dtype=getattr(self.lib, self.dtype))

    def step(self, times: int = 50) -> None:
        for _ in range(times):
            for p in self.params:
                p.grad = self.tensor(tuple(p.shape))
            self.optimizer.step()

    def values(self) -> list[Any]:
        return [p.detach().numpy() for p in self.params]


def assert_same(ours: Side, theirs: Side, tolerance: float = 1e-5) -> None:
    for a, b in zip(ours.values(), theirs.values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def plain(value: Any) -> Any:
    """The structure of a state dict, with the shapes and dtypes of its tensors."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if hasattr(value, "dtype"):
        return (str(value.dtype).split(".")[-1], tuple(value.shape))
    return value


def translated(value: Any) -> Any:
    """A state dict of PyTorch with rushlight's tensors."""
    if isinstance(value, dict):
        return {k: translated(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(translated(v) for v in value)
    if isinstance(value, torch.Tensor):
        return rushlight.tensor(value.detach().numpy().copy())
    return value


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_fifty_steps(name: str, options: dict[str, Any], dtype: str) -> None:
    sides = [Side(lib, name, options, dtype) for lib in PAIR]
    for side in sides:
        start = side.values()[0].copy()
        side.step()
        assert abs(side.values()[0] - start).max() > 1e-4
    # Muon's iteration runs in bfloat16, whose last bit hangs on the order of a sum.
    assert_same(*sides, 2e-3 if name == "Muon" else 1e-5)


@pytest.mark.parametrize(("name", "options"), COMPLEX, ids=[n for n, _ in COMPLEX])
def test_complex_parameters(name: str, options: dict[str, Any]) -> None:
    sides = [Side(lib, name, options, "complex128") for lib in PAIR]
    for side in sides:
        side.step()
    assert_same(*sides)


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_state_dicts_are_pytorchs_and_carry_on(name: str, options: dict[str, Any]) -> None:
    ours, theirs = (Side(lib, name, options) for lib in PAIR)
    ours.step(10)
    theirs.step(10)
    state = theirs.optimizer.state_dict()
    assert plain(ours.optimizer.state_dict()) == plain(state)
    again = Side(rushlight, name, options)
    again.random = copy.deepcopy(ours.random)
    for mine, value in zip(again.params, ours.params, strict=True):
        mine.data.copy_(value.data)
    again.optimizer.load_state_dict(translated(state))
    again.step(20)
    ours.step(20)
    assert_same(again, ours)
    packed = pickle.loads(pickle.dumps(ours.optimizer))
    assert plain(packed.state_dict()) == plain(ours.optimizer.state_dict())


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_a_tensor_as_learning_rate(name: str, options: dict[str, Any]) -> None:
    rate = rushlight.tensor(0.02, dtype=rushlight.float64)
    ours = Side(rushlight, name, options, lr=rate)
    number = Side(rushlight, name, options)
    ours.step(5)
    number.step(5)
    assert_same(ours, number, 1e-9)


def rosenbrock(lib: Any, p: Any) -> Any:
    return (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2 + (p[2] * p[2]).sum()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"lr": 0.1, "max_iter": 7, "history_size": 3},
        {"line_search_fn": "strong_wolfe"},
        {"line_search_fn": "strong_wolfe", "lr": 0.5, "max_iter": 4, "max_eval": 9, "history_size": 2},
        {"line_search_fn": "strong_wolfe", "tolerance_grad": 1e-2},
    ],
)  # fmt: skip
def test_lbfgs(options: dict[str, Any]) -> None:
    paths, states = [], []
    for lib in PAIR:
        start = [-1.2, 1.0, 0.5] if options.get("line_search_fn") else [0.9, 0.8, 0.1]
        p = lib.tensor(start, dtype=lib.float64, requires_grad=True)
        optimizer = lib.optim.LBFGS([p], **options)

        def closure(p: Any = p, optimizer: Any = optimizer, lib: Any = lib) -> Any:
            optimizer.zero_grad()
            loss = rosenbrock(lib, p)
            loss.backward()
            return loss

        path = []
        for _ in range(8):
            loss = optimizer.step(closure)
            path.append([*p.detach().numpy().tolist(), loss.item()])
        state = optimizer.state_dict()["state"][0]
        paths.append(path)
        states.append((state["func_evals"], state["n_iter"], sorted(state)))
    np.testing.assert_allclose(paths[0], paths[1], rtol=1e-5, atol=1e-7)
    assert states[0] == states[1]


def test_lbfgs_of_several_parameters_some_without_gradient() -> None:
    results = []
    for lib in PAIR:
        a = lib.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=lib.float64, requires_grad=True)
        b = lib.tensor(0.5, dtype=lib.float64, requires_grad=True)
        c = lib.tensor([1 + 2j], dtype=lib.complex128, requires_grad=True)
        idle = lib.ones(3, dtype=lib.float64, requires_grad=True)
        optimizer = lib.optim.LBFGS([a, idle, b, c], line_search_fn="strong_wolfe", max_iter=5)

        def closure(a: Any = a, b: Any = b, c: Any = c, optimizer: Any = optimizer) -> Any:
            optimizer.zero_grad()
            loss = ((a * b - 1) ** 2).sum() + (c.abs() - 0.3).pow(2).sum()
            loss.backward()
            return loss

        for _ in range(3):
            optimizer.step(closure)
        results.append([x.detach().numpy() for x in (a, b, c, idle)])
    for x, y in zip(*results, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-7)


DIFFERENTIABLE = [
    (n, o) for n, o in CASES if n not in ("Rprop", "Adafactor", "Muon") and "foreach" not in o
]


@pytest.mark.parametrize(("name", "options"), DIFFERENTIABLE, ids=[n for n, _ in DIFFERENTIABLE])
def test_gradients_go_through_differentiable_steps(name: str, options: dict[str, Any]) -> None:
    def after(rate: Any) -> Any:
        p = rushlight.tensor([0.3, -0.7], dtype=rushlight.float64, requires_grad=True).clone()
        lr = rate if name in ("SGD", "Adam", "AdamW") else 0.1
        made = getattr(rushlight.optim, name)([p], lr=lr, differentiable=True, **options)
        for scale in (1.0, -0.4, 0.7):
            p.grad = scale * rate * rushlight.tensor([1.0, 2.0], dtype=rushlight.float64)
            made.step()
        return (p * p).sum()

    rate = rushlight.tensor(0.1, dtype=rushlight.float64, requires_grad=True)
    (slope,) = rushlight.autograd.grad(after(rate), rate)
    h = 1e-6
    high, low = (after(rushlight.tensor(0.1 + d, dtype=rushlight.float64)) for d in (h, -h))
    assert slope.item() == pytest.approx((high - low).item() / (2 * h), rel=1e-4, abs=1e-8)

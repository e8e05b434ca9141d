"""Every schedule gives PyTorch's rates and momenta, bit for bit; state dicts, combinations, warnings and errors."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import pytest

import rushlight

torch = pytest.importorskip("torch", reason="PyTorch is the oracle")

PAIR = (rushlight, torch)


class Decay:
    """A callable object, whose attributes are state."""

    def __init__(self, base: float) -> None:
        self.base = base

    def __call__(self, epoch: int) -> float:
        return self.base**epoch


SCHEDULES: list[tuple[str, dict[str, Any]]] = [
    ("LambdaLR", {"lr_lambda": lambda e: 0.97**e}),
    ("LambdaLR", {"lr_lambda": [lambda e: 0.97**e, lambda e: 1 / (1 + e)]}),
    ("MultiplicativeLR", {"lr_lambda": lambda e: 0.99 - 0.001 * e}),
    ("StepLR", {"step_size": 7}),
    ("StepLR", {"step_size": 3, "gamma": 0.7}),
    ("MultiStepLR", {"milestones": [2, 9, 9, 31], "gamma": 0.3}),
    ("ConstantLR", {}),
    ("ConstantLR", {"factor": 0.3, "total_iters": 17}),
    ("LinearLR", {}),
    ("LinearLR", {"start_factor": 0.13, "end_factor": 0.77, "total_iters": 33}),
    ("LinearLR", {"start_factor": 1.0, "end_factor": 0.1, "total_iters": 40}),
    ("ExponentialLR", {"gamma": 0.93}),
    ("PolynomialLR", {"total_iters": 45, "power": 2.3}),
    ("PolynomialLR", {}),
    ("CosineAnnealingLR", {"T_max": 13, "eta_min": 0.003}),
    ("CosineAnnealingLR", {"T_max": 60}),
    ("CosineAnnealingWarmRestarts", {"T_0": 7}),
    ("CosineAnnealingWarmRestarts", {"T_0": 5, "T_mult": 2, "eta_min": 0.001}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.3, "step_size_up": 7, "cycle_momentum": False}),
    ("CyclicLR", {"base_lr": [0.01, 0.02], "max_lr": [0.3, 0.1], "step_size_up": 5, "step_size_down": 9,
                  "mode": "triangular2"}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.3, "step_size_up": 4, "mode": "exp_range", "gamma": 0.98}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.3, "step_size_up": 4, "scale_fn": lambda x: 1 / (x + 1),
                  "scale_mode": "iterations"}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 61}),
    ("OneCycleLR", {"max_lr": [0.5, 0.3], "epochs": 8, "steps_per_epoch": 8, "pct_start": 0.21,
                    "anneal_strategy": "linear", "base_momentum": [0.7, 0.8]}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 70, "three_phase": True, "cycle_momentum": False, "div_factor": 7.0}),
]  # fmt: skip
IDS = [f"{name}-{i}" for i, (name, _) in enumerate(SCHEDULES)]


def optimizer_of(lib: Any, kind: str = "SGD", tensor_lr: bool = False) -> Any:
    def rate(value: float) -> Any:
        return lib.tensor(value, dtype=lib.float64) if tensor_lr else value

    params = [lib.zeros(2, requires_grad=True) for _ in range(2)]
    options = {"momentum": 0.9} if kind == "SGD" else {}
    groups = [{"params": params[:1]}, {"params": params[1:], "lr": rate(0.037)}]
    return getattr(lib.optim, kind)(groups, lr=rate(0.1), **options)


def rates_and_momenta(optimizer: Any) -> list[float]:
    found = []
    for group in optimizer.param_groups:
        found.append(float(group["lr"]))
        found.append(float(group["betas"][0] if "betas" in group else group["momentum"]))
    return found


def run(scheduler: Any, optimizer: Any, steps: int = 60) -> list[list[float]]:
    path = [rates_and_momenta(optimizer)]
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
        path.append(rates_and_momenta(optimizer))
        assert [float(r) for r in scheduler.get_last_lr()] == path[-1][::2]
    return path


def scheduler_of(lib: Any, optimizer: Any, name: str, options: dict[str, Any]) -> Any:
    return getattr(lib.optim.lr_scheduler, name)(optimizer, **options)


def plain(value: Any) -> Any:
    """A state dict's structure with tensors as numbers."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return float(value) if hasattr(value, "item") else value


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize(("name", "options"), SCHEDULES, ids=IDS)
def test_rates_are_pytorchs_bit_for_bit(name: str, options: dict[str, Any], kind: str) -> None:
    paths = []
    for lib in PAIR:
        optimizer = optimizer_of(lib, kind)
        paths.append(run(scheduler_of(lib, optimizer, name, options), optimizer))
    assert paths[0] == paths[1]


@pytest.mark.parametrize(("name", "options"), SCHEDULES, ids=IDS)
def test_a_tensor_rate_stays_the_same_tensor(name: str, options: dict[str, Any]) -> None:
    paths = []
    for lib in PAIR:
        optimizer = optimizer_of(lib, tensor_lr=True)
        held = [group["lr"] for group in optimizer.param_groups]
        path = run(scheduler_of(lib, optimizer, name, options), optimizer)
        assert all(group["lr"] is h for group, h in zip(optimizer.param_groups, held, strict=True))
        paths.append([x for row in path for x in row])
    assert paths[0] == pytest.approx(paths[1], rel=1e-12)


@pytest.mark.parametrize(("name", "options"), SCHEDULES, ids=IDS)
def test_states_are_pytorchs_and_carry_on(name: str, options: dict[str, Any]) -> None:
    whole, states = [], []
    for lib in PAIR:
        optimizer = optimizer_of(lib)
        whole.append(run(scheduler_of(lib, optimizer, name, options), optimizer, 30))
        optimizer = optimizer_of(lib)
        scheduler = scheduler_of(lib, optimizer, name, options)
        run(scheduler, optimizer, 12)
        states.append((optimizer.state_dict(), scheduler.state_dict()))
    ignored = {"_scale_fn_ref"}
    ours, theirs = (plain(s) for _, s in states)
    assert {k: v for k, v in ours.items() if k not in ignored} == {
        k: v for k, v in theirs.items() if k not in ignored
    }
    optimizer = optimizer_of(rushlight)
    scheduler = scheduler_of(rushlight, optimizer, name, options)
    optimizer.load_state_dict(copy.deepcopy(states[0][0]))
    scheduler.load_state_dict(copy.deepcopy(states[1][1]))  # PyTorch's own
    assert run(scheduler, optimizer, 18) == whole[0][12:]


@pytest.mark.parametrize(
    ("name", "options"),
    [s for s in SCHEDULES if s[0] not in ("OneCycleLR", "CyclicLR")],
    ids=[i for i in IDS if not i.startswith(("OneCycleLR", "CyclicLR"))],
)
def test_an_epoch_given_goes_there(name: str, options: dict[str, Any]) -> None:
    paths = []
    for lib in PAIR:
        optimizer = optimizer_of(lib)
        scheduler = scheduler_of(lib, optimizer, name, options)
        optimizer.step()
        path = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for epoch in (3, 17, 18, 4, 40):
                scheduler.step(epoch)
                path.append(rates_and_momenta(optimizer))
        paths.append(path)
    assert paths[0] == paths[1]


@pytest.mark.parametrize(("name", "options"), SCHEDULES, ids=IDS)
def test_taken_up_again_with_last_epoch(name: str, options: dict[str, Any]) -> None:
    paths = []
    for lib in PAIR:
        optimizer = optimizer_of(lib)
        run(scheduler_of(lib, optimizer, name, options), optimizer, 9)
        again = scheduler_of(lib, optimizer, name, {**options, "last_epoch": 8})
        paths.append(run(again, optimizer, 30))
    assert paths[0] == paths[1]


def sequential(lib: Any, optimizer: Any) -> Any:
    s = lib.optim.lr_scheduler
    parts = [
        s.LinearLR(optimizer, start_factor=0.1, total_iters=8),
        s.CosineAnnealingLR(optimizer, T_max=20, eta_min=0.001),
        s.ExponentialLR(optimizer, gamma=0.9),
    ]
    return s.SequentialLR(optimizer, parts, milestones=[8, 28])


def chained(lib: Any, optimizer: Any) -> Any:
    s = lib.optim.lr_scheduler
    return s.ChainedScheduler(
        [s.ConstantLR(optimizer, 0.1, 4), s.ExponentialLR(optimizer, 0.9), s.StepLR(optimizer, 5)]
    )


def nested(lib: Any, optimizer: Any) -> Any:
    s = lib.optim.lr_scheduler
    inner = s.SequentialLR(
        optimizer, [s.ConstantLR(optimizer, 0.5, 3), s.StepLR(optimizer, 4)], milestones=[5]
    )
    return s.SequentialLR(optimizer, [inner, s.ExponentialLR(optimizer, 0.95)], milestones=[15])


@pytest.mark.parametrize("build", [sequential, chained, nested])
def test_combinations(build: Any) -> None:
    paths, states = [], []
    for lib in PAIR:
        optimizer = optimizer_of(lib)
        scheduler = build(lib, optimizer)
        paths.append(run(scheduler, optimizer, 20))
        states.append((optimizer.state_dict(), plain(scheduler.state_dict())))
        paths[-1] += run(scheduler, optimizer, 40)
    assert paths[0] == paths[1]
    assert states[0][1] == states[1][1]
    optimizer = optimizer_of(rushlight)
    scheduler = build(rushlight, optimizer)
    optimizer.load_state_dict(states[0][0])
    scheduler.load_state_dict(states[1][1])
    assert run(scheduler, optimizer, 40) == paths[0][21:]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mode": "max", "patience": 2, "factor": 0.5},
        {"threshold_mode": "abs", "threshold": 0.05, "patience": 1, "cooldown": 3},
        {"mode": "max", "threshold_mode": "abs", "threshold": 0.05, "patience": 0},
        {"min_lr": [0.01, 0.03], "patience": 1, "eps": 1e-3},
    ],
)
def test_plateau(options: dict[str, Any]) -> None:
    measures = [1 / (1 + 0.1 * e) + 0.3 * ((e * 7) % 5 == 0) for e in range(30)] + [0.3] * 30
    paths, states = [], []
    for lib in PAIR:
        optimizer = optimizer_of(lib)
        scheduler = lib.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **options)
        path = []
        for measure in measures:
            scheduler.step(lib.tensor(measure, dtype=lib.float64))
            path.append((rates_and_momenta(optimizer), scheduler.num_bad_epochs, scheduler.best))
        paths.append(path)
        states.append(scheduler.state_dict())
    assert paths[0] == paths[1]
    assert states[0] == states[1]
    assert len({str(p[0]) for p in paths[0]}) > 1
    scheduler = rushlight.optim.lr_scheduler.ReduceLROnPlateau(optimizer_of(rushlight))
    scheduler.load_state_dict(states[1])
    assert scheduler.state_dict() == states[0]


def test_callable_objects_are_kept_in_state_dicts() -> None:
    scheduler = rushlight.optim.lr_scheduler.LambdaLR(
        optimizer_of(rushlight), [Decay(0.5), lambda e: 1.0]
    )
    state = scheduler.state_dict()
    assert state["lr_lambdas"] == [{"base": 0.5}, None]
    other = rushlight.optim.lr_scheduler.LambdaLR(
        optimizer_of(rushlight), [Decay(0.1), lambda e: 1.0]
    )
    other.load_state_dict(state)
    assert other.lr_lambdas[0].base == 0.5
    assert state["lr_lambdas"] == [{"base": 0.5}, None]


def test_order_of_calls_is_watched() -> None:
    for lib in PAIR:
        make = lib.optim.lr_scheduler.ExponentialLR
        optimizer = optimizer_of(lib)
        scheduler = make(optimizer, 0.9)
        with pytest.warns(
            UserWarning, match=r"`lr_scheduler.step\(\)` before `optimizer.step\(\)`"
        ):
            scheduler.step()
        optimizer = optimizer_of(lib)
        scheduler = make(optimizer, 0.9)
        optimizer.step = lambda: None
        with pytest.warns(UserWarning, match=r"`optimizer.step\(\)` has been overridden"):
            scheduler.step()
        optimizer = optimizer_of(lib)
        scheduler = make(optimizer, 0.9)
        optimizer.step()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            scheduler.step()
        with pytest.warns(UserWarning, match="get_last_lr"):
            scheduler.get_lr()
        with pytest.warns(UserWarning, match="The epoch parameter in"):
            scheduler.step(4)


def test_an_optimizer_with_a_schedule_can_be_pickled_and_copied() -> None:
    optimizer = optimizer_of(rushlight)
    rushlight.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    for other in (pickle.loads(pickle.dumps(optimizer)), copy.deepcopy(optimizer)):
        assert rates_and_momenta(other) == rates_and_momenta(optimizer)
        other.step()


ERRORS: list[tuple[type[Exception], str, Any]] = [
    (TypeError, "is not an Optimizer", lambda s, o: s.StepLR(3, 1)),
    (TypeError, "is not an Optimizer", lambda s, o: s.OneCycleLR(3, 1, 5)),
    (KeyError, "initial_lr", lambda s, o: s.StepLR(o, 1, last_epoch=3)),
    (ValueError, "Expected 2 lr_lambdas, but got 1", lambda s, o: s.LambdaLR(o, [abs])),
    (TypeError, "lr_lambda should be a function", lambda s, o: s.MultiplicativeLR(o, 3)),
    (ValueError, "between 0 and 1", lambda s, o: s.ConstantLR(o, 1.5)),
    (ValueError, "greater than 0 and less or equal to 1", lambda s, o: s.LinearLR(o, 0.0)),
    (ValueError, "Ending multiplicative factor", lambda s, o: s.LinearLR(o, 0.5, 2.0)),
    (ValueError, "positive integer T_0", lambda s, o: s.CosineAnnealingWarmRestarts(o, 0)),
    (ValueError, "T_mult >= 1", lambda s, o: s.CosineAnnealingWarmRestarts(o, 3, 0)),
    (ValueError, "float or int eta_min", lambda s, o: s.CosineAnnealingWarmRestarts(o, 3, 1, "a")),
    (ValueError, "non-negative epoch", lambda s, o: s.CosineAnnealingWarmRestarts(o, 3).step(-1)),
    (ValueError, "mode is invalid", lambda s, o: s.CyclicLR(o, 0.1, 1, mode="square")),
    (ValueError, "max_lr must have the same length", lambda s, o: s.CyclicLR(o, 0.1, [1.0])),
    (ValueError, "You must define either total_steps", lambda s, o: s.OneCycleLR(o, 1, epochs=3)),
    (ValueError, "positive integer total_steps", lambda s, o: s.OneCycleLR(o, 1, 0)),
    (ValueError, "positive integer steps_per_epoch",
     lambda s, o: s.OneCycleLR(o, 1, epochs=3, steps_per_epoch=-1)),
    (ValueError, "pct_start", lambda s, o: s.OneCycleLR(o, 1, 9, pct_start=1.5)),
    (ValueError, "anneal_strategy must be one of", lambda s, o: s.OneCycleLR(o, 1, 9, anneal_strategy="x")),
    (ValueError, "Tried to step", lambda s, o: [s.OneCycleLR(o, 1, 9, last_epoch=9)]),
    (ValueError, "Factor should be < 1.0", lambda s, o: s.ReduceLROnPlateau(o, factor=1.0)),
    (ValueError, "is unknown", lambda s, o: s.ReduceLROnPlateau(o, mode="low")),
    (ValueError, "threshold mode", lambda s, o: s.ReduceLROnPlateau(o, threshold_mode="low")),
    (ValueError, "expected 2 min_lrs, got 1", lambda s, o: s.ReduceLROnPlateau(o, min_lr=[0.1])),
    (ValueError, "at least one scheduler", lambda s, o: s.SequentialLR(o, [], [])),
    (ValueError, "number of milestone", lambda s, o: s.SequentialLR(o, [s.StepLR(o, 1)], [1])),
    (ValueError, "does not support `ReduceLROnPlateau`",
     lambda s, o: s.SequentialLR(o, [s.ReduceLROnPlateau(o)], [])),
    (ValueError, "at least one scheduler to be chained", lambda s, o: s.ChainedScheduler([])),
    (TypeError, "should have `optimizer` as its attribute",
     lambda s, o: s.ChainedScheduler([s.StepLR(o, 1), 3])),
    (ValueError, "belong to the same optimizer",
     lambda s, o: s.ChainedScheduler([s.StepLR(o, 1), s.StepLR(type(o)(o.param_groups[0]["params"], lr=1), 1)])),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "message", "call"), ERRORS, ids=[m for _, m, _ in ERRORS])
def test_errors_are_pytorchs(kind: type[Exception], message: str, call: Any) -> None:
    for lib in PAIR:
        optimizer = optimizer_of(lib)
        if "Tried to step" in message:
            for group in optimizer.param_groups:
                group.update(
                    initial_lr=0.1, max_lr=1.0, min_lr=0.0, max_momentum=1, base_momentum=0
                )
        with pytest.raises(kind, match=message):
            call(lib.optim.lr_scheduler, optimizer)


def test_no_momentum_to_cycle() -> None:
    for lib in PAIR:
        optimizer = lib.optim.Adagrad([lib.zeros(1, requires_grad=True)])
        with pytest.raises(ValueError, match="must support momentum or beta1"):
            lib.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, 5)


def test_groups_added_since_are_named() -> None:
    optimizer = optimizer_of(rushlight)
    scheduler = rushlight.optim.lr_scheduler.LambdaLR(optimizer, lambda e: 1.0)
    optimizer.add_param_group({"params": [rushlight.zeros(1, requires_grad=True)]})
    optimizer.step()
    with pytest.raises(ValueError, match="2 learning rates for the optimizer's 3 parameter groups"):
        scheduler.step()

"""Averaged models, batch norm's statistics anew and SWALR, beside PyTorch's."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import rushlight

torch = pytest.importorskip("torch", reason="PyTorch is the oracle")

PAIR = (rushlight, torch)

AVERAGES = {
    "mean": lambda u: {},
    "mean by function": lambda u: {"avg_fn": u.get_swa_avg_fn()},
    "mean in place": lambda u: {"multi_avg_fn": u.get_swa_multi_avg_fn()},
    "ema": lambda u: {"avg_fn": u.get_ema_avg_fn(0.8)},
    "ema in place": lambda u: {"multi_avg_fn": u.get_ema_multi_avg_fn(0.8)},
    "with buffers": lambda u: {"multi_avg_fn": u.get_ema_multi_avg_fn(0.7), "use_buffers": True},
    "mean with buffers": lambda u: {"use_buffers": True},
}


def model_of(lib: Any) -> Any:
    nn = lib.nn
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


@pytest.mark.parametrize("kind", AVERAGES)
def test_averaged_models(kind: str) -> None:
    found = []
    for lib in PAIR:
        random = np.random.default_rng(3)
        utils = lib.optim.swa_utils
        model = model_of(lib)
        mean = utils.AveragedModel(model, **AVERAGES[kind](utils))
        for _ in range(4):
            with lib.no_grad():
                for value in model.state_dict().values():
                    value.copy_(lib.tensor(random.uniform(0, 9, tuple(value.shape))))
            mean.update_parameters(model)
        found.append({k: v.numpy().copy() for k, v in mean.state_dict().items()})
        x = lib.ones(5, 3)
        mean.eval()
        np.testing.assert_array_equal(mean(x).detach().numpy(), mean.module(x).detach().numpy())
    assert list(found[0]) == list(found[1])
    for name, value in found[0].items():
        np.testing.assert_allclose(value, found[1][name], rtol=1e-5, atol=1e-6, err_msg=name)
    assert found[0]["n_averaged"] == 4


def test_batch_norms_are_computed_anew() -> None:
    found = []
    for lib in PAIR:
        random = np.random.default_rng(3)
        model = lib.nn.Sequential(lib.nn.BatchNorm1d(3), lib.nn.BatchNorm1d(3, momentum=0.3))
        batches = [lib.tensor(random.standard_normal((6, 3)).astype(np.float32)) for _ in range(4)]
        model.eval()
        lib.optim.swa_utils.update_bn([(b, 0) for b in batches], model)
        assert (model.training, model[0].momentum, model[1].momentum) == (False, 0.1, 0.3)
        found.append({k: v.numpy().copy() for k, v in model.state_dict().items()})
    for name, value in found[0].items():
        np.testing.assert_allclose(value, found[1][name], rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("strategy", ["cos", "linear"])
@pytest.mark.parametrize("epochs", [0, 1, 10])
def test_swalr(strategy: str, epochs: int) -> None:
    paths, states = [], []
    for lib in PAIR:
        groups = [{"params": [lib.zeros(1, requires_grad=True)], "lr": lr} for lr in (0.3, 0.07)]
        optimizer = lib.optim.SGD(groups)
        scheduler = lib.optim.swa_utils.SWALR(optimizer, [0.05, 0.02], epochs, strategy)
        path = []
        for _ in range(60):
            optimizer.step()
            scheduler.step()
            path.append([group["lr"] for group in optimizer.param_groups])
        paths.append(path)
        states.append(copy.deepcopy(scheduler.state_dict()))
    assert paths[0] == paths[1]
    assert states[0] == states[1]


def test_errors() -> None:
    for lib in PAIR:
        utils = lib.optim.swa_utils
        optimizer = lib.optim.SGD([lib.zeros(1, requires_grad=True)], lr=1.0)
        for call, kind, message in (
            (lambda u=utils: u.get_ema_avg_fn(1.5), ValueError, "Invalid decay value"),
            (lambda u=utils: u.get_ema_multi_avg_fn(-1), ValueError, "Invalid decay value"),
            (lambda u=utils, o=optimizer: u.SWALR(o, 0.1, anneal_strategy="x"), ValueError, "anneal_strategy"),
            (lambda u=utils, o=optimizer: u.SWALR(o, 0.1, -1), ValueError, "equal or greater than 0"),
            (lambda u=utils, o=optimizer: u.SWALR(o, [0.1, 0.2]), ValueError, "same length"),
            (lambda u=utils, n=lib.nn: u.AveragedModel(n.Linear(1, 1), avg_fn=abs, multi_avg_fn=abs),
             AssertionError, "Only one of"),
        ):  # fmt: skip
            with pytest.raises(kind, match=message):
                call()

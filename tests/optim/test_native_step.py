"""Optimizers' steps as one native call, beside the same steps by NumPy."""

import copy

import numpy as np
import pytest

import rushlight as rl
from rushlight.backends.settings import settings
from rushlight.capture import stepping

pytest.importorskip("llvmlite")

SHAPES = ((200, 90), (90,), (3, 4, 5), ())

OPTIMIZERS = {
    "SGD": lambda p: rl.optim.SGD(p, lr=0.1),
    "SGD momentum": lambda p: rl.optim.SGD(
        p, lr=0.1, momentum=0.9, weight_decay=0.1, dampening=0.2
    ),
    "SGD nesterov": lambda p: rl.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, maximize=True),
    "Adam": lambda p: rl.optim.Adam(p, lr=0.01),
    "Adam amsgrad": lambda p: rl.optim.Adam(p, lr=0.01, amsgrad=True, weight_decay=0.1),
    "AdamW": lambda p: rl.optim.AdamW(p, lr=0.01),
    "Adamax": lambda p: rl.optim.Adamax(p, lr=0.01),
    "NAdam": lambda p: rl.optim.NAdam(p, lr=0.01),
    "RAdam": lambda p: rl.optim.RAdam(p, lr=0.01),
    "Adagrad": lambda p: rl.optim.Adagrad(p, lr=0.01, lr_decay=0.1),
    "Adadelta": lambda p: rl.optim.Adadelta(p, lr=0.1),
    "RMSprop": lambda p: rl.optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
    "ASGD": lambda p: rl.optim.ASGD(p, lr=0.01, t0=2),
    "Rprop": lambda p: rl.optim.Rprop(p, lr=0.01),
    "Adafactor": lambda p: rl.optim.Adafactor(p, lr=0.01),
}


def parameters(dtype=rl.float32, shapes=SHAPES):
    rl.manual_seed(1)
    return [rl.randn(s).to(dtype).requires_grad_() for s in shapes]


def set_gradients(params, step, without=()):
    generator = np.random.default_rng(step)
    for i, p in enumerate(params):
        grad = generator.standard_normal(tuple(p.shape))
        p.grad = None if i in without else rl.from_numpy(np.asarray(grad)).to(p.dtype)


def run(make, change=None, steps=6, dtype=rl.float32, native=True, without=None):
    before, settings.native = settings.native, native
    try:
        params = parameters(dtype)
        optimizer = make(params)
        for step in range(steps):
            set_gradients(params, step, (without or {}).get(step, ()))
            if change is not None:
                optimizer = change(optimizer, step) or optimizer
            optimizer.step()
        return params, optimizer
    finally:
        settings.native = before


def same(native, numpy, tolerance=1e-5):
    (params, optimizer), (others, reference) = native, numpy
    for p, q in zip(params, others, strict=True):
        np.testing.assert_allclose(
            p.detach().numpy(), q.detach().numpy(), rtol=tolerance, atol=tolerance
        )
    mine, theirs = optimizer.state_dict(), reference.state_dict()
    assert mine["param_groups"] == theirs["param_groups"]
    assert list(mine["state"]) == list(theirs["state"])
    for number, state in theirs["state"].items():
        assert list(state) == list(mine["state"][number])
        for key, value in state.items():
            found = mine["state"][number][key]
            assert (found.shape, found.dtype) == (value.shape, value.dtype)
            np.testing.assert_allclose(found.numpy(), value.numpy(), rtol=tolerance, atol=tolerance)


def is_native(optimizer):
    return bool(stepping._steppers.get(optimizer))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_native_steps_are_numpys(name):
    native = run(OPTIMIZERS[name])
    same(native, run(OPTIMIZERS[name], native=False))
    assert is_native(native[1]) or name == "Adafactor"


@pytest.mark.parametrize("name", ["SGD momentum", "AdamW", "RMSprop"])
def test_in_float64(name):
    native = run(OPTIMIZERS[name], dtype=rl.float64)
    same(native, run(OPTIMIZERS[name], dtype=rl.float64, native=False), 1e-10)


def test_steps_are_the_same_bits_again():
    first, second = run(OPTIMIZERS["AdamW"])[0], run(OPTIMIZERS["AdamW"])[0]
    assert all(rl.equal(p, q) for p, q in zip(first, second, strict=True))


def test_a_schedule_compiles_nothing(monkeypatch):
    def schedule(optimizer, step):
        group = optimizer.param_groups[0]
        group["lr"] = 0.01 / (step + 1)
        group["betas"] = (0.9 - step / 100, 0.99)

    made = []
    plain = stepping.Update.__init__

    def counted(self, *args):
        made.append(self)
        plain(self, *args)

    monkeypatch.setattr(stepping.Update, "__init__", counted)
    monkeypatch.setattr(stepping, "_updates", stepping._Updates())
    same(run(OPTIMIZERS["Adam"], schedule, 12), run(OPTIMIZERS["Adam"], schedule, 12, native=False))
    assert len(made) == len(SHAPES)


def test_a_number_that_becomes_zero():
    def change(optimizer, step):
        optimizer.param_groups[0]["weight_decay"] = 0.1 * (step % 2)
        optimizer.param_groups[0]["momentum"] = 0.9 if step > 2 else 0.0

    same(run(OPTIMIZERS["SGD"], change, 8), run(OPTIMIZERS["SGD"], change, 8, native=False))


def test_gradients_come_and_go():
    without = {1: (0,), 2: (1, 3), 4: (0, 1, 2, 3), 5: (2,)}
    make = OPTIMIZERS["Adam"]
    same(run(make, steps=8, without=without), run(make, steps=8, without=without, native=False))


def test_a_group_that_is_added_later():
    def change(optimizer, step):
        if step == 3:
            extra = rl.ones(300, 80, requires_grad=True)
            extra.grad = rl.full((300, 80), 0.5)
            optimizer.add_param_group({"params": [extra], "lr": 0.5})

    native, numpy = (run(OPTIMIZERS["AdamW"], change, native=n) for n in (True, False))
    same(native, numpy)
    last = [optimizer.param_groups[1]["params"][0] for _, optimizer in (native, numpy)]
    np.testing.assert_allclose(last[0].detach().numpy(), last[1].detach().numpy(), rtol=1e-5)


def test_a_state_that_is_loaded_between_steps():
    def change(optimizer, step):
        if step == 3:
            optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))

    native = run(OPTIMIZERS["Adam"], change)
    same(native, run(OPTIMIZERS["Adam"], change, native=False))
    params = parameters()
    fresh = OPTIMIZERS["Adam"](params)
    fresh.load_state_dict(native[1].state_dict())
    set_gradients(params, 0)
    fresh.step()
    assert float(fresh.state[params[0]]["step"]) == 7


def test_parameters_whose_memory_is_replaced():
    def change(optimizer, step):
        for p in optimizer.param_groups[0]["params"]:
            p.data = p.data * 1.5

    same(run(OPTIMIZERS["Adam"], change), run(OPTIMIZERS["Adam"], change, native=False))


def test_a_learning_rate_that_is_a_tensor():
    make = lambda p: rl.optim.SGD(p, lr=rl.tensor(0.1))
    same(run(make), run(make, native=False))


def test_parameters_in_another_order_of_memory():
    results = []
    for native in (True, False):
        settings.native = native
        try:
            p = rl.linspace(-1, 1, 40_000).reshape(200, 200).T.requires_grad_()
            p = p.detach().requires_grad_()
            optimizer = rl.optim.Adam([p], lr=0.1)
            for step in range(3):
                p.grad = rl.full((200, 200), 0.1 * step + 0.1)
                optimizer.step()
            results.append(p.detach().clone())
        finally:
            settings.native = True
    np.testing.assert_allclose(results[0].numpy(), results[1].numpy(), rtol=1e-5)


def test_hooks_and_closures_run_around_native_steps():
    params = parameters()
    optimizer = rl.optim.Adam(params)
    seen = []
    optimizer.register_step_pre_hook(lambda *a: seen.append("before"))
    optimizer.register_step_post_hook(lambda *a: seen.append("after"))
    for step in range(3):

        def closure(step=step):
            set_gradients(params, step)
            return step

        assert optimizer.step(closure) == step
    assert seen == ["before", "after"] * 3 and is_native(optimizer)


def test_a_native_step_is_a_write():
    params = parameters()
    optimizer = rl.optim.SGD(params)
    set_gradients(params, 0)
    square = (params[0] * params[0]).sum()
    before = params[0]._version
    optimizer.step()
    assert is_native(optimizer) and params[0]._version == before + 1
    with pytest.raises(RuntimeError, match=r"overwritten by SGD.step at .*test_native_step.py"):
        square.backward()


def test_the_users_own_optimizer_is_stepped_by_python():
    class Counting(rl.optim.Optimizer):
        def __init__(self, params):
            super().__init__(params, {"lr": 0.1})
            self.updates = 0

        def update(self, param, grad, state, group):
            self.updates += 1
            param.sub_(grad * group["lr"])

    params = parameters()
    optimizer = Counting(params)
    for step in range(3):
        set_gradients(params, step)
        optimizer.step()
    assert optimizer.updates == 3 * len(SHAPES)


def test_copies_of_an_optimizer_step_their_own_parameters():
    params = parameters()
    optimizer = rl.optim.Adam(params)
    for step in range(3):
        set_gradients(params, step)
        optimizer.step()
    twin = copy.deepcopy(optimizer)
    kept = params[0].detach().clone()
    copied = twin.param_groups[0]["params"]
    set_gradients(copied, 5)
    twin.step()
    assert rl.equal(params[0], kept) and not rl.equal(copied[0], kept)

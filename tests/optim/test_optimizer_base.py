"""What all optimizers share: groups, hooks, closures, zero_grad, state dict hooks, repr and errors; as PyTorch's."""

from __future__ import annotations

import copy
import importlib
from typing import Any

import pytest

import rushlight

torch = pytest.importorskip("torch", reason="PyTorch is the oracle")

PAIR = (rushlight, torch)
both = pytest.mark.parametrize("lib", PAIR, ids=["rushlight", "torch"])


def leaf(lib: Any, *shape: int) -> Any:
    p = lib.zeros(*shape or (2,), requires_grad=True)
    p.grad = lib.ones(*shape or (2,))
    return p


ERRORS: list[tuple[type[Exception], str, Any]] = [
    (ValueError, "empty parameter list", lambda o, lib, p: o.SGD([], lr=1)),
    (TypeError, "should be an iterable of Tensors or dicts", lambda o, lib, p: o.SGD(p, lr=1)),
    (TypeError, "can only optimize Tensors", lambda o, lib, p: o.SGD([3], lr=1)),
    (TypeError, "ordered collections", lambda o, lib, p: o.SGD([{"params": {p}}], lr=1)),
    (ValueError, "can't optimize a non-leaf Tensor", lambda o, lib, p: o.SGD([p * 2], lr=1)),
    (ValueError, "more than one parameter group",
     lambda o, lib, p: o.SGD([{"params": [p]}, {"params": [p]}], lr=1)),
    (TypeError, "param_group must be a dict", lambda o, lib, p: o.SGD([p], lr=1).add_param_group([p])),
    (ValueError, "with/without names", lambda o, lib, p: o.SGD([("a", p), p], lr=1)),
    (ValueError, "with/without names",
     lambda o, lib, p: o.SGD([("a", p)], lr=1).add_param_group({"params": [leaf(lib)]})),
    (ValueError, "number of parameter groups",
     lambda o, lib, p: o.SGD([p], lr=1).load_state_dict({"state": {}, "param_groups": []})),
    (ValueError, "doesn't match the size of optimizer's group",
     lambda o, lib, p: o.SGD([p], lr=1).load_state_dict({"state": {}, "param_groups": [{"params": []}]})),
    (ValueError, "Invalid learning rate: -1", lambda o, lib, p: o.SGD([p], lr=-1)),
    (ValueError, "Tensor lr must be 1-element", lambda o, lib, p: o.SGD([p], lr=lib.ones(2))),
    (ValueError, "Invalid momentum value: -1", lambda o, lib, p: o.SGD([p], lr=1, momentum=-1)),
    (ValueError, "Nesterov momentum requires a momentum", lambda o, lib, p: o.SGD([p], lr=1, nesterov=True)),
    (ValueError, "Invalid weight_decay value: -1", lambda o, lib, p: o.Adam([p], weight_decay=-1)),
    (ValueError, "Invalid beta parameter at index 0: 1.0", lambda o, lib, p: o.Adam([p], betas=(1.0, 0.9))),
    (ValueError, "Invalid beta parameter at index 1: -1", lambda o, lib, p: o.NAdam([p], betas=(0.0, -1))),
    (ValueError, "Invalid epsilon value: -1", lambda o, lib, p: o.RAdam([p], eps=-1)),
    (ValueError, "Invalid rho value: 2", lambda o, lib, p: o.Adadelta([p], rho=2)),
    (ValueError, "Invalid lr_decay value: -1", lambda o, lib, p: o.Adagrad([p], lr_decay=-1)),
    (ValueError, "Invalid alpha value: -1", lambda o, lib, p: o.RMSprop([p], alpha=-1)),
    (ValueError, "Invalid momentum_decay value: -1", lambda o, lib, p: o.NAdam([p], momentum_decay=-1)),
    (ValueError, "Invalid eta values: 1.0, 0.5", lambda o, lib, p: o.Rprop([p], etas=(1.0, 0.5))),
    (ValueError, "beta2_decay should be <= 0 but is: 1", lambda o, lib, p: o.Adafactor([p], beta2_decay=1)),
    (ValueError, "Clipping threshold d should be >= 1", lambda o, lib, p: o.Adafactor([p], d=0.5)),
    (ValueError, "Muon only supports 2D parameters", lambda o, lib, p: o.Muon([p])),
    (ValueError, "is not supported", lambda o, lib, p: o.Muon([leaf(lib, 2, 2)], adjust_lr_fn="x")),
    (ValueError, "LBFGS doesn't support per-parameter options",
     lambda o, lib, p: o.LBFGS([{"params": [p]}, {"params": [leaf(lib)]}])),
    (TypeError, "missing 1 required positional argument: 'closure'", lambda o, lib, p: o.LBFGS([p]).step()),
    (RuntimeError, "only 'strong_wolfe' is supported",
     lambda o, lib, p: o.LBFGS([p], line_search_fn="x").step(lambda: 1.0)),
    (RuntimeError, "`fused` and `foreach` cannot be `True` together",
     lambda o, lib, p: o.Adam([p], fused=True, foreach=True)),
    (RuntimeError, "`fused` does not support `differentiable`",
     lambda o, lib, p: o.Adam([p], fused=True, differentiable=True)),
]  # fmt: skip


@both
@pytest.mark.parametrize(("kind", "message", "call"), ERRORS, ids=range(len(ERRORS)))
def test_errors(lib: Any, kind: type[Exception], message: str, call: Any) -> None:
    with pytest.raises(kind, match=message.replace("(", r"\(")):
        call(lib.optim, lib, leaf(lib))


@both
def test_duplicates_are_warned_of(lib: Any) -> None:
    p = leaf(lib)
    with pytest.warns(UserWarning, match="duplicate parameters"):
        lib.optim.SGD([p, p], lr=1)


@both
def test_hooks_see_and_change_the_call(lib: Any) -> None:
    p, seen = leaf(lib), []
    optimizer = lib.optim.SGD([p], lr=1.0)
    module = importlib.import_module(f"{lib.__name__}.optim.optimizer")
    everywhere = (
        module.register_optimizer_step_pre_hook(lambda o, a, k: seen.append("all before")),
        module.register_optimizer_step_post_hook(lambda o, a, k: seen.append("all after")),
    )
    handle = optimizer.register_step_pre_hook(
        lambda o, a, k: (seen.append((o is optimizer, len(a), sorted(k))), ((o, lambda: 5.0), {}))[
            1
        ]
    )
    optimizer.register_step_post_hook(lambda o, a, k: seen.append(("after", len(a))))
    try:
        assert optimizer.step() == 5.0
        assert seen == ["all before", (True, 1, []), ("after", 2), "all after"]
        handle.remove()
        seen.clear()
        assert optimizer.step(closure=lambda: 4.0) == 4.0
        assert seen == ["all before", ("after", 1), "all after"]
        optimizer.register_step_pre_hook(lambda o, a, k: 3)
        with pytest.raises(RuntimeError, match="must return None or a tuple"):
            optimizer.step()
    finally:
        for h in everywhere:
            h.remove()


@both
def test_a_subclass_with_its_own_step_has_hooks(lib: Any) -> None:
    class Plain(lib.optim.Optimizer):
        def __init__(self, params: Any) -> None:
            super().__init__(params, {"lr": 0.5})

        def step(self, closure: Any = None) -> Any:
            with lib.no_grad():
                for group in self.param_groups:
                    for p in group["params"]:
                        p.sub_(p.grad, alpha=group["lr"])
            return "done"

    p, seen = leaf(lib), []
    optimizer = Plain([p])
    optimizer.register_step_post_hook(lambda o, a, k: seen.append(1))
    assert optimizer.step() == "done"
    assert seen == [1]
    assert p.tolist() == [-0.5, -0.5]


@both
def test_state_dict_hooks(lib: Any) -> None:
    optimizer, seen = lib.optim.SGD([leaf(lib)], lr=1.0), []
    optimizer.register_state_dict_pre_hook(lambda o: seen.append("before"))
    optimizer.register_state_dict_post_hook(lambda o, s: {**s, "more": 1})
    optimizer.register_state_dict_pre_hook(lambda o: seen.append("first"), prepend=True)
    state = optimizer.state_dict()
    assert (seen, state["more"]) == (["first", "before"], 1)
    optimizer.register_load_state_dict_pre_hook(
        lambda o, s: {**s, "param_groups": copy.deepcopy(s["param_groups"])}
    )
    optimizer.register_load_state_dict_post_hook(lambda o: seen.append("loaded"))
    state["param_groups"][0]["lr"] = 3.0
    optimizer.load_state_dict(state)
    assert seen[-1] == "loaded"
    assert optimizer.param_groups[0]["lr"] == 3.0


@both
def test_zero_grad_and_closure(lib: Any) -> None:
    p, idle = leaf(lib), lib.zeros(1, requires_grad=True)
    optimizer = lib.optim.SGD([p, idle], lr=0.5)
    held = p.grad
    optimizer.zero_grad(set_to_none=False)
    assert p.grad is held
    assert held.tolist() == [0.0, 0.0]
    optimizer.zero_grad()
    assert p.grad is None

    def closure() -> Any:
        optimizer.zero_grad()
        loss = (p - 1).pow(2).sum()
        loss.backward()
        return loss

    with lib.no_grad():
        assert optimizer.step(closure).item() == 2.0
    assert p.tolist() == [1.0, 1.0]
    assert idle.tolist() == [0.0]
    assert not lib.is_grad_enabled() or p.requires_grad


def test_repr_defaults_and_named_parameters() -> None:
    texts = []
    for lib in PAIR:
        optimizer = lib.optim.Adam([("w", leaf(lib)), ("b", leaf(lib))], lr=0.1)
        optimizer.add_param_group({"params": [("c", leaf(lib))], "lr": 0.2, "extra": 1})
        texts.append(repr(optimizer))
        assert [g["param_names"] for g in optimizer.param_groups] == [["w", "b"], ["c"]]
        assert optimizer.defaults["lr"] == 0.1
        other = lib.optim.Adam([("x", leaf(lib)), ("y", leaf(lib))])
        other.add_param_group({"params": [("z", leaf(lib))]})
        other.load_state_dict(optimizer.state_dict())
        assert [g["lr"] for g in other.param_groups] == [0.1, 0.2]
    assert texts[0] == texts[1]
    for name in (
        "SGD",
        "AdamW",
        "RMSprop",
        "LBFGS",
        "Adagrad",
        "ASGD",
        "Rprop",
        "Adafactor",
        "NAdam",
    ):
        ours, theirs = (repr(getattr(lib.optim, name)([leaf(lib)], lr=0.1)) for lib in PAIR)
        assert ours == theirs


def test_loading_brings_state_to_the_parameters_dtype() -> None:
    found = []
    for lib in PAIR:
        p = leaf(lib)
        optimizer = lib.optim.Adam([p])
        optimizer.step()
        half = lib.zeros(2, dtype=lib.float64, requires_grad=True)
        other = lib.optim.Adam([half])
        other.load_state_dict(optimizer.state_dict())
        state = other.state[half]
        found.append({k: str(v.dtype).split(".")[-1] for k, v in state.items()})
        assert state["exp_avg"] is not optimizer.state[p]["exp_avg"]
    assert found[0] == found[1]


def test_a_failed_load_changes_nothing() -> None:
    optimizer = rushlight.optim.Adam([leaf(rushlight)])
    optimizer.step()
    before = repr(optimizer.state_dict())
    with pytest.raises(ValueError, match="1 here"):
        optimizer.load_state_dict({"state": {}, "param_groups": [{"params": [0, 1], "lr": 3}]})
    assert repr(optimizer.state_dict()) == before


def test_what_is_left_out_says_why() -> None:
    missing = {name for name in torch.optim.__all__ if not hasattr(rushlight.optim, name)}
    missing.discard("swap_in_optimizer_params_and_state")  # new in 2.13, for export alone
    assert missing == {"SparseAdam"}
    with pytest.raises(AttributeError, match="no sparse tensors here; use Adam"):
        rushlight.optim.SparseAdam  # noqa: B018

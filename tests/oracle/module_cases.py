"""PyTorch's own cases for modules (module_db) and optimizers (optim_db), run on both sides."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.testing._internal.common_modules import module_db
from torch.testing._internal.common_optimizers import optim_db

import rushlight
from tests.oracle.translation import compare, translate


def _same_module(info: Any, arguments: Any, dtype: torch.dtype) -> tuple[Any, Any]:
    """Both sides' module from the same arguments, with equal parameters and buffers."""
    torch.manual_seed(0)
    theirs = info.module_cls(*arguments.args, **arguments.kwargs).to(dtype)
    rushlight.manual_seed(0)
    name = info.module_cls.__name__
    ours = getattr(rushlight.nn, name)(*translate(arguments.args), **translate(arguments.kwargs))
    ours.to(translate(dtype))
    state = {
        key: translate(value)
        for key, value in theirs.state_dict().items()
        if isinstance(value, torch.Tensor)
        and not isinstance(value, torch.nn.parameter.UninitializedTensorMixin)
    }
    lazy = isinstance(theirs, torch.nn.modules.lazy.LazyModuleMixin)
    ours.load_state_dict(state, strict=not lazy)  # lazy ones draw their values at the first call
    return ours, theirs


def _run_module(info: Any, given: Any, training: bool, dtype: torch.dtype) -> None:
    ours, theirs = _same_module(info, given.constructor_input, dtype)
    assert repr(ours) == repr(theirs), f"repr: {ours!r}, wanted {theirs!r}"
    ours.train(training)
    theirs.train(training)
    there = (given.forward_input.args, given.forward_input.kwargs)
    here = translate(there)
    torch.manual_seed(1)
    wanted = theirs(*there[0], **there[1])
    rushlight.manual_seed(1)
    found = ours(*here[0], **here[1])
    compare(found, wanted, "output")
    results, ground = _first(found), _first(wanted)
    if ground is not None and ground.requires_grad:
        weight = np.random.default_rng(0).uniform(0.5, 1.5, tuple(ground.shape))
        kind = str(ground.dtype).removeprefix("torch.")
        ground.backward(torch.from_numpy(np.asarray(weight)).to(ground.dtype))
        results.backward(rushlight.from_numpy(np.asarray(weight)).to(getattr(rushlight, kind)))
        for (key, a), (_, b) in zip(
            ours.named_parameters(), theirs.named_parameters(), strict=True
        ):
            compare(a.grad, b.grad, f"gradient of {key}")
    for (key, a), (_, b) in zip(ours.named_buffers(), theirs.named_buffers(), strict=True):
        compare(a, b, f"buffer {key}")


def _first(result: Any) -> Any:
    while isinstance(result, (tuple, list)):
        result = result[0]
    return result


def run_module(info: Any, dtype: torch.dtype) -> tuple[int, list[str]]:
    """All cases of one module: how many ran, and what was wrong."""
    count, failures = 0, []
    modes = (True, False) if info.train_and_eval_differ else (True,)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for training in modes:
            inputs = info.module_inputs_func(
                info, device="cpu", dtype=dtype, requires_grad=True, training=training
            )
            for given in inputs:
                if given.forward_input is None:
                    continue
                count += 1
                try:
                    _run_module(info, given, training, dtype)
                except Exception as error:
                    text = " ".join(str(error).split())
                    failures.append(
                        f"case {count} ({given.desc}): {type(error).__name__}: {text[:300]}"
                    )
    return count, failures


def modules() -> list[Any]:
    """module_db's entries for modules that torch.nn makes public."""
    return [info for info in module_db if info.module_cls.__module__.startswith("torch.nn.modules")]


def run_optimizer(info: Any, dtype: torch.dtype, steps: int = 20) -> tuple[int, list[str]]:
    """All cases of one optimizer: parameters after some steps with the same gradients."""
    count, failures = 0, []
    name = info.optim_cls.__name__
    for given in info.optim_inputs_func(device="cpu"):
        options = dict(given.kwargs)
        if options.get("capturable") or options.get("fused"):
            continue  # they concern other devices' kernels
        count += 1
        try:
            _run_optimizer(name, info.optim_cls, options, dtype, steps)
        except Exception as error:
            text = " ".join(str(error).split())
            failures.append(f"case {count} ({given.desc}): {type(error).__name__}: {text[:300]}")
    return count, failures


def _descend(optimizer: Any, parameters: Any) -> Any:
    """A closure: the loss of a function with one minimum, and its gradients."""
    optimizer.zero_grad()
    first, second = parameters
    loss = ((first - 1) ** 2).sum() + ((second + 0.5) ** 2).sum() + 0.1 * (first @ second).sum()
    loss.backward()
    return loss


def _run_optimizer(
    name: str, theirs: Any, options: dict[str, Any], dtype: torch.dtype, steps: int
) -> None:
    random = np.random.default_rng(0)
    starts = [random.standard_normal(shape) for shape in ((4, 3), (3, 5))]
    there = [torch.nn.Parameter(torch.from_numpy(s).to(dtype)) for s in starts]
    here = [translate(p) for p in there]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        a, b = getattr(rushlight.optim, name)(here, **translate(options)), theirs(there, **options)
        for _ in range(steps):
            for p, q in zip(here, there, strict=True):
                grad = torch.from_numpy(random.standard_normal(tuple(q.shape))).to(dtype)
                q.grad, p.grad = grad, translate(grad)
            if name == "LBFGS":
                for optimizer, parameters in ((a, here), (b, there)):
                    optimizer.step(partial(_descend, optimizer, parameters))
            else:
                a.step()
                b.step()
    for i, (p, q) in enumerate(zip(here, there, strict=True)):
        compare(p.detach(), q.detach(), f"parameter {i} after {steps} steps")


def optimizers() -> list[Any]:
    """optim_db's entries."""
    return list(optim_db)

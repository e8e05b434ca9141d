"""Checkpoints as the command line made them: read, and checked to be of LeNet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rushlight.cli.errors import CommandError
from rushlight.models import LeNet
from rushlight.serialization import load_checkpoint

NAME = "lenet.safetensors"


def load(path: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The state and the description of a checkpoint of LeNet.

    Raises CommandError, CheckpointError or OSError, one line each, where there is none, where it is
    damaged, or where it is of another network.
    """
    path = Path(path)
    if not path.exists():
        raise CommandError(f"no checkpoint {path}: `rushlight train` makes one")
    state, about = load_checkpoint(path)
    if not isinstance(state, dict) or not isinstance(state.get("model"), dict):
        raise CommandError(f"{path}: a checkpoint, but there is no network in it")
    if not isinstance(about.get("classes"), list) or not isinstance(about.get("preparation"), dict):
        raise CommandError(f"{path}: a checkpoint, but not one that `rushlight train` made")
    wanted = {
        name: value.shape for name, value in LeNet(len(about["classes"])).state_dict().items()
    }
    found = {name: value.shape for name, value in state["model"].items()}
    if wanted != found:
        raise CommandError(
            f"{path}: a checkpoint of another network ({about.get('network', 'unnamed')}), not of "
            f"LeNet: {_difference(wanted, found)}"
        )
    return state, about


def network(state: dict[str, Any], about: dict[str, Any]) -> LeNet:
    """The saved network, ready to answer."""
    net = LeNet(len(about["classes"]))
    net.load_state_dict(state["model"])
    return net


def _difference(wanted: dict[str, Any], found: dict[str, Any]) -> str:
    """The first thing in which two networks differ."""
    for name, shape in wanted.items():
        if name not in found:
            return f"it has no {name}"
        if found[name] != shape:
            return f"its {name} is of shape {list(found[name])}, not {list(shape)}"
    extra = next(name for name in found if name not in wanted)
    return f"it has {extra}, which LeNet has not"

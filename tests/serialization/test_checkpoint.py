from __future__ import annotations

import errno
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

import rushlight
from rushlight.serialization import (
    CheckpointError,
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
)

DTYPES = (
    "bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64",
    "complex64",
)  # fmt: skip


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_everything_comes_back(tmp_path):
    state = {
        "model": {"a.b": rushlight.arange(6.0).reshape(2, 3).t(), "empty": rushlight.zeros(0, 4)},
        "optimizer": {"state": {0: {"step": rushlight.tensor(3.0)}, 1: {}}, "lr": 0.1},
        "plain": [1, 2.5, "x", None, True, (1, (2,)), float("inf")],
        "pairs": {(1, 2): "tuple", 3: {"__tensor__": "no tensor"}},
    }
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, state, {"why": "a test"})
    back, about = load_checkpoint(path)
    assert about == {"why": "a test"}
    assert back["model"]["a.b"].tolist() == state["model"]["a.b"].tolist()
    assert back["model"]["empty"].shape == (0, 4)
    assert back["optimizer"]["state"][0]["step"].item() == 3.0
    assert back["optimizer"]["state"][1] == {} and back["optimizer"]["lr"] == 0.1
    assert back["plain"] == state["plain"] and type(back["plain"][5]) is tuple
    assert back["pairs"] == state["pairs"]
    assert names(tmp_path) == ["c.json", "c.safetensors"]
    beside = json.loads((tmp_path / "c.json").read_text())
    assert beside["why"] == "a test" and beside["state"]["model"]["a.b"] == "float32 [3, 2]"


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_of_every_dtype(tmp_path, dtype):
    kind = getattr(rushlight, dtype)
    tensor = rushlight.tensor([[0, 1, 1]], dtype=kind)
    save_checkpoint(tmp_path / "c", {"x": tensor}, {})
    back = load_checkpoint(tmp_path / "c")[0]["x"]
    assert back.dtype is kind
    assert (
        back.numpy().tobytes() == tensor.numpy().tobytes()
        if dtype != "bfloat16"
        else (back.tolist() == tensor.tolist())
    )


def test_others_read_it(tmp_path):
    from safetensors.numpy import load_file

    save_checkpoint(tmp_path / "c.safetensors", {"model": {"w": rushlight.ones(2)}}, {})
    np.testing.assert_array_equal(load_file(tmp_path / "c.safetensors")["model.w"], [1, 1])


def test_names_that_meet(tmp_path):
    state = {"a.b": {"c": rushlight.zeros(1)}, "a": {"b.c": rushlight.ones(1)}}
    save_checkpoint(tmp_path / "c", state, {})
    back = load_checkpoint(tmp_path / "c")[0]
    assert back["a.b"]["c"].item() == 0.0 and back["a"]["b.c"].item() == 1.0


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch, failing):
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, {"x": rushlight.ones(2)}, {"n": 1})
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path if failing == "replace" else os, failing, full)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(path, {"x": rushlight.zeros(2)}, {"n": 2})
    monkeypatch.undo()
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_what_cannot_be_saved(tmp_path):
    with pytest.raises(CheckpointError, match=r"cannot hold a set \(at a\.1\)"):
        save_checkpoint(tmp_path / "c", {"a": [1, {2}]}, {})
    with pytest.raises(CheckpointError, match="complex128"):
        save_checkpoint(tmp_path / "c", {"a": rushlight.ones(1).to(rushlight.complex128)}, {})
    with pytest.raises(FileNotFoundError):
        save_checkpoint(tmp_path / "no" / "c", {}, {})
    assert names(tmp_path) == []


def test_files_that_are_none(tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "c.safetensors"
    save_checkpoint(path, {"x": rushlight.ones(100)}, {})
    whole = path.read_bytes()
    for damaged in (b"", b"text", whole[:50], whole[:-1], whole + b"x", pickle.dumps(whole)):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="not a whole safetensors file"):
            load_checkpoint(path)
    save_file({"w": np.ones(3)}, path)
    arrays, text = read_checkpoint(path)
    assert list(arrays) == ["w"] and text is None
    with pytest.raises(CheckpointError, match="not a checkpoint of rushlight"):
        load_checkpoint(path)
    for description in ("[]", "{", '{"format": 1, "about": {}, "state": {"__tensor__": "q"}}'):
        save_file({"w": np.ones(3)}, path, metadata={"rushlight": description})
        with pytest.raises(CheckpointError, match="description"):
            load_checkpoint(path)
    save_file({"w": np.ones(3)}, path, metadata={"rushlight": '{"format": 99}'})
    with pytest.raises(CheckpointError, match="format 99"):
        load_checkpoint(path)
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "none")

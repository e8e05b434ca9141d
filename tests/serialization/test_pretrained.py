"""Models in folders: what the constructor was given comes back, shards, hostile folders."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle

import pytest

import rushlight
from rushlight import nn
from rushlight.serialization import (
    CheckpointError,
    PretrainedMixin,
    load_model,
    safe_open,
    save_pretrained,
)


class Net(nn.Module, PretrainedMixin):
    def __init__(self, width: int, depth: int = 2, *, kernel: tuple = (3, 3), name=None):
        super().__init__()
        self.kernel, self.name = kernel, name
        self.layers = nn.Sequential(*(nn.Linear(width, width) for _ in range(depth)))
        self.norm = nn.BatchNorm1d(width)
        self.norm.running_mean.add_(1)


@dataclasses.dataclass
class Inner:
    sizes: tuple[int, ...] = (1, 2)


@dataclasses.dataclass
class Config:
    width: int
    rate: float = 0.5
    inner: Inner = dataclasses.field(default_factory=Inner)


class FromConfig(PretrainedMixin, nn.Module):
    def __init__(self, config: Config, scale: float = 1.0):
        super().__init__()
        self.config, self.scale = config, scale
        self.layer = nn.Linear(config.width, config.width)


class Activated(nn.Module, PretrainedMixin):
    def __init__(self, width, act=None, **more):
        super().__init__()
        self.act, self.more = act, more
        self.layer = nn.Linear(width, width)


class Celsius:
    def __init__(self, degrees):
        self.degrees = degrees


class Coded(nn.Module, PretrainedMixin, coders={Celsius: (lambda c: c.degrees, Celsius)}):
    def __init__(self, heat: Celsius | None = None):
        super().__init__()
        self.heat = heat
        self.layer = nn.Linear(1, 1)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def equal(one, other):
    one, other = one.state_dict(), other.state_dict()
    return list(one) == list(other) and all(one[k].tolist() == other[k].tolist() for k in one)


def test_the_arguments_and_weights_come_back(tmp_path):
    model = Net(4, depth=3, kernel=(5, 7), name="ü")
    model.save_pretrained(tmp_path / "deep" / "folder")
    folder = tmp_path / "deep" / "folder"
    assert names(folder) == ["config.json", "model.safetensors"]
    config = {"width": 4, "depth": 3, "kernel": [5, 7], "name": "ü"}
    assert json.loads((folder / "config.json").read_text()) == config
    with safe_open(folder / "model.safetensors") as file:
        assert file.metadata()["format"] == "pt"
    back = Net.from_pretrained(folder)
    assert equal(model, back) and back.kernel == (5, 7) and back.name == "ü"
    assert not back.training
    assert Net.from_pretrained(str(folder), name="other", local_files_only=True).name == "other"


def test_dataclasses_and_coders(tmp_path):
    model = FromConfig(Config(3, inner=Inner((7, 8))), scale=2.0)
    model.save_pretrained(tmp_path / "c")
    assert json.loads((tmp_path / "c" / "config.json").read_text()) == {
        "width": 3, "rate": 0.5, "inner": {"sizes": [7, 8]}, "scale": 2.0,
    }  # fmt: skip
    back = FromConfig.from_pretrained(tmp_path / "c")
    assert back.config == model.config and back.scale == 2.0 and equal(model, back)
    Coded(Celsius(20)).save_pretrained(tmp_path / "h")
    assert Coded.from_pretrained(tmp_path / "h").heat.degrees == 20
    Coded().save_pretrained(tmp_path / "h")
    assert Coded.from_pretrained(tmp_path / "h").heat is None


def test_arguments_that_json_cannot_hold_are_asked_for(tmp_path):
    Activated(2, act=nn.ReLU(), extra=5).save_pretrained(tmp_path)
    with pytest.raises(TypeError, match=r"needs the arguments \['act'\]"):
        Activated.from_pretrained(tmp_path)
    back = Activated.from_pretrained(tmp_path, act=nn.ReLU())
    assert isinstance(back.act, nn.ReLU) and back.more == {"extra": 5}


def test_a_config_of_ones_own(tmp_path):
    Net(4).save_pretrained(tmp_path, config={"width": 4, "depth": 2, "model_type": "net"})
    assert equal(Net.from_pretrained(tmp_path), Net.from_pretrained(tmp_path))
    with pytest.raises(TypeError, match="cannot hold a set"):
        Net(4).save_pretrained(tmp_path, config={"width": {4}})


def test_any_module_without_the_mixin(tmp_path):
    model, other = (nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)) for _ in range(2))
    save_pretrained(model, tmp_path, max_shard_size=16)
    assert load_model(other, tmp_path) == ([], [])
    assert equal(model, other) and "config.json" not in names(tmp_path)


def test_a_mistake_in_the_arguments_is_pythons_own():
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'width'"):
        Net()
    with pytest.raises(TypeError, match="unexpected keyword argument 'nope'"):
        Net(1, nope=2)


def test_copies_know_their_arguments(tmp_path):
    for one in (copy.deepcopy(Net(4, depth=1)), pickle.loads(pickle.dumps(Net(4, depth=1)))):
        one.save_pretrained(tmp_path)
        assert len(Net.from_pretrained(tmp_path).layers) == 1


# -- shards ----------------------------------------------------------------------------------------


def test_shards_have_an_index(tmp_path):
    model = Net(16, depth=3)
    model.save_pretrained(tmp_path, max_shard_size="2KB")
    found = names(tmp_path)
    assert found[:2] == ["config.json", "model-00001-of-00003.safetensors"]
    assert found[-1] == "model.safetensors.index.json" and len(found) == 5
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"]) == set(model.state_dict())
    assert index["metadata"]["total_size"] == sum(
        t._array.nbytes for t in model.state_dict().values()
    )
    assert all(path.stat().st_size < 4000 for path in tmp_path.glob("*.safetensors"))
    assert equal(model, Net.from_pretrained(tmp_path))


def test_one_way_of_saving_replaces_the_other(tmp_path):
    for limit in (1000, "5GB", 1000, 2000, 2000, "1GB"):
        model = Net(16, depth=3)
        model.save_pretrained(tmp_path, max_shard_size=limit)
        assert equal(model, Net.from_pretrained(tmp_path))
        sharded = "model.safetensors.index.json" in names(tmp_path)
        assert sharded == isinstance(limit, int)
        if sharded:
            index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
            expected = {
                *index["weight_map"].values(),
                "config.json",
                "model.safetensors.index.json",
            }
        else:
            expected = {"config.json", "model.safetensors"}
        assert set(names(tmp_path)) == expected


@pytest.mark.parametrize("size", ["", "five", 0, -1, "0GB", "5XB", None, "1e9"])
def test_sizes_that_are_none(tmp_path, size):
    with pytest.raises(ValueError, match="max_shard_size"):
        Net(1).save_pretrained(tmp_path, max_shard_size=size)


def test_tied_weights(tmp_path):
    class Tied(nn.Module, PretrainedMixin):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)
            self.b.weight = self.a.weight

    for limit in ("5GB", 20):
        model = Tied()
        model.save_pretrained(tmp_path, max_shard_size=limit)
        back = Tied.from_pretrained(tmp_path)
        assert equal(model, back) and back.a.weight is back.b.weight


# -- hostile folders -------------------------------------------------------------------------------


def test_no_folder_of_a_model(tmp_path):
    with pytest.raises(FileNotFoundError, match="snapshot_download"):
        Net.from_pretrained("somebody/some-model")
    with pytest.raises(FileNotFoundError, match=r"neither model\.safetensors nor"):
        Net.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"\xff\xfe",
        b"[" * 100000,
        b'{"a":' * 100000,
        b"1" * 5000,
        b" ",
    ],
)
def test_configs_that_are_none(tmp_path, text):
    Net(2).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_bytes(text)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        Net.from_pretrained(tmp_path)


def test_entries_that_mean_nothing_are_passed_over(tmp_path):
    model = Net(2)
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    strange = {
        "__class__": "os.system",
        "self": 1,
        "auto_map": {"AutoModel": "x.py"},
        "_left_out": 3,
    }
    (tmp_path / "config.json").write_text(json.dumps({**config, **strange}))
    assert equal(model, Net.from_pretrained(tmp_path))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: m.update(a="../evil.safetensors"), "not in a safetensors file of this folder"),
        (lambda m: m.update(a="/etc/passwd"), "not in a safetensors file of this folder"),
        (lambda m: m.update(a="C:x.safetensors"), "not in a safetensors file of this folder"),
        (lambda m: m.update(a=3), "not in a safetensors file of this folder"),
        (lambda m: m.update(a="nope.safetensors"), "a is to be in nope.safetensors, which is not"),
        (lambda m: m.update(a=m["norm.weight"]), "a is to be in .*, which does not have it"),
    ],
)
def test_an_index_that_lies(tmp_path, change, says):
    Net(16).save_pretrained(tmp_path, max_shard_size=500)
    path = tmp_path / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    change(index["weight_map"])
    path.write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=says):
        Net.from_pretrained(tmp_path)
    for text in ("[]", "{}", '{"weight_map": []}', '{"weight_map": {}, "metadata": []}'):
        path.write_text(text)
        with pytest.raises((CheckpointError, RuntimeError)):
            Net.from_pretrained(tmp_path)


def test_weights_of_another_model(tmp_path):
    Net(2).save_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match="size mismatch"):
        Net.from_pretrained(tmp_path, width=3)
    with pytest.raises(RuntimeError, match="Missing key"):
        Net.from_pretrained(tmp_path, depth=3)
    assert len(Net.from_pretrained(tmp_path, depth=3, strict=False).layers) == 3


@pytest.mark.parametrize("limit", ["5GB", 500])
def test_a_save_that_ended_between_its_files(tmp_path, monkeypatch, limit):
    """The new weights are there and the new config is not: the weights know it."""
    Net(2, depth=1).save_pretrained(tmp_path)
    old = (tmp_path / "config.json").read_bytes()
    model = Net(3, depth=4)
    model.save_pretrained(tmp_path, max_shard_size=limit)
    new = (tmp_path / "config.json").read_bytes()
    (tmp_path / "config.json").write_bytes(old)
    assert equal(model, Net.from_pretrained(tmp_path))
    (tmp_path / "config.json").write_bytes(new)
    assert equal(model, Net.from_pretrained(tmp_path))
    # Somebody changes the config by hand: that counts.
    changed = {**json.loads(new), "name": "by hand"}
    (tmp_path / "config.json").write_text(json.dumps(changed))
    assert Net.from_pretrained(tmp_path).name == "by hand"


def test_dtypes_of_all_weights(tmp_path):
    model = Net(2).to(rushlight.bfloat16)
    model.save_pretrained(tmp_path)
    back = Net.from_pretrained(tmp_path)
    assert back.norm.weight.dtype is rushlight.float32  # as the constructor makes it

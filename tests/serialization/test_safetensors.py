"""safetensors files: both ways with the library, lazily, damage by name, modules without a second copy."""

from __future__ import annotations

import json
import os
import struct
import tracemalloc
from collections import OrderedDict

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy

import rushlight
from rushlight import nn
from rushlight.serialization import (
    CheckpointError,
    load_file,
    load_model,
    safe_open,
    save_file,
    save_model,
)
from rushlight.serialization.tensor_file import SUMS, TensorFile

DTYPES = (
    "bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16",
    "bfloat16", "float32", "float64", "complex64",
)  # fmt: skip
SHAPES = ((), (1,), (3, 5), (0,), (2, 0, 3))


def filled(shape, dtype):
    array = np.random.default_rng(0).integers(0, 100, shape).astype(dtype.numpy)
    return rushlight.from_numpy(np.array(array))


def bits(tensor):
    return tensor._array.tobytes()


def same(one, other):
    return one.dtype is other.dtype and one.shape == other.shape and bits(one) == bits(other)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "w.safetensors"


# -- round trips -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_and_shape_comes_back(path, dtype, mmap):
    kind = getattr(rushlight, dtype)
    tensors = {str(shape): filled(shape, kind) for shape in SHAPES}
    save_file(tensors, path)
    back = load_file(path, mmap=mmap)
    assert back.keys() == tensors.keys()
    assert all(same(tensors[name], back[name]) for name in tensors)


def test_all_dtypes_in_one_file_are_aligned(path):
    tensors = {d: filled((3,), getattr(rushlight, d)) for d in DTYPES}
    save_file(tensors, path)
    back = load_file(path)
    assert all(same(tensors[d], back[d]) and back[d]._array.flags.aligned for d in DTYPES)


def test_layouts_are_saved_as_their_elements(path):
    x = rushlight.arange(24.0).reshape(2, 3, 4)
    layouts = {
        "t": x.permute(2, 0, 1),
        "step": x.clone()[:, ::2],
        "expanded": rushlight.ones(1).expand(5),
    }
    save_file(layouts, path)
    back = load_file(path)
    assert all(back[k].tolist() == layouts[k].tolist() and back[k].is_contiguous() for k in back)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_library_reads_ours_and_we_read_its(path, dtype):
    kind = getattr(rushlight, dtype)
    ours = {str(shape): filled(shape, kind) for shape in SHAPES}
    save_file(ours, path, metadata={"k": "v"})
    with safetensors.safe_open(path, framework="numpy") as file:
        assert set(file.keys()) == set(ours) and file.metadata()["k"] == "v"
        for name, tensor in ours.items():
            assert file.get_slice(name).get_shape() == list(tensor.shape)
    arrays = {name: tensor._array for name, tensor in ours.items()}
    safetensors.numpy.save_file(arrays, path)
    back = load_file(path)
    assert all(same(back[name], ours[name]) for name in ours)


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", DTYPES)
def test_torch_reads_ours_and_we_read_torchs(path, dtype):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file as torch_load
    from safetensors.torch import save_file as torch_save

    kind = getattr(rushlight, dtype)
    ours = {str(shape): filled(shape, kind) for shape in SHAPES}
    save_file(ours, path)
    theirs = torch_load(path)
    for name, tensor in ours.items():
        assert theirs[name].dtype is getattr(torch, dtype)
        assert theirs[name].shape == tensor.shape
        assert theirs[name].contiguous().view(-1).view(torch.uint8).numpy().tobytes() == bits(
            tensor
        )
    torch_save(theirs, path)
    assert all(same(tensor, ours[name]) for name, tensor in load_file(path).items())


def test_tensors_that_are_not_aligned(path):
    """Other writers may put an odd number of bytes before a wide tensor."""
    header = {
        "a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
        "b": {"dtype": "F64", "shape": [2], "data_offsets": [1, 17]},
    }
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"\7" + np.array([1.5, 2.5]).tobytes())
    back = load_file(path)
    assert back["b"].tolist() == [1.5, 2.5] and back["b"]._array.flags.aligned
    assert back["a"].tolist() == [7]


def test_metadata(path):
    save_file({"w": rushlight.ones(1)}, path, metadata={"format": "pt", "ü": "ß"})
    with safe_open(path) as file:
        assert file.metadata() == {"format": "pt", "ü": "ß"}
    save_file({"w": rushlight.ones(1)}, path)
    with safe_open(path, framework="pt", device="cpu") as file:
        assert file.metadata() is None


def test_names_of_all_kinds(path):
    names = ["", "a.b", "ü", "with space", 'quote"', "back\\slash", "__metadata", "\0"]
    save_file({name: rushlight.tensor([i]) for i, name in enumerate(names)}, path)
    assert {name: t.item() for name, t in load_file(path).items()} == {
        name: i for i, name in enumerate(names)
    }


def test_nothing_at_all(path):
    save_file({}, path)
    assert load_file(path) == {}


# -- lazily ----------------------------------------------------------------------------------------


def test_a_change_stays_in_this_process(path):
    save_file({"w": rushlight.zeros(3)}, path)
    before = path.read_bytes()
    one, other = load_file(path)["w"], load_file(path)["w"]
    one.add_(1)
    assert one.tolist() == [1, 1, 1] and other.tolist() == [0, 0, 0]
    assert path.read_bytes() == before


def test_what_was_loaded_outlives_its_file(path):
    save_file({"w": rushlight.ones(1000)}, path)
    first = load_file(path)["w"]
    save_file({"w": rushlight.zeros(1000)}, path)
    second = load_file(path)["w"]
    path.unlink()
    assert first.sum().item() == 1000 and second.sum().item() == 0


def test_saving_what_was_loaded_over_itself(path):
    save_file({"w": rushlight.arange(1000)}, path)
    for _ in range(3):
        save_file(load_file(path), path)
    assert load_file(path)["w"].tolist() == list(range(1000))


def test_slices(path):
    x = rushlight.arange(24.0).reshape(4, 6)
    save_file({"x": x, "b": rushlight.ones(2, dtype=rushlight.bfloat16)}, path)
    with safe_open(path) as file:
        part = file.get_slice("x")
        assert part.get_shape() == [4, 6] and part.get_dtype() == "F32"
        assert file.get_slice("b").get_dtype() == "BF16"
        for index in (1, -1, slice(1, 3), (slice(None), 2), (..., slice(None, None, 2)), (2, 3)):
            assert part[index].tolist() == x[index].tolist()
        with pytest.raises(IndexError):
            part[9]
        assert file.keys() == ["b", "x"] and sorted(file) == ["b", "x"]
        assert file.offset_keys() == ["x", "b"]
        for method in (file.get_tensor, file.get_slice):
            with pytest.raises(KeyError, match="does not contain tensor nope'"):
                method("nope")
    with pytest.raises(ValueError, match="closed"):
        file.get_tensor("x")


def test_opening_reads_no_elements(path):
    save_file({"big": rushlight.zeros(4 << 20), "small": rushlight.ones(3)}, path)
    tracemalloc.start()
    with safe_open(path) as file:
        assert file.get_tensor("small").tolist() == [1, 1, 1]
        assert file.get_slice("big")[5:7].tolist() == [0, 0]
    load_file(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


# -- mistakes --------------------------------------------------------------------------------------


def test_what_cannot_be_saved(path):
    w = rushlight.ones(2)
    for tensors, kind, says in (
        ([w], TypeError, "expected a dict"),
        ({1: w}, TypeError, "must be a str, not 1"),
        ({"a": 3}, TypeError, "a is no tensor, but int"),
        ({"a": w._array}, TypeError, "a is no tensor, but ndarray"),
        ({"c": w.to(rushlight.complex128)}, CheckpointError, "c is complex128.*view_as_real"),
        ({"__metadata__": w}, CheckpointError, "__metadata__"),
        ({"a": w, "b": w}, RuntimeError, r"share memory: \[\['a', 'b'\]\]"),
        ({"a": w, "b": w[:1]}, RuntimeError, "share memory"),
        (nn.LazyLinear(3).state_dict(), ValueError, "weight has no shape yet"),
    ):
        with pytest.raises(kind, match=says):
            save_file(tensors, path)
    for metadata in ({"a": 1}, {1: "a"}, "text"):
        with pytest.raises(TypeError, match="metadata"):
            save_file({"a": w}, path, metadata=metadata)
    assert not path.exists()


def test_modules_in_the_place_of_tensors(path):
    model = nn.Linear(2, 3)
    with pytest.raises(TypeError, match="not Linear: save_model takes a module"):
        save_file(model, path)
    with pytest.raises(TypeError, match=r"save_model\(model, filename\) takes a module first"):
        save_model(model.state_dict(), path)
    save_model(model, path)
    with pytest.raises(TypeError, match=r"load_model\(model, filename\) takes a module first"):
        load_model(path, model)
    with safe_open(path) as file, pytest.raises(KeyError, match="did you mean weight"):
        file.get_tensor("wieght")


def test_parts_of_one_memory_that_do_not_overlap(path):
    x = rushlight.arange(6.0)
    save_file({"a": x[:3], "b": x[3:]}, path)
    assert load_file(path)["b"].tolist() == [3, 4, 5]


def test_what_cannot_be_opened(tmp_path, path):
    with pytest.raises(FileNotFoundError):
        load_file(path)
    with pytest.raises(IsADirectoryError):
        load_file(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="pipe"):
        load_file(tmp_path / "pipe")
    save_file({"w": rushlight.ones(1)}, path)
    with pytest.raises(ValueError, match="framework 'tf'"):
        safe_open(path, framework="tf")
    with pytest.raises((RuntimeError, AssertionError)):
        load_file(path, device="cuda")


def test_a_dtype_that_we_lack_is_named_and_the_others_are_read(path):
    arrays = {"f8": np.ones(3, ml_dtypes.float8_e4m3fn), "w": np.ones(2, np.float32)}
    safetensors.numpy.save_file(arrays, path)
    with pytest.raises(CheckpointError, match=r"f8 has a dtype that is not known: F8_E4M3"):
        load_file(path)
    with safe_open(path) as file:
        assert file.get_tensor("w").tolist() == [1, 1]


# -- damage ----------------------------------------------------------------------------------------


def stored(path):
    """A file with three tensors; its bytes, where its elements begin, and each tensor's place."""
    save_file(
        {
            "one": rushlight.arange(50.0),
            "two": rushlight.ones(7, 3, dtype=rushlight.float16),
            "three": rushlight.ones(11, dtype=rushlight.bool),
        },
        path,
        metadata={"note": "text"},
    )
    with TensorFile(path) as file:
        return path.read_bytes(), file._start, file.entries


def test_every_length_that_is_cut_short(path):
    whole, start, entries = stored(path)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError) as caught:
            load_file(path)
        if length >= start:  # the header is there
            suffered = next(n for n, e in entries.items() if start + e.end > length)
            assert f"{suffered} is not whole" in str(caught.value)
    path.write_bytes(whole + b"more")
    with pytest.raises(CheckpointError, match="4 bytes follow the last tensor"):
        load_file(path)


def test_a_bit_of_every_byte_of_the_elements(path):
    whole, start, entries = stored(path)
    for name, entry in entries.items():
        for place in range(start + entry.begin, start + entry.end):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << place % 8
            path.write_bytes(damaged)
            with pytest.raises(CheckpointError, match=f"damaged: {name} is not what was written"):
                load_file(path)
            with safe_open(path) as file:  # the others are read
                for other in entries.keys() - {name}:
                    file.get_tensor(other)
    assert load_file(path, verify=False).keys() == entries.keys()


def test_a_bit_of_every_byte_of_the_header(path):
    """Each is noticed, or does not matter (a blank, the name of the sums)."""
    whole, start, _ = stored(path)
    reference = load_file(path)
    passed = 0
    for place in range(start):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            found = load_file(path)
        except CheckpointError:
            continue
        passed += 1
        assert all(same(found[name], reference[name]) for name in reference)
    assert 0 < passed <= len(SUMS) + 8


def test_headers_that_lie(path):
    def written(header, data=b"\0" * 8):
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + data)

    good = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    for header, says in (
        ({"w": {**good, "shape": [3]}}, "the shape of w does not fit its 8 bytes"),
        ({"w": {**good, "shape": [2**62, 4]}}, "w"),
        ({"w": {**good, "data_offsets": [4, 12]}}, "w does not begin"),
        ({"w": {**good, "data_offsets": [8, 0]}}, "w"),
        ({"w": {**good, "data_offsets": [0, 1 << 60]}}, "w is not whole"),
        ({"w": {**good, "dtype": "F33"}}, "w has the dtype F33"),
        ({"w": good, "v": good}, "does not begin where"),
        ({"w": {**good, "shape": [-2]}}, "w"),
        ({"w": [1, 2]}, "not a whole safetensors file"),
        ([good], "not a whole safetensors file"),
        (b"[" * 5000, "not a whole safetensors file"),
        (b"\xff\xfe", "not a whole safetensors file"),
        ({"__metadata__": {SUMS: "nope"}, "w": good}, "sums"),
        ({"__metadata__": {SUMS: "[]"}, "w": good}, "sums"),
        ({"__metadata__": {SUMS: "[" * 5000}, "w": good}, "sums"),
        ({"__metadata__": {SUMS: '{"w": "00000000"}'}, "w": good}, "metadata"),
    ):
        written(header)
        with pytest.raises(CheckpointError, match=says):
            load_file(path)
    path.write_bytes(struct.pack("<Q", 1 << 63) + b"{}")
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load_file(path)


def test_others_files_have_no_sums_and_load(path):
    safetensors.numpy.save_file({"w": np.ones(2)}, path)
    assert load_file(path)["w"].tolist() == [1, 1]


# -- modules ---------------------------------------------------------------------------------------


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5, 3)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.embedding.weight
        self.register_buffer("first_row", self.embedding.weight.detach()[0])
        self.norm = nn.BatchNorm1d(3)


def equal_states(one, other):
    one, other = one.state_dict(), other.state_dict()
    return list(one) == list(other) and all(same(one[k], other[k]) for k in one)


def test_a_module_with_tied_weights(path):
    model, other = Tied(), Tied()
    save_model(model, path)
    with safe_open(path) as file:
        assert "head.weight" not in file.keys() and "first_row" not in file.keys()
        assert file.metadata() == {
            "head.weight": "embedding.weight", "first_row": "embedding.weight",
        }  # fmt: skip
    assert load_model(other, path) == ([], [])
    assert equal_states(model, other) and other.head.weight is other.embedding.weight
    assert other.first_row.tolist() == model.embedding.weight[0].tolist()


@pytest.mark.oracle
def test_tied_weights_and_torch(path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_model as torch_load
    from safetensors.torch import save_model as torch_save

    theirs = torch.nn.Sequential(torch.nn.Embedding(5, 3), torch.nn.Linear(3, 5))
    theirs[1].weight = theirs[0].weight
    ours = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5))
    ours[1].weight = ours[0].weight
    save_model(ours, path)
    assert torch_load(theirs, path) == (set(), [])
    assert theirs[1].weight.tolist() == ours[0].weight.tolist()
    with torch.no_grad():
        theirs[0].weight.add_(1)
    torch_save(theirs, path)
    assert load_model(ours, path) == ([], [])
    assert ours[1].weight.tolist() == theirs[0].weight.tolist()


def test_what_does_not_fit_leaves_the_module(path):
    save_model(nn.Linear(2, 3), path)
    for model, says in (
        (nn.Linear(3, 3), "size mismatch for weight"),
        (nn.Linear(2, 3, bias=False), 'Unexpected key.*"bias"'),
        (nn.Sequential(nn.Linear(2, 3)), 'Missing key.*"0.weight"'),
    ):
        before = [p.tolist() for p in model.parameters()]
        with pytest.raises(RuntimeError, match=says):
            load_model(model, path)
        assert [p.tolist() for p in model.parameters()] == before
    missing, unexpected = load_model(nn.Linear(2, 3, bias=False), path, strict=False)
    assert (missing, unexpected) == ([], ["bias"])


def test_a_damaged_file_leaves_the_module(path):
    save_model(nn.Linear(2, 3), path)
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    model = nn.Linear(2, 3)
    before = [p.tolist() for p in model.parameters()]
    with pytest.raises(CheckpointError, match=r"(weight|bias) is not what was written"):
        load_model(model, path)
    assert [p.tolist() for p in model.parameters()] == before


def test_a_lazy_module_takes_its_shape_from_the_file(path):
    save_model(nn.Linear(2, 3), path)
    model = nn.LazyLinear(3)
    load_model(model, path)
    assert model.weight.shape == (3, 2)
    with pytest.raises(ValueError, match="no shape yet"):
        save_model(nn.LazyLinear(3), path)


def test_other_dtypes_are_cast_as_load_state_dict_does(path):
    save_model(nn.Linear(2, 3), path)
    model = nn.Linear(2, 3, dtype=rushlight.float64)
    load_model(model, path)
    assert model.weight.dtype is rushlight.float64


def test_no_second_copy_in_memory(path):
    model = nn.Sequential(*(nn.Linear(512, 512) for _ in range(16)))  # 16 MiB
    size = sum(p._array.nbytes for p in model.parameters())
    for act in (lambda: save_model(model, path), lambda: load_model(model, path)):
        tracemalloc.start()
        act()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < size / 8


def test_load_state_dict_of_a_file(path):
    model, other = Tied(), Tied()
    save_model(model, path)
    assert str(other.load_state_dict(path)) == "<All keys matched successfully>"
    assert equal_states(model, other)
    other.load_state_dict(str(path))
    with pytest.raises(ValueError, match="assign=True"):
        other.load_state_dict(path, assign=True)
    pt = path.with_suffix(".pt")
    for saved in (
        model.state_dict(),
        {k: v for k, v in model.state_dict().items() if k != "head.weight"},
    ):
        rushlight.save(saved, pt)
        fresh = Tied()
        fresh.load_state_dict(pt)
        assert equal_states(model, fresh)
    rushlight.save([1], pt)
    with pytest.raises(CheckpointError, match="holds list"):
        other.load_state_dict(pt)
    with pytest.raises(RuntimeError, match="Missing key"):
        nn.Linear(1, 1).load_state_dict(path)
    with pytest.raises(FileNotFoundError):
        other.load_state_dict("nowhere.safetensors")
    for wrong in (3, [1], None):
        with pytest.raises(TypeError, match="dict-like"):
            other.load_state_dict(wrong)


# -- load_state_dict: all or nothing, whichever way it goes ----------------------------------------


def test_a_state_dict_that_fails_late_is_undone():
    class Fails(nn.Linear):
        def _load_from_state_dict(self, *args):
            super()._load_from_state_dict(*args)
            raise ValueError("late")

    model = nn.Sequential(nn.Linear(2, 2), Fails(2, 2))
    before = [p.tolist() for p in model.parameters()]
    with pytest.raises(ValueError, match="late"):
        model.load_state_dict(
            OrderedDict((k, rushlight.zeros(v.shape)) for k, v in model.state_dict().items())
        )
    assert [p.tolist() for p in model.parameters()] == before

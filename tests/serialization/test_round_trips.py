"""Checkpoints between rushlight and PyTorch: what one writes the other reads, equal to the bit."""

from __future__ import annotations

import argparse
import collections
import datetime
import io
import pathlib
import random
import types
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

import rushlight
from rushlight import nn
from tests.fuzz.files import tar

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.oracle

FORMATS = {"zip": True, "legacy": False}
DTYPES = [
    "bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64",
    "float16", "bfloat16", "float32", "float64", "complex64", "complex128",
]  # fmt: skip


def from_torch(value, new=True, protocol=2):
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(value, file, pickle_protocol=protocol, _use_new_zipfile_serialization=new)
    file.seek(0)
    found = rushlight.load(file)
    if not new:
        assert file.read() == b""
    return found


def to_torch(value, new=True, weights_only=True):
    file = io.BytesIO()
    rushlight.save(value, file, _use_new_zipfile_serialization=new)
    file.seek(0)
    return torch.load(file, weights_only=weights_only)


def own(value, new=True):
    file = io.BytesIO()
    rushlight.save(value, file, _use_new_zipfile_serialization=new)
    file.seek(0)
    return rushlight.load(file)


def bits(tensor):
    """What a tensor is: dtype, shape, strides, flag, and every bit."""
    if isinstance(tensor, rushlight.Tensor):
        array = tensor.detach()._array
        data = np.ascontiguousarray(array).tobytes()
    else:
        plain = tensor.detach().contiguous()
        data = bytes(plain.reshape(-1).view(torch.uint8).numpy()) if plain.numel() else b""
    return (
        str(tensor.dtype),
        tuple(tensor.shape),
        tuple(tensor.stride()),
        tensor.requires_grad,
        data,
    )


def same(ours, theirs):
    """Asserts that two nests are equal: kinds, keys, order, bits."""
    if isinstance(theirs, (torch.Tensor, rushlight.Tensor)):
        assert bits(ours) == bits(theirs)
        assert isinstance(ours, (nn.Parameter, torch.nn.Parameter)) == isinstance(
            theirs, (nn.Parameter, torch.nn.Parameter)
        )
    elif isinstance(theirs, np.ndarray):
        # (before protocol 5, NumPy turns elements to this machine's byte order)
        assert ours.dtype.newbyteorder("=") == theirs.dtype.newbyteorder("=")
        assert np.array_equal(ours, theirs)
        assert not theirs.flags.forc or ours.flags.f_contiguous == theirs.flags.f_contiguous
    elif isinstance(theirs, dict):
        assert type(ours) is type(theirs) and list(ours) == list(theirs)
        for key, value in theirs.items():
            same(ours[key], value)
        same(getattr(ours, "_metadata", None), getattr(theirs, "_metadata", None))
        assert getattr(ours, "default_factory", None) is getattr(theirs, "default_factory", None)
    elif isinstance(theirs, (list, tuple)):
        assert type(ours).__name__ == type(theirs).__name__ and len(ours) == len(theirs)
        for one, other in zip(ours, theirs):
            same(one, other)
    else:
        assert type(ours).__name__ == type(theirs).__name__ and str(ours) == str(theirs)


# -- tensors -----------------------------------------------------------------------------------------


def values_of(name):
    dtype = getattr(torch, name)
    generator = torch.Generator().manual_seed(1)
    data = torch.randint(0, 256, (12 * dtype.itemsize,), dtype=torch.uint8, generator=generator)
    return (data % 2).to(torch.bool) if name == "bool" else data.view(dtype)


LAYOUTS = {
    "contiguous": lambda t: t,
    "transposed": lambda t: t.reshape(3, 4).t(),
    "stepped": lambda t: t[1::3],
    "scalar": lambda t: t[5],
    "empty": lambda t: t[:0].reshape(0, 4),
    "expanded": lambda t: t[2:3].expand(5, 1),
    "row": lambda t: t.reshape(3, 4)[1],
}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_and_layout(dtype, layout, format):
    theirs = LAYOUTS[layout](values_of(dtype))
    if format == "zip" or dtype not in (
        "uint16",
        "uint32",
        "uint64",
    ):  # PyTorch cannot read its own of these
        same(from_torch(theirs, FORMATS[format]), theirs)
    ours = from_torch(theirs)
    same(to_torch(ours, FORMATS[format]), theirs)
    same(own(ours, FORMATS[format]), ours)


@pytest.mark.parametrize("format", FORMATS)
def test_gradients_are_wanted_again_and_not_kept(format):
    theirs = {
        "leaf": torch.ones(2, requires_grad=True),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "frozen": torch.nn.Parameter(torch.ones(2), requires_grad=False),
        "made": torch.ones(2, requires_grad=True) * 2,
    }
    theirs["parameter"].grad = torch.ones(2)
    ours = from_torch(theirs, FORMATS[format])
    same(ours, theirs)
    assert ours["parameter"].grad is None and ours["made"].is_leaf
    same(to_torch(ours, FORMATS[format]), theirs)


@pytest.mark.parametrize("format", FORMATS)
def test_shared_memory_stays_shared(format):
    base = torch.arange(6.0)
    ours = from_torch(
        {"base": base, "view": base[2:4], "turned": base.reshape(2, 3).t(), "again": base},
        FORMATS[format],
    )
    for found in (ours, own(ours, FORMATS[format])):
        assert found["again"] is found["base"] and found["view"].storage_offset() == 2
        found["base"][2] = 50
        assert found["view"][0] == 50 and found["turned"][2, 0] == 50
    ours["base"][2] = 2
    theirs = to_torch(ours, FORMATS[format])
    assert theirs["again"] is theirs["base"]
    theirs["base"][2] = 50
    assert theirs["view"][0] == 50 and theirs["turned"][2, 0] == 50


def test_memory_seen_as_two_dtypes():
    ours = rushlight.arange(4, dtype=rushlight.int32)
    floats = ours.view(rushlight.float32)
    theirs = to_torch([ours, floats])
    theirs[0][1] = 1065353216
    assert theirs[1][1] == 1.0
    found = own([floats, ours])
    found[1][1] = 1065353216
    assert found[0][1] == 1.0


def test_conjugates_and_negatives_are_resolved():
    theirs = torch.tensor([1 + 2j, 3 - 1j])
    plain, conjugated = from_torch([theirs, theirs.conj()])
    assert plain.tolist() == theirs.tolist() and conjugated.tolist() == [1 - 2j, 3 + 1j]
    assert from_torch(theirs.conj().imag).tolist() == [-2.0, 1.0]
    assert from_torch(theirs.conj(), new=False).tolist() == [1 - 2j, 3 + 1j]


def test_attributes_buffers_and_storages():
    theirs = torch.ones(2)
    theirs.note = "kept"
    parameter = torch.nn.Parameter(torch.ones(1))
    parameter.decay = False
    ours = from_torch([theirs, parameter, torch.nn.Buffer(torch.ones(1), persistent=False)])
    assert ours[0].note == "kept" and ours[1].decay is False
    assert type(ours[2]) is nn.Buffer and ours[2].persistent is False
    back = to_torch(ours)
    assert back[0].note == "kept" and back[1].decay is False
    assert isinstance(back[2], torch.nn.Buffer) and back[2].persistent is False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        storages = [torch.ones(3).untyped_storage(), torch.arange(3).storage()]
        ours = from_torch(storages)
        assert bytes(ours[0]) == bytes(storages[0]) and ours[1].tolist() == [0, 1, 2]
        back = to_torch(ours)
        assert bytes(back[0]) == bytes(storages[0]) and back[1].tolist() == [0, 1, 2]


def test_hooks_are_left_out_with_a_warning():
    tensor = rushlight.ones(2, requires_grad=True)
    tensor.register_hook(lambda grad: grad)
    with pytest.warns(UserWarning, match="hooks"):
        rushlight.save(tensor, io.BytesIO())


# -- everything else ---------------------------------------------------------------------------------

PLAIN = {
    "none and bools": [None, True, False],
    "ints": [
        0,
        255,
        256,
        65535,
        65536,
        -1,
        -(1 << 31),
        1 << 31,
        1 << 62,
        -(1 << 63),
        1 << 64,
        1 << 2000,
        -(1 << 70),
    ],
    "floats": [0.0, -0.0, 1e-320, float("inf"), float("nan"), 0.1],
    "text": ["", "a", "ä€\U0001f600", "\0", "x" * 300, "\ud800"],
    "bytes": [b"", b"a", bytes(range(256)), bytearray(), bytearray(b"\xff")],
    "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, (4, ()))],
    "dicts": [{}, {1: 2}, {"a": {"b": {(1, "c"): None}}, 1.5: 2, b"k": 1, True: 0}],
    "long": [list(range(2500)), {i: i for i in range(2500)}, {str(i): None for i in range(1001)}],
    "ordered": collections.OrderedDict([("b", 1), ("a", collections.OrderedDict())]),
    "counter": collections.Counter("abca"),
    "sets": [{1, 2}, set()],
    "complex": [1j, complex("nan")],
}
MORE = {  # PyTorch reads these with weights_only=False alone, its own as ours
    "defaultdict": [collections.defaultdict(list, a=[1]), collections.defaultdict(None, b=2)],
    "frozenset": frozenset([1, (2, 3)]),
    "slices": [slice(1, 2, 3), slice(None), range(0, 10, 2)],
    "deque": collections.deque([1, 2, 3], maxlen=4),
    "namespaces": [argparse.Namespace(lr=0.1, of=[1]), types.SimpleNamespace(a=1)],
    "paths": [pathlib.Path("/data/x.pt"), pathlib.PurePosixPath("a/b"), pathlib.PureWindowsPath("c:\\d")],
    "times": [
        datetime.datetime(2024, 1, 2, 3, 4, 5, 6), datetime.date(2024, 1, 2), datetime.time(1, 2),
        datetime.timedelta(1, 2, 3), datetime.datetime(2024, 1, 2, tzinfo=datetime.timezone.utc),
        datetime.timezone(datetime.timedelta(hours=2), "CEST"),
    ],
    "arrays": [
        np.arange(6).reshape(2, 3), np.arange(6).reshape(2, 3).T, np.zeros((0, 3)), np.array(2.5),
        np.arange(3, dtype=">i4"),
        np.array([True]), np.array([1j], np.complex64), np.array(["ab", "c"]), np.array([b"ab"]), np.float16([1])[::1],
        np.arange(10)[::3],
    ],
    "scalars": [np.float64(0.1), np.float32(2), np.int64(-3), np.bool_(True), np.complex128(1j), np.str_("a")],
    "random": [random.Random(0).getstate(), np.random.RandomState(0).get_state()],
}  # fmt: skip


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("kind", {**PLAIN, **MORE})
def test_plain_values(kind, format):
    value = {**PLAIN, **MORE}[kind]
    new = FORMATS[format]
    for protocol in (2, 3, 4, 5):
        same(from_torch(value, new, protocol), value)
    same(own(value, new), value)
    same(to_torch(value, new, weights_only=kind in PLAIN), value)


def test_torch_objects():
    theirs = {
        "size": torch.Size([2, 3]), "dtype": [torch.float32, torch.bool, torch.int64], "layout": torch.strided,
        "device": [torch.device("cpu"), torch.device("cuda", 1)],
    }  # fmt: skip
    ours = from_torch(theirs)
    assert type(ours["size"]) is rushlight.Size and ours["dtype"] == [
        rushlight.float32,
        rushlight.bool,
        rushlight.int64,
    ]
    assert ours["layout"] is rushlight.strided and ours["device"][1] == rushlight.device("cuda", 1)
    same(to_torch(ours), theirs)
    assert from_torch(torch.__version__) == torch.__version__


def test_containers_may_hold_themselves():
    items = [1]
    items.append(items)
    mapping = {"self": None}
    mapping["self"] = mapping
    pair = ([],)
    pair[0].append(pair)
    for found in (from_torch([items, mapping, pair]), own([items, mapping, pair])):
        assert (
            found[0][1] is found[0] and found[1]["self"] is found[1] and found[2][0][0] is found[2]
        )
    back = to_torch([items, mapping])
    assert back[0][1] is back[0] and back[1]["self"] is back[1]


def test_generators_go_on_in_the_other():
    theirs = torch.Generator().manual_seed(7)
    torch.randn(5, generator=theirs)
    ours = from_torch({"state": theirs.get_state(), "generator": theirs})
    expected = torch.randn(20, generator=theirs).tolist()
    assert rushlight.randn(20, generator=ours["generator"]).tolist() == pytest.approx(expected)
    other = rushlight.Generator().set_state(ours["state"])
    back = to_torch(ours["generator"].get_state())
    assert rushlight.randn(20, generator=other).tolist() == pytest.approx(expected)
    theirs.set_state(back)
    assert (
        torch.rand(700, generator=theirs).tolist()
        == rushlight.rand(700, generator=ours["generator"]).tolist()
    )


@pytest.mark.parametrize("draws", [0, 1, 623, 624, 625, 1248])
def test_a_generators_state_is_that_of_pytorch(draws):
    theirs, ours = torch.Generator().manual_seed(3), rushlight.Generator().manual_seed(3)
    torch.rand(draws, generator=theirs)
    rushlight.rand(draws, generator=ours)
    again = rushlight.Generator().set_state(rushlight.from_numpy(theirs.get_state().numpy()))
    theirs.set_state(torch.from_numpy(ours.get_state().numpy()))
    expected = torch.rand(5, generator=theirs).tolist()
    assert rushlight.rand(5, generator=again).tolist() == expected


def test_what_rushlight_does_not_have_is_refused_with_what_to_do():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = {
            torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8): "dequantize",
            torch.eye(2).to_sparse(): "to_dense",
            torch.ones(2, device="meta"): "meta device",
            torch.ones(2, dtype=torch.float8_e4m3fn): "bfloat16",
            torch.nn.Linear(1, 1): r"state_dict\(\)",
        }
    for value, words in cases.items():
        with pytest.raises(Exception, match=words) as caught:
            from_torch(value)
        assert caught.type.__name__ == "UnpicklingError"


# -- whole checkpoints -------------------------------------------------------------------------------


def make(lib, optimizer, scheduler):
    net = lib.nn.Sequential(
        lib.nn.Conv2d(1, 2, 3), lib.nn.BatchNorm2d(2), lib.nn.Flatten(), lib.nn.Linear(8, 3)
    )
    chosen = getattr(lib.optim, optimizer)(
        [{"params": net[0].parameters(), "lr": 0.02}, {"params": net[3].parameters()}], lr=0.1
    )
    return net, chosen, SCHEDULERS[scheduler](lib.optim.lr_scheduler, chosen)


SCHEDULERS = {
    "StepLR": lambda s, o: s.StepLR(o, 2),
    "MultiStepLR": lambda s, o: s.MultiStepLR(o, [1, 3, 3]),
    "LambdaLR": lambda s, o: s.LambdaLR(o, lambda epoch: 0.9**epoch),
    "OneCycleLR": lambda s, o: s.OneCycleLR(o, 0.1, total_steps=10),
    "CosineAnnealingWarmRestarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 5),
    "SequentialLR": lambda s, o: s.SequentialLR(o, [s.LinearLR(o), s.ExponentialLR(o, 0.9)], [2]),
    "ReduceLROnPlateau": lambda s, o: s.ReduceLROnPlateau(o),
}
PAIRS = [
    ("SGD", "StepLR"), ("Adam", "MultiStepLR"), ("AdamW", "LambdaLR"), ("RMSprop", "CosineAnnealingWarmRestarts"),
    ("Adagrad", "SequentialLR"), ("NAdam", "ReduceLROnPlateau"), ("SGD", "OneCycleLR"), ("RAdam", "StepLR"),
]  # fmt: skip


def train(lib, net, optimizer, scheduler, steps):
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (net(lib.randn(4, 1, 4, 4)) ** 2).mean()
        loss.backward()
        optimizer.step()
        scheduler.step(*([loss.item()] if type(scheduler).__name__ == "ReduceLROnPlateau" else []))
        losses.append(loss.item())
    return losses


def checkpoint(lib, net, optimizer, scheduler):
    return {
        "model": net.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict(),
        "epoch": 3, "best": 0.25, "rng": {"torch": lib.get_rng_state(), "python": random.getstate()},
    }  # fmt: skip


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(("optimizer", "scheduler"), PAIRS)
@pytest.mark.filterwarnings("ignore")
def test_training_goes_on_in_the_other_library(optimizer, scheduler, format):
    torch.manual_seed(0)
    theirs = make(torch, optimizer, scheduler)
    train(torch, *theirs, 3)
    state = from_torch(checkpoint(torch, *theirs), FORMATS[format])
    expected = train(torch, *theirs, 3)

    ours = make(rushlight, optimizer, scheduler)
    for part, name in zip(ours, ("model", "optimizer", "scheduler")):
        part.load_state_dict(state[name])
    rushlight.set_rng_state(state["rng"]["torch"])
    random.setstate(state["rng"]["python"])
    back = to_torch(checkpoint(rushlight, *ours), FORMATS[format])
    assert train(rushlight, *ours, 3) == pytest.approx(expected, rel=1e-3)

    again = make(torch, optimizer, scheduler)
    for part, name in zip(again, ("model", "optimizer", "scheduler")):
        part.load_state_dict(back[name])
    torch.set_rng_state(back["rng"]["torch"])
    assert train(torch, *again, 3) == pytest.approx(expected, rel=1e-5)


def test_a_state_dict_keeps_its_versions():
    theirs = torch.nn.BatchNorm1d(3).state_dict()
    ours = from_torch(theirs)
    assert ours._metadata == theirs._metadata
    same(to_torch(ours), theirs)
    same(to_torch(nn.BatchNorm1d(3).state_dict()), theirs)


# -- files -------------------------------------------------------------------------------------------


def test_paths_files_and_mapped_files(tmp_path):
    state = {
        "w": rushlight.randn(1000),
        "e": rushlight.zeros(0),
        "b": rushlight.ones(3, dtype=rushlight.bool),
    }
    for path in (str(tmp_path / "ä.pt"), tmp_path / "b.pt"):
        rushlight.save(state, path)
        with Path(path).open("rb") as file:
            same(rushlight.load(file), state)
        for options in ({}, {"mmap": True}, {"mmap": False, "weights_only": True}):
            same(rushlight.load(path, **options), state)
            theirs = torch.load(path, **options)
            same(state, theirs)
    with (tmp_path / "c.pt").open("wb") as file:
        rushlight.save(state, file)
    same(torch.load(tmp_path / "c.pt"), state)
    found = rushlight.load(tmp_path / "b.pt", mmap=True)
    found["w"][0] = 5.0  # a page of ours, not the file
    assert not found["w"].is_shared()
    same(rushlight.load(tmp_path / "b.pt"), state)


def test_pytorch_finds_storages_where_it_computes_them(tmp_path, monkeypatch):
    from torch.utils.serialization import config

    monkeypatch.setenv("TORCH_SERIALIZATION_DEBUG", "1")
    monkeypatch.setattr(config.load, "calculate_storage_offsets", True)
    state = {str(n): rushlight.arange(n) for n in (0, 1, 7, 8, 9, 63, 64, 65, 500)}
    rushlight.save(state, tmp_path / "a.pt")
    same(torch.load(tmp_path / "a.pt", mmap=True), state)
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert names[:4] == [
            f"archive/{n}"
            for n in ("data.pkl", ".format_version", ".storage_alignment", "byteorder")
        ]
        assert {"archive/version", "archive/.data/serialization_id"} < set(names)


def test_several_checkpoints_in_one_legacy_file():
    file = io.BytesIO()
    for number in range(3):
        torch.save(torch.full((2,), number), file, _use_new_zipfile_serialization=False)
    file.seek(0)
    assert [rushlight.load(file).tolist() for _ in range(3)] == [[0, 0], [1, 1], [2, 2]]


def test_tar_files_of_the_first_versions(tmp_path):
    (tmp_path / "a.tar").write_bytes(tar())
    theirs = torch.load(tmp_path / "a.tar", weights_only=False)
    same(rushlight.load(tmp_path / "a.tar"), theirs)


@pytest.mark.parametrize("dtype", ["int16", "float32", "float64", "complex64", "uint16"])
def test_files_of_machines_with_the_other_byte_order(dtype):
    values = np.arange(5).astype(dtype)
    file = io.BytesIO()
    rushlight.save(rushlight.from_numpy(values), file)
    swapped = io.BytesIO()
    from rushlight.serialization.archive import Archive, ArchiveWriter, Source

    archive, writer = Archive(Source(_rewound(file))), ArchiveWriter(swapped)
    writer.write("data.pkl", archive.read("data.pkl"))
    writer.write("byteorder", b"big")
    writer.write("data/0", values.byteswap().tobytes())
    writer.finish()
    assert rushlight.load(_rewound(swapped)).tolist() == values.tolist()


def _rewound(file):
    file.seek(0)
    return file


def test_where_tensors_go():
    file = io.BytesIO()
    rushlight.save({"a": rushlight.ones(2)}, file)
    device = rushlight.device("cpu")
    for where in (
        "cpu",
        device,
        {"cuda:0": "cpu"},
        lambda storage, location: storage,
        lambda s, at: None,
    ):
        assert rushlight.load(_rewound(file), map_location=where)["a"].tolist() == [1, 1]
    seen = []
    rushlight.load(
        _rewound(file),
        map_location=lambda storage, location: seen.append((storage.size(), location)),
    )
    assert seen == [(2, "cpu")]
    with pytest.raises(RuntimeError, match="no 'cuda' device"):
        rushlight.load(_rewound(file), map_location="cuda")
    with pytest.raises(TypeError, match="map_location"):
        rushlight.load(_rewound(file), map_location=3)


def test_text_of_python_2():
    from tests.serialization.hostile import stream
    from tests.serialization.test_hostile import zipped

    data = stream(b"U\x03ab\xe4")
    assert rushlight.load(zipped(data), encoding="latin1") == "abä"
    assert rushlight.load(zipped(data), encoding="bytes") == b"ab\xe4"
    with pytest.raises(Exception, match="UnicodeDecodeError"):
        rushlight.load(zipped(data))


def test_files_of_older_versions():
    """No byte order, NumPy's old module names, a storage that was on a GPU, a tensor of PyTorch 0.3."""
    from tests.serialization import hostile
    from tests.serialization.test_hostile import zipped

    file = io.BytesIO()
    torch.save({"w": torch.arange(3)}, file, _disable_byteorder_record=True)
    assert rushlight.load(_rewound(file))["w"].tolist() == [0, 1, 2]
    on_gpu = hostile.identity(location=hostile.text("cuda:1"))
    assert rushlight.load(zipped(hostile.stream(hostile.tensor(storage=on_gpu)))).tolist() == [
        1,
        1,
        1,
        1,
    ]
    first = hostile.call(
        hostile.name("torch._utils", "_rebuild_tensor"),
        on_gpu,
        b"K\x01",
        hostile.group(b"K\x02"),
        hostile.group(b"K\x01"),
    )
    assert rushlight.load(zipped(hostile.stream(first))).tolist() == [1, 1]
    scalar = hostile.call(
        hostile.name("numpy.core.multiarray", "scalar"),
        hostile.call(hostile.name("numpy", "dtype"), hostile.text("f8"), b"K\x00", b"K\x01"),
        b"U\x08" + np.float64(2.5).tobytes(),
    )
    assert rushlight.load(zipped(hostile.stream(scalar)), encoding="bytes") == 2.5


def test_old_views_of_storages():
    """Before PyTorch 0.4, a storage could be a part of another."""
    import struct

    from tests.serialization import hostile

    part = hostile.group(hostile.text("1"), b"K\x01", b"K\x02")
    identity = hostile.group(
        hostile.text("storage"),
        hostile.name("torch", "FloatStorage"),
        hostile.text("0"),
        hostile.text("cpu"),
        b"K\x04",
        part,
    )
    state = hostile.stream(hostile.tensor(storage=identity + b"Q", size=hostile.group(b"K\x02")))
    file = io.BytesIO()
    torch.save(0, file, _use_new_zipfile_serialization=False)
    head = file.getvalue()[: file.getvalue().index(b"\x80\x02K\x00.")]
    keys = hostile.stream(b"]" + hostile.text("0") + b"a")
    data = head + state + keys + struct.pack("<q", 4) + np.arange(4, dtype=np.float32).tobytes()
    assert (
        torch.load(io.BytesIO(data)).tolist() == rushlight.load(io.BytesIO(data)).tolist() == [1, 2]
    )


@pytest.mark.parametrize("format", FORMATS)
def test_memory_that_loading_takes(format):
    import tracemalloc

    file = io.BytesIO()
    rushlight.save(
        [rushlight.ones(100_000) for _ in range(20)],
        file,
        _use_new_zipfile_serialization=FORMATS[format],
    )
    size = len(file.getvalue())
    file.seek(0)
    tracemalloc.start()
    try:
        found = rushlight.load(file)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(found) == 20
    assert peak < (1.1 if format == "zip" else 2.1) * size

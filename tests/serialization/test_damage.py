"""Checkpoints that are cut off or changed: errors that name the tensor; and files that are no checkpoints."""

from __future__ import annotations

import io
import pickle
import random
import struct
from pathlib import Path

import numpy as np
import pytest

import rushlight
from rushlight import nn
from rushlight.serialization import DamagedFileError
from rushlight.serialization.archive import Archive, ArchiveWriter, Source
from tests.fuzz import files as fuzz


def saved(state, new=True):
    file = io.BytesIO()
    rushlight.save(state, file, _use_new_zipfile_serialization=new)
    return file.getvalue()


@pytest.fixture(scope="module")
def state():
    return {"model": {f"layer{i}.weight": rushlight.randn(50) for i in range(4)}, "epoch": 3}


def load(data, **options):
    return rushlight.load(io.BytesIO(data), **options)


def places(data):
    """Where the bytes of each tensor are in an archive."""
    archive = Archive(Source(io.BytesIO(data)))
    return [(archive.place(f"data/{i}"), archive.record(f"data/{i}").size) for i in range(4)]


def test_a_changed_bit_names_the_tensor(state):
    data = saved(state)
    for i, (start, size) in enumerate(places(data)):
        for at in (start, start + size // 2, start + size - 1):
            broken = bytearray(data)
            broken[at] ^= 0x10
            with pytest.raises(DamagedFileError, match=rf"data/{i}.*model\.layer{i}\.weight"):
                load(bytes(broken))


def test_a_cut_off_file_names_the_first_tensor_that_is_not_whole(state):
    data = saved(state)
    for i, (start, size) in enumerate(places(data)):
        for end in (start, start + size - 1):
            with pytest.raises(
                DamagedFileError, match=rf"cut off.*data/{i}.*model\.layer{i}\.weight"
            ):
                load(data[:end])
    with pytest.raises(DamagedFileError, match="cut off"):
        load(data[:-1])
    with pytest.raises(DamagedFileError, match="cut off"):
        load(data[:100])


def test_the_legacy_format_says_where_too(state):
    data = saved(state, new=False)
    with pytest.raises(
        DamagedFileError, match=r"cut off in the storage '3' of the tensor 'model.layer3.weight'"
    ):
        load(data[:-1])
    count = data.rfind(struct.pack("<q", 50))
    with pytest.raises(DamagedFileError, match=r"layer3\.weight' has 51 elements where 50"):
        load(data[:count] + struct.pack("<q", 51) + data[count + 8 :])
    with pytest.raises(DamagedFileError, match="magic number"):
        load(pickle.dumps(1, 2) + data)


def test_every_changed_byte_of_an_archive_is_an_error_or_changes_nothing(state):
    data = saved({"w": rushlight.arange(3)})
    chance = random.Random(0)
    for at in range(len(data)):
        broken = bytearray(data)
        broken[at] ^= 1 << chance.randrange(8)
        try:
            found = load(bytes(broken))
        except pickle.UnpicklingError:
            continue
        assert found["w"].tolist() == [0, 1, 2]


def test_every_length_of_a_file_is_an_error(state):
    for new in (True, False):
        data = saved({"w": rushlight.arange(3)}, new)
        for end in range(1, len(data)):
            with pytest.raises(pickle.UnpicklingError):
                load(data[:end])


def archive_of(*records, compression=None):
    """A zip archive by Python's own writer."""
    import zipfile

    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression or zipfile.ZIP_STORED) as archive:
        for name, data in records:
            archive.writestr(name, data)
    return file.getvalue()


GOOD = b"\x80\x02K\x03."


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archives_that_checkpoints_never_are():
    import zipfile

    assert load(archive_of(("a/data.pkl", GOOD))) == 3
    cases = {
        "compressed or encrypted": archive_of(
            ("a/data.pkl", GOOD), compression=zipfile.ZIP_DEFLATED
        ),
        "there twice": archive_of(("a/data.pkl", GOOD), ("a/data.pkl", GOOD)),
        "one folder": archive_of(("a/data.pkl", GOOD), ("b/data/0", b"")),
        "'/etc/passwd' is not in the one folder": archive_of(
            ("a/data.pkl", GOOD), ("/etc/passwd", b"")
        ),
        "is missing": archive_of(("a/data/0", b"")),
        "TorchScript": archive_of(("a/data.pkl", GOOD), ("a/constants.pkl", GOOD)),
        "byte order": archive_of(("a/data.pkl", GOOD), ("a/byteorder", b"middle")),
    }
    for words, data in cases.items():
        with pytest.raises(DamagedFileError, match=words):
            load(data)
    bomb = archive_of(("a/data.pkl", bytes(10_000_000)), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(DamagedFileError, match="compressed"):
        load(bomb)


def test_records_that_overlap():
    file = io.BytesIO()
    writer = ArchiveWriter(file)
    writer.write("data.pkl", GOOD)
    writer.entries.append(writer.entries[0].replace(b"data.pkl", b"data.pk2"))
    writer.finish()
    with pytest.raises(DamagedFileError, match="reaches into the next one"):
        load(file.getvalue())


def test_archives_of_more_than_four_gigabytes(tmp_path):
    """The writer's headers of 64 bits, by a stream that only counts, and a file with a hole."""

    class Sparse:
        def __init__(self, path):
            self.file = path.open("wb")

        def write(self, data):
            view = memoryview(data)
            if view.nbytes > 1 << 30:
                self.file.seek(view.nbytes, 1)
            else:
                self.file.write(view)

    large = np.zeros((1 << 32) + 8, np.uint8)  # pages that nobody touches
    path = tmp_path / "large.pt"
    target = Sparse(path)
    writer = ArchiveWriter(target)
    crc = {"zeros": 0}
    writer.write("data.pkl", GOOD)
    import rushlight.serialization.archive as module

    known, module.zlib = (
        module.zlib,
        type("Sums", (), {"crc32": staticmethod(lambda data: crc["zeros"])}),
    )
    try:
        writer.write("data/0", large)
        writer.write("data/1", b"behind")
        writer.finish()
    finally:
        module.zlib = known
    target.file.close()
    with path.open("rb") as stream:
        archive = Archive(Source(stream))
        assert archive.record("data/0").size == large.size
        place = archive.place("data/1")
        assert place > 1 << 32 and place % 64 == 0
        assert archive.source.read(place, 6) == b"behind"


# -- files that are something else -------------------------------------------------------------------


def test_what_is_no_checkpoint_says_so(tmp_path):
    with pytest.raises(EOFError, match="empty"):
        load(b"")
    with pytest.raises(pickle.UnpicklingError, match=r"no checkpoint.*PNG"):
        load(b"\x89PNG\r\n\x1a\n" + bytes(100))
    with pytest.raises(FileNotFoundError):
        rushlight.load(tmp_path / "nothing.pt")
    with pytest.raises(IsADirectoryError):
        rushlight.load(tmp_path)
    with pytest.raises(AttributeError, match="'read', 'seek' and 'tell'"):
        rushlight.load(3)
    with pytest.raises(TypeError, match="open for bytes"):
        rushlight.load(io.StringIO("a"))
    with pytest.raises(ValueError, match="file path"):
        load(saved({}), mmap=True)
    (tmp_path / "old.pt").write_bytes(saved({}, new=False))
    with pytest.raises(RuntimeError, match="mmap can only"):
        rushlight.load(tmp_path / "old.pt", mmap=True)
    with pytest.raises(RuntimeError, match="leave the argument out"):
        load(saved({}), pickle_module=io)
    with pytest.raises(TypeError, match="weights_only"):
        load(saved({}), weights_only="no")


def test_safetensors_files_are_known_by_their_content(tmp_path):
    rushlight.serialization.save_file({"w": rushlight.ones(2)}, tmp_path / "w.pt")
    assert rushlight.load(tmp_path / "w.pt")["w"].tolist() == [1, 1]
    with pytest.raises(ValueError, match="from a path"):
        load((tmp_path / "w.pt").read_bytes())


# -- what cannot be saved ----------------------------------------------------------------------------


class Config:
    pass


class Marked(rushlight.Tensor):
    pass


def test_what_cannot_be_saved_says_where_it_is_and_what_to_do():
    net = nn.Linear(1, 1)
    for value, words in {
        "net": r"a whole Linear .*Save its state_dict\(\).*network\.load_state_dict",
        "optimizer": r"a whole SGD .*state_dict",
        "config": r"Config.*vars\(\.\.\.\).*add_safe_globals\(\[Config\]\)",
        "function": r"open.*no file can name what is to be called",
        "class": r"Config.*Save a word that stands for it",
        "object array": r"numpy\.ndarray",
        "subclass": r"tensor of the class .*Marked.*Save the plain tensor",
    }.items():
        bad = {
            "net": net, "optimizer": rushlight.optim.SGD(net.parameters(), lr=0.1), "config": Config(),
            "function": open, "class": Config, "object array": np.array([None]), "subclass": Marked(),
        }[value]  # fmt: skip
        with pytest.raises(TypeError) as caught:
            rushlight.save({"state": [0, {value: bad}]}, io.BytesIO())
        assert f"(at 'state.1.{value}')" in str(caught.value)
        caught.match("(?s)" + words)
    nest: list = []
    for _ in range(100_000):
        nest = [nest]
    with pytest.raises(ValueError, match="too deeply"):
        rushlight.save(nest, io.BytesIO())
    while nest:
        nest = nest.pop()
    with pytest.raises(TypeError, match="more than 255 bytes"):
        rushlight.save(1 << 5000, io.BytesIO())
    with pytest.raises(AttributeError, match="'write' attribute"):
        rushlight.save(1, 3)
    with pytest.raises(ValueError, match="pickle_protocol"):
        rushlight.save(1, io.BytesIO(), pickle_protocol=1)
    with pytest.raises(RuntimeError, match="leave the argument out"):
        rushlight.save(1, io.BytesIO(), pickle_module=io)


def test_what_load_would_refuse_is_not_saved():
    import argparse

    tensor = rushlight.ones(1)
    tensor.__dict__["shape"] = 3
    namespace = argparse.Namespace()
    vars(namespace)["__class__"] = 1
    for value, words in (
        ({1 << 70: 1}, "beyond 64 bits"),
        ({tuple(range(300)): 1}, "too large"),
        ({range(3): 1}, "range cannot be a key"),
        ({1 << 70}, "beyond 64 bits"),
        (namespace, "'__class__' of Namespace"),
        (tensor, "'shape' of Tensor"),
    ):
        with pytest.raises(TypeError, match=rf"\(at 'a'\) cannot be saved.*{words}"):
            rushlight.save({"a": value}, io.BytesIO())
    state = {"a": {tuple(range(200)): 1, (1, ("a", frozenset([2]))): 2}, (1 << 64) - 1: 3}
    assert load(saved(state)) == state


def test_a_save_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.pt"
    rushlight.save({"w": 1}, path)
    with pytest.raises(TypeError):
        rushlight.save({"w": 2, "net": nn.Linear(1, 1)}, path)
    assert rushlight.load(path) == {"w": 1} and [p.name for p in tmp_path.iterdir()] == ["a.pt"]


# -- fuzz --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def corpus():
    return fuzz.Corpus()


@pytest.mark.parametrize("kind", [
    "zip", "small zip", "mapped zip", "legacy", "tar", "stream", "random stream", "hostile stream", "safetensors",
    "folder",
])  # fmt: skip
def test_files_that_are_a_little_wrong(kind, corpus, tmp_path):
    kinds = corpus.kinds()
    wrong = {}
    for index in range(150):
        seed = fuzz.seed_of(index)
        word, said = fuzz.check(kinds[kind], seed, tmp_path)
        if word == "wrong":
            wrong[seed] = said
    assert not wrong, f"python tools/fuzz_files.py --case '{kind}' {next(iter(wrong))}"


def test_all_kinds_of_files_are_fuzzed(corpus):
    marked = test_files_that_are_a_little_wrong.pytestmark[0].args[1]
    assert list(corpus.kinds()) == marked
    assert Path(fuzz.__file__).parents[2].joinpath("tools/fuzz_files.py").exists()

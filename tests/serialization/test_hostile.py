"""Files that want to run something, or to take all memory: they are refused, and nothing of them is run."""

from __future__ import annotations

import io
import pickle
import struct
import time
from pathlib import Path

import numpy as np
import pytest

import rushlight
from rushlight.serialization import (
    add_safe_globals,
    clear_safe_globals,
    get_safe_globals,
    get_unsafe_globals_in_checkpoint,
    safe_globals,
)
from rushlight.serialization.archive import ArchiveWriter
from rushlight.serialization.legacy import MAGIC, VERSION
from rushlight.serialization.opcodes import Cursor
from rushlight.serialization.survey import survey
from tests.serialization.hostile import CANARY, CASES, call, name, stream, text
from tests.serialization.watching import watched


def zipped(data: bytes, records: dict[str, bytes] | None = None) -> io.BytesIO:
    file = io.BytesIO()
    writer = ArchiveWriter(file)
    writer.write("data.pkl", data)
    writer.write("byteorder", b"little")
    for key, record in (records or {"0": np.ones(4, np.float32).tobytes()}).items():
        writer.write(f"data/{key}", record)
    writer.finish()
    file.seek(0)
    return file


def streamed(data: bytes) -> io.BytesIO:
    """The same in the format before the zip archive, with its storage behind it."""
    parts = [pickle.dumps(part, 2) for part in (MAGIC, VERSION, {})]
    try:
        keys = ["0"] if "0" in survey(Cursor(data)) else []
    except pickle.UnpicklingError:
        keys = []
    storages = (struct.pack("<q", 4) + np.ones(4, np.float32).tobytes()) * len(keys)
    return io.BytesIO(b"".join(parts) + data + pickle.dumps(keys, 2) + storages)


@pytest.fixture(autouse=True, scope="module")
def everything_is_imported():
    """What a first load imports is ours; what a hostile file makes it import would be its own."""
    for new in (True, False):
        file = io.BytesIO()
        rushlight.save(
            {"w": rushlight.ones(2), "n": np.ones(2)}, file, _use_new_zipfile_serialization=new
        )
        file.seek(0)
        rushlight.load(file)
    for case in ("a date that is none", "a path of numbers"):
        with pytest.raises(pickle.UnpicklingError):
            rushlight.load(zipped(CASES[case]))


def test_the_corpus_is_as_large_as_it_says():
    assert len(CASES) >= 300


@pytest.mark.parametrize("case", CASES)
def test_is_refused_and_runs_nothing(case):
    for make in (zipped, streamed):
        file = make(CASES[case])
        started = time.process_time()
        with watched() as heard, pytest.raises(pickle.UnpicklingError):
            rushlight.load(file, weights_only=False)
        assert heard == [] and not Path(CANARY).exists()
        assert time.process_time() - started < 5


def test_the_watch_hears_what_is_run(tmp_path):
    with watched() as heard:
        pickle.loads(pickle.dumps(Path("a")))
        eval("1")
        (tmp_path / "a").write_text("")
    assert {line.split()[0] for line in heard} >= {"pickle.find_class", "compile", "open"}


def test_nothing_reads_pickles_with_pythons_own_unpickler():
    folder = Path(rushlight.__file__).parent / "serialization"
    for file in folder.glob("*.py"):
        for line in file.read_text().splitlines():
            assert "import pickle" not in line and "Unpickler" not in line, file
            assert "from pickle" not in line or line == "from pickle import UnpicklingError", file


def test_the_message_says_which_name_and_what_to_do():
    with pytest.raises(
        pickle.UnpicklingError, match=r"myproject\.Config .*add_safe_globals\(\[Config\]\)"
    ):
        rushlight.load(zipped(stream(call(name("myproject", "Config")))))
    with pytest.raises(pickle.UnpicklingError, match=r"os\.system.*Do not trust this file"):
        rushlight.load(zipped(stream(call(name("os", "system"), text("x")))))
    with pytest.raises(pickle.UnpicklingError, match=r"whole module.*state_dict\(\)"):
        rushlight.load(zipped(stream(name("torch.nn.modules.linear", "Linear") + b")\x81")))
    with pytest.raises(pickle.UnpicklingError, match=r"float8_e5m2.*bfloat16"):
        rushlight.load(zipped(stream(name("torch", "float8_e5m2"))))
    with pytest.raises(pickle.UnpicklingError, match=r"at 'model\.weight'"):
        rushlight.load(
            zipped(
                stream(b"}" + text("model") + b"}" + text("weight") + call(name("a", "b")) + b"ss")
            )
        )


def test_names_are_listed_without_building_anything():
    data = stream(
        b"]("
        + call(name("os", "system"), text("x"))
        + call(name("torch", "Size"), b")")
        + name("a", "B")
        + b"e"
    )
    for file in (zipped(data), streamed(data)):
        with watched() as heard:
            assert get_unsafe_globals_in_checkpoint(file) == ["a.B", "os.system"]
        assert heard == []


# -- classes that the user allows --------------------------------------------------------------------


class Config:
    def __init__(self, width=0):
        self.width = width


class Careful:
    def __setstate__(self, state):
        self.seen = state


class Listed(list):
    pass


@pytest.fixture
def no_safe_globals():
    yield
    clear_safe_globals()


def test_classes_are_built_once_they_are_allowed(no_safe_globals):
    with pytest.raises(TypeError, match=r"Config.*\(at 'config'\).*add_safe_globals\(\[Config\]\)"):
        rushlight.save({"config": Config(3)}, io.BytesIO())
    add_safe_globals([Config, Listed])
    assert set(get_safe_globals()) == {Config, Listed}
    file = io.BytesIO()
    rushlight.save({"config": Config(3), "list": Listed([1, 2])}, file)
    file.seek(0)
    found = rushlight.load(file)
    assert type(found["config"]) is Config and found["config"].width == 3
    assert type(found["list"]) is Listed and found["list"] == [1, 2]
    clear_safe_globals()
    file.seek(0)
    with pytest.raises(pickle.UnpicklingError, match="Config"):
        rushlight.load(file)


def test_a_block_allows_and_forgets(no_safe_globals):
    add_safe_globals([Listed])
    with safe_globals([Config, (Careful, "elsewhere.Careful")]):
        assert set(get_safe_globals()) == {Listed, Config, (Careful, "elsewhere.Careful")}
        data = stream(name("elsewhere", "Careful") + b")\x81}" + text("a") + b"K\x01sb")
        found = rushlight.load(zipped(data))
        assert type(found) is Careful and found.seen == {"a": 1}
        with safe_globals([Config]):
            pass
        assert Config in get_safe_globals()
    assert get_safe_globals() == [Listed]


def test_an_allowed_class_stays_the_only_one(no_safe_globals):
    add_safe_globals([Config])
    mine = name(Config.__module__, "Config")
    for data in (
        stream(mine + b")\x81}" + text("__class__") + name("torch", "Tensor") + b"sb"),
        stream(mine + b")\x81" + group_of_slots() + b"b"),
        stream(call(name(Config.__module__, "Careful"))),
    ):
        with pytest.raises(pickle.UnpicklingError):
            rushlight.load(zipped(data))


def group_of_slots() -> bytes:
    return b"N}" + text("__dict__") + b"}s\x86"


def test_what_can_run_programs_is_never_safe(no_safe_globals):
    import functools
    import os
    import subprocess

    for dangerous in (
        os.system,
        eval,
        exec,
        getattr,
        open,
        __import__,
        subprocess.Popen,
        functools.partial,
    ):
        with pytest.raises(ValueError, match="can never be safe"):
            add_safe_globals([dangerous])
        with pytest.raises(ValueError, match="can never be safe"):
            add_safe_globals([(dangerous, "myproject.harmless")])
    with pytest.raises(TypeError, match="class or a function"):
        add_safe_globals(["os.system"])
    with pytest.raises(TypeError, match="a list of classes"):
        add_safe_globals("Config")
    with pytest.raises(ValueError, match="two items"):
        add_safe_globals([(Config,)])
    with pytest.raises(TypeError, match="as a str"):
        add_safe_globals([(Config, 3)])
    assert get_safe_globals() == []

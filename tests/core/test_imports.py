"""`when_imported`: told once, whoever imports, and the import is as it ever was."""

from __future__ import annotations

import importlib
import inspect
import sys

import pytest

from rushlight.core.imports import when_imported


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The name of a module that nobody has imported yet."""
    name = "waited_for_by_rushlight"
    (tmp_path / f"{name}.py").write_text("value = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    finders = list(sys.meta_path)
    yield name
    sys.meta_path[:] = finders
    sys.modules.pop(name, None)


def test_told_after_the_import_and_only_once(module):
    seen = []
    before = list(sys.meta_path)
    when_imported(module, lambda: seen.append(sys.modules[module].value))
    import json  # noqa: F401 - others are nothing to it

    assert seen == []
    found = importlib.import_module(module)
    assert seen == [1] and sys.meta_path == before
    importlib.reload(found)
    assert seen == [1]
    assert "exec_module" not in vars(found.__loader__)
    assert inspect.getsource(found) == "value = 1\n"


def test_told_at_once_if_it_is_there(module):
    importlib.import_module(module)
    seen = []
    before = list(sys.meta_path)
    when_imported(module, lambda: seen.append(1))
    assert seen == [1] and sys.meta_path == before


def test_two_that_wait_for_one(module):
    seen = []
    when_imported(module, lambda: seen.append("first"))
    when_imported(module, lambda: seen.append("second"))
    importlib.import_module(module)
    assert sorted(seen) == ["first", "second"]


def test_a_module_that_is_not_installed_and_then_is(module, tmp_path):
    source = tmp_path / f"{module}.py"
    text = source.read_text()
    source.unlink()
    importlib.invalidate_caches()
    seen = []
    when_imported(module, lambda: seen.append(1))
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(module)
    assert seen == []
    source.write_text(text)
    importlib.invalidate_caches()
    importlib.import_module(module)
    assert seen == [1]


def test_a_module_that_fails_is_waited_for_no_more(module, tmp_path):
    (tmp_path / f"{module}.py").write_text("raise ValueError('broken')\n")
    importlib.invalidate_caches()
    seen = []
    when_imported(module, lambda: seen.append(1))
    for _ in range(2):
        with pytest.raises(ValueError, match="broken"):
            importlib.import_module(module)
    assert seen == []

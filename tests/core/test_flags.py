"""The table of settings, and what RUSHLIGHT_DEBUG prints."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import rushlight
from rushlight.core.flags import FLAGS, setting, verbosity

PACKAGE = Path(rushlight.__file__).parent


def test_the_environment_is_read_in_one_place() -> None:
    readers = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if re.search(r"RUSHLIGHT_\w+", path.read_text())
        and re.search(r"environ(\.get\(|\[)\"RUSHLIGHT", path.read_text())
    }
    assert readers == set()
    named = {
        name
        for path in PACKAGE.rglob("*.py")
        for name in re.findall(r"setting\(\"(\w+)\"\)", path.read_text())
    }
    assert named == set(FLAGS)


def test_a_setting_is_what_the_environment_says_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUSHLIGHT_CACHE", raising=False)
    assert setting("RUSHLIGHT_CACHE") == "1"
    monkeypatch.setenv("RUSHLIGHT_CACHE", "0")
    assert setting("RUSHLIGHT_CACHE") == "0"
    with pytest.raises(KeyError):
        setting("RUSHLIGHT_CASH")


def test_debug_holds_inside_its_block() -> None:
    before = verbosity.level
    outer = rushlight.debug(1)
    with outer:
        assert verbosity.level == 1
        with rushlight.debug(2):
            assert verbosity.level == 2
        with outer:
            assert verbosity.level == 1
        assert verbosity.level == 1
    assert verbosity.level == before
    with pytest.raises(ZeroDivisionError), rushlight.debug(1):
        raise ZeroDivisionError
    assert verbosity.level == before


@pytest.mark.parametrize(
    ("level", "error"), [("2", TypeError), (True, TypeError), (-1, ValueError)]
)
def test_debug_refuses_what_is_no_level(level: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="level from 0 to 4"):
        rushlight.debug(level)  # type: ignore[arg-type]


def test_the_environment_sets_the_level_and_a_bad_one_is_named() -> None:
    program = (
        "import rushlight\n"
        "f = rushlight.compile(lambda x: rushlight.sort(x)[0] * 2)\n"
        "for n in (3, 4): f(rushlight.ones(n))"
    )

    def run(level: str) -> subprocess.CompletedProcess[str]:
        environment = {"RUSHLIGHT_DEBUG": level, "PATH": "", "PYTHONPATH": str(PACKAGE.parent)}
        return subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment
        )  # fmt: skip

    told = run("1").stderr
    assert told.count("compiled in") == 2
    assert "first trace" in told
    assert "instead of" in told
    assert "on the host: sort (<string>:2)" in told
    assert run("0").stderr == ""
    assert "RUSHLIGHT_DEBUG is 'loud'; it is a number from 0 to 4" in run("loud").stderr

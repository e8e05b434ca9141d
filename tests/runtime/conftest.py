"""What tests of the runtime share: programs that run in an interpreter of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("llvmlite")

import rushlight

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """Each test leaves the number of threads as it was."""
    before = rushlight.get_num_threads()
    yield
    rushlight.set_num_threads(before)
    rushlight.set_flush_denormal(True)


@pytest.fixture
def python(tmp_path: Path) -> Callable[..., str]:
    """`python(code, **environment)` runs code in a new interpreter and gives what it printed; it must exit with 0."""

    def run(code: str, *before: str, timeout: float = 120, **environment: str) -> str:
        file = tmp_path / "program.py"
        file.write_text(code)
        done = subprocess.run(
            [*before, sys.executable, "-W", "error", str(file)],
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run

"""Kernels touch nothing outside of their arrays, on odd shapes; and are right for processors with narrower vectors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pages are closed with mprotect")


def guard(families: str, sizes: str, **environment: str) -> str:
    """What the tool prints; nothing may be wrong."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools/guard_kernels.py"), "--families", families, "--sizes", sizes],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith(" 0 faults\n")
    return done.stdout


@pytest.mark.parametrize(
    "family", ["elementwise", "reductions", "products", "gathers", "rows", "copies"]
)
def test_accesses_stay_inside_of_arrays(family: str) -> None:
    guard(family, "17")


@pytest.mark.parametrize(
    ("target", "families"),
    [
        ("avx2", "elementwise,products,recurrent,steps"),
        ("sse2", "elementwise,windows,gathers,steps"),
    ],
)
def test_narrower_vectors(target: str, families: str) -> None:
    guard(families, "7", RUSHLIGHT_TARGET=target)


def test_an_access_outside_is_noticed_and_its_kernel_named(tmp_path: Path) -> None:
    program = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import rushlight
from rushlight.loops.arrays import Array
from tests.support.guarded import guarded

true = Array.element
Array.element = lambda self, b, index: true(self, b, index) + {{"over": 1, "under": -1}}[sys.argv[1]]
with guarded(print, sys.argv[1] == "over"):
    rushlight.compile(lambda x: x * 2 + 1)(rushlight.ones(4096))
"""
    for direction in ("over", "under"):
        done = subprocess.run(
            [sys.executable, "-u", "-c", program, direction],
            capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert done.returncode == -signal.SIGSEGV, done.stderr
        assert done.stdout.startswith("mul_add_")

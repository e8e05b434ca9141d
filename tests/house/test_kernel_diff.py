"""tools/kernel_diff.py on a tiny program."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("llvmlite")

ROOT = Path(__file__).parents[2]
PROGRAM = """
def build(rushlight):
    return (lambda x: (x * {factor} + 1).sum()), rushlight.ones(40)
"""


def tool() -> Any:
    """The program as a module."""
    spec = importlib.util.spec_from_file_location("kernel_diff", ROOT / "tools" / "kernel_diff.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_changed_kernel_is_found_and_shown(tmp_path: Path) -> None:
    kernel_diff = tool()
    sides = []
    for factor in (2, 3):
        path = tmp_path / f"program_{factor}.py"
        path.write_text(PROGRAM.format(factor=factor))
        sides.append(kernel_diff.collect(ROOT, str(path), 0))
    a, b = sides
    assert a["calls"] and set(a["texts"]) == {name for name, *_ in a["calls"]}
    assert kernel_diff.differences(a, a, 1) == []
    lines = kernel_diff.differences(a, b, 1)
    assert sum(line.startswith("  - ") for line in lines) == 1
    assert sum(line.startswith("  + ") for line in lines) == 1
    assert any(line.startswith("      -") and "fmul" in line for line in lines)
    assert not any(line.startswith("      ") for line in kernel_diff.differences(a, b, 0))
    longer = {**a, "calls": [*a["calls"], ["host sort", 0, 0.0]]}
    assert kernel_diff.differences(a, longer, 1) == ["  + host sort  items 0  work 0 ns"]


def test_a_program_that_fails_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("def build(rushlight):\n    raise ValueError('broken on purpose')\n")
    with pytest.raises(RuntimeError, match="broken on purpose"):
        tool().collect(ROOT, str(path), 0)


def test_a_commit_beside_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if head.returncode:
        pytest.skip("not a git checkout")
    path = tmp_path / "program.py"
    path.write_text(PROGRAM.format(factor=2))
    assert tool().main(["HEAD", "HEAD", "--programs", str(path)]) == 0
    assert "the same" in capsys.readouterr().out
    left = subprocess.run(["git", "worktree", "list"], cwd=ROOT, capture_output=True, check=True)
    assert str(tmp_path).encode() not in left.stdout
    assert {p.name for p in tmp_path.iterdir()} <= {path.name, "__pycache__"}

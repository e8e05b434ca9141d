"""The README's programs run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import rushlight

README = Path(__file__).parents[2] / "README.md"


def test_the_programs_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("llvmlite")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) >= 2
    path = tmp_path / "readme.py"
    path.write_text("\n".join(blocks))
    names: dict[str, object] = {"__name__": "readme"}
    exec(compile(path.read_text(), str(path), "exec"), names)
    assert float(names["loss"]) < 0.6  # type: ignore[arg-type]
    assert names["step"].stats()["compiles"] == 1  # type: ignore[attr-defined]
    assert (tmp_path / "step.html").stat().st_size > 10_000
    rushlight.manual_seed(0)

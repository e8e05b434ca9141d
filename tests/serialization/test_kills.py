"""Saving that is killed at any moment leaves the old state or the new one: `tools/kill_saves.py`, a few times each."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "kill_saves.py"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the tool forks the processes that it kills")
def test_a_killed_save_leaves_the_old_state_or_the_new():
    environment = {**os.environ, "PYTHONPATH": str(TOOL.parents[1])}
    done = subprocess.run(
        [sys.executable, str(TOOL), "--count", "12"],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) >= 4
    assert all("12 kills" in line and " 0 anything else" in line for line in lines)
    assert not any("12 left the old state" in line for line in lines)  # some get through

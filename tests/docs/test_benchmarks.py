"""The counts that benchmarks rest on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import rushlight

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import common
import floors
import models
import speed

#: Milliseconds at 340 GFLOP/s, as the issue of the compiler states them; attention counted there without its scores.
FLOORS = {
    "lenet": 0.43, "mlp": 1.2, "convnet": 13.5, "resnet20": 45.9, "charlstm": 9.5, "gpt": 10.8, "vae": 1.24,
}  # fmt: skip


@pytest.mark.parametrize("program", models.NAMES)
def test_floors_and_parameters(program: str) -> None:
    _, net, _, _, _, batch = models.build(rushlight, program)
    assert floors.flops(program, batch) / 340e6 == pytest.approx(FLOORS[program], rel=0.05)
    assert floors.flops(program, 2) == 2 * floors.flops(program, 1)
    assert sum(p.numel() for p in net.parameters()) == floors.PARAMETERS[program][0]


def test_what_is_met() -> None:
    asked = speed.Asked(8, 0.7)
    assert speed.judged(asked, ratio=9, share=0.8, floor=0.4, torch_ms=5) == "met"
    assert speed.judged(asked, ratio=9, share=0.6, floor=0.4, torch_ms=5) == "NOT MET"
    assert speed.judged(asked, ratio=7, share=0.8, floor=0.4, torch_ms=5) == "NOT MET"
    assert speed.judged(asked, ratio=7, share=0.8, floor=0.65, torch_ms=5) == "met"  # 8x lies below


def test_losses_apart() -> None:
    torch, ours = {"first_losses": [2.0, 0.5]}, {"first_losses": [2.2, 0.5]}
    assert speed.apart(torch, ours) == pytest.approx(0.1)


def test_a_process_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match="nonsense"):
        common.in_process("time_step.py", "rushlight", "eager", "nonsense", 1, 0.1)
    found = common.in_process("time_step.py", "rushlight", "eager", "mlp", 1, 0.01)
    assert found["batch"] == 1
    assert len(found["first_losses"]) == 3

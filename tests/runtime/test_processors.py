"""Other processors: the driver and the kernels of training steps as code for them, and what that code may call."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

import rushlight
from rushlight.compiler.assembly import Assembly
from rushlight.compiler.driver import driver_text
from rushlight.compiler.executable import module_text
from rushlight.compiler.platforms import Platform
from rushlight.compiler.processor import llvm
from rushlight.loops.target import Target

#: What kernels may call: functions of every C library, and what compilers put in.
LIBRARY = {"pow", "powf", "fmod", "fmodf", "fma", "fmaf", "memset", "memcpy", "memmove"}


def machine(triple: str, cpu: str = "", features: str = "") -> Any:
    binding = llvm()
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    return binding.Target.from_triple(triple).create_target_machine(
        cpu=cpu, features=features, opt=2
    )


def assembly(text: str, triple: str, cpu: str = "", features: str = "") -> str:
    module = llvm().parse_assembly(text)
    module.verify()
    module.triple = triple
    code: str = machine(triple, cpu, features).emit_assembly(module)
    return code


def step_graph(name: str, batch: int) -> Any:
    """The graph of a benchmark program's training step."""
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "models.py"
    spec = importlib.util.spec_from_file_location("models", path)
    assert spec is not None and spec.loader is not None
    models = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(models)
    step, _, _, x, y, _ = models.build(rushlight, name, batch)
    compiled = rushlight.compile(step)
    for _ in range(2):
        compiled(x, y)
    return compiled.graph


@pytest.mark.parametrize(("name", "batch"), [("lenet", 4), ("gpt", 1)])
def test_a_training_step_for_arm(name: str, batch: int) -> None:
    steps = Assembly(step_graph(name, batch), Target(16, 32, half_floats=True)).steps
    text, count = module_text(steps)
    assert count > 20
    assert "llvm.x86" not in text
    code = assembly(text, "aarch64-linux-gnu", "cortex-a72")
    assert set(re.findall(r"^\s+bl?\s+([A-Za-z_]\w*)", code, re.MULTILINE)) <= LIBRARY
    assert len(re.findall(r"fmla\s+v\d+\.4s", code)) > 100


PLATFORMS = {
    ("x86-64", "linux"): ("x86_64-linux-gnu", "syscall"),
    ("aarch64", "linux"): ("aarch64-linux-gnu", "syscall"),
    ("riscv64", "linux"): ("riscv64-linux-gnu", "syscall"),
    ("aarch64", "darwin"): ("arm64-apple-macosx14", "__ulock_wait"),
    ("x86-64", "win32"): ("x86_64-pc-windows-msvc", "WaitOnAddress"),
    ("aarch64", "win32"): ("aarch64-pc-windows-msvc", "WaitOnAddress"),
    ("ppc64le", "linux"): ("x86_64-linux-gnu", "usleep"),  # one that we know nothing of
}


@pytest.mark.parametrize("platform", PLATFORMS, ids="-".join)
def test_the_driver_for_other_platforms(platform: tuple[str, str]) -> None:
    triple, waits_with = PLATFORMS[platform]
    features = "+m,+a" if platform[0] == "riscv64" else ""
    code = assembly(driver_text(Platform(*platform)), triple, features=features)
    assert waits_with in code
    for name in ("run", "worker", "rouse", "clock", "mode"):
        assert re.search(rf"^_?{name}:", code, re.MULTILINE)
    if platform[0] == "aarch64":
        assert re.search(
            "mrs.*cntvct_el0", code, re.IGNORECASE
        )  # pmccntr_el0 is closed to programs
        assert re.search("msr.*fpcr", code, re.IGNORECASE)


def test_this_platform_waits_without_polling() -> None:
    assert "usleep" not in driver_text(Platform.here())

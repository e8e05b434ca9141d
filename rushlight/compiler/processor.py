"""The processor that programs are compiled for: this machine's, or one with fewer features, for tests."""

from __future__ import annotations

import functools
import platform
from pathlib import Path
from typing import Any

from rushlight.core.flags import setting
from rushlight.loops.target import Target

#: What RUSHLIGHT_TARGET may name: the features of the machine, cut down.
LIMITS = {
    "sse2": ("x86-64", ""),
    "avx2": ("haswell", "+avx2,+fma,+f16c,-avx512f"),
}


@functools.cache
def llvm() -> Any:
    """Llvmlite's binding, initialized. ImportError without llvmlite."""
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    return binding


@functools.cache
def description() -> tuple[str, str]:
    """LLVM's name of the processor and its features."""
    limit = setting("RUSHLIGHT_TARGET")
    if limit:
        if limit not in LIMITS:
            raise ValueError(
                f"RUSHLIGHT_TARGET is {limit!r}; it may be {' or '.join(LIMITS)}, or not set"
            )
        return LIMITS[limit]
    binding = llvm()
    features = binding.get_host_cpu_features()
    wide = "-prefer-256-bit" if features.get("avx512f") else ""
    return binding.get_host_cpu_name(), ",".join(filter(None, (features.flatten(), wide)))


@functools.cache
def host_target() -> Target:
    """What lowerings are told of the processor."""
    features = set(description()[1].split(","))
    first, second = cache_sizes()
    fma, halves = "+fma" in features, "+f16c" in features
    width, registers = 16, 16
    if setting("RUSHLIGHT_TARGET") == "sse2":
        fma = halves = False
    elif "+avx512f" in features:
        width, registers, fma = 64, 32, True
    elif "+avx2" in features or "+avx" in features:
        width = 32
    elif platform.machine().lower() in ("aarch64", "arm64"):
        registers, fma, halves = 32, True, True
    return Target(
        width, registers, fma=fma, half_floats=halves, first_cache=first, second_cache=second
    )


def cache_sizes(root: str = "/sys/devices/system/cpu/cpu0/cache") -> tuple[int, int]:
    """Bytes of a core's first and second cache; common ones where the system does not tell.

    A second cache that several cores share counts as 2 MB at most.
    """
    sizes = {1: 32 * 1024, 2: 1024 * 1024}
    for index in Path(root).glob("index*"):
        try:
            level = int((index / "level").read_text())
            kind = (index / "type").read_text().strip()
            size = (index / "size").read_text().strip()
            if level in sizes and kind != "Instruction" and size.endswith("K"):
                sizes[level] = int(size[:-1]) * 1024
        except (OSError, ValueError):
            continue
    return max(sizes[1], 16 * 1024), min(max(sizes[2], 256 * 1024), 2048 * 1024)


def machine() -> Any:
    """A target machine of LLVM that emits code for the processor."""
    binding = llvm()
    cpu, features = description()
    return binding.Target.from_default_triple().create_target_machine(
        cpu=cpu, features=features, opt=2, jit=True
    )

"""The processor that programs are compiled for: this machine's, or one with fewer features, for tests."""

from __future__ import annotations

import functools
import platform
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
    if setting("RUSHLIGHT_TARGET") == "sse2":
        return Target(16, 16, fma=False)
    halves = "+f16c" in features
    if "+avx512f" in features:
        return Target(64, 32, half_floats=halves)
    if "+avx2" in features or "+avx" in features:
        return Target(32, 16, fma="+fma" in features, half_floats=halves)
    if platform.machine().lower() in ("aarch64", "arm64"):
        return Target(16, 32, half_floats=True)
    return Target(16, 16, fma="+fma" in features)


def machine() -> Any:
    """A target machine of LLVM that emits code for the processor."""
    binding = llvm()
    cpu, features = description()
    return binding.Target.from_default_triple().create_target_machine(
        cpu=cpu, features=features, opt=2, jit=True
    )

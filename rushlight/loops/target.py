"""`Target`: the processor that kernels are written for."""

from __future__ import annotations

from dataclasses import dataclass

from rushlight.loops.builder import BYTES


@dataclass(frozen=True)
class Target:
    """What lowerings know of a processor.

    `vector_bytes` is the width of a vector register, `registers` how many there are; the rest is for the cost model.
    """

    vector_bytes: int = 16
    registers: int = 16
    fma: bool = True
    #: Whether float16 is turned into float32 and back by instructions.
    half_floats: bool = False
    first_cache: int = 32 * 1024
    second_cache: int = 1024 * 1024
    #: How threads will share the items of a kernel.
    threads: int = 1

    def lanes(self, kind: str) -> int:
        """Elements of this kind in one register."""
        return max(1, self.vector_bytes // max(BYTES[kind], 1))

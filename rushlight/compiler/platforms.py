"""What processors and systems do each in their own way: waiting, waking, the clock, the floating-point mode.

`Platform.text()` defines these for the driver, in LLVM IR:

    @pause()              a short rest in a waiting loop
    @ticks()              a clock that is cheap to read; `Pool` measures its rate
    @get_mode(), @restore_mode(mode), @set_mode(flush)    the floating-point control word
    @wait(address, seen)  sleeps while the 32-bit word at the address is `seen`; may return early
    @wake(address, count) wakes that many of the sleepers
"""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass

_MODE = """
define internal void @set_mode(i64 %flush) alwaysinline {{
  %now = call i64 @get_mode()
  %clear = and i64 %now, {clear}
  %on = or i64 %clear, {bits}
  %yes = icmp ne i64 %flush, 0
  %mode = select i1 %yes, i64 %on, i64 %clear
  call void @restore_mode(i64 %mode)
  ret void
}}
"""

# Bits 15 and 6 of MXCSR: results and operands that are subnormal count as zero.
_X86 = """
declare void @llvm.x86.sse2.pause()
declare void @llvm.x86.sse.stmxcsr(ptr)
declare void @llvm.x86.sse.ldmxcsr(ptr)
declare i64 @llvm.readcyclecounter()
define internal void @pause() alwaysinline {
  call void @llvm.x86.sse2.pause()
  ret void
}
define internal i64 @ticks() alwaysinline {
  %now = call i64 @llvm.readcyclecounter()
  ret i64 %now
}
define internal i64 @get_mode() {
  %p = alloca i32
  call void @llvm.x86.sse.stmxcsr(ptr %p)
  %v = load i32, ptr %p
  %w = zext i32 %v to i64
  ret i64 %w
}
define internal void @restore_mode(i64 %mode) {
  %p = alloca i32
  %v = trunc i64 %mode to i32
  store i32 %v, ptr %p
  call void @llvm.x86.sse.ldmxcsr(ptr %p)
  ret void
}
""" + _MODE.format(clear=~0x8040, bits=0x8040)

# The cycle counter is closed to programs on ARM; the virtual timer is not. Bit 24 of FPCR: subnormal counts as zero.
_ARM = """
declare i64 @llvm.read_volatile_register.i64(metadata)
declare i64 @llvm.aarch64.get.fpcr()
declare void @llvm.aarch64.set.fpcr(i64)
declare void @llvm.aarch64.isb(i32)
define internal void @pause() alwaysinline {
  call void @llvm.aarch64.isb(i32 15)
  ret void
}
define internal i64 @ticks() alwaysinline {
  %now = call i64 @llvm.read_volatile_register.i64(metadata !{!"CNTVCT_EL0"})
  ret i64 %now
}
define internal i64 @get_mode() alwaysinline {
  %v = call i64 @llvm.aarch64.get.fpcr()
  ret i64 %v
}
define internal void @restore_mode(i64 %mode) alwaysinline {
  call void @llvm.aarch64.set.fpcr(i64 %mode)
  ret void
}
""" + _MODE.format(clear=~(1 << 24), bits=1 << 24)

# No short rest and no mode that we know of; the system's monotonic clock (number 1 on Linux) in nanoseconds.
_OTHER = """
declare i32 @clock_gettime(i32, ptr)
define internal void @pause() {
  ret void
}
define internal i64 @ticks() {
  %p = alloca [2 x i64]
  %ok = call i32 @clock_gettime(i32 1, ptr %p)
  %seconds = load i64, ptr %p
  %restp = getelementptr i64, ptr %p, i64 1
  %rest = load i64, ptr %restp
  %whole = mul i64 %seconds, 1000000000
  %now = add i64 %whole, %rest
  ret i64 %now
}
define internal i64 @get_mode() {
  ret i64 0
}
define internal void @restore_mode(i64 %mode) {
  ret void
}
define internal void @set_mode(i64 %flush) {
  ret void
}
"""

# Operations 128 and 129 of futex: wait and wake inside this process.
_LINUX = """
declare i64 @syscall(i64, ...)
define internal void @wait(ptr %address, i32 %seen) noinline {{
  %r = call i64 (i64, ...) @syscall(i64 {futex}, ptr %address, i64 128, i32 %seen, ptr null, ptr null, i64 0)
  ret void
}}
define internal void @wake(ptr %address, i32 %count) noinline {{
  %r = call i64 (i64, ...) @syscall(i64 {futex}, ptr %address, i64 129, i32 %count, ptr null, ptr null, i64 0)
  ret void
}}
"""
_FUTEX = {"x86-64": 202, "aarch64": 98, "riscv64": 98}

# What libc++ and Swift wait with there. 1: compare and wait; 0x101: wake all.
_MACOS = """
declare i32 @__ulock_wait(i32, ptr, i64, i32)
declare i32 @__ulock_wake(i32, ptr, i64)
define internal void @wait(ptr %address, i32 %seen) noinline {
  %wide = zext i32 %seen to i64
  %r = call i32 @__ulock_wait(i32 1, ptr %address, i64 %wide, i32 0)
  ret void
}
define internal void @wake(ptr %address, i32 %count) noinline {
  %r = call i32 @__ulock_wake(i32 257, ptr %address, i64 0)
  ret void
}
"""

_WINDOWS = """
declare i32 @WaitOnAddress(ptr, ptr, i64, i32)
declare void @WakeByAddressAll(ptr)
define internal void @wait(ptr %address, i32 %seen) noinline {
  %p = alloca i32
  store i32 %seen, ptr %p
  %r = call i32 @WaitOnAddress(ptr %address, ptr %p, i64 4, i32 -1)
  ret void
}
define internal void @wake(ptr %address, i32 %count) noinline {
  call void @WakeByAddressAll(ptr %address)
  ret void
}
"""

# Sleeps for a moment and looks again.
_POLLING = """
declare i32 @usleep(i32)
define internal void @wait(ptr %address, i32 %seen) noinline {
  %r = call i32 @usleep(i32 200)
  ret void
}
define internal void @wake(ptr %address, i32 %count) noinline {
  ret void
}
"""

_NAMES = {"x86_64": "x86-64", "amd64": "x86-64", "arm64": "aarch64"}


@dataclass(frozen=True)
class Platform:
    """A processor's architecture and an operating system."""

    architecture: str
    system: str

    @staticmethod
    def here() -> Platform:
        """This machine."""
        name = platform.machine().lower()
        return Platform(_NAMES.get(name, name), sys.platform)

    def text(self) -> str:
        """LLVM IR that defines what differs."""
        processor = {"x86-64": _X86, "aarch64": _ARM}.get(self.architecture, _OTHER)
        if self.system.startswith("linux") and self.architecture in _FUTEX:
            return processor + _LINUX.format(futex=_FUTEX[self.architecture])
        return processor + {"darwin": _MACOS, "win32": _WINDOWS}.get(self.system, _POLLING)

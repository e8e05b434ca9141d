"""The native code around kernels: the driver that runs a program's calls, and the worker of the thread pool.

Both are LLVM IR text, completed for the processor. Their shared state is a block of int64 words, a cache line apart:

    NEXT     a tag in the upper half, the next chunk to be claimed in the lower; claimed by compare-and-swap, so that a
             chunk can only be taken of the task whose fields were read
    FUNCTION, ARGUMENTS, ITEMS, CHUNK    the task
    DONE     chunks that are finished
    SLEEPERS, SIGNAL    parked workers, and the word that they wait on
    STOP, THREADS, BUSY, FLUSH
"""

from __future__ import annotations

import platform
import sys

NEXT, FUNCTION, ARGUMENTS, ITEMS, CHUNK, DONE, SLEEPERS, SIGNAL, STOP, THREADS, BUSY, FLUSH = range(
    0, 96, 8
)
WORDS = 96
#: Turns of the waiting loop (a pause of some 15 to 40 ns each) before a worker parks: about 50 us.
SPINS = 1500
#: Words of one call in a program's table: function, arguments, items, chunk, flags.
CALL_WORDS = 5
SERIAL, CHECKS = 1, 2

_TEXT = """
define internal i64 @claim(ptr %ctx) {
  ; Claims a chunk: returns its number, or -1. Fields are read between the load and the swap of NEXT.
entry:
  br label %again
again:
  %v = load atomic i64, ptr %ctx seq_cst, align 8
  %index = and i64 %v, 4294967295
  %itemsp = getelementptr i64, ptr %ctx, i64 @ITEMS
  %items = load atomic i64, ptr %itemsp monotonic, align 8
  %chunkp = getelementptr i64, ptr %ctx, i64 @CHUNK
  %chunk = load atomic i64, ptr %chunkp monotonic, align 8
  %first = mul i64 %index, %chunk
  %left = icmp slt i64 %first, %items
  br i1 %left, label %try, label %none
try:
  %more = add i64 %v, 1
  %pair = cmpxchg ptr %ctx, i64 %v, i64 %more seq_cst seq_cst
  %won = extractvalue { i64, i1 } %pair, 1
  br i1 %won, label %got, label %again
got:
  ret i64 %index
none:
  ret i64 -1
}

define internal void @do(ptr %ctx, i64 %index) {
  %fp = getelementptr i64, ptr %ctx, i64 @FUNCTION
  %f = load ptr, ptr %fp
  %ap = getelementptr i64, ptr %ctx, i64 @ARGUMENTS
  %a = load ptr, ptr %ap
  %ip = getelementptr i64, ptr %ctx, i64 @ITEMS
  %items = load i64, ptr %ip
  %cp = getelementptr i64, ptr %ctx, i64 @CHUNK
  %chunk = load i64, ptr %cp
  %low = mul i64 %index, %chunk
  %end = add i64 %low, %chunk
  %over = icmp sgt i64 %end, %items
  %high = select i1 %over, i64 %items, i64 %end
  call void %f(ptr %a, i64 %low, i64 %high)
  %dp = getelementptr i64, ptr %ctx, i64 @DONE
  %old = atomicrmw add ptr %dp, i64 1 seq_cst
  ret void
}

define void @worker(ptr %ctx) {
entry:
  %mode = alloca i32
  %stopp = getelementptr i64, ptr %ctx, i64 @STOP
  %sleepersp = getelementptr i64, ptr %ctx, i64 @SLEEPERS
  %signalp = getelementptr i64, ptr %ctx, i64 @SIGNAL
  %flushp = getelementptr i64, ptr %ctx, i64 @FLUSH
  br label %look
look:
  %spins = phi i64 [0, %entry], [0, %worked], [%more, %pause], [0, %woken]
  %index = call i64 @claim(ptr %ctx)
  %some = icmp sge i64 %index, 0
  br i1 %some, label %work, label %idle
work:
  %flush = load atomic i64, ptr %flushp monotonic, align 8
  call void @set_mode(i64 %flush)
  call void @do(ptr %ctx, i64 %index)
  br label %worked
worked:
  br label %look
idle:
  %stop = load atomic i64, ptr %stopp monotonic, align 8
  %stopping = icmp ne i64 %stop, 0
  br i1 %stopping, label %exit, label %wait
wait:
  %more = add i64 %spins, 1
  %enough = icmp sgt i64 %more, @SPINS
  br i1 %enough, label %park, label %pause
pause:
  @PAUSE
  br label %look
park:
  %s0 = atomicrmw add ptr %sleepersp, i64 1 seq_cst
  %signal = load atomic i32, ptr %signalp seq_cst, align 8
  %v = load atomic i64, ptr %ctx seq_cst, align 8
  %i2 = and i64 %v, 4294967295
  %itemsp = getelementptr i64, ptr %ctx, i64 @ITEMS
  %items = load atomic i64, ptr %itemsp seq_cst, align 8
  %chunkp = getelementptr i64, ptr %ctx, i64 @CHUNK
  %chunk = load atomic i64, ptr %chunkp seq_cst, align 8
  %first = mul i64 %i2, %chunk
  %left = icmp slt i64 %first, %items
  %stop2 = load atomic i64, ptr %stopp seq_cst, align 8
  %stopping2 = icmp ne i64 %stop2, 0
  %stay = or i1 %left, %stopping2
  br i1 %stay, label %woken, label %sleep
sleep:
  @SLEEP
  br label %woken
woken:
  %s1 = atomicrmw sub ptr %sleepersp, i64 1 seq_cst
  br label %look
exit:
  ret void
}

define void @wake(ptr %ctx) {
  %sleepersp = getelementptr i64, ptr %ctx, i64 @SLEEPERS
  %signalp = getelementptr i64, ptr %ctx, i64 @SIGNAL
  %n = load atomic i64, ptr %sleepersp seq_cst, align 8
  %some = icmp ne i64 %n, 0
  br i1 %some, label %call, label %done
call:
  %old = atomicrmw add ptr %signalp, i32 1 seq_cst
  @WAKE
  br label %done
done:
  ret void
}

define internal void @share(ptr %ctx, ptr %f, ptr %a, i64 %items, i64 %chunk) {
entry:
  %v = load atomic i64, ptr %ctx seq_cst, align 8
  %tag0 = lshr i64 %v, 32
  %tag1 = add i64 %tag0, 1
  %tag = shl i64 %tag1, 32
  %closed = or i64 %tag, 4294967295
  %fp = getelementptr i64, ptr %ctx, i64 @FUNCTION
  %ap = getelementptr i64, ptr %ctx, i64 @ARGUMENTS
  %ip = getelementptr i64, ptr %ctx, i64 @ITEMS
  %cp = getelementptr i64, ptr %ctx, i64 @CHUNK
  %dp = getelementptr i64, ptr %ctx, i64 @DONE
  store atomic i64 %closed, ptr %ctx seq_cst, align 8
  store ptr %f, ptr %fp
  store ptr %a, ptr %ap
  store atomic i64 %items, ptr %ip monotonic, align 8
  store atomic i64 %chunk, ptr %cp monotonic, align 8
  store atomic i64 0, ptr %dp monotonic, align 8
  store atomic i64 %tag, ptr %ctx seq_cst, align 8
  call void @wake(ptr %ctx)
  %up = add i64 %items, %chunk
  %up1 = sub i64 %up, 1
  %chunks = udiv i64 %up1, %chunk
  br label %mine
mine:
  %index = call i64 @claim(ptr %ctx)
  %some = icmp sge i64 %index, 0
  br i1 %some, label %work, label %wait
work:
  call void @do(ptr %ctx, i64 %index)
  br label %mine
wait:
  %d = load atomic i64, ptr %dp seq_cst, align 8
  %all = icmp sge i64 %d, %chunks
  br i1 %all, label %exit, label %pause
pause:
  @PAUSE
  br label %wait
exit:
  ret void
}

define i64 @run(ptr %ctx, ptr %table, i64 %calls, ptr %patches, i64 %count, ptr %slots, ptr %status, ptr %clock) {
  ; Puts the slots' addresses where calls expect them, then makes the calls. Returns 1 where a check failed.
entry:
  %before = call i64 @get_mode()
  %flushp = getelementptr i64, ptr %ctx, i64 @FLUSH
  %flush = load i64, ptr %flushp
  call void @set_mode(i64 %flush)
  %none = icmp eq i64 %count, 0
  br i1 %none, label %ready, label %patch
patch:
  %p = phi i64 [0, %entry], [%p1, %patch]
  %base = mul i64 %p, 3
  %slotp = getelementptr i64, ptr %patches, i64 %base
  %slot = load i64, ptr %slotp
  %wherep = getelementptr i64, ptr %slotp, i64 1
  %where = load ptr, ptr %wherep
  %offp = getelementptr i64, ptr %slotp, i64 2
  %off = load i64, ptr %offp
  %ap = getelementptr i64, ptr %slots, i64 %slot
  %address = load i64, ptr %ap
  %full = add i64 %address, %off
  store i64 %full, ptr %where
  %p1 = add i64 %p, 1
  %morep = icmp slt i64 %p1, %count
  br i1 %morep, label %patch, label %ready
ready:
  %threadsp = getelementptr i64, ptr %ctx, i64 @THREADS
  %threads = load atomic i64, ptr %threadsp monotonic, align 8
  %several = icmp sgt i64 %threads, 1
  br i1 %several, label %ask, label %start
ask:
  %busyp = getelementptr i64, ptr %ctx, i64 @BUSY
  %pair = cmpxchg ptr %busyp, i64 0, i64 1 seq_cst seq_cst
  %free = extractvalue { i64, i1 } %pair, 1
  br label %start
start:
  %shared = phi i1 [false, %ready], [%free, %ask]
  %timed = icmp ne ptr %clock, null
  br i1 %timed, label %first, label %head
first:
  %begin = call i64 @llvm.readcyclecounter()
  store i64 %begin, ptr %clock
  br label %head
head:
  %i = phi i64 [0, %start], [0, %first], [%i1, %next]
  %going = icmp slt i64 %i, %calls
  br i1 %going, label %body, label %good
body:
  %at = mul i64 %i, 5
  %call = getelementptr i64, ptr %table, i64 %at
  %f = load ptr, ptr %call
  %argsp = getelementptr i64, ptr %call, i64 1
  %args = load ptr, ptr %argsp
  %itemsp = getelementptr i64, ptr %call, i64 2
  %items = load i64, ptr %itemsp
  %chunkp = getelementptr i64, ptr %call, i64 3
  %chunk = load i64, ptr %chunkp
  %flagsp = getelementptr i64, ptr %call, i64 4
  %flags = load i64, ptr %flagsp
  %serialbit = and i64 %flags, 1
  %parallel = icmp eq i64 %serialbit, 0
  %both = and i1 %parallel, %shared
  br i1 %both, label %many, label %one
many:
  call void @share(ptr %ctx, ptr %f, ptr %args, i64 %items, i64 %chunk)
  br label %after
one:
  call void %f(ptr %args, i64 0, i64 %items)
  br label %after
after:
  br i1 %timed, label %stamp, label %checked
stamp:
  %now = call i64 @llvm.readcyclecounter()
  %i2 = add i64 %i, 1
  %cp = getelementptr i64, ptr %clock, i64 %i2
  store i64 %now, ptr %cp
  br label %checked
checked:
  %checkbit = and i64 %flags, 2
  %checks = icmp ne i64 %checkbit, 0
  br i1 %checks, label %test, label %next
test:
  %state = load i64, ptr %status
  %bad = icmp ne i64 %state, 0
  br i1 %bad, label %good, label %next
next:
  %i1 = add i64 %i, 1
  br label %head
good:
  %result = phi i64 [0, %head], [1, %test]
  br i1 %shared, label %release, label %exit
release:
  %busyq = getelementptr i64, ptr %ctx, i64 @BUSY
  store atomic i64 0, ptr %busyq seq_cst, align 8
  br label %exit
exit:
  call void @restore_mode(i64 %before)
  ret i64 %result
}
declare i64 @llvm.readcyclecounter()
"""

_X86 = """
declare void @llvm.x86.sse2.pause()
declare void @llvm.x86.sse.stmxcsr(ptr)
declare void @llvm.x86.sse.ldmxcsr(ptr)
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
define internal void @set_mode(i64 %flush) {
  ; Bits 15 and 6: results and operands that are subnormal count as zero.
  %now = call i64 @get_mode()
  %clear = and i64 %now, -32833
  %on = or i64 %clear, 32832
  %yes = icmp ne i64 %flush, 0
  %mode = select i1 %yes, i64 %on, i64 %clear
  call void @restore_mode(i64 %mode)
  ret void
}
"""

_ARM = """
declare i64 @llvm.aarch64.get.fpcr()
declare void @llvm.aarch64.set.fpcr(i64)
declare void @llvm.aarch64.hint(i32)
define internal i64 @get_mode() {
  %v = call i64 @llvm.aarch64.get.fpcr()
  ret i64 %v
}
define internal void @restore_mode(i64 %mode) {
  call void @llvm.aarch64.set.fpcr(i64 %mode)
  ret void
}
define internal void @set_mode(i64 %flush) {
  ; Bit 24: subnormal numbers count as zero.
  %now = call i64 @get_mode()
  %clear = and i64 %now, -16777217
  %on = or i64 %clear, 16777216
  %yes = icmp ne i64 %flush, 0
  %mode = select i1 %yes, i64 %on, i64 %clear
  call void @restore_mode(i64 %mode)
  ret void
}
"""

_OTHER = """
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


def driver_text() -> str:
    """The module for this machine."""
    name = platform.machine().lower()
    x86, arm = name in ("x86_64", "amd64"), name in ("aarch64", "arm64")
    pause = (
        "call void @llvm.x86.sse2.pause()"
        if x86
        else "call void @llvm.aarch64.hint(i32 1)"
        if arm
        else ""
    )
    declared = _X86 if x86 else _ARM if arm else _OTHER
    if sys.platform.startswith("linux") and (x86 or arm):
        number = (
            202 if x86 else 98
        )  # futex; operations 128 and 129: wait and wake inside this process
        declared += "declare i64 @syscall(i64, ...)\n"
        sleep = (
            f"%slept = call i64 (i64, ...) @syscall(i64 {number}, ptr %signalp, i64 128, i32 %signal, ptr null, "
            "ptr null, i64 0)"
        )
        wake = (
            f"%woke = call i64 (i64, ...) @syscall(i64 {number}, ptr %signalp, i64 129, i32 1024, ptr null, "
            "ptr null, i64 0)"
        )
    elif sys.platform == "win32":
        declared += "declare void @Sleep(i32)\n"
        sleep, wake = "call void @Sleep(i32 1)", ""
    else:
        declared += "declare i32 @usleep(i32)\n"
        sleep, wake = "%slept = call i32 @usleep(i32 200)", ""
    text = _TEXT + declared
    words = {
        "NEXT": NEXT, "FUNCTION": FUNCTION, "ARGUMENTS": ARGUMENTS, "ITEMS": ITEMS, "CHUNK": CHUNK, "DONE": DONE,
        "SLEEPERS": SLEEPERS, "SIGNAL": SIGNAL, "STOP": STOP, "THREADS": THREADS, "BUSY": BUSY, "FLUSH": FLUSH,
        "SPINS": SPINS, "PAUSE": pause, "SLEEP": sleep, "WAKE": wake,
    }  # fmt: skip
    for word in sorted(words, key=len, reverse=True):
        text = text.replace(f"@{word}\n", f"{words[word]}\n").replace(
            f"@{word},", f"{words[word]},"
        )
    return text

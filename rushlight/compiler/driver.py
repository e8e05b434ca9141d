"""The native code around kernels: the driver that runs a program's calls, and the worker of the thread pool.

How threads share a call, as questions and answers:

What do they share?  A block of int64 words, `WORDS` of them: the layout stands below, words that different threads
    write a cache line apart.
Who does which chunk?  Whoever claims it. OPEN counts the chunks that nobody has claimed yet (lower half) and those
    that were taken from the end (upper half). The caller claims from the front, workers from the end, so that in call
    after call a thread finds what it wrote before in its own cache. A worker that the system has put aside has claimed
    nothing, or one chunk: the others do the rest.
When may the task's words be read?  After a claim was won. They are written while OPEN is empty and LEFT is
    zero, and publishing OPEN orders them before it.
When is a call done?  When LEFT, the chunks not finished yet, is zero. The caller turns for SPIN ticks of the clock,
    then sleeps until the last chunk's thread wakes it: a caller that kept turning would hold the very core that the
    other thread waits for.
And workers with nothing to do?  They turn for as long, then park: SLEEPERS says how many, SIGNAL is what they wait on.
Must the first call wait for parked workers?  Not if somebody called `nudge` while the program was still being prepared:
    it wakes them, and those that turn, turn anew.
What of subnormal numbers?  FLUSH says whether they count as zero in kernels. The caller's control word is put back.
"""

from __future__ import annotations

from string import Template

from rushlight.compiler.platforms import Platform

OPEN = 0
FUNCTION, ARGUMENTS, ITEMS, CHUNK, CHUNKS = 8, 9, 10, 11, 12  # the task
LEFT = 16
SLEEPERS, SIGNAL = 24, 25
WAITING = 32  # 1 while the caller sleeps
STOP, FLUSH, THREADS, SPIN = 40, 41, 42, 43  # settings
BUSY = 48  # 1 while a caller shares its calls; another one works alone
WORDS = 56

#: Words of one call in a program's table.
CALL_WORDS = 5  # function, arguments, items, chunk, flags
SERIAL, CHECKS = 1, 2  # flags: one thread does it; what follows depends on the status
#: Words of one patch: which slot, where its address is wanted, how many bytes further on.
PATCH_WORDS = 3
#: Words that describe a program to `run`: its table and how many calls, its patches and how many, its status.
PROGRAM_WORDS = 5

_TEXT = Template("""
define internal i64 @claim(ptr %ctx, i1 %from_end) alwaysinline {
entry:
  %seen = load atomic i64, ptr %ctx monotonic, align 8
  %seen_open = trunc i64 %seen to i32
  %some = icmp sgt i32 %seen_open, 0
  br i1 %some, label %try, label %none
try:
  ; one chunk less is open; from the end, one more is taken there
  %change = select i1 %from_end, i64 4294967295, i64 -1
  %old = atomicrmw add ptr %ctx, i64 %change seq_cst
  %old_open = trunc i64 %old to i32
  %won = icmp sgt i32 %old_open, 0
  br i1 %won, label %got, label %none
got:
  %chunksp = getelementptr i64, ptr %ctx, i64 $CHUNKS
  %chunks = load i64, ptr %chunksp
  %ended = lshr i64 %old, 32
  %open = and i64 %old, 4294967295
  %rest = sub i64 %chunks, %ended
  %last = sub i64 %rest, 1
  %first = sub i64 %rest, %open
  %index = select i1 %from_end, i64 %last, i64 %first
  ret i64 %index
none:
  ret i64 -1
}

define internal void @do(ptr %ctx, i64 %index) alwaysinline {
entry:
  %functionp = getelementptr i64, ptr %ctx, i64 $FUNCTION
  %function = load ptr, ptr %functionp
  %argumentsp = getelementptr i64, ptr %ctx, i64 $ARGUMENTS
  %arguments = load ptr, ptr %argumentsp
  %itemsp = getelementptr i64, ptr %ctx, i64 $ITEMS
  %items = load i64, ptr %itemsp
  %chunkp = getelementptr i64, ptr %ctx, i64 $CHUNK
  %chunk = load i64, ptr %chunkp
  %low = mul i64 %index, %chunk
  %end = add i64 %low, %chunk
  %over = icmp sgt i64 %end, %items
  %high = select i1 %over, i64 %items, i64 %end
  call void %function(ptr %arguments, i64 %low, i64 %high)
  %leftp = getelementptr i64, ptr %ctx, i64 $LEFT
  %left = atomicrmw sub ptr %leftp, i64 1 seq_cst
  %last = icmp eq i64 %left, 1
  br i1 %last, label %finished, label %exit
finished:
  %waitingp = getelementptr i64, ptr %ctx, i64 $WAITING
  %waiting = load atomic i32, ptr %waitingp seq_cst, align 8
  %asleep = icmp ne i32 %waiting, 0
  br i1 %asleep, label %rouse, label %exit
rouse:
  store atomic i32 0, ptr %waitingp seq_cst, align 8
  call void @wake(ptr %waitingp, i32 1)
  br label %exit
exit:
  ret void
}

define ptr @worker(ptr %ctx) {
entry:
  %stopp = getelementptr i64, ptr %ctx, i64 $STOP
  %flushp = getelementptr i64, ptr %ctx, i64 $FLUSH
  %spinp = getelementptr i64, ptr %ctx, i64 $SPIN
  %sleepersp = getelementptr i64, ptr %ctx, i64 $SLEEPERS
  %signalp = getelementptr i64, ptr %ctx, i64 $SIGNAL
  br label %idle
idle:
  %since = call i64 @ticks()
  %mark = load atomic i32, ptr %signalp monotonic, align 8
  br label %look
look:
  %stop = load atomic i64, ptr %stopp monotonic, align 8
  %stopping = icmp ne i64 %stop, 0
  br i1 %stopping, label %exit, label %ask
ask:
  %index = call i64 @claim(ptr %ctx, i1 true)
  %some = icmp sge i64 %index, 0
  br i1 %some, label %work, label %turn
work:
  %flush = load atomic i64, ptr %flushp monotonic, align 8
  call void @set_mode(i64 %flush)
  call void @do(ptr %ctx, i64 %index)
  br label %idle
turn:
  call void @pause()
  %now = call i64 @ticks()
  %spent = sub i64 %now, %since
  %spin = load atomic i64, ptr %spinp monotonic, align 8
  %enough = icmp sgt i64 %spent, %spin
  br i1 %enough, label %tired, label %look
tired:
  %sign = load atomic i32, ptr %signalp monotonic, align 8
  %nudged = icmp ne i32 %sign, %mark
  br i1 %nudged, label %idle, label %park
park:
  %up = atomicrmw add ptr %sleepersp, i64 1 seq_cst
  %signal = load atomic i32, ptr %signalp seq_cst, align 8
  %open = load atomic i32, ptr %ctx seq_cst, align 8
  %work_left = icmp sgt i32 %open, 0
  %stop_now = load atomic i64, ptr %stopp seq_cst, align 8
  %stopped = icmp ne i64 %stop_now, 0
  %stay = or i1 %work_left, %stopped
  br i1 %stay, label %awake, label %asleep
asleep:
  call void @wait(ptr %signalp, i32 %signal)
  br label %awake
awake:
  %down = atomicrmw sub ptr %sleepersp, i64 1 seq_cst
  br label %idle
exit:
  ret ptr null
}

define void @rouse(ptr %ctx, i32 %count) {
  ; Wakes that many of the parked workers.
entry:
  %sleepersp = getelementptr i64, ptr %ctx, i64 $SLEEPERS
  %sleepers = load atomic i64, ptr %sleepersp seq_cst, align 8
  %some = icmp ne i64 %sleepers, 0
  br i1 %some, label %call, label %exit
call:
  %signalp = getelementptr i64, ptr %ctx, i64 $SIGNAL
  %old = atomicrmw add ptr %signalp, i32 1 seq_cst
  call void @wake(ptr %signalp, i32 %count)
  br label %exit
exit:
  ret void
}

define void @nudge(ptr %ctx) {
  ; There will be work: workers that are parked wake, those that turn do not park yet.
entry:
  %sleepersp = getelementptr i64, ptr %ctx, i64 $SLEEPERS
  %signalp = getelementptr i64, ptr %ctx, i64 $SIGNAL
  %old = atomicrmw add ptr %signalp, i32 1 seq_cst
  %sleepers = load atomic i64, ptr %sleepersp seq_cst, align 8
  %some = icmp ne i64 %sleepers, 0
  br i1 %some, label %call, label %exit
call:
  call void @wake(ptr %signalp, i32 1073741824)
  br label %exit
exit:
  ret void
}

define internal void @share(ptr %ctx, ptr %function, ptr %arguments, i64 %items, i64 %chunk) {
entry:
  %above = add i64 %items, %chunk
  %up = sub i64 %above, 1
  %chunks = udiv i64 %up, %chunk
  %functionp = getelementptr i64, ptr %ctx, i64 $FUNCTION
  store ptr %function, ptr %functionp
  %argumentsp = getelementptr i64, ptr %ctx, i64 $ARGUMENTS
  store ptr %arguments, ptr %argumentsp
  %itemsp = getelementptr i64, ptr %ctx, i64 $ITEMS
  store i64 %items, ptr %itemsp
  %chunkp = getelementptr i64, ptr %ctx, i64 $CHUNK
  store i64 %chunk, ptr %chunkp
  %chunksp = getelementptr i64, ptr %ctx, i64 $CHUNKS
  store i64 %chunks, ptr %chunksp
  %leftp = getelementptr i64, ptr %ctx, i64 $LEFT
  store atomic i64 %chunks, ptr %leftp monotonic, align 8
  store atomic i64 %chunks, ptr %ctx seq_cst, align 8
  %others = sub i64 %chunks, 1
  %helpers = trunc i64 %others to i32
  call void @rouse(ptr %ctx, i32 %helpers)
  br label %mine
mine:
  %index = call i64 @claim(ptr %ctx, i1 false)
  %some = icmp sge i64 %index, 0
  br i1 %some, label %work, label %all_claimed
work:
  call void @do(ptr %ctx, i64 %index)
  br label %mine
all_claimed:
  %left0 = load atomic i64, ptr %leftp acquire, align 8
  %done0 = icmp eq i64 %left0, 0
  br i1 %done0, label %exit, label %join
join:
  %spinp = getelementptr i64, ptr %ctx, i64 $SPIN
  %spin = load atomic i64, ptr %spinp monotonic, align 8
  %waitingp = getelementptr i64, ptr %ctx, i64 $WAITING
  %since = call i64 @ticks()
  br label %turn
turn:
  call void @pause()
  %left1 = load atomic i64, ptr %leftp acquire, align 8
  %done1 = icmp eq i64 %left1, 0
  br i1 %done1, label %exit, label %more
more:
  %now = call i64 @ticks()
  %spent = sub i64 %now, %since
  %enough = icmp sgt i64 %spent, %spin
  br i1 %enough, label %sleep, label %turn
sleep:
  store atomic i32 1, ptr %waitingp seq_cst, align 8
  %left2 = load atomic i64, ptr %leftp seq_cst, align 8
  %done2 = icmp eq i64 %left2, 0
  br i1 %done2, label %awake, label %asleep
asleep:
  call void @wait(ptr %waitingp, i32 1)
  br label %sleep
awake:
  store atomic i32 0, ptr %waitingp seq_cst, align 8
  br label %exit
exit:
  ret void
}

define internal void @patch(ptr %patches, i64 %count, ptr %slots) {
  ; Puts the addresses in the slots where calls expect them.
entry:
  %none = icmp eq i64 %count, 0
  br i1 %none, label %exit, label %next
next:
  %i = phi i64 [0, %entry], [%i1, %next]
  %at = mul i64 %i, $PATCH_WORDS
  %slotp = getelementptr i64, ptr %patches, i64 %at
  %slot = load i64, ptr %slotp
  %placep = getelementptr i64, ptr %slotp, i64 1
  %place = load ptr, ptr %placep
  %offsetp = getelementptr i64, ptr %slotp, i64 2
  %offset = load i64, ptr %offsetp
  %startp = getelementptr i64, ptr %slots, i64 %slot
  %start = load i64, ptr %startp
  %address = add i64 %start, %offset
  store i64 %address, ptr %place
  %i1 = add i64 %i, 1
  %more = icmp slt i64 %i1, %count
  br i1 %more, label %next, label %exit
exit:
  ret void
}

define i64 @run(ptr %ctx, ptr %program, ptr %slots, ptr %clock) {
  ; Makes a program's calls. Returns 1 where a check failed. `clock` is null, or takes a time before each call and at
  ; the end.
entry:
  %before = call i64 @get_mode()
  %flushp = getelementptr i64, ptr %ctx, i64 $FLUSH
  %flush = load atomic i64, ptr %flushp monotonic, align 8
  call void @set_mode(i64 %flush)
  %table = load ptr, ptr %program
  %callsp = getelementptr i64, ptr %program, i64 1
  %calls = load i64, ptr %callsp
  %patchesp = getelementptr i64, ptr %program, i64 2
  %patches = load ptr, ptr %patchesp
  %countp = getelementptr i64, ptr %program, i64 3
  %count = load i64, ptr %countp
  %statuspp = getelementptr i64, ptr %program, i64 4
  %status = load ptr, ptr %statuspp
  call void @patch(ptr %patches, i64 %count, ptr %slots)
  %timed = icmp ne ptr %clock, null
  %threadsp = getelementptr i64, ptr %ctx, i64 $THREADS
  %threads = load atomic i64, ptr %threadsp monotonic, align 8
  %several = icmp sgt i64 %threads, 1
  br i1 %several, label %ask, label %start
ask:
  %busyp = getelementptr i64, ptr %ctx, i64 $BUSY
  %taken = cmpxchg ptr %busyp, i64 0, i64 1 seq_cst seq_cst
  %free = extractvalue { i64, i1 } %taken, 1
  br label %start
start:
  %shared = phi i1 [false, %entry], [%free, %ask]
  br label %head
head:
  %i = phi i64 [0, %start], [%i1, %next]
  br i1 %timed, label %stamp, label %stamped
stamp:
  %now = call i64 @ticks()
  %clockp = getelementptr i64, ptr %clock, i64 %i
  store i64 %now, ptr %clockp
  br label %stamped
stamped:
  %going = icmp slt i64 %i, %calls
  br i1 %going, label %body, label %finish
body:
  %at = mul i64 %i, $CALL_WORDS
  %call = getelementptr i64, ptr %table, i64 %at
  %function = load ptr, ptr %call
  %argumentsp = getelementptr i64, ptr %call, i64 1
  %arguments = load ptr, ptr %argumentsp
  %itemsp = getelementptr i64, ptr %call, i64 2
  %items = load i64, ptr %itemsp
  %chunkp = getelementptr i64, ptr %call, i64 3
  %chunk = load i64, ptr %chunkp
  %flagsp = getelementptr i64, ptr %call, i64 4
  %flags = load i64, ptr %flagsp
  %serial = and i64 %flags, $SERIAL
  %parallel = icmp eq i64 %serial, 0
  %both = and i1 %parallel, %shared
  br i1 %both, label %many, label %one
many:
  call void @share(ptr %ctx, ptr %function, ptr %arguments, i64 %items, i64 %chunk)
  br label %after
one:
  call void %function(ptr %arguments, i64 0, i64 %items)
  br label %after
after:
  %checks = and i64 %flags, $CHECKS
  %checked = icmp ne i64 %checks, 0
  br i1 %checked, label %test, label %next
test:
  %state = load i64, ptr %status
  %bad = icmp ne i64 %state, 0
  br i1 %bad, label %finish, label %next
next:
  %i1 = add i64 %i, 1
  br label %head
finish:
  %result = phi i64 [0, %stamped], [1, %test]
  br i1 %shared, label %release, label %exit
release:
  %busyq = getelementptr i64, ptr %ctx, i64 $BUSY
  store atomic i64 0, ptr %busyq seq_cst, align 8
  br label %exit
exit:
  call void @restore_mode(i64 %before)
  ret i64 %result
}

define i64 @clock() {
  %now = call i64 @ticks()
  ret i64 %now
}

define i64 @mode() {
  %now = call i64 @get_mode()
  ret i64 %now
}
""")


def driver_text(platform: Platform) -> str:
    """The module for a platform."""
    words = {name: value for name, value in globals().items() if isinstance(value, int)}
    return _TEXT.substitute(words) + platform.text()

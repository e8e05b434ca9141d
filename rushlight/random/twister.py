"""MT19937 by vectors: whole blocks of words ten times as fast as one by one, the same bits.

The recurrence (Matsumoto and Nishimura, 1998) makes word k + 624 from words k, k + 1 and k + 397, so that as many as
227 words in a row do not depend on each other. NumPy's generator stays the owner of the state: what is done here takes
its 624 words from one block to a later one.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from typing import Any

import numpy as np

from rushlight.backends.settings import settings

#: Words of a state, and how far ahead of a word the third one lies that it is made from.
STATE, AHEAD = 624, 397
#: A draw of fewer words is not worth loading the compiler for.
FEW = 1 << 16
#: Nor, if the compiler is there already, worth a call of a kernel.
VERY_FEW = 4 * STATE

_TEMPERING = ((11, 0xFFFFFFFF), (-7, 0x9D2C5680), (-15, 0xEFC60000), (18, 0xFFFFFFFF))
_TWIST = 0x9908B0DF


def left_in_block(stream: Any) -> int:
    """How many words NumPy's MT19937 can give before it makes a new block of them."""
    # Behind the words of its state lies how many are used; `stream.state` copies everything, which takes 40 us.
    used = ctypes.c_int.from_address(stream.ctypes.state_address + 4 * STATE)
    return STATE - used.value


def take_blocks(stream: Any, out: np.ndarray[Any, Any]) -> bool:
    """Fills uint32 or uint64 memory with the words of whole blocks; False, and nothing done, where NumPy should.

    A 64-bit word is two of 32, the first of them high. The stream (NumPy's MT19937) must stand at the end of a block,
    and does so again after it.
    """
    words = out.size * (out.itemsize // 4)
    enough = VERY_FEW if "llvmlite" in sys.modules else FEW
    if words < enough or not settings.native:
        return False
    try:
        from rushlight.compiler.processor import host_target

        fill = filler(out.itemsize, host_target())
    except ImportError:  # llvmlite is not installed
        settings.native = False
        return False
    work = np.empty(2 * STATE, np.uint32)
    arguments = (ctypes.c_void_p * 3)(
        stream.ctypes.state_address, work.ctypes.data, out.ctypes.data
    )
    fill(arguments, 0, words // STATE)
    return True


@functools.cache
def filler(itemsize: int, target: Any) -> Any:
    """The kernel as a function `fill(buffers, 0, blocks)`. It keeps the interpreter's lock: streams have no other."""
    from rushlight.compiler.objects import load
    from rushlight.loops.builder import module_text

    b = kernel(itemsize, target)
    library = load(module_text([b]))
    made = ctypes.PYFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    found = made(library.address(b.name))
    found.library = library  # type: ignore[attr-defined] # the code lives as long as the function
    return found


def kernel(itemsize: int, target: Any) -> Any:
    """The kernel's text. Its buffers: the state, room for two states, and where the words go."""
    from rushlight.loops.builder import I32, Builder, Value

    lanes = target.lanes(I32)
    b = Builder(f"mersenne_twister_{itemsize * 8}", buffers=3)
    state, work, out = (b.buffer(n) for n in range(3))
    swapped = [lane ^ 1 for lane in range(lanes)]

    def const(number: int) -> Value:
        return b.const(number - (number >> 31 << 32), I32, lanes)  # as LLVM writes it, with a sign

    def copy(source: Value, first: int, target: Value) -> None:
        def chunk(k: Value) -> None:
            b.store(b.load(source, k + first, I32, lanes), target, k)

        b.loop(0, STATE, chunk, step=lanes)

    def block(number: Value) -> None:
        def chunk(k: Value) -> None:
            here, following = (b.load(work, k + n, I32, lanes) for n in (0, 1))
            joined = (here & const(1 << 31)) | (following & const((1 << 31) - 1))
            odd = b.compare("ne", following & const(1), const(0))
            twist = b.select(odd, const(_TWIST), const(0))
            word = b.load(work, k + AHEAD, I32, lanes) ^ b.binary("lshr", joined, const(1)) ^ twist
            b.store(word, work, k + STATE)
            for shift, mask in _TEMPERING:
                moved = b.binary("lshr" if shift > 0 else "shl", word, const(abs(shift)))
                word = word ^ (moved & const(mask))
            if itemsize == 8 and sys.byteorder == "little":
                word = b.shuffle(word, word, swapped)
            b.store(word, out, number * STATE + k)

        b.loop(0, STATE, chunk, step=lanes, label="word")
        copy(work, STATE, work)

    copy(state, 0, work)
    b.loop(b.low, b.high, block, label="block")
    copy(work, 0, state)
    return b

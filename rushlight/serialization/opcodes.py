"""The alphabet of pickle streams: bytes in, operations out. Nothing is built or run here.

`operations(data)` yields (name, argument) for one stream, up to and with its STOP. Names are those
of Python's `pickletools`. Every length is checked against what is left of the data before anything
is made of it, so an operation costs no more memory than the file has bytes.

Left out, because no file of PyTorch needs them and each has served attacks: the extension
registry (EXT1, EXT2, EXT4), class instances of Python 1 (INST, OBJ), persistent ids as text
(PERSID), out-of-band buffers (NEXT_BUFFER, READONLY_BUFFER) and the text forms of strings and
floats, which are evaluated rather than read.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

from rushlight.serialization.errors import UnpicklingError

#: The longest line (a module's or a function's name, a number as text) and the longest int, in bytes.
LONGEST_LINE = 1024
LONGEST_INT = 1024


class Cursor:
    """A place in some bytes, which moves forward as they are read."""

    __slots__ = ("data", "position")

    def __init__(self, data: Any, position: int = 0) -> None:
        self.data = data
        self.position = position

    def take(self, count: int) -> bytes:
        """The next `count` bytes; UnpicklingError where there are fewer."""
        start, end = self.position, self.position + count
        if end > len(self.data):
            raise UnpicklingError(
                f"the pickle stream is cut off: {count} bytes are wanted at position {start} of "
                f"{len(self.data)}"
            )
        self.position = end
        return bytes(self.data[start:end])

    def line(self) -> str:
        """The text up to the next newline, which is passed over."""
        start = self.position
        end = bytes(self.data[start : start + LONGEST_LINE]).find(b"\n")
        if end < 0:
            raise UnpicklingError(f"a line at position {start} does not end, or is too long")
        self.position = start + end + 1
        try:
            return bytes(self.data[start : start + end]).decode()
        except UnicodeDecodeError:
            raise UnpicklingError(f"the line at position {start} is no text") from None


def _nothing(cursor: Cursor) -> None:
    return None


def _number(layout: str) -> Callable[[Cursor], Any]:
    unpack, size = struct.Struct(layout).unpack, struct.calcsize(layout)
    return lambda cursor: unpack(cursor.take(size))[0]


_byte, _short, _word, _quad = (_number(layout) for layout in ("B", "<H", "<I", "<Q"))


def _counted(count: Callable[[Cursor], int], text: bool = False) -> Callable[[Cursor], Any]:
    """A reader of bytes, or of text, whose length stands before them."""

    def read(cursor: Cursor) -> Any:
        data = cursor.take(count(cursor))
        if not text:
            return data
        try:
            return data.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            raise UnpicklingError(
                f"the text before position {cursor.position} is not UTF-8"
            ) from None

    return read


def _long(count: Callable[[Cursor], int]) -> Callable[[Cursor], int]:
    def read(cursor: Cursor) -> int:
        size = count(cursor)
        if not 0 <= size <= LONGEST_INT:
            raise UnpicklingError(f"an integer of {size} bytes: {LONGEST_INT} are the most")
        return int.from_bytes(cursor.take(size), "little", signed=True)

    return read


def _decimal(cursor: Cursor) -> int | bool:
    """An integer as text; protocol 1 writes True and False as 01 and 00."""
    text = cursor.line()
    if text in ("00", "01"):
        return text == "01"
    digits = text.removesuffix("L")
    if not digits.removeprefix("-").isdecimal() or not digits.isascii():
        raise UnpicklingError(f"{text[:40]!r} is no integer")
    return int(digits)


def _name(cursor: Cursor) -> tuple[str, str]:
    return cursor.line(), cursor.line()


#: Each operation by its byte: its name, and how its argument is read.
TABLE: dict[int, tuple[str, Callable[[Cursor], Any]]] = {
    ord(code): entry
    for code, entry in {
        "\x80": ("PROTO", _byte), "\x95": ("FRAME", _quad), ".": ("STOP", _nothing),
        # the stack and the memo
        "(": ("MARK", _nothing), "0": ("POP", _nothing), "1": ("POP_MARK", _nothing),
        "2": ("DUP", _nothing), "\x94": ("MEMOIZE", _nothing),
        "q": ("PUT", _byte), "r": ("PUT", _word), "h": ("GET", _byte), "j": ("GET", _word),
        # plain values
        "N": ("NONE", _nothing), "\x88": ("NEWTRUE", _nothing), "\x89": ("NEWFALSE", _nothing),
        "K": ("INT", _byte), "M": ("INT", _short), "J": ("INT", _number("<i")),
        "I": ("INT", _decimal), "L": ("INT", _decimal),
        "\x8a": ("INT", _long(_byte)), "\x8b": ("INT", _long(_number("<i"))),
        "G": ("FLOAT", _number(">d")),
        "\x8c": ("TEXT", _counted(_byte, text=True)), "X": ("TEXT", _counted(_word, text=True)),
        "\x8d": ("TEXT", _counted(_quad, text=True)),
        "U": ("STRING", _counted(_byte)), "T": ("STRING", _counted(_word)),
        "C": ("BYTES", _counted(_byte)), "B": ("BYTES", _counted(_word)),
        "\x8e": ("BYTES", _counted(_quad)), "\x96": ("BYTEARRAY", _counted(_quad)),
        # containers
        ")": ("EMPTY_TUPLE", _nothing), "t": ("TUPLE", _nothing), "\x85": ("TUPLE1", _nothing),
        "\x86": ("TUPLE2", _nothing), "\x87": ("TUPLE3", _nothing),
        "]": ("EMPTY_LIST", _nothing), "l": ("LIST", _nothing),
        "a": ("APPEND", _nothing), "e": ("APPENDS", _nothing),
        "}": ("EMPTY_DICT", _nothing), "d": ("DICT", _nothing),
        "s": ("SETITEM", _nothing), "u": ("SETITEMS", _nothing),
        "\x8f": ("EMPTY_SET", _nothing), "\x90": ("ADDITEMS", _nothing),
        "\x91": ("FROZENSET", _nothing),
        # names, and what is made by them
        "c": ("GLOBAL", _name), "\x93": ("STACK_GLOBAL", _nothing),
        "R": ("REDUCE", _nothing), "\x81": ("NEWOBJ", _nothing), "\x92": ("NEWOBJ_EX", _nothing),
        "b": ("BUILD", _nothing), "Q": ("BINPERSID", _nothing),
    }.items()
}  # fmt: skip

_REFUSED = {
    ord("i"): "INST", ord("o"): "OBJ", ord("P"): "PERSID", 0x82: "EXT1", 0x83: "EXT2",
    0x84: "EXT4", 0x97: "NEXT_BUFFER", 0x98: "READONLY_BUFFER", ord("F"): "FLOAT as text",
    ord("S"): "STRING as text", ord("V"): "UNICODE as text", ord("g"): "GET as text",
    ord("p"): "PUT as text",
}  # fmt: skip


def operations(cursor: Cursor) -> Iterator[tuple[str, Any]]:
    r"""The operations of the stream that begins at the cursor, which ends up behind its STOP.

    Raises UnpicklingError for a stream that is cut off, and for operations that are not read.

    >>> list(operations(Cursor(b"K\x02\x85.")))
    [('INT', 2), ('TUPLE1', None), ('STOP', None)]
    """
    name = ""
    while name != "STOP":
        code = cursor.take(1)[0]
        entry = TABLE.get(code)
        if entry is None:
            refused = _REFUSED.get(code)
            what = f"the operation {refused}" if refused else f"the byte {code:#04x}"
            raise UnpicklingError(
                f"Unsupported operand {code}: {what} at position {cursor.position - 1} is not read "
                "in checkpoints" + ("" if refused else ", and is no operation of a pickle stream")
            )
        name, read = entry
        yield name, read(cursor)

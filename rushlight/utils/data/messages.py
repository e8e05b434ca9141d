"""What a loader and its workers say to each other, and how a batch travels.

A batch is pickled; buffers of `SHARED_FROM` bytes and more are left in shared memory, and only their place travels
through the pipe.
"""

from __future__ import annotations

import io
import pickle
import traceback
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from typing import Any

from rushlight.utils.data.shared import Inbox, Outbox

#: Smaller buffers travel in the message: that is cheaper than a block of memory.
SHARED_FROM = 8 << 10


class Restart:
    """Asks a worker that is kept for another epoch to begin anew, and is its answer; its random numbers go on."""


class Ended:
    """A worker's word that its copy of an IterableDataset has no more samples."""


class Failure:
    """An exception of a worker on its way to the parent: its type, and its traceback as text."""

    def __init__(self, error: BaseException, where: str) -> None:
        self.kind: Any = type(error)
        self.name = type(error).__name__
        try:
            pickle.dumps(self.kind)
        except Exception:  # a class made inside a function: only its name can travel
            self.kind = RuntimeError
        self.where = where
        self.text = "".join(traceback.format_exception(type(error), error, error.__traceback__))

    def reraise(self) -> None:
        """Raises an exception of the same type, with the worker's traceback in its message."""
        message = f"Caught {self.name} {self.where}.\nOriginal {self.text}"
        if self.kind is KeyError:
            raise _KeyErrorText(message)
        if self.kind is StopIteration:  # would look like the end of the data
            raise RuntimeError(message)
        try:
            error = self.kind(message)
        except Exception:  # its constructor wants more than a message
            raise RuntimeError(message) from None
        raise error


class _KeyErrorText(KeyError):
    """A KeyError whose text keeps its line breaks."""

    def __str__(self) -> str:
        return str(self.args[0])


def _pickled(value: Any, buffer_callback: Callable[[pickle.PickleBuffer], Any]) -> bytes:
    stream = io.BytesIO()
    ForkingPickler(stream, 5, True, buffer_callback).dump(value)
    return stream.getvalue()


def packed(number: int, data: Any, outbox: Outbox | None) -> bytes:
    """The message with a batch; raises what pickling it raises."""
    buffers: list[memoryview] = []

    def travels_along(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if outbox is None or raw.nbytes < SHARED_FROM:
            return True
        buffers.append(raw)
        return False

    content = _pickled(data, travels_along)
    place = None
    if buffers and outbox is not None:
        place = outbox.put(buffers)
        if place is None:  # no room
            content = _pickled(data, lambda buffer: True)
    return pickle.dumps((number, content, place), 5)


def unpacked(message: bytes, inbox: Inbox | None, where: str) -> tuple[int, Any]:
    """The number of a batch, and the batch; a Failure where it cannot be unpickled."""
    number, content, place = pickle.loads(message)
    buffers = () if place is None or inbox is None else inbox.arrays(place)
    try:
        return number, pickle.loads(content, buffers=buffers)
    except Exception as error:
        return number, Failure(error, f"unpickling a batch {where}")


__all__ = ["Ended", "Failure", "Restart", "packed", "unpacked"]

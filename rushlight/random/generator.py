"""`Generator`: the state of a random stream (MT19937, as PyTorch seeds it), and the process's default one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from rushlight.primitives.interpreter import slot
from rushlight.random.twister import STATE, VERY_FEW, left_in_block, take_blocks
from rushlight.tensor.device import CPU, check_available, device
from rushlight.tensor.tensor import Tensor, wrap

DEFAULT_SEED = 67280421310721

#: What `get_state` gives: PyTorch's own record, so that checkpoints of either can go on in the other.
#: `next` is the place in `key` of the next word, `left` how many there are until the key is renewed.
_STATE = np.dtype(
    {
        "names": ("seed", "left", "seeded", "next", "key", "normal", "has_normal"),
        "formats": ("<u8", "<i4", "<i4", "<u8", ("<u8", STATE), "<f8", "<i4"),
        "offsets": (0, 8, 12, 16, 24, 5024, 5040),
        "itemsize": 5056,
    }
)
STATE_BYTES = _STATE.itemsize

_MASK64 = (1 << 64) - 1


class Generator:
    """A random stream of its own.

    >>> import rushlight
    >>> g = rushlight.Generator().manual_seed(0)
    >>> rushlight.rand(2, generator=g)
    tensor([0.4963, 0.7682])
    """

    def __init__(self, device: Any = "cpu") -> None:
        check_available(device)
        self._bits: Any = (
            None  # made at the first draw: numpy.random takes a tenth of the import's time
        )
        self.kept_normal: float | None = None
        self._seed = DEFAULT_SEED

    @property
    def _stream(self) -> Any:
        if self._bits is None:
            self._bits = np.random.MT19937(0)
            self._bits._legacy_seeding(self._seed & 0xFFFFFFFF)
        return self._bits

    @property
    def device(self) -> device:
        """Where the numbers are made: the CPU."""
        return CPU

    def manual_seed(self, seed: int) -> Generator:
        """Starts the stream of this seed: an int of 64 bits, negative ones counted from the top."""
        if isinstance(seed, float) or not hasattr(seed, "__index__"):
            raise TypeError(
                f"manual_seed(): argument 'seed' must be int, not {type(seed).__name__}"
            )
        number = int(seed)
        if not -(1 << 63) <= number < 1 << 64:
            raise RuntimeError(
                f"Overflow when unpacking long: the seed {number} does not fit 64 bits"
            )
        if slot.recorder is not None:
            slot.recorder.reseed(self, number)  # type: ignore[attr-defined]
            return self
        self._seed = number & _MASK64
        self._bits = None
        self.kept_normal = None
        return self

    def seed(self) -> int:
        """Starts a stream that nobody knows, and returns its seed."""
        number = int.from_bytes(os.urandom(8), "little") & ((1 << 53) - 1)
        self.manual_seed(number)
        return number

    def initial_seed(self) -> int:
        """The seed of the current stream."""
        return self._seed

    def words(self, count: int) -> np.ndarray[Any, Any]:
        """The next `count` 32-bit words, as uint32 or uint64."""
        return self._take(count, np.uint32, self._stream.random_raw)

    def doubles(self, count: int) -> np.ndarray[Any, Any]:
        """The next uniform float64 numbers in [0, 1): 53 bits of two words each."""
        return (self.long_words(count) & np.uint64((1 << 53) - 1)) * 2.0**-53

    def long_words(self, count: int) -> np.ndarray[Any, Any]:
        """The next 64-bit words; the first of each two 32-bit words is the high one."""
        return self._take(count, np.uint64, self._pairs)

    def _pairs(self, count: int) -> np.ndarray[Any, Any]:
        # the full range draws no more and no less than two words, without an array of them in between
        return np.random.Generator(self._stream).integers(0, 1 << 64, count, dtype=np.uint64)

    def _take(self, count: int, dtype: Any, few: Any) -> np.ndarray[Any, Any]:
        """The next words: `few` gives those that begin and end a draw, whole blocks come at once."""
        if count < VERY_FEW:
            return few(count)  # type: ignore[no-any-return]
        each = np.dtype(dtype).itemsize // 4
        stream = self._stream
        first, odd = divmod(left_in_block(stream), each)
        blocks = (count - first) * each // STATE
        if odd or blocks <= 0:  # a long word that lies in two blocks
            return few(count)  # type: ignore[no-any-return]
        out = np.empty(count, dtype)
        last = first + blocks * STATE // each
        out[:first] = few(first)
        if not take_blocks(stream, out[first:last]):
            out[first:] = few(count - first)
            return out
        out[last:] = few(count - last)
        return out

    def get_state(self) -> Tensor:
        """The state as a uint8 tensor, for `set_state`, here or in PyTorch."""
        if slot.recorder is not None:
            return slot.recorder.random_state(self)  # type: ignore[attr-defined, no-any-return]
        state = self._stream.state["state"]
        record = np.zeros((), _STATE)
        used = state["pos"] % STATE
        record["seed"], record["seeded"], record["key"] = self._seed, 1, state["key"]
        record["next"], record["left"] = used, STATE - used + 1 if used else 1
        record["has_normal"] = self.kept_normal is not None
        record["normal"] = self.kept_normal or 0.0
        return wrap(np.frombuffer(bytearray(record.tobytes()), np.uint8))

    def set_state(self, new_state: Tensor) -> Generator:
        """Goes back to a state that `get_state` gave."""
        if not isinstance(new_state, Tensor):
            raise TypeError(f"expected a torch.ByteTensor, but got {type(new_state).__name__}")
        if slot.recorder is not None:
            slot.recorder.set_random_state(self, new_state)  # type: ignore[attr-defined]
            return self
        array = np.ascontiguousarray(new_state._array)
        if array.dtype != np.uint8 or array.shape != (STATE_BYTES,):
            raise RuntimeError(
                f"RNG state must be a ByteTensor of {STATE_BYTES} elements, as get_state() gives"
            )
        record = array.view(_STATE)[0]
        used, left = int(record["next"]), int(record["left"])
        key = record["key"]
        if record["seeded"] != 1 or not 1 <= left <= STATE or used > STATE or key.max() >> 32:
            raise RuntimeError("Invalid mt19937 state: these bytes are no state of a generator")
        self._seed = int(record["seed"])
        self.kept_normal = float(record["normal"]) if record["has_normal"] else None
        self._stream.state = {
            "bit_generator": "MT19937",
            "state": {"key": key.astype(np.uint32), "pos": STATE if left == 1 else used},
        }
        return self

    def clone_state(self) -> Generator:
        """Another generator in the same state."""
        return Generator().set_state(self.get_state())

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.get_state(),)


def _restored(state: Tensor) -> Generator:
    return Generator().set_state(state)


#: The stream that is used where no generator is given.
default_generator = Generator()


def manual_seed(seed: int) -> Generator:
    """Starts the default stream of this seed, and returns its generator.

    >>> import rushlight
    >>> _ = rushlight.manual_seed(0)
    >>> rushlight.rand(2)
    tensor([0.4963, 0.7682])
    """
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Starts a default stream that nobody knows, and returns its seed."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed of the default stream."""
    return default_generator.initial_seed()


def get_rng_state() -> Tensor:
    """The state of the default stream as a uint8 tensor."""
    return default_generator.get_state()


def set_rng_state(new_state: Tensor) -> None:
    """Goes back to a state of the default stream that `get_rng_state` gave."""
    default_generator.set_state(new_state)


@contextmanager
def fork_rng(devices: Any = None, enabled: bool = True, device_type: str = "cpu") -> Iterator[None]:
    """Whatever is drawn inside, the default stream goes on after it as if nothing had been."""
    state = default_generator.get_state() if enabled else None
    try:
        yield
    finally:
        if state is not None:
            default_generator.set_state(state)

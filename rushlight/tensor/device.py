"""Where a tensor lives. There is one device so far, the CPU; asking for another says so."""

from __future__ import annotations

from typing import Any

_KNOWN = ("cpu", "cuda", "mps", "xpu", "meta", "mkldnn", "hpu", "privateuseone")


class device:
    """A device such as `rushlight.device("cpu")`: `type` and `index`.

    Raises RuntimeError for an unknown kind, and where the device is not there.
    """

    __slots__ = ("index", "type")

    type: str
    index: int | None

    def __init__(self, type: Any = "cpu", index: int | None = None) -> None:
        if isinstance(type, device):
            type, index = str(type), None
        if isinstance(type, int):
            type, index = "cuda", type
        if not isinstance(type, str):
            raise TypeError(
                f"device must be a string such as 'cpu' or a device, not {type.__class__.__name__}"
            )
        kind, _, number = type.partition(":")
        if number:
            if index is not None:
                raise RuntimeError(
                    f"type (string) must not include an index because index was passed: {type}"
                )
            if not number.isdigit():
                raise RuntimeError(f"Invalid device string: '{type}'")
            index = int(number)
        if kind not in _KNOWN:
            raise RuntimeError(
                f"Expected one of {', '.join(_KNOWN)} device type at start of device string: {type}"
            )
        self.type = kind
        self.index = index

    def __repr__(self) -> str:
        return f"device(type='{self.type}'" + (
            ")" if self.index is None else f", index={self.index})"
        )

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __reduce__(self) -> tuple[Any, ...]:
        return device, (self.type, self.index)


CPU = device("cpu")


class DeviceMissing(RuntimeError, AssertionError):
    """A device that is not there. PyTorch raises the one type or the other, depending on how it was built."""


def check_available(wanted: Any) -> None:
    """DeviceMissing unless `wanted` (a device, a string or None) is the CPU."""
    if wanted is None or wanted == "cpu" or wanted is CPU:
        return
    d = device(wanted)
    if d.type != "cpu":
        raise DeviceMissing(
            f"there is no '{d.type}' device in this installation of rushlight: tensors live on 'cpu'. "
            "Use device='cpu', or leave the argument out"
        )

"""Which storages a pickle stream names: it is followed to its end, and nothing is built."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rushlight.serialization import constructors
from rushlight.serialization.machine import ACTIONS, Machine
from rushlight.serialization.opcodes import Cursor
from rushlight.serialization.storages import Identity, StorageType


def survey(cursor: Cursor, encoding: str = "utf-8") -> dict[str, tuple[Identity, str]]:
    """The storages that a stream names, by their keys, each with the tensor that names it first.

    Follows the stream to its end and builds nothing: what constructors would make is None.
    """
    found: dict[str, tuple[Identity, str]] = {}

    def note(identity: Any, where: str) -> None:
        asked = Identity(identity)
        found.setdefault(asked.key, (asked, where))

    _Survey(cursor, note, encoding).run()
    return found


def names(cursor: Cursor, encoding: str = "utf-8") -> set[str]:
    r"""The names of classes and functions that a stream mentions.

    >>> sorted(names(Cursor(b"ccollections\nOrderedDict\n)Rcos\nsystem\n\x86.")))
    ['collections.OrderedDict', 'os.system']
    """
    machine = _Survey(cursor, lambda identity, where: None, encoding)
    machine.run()
    return machine.names


class _Survey(Machine):
    """A machine whose objects are all None, but for plain values, tuples, and the classes of storages."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.names: set[str] = set()

    def check(self, result: Any) -> None:
        """Nothing was made."""


def _nothing_of(*taken: str) -> Callable[[Machine, Any], None]:
    """Takes objects ("one" or "group") from the stack, and leaves None for them."""

    def act(machine: Machine, argument: Any) -> None:
        for what in taken:
            machine.pop_mark() if what == "group" else machine.pop()
        machine.stack.append(None)

    return act


def _note_name(machine: Any, name: tuple[str, str]) -> None:
    full = constructors.full_name(*name)
    machine.names.add(full)
    known = constructors.KNOWN.get(full)
    machine.stack.append(known if type(known) is StorageType else None)


def _note_stack_name(machine: Any, argument: Any) -> None:
    name, module = machine.pop(), machine.pop()
    _note_name(machine, (str(module), str(name)))


_Survey.actions = {
    **ACTIONS,
    "GLOBAL": _note_name,
    "STACK_GLOBAL": _note_stack_name,
    **dict.fromkeys(("LIST", "DICT", "FROZENSET"), _nothing_of("group")),
    **dict.fromkeys(("APPENDS", "SETITEMS", "ADDITEMS"), _nothing_of("group", "one")),
    **dict.fromkeys(("APPEND", "BUILD", "REDUCE", "NEWOBJ"), _nothing_of("one", "one")),
    **dict.fromkeys(("SETITEM", "NEWOBJ_EX"), _nothing_of("one", "one", "one")),
}

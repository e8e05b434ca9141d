"""The stack machine that reads a pickle stream, and can do nothing but build data.

Python's own unpickler imports any name that a file mentions and calls it. Here a name is looked up
in a closed list (`constructors.py`, and what the user has named); what it finds there is one of our
functions, which checks its arguments. Lists, dicts and sets are touched by their exact type only, so
that no method of an object out of a file is ever called by accident.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from rushlight.serialization import (
    constructors,
    constructors_numpy,  # noqa: F401 - puts its names on the list
    constructors_tensor,  # noqa: F401 - the same
    trusted,
)
from rushlight.serialization.constructors import Constructor
from rushlight.serialization.errors import UnpicklingError
from rushlight.serialization.finished import DEEPEST, DICTS, check_finished
from rushlight.serialization.opcodes import Cursor, operations

#: How many levels of keys an error names.
_NAMED_LEVELS = 30
_LONGEST_KEY = 200

_SIZED = (str, bytes, bytearray, list, tuple, dict)


class _Mark:
    """What MARK leaves on the stack: the items above it belong together."""


_MARK: Any = _Mark()


#: What each operation does; filled below. An operation without an entry pushes its argument.
ACTIONS: dict[str, Callable[[Machine, Any], None]] = {}


class Machine:
    """Reads one pickle stream.

    `persistent(identity, where)` gives the storage that a persistent id stands for; `where` is the
    place in the state as far as it is known, such as "model.conv1.weight".
    """

    actions = ACTIONS

    def __init__(
        self,
        cursor: Cursor,
        persistent: Callable[[Any, str], Any] | None = None,
        encoding: str = "utf-8",
    ) -> None:
        self.cursor = cursor
        self.persistent = persistent
        self.encoding = encoding
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.marks: list[int] = []  # where on the stack the marks are
        self.copies_left = 65536 + 4 * len(cursor.data)

    def run(self) -> Any:
        """The object that the stream describes.

        Raises UnpicklingError, which says where in the state; whatever else goes wrong inside is
        turned into one.
        """
        actions = self.actions
        try:
            for name, argument in operations(self.cursor):
                action = actions.get(name)
                if action is None:
                    self.stack.append(argument)
                else:
                    action(self, argument)
            if len(self.stack) != 1:
                raise UnpicklingError(
                    f"the pickle stream ends with {len(self.stack)} objects on its stack, not one"
                )
            result = self.pop()
            self.check(result)
        except UnpicklingError as problem:
            self._say_where(problem)
            raise
        except IndexError:
            raise UnpicklingError(
                f"the pickle stream takes more from its stack than it has put there{self._at()}"
            ) from None
        except (MemoryError, KeyboardInterrupt):
            raise
        except Exception as problem:
            kind = type(problem).__name__
            raise UnpicklingError(
                f"the pickle stream cannot be followed{self._at()}: {kind}: {problem}"
            ) from problem
        return result

    def check(self, result: Any) -> None:
        """Looks at the finished object."""
        check_finished(result)

    def where(self) -> str:
        """The place in the state that is being built, as dotted keys.

        Keys of dicts wait on the stack while their values are built: below each mark, the last
        string but for the function or the object that has come since, and the keys before it whose
        values are the dicts that these stand in.
        """
        keys: list[str] = []
        marks = self.marks[:_NAMED_LEVELS]
        for start, end in zip([0, *(m + 1 for m in marks)], [*marks, len(self.stack)]):
            at = next(
                (i for i in (end - 1, end - 2) if i >= start and type(self.stack[i]) is str), -1
            )
            known = len(keys)
            while at >= start and type(self.stack[at]) is str and len(keys) < _NAMED_LEVELS:
                keys.insert(known, self.stack[at])
                at = at - 2 if at and type(self.stack[at - 1]) in DICTS else -1
        return ".".join(key[:_LONGEST_KEY] for key in keys)

    def _at(self) -> str:
        place = self.where()
        return f" (at {place!r})" if place else ""

    def _say_where(self, problem: UnpicklingError) -> None:
        place = self._at()
        if place and place not in str(problem):
            problem.args = (f"{problem}{place}",)

    def charge(self, arguments: Any) -> None:
        """Counts what a constructor is about to copy, which may be the same things again and again.

        Whatever a real checkpoint holds is copied once or twice.
        """
        for argument in arguments:
            if type(argument) in _SIZED:
                self.copies_left -= len(argument)
        if self.copies_left < 0:
            raise UnpicklingError("the pickle stream copies the same data again and again")

    # -- the stack -----------------------------------------------------------------------------------

    def pop(self) -> Any:
        """Takes the object at the top; IndexError where there is none above the last mark."""
        if self.marks and self.marks[-1] == len(self.stack) - 1:
            raise UnpicklingError("the pickle stream takes a mark for an object")
        return self.stack.pop()

    def top(self) -> Any:
        """The object at the top."""
        if self.marks and self.marks[-1] == len(self.stack) - 1:
            raise UnpicklingError("the pickle stream takes a mark for an object")
        return self.stack[-1]

    def pop_mark(self) -> list[Any]:
        """Takes all objects above the last mark, and the mark."""
        if not self.marks:
            raise UnpicklingError("the pickle stream closes a group that it has not opened")
        start = self.marks.pop()
        items = self.stack[start + 1 :]
        del self.stack[start:]
        return items


def _action(*names: str) -> Callable[[Callable[[Machine, Any], None]], Any]:
    def note(function: Callable[[Machine, Any], None]) -> Any:
        for name in names:
            ACTIONS[name] = function
        return function

    return note


# -- the stream, the stack, the memo -----------------------------------------------------------------


@_action("PROTO")
def _proto(machine: Machine, version: int) -> None:
    if version > 5:
        raise UnpicklingError(f"unsupported pickle protocol: {version}; 5 is the newest")


@_action("FRAME", "STOP")
def _pass(machine: Machine, argument: Any) -> None:
    """A frame is a hint for readers of pipes."""


@_action("MARK")
def _mark(machine: Machine, argument: Any) -> None:
    if len(machine.marks) > 2 * DEEPEST:
        raise UnpicklingError(f"more than {2 * DEEPEST} groups are open at once")
    machine.marks.append(len(machine.stack))
    machine.stack.append(_MARK)


@_action("POP")
def _pop(machine: Machine, argument: Any) -> None:
    if machine.marks and machine.marks[-1] == len(machine.stack) - 1:
        machine.pop_mark()
    else:
        machine.pop()


@_action("POP_MARK")
def _pop_mark(machine: Machine, argument: Any) -> None:
    machine.pop_mark()


@_action("DUP")
def _dup(machine: Machine, argument: Any) -> None:
    machine.stack.append(machine.top())


@_action("PUT")
def _put(machine: Machine, index: int) -> None:
    machine.memo[index] = machine.top()


@_action("MEMOIZE")
def _memoize(machine: Machine, argument: Any) -> None:
    machine.memo[len(machine.memo)] = machine.top()


@_action("GET")
def _get(machine: Machine, index: int) -> None:
    if index not in machine.memo:
        raise UnpicklingError(f"the memo has no entry {index}")
    machine.stack.append(machine.memo[index])


# -- plain values ------------------------------------------------------------------------------------


@_action("NONE")
def _none(machine: Machine, argument: Any) -> None:
    machine.stack.append(None)


@_action("NEWTRUE")
def _true(machine: Machine, argument: Any) -> None:
    machine.stack.append(True)


@_action("NEWFALSE")
def _false(machine: Machine, argument: Any) -> None:
    machine.stack.append(False)


@_action("STRING")
def _string(machine: Machine, data: bytes) -> None:
    """Text of Python 2."""
    machine.stack.append(data if machine.encoding == "bytes" else data.decode(machine.encoding))


@_action("BYTEARRAY")
def _bytearray(machine: Machine, data: bytes) -> None:
    machine.stack.append(bytearray(data))


# -- containers --------------------------------------------------------------------------------------


@_action("EMPTY_TUPLE")
def _empty_tuple(machine: Machine, argument: Any) -> None:
    machine.stack.append(())


@_action("TUPLE")
def _tuple(machine: Machine, argument: Any) -> None:
    machine.stack.append(tuple(machine.pop_mark()))


@_action("TUPLE1")
def _tuple1(machine: Machine, argument: Any) -> None:
    machine.stack.append((machine.pop(),))


@_action("TUPLE2")
def _tuple2(machine: Machine, argument: Any) -> None:
    second = machine.pop()
    machine.stack.append((machine.pop(), second))


@_action("TUPLE3")
def _tuple3(machine: Machine, argument: Any) -> None:
    third, second = machine.pop(), machine.pop()
    machine.stack.append((machine.pop(), second, third))


@_action("EMPTY_LIST")
def _empty_list(machine: Machine, argument: Any) -> None:
    machine.stack.append([])


@_action("LIST")
def _list(machine: Machine, argument: Any) -> None:
    machine.stack.append(machine.pop_mark())


def _extend(machine: Machine, items: list[Any]) -> None:
    target = machine.top()
    if type(target) is list or type(target) is deque or trusted.is_named(type(target)):
        target.extend(items)
    else:
        raise UnpicklingError(f"Can only append to lists and deques, but got {_kind(target)}")


@_action("APPEND")
def _append(machine: Machine, argument: Any) -> None:
    item = machine.pop()
    _extend(machine, [item])


@_action("APPENDS")
def _appends(machine: Machine, argument: Any) -> None:
    _extend(machine, machine.pop_mark())


@_action("EMPTY_DICT")
def _empty_dict(machine: Machine, argument: Any) -> None:
    machine.stack.append({})


@_action("DICT")
def _dict(machine: Machine, argument: Any) -> None:
    items = machine.pop_mark()
    machine.stack.append({})
    _set_items(machine, items)


def _set_items(machine: Machine, items: list[Any]) -> None:
    target = machine.top()
    if type(target) not in DICTS and not trusted.is_named(type(target)):
        raise UnpicklingError(
            "Can only set items of dict, OrderedDict, Counter and defaultdict, but got "
            f"{_kind(target)}"
        )
    if len(items) % 2:
        raise UnpicklingError("a dict's last key has no value")
    for i in range(0, len(items), 2):
        constructors.check_key(items[i])
        target[items[i]] = items[i + 1]


@_action("SETITEM")
def _set_item(machine: Machine, argument: Any) -> None:
    value, key = machine.pop(), machine.pop()
    _set_items(machine, [key, value])


@_action("SETITEMS")
def _set_many(machine: Machine, argument: Any) -> None:
    _set_items(machine, machine.pop_mark())


@_action("EMPTY_SET")
def _empty_set(machine: Machine, argument: Any) -> None:
    machine.stack.append(set())


@_action("ADDITEMS")
def _add_items(machine: Machine, argument: Any) -> None:
    items = machine.pop_mark()
    target = machine.top()
    if type(target) is not set:
        raise UnpicklingError(f"Can only add items to sets, but got {_kind(target)}")
    for item in items:
        constructors.check_key(item)
        target.add(item)


@_action("FROZENSET")
def _frozenset(machine: Machine, argument: Any) -> None:
    items = machine.pop_mark()
    for item in items:
        constructors.check_key(item)
    machine.stack.append(frozenset(items))


# -- names, and what is made by them -----------------------------------------------------------------


@_action("GLOBAL")
def _global(machine: Machine, name: tuple[str, str]) -> None:
    machine.stack.append(constructors.find(*name))


@_action("STACK_GLOBAL")
def _stack_global(machine: Machine, argument: Any) -> None:
    name, module = machine.pop(), machine.pop()
    if type(name) is not str or type(module) is not str:
        raise UnpicklingError("STACK_GLOBAL needs a module and a name, both str")
    machine.stack.append(constructors.find(module, name))


def _call(machine: Machine, function: Any, arguments: Any, what: str) -> None:
    if type(arguments) is not tuple:
        raise UnpicklingError(f"{what} needs a tuple of arguments, but got {_kind(arguments)}")
    machine.charge(arguments)
    if type(function) is Constructor:
        machine.stack.append(function.make(*arguments))
    elif trusted.is_named(function):
        made = (
            function.__new__(function, *arguments)
            if what == "NEWOBJ" and isinstance(function, type)
            else function(*arguments)
        )
        machine.stack.append(made)
    else:
        raise UnpicklingError(
            f"{what}: Trying to call {_kind(function)}, which is neither one of the constructors "
            "of checkpoints nor a class allowed by rushlight.serialization.add_safe_globals"
        )


@_action("REDUCE")
def _reduce(machine: Machine, argument: Any) -> None:
    arguments, function = machine.pop(), machine.pop()
    _call(machine, function, arguments, "REDUCE")


@_action("NEWOBJ")
def _new_object(machine: Machine, argument: Any) -> None:
    arguments, function = machine.pop(), machine.pop()
    _call(machine, function, arguments, "NEWOBJ")


@_action("NEWOBJ_EX")
def _new_object_ex(machine: Machine, argument: Any) -> None:
    keywords, arguments, kind = machine.pop(), machine.pop(), machine.pop()
    if not (isinstance(kind, type) and trusted.is_named(kind)):
        raise UnpicklingError(
            "Can only create new objects with keywords of classes allowed by "
            f"rushlight.serialization.add_safe_globals, but got {_kind(kind)}"
        )
    if type(arguments) is not tuple or type(keywords) is not dict:
        raise UnpicklingError("NEWOBJ_EX needs a tuple of arguments and a dict of keywords")
    machine.stack.append(kind.__new__(kind, *arguments, **keywords))


@_action("BUILD")
def _build(machine: Machine, argument: Any) -> None:
    state = machine.pop()
    machine.charge(state if type(state) is tuple else (state,))
    constructors.set_state(machine.top(), state)


@_action("BINPERSID")
def _persistent(machine: Machine, argument: Any) -> None:
    identity = machine.pop()
    if machine.persistent is None:
        raise UnpicklingError("unsupported persistent id encountered")
    machine.stack.append(machine.persistent(identity, machine.where()))


def _kind(value: Any) -> str:
    """What a value is, for an error, without asking the value itself."""
    if type(value) is Constructor:
        return f"the name {value.name}"
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")

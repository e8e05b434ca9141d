"""Pickle streams that try to run code, to reach what they should not, or to eat the machine. None may be loaded.

Each is made here from parts, as an attacker would: `CASES` maps a name to a stream.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Iterator

#: What the streams that get through would write to.
CANARY = "/tmp/rushlight-hostile-canary"

_COMMAND = f"touch {CANARY}"
_PYTHON = f"open({CANARY!r}, 'w').close()"


# -- parts -----------------------------------------------------------------------------------------


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def stack_name(module: str, attribute: str) -> bytes:
    return text(module) + text(attribute) + b"\x93"


def text(value: str) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    size = value.bit_length() // 8 + 1
    return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)


def group(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + group(*arguments) + b"R"


def stream(*parts: bytes, protocol: int = 2) -> bytes:
    return b"\x80" + bytes([protocol]) + b"".join(parts) + b"."


_FLOAT = name("torch", "FloatStorage")
_REBUILD = name("torch._utils", "_rebuild_tensor_v2")
_ORDERED = name("collections", "OrderedDict") + b")R"


def identity(
    what: bytes = text("storage"),
    kind: bytes = _FLOAT,
    key: bytes = text("0"),
    location: bytes = text("cpu"),
    count: bytes = b"K\x04",
) -> bytes:
    return group(what, kind, key, location, count) + b"Q"


def tensor(
    offset: bytes = b"K\x00",
    size: bytes = group(b"K\x04"),
    stride: bytes = group(b"K\x01"),
    flag: bytes = b"\x89",
    storage: bytes | None = None,
) -> bytes:
    return call(
        _REBUILD, identity() if storage is None else storage, offset, size, stride, flag, _ORDERED
    )


# -- 1. functions that must not be called -----------------------------------------------------------

_SHELL = text(_COMMAND)
_CODE = text(_PYTHON)
_CALLS: list[tuple[str, str, tuple[bytes, ...]]] = [
    *(("os", n, (_SHELL,)) for n in ("system", "popen", "remove", "unlink", "rmdir", "chdir", "putenv")),
    *(("posix", n, (_SHELL,)) for n in ("system", "remove", "mkdir", "abort", "fork")),
    *(("nt", n, (_SHELL,)) for n in ("system", "startfile")),
    ("os", "execv", (text("/bin/sh"), group(text("sh"), text("-c"), _SHELL))),
    ("os", "_exit", (b"K\x00",)),
    ("os", "kill", (b"K\x01", b"K\x09")),
    ("sys", "exit", (b"K\x00",)),
    ("sys", "setrecursionlimit", (b"K\x01",)),
    ("sys", "settrace", (b"N",)),
    ("pty", "spawn", (_SHELL,)),
    *(("subprocess", n, (_SHELL,)) for n in
      ("Popen", "run", "call", "check_call", "check_output", "getoutput", "getstatusoutput")),
    *(("builtins", n, (_CODE,)) for n in
      ("eval", "exec", "open", "__import__", "input", "print", "getattr", "vars", "globals", "breakpoint")),
    ("builtins", "compile", (_CODE, text("x"), text("exec"))),
    ("builtins", "type", (text("T"), b")", b"}")),
    ("builtins", "setattr", (name("torch", "Size"), text("numel"), b"N")),
    ("builtins", "map", (name("os", "system"), group(_SHELL))),
    ("builtins", "filter", (name("os", "system"), group(_SHELL))),
    ("builtins", "object", ()),
    ("builtins", "memoryview", (b"C\x01a",)),
    ("builtins", "help", (_SHELL,)),
    ("__builtin__", "eval", (_CODE,)),
    ("__builtin__", "execfile", (_SHELL,)),
    ("__builtin__", "apply", (name("os", "system"), group(_SHELL))),
    ("__builtin__", "reload", (_SHELL,)),
    ("io", "open", (text(CANARY), text("w"))),
    ("_io", "FileIO", (text(CANARY), text("w"))),
    ("_io", "open_code", (text("/etc/passwd"),)),
    ("codecs", "open", (text(CANARY), text("w"))),
    ("codecs", "decode", (text("x"), text("rot13"))),
    ("tempfile", "mkdtemp", ()),
    ("shutil", "rmtree", (text(CANARY),)),
    ("shutil", "copyfile", (text("/etc/passwd"), text(CANARY))),
    ("pathlib", "Path.touch", (text(CANARY),)),
    ("socket", "create_connection", (group(text("127.0.0.1"), b"K\x50"),)),
    ("urllib.request", "urlopen", (text("http://127.0.0.1/"),)),
    ("http.client", "HTTPConnection", (text("127.0.0.1"),)),
    ("webbrowser", "open", (text("http://127.0.0.1/"),)),
    ("importlib", "import_module", (text("antigravity"),)),
    ("importlib._bootstrap", "_load", (b"N",)),
    ("runpy", "run_path", (text(CANARY),)),
    ("runpy", "_run_code", (_CODE, b"}")),
    ("code", "interact", ()),
    ("codeop", "compile_command", (_CODE,)),
    ("pdb", "run", (_CODE,)),
    ("bdb", "Bdb.run", (_CODE,)),
    ("timeit", "timeit", (_CODE,)),
    ("cProfile", "run", (_CODE,)),
    ("profile", "run", (_CODE,)),
    ("trace", "Trace", ()),
    ("doctest", "debug_script", (_CODE,)),
    ("ctypes", "CDLL", (text("libc.so.6"),)),
    ("ctypes", "string_at", (b"K\x00",)),
    ("_ctypes", "dlopen", (text("libc.so.6"), b"K\x01")),
    ("mmap", "mmap", (b"K\x00", b"K\x01")),
    ("marshal", "loads", (b"C\x01N",)),
    ("pickle", "loads", (b"C\x02N.",)),
    ("_pickle", "loads", (b"C\x02N.",)),
    ("pickle", "Unpickler", (b"N",)),
    ("dill", "loads", (b"C\x02N.",)),
    ("cloudpickle", "loads", (b"C\x02N.",)),
    ("joblib", "load", (text(CANARY),)),
    ("shelve", "open", (text(CANARY),)),
    ("sqlite3", "connect", (text(CANARY),)),
    ("logging.config", "listen", ()),
    ("multiprocessing", "Process", ()),
    ("multiprocessing.shared_memory", "SharedMemory", (text("x"), b"\x88", b"K\x10")),
    ("asyncio", "create_subprocess_shell", (_SHELL,)),
    ("threading", "Thread", ()),
    ("signal", "raise_signal", (b"K\x09",)),
    ("gc", "get_objects", ()),
    ("inspect", "getmembers", (name("torch", "Size"),)),
    ("operator", "attrgetter", (text("__class__"),)),
    ("operator", "methodcaller", (text("system"), _SHELL)),
    ("_operator", "itemgetter", (b"K\x00",)),
    ("functools", "partial", (name("os", "system"), _SHELL)),
    ("functools", "reduce", (name("operator", "add"), b")")),
    ("itertools", "count", ()),
    ("types", "FunctionType", (b"N", b"}")),
    ("types", "CodeType", (b"N",)),
    ("types", "ModuleType", (text("os"),)),
    ("copyreg", "_reconstructor", (name("torch", "Size"), name("builtins", "object"), b"N")),
    ("copyreg", "__newobj__", (name("os", "system"),)),
    ("copyreg", "add_extension", (text("os"), text("system"), b"K\x01")),
    ("copy_reg", "_reconstructor", (name("os", "_wrap_close"), name("__builtin__", "object"), b"N")),
    ("collections", "namedtuple", (text("N"), text("a"))),
    ("collections", "UserDict", ()),
    ("collections", "ChainMap", ()),
    ("weakref", "ref", (_ORDERED,)),
    ("decimal", "Decimal", (text("1E1000000000"),)),
    ("re", "compile", (text("(a+)+$"),)),
    ("numpy", "load", (text(CANARY), b"N", b"\x88")),
    ("numpy", "fromfile", (text("/etc/passwd"),)),
    ("numpy", "memmap", (text(CANARY), text("u1"), text("w+"))),
    ("numpy", "ones", (b"J\xff\xff\xff\x7f",)),
    ("numpy", "frompyfunc", (name("os", "system"), b"K\x01", b"K\x01")),
    ("numpy.testing._private.utils", "runstring", (_CODE, b"}")),
    ("numpy.f2py", "compile", (_CODE,)),
    ("numpy.ctypeslib", "load_library", (text("libc"), text("/"))),
    ("numpy.core.multiarray", "fromstring", (text("a"),)),
    ("numpy._core.multiarray", "empty", (b"J\xff\xff\xff\x7f",)),
    ("numpy.lib.npyio", "load", (text(CANARY),)),
    ("torch", "load", (text(CANARY),)),
    ("torch", "ones", (b"J\xff\xff\xff\x7f",)),
    ("torch", "compile", (name("os", "system"),)),
    ("torch", "from_file", (text(CANARY), b"\x88", b"K\x10")),
    ("torch.hub", "load", (text("a/b"), text("c"))),
    ("torch.hub", "download_url_to_file", (text("http://127.0.0.1/"), text(CANARY))),
    ("torch.hub", "load_state_dict_from_url", (text("http://127.0.0.1/"),)),
    ("torch.serialization", "load", (text(CANARY),)),
    ("torch.jit", "load", (text(CANARY),)),
    ("torch.jit.unsupported_tensor_ops", "execWrapper", (_CODE, b"}", b"}")),
    ("torch.utils.cpp_extension", "load_inline", (text("x"), text("int main(){}"))),
    ("torch.utils.collect_env", "run", (_SHELL,)),
    ("torch.utils.bottleneck.__main__", "run_cprofile", (_CODE, b"}")),
    ("torch.package", "PackageImporter", (text(CANARY),)),
    ("torch.fx.graph_module", "reduce_graph_module", (b"}", b"N")),
    ("torch.distributed.rpc", "rpc_sync", (text("w"), name("os", "system"))),
    ("torch._utils", "_import_dotted_name", (text("os.system"),)),
    ("torch._dynamo.guards", "GuardBuilder.get", (_CODE,)),
    ("torch.nn.modules.container", "Sequential", ()),
    ("torch.optim.sgd", "SGD", (b"]",)),
    ("torch.storage", "UntypedStorage.from_file", (text(CANARY), b"\x88", b"K\x10")),
    ("torch.storage", "_load_from_bytes", (b"C\x02N.",)),
    ("torch.multiprocessing.reductions", "rebuild_storage_fd", (b"K\x00", b"K\x01", b"K\x01")),
    ("torch.multiprocessing.reductions", "rebuild_storage_filename", (text("a"), text("b"))),
    ("rushlight", "load", (text(CANARY),)),
    ("rushlight.tensor.copying", "rebuild_kind", (name("os", "system"), b")", b"}")),
    ("rushlight.core.files", "write_whole", (text(CANARY), b"C\x01a")),
    ("rushlight.serialization.trusted", "add_safe_globals", (b"]",)),
    ("pip._internal", "main", (b"]",)),
    ("setuptools", "setup", ()),
    ("__main__", "Net", ()),
    ("", "", ()),
    ("builtins", "", ()),
    ("builtins", "__dict__", ()),
    ("collections", "OrderedDict.fromkeys", (text("abc"),)),
    ("collections", "abc.sys.modules", ()),
    ("collections.OrderedDict", "__init__.__globals__", ()),
    ("torch", "Size.__class__.__bases__", ()),
    ("torch", "os.system", (_SHELL,)),
    ("argparse", "FileType.__call__", (text("w"), text(CANARY))),
    ("pathlib", "os.system", (_SHELL,)),
    ("datetime", "sys.modules.get", (text("os"),)),
]  # fmt: skip


def _calls() -> Iterator[tuple[str, bytes]]:
    for module, attribute, arguments in _CALLS:
        full = f"{module}.{attribute}"
        yield f"call {full}", stream(call(name(module, attribute), *arguments))
    for module, attribute, arguments in _CALLS[::6]:  # the same by the words of protocol 4
        full = f"{module}.{attribute}"
        yield (
            f"stack call {full}",
            stream(call(stack_name(module, attribute), *arguments), protocol=4),
        )
    for module, attribute, _ in _CALLS[3::9]:  # without a call: as an object, and as a value
        yield f"new {module}.{attribute}", stream(name(module, attribute) + b")\x81}b")
        yield f"value {module}.{attribute}", stream(b"]" + name(module, attribute) + b"a")


# -- 2. the machine misused --------------------------------------------------------------------------


class _Runs:
    """What Python's own pickler makes of an object that wants to run something."""

    def __reduce__(self) -> object:
        import os

        return os.system, (_COMMAND,)


def _machine() -> Iterator[tuple[str, bytes]]:
    for protocol in range(6):
        yield f"a reduce of protocol {protocol}", pickle.dumps(_Runs(), protocol)
        yield (
            f"a reduce in a list, protocol {protocol}",
            pickle.dumps([1, {"a": _Runs()}], protocol),
        )
    # calling what is no constructor
    yield "call a dtype", stream(call(name("torch", "float32")))
    yield "call a string", stream(call(text("os.system"), _SHELL))
    yield "call a number", stream(call(b"K\x01"))
    yield "call a storage's class", stream(call(_FLOAT, b"J\xff\xff\xff\x7f"))
    yield "call what a call made", stream(call(call(name("torch", "Size"), b")"), b"K\x01"))
    yield "call with a list", stream(name("torch", "Size") + b"]R")
    yield "call with a string", stream(name("collections", "OrderedDict") + text("ab") + b"R")
    yield "new object of a function", stream(_REBUILD + b")\x81")
    yield "new object with keywords", stream(name("torch", "Size") + b")}\x92")
    yield "INST", stream(b"(" + _SHELL + b"ios\nsystem\n")
    yield "OBJ", stream(b"(" + name("os", "system") + _SHELL + b"o")
    for extension in (b"\x82\x01", b"\x83\x01\x00", b"\x84\x01\x00\x00\x00"):
        yield f"extension {extension[0]:#x}", stream(extension)
    yield "PERSID", stream(b"Pstorage\n")
    yield "buffers", stream(b"\x97", protocol=5)
    yield "read-only buffer", stream(b"C\x01a\x98", protocol=5)
    yield "text that is evaluated", stream(b"S'a'\n")
    yield "STACK_GLOBAL of numbers", stream(b"K\x01K\x02\x93", protocol=4)
    yield "STACK_GLOBAL of bytes", stream(b"C\x02osC\x06system\x93", protocol=4)
    yield (
        "STACK_GLOBAL from the memo",
        stream(
            text("os")
            + b"\x94"
            + text("system")
            + b"\x9400"
            + b"h\x00h\x01\x93"
            + group(_SHELL)
            + b"R",
            protocol=4,
        ),
    )
    yield "STACK_GLOBAL of one", stream(text("os") + b"\x93", protocol=4)
    yield (
        "STACK_GLOBAL with dots",
        stream(call(stack_name("torch._utils", "os.system"), _SHELL), protocol=4),
    )
    # state
    yield "state of a list", stream(b"]}b")
    yield "state of a dict", stream(b"}}b")
    yield "state of a type", stream(name("torch", "Size") + b"}b")
    yield "state of a dtype", stream(name("torch", "float32") + b"}b")
    yield "state of a string", stream(text("a") + b"}b")
    yield "state of a tensor", stream(tensor() + b"}b")
    yield "class of an OrderedDict", stream(_ORDERED + b"}" + text("__class__") + b"Nsb")
    yield "method of an OrderedDict", stream(_ORDERED + b"}" + text("items") + _REBUILD + b"sb")
    yield "reduce of an OrderedDict", stream(_ORDERED + b"}" + text("__reduce__") + b"Nsb")
    yield "state of an OrderedDict that is no dict", stream(_ORDERED + b"K\x01b")
    yield "state with keys that are no names", stream(_ORDERED + b"}K\x01K\x02sb")
    namespace = call(name("argparse", "Namespace"))
    yield "class of a Namespace", stream(namespace + b"}" + text("__class__") + b"Nsb")
    yield "dict of a Namespace", stream(namespace + b"}" + text("__dict__") + b"}sb")
    yield "slots of a Namespace", stream(namespace + b"N}\x86b")
    parameter = call(name("torch._utils", "_rebuild_parameter_with_state"), tensor(), b"\x88", _ORDERED,
                     b"}" + text("_array") + b"K\x01s")  # fmt: skip
    yield "the memory of a parameter", stream(parameter)
    typed = name("torch._tensor", "_rebuild_from_type_v2")
    yield (
        "a tensor of a class that is none",
        stream(
            call(
                typed,
                _REBUILD,
                text("os"),
                group(identity(), b"K\x00", b")", b")", b"\x89", _ORDERED),
                b"}",
            )
        ),
    )
    yield (
        "a tensor by a function that is none",
        stream(call(typed, name("torch", "Size"), name("torch", "Tensor"), group(b")"), b"}")),
    )
    yield (
        "a tensor by a string",
        stream(call(typed, text("os"), name("torch", "Tensor"), b")", b"}")),
    )
    yield "a tensor that is a size", stream(
        call(typed, name("torch.serialization", "_get_layout"), name("torch", "Tensor"),
             group(text("torch.strided")), b"}")
    )  # fmt: skip
    # containers
    yield "append to a string", stream(text("a") + b"K\x01a")
    yield "append to a tuple", stream(b")K\x01a")
    yield "append to a name", stream(name("torch", "Size") + b"K\x01a")
    yield "append to an OrderedDict", stream(_ORDERED + b"K\x01a")
    yield "set an item of a list", stream(b"]K\x00K\x01s")
    yield "set an item of a tensor", stream(tensor() + b"K\x00K\x01s")
    yield "set an item of an array", stream(_array() + b"K\x00K\x01s")
    yield "set items of a name", stream(name("collections", "OrderedDict") + b"(K\x00K\x01u")
    yield "a key without a value", stream(b"}(K\x01u")
    yield "add to a list", stream(b"](K\x01\x90", protocol=4)
    yield "a list as a key", stream(b"}]K\x01s")
    yield "a name as a key", stream(b"}" + _REBUILD + b"K\x01s")
    yield "a list in a set", stream(b"\x8f(]\x90", protocol=4)
    yield "a dict in a frozenset", stream(b"(}\x91", protocol=4)
    yield "a set of a dict", stream(call(name("builtins", "set"), b"}"))
    yield "a set of a string", stream(call(name("builtins", "set"), text("abc")))
    yield "a Counter of a list", stream(call(name("collections", "Counter"), b"]"))
    yield (
        "an OrderedDict of a string",
        stream(call(name("collections", "OrderedDict"), text("abab"))),
    )
    yield "a defaultdict that calls", stream(call(name("collections", "defaultdict"), _REBUILD))
    yield "a defaultdict of a string", stream(call(name("collections", "defaultdict"), text("a")))
    yield "a deque of a string", stream(call(name("collections", "deque"), text("abc")))
    # the memo and the stack
    yield "a memo entry that is not there", stream(b"h\x07")
    yield "a far memo entry that is not there", stream(b"j\xff\xff\xff\x7f")
    yield "remembering a mark", stream(b"(q\x00")
    yield "an empty stack", stream(b"")
    yield "two objects", stream(b"NN")
    yield "a mark left", stream(b"N(")
    yield "popping nothing", stream(b"0")
    yield "a tuple without a mark", stream(b"Nt")
    yield "a triple of two", stream(b"NN\x87")
    yield "a pair across a mark", stream(b"N(\x86")
    yield "no end", b"\x80\x02N"
    yield "no bytes", b""
    yield "a future protocol", b"\x80\x06N."
    yield "an unknown operation", stream(b"\xff")
    yield "text that is none", stream(b"X\x01\x00\x00\x00\xff")
    yield "names that are no text", stream(b"c\xff\n\xff\n")
    yield "a name without an end", stream(b"cos")


def _array(shape: bytes = b"K\x00\x85", letter: bytes = b"C\x01b") -> bytes:
    return call(
        name("numpy.core.multiarray", "_reconstruct"), name("numpy", "ndarray"), shape, letter
    )


def _dtype(kind: bytes = text("f8")) -> bytes:
    return call(name("numpy", "dtype"), kind, b"\x89", b"\x88")


def _filled(shape: bytes, dtype: bytes, data: bytes, fortran: bytes = b"\x89") -> bytes:
    return _array() + group(b"K\x01", shape, dtype, fortran, data) + b"b"


# -- 3. data that do not fit -------------------------------------------------------------------------


def _data() -> Iterator[tuple[str, bytes]]:
    yield "a persistent id that is text", stream(text("storage") + b"Q")
    yield "a persistent id that is a number", stream(b"K\x00Q")
    yield "a persistent id that is a list", stream(b"]Q")
    yield "an empty persistent id", stream(b")Q")
    yield (
        "a module's source as persistent id",
        stream(group(text("module"), name("torch", "Tensor"), text(CANARY), _CODE) + b"Q"),
    )
    yield "another kind of persistent id", stream(identity(what=text("module")))
    yield "a storage of a dtype", stream(identity(kind=name("torch", "float32")))
    yield "a storage of a class", stream(identity(kind=name("torch", "Tensor")))
    yield "a storage whose key is a path", stream(identity(key=text("../../etc/passwd")))
    yield "a storage whose key is no text", stream(identity(key=b"N"))
    yield "a storage that is not there", stream(identity(key=text("7")))
    yield "a storage nowhere", stream(identity(location=b"N"))
    yield "a storage of negative size", stream(identity(count=b"J\xff\xff\xff\xff"))
    yield "a storage of a size that is no int", stream(identity(count=text("4")))
    yield "a storage beyond its record", stream(identity(count=b"K\x05"))
    yield "a storage of 2**70 elements", stream(identity(count=number(1 << 70)))
    yield "an offset beyond", stream(tensor(offset=b"K\x01"))
    yield "a negative offset", stream(tensor(offset=b"J\xff\xff\xff\xff"))
    yield "an offset that is true", stream(tensor(offset=b"\x88"))
    yield "an offset of 2**70", stream(tensor(offset=number(1 << 70)))
    yield "a size beyond", stream(tensor(size=group(b"K\x05")))
    yield "a negative size", stream(tensor(size=group(b"J\xff\xff\xff\xff")))
    yield "a size of 2**62", stream(tensor(size=group(number(1 << 62))))
    yield (
        "sizes whose product overflows",
        stream(
            tensor(size=group(number(1 << 33), number(1 << 33)), stride=group(b"K\x00", b"K\x00"))
        ),
    )
    yield "a stride beyond", stream(tensor(size=group(b"K\x02"), stride=group(b"K\x04")))
    yield "a negative stride", stream(tensor(stride=group(b"J\xff\xff\xff\xff")))
    yield "more strides than sizes", stream(tensor(stride=group(b"K\x01", b"K\x01")))
    yield (
        "seventy dimensions",
        stream(tensor(size=group(*[b"K\x01"] * 70), stride=group(*[b"K\x01"] * 70))),
    )
    yield "a size that is text", stream(tensor(size=text("4")))
    yield "a tensor without a storage", stream(tensor(storage=b"N"))
    yield "a tensor in a list", stream(tensor(storage=b"]"))
    yield "a gradient of a gradient", stream(tensor(flag=text("yes")))
    yield (
        "a parameter of a string",
        stream(call(name("torch._utils", "_rebuild_parameter"), text("a"), b"\x88", b"N")),
    )
    yield "a parameter of ints that wants a gradient", stream(
        call(name("torch._utils", "_rebuild_parameter"),
             tensor(storage=identity(kind=name("torch", "IntStorage"))), b"\x88", b"N")
    )  # fmt: skip
    yield "a quantized tensor", stream(call(name("torch._utils", "_rebuild_qtensor"), identity()))
    yield (
        "a sparse tensor",
        stream(call(name("torch._utils", "_rebuild_sparse_tensor"), b"N", b")")),
    )
    yield (
        "a size of floats",
        stream(call(name("torch", "Size"), group(b"G" + struct.pack(">d", 1.0)))),
    )
    yield "a device that is none", stream(call(name("torch", "device"), text("/dev/sda")))
    yield (
        "a generator's state that is none",
        stream(call(name("torch._C", "Generator")) + group(b"K\x00", b"N", tensor()) + b"b"),
    )
    # NumPy
    yield (
        "an array of another class",
        stream(
            call(
                name("numpy.core.multiarray", "_reconstruct"),
                name("torch", "Tensor"),
                b"K\x00\x85",
                b"C\x01b",
            )
        ),
    )
    yield "an array that begins large", stream(_array(shape=number(1 << 40) + b"\x85"))
    yield (
        "an array larger than its data",
        stream(_filled(number(1 << 40) + b"\x85", _dtype(), b"C\x08" + bytes(8))),
    )
    yield (
        "an array of negative size",
        stream(_filled(b"J\xff\xff\xff\xff\x85", _dtype(), b"C\x08" + bytes(8))),
    )
    yield "an array smaller than its data", stream(_filled(b")", _dtype(), b"C\x10" + bytes(16)))
    yield "an array of objects", stream(_filled(b"K\x01\x85", _dtype(text("O")), b"]Na"))
    yield (
        "an array of records",
        stream(_filled(b"K\x01\x85", _dtype(text("V8")), b"C\x08" + bytes(8))),
    )
    yield "an array without a dtype", stream(_filled(b"K\x01\x85", text("f8"), b"C\x08" + bytes(8)))
    yield (
        "an array filled twice",
        stream(
            _filled(b"K\x01\x85", _dtype(), b"C\x08" + bytes(8))
            + group(b"K\x01", b"K\x01\x85", _dtype(), b"\x89", b"C\x08" + bytes(8))
            + b"b"
        ),
    )
    yield (
        "an array that is a scalar of objects",
        stream(call(name("numpy.core.multiarray", "scalar"), _dtype(text("O")), b"N")),
    )
    yield (
        "a scalar larger than its data",
        stream(call(name("numpy.core.multiarray", "scalar"), _dtype(), b"C\x01a")),
    )
    yield "a dtype by a list", stream(call(name("numpy", "dtype"), b"]"))
    yield "a dtype of a formula", stream(_dtype(text("f8,f8")))
    yield (
        "a dtype with fields",
        stream(
            _dtype()
            + group(b"K\x03", text("<"), b"N", group(text("a")), b"}", b"K\x08", b"K\x08", b"K\x00")
            + b"b"
        ),
    )
    yield (
        "a dtype with another size",
        stream(
            _dtype()
            + group(b"K\x03", text("<"), b"N", b"N", b"N", b"K\x40", b"K\x08", b"K\x00")
            + b"b"
        ),
    )
    yield (
        "a buffer of another size",
        stream(
            call(
                name("numpy._core.numeric", "_frombuffer"),
                b"C\x01a",
                _dtype(),
                b"K\x01\x85",
                text("C"),
            )
        ),
    )
    # plain types
    yield (
        "bytes by another encoding",
        stream(call(name("_codecs", "encode"), text("a"), text("zlib"))),
    )
    yield "bytes of a number", stream(call(name("_codecs", "encode"), b"K\x01", text("latin1")))
    yield "a bytearray of a size", stream(call(name("builtins", "bytearray"), number(1 << 40)))
    yield "a range of floats", stream(call(name("builtins", "range"), b"N", b"N", b"N"))
    yield "a complex of texts", stream(call(name("builtins", "complex"), text("1"), text("2")))
    yield "a type of Python called", stream(call(name("builtins", "list"), text("abc")))
    yield "a str of an object", stream(call(name("builtins", "str"), tensor()))
    yield "a date of a list", stream(call(name("datetime", "datetime"), b"]"))
    yield "a date that is none", stream(call(name("datetime", "datetime"), b"C\x0a" + b"\xff" * 10))
    yield "a path of numbers", stream(call(name("pathlib", "PosixPath"), b"K\x01"))


# -- 4. what would eat the machine -------------------------------------------------------------------


def _bombs() -> Iterator[tuple[str, bytes]]:
    yield "nested lists", stream(b"]" * 5000 + b"a" * 4999)
    yield "nested tuples", stream(b")" + b"\x85" * 200_000)
    yield "nested tuples as a key", stream(b"})" + b"\x85" * 200_000 + b"Ns")
    yield "nested marks", stream(b"(" * 100_000 + b"t" * 100_000)
    yield "a key that doubles", stream(b"})" + b"2\x86" * 60 + b"Ns")
    yield "a set item that doubles", stream(b"\x8f()" + b"2\x86" * 60 + b"\x90", protocol=4)
    yield "a string that is not there", stream(b"X\xff\xff\xff\x7f")
    yield "a string of 2**60 bytes", stream(b"\x8d" + struct.pack("<Q", 1 << 60), protocol=4)
    yield "bytes of 2**60 bytes", stream(b"\x8e" + struct.pack("<Q", 1 << 60), protocol=4)
    yield "a bytearray of 2**60 bytes", stream(b"\x96" + struct.pack("<Q", 1 << 60), protocol=5)
    yield "an integer of 2 GiB", stream(b"\x8b\xff\xff\xff\x7f")
    yield "an integer of negative length", stream(b"\x8b\xff\xff\xff\xff")
    yield "an integer of a million digits", stream(b"L" + b"9" * 1_000_000 + b"L\n")
    yield "an integer that is none", stream(b"Lx\n")
    yield (
        "keys that collide",
        stream(b"}(" + b"".join(number(i * ((1 << 61) - 1)) + b"N" for i in range(1, 2000)) + b"u"),
    )
    long = b"](" + b"K\x01" * 20_000 + b"e"
    yield (
        "a set made again and again",
        stream(
            long
            + b"q\x000]("
            + (name("builtins", "set") + b"q\x01")
            + (b"h\x00\x85R" + b"h\x01") * 20_000
            + b"e"
        ),
    )
    data = text("a" * 100_000)
    yield "bytes made again and again", stream(
        data + b"q\x000" + text("latin1") + b"q\x010" + name("_codecs", "encode") + b"q\x020]("
        + b"h\x02h\x00h\x01\x86R" * 20_000 + b"e"
    )  # fmt: skip
    yield "a dict copied again and again", stream(
        b"}(" + b"".join(number(1000 + i) + b"N" for i in range(5_000)) + b"uq\x000"
        + name("collections", "Counter") + b"q\x010](" + b"h\x01h\x00\x85R" * 20_000 + b"e"
    )  # fmt: skip


CASES: dict[str, bytes] = {}
for _made in (_calls, _machine, _data, _bombs):
    for _name, _stream in _made():
        if _name in CASES:
            raise ValueError(f"two hostile streams are called {_name!r}")
        CASES[_name] = _stream

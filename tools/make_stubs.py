"""Writes the .pyi files of what is put together when the package is imported: Tensor, and the public namespaces.

    python tools/make_stubs.py            writes them
    python tools/make_stubs.py --check    exits 1 where a committed file differs

They derive from the declarations of ops, so that an editor and mypy know every method and function.
"""

from __future__ import annotations

import ast
import inspect
import keyword
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

HEAD = '"""Made by tools/make_stubs.py from the declarations: edit those, not this file."""\n\n'

KINDS = {
    "Array": "Tensor",
    "Array | None": "Tensor | None",
    "Operand": "Tensor | complex",
    "list[Array]": "Sequence[Tensor]",
}


def parameter_type(annotation: Any) -> str:
    """The public type of a body's parameter."""
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "Any")
    if text in KINDS:
        return KINDS[text]
    return (
        text
        if text
        in (
            "int",
            "float",
            "bool",
            "str",
            "complex",
            "int | None",
            "float | None",
            "bool | None",
            "str | None",
        )
        else "Any"
    )


def default_text(value: Any) -> str:
    """A default as it may stand in a stub."""
    return (
        repr(value)
        if isinstance(value, (bool, int, float, str, type(None)))
        and value == value
        and abs(value if isinstance(value, float) else 0) != float("inf")
        else "..."
    )


def result_type(this: Any, annotation: Any) -> str:
    """The public type of an op's result."""
    if this.outputs:
        return f"tuple[{', '.join(['Tensor'] * len(this.outputs))}]"
    if this.view:
        return "tuple[Tensor, ...]" if "list" in str(annotation) else "Tensor"
    text = str(annotation)
    if text in ("Array", "Steps"):
        return "Tensor"
    return text if text in ("bool", "int", "float", "None") else "Any"


def signature(call: Any, *, method: bool, renamed: str | None = None, inplace: bool = False) -> str:
    """One `def` line for an op."""
    this = call.op
    parts = []
    star = False
    optional = False
    for i, parameter in enumerate(inspect.signature(this.body).parameters.values()):
        name = parameter.name
        kind = parameter_type(parameter.annotation)
        if i == 0 and method:
            parts.append("self")
            continue
        if parameter.kind is parameter.VAR_POSITIONAL:
            parts.append(f"*{name}: Any")
            star = True
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            parts.append("*")
            star = True
        if parameter.default is not parameter.empty:
            parts.append(f"{name}: {kind} = {default_text(parameter.default)}")
            optional = True
        else:
            parts.append(f"{name}: {kind}" + (" = ..." if optional and not star else ""))
    if not inplace and not this.view and not method and "out" not in (*this.names, *this.keywords):
        parts += [] if star else ["*"]
        parts.append("out: Any = None")
    result = "Tensor" if inplace else result_type(this, this.body.__annotations__.get("return"))
    name = renamed or this.name
    return f"def {name}({', '.join(parts)}) -> {result}: ..."


def _plain(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name)


def tensor_stub() -> str:
    """The stub of rushlight/tensor/tensor.py: its own definitions, and in Tensor the methods that ops add."""
    from rushlight.ops.declare import FUNCTIONS
    from rushlight.tensor.tensor import Tensor

    source = ast.parse((ROOT / "rushlight/tensor/tensor.py").read_text())
    lines = [
        HEAD
        + "from collections.abc import Sequence\nfrom typing import Any\n\nfrom typing_extensions import Self\n"
    ]
    lines += [
        ast.unparse(node)
        for node in source.body
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("rushlight")
    ]
    lines += [
        "from rushlight.autograd.node import Node",
        "from rushlight.primitives.views import Steps",
        "from rushlight.tensor.storage import Version",
        "import weakref",
        "from types import ModuleType",
    ]
    for node in source.body:
        if isinstance(node, ast.FunctionDef):
            lines.append("\n" + _function(node))
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            value = node.value
            kind = (
                value.func.id
                if isinstance(value, ast.Call) and isinstance(value.func, ast.Name)
                else "Any"
            )
            lines.append(f"{node.targets[0].id}: {kind}")
        elif isinstance(node, ast.ClassDef):
            lines.append(f"\nclass {node.name}:")
            body = [text for item in node.body for text in _member(item)]
            if node.name == "Tensor":
                known = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
                known |= {
                    target.id
                    for item in node.body
                    if isinstance(item, ast.Assign)
                    for target in item.targets
                    if isinstance(target, ast.Name)
                }
                body += _tied(Tensor, known, FUNCTIONS)
            lines += ["    " + line for text in body for line in text.splitlines()]
    return "\n".join(lines) + "\n"


def _function(node: ast.FunctionDef) -> str:
    made = ast.FunctionDef(
        node.name, node.args, [ast.Expr(ast.Constant(...))], node.decorator_list, node.returns, None
    )
    if sys.version_info >= (3, 12):
        made.type_params = []
    return ast.unparse(ast.fix_missing_locations(made))


def _member(item: ast.stmt) -> list[str]:
    if isinstance(item, ast.FunctionDef):
        return [_function(item)]
    if isinstance(item, ast.AnnAssign):
        return [f"{ast.unparse(item.target)}: {ast.unparse(item.annotation)}"]
    if isinstance(item, ast.Assign):
        return [f"{target.id}: Any" for target in item.targets if isinstance(target, ast.Name)]
    return []


def _tied(tensor: Any, known: set[str], functions: dict[str, Any]) -> list[str]:
    """Methods that the package root ties onto Tensor, in order of their names."""
    places: dict[str, tuple[Any, bool]] = {}
    for call in functions.values():
        this = call.op
        for name in (this.name, *this.aliases):
            if this.method and "." not in name:
                places[name] = (call, False)
            if this.inplace and "." not in name:
                places[name + "_"] = (call, True)
        for name in this.operators:
            places[name] = (call, name.startswith("__i") and name != "__invert__")
    lines = []
    for name, value in sorted(vars(tensor).items()):
        if name in known or not _plain(name):
            continue
        if name in places:
            call, inplace = places[name]
            lines.append(signature(call, method=True, renamed=name, inplace=inplace))
        elif isinstance(value, property):
            lines.append(f"@property\ndef {name}(self) -> Any: ...")
        elif callable(value) and not name.startswith("__") and not isinstance(value, type):
            lines.append(f"def {name}(self, *args: Any, **kwargs: Any) -> Any: ...")
        elif name in (
            "__iter__",
            "__array__",
            "__getitem__",
            "__setitem__",
            "__int__",
            "__float__",
            "__bool__",
            "__index__",
            "__contains__",
            "__complex__",
        ):
            result = {
                "__int__": "int",
                "__index__": "int",
                "__float__": "float",
                "__bool__": "bool",
                "__contains__": "bool",
                "__complex__": "complex",
                "__setitem__": "None",
            }.get(name, "Any")
            lines.append(f"def {name}(self, *args: Any, **kwargs: Any) -> {result}: ...")
    return lines


class _Finished(ast.NodeTransformer):
    """Makes a stub's annotations unambiguous: `int` is Python's, although Tensor and the package have one too."""

    BUILTINS = frozenset(("bool", "complex", "float", "int", "str", "tuple", "type"))

    def _qualified(self, annotation: ast.expr | None) -> ast.expr | None:
        if annotation is None:
            return None
        for node in ast.walk(annotation):
            if isinstance(node, ast.Name) and node.id in self.BUILTINS:
                node.id = "builtins." + node.id
        return annotation

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        """Arguments and result; an argument that is None by default may be None."""
        given = node.args
        plain = [*given.posonlyargs, *given.args]
        pairs = [
            *zip(plain[len(plain) - len(given.defaults) :], given.defaults, strict=True),
            *zip(given.kwonlyargs, given.kw_defaults, strict=True),
        ]
        for each in [*plain, *given.kwonlyargs, given.vararg, given.kwarg]:
            if each is not None:
                each.annotation = self._qualified(each.annotation)
        for each, default in pairs:
            empty = isinstance(default, ast.Constant) and default.value is None
            text = ast.unparse(each.annotation) if each.annotation else "Any"
            if empty and text != "Any" and "None" not in text:
                each.annotation = ast.parse(f"{text} | None", mode="eval").body
        node.returns = self._qualified(node.returns)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AnnAssign:
        """The annotation."""
        node.annotation = self._qualified(node.annotation) or node.annotation
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        """Each name once: what the class itself defines comes before what is tied onto it."""
        seen: set[str] = set()
        body = []
        for item in node.body:
            if isinstance(item, ast.FunctionDef):
                name = item.name if not item.decorator_list else ""
            elif isinstance(item, ast.AnnAssign):
                name = ast.unparse(item.target)
            else:
                name = ""
            if name and name in seen:
                continue
            seen.add(name)
            body.append(self.visit(item))
        node.body = body
        return node


def finished(text: str) -> str:
    """A stub's final text."""
    tree = _Finished().visit(ast.parse(text))
    tree.body.insert(1, ast.Import([ast.alias("builtins")]))
    lines = ast.unparse(ast.fix_missing_locations(tree)).splitlines()
    return "\n".join(line + _override(line) for line in lines) + "\n"


def _override(line: str) -> str:
    """What a checker must not mind: operators that PyTorch types more widely than Python does."""
    name = line.strip().removeprefix("def ").split("(")[0]
    if name in ("__eq__", "__ne__"):
        return "  # type: ignore[override]"
    return "  # type: ignore[misc]" if name in ("__iadd__", "__isub__", "__itruediv__") else ""


def package_stub() -> str:
    """The stub of rushlight/__init__.py: dtypes, functions, and the rooms."""
    import rushlight
    from rushlight.core.dtypes import dtype

    lines = [HEAD + "from collections.abc import Sequence\nfrom typing import Any\n"]
    rooms = sorted(
        name
        for name in rushlight._ROOMS
        if (ROOT / "rushlight" / name).exists() or (ROOT / "rushlight" / f"{name}.py").exists()
    )
    lines += [f"from rushlight import {name} as {name}" for name in rooms]
    classes, functions, values = [], [], []
    for name, value in sorted(vars(rushlight).items()):
        if name.startswith("_") or inspect.ismodule(value) or not _plain(name):
            continue
        if name in rushlight._LATE:
            continue
        if isinstance(value, type):
            classes.append(f"from {value.__module__} import {value.__name__} as {name}")
        elif isinstance(value, dtype):
            values.append(f"{name}: dtype")
        elif hasattr(value, "op"):
            functions.append(signature(value, method=False, renamed=name))
        elif (
            inspect.isfunction(value)
            and value.__module__.startswith("rushlight")
            and not hasattr(value, "__wrapped__")
            and "<" not in value.__qualname__
            and "." not in value.__qualname__
        ):
            module = sys.modules[value.__module__]
            if hasattr(module, value.__name__):
                functions.append(f"from {value.__module__} import {value.__name__} as {name}")
            else:  # made by another function
                functions.append(f"def {name}(*args: Any, **kwargs: Any) -> Any: ...")
        else:
            values.append(f"{name}: Any")
    functions += [
        f"from rushlight.{module} import {name} as {name}"
        for name, module in sorted(rushlight._LATE.items())
    ]
    return (
        "\n".join(
            [
                *lines,
                *classes,
                "",
                *(f for f in functions if f.startswith("from")),
                "",
                *values,
                "__version__: str",
                "",
                *(f for f in functions if f.startswith("def")),
            ]
        )
        + "\n"
    )


def functional_stub() -> str:
    """The stub of rushlight/nn/functional.py."""
    from rushlight.nn import functional

    lines = [
        HEAD
        + "from collections.abc import Sequence\nfrom typing import Any\n\nfrom rushlight.tensor.tensor import Tensor\n"
    ]
    for name in sorted(dir(functional)):
        value = getattr(functional, name)
        if (
            not name.startswith("_")
            and _plain(name)
            and callable(value)
            and not isinstance(value, type)
        ):
            if hasattr(value, "op"):
                lines.append(signature(value, method=False, renamed=name))
            else:
                lines.append(f"def {name}(*args: Any, **kwargs: Any) -> Any: ...")
    return "\n".join(lines) + "\n"


def names_of_families() -> str:
    """rushlight/ops/names.py: which public names are declared where, of the families that load late."""
    from rushlight.ops.declare import FUNCTIONS

    early = subprocess.run(
        [sys.executable, "-c", "import sys, rushlight; print(*sys.modules)"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    functions: dict[str, str] = {}
    methods: dict[str, str] = {}
    for call in FUNCTIONS.values():
        this, module = call.op, call.op.body.__module__
        if module in early:
            continue
        family = module.rpartition(".")[2]
        public = [name for name in (this.name, *this.aliases) if "." not in name]
        if this.function and this.module == "":
            functions.update(dict.fromkeys(public, family))
        if this.method:
            methods.update(dict.fromkeys(public, family))
        if this.inplace:
            methods.update(dict.fromkeys((name + "_" for name in public), family))
        methods.update(dict.fromkeys((*this.operators, *filter(None, [this.property])), family))
    lines = [HEAD + "from __future__ import annotations\n"]
    for title, table in (("FUNCTIONS", functions), ("METHODS", methods)):
        rows = [f"    {name!r}: {family!r}," for name, family in sorted(table.items())]
        lines += [f"{title}: dict[str, str] = {{", *rows, "}"]
    return "\n".join(lines).replace("'", '"') + "\n"


STUBS = {
    "rushlight/tensor/tensor.pyi": tensor_stub,
    "rushlight/__init__.pyi": package_stub,
    "rushlight/nn/functional.pyi": functional_stub,
    "rushlight/ops/names.py": names_of_families,
}


def main() -> int:
    """Writes or checks every file."""
    from rushlight.ops import families

    families.load_all()
    stale = 0
    for path, make in STUBS.items():
        text, file = make(), ROOT / path
        text = finished(text) if path.endswith(".pyi") else text
        if "--check" in sys.argv:
            if not file.exists() or file.read_text() != text:
                print(f"{path} is not what the declarations give: run python tools/make_stubs.py")
                stale = 1
        else:
            file.write_text(text)
    return stale


if __name__ == "__main__":
    sys.exit(main())

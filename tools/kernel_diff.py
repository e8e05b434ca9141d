"""Compares the kernels of two commits over the benchmark programs: a refactoring can prove that it changed none.

    python tools/kernel_diff.py A B [--programs lenet,gpt] [--batch 2] [--show 3]
    python tools/kernel_diff.py main              main beside the files as they are here

Compared are the kernels' texts, how often each is called, over how many items and with what estimate of work. Exits 1
where anything differs. A program is a name of benchmarks/models.py, or a file whose `build(rushlight)` gives a function
and its arguments.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

#: Runs in the tree of a commit: prints {"calls": [[kernel, items, work], ...], "texts": {kernel: text}}.
COLLECT = """
import importlib.util, json, re, sys
import rushlight

name, batch = sys.argv[1], int(sys.argv[2])
if name.endswith(".py"):
    spec = importlib.util.spec_from_file_location("program", name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function, *arguments = module.build(rushlight)
else:
    sys.path.insert(0, "benchmarks")
    import models
    function, _, _, *arguments, _ = models.build(rushlight, name, batch or None)
compiled = rushlight.compile(function)
for _ in range(2):
    compiled(*arguments)
calls, texts = [], {}
for programs in compiled._by_key.values():
    for program in programs:
        executable = program.executable
        for segment in executable.segments:
            if not hasattr(segment, "kernels"):
                calls.append(["host " + segment.equation.primitive.name, 0, 0.0])
                continue
            calls += [[k.name, k.items, round(k.work, 6)] for k in segment.kernels]
        for text in re.findall(r"^define [^\\n]*\\n(?:.*\\n)*?}$", executable.text, re.MULTILINE):
            texts[re.search(r"@([\\w.]+)\\(", text)[1]] = text
print(json.dumps({"calls": calls, "texts": texts}))
"""


def collect(tree: Path, program: str, batch: int) -> dict[str, Any]:
    """The kernels of one program, made by the files of a tree."""
    done = subprocess.run(
        [sys.executable, "-c", COLLECT, program, str(batch)],
        cwd=tree, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(tree)},
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{program} in {tree}: {(done.stderr.strip() or 'no output')[-600:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@contextmanager
def tree_of(commit: str | None) -> Iterator[Path]:
    """The files of a commit, in a folder that goes again; without one, the files as they are here."""
    if commit is None:
        yield ROOT
        return
    with tempfile.TemporaryDirectory(prefix="kernels-") as folder:
        tree = Path(folder) / "tree"
        subprocess.run(
            ["git", "worktree", "add", "--detach", "--quiet", str(tree), commit],
            cwd=ROOT,
            check=True,
        )
        try:
            yield tree
        finally:
            subprocess.run(
                ["git", "worktree", "remove", "--force", str(tree)], cwd=ROOT, check=True
            )


def stem(name: str) -> str:
    """A kernel's name without the digest of its text."""
    return name.rpartition("_")[0] or name


def differences(a: dict[str, Any], b: dict[str, Any], show: int) -> list[str]:
    """What differs, as lines; of at most `show` kernels the text too."""
    first, second = ([tuple(call) for call in side["calls"]] for side in (a, b))
    if first == second:
        return []
    lines = []
    shown = 0
    for tag, i, j, k, m in difflib.SequenceMatcher(
        None, first, second, autojunk=False
    ).get_opcodes():
        if tag == "equal":
            continue
        gone, come = first[i:j], second[k:m]
        lines += [f"  - {name}  items {items}  work {work:g} ns" for name, items, work in gone]
        lines += [f"  + {name}  items {items}  work {work:g} ns" for name, items, work in come]
        for (old, *_), (new, *_) in zip(gone, come, strict=False):
            if shown < show and old != new and stem(old) == stem(new):
                shown += 1
                texts = (side["texts"].get(name, "") for side, name in ((a, old), (b, new)))
                changed = difflib.unified_diff(
                    *(text.splitlines() for text in texts), old, new, lineterm="", n=2
                )
                lines += ["      " + line for line in changed]
    return lines


def main(arguments: list[str] | None = None) -> int:
    """Prints what differs in each program; 1 where something does."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("a", help="a commit")
    parser.add_argument("b", nargs="?", help="another; without it the files as they are here")
    parser.add_argument("--programs", default="lenet,mlp,convnet,resnet20,charlstm,gpt,vae")
    parser.add_argument("--batch", type=int, default=0, help="0: that of the tables")
    parser.add_argument(
        "--show", type=int, default=1, help="of how many kernels the text is compared"
    )
    options = parser.parse_args(arguments)
    different = 0
    with tree_of(options.a) as first, tree_of(options.b) as second:
        for program in options.programs.split(","):
            a, b = (collect(tree, program, options.batch) for tree in (first, second))
            lines = differences(a, b, options.show)
            count = f"{len(a['calls'])} calls of {len(a['texts'])} kernels"
            print(f"{program}: " + ("differs" if lines else f"the same {count}"), flush=True)
            print("\n".join(lines) + "\n" * bool(lines), end="")
            different |= bool(lines)
    return different


if __name__ == "__main__":
    sys.exit(main())

"""Sends tensors of every dtype and layout, and every kind of container, between rushlight, PyTorch and safetensors, and
prints what came back equal: to the bit, with shape, strides (where the format has them), flags and shared memory.

python tools/round_trips.py

Each column is a way: `torch > rl` is torch.save, then rushlight.load; `legacy` the format before PyTorch 1.6;
`safe` safetensors, written by one and read by the other.
"""

from __future__ import annotations

import collections
import io
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))


def main() -> int:
    """Prints the table; 1 if something came back changed."""
    warnings.simplefilter("ignore")
    import safetensors.torch
    import torch

    import rushlight
    from rushlight.serialization import safetensors as ours
    from tests.serialization import test_round_trips as cases

    def through(
        save: Callable[..., Any], load: Callable[..., Any], **options: Any
    ) -> Callable[[Any], Any]:
        def way(value: Any) -> Any:
            file = io.BytesIO()
            save(value, file, **options)
            file.seek(0)
            return load(file)

        return way

    def by_file(save: Callable[..., Any], load: Callable[..., Any]) -> Callable[[Any], Any]:
        def way(value: Any) -> Any:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "t.safetensors"
                save({"t": value}, path)
                found = load(path)["t"]
                return found.clone()

        return way

    old = {"_use_new_zipfile_serialization": False}
    trusting = lambda file: torch.load(file, weights_only=False)  # noqa: E731
    to_ours, to_torch = through(torch.save, rushlight.load), through(rushlight.save, trusting)
    ways: dict[str, tuple[str, Callable[[Any], Any]]] = {
        "torch > rl": ("torch", to_ours),
        "rl > torch": ("rl", to_torch),
        "rl > rl": ("rl", through(rushlight.save, rushlight.load)),
        "legacy torch > rl": ("torch", through(torch.save, rushlight.load, **old)),
        "legacy rl > torch": ("rl", through(rushlight.save, trusting, **old)),
        "safe torch > rl": ("torch", by_file(safetensors.torch.save_file, ours.load_file)),
        "safe rl > torch": ("rl", by_file(ours.save_file, safetensors.torch.load_file)),
        "safe rl > rl": ("rl", by_file(ours.save_file, ours.load_file)),
    }

    def tried(
        row: str,
        value: Any,
        columns: dict[str, tuple[str, Callable[[Any], Any]]],
        strides: bool = True,
    ) -> int:
        words, wrong = [], 0
        for name, (source, way) in columns.items():
            word = "equal"
            try:
                sent = to_ours(value) if source == "rl" else value
                found = way(sent)
                if name.startswith("safe"):
                    first, second = cases.bits(found), cases.bits(value)
                    equal = (first[:2], first[4]) == (second[:2], second[4])
                    word = "equal" if equal else "CHANGED"
                else:
                    cases.same(found, value)
            except AssertionError:
                word = "CHANGED"
            except Exception as problem:
                unknown = "complex128" in str(problem)  # which safetensors does not have
                word = "not in the format" if unknown else type(problem).__name__[:17]
            wrong += word not in ("equal", "not in the format")
            words.append(word)
        print(f"{row:34}" + "".join(f"{word:>19}" for word in words), flush=True)
        return wrong

    print(f"{'':34}" + "".join(f"{name:>19}" for name in ways))
    wrong = 0
    for dtype in cases.DTYPES:
        for layout, made in cases.LAYOUTS.items():
            value = made(cases.values_of(dtype))
            if layout in (
                "transposed",
                "stepped",
                "expanded",
                "row",
            ):  # safetensors.torch wants them contiguous
                columns = {
                    n: (s, w if not n.startswith("safe torch") else _contiguous(w))
                    for n, (s, w) in ways.items()
                }
            else:
                columns = ways
            wrong += tried(f"{dtype} {layout}", value, columns)
    pickled = {name: way for name, way in ways.items() if not name.startswith("safe")}
    containers: dict[str, Any] = {**cases.PLAIN, **cases.MORE}
    base = torch.arange(6.0)
    containers["parameters"] = collections.OrderedDict(
        w=torch.nn.Parameter(torch.ones(2)), b=torch.ones(1)
    )
    containers["views of one memory"] = [base, base[1:3], base.reshape(2, 3).t(), base]
    for optimizer, scheduler in cases.PAIRS:
        parts = cases.make(torch, optimizer, scheduler)
        cases.train(torch, *parts, 2)
        containers[f"checkpoint {optimizer} {scheduler}"] = cases.checkpoint(torch, *parts)
    for row, value in containers.items():
        wrong += tried(row[:33], value, pickled)
    print(f"{wrong} changed or failed")
    return 1 if wrong else 0


def _contiguous(way: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: way(value.contiguous())


if __name__ == "__main__":
    sys.exit(main())

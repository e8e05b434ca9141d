"""Families of ops that load when first used: nobody should notice."""

from __future__ import annotations

import subprocess
import sys

import pytest

import rushlight
from rushlight.ops import families, names


def run(program: str) -> str:
    """What a program prints in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


PROGRAMS = {
    "function": ("import rushlight; print(rushlight.det(rushlight.eye(2)).item())", "1.0"),
    "from import": ("from rushlight import softmax, zeros; print(softmax(zeros(2), 0).tolist())", "[0.5, 0.5]"),
    "method": ("import rushlight; print(rushlight.ones(2).softmax(0).tolist())", "[0.5, 0.5]"),
    "of the class": ("import rushlight; print(rushlight.Tensor.softmax(rushlight.ones(2), 0).tolist())", "[0.5, 0.5]"),
    "operator": ("import rushlight; print((rushlight.ones(2, 2) @ rushlight.ones(2)).tolist())", "[2.0, 2.0]"),
    "in place": ("import rushlight; print(rushlight.tensor([-1.0, 2.0]).relu_().tolist())", "[0.0, 2.0]"),
    "listed": ("import rushlight; print('svd' in dir(rushlight), 'svd' in dir(rushlight.Tensor))", "True True"),
    "linalg": ("import rushlight; print(rushlight.linalg.det(rushlight.eye(2)).item())", "1.0"),
    "named result": (
        "import pickle, rushlight; data = pickle.dumps(rushlight.eye(2).max(0)); "
        "print(pickle.loads(data).values.tolist())",
        "[1.0, 1.0]",
    ),
    "no such name": (
        "import rushlight\ntry:\n    rushlight.nonsense\nexcept AttributeError as e:\n    print(e)",
        "module 'rushlight' has no attribute 'nonsense'",
    ),
    "no such method": (
        "import rushlight\ntry:\n    rushlight.ones(1).nonsense\nexcept AttributeError as e:\n    print(e)",
        "'Tensor' object has no attribute 'nonsense'",
    ),
    "light": (
        "import sys, rushlight; print([m for m in ('llvmlite', 'numpy.random', 'pathlib') if m in sys.modules])",
        "[]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PROGRAMS)
def test_in_a_fresh_process(name: str) -> None:
    program, wanted = PROGRAMS[name]
    assert run(program) == wanted


def test_every_late_name_is_there() -> None:
    families.load_all()
    for name in names.FUNCTIONS:
        assert callable(getattr(rushlight, name)), name
    for name in names.METHODS:
        assert type(vars(rushlight.Tensor)[name]).__name__ in ("function", "property"), name

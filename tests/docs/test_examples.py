"""Every example in a docstring runs and prints what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import warnings

import pytest

import rushlight

NAMES = sorted(
    found.name
    for found in pkgutil.walk_packages(rushlight.__path__, "rushlight.")
    if not found.name.endswith("__main__")
)


@pytest.mark.parametrize("name", ["rushlight", *NAMES])
def test_examples(name: str) -> None:
    module = importlib.import_module(name)
    rushlight.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        failed, _ = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert not failed


def test_there_are_examples() -> None:
    """The finder sees through the decorators that make ops."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [
        test
        for name in NAMES
        if name.startswith("rushlight.ops.")
        for test in finder.find(importlib.import_module(name))
        if test.examples
    ]
    assert len(found) > 60

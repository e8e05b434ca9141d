"""Every op's samples, compiled against eager: results, gradients, refusals."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

import rushlight
from rushlight.capture.api import Compiled
from rushlight.ops.declare import FUNCTIONS, OPS, Bad
from tests.support import compiled
from tests.support.ledger import expected
from tests.support.making import Make

NAMES = compiled.names()


@pytest.mark.parametrize("name", [n for n in NAMES if OPS[n].traceable])
def test_same_results_and_gradients(name: str) -> None:
    """float32 with the gradients taken inside of the program, float64 with the gradients taken of its results."""
    with expected("compiled_samples", name):
        assert compiled.compare_op(name, rushlight.float32, inside=OPS[name].differentiable)
        assert compiled.compare_op(name, rushlight.float64, inside=False)


@pytest.mark.parametrize("name", [n for n in NAMES if not OPS[n].traceable])
def test_results_that_depend_on_values_are_refused(name: str) -> None:
    """What a trace cannot know is an error with the user's line; a sample that needs no values is compiled."""
    for call in compiled.samples_of(name, rushlight.float32):
        try:
            compiled.compare_calls(name, [call], inside=False)
        except RuntimeError as error:
            assert "a value is needed at compiled.py:" in str(error)


@pytest.mark.parametrize("name", NAMES)
def test_refuses_bad_input_as_eager_does(name: str) -> None:
    with expected("compiled_bad_input", name), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for bad in OPS[name].samples(Make()):
            if isinstance(bad, Bad):
                with pytest.raises(bad.raises) as caught:
                    Compiled(FUNCTIONS[name])(*bad.args, **bad.kwargs)
                assert bad.says in str(caught.value)


def test_comparison_notices_differences() -> None:
    """The comparison itself: what it is there to find, it finds."""
    one = rushlight.tensor([1.0, 2.0])
    found: list[Any] = [one + 1e-4, one.double(), rushlight.tensor([1.0, float("nan")]), [one]]
    assert all(compiled.difference(f, one) for f in found)
    assert not compiled.difference(one + 1e-6, one)
    assert compiled.difference(rushlight.tensor([1, 2]), rushlight.tensor([1, 3]))

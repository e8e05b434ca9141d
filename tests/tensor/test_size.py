from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import rushlight

torch = pytest.importorskip("torch", reason="PyTorch is the oracle")

EXPRESSIONS = [
    "S([2, 3])", "S()", "S(())", "S((True, 2))", "S(range(3))", "S(n for n in (4, 5))",
    "S([np.int64(2)])", "S([L.tensor(2)])", "S([1, 2]) + (3,)", "(3,) + S([1, 2])",
    "S([1]) + S([2])", "S([1, 2]) * 2", "2 * S([1, 2])", "S([1, 2, 3])[1:]", "S([1, 2, 3])[::-1]",
    "S([1, 2, 3])[-1]", "S([2, 3]).numel()", "S([]).numel()", "S([2, 0]).numel()",
    "S([1, 2]) == (1, 2)", "S([2, 1]).index(1)", "sorted(S([3, 1]))",
    "hash(S([1, 2])) == hash((1, 2))", "str(S([1]))", "f'{S([1])}'", "type(S([1, 2])[:1]) is S",
    "type(S([1]) + (2,)) is S", "isinstance(S([1]), tuple)", "L.zeros(2, 3).shape",
    "L.zeros(2, 3).size()[:1]", "S([1, 2, 1]).count(1)", "len(S([1, 2]))",
]  # fmt: skip
ERRORS = [
    "S((1, 2.0))", "S(3)", "S(['a'])", "S([1]) + [2]", "S([2]) + ('a',)", "S([1]) + (1.5,)",
    "S([2], [3])", "S([1, 2])['a']", "S([1])[3]", "S([None])", "S('ab')", "S([L.tensor(2.5)])",
    "S([1]) * 1.5",
]  # fmt: skip


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_as_in_torch(expression: str) -> None:
    ours = eval(expression, {"S": rushlight.Size, "L": rushlight, "np": np})
    theirs = eval(expression, {"S": torch.Size, "L": torch, "np": np})
    assert repr(ours) == repr(theirs)


@pytest.mark.parametrize("expression", ERRORS)
def test_refuses_what_torch_refuses(expression: str) -> None:
    with pytest.raises(Exception) as theirs:
        eval(expression, {"S": torch.Size, "L": torch})
    with pytest.raises(theirs.type):
        eval(expression, {"S": rushlight.Size, "L": rushlight})


def test_copies() -> None:
    size = rushlight.Size([2, 3])
    for made in (pickle.loads(pickle.dumps(size)), copy.copy(size), copy.deepcopy(size)):
        assert type(made) is rushlight.Size and made == (2, 3)

"""A fixed slice of the random programs that tools/fuzz_compile.py runs, eager against compiled."""

from __future__ import annotations

from typing import Any

import pytest

import rushlight
from tests.fuzz import programs
from tests.support.rounding import explained, rounded_by_chance


@pytest.mark.parametrize("start", range(0, 60, 10))
def test_random_programs_are_the_same_compiled(start: int) -> None:
    for seed in programs.seeds(10, start):
        program = programs.draw(seed)
        words = programs.check(program)
        assert words in ("", programs.ROUNDING), f"{words}\n{program.source()}"


def test_a_wrong_program_is_noticed_and_shrunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The harness itself: with a compiler that gives other numbers it fails, and keeps only what matters."""
    right = programs.run_wrapped

    def wrong(program: programs.Program, wrap: object) -> object:
        results, state, drawn = right(program, wrap)
        if any("tanh" in t for _, t in program.lines) and getattr(wrap, "__name__", "") == "wrap":
            results = [[t + 1 for t in r] for r in results]
        return results, state, drawn

    monkeypatch.setattr(programs, "run_wrapped", wrong)
    drawn = map(programs.draw, range(20))
    program = next(p for p in drawn if any(n and "tanh" in t for n, t in p.lines))
    assert "differ" in programs.check(program)
    small = programs.shrink(program)
    assert len(small.lines) <= 3 and any("tanh" in text for _, text in small.lines)


@pytest.mark.parametrize("seed", [205, 834, 1374])
def test_programs_that_differed_once(seed: int) -> None:
    assert not programs.check(programs.draw(seed))


@pytest.mark.parametrize("seed", [760, 1507, 1851, 1898])
def test_what_rounding_alone_moves(seed: int) -> None:
    """A sum that is zero but for rounding, and 1 - tanh(x)^2 where tanh(x) is nearly 1."""
    assert programs.check(programs.draw(seed)) in ("", programs.ROUNDING)


def test_rounding_explains_no_wrong_number() -> None:
    """What is off by a millionth, or in one element, is no rounding where nothing magnifies it."""
    with rounded_by_chance(0):
        rounded = (rushlight.arange(1.0, 9.0) / 3).numpy()
    right = (rushlight.arange(1.0, 9.0) / 3).numpy()
    assert 0 < abs(rounded - right).max() < 1e-6
    assert explained([rounded], [right], [[rounded]])
    assert not explained([right * (1 + 1e-5)], [right], [[rounded]])
    assert not explained([right + (right == right[3])], [right], [[rounded]])
    assert not explained([right.astype("float64")], [right], [[rounded]])


def test_an_update_behind_rows_reads_each_element_before_it_is_written() -> None:
    """Six rows of a softmax, four at a time: what follows overwrote rows that were done twice."""
    weight = rushlight.linspace(-1, 1, 24, dtype=rushlight.float64).view(2, 3, 4)
    x = weight.cos()

    def step(x: Any, weight: Any) -> Any:
        shares = x.log_softmax(-1)
        old = weight * 2
        weight.sub_(shares)
        return old

    mine, theirs = weight.clone(), weight.clone()
    assert rushlight.equal(rushlight.compile(step)(x, theirs), step(x, mine))
    assert rushlight.allclose(mine, theirs, rtol=1e-12)


def test_a_part_of_a_concatenation_outlives_it() -> None:
    """A state's new value lies where the concatenation wants it, which is then written to."""
    state, x = rushlight.arange(6.0).view(2, 3), rushlight.full((2, 3), 2.0)

    def step(x: Any, state: Any) -> Any:
        before = state.clamp(0, 3)
        state.unsqueeze(0).mul_(x)
        both = rushlight.cat([state, before], -1)
        both[-1] -= both[0]
        return both

    mine, theirs = state.clone(), state.clone()
    assert rushlight.equal(rushlight.compile(step)(x, theirs), step(x, mine))
    assert rushlight.equal(mine, theirs)


def test_a_result_is_stored_in_another_dtype_than_it_is_made_in() -> None:
    """Where only a sum with a cast value is kept, the kernel still computes in the dtype of its own result."""
    weight = rushlight.linspace(-2, 2, 140, dtype=rushlight.float64).view(2, 70)

    def grad(weight: Any) -> Any:
        weight = weight.detach().requires_grad_()
        (weight.float().tanh().sum() + weight.max(-1).values.tanh().sum()).backward()
        return weight.grad

    assert rushlight.allclose(rushlight.compile(grad)(weight), grad(weight), 1e-5, 1e-6)

"""A fixed slice of the random programs that tools/fuzz_compile.py runs, eager against compiled."""

from __future__ import annotations

import pytest

from tests.fuzz import programs
from tests.support.ledger import expected


@pytest.mark.parametrize("start", range(0, 60, 10))
def test_random_programs_are_the_same_compiled(start: int) -> None:
    for seed in programs.seeds(10, start):
        program = programs.draw(seed)
        words = programs.check(program)
        assert not words, f"{words}\n{program.source()}"


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


@pytest.mark.parametrize("seed", [205, 1234])
def test_programs_that_differ_still(seed: int) -> None:
    with expected("fuzz", str(seed)):
        program = programs.draw(seed)
        words = programs.check(program)
        assert not words, f"{words}\n{program.source()}"

"""What `rushlight.debug` prints of compiled programs."""

from __future__ import annotations

import re

import pytest

import rushlight
from rushlight import nn
from rushlight.compiler.peak import machine

pytest.importorskip("llvmlite")


def net() -> nn.Module:
    """A convolution and a linear layer, by name."""
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5))


def told(level: int, capsys: pytest.CaptureFixture[str]) -> str:
    """What a second call prints at a level."""
    module = net()
    compiled = rushlight.compile(module)
    x = rushlight.randn(2, 1, 8, 8)
    with rushlight.no_grad():
        expected = compiled(x)
        with rushlight.debug(level):
            again = compiled(x)
    assert rushlight.equal(expected, again)
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


def test_nothing_is_told_when_it_is_off(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(0, capsys) == ""
    assert told(1, capsys) == ""  # nothing is compiled in the second call


def test_level_two_is_a_table_of_kernels(capsys: pytest.CaptureFixture[str]) -> None:
    lines = told(2, capsys).splitlines()
    assert re.fullmatch(r".+ on \d+ threads, \d+ GFLOP/s, [\d.]+ GB/s", lines[0])
    assert lines[1].split() == ["kernel", "module", "line", "loops", "us", "rate", "of", "peak"]
    convolution = next(line for line in lines if line.strip().startswith("convolve"))
    assert "(Conv2d)" in convolution
    assert "test_debug.py:" in convolution
    assert re.search(r"\d+\.\d\s+[\d.]+ G(FLOP|B)/s\s+\d+%$", convolution)
    assert re.search(r"\d+ kernels", lines[-1])
    assert sum(float(found) for found in re.findall(r"(\d+\.\d)  +[\d.]+ G", "\n".join(lines))) > 0


def test_levels_three_and_four_add_code(capsys: pytest.CaptureFixture[str]) -> None:
    text = told(3, capsys)
    assert "define void @convolve" in text
    assert ".text" not in text
    both = told(4, capsys)
    assert "define void @convolve" in both
    assert re.search(r"^convolve\w+:$", both, re.MULTILINE)


def test_code_is_told_once_for_a_program(capsys: pytest.CaptureFixture[str]) -> None:
    double = rushlight.compile(lambda x: x * 2)
    with rushlight.debug(3):
        double(rushlight.ones(3))
        double(rushlight.ones(3))
    text = capsys.readouterr().err
    assert text.count("define void @") == 1
    assert len(re.findall(r"^  1 kernels", text, re.MULTILINE)) == 2


def test_a_fault_is_raised_under_the_clock_too() -> None:
    table = rushlight.randn(4, 3)
    look = rushlight.compile(lambda i: table[i])
    look(rushlight.tensor([0, 1]))
    with rushlight.debug(2), pytest.raises(IndexError):
        look(rushlight.tensor([0, 9]))
    assert rushlight.equal(look(rushlight.tensor([3, 1])), table[rushlight.tensor([3, 1])])


def test_the_machine_is_measured_once_for_a_number_of_threads() -> None:
    first = machine()
    assert machine() is first
    assert first.flops > 1e9
    assert first.bytes > 1e8

"""`rushlight.explain`: figures that add up, and a page that stands alone."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import rushlight
from rushlight import nn
from rushlight.compiler.profile import watching
from rushlight.core.flags import verbosity
from rushlight.report.memory import chart
from rushlight.report.page import changes

pytest.importorskip("llvmlite")

#: Elements that have no end.
VOID = {"meta"}


class Outline(HTMLParser):
    """Checks that elements nest, and gathers what they refer to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.count: dict[str, int] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        for name, value in attrs:
            if name in ("href", "src", "srcset", "data", "action"):
                self.links.append(value or "")
            if name == "id":
                self.anchors.add(value or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def training() -> tuple[Any, Any, Any]:
    """A step, and its batch."""
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
    optimizer = rushlight.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step, rushlight.randn(3, 1, 8, 8), rushlight.tensor([0, 4, 2])


def test_figures_of_a_training_step() -> None:
    level = verbosity.level
    found = rushlight.explain(*training(), runs=3)
    assert verbosity.level == level
    assert found.seconds > 0
    assert len(found.parts) == 1
    part = found.parts[0]
    assert part.kernels == found.kernels
    assert 0 < part.seconds
    assert any(k.name.startswith("convolve") and "(Conv2d)" in k.module for k in part.kernels)
    assert found.flops >= 2 * 3 * 4 * 36 * 9
    assert len(part.graph.equations) <= len(part.traced.equations)
    assert found.stats["compiles"] == 1
    assert all(0 <= b.offset and b.offset + b.bytes <= part.arena_bytes for b in part.blocks)
    assert all(0 <= b.first <= b.last < len(part.kernels) for b in part.blocks)
    for a in part.blocks:  # what lives at one time lies apart
        for b in part.blocks:
            if a is not b and a.first <= b.last and b.first <= a.last:
                assert a.offset + a.bytes <= b.offset or b.offset + b.bytes <= a.offset
    assert "convolve" in str(found) and "first trace" in str(found)
    assert "define void @convolve" in part.code


def test_the_page_stands_alone(tmp_path: Path) -> None:
    found = rushlight.explain(*training(), runs=2)
    found.save(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    outline = Outline()
    outline.feed(text)
    assert outline.open == []
    assert all(link.startswith("#") for link in outline.links)
    assert {link[1:] for link in outline.links} <= outline.anchors
    assert not re.findall(r"(?:https?:)?//(?!www\.w3\.org/2000/svg)[\w.]+/", text)
    assert "@import" not in text and "url(" not in text
    assert text.count("<tr>") == 1 + len(found.kernels)
    assert "prefers-color-scheme: dark" in text
    assert outline.count["svg"] == 2
    assert 'srcdoc="' in found._repr_html_()


def test_a_forward_and_its_backward_are_two_programs(capsys: pytest.CaptureFixture[str]) -> None:
    net = rushlight.compile(nn.Linear(4, 3))
    x = rushlight.randn(2, 4)
    found = rushlight.explain(net, x, runs=1)
    assert len(found.parts) == 1
    for _ in range(2):  # without gradients, and with some
        net(x).sum().backward()
    with watching() as runs:
        net(x).sum().backward()
    assert len({id(executable) for executable, _ in runs}) == 2
    assert all(figures for _, figures in runs)
    assert capsys.readouterr().err == ""


def test_why_it_was_traced_again_is_told() -> None:
    double = rushlight.compile(lambda x: x * 2)
    double(rushlight.ones(3))
    found = rushlight.explain(double, rushlight.ones(4), runs=1)
    assert found.stats["compiles"] == 2
    assert "instead of" in found.html()


def test_host_steps_are_named() -> None:
    found = rushlight.explain(lambda x: rushlight.sort(x)[0] + 1, rushlight.randn(5), runs=1)
    assert any(step.startswith("sort") for step in found.parts[0].on_host)
    assert "host: sort" in found.html()


def test_what_cannot_be_explained_is_refused() -> None:
    with pytest.raises(TypeError, match="takes a function or a module"):
        rushlight.explain(3)
    with pytest.raises(ValueError, match="at least one run"):
        rushlight.explain(lambda x: x, rushlight.ones(1), runs=0)
    with pytest.raises(RuntimeError, match="if"):
        rushlight.explain(lambda x: x if x > 0 else -x, rushlight.ones(()))


def test_changes_leave_names_out() -> None:
    before = (
        "graph(\n)\n  %0: f[] = full(1)\n  %1: f[] = copy(%0)\n  %2: f[] = neg(%1)\n  return %2"
    )
    after = "graph(\n)\n  %0: f[] = full(1)\n  %1: f[] = neg(%0)\n  return %1"
    assert list(changes(before, before)) == []
    lines = list(changes(before, after))
    assert sum("removed" in line for line in lines) == 1
    assert not any("added" in line for line in lines)


def test_an_empty_arena_has_a_chart() -> None:
    assert chart([], 0, 0).startswith("<svg")

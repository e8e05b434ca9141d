"""The picture of a graph: boxes that do not overlap, edges downwards, and SVG that is well formed."""

from __future__ import annotations

import random
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rushlight
from rushlight import nn
from rushlight.compiler.graph import Graph
from rushlight.compiler.layering import GAP_X, GAP_Y, place, rows_of
from rushlight.compiler.picture import boxes_of
from tests.support.graphs import traced, uncompiled

__all__ = ["uncompiled"]
SVG = "{http://www.w3.org/2000/svg}"


def programs(count: int, seed: int) -> list[tuple[int, int]]:
    """Edges from earlier to later boxes."""
    chance = random.Random(seed)
    return [(a, b) for b in range(count) for a in range(b) if chance.random() < 2.5 / count]


@given(st.integers(0, 40), st.integers(0, 1000))
def test_boxes_do_not_overlap_and_edges_lead_down(count: int, seed: int) -> None:
    edges = programs(count, seed)
    chance = random.Random(seed)
    sizes = [(chance.uniform(20, 200), chance.uniform(10, 90)) for _ in range(count)]
    places = place(sizes, edges)
    rows = rows_of(count, edges)
    assert len(places) == count
    for a, b in edges:
        assert rows[a] < rows[b]
        assert places[a][1] + sizes[a][1] + GAP_Y <= places[b][1] + 1e-6
    for i in range(count):
        assert places[i][0] >= 0
        for j in range(i):
            if rows[i] == rows[j]:
                left, right = sorted((i, j), key=lambda k: places[k][0])
                assert places[left][0] + sizes[left][0] + GAP_X <= places[right][0] + 1e-6


def test_a_chain_is_a_straight_line() -> None:
    places = place([(50, 10), (90, 10), (30, 10)], [(0, 1), (1, 2)])
    middles = {x + w / 2 for (x, _), w in zip(places, (50, 90, 30), strict=True)}
    assert max(middles) - min(middles) < 1


@pytest.mark.usefixtures("uncompiled")
def test_a_training_step() -> None:
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    optimizer = rushlight.optim.SGD(net.parameters(), lr=0.1)

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return loss

    graph = traced(step, rushlight.randn(5, 4), rushlight.tensor([0, 1, 1, 0, 1]), calls=2)
    root = ElementTree.fromstring(graph.svg())
    texts = [t.text or "" for t in root.iter(SVG + "text")]
    assert any("Sequential.0 (Linear)" in t for t in texts)
    assert any(t.startswith("reads x") for t in texts)
    assert any(t.startswith("contract  float32[5,3]") for t in texts)
    assert len(root.findall(f"{SVG}g")) == len(boxes_of(graph))
    assert sum(len(box.equations) for box in boxes_of(graph)) == len(graph.equations)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for group in root.findall(f"{SVG}g"):
        x, y = (float(n) for n in group.attrib["transform"][10:-1].split())
        box = group.find(f"{SVG}rect")
        assert box is not None
        assert 0 <= x and x + float(box.attrib["width"]) <= width
        assert 0 <= y and y + float(box.attrib["height"]) <= height
    assert graph._repr_svg_() == graph.svg()


def test_an_empty_graph_has_a_picture() -> None:
    assert ElementTree.fromstring(Graph([], [], []).svg()).tag == SVG + "svg"

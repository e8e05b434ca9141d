"""Pairs of groups that read one weight: the gradient of a layer's input, and the weight's update.

    dx = contract(dy, w)            reads w as it is
    w' = update(w, contract(dy, x)) reads w again, and writes it

With one row (a batch of one), both take each element of `w` once, and reading `w` is what they wait for. As a pair they
are one kernel, which reads each row of `w` once: it adds the row's part of `dx`, then updates the row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rushlight.compiler.graph import Var
from rushlight.compiler.grouping import Group, Grouping

#: Elements that a weight has at least for this to be worth it.
LEAST_ELEMENTS = 4096


def _is_product(group: Group) -> bool:
    head = group.head
    return group.kind == "heavy" and head is not None and head.primitive.name == "contract"


def _operands(group: Group) -> tuple[Any, ...]:
    assert group.head is not None  # noqa: S101 - asked of products only
    return group.head.operands


def find_pairs(grouping: Grouping, claimed: Mapping[Var, Var]) -> dict[Group, Group]:
    """By the group of the input's gradient: the group of the update, which may run where that does.

    `claimed` says which values are written over which inputs of the graph.
    """
    readers: dict[Var, list[Group]] = {}
    for group in grouping.groups:
        for root in group.reads:
            readers.setdefault(root, []).append(group)
    pairs: dict[Group, Group] = {}
    for update in grouping.groups:
        if not _is_product(update) or len(update.shape) != 2:
            continue
        weights = [
            claimed[v] for v in update.outputs
            if v in claimed and claimed[v] in update.reads and claimed[v].shape == update.shape
        ]  # fmt: skip
        given = {grouping.root(o) for o in _operands(update) if isinstance(o, Var)}
        for weight in weights:
            if weight.size < LEAST_ELEMENTS:
                continue
            for gradient in readers.get(weight, ()):
                if (
                    gradient not in pairs
                    and _is_product(gradient)
                    and gradient.number < update.number
                    and weight in {grouping.root(o) for o in _operands(gradient)}
                    and given & {grouping.root(o) for o in _operands(gradient)}
                    and _may_come_forward(grouping, update, gradient, claimed, readers)
                ):
                    pairs[gradient] = update
                    break
    return pairs


def _may_come_forward(
    grouping: Grouping, update: Group, to: Group, claimed: Mapping[Var, Var], readers: Mapping[Var, list[Group]]
) -> bool:  # fmt: skip
    """Whether an update may run where another group does: what it reads is there, what it overwrites nobody needs."""
    if any(grouping.ready(root) >= to.number for root in update.reads):
        return False
    written = [claimed[v] for v in update.outputs if v in claimed]
    return not any(
        to.number < reader.number < update.number
        for source in written
        for reader in readers.get(source, ())
    )

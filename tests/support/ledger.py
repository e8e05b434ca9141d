"""The ledger of known gaps (tests/known_gaps.toml): a listed case must fail, any other must pass.

    [gradients]
    "linalg.eig" = "why it fails, and what would mend it"

A test asks for its entry by table and key. An entry whose case passes fails the suite: gaps leave the ledger as
soon as they are closed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LEDGER = Path(__file__).parents[1] / "known_gaps.toml"


@cache
def gaps() -> dict[str, dict[str, str]]:
    """The tables of the ledger."""
    with LEDGER.open("rb") as file:
        return tomllib.load(file)


@contextmanager
def expected(table: str, key: str) -> Iterator[Any]:
    """Runs a case: as it is if it is not in the ledger, else it must fail, and then counts as an expected failure."""
    reason = gaps().get(table, {}).get(key)
    if reason is None:
        yield None
        return
    try:
        yield reason
    except Exception as error:  # whatever the gap raises
        pytest.xfail(f"{reason} ({type(error).__name__})")
    pytest.fail(f"{table}.{key} passes now: take it out of {LEDGER.name} ({reason})")

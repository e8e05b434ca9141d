"""What tests of compiling share: float64, in which differences are mistakes and not rounding."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import rushlight


@pytest.fixture
def double() -> Iterator[None]:
    """float64 is the default dtype in this test."""
    rushlight.set_default_dtype(rushlight.float64)
    yield
    rushlight.set_default_dtype(rushlight.float32)

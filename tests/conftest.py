"""What all tests share: one seed each, so that they run in any order, and the strict ledger of known gaps."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import rushlight


@pytest.fixture(autouse=True)
def _fresh_state() -> Iterator[None]:
    """Each test starts from seed 0 and PyTorch's default settings."""
    if hasattr(rushlight, "manual_seed"):
        rushlight.manual_seed(0)
    yield
    rushlight.set_default_dtype(rushlight.float32)
    rushlight.set_grad_enabled(True)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Golden files are written anew when it is asked for."""
    parser.addoption("--renew-golden", action="store_true", help="write tests/golden/ anew")


@pytest.fixture
def renew(request: pytest.FixtureRequest) -> bool:
    """Whether golden files are to be written anew."""
    return bool(request.config.getoption("--renew-golden"))

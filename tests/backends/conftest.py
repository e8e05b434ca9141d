from contextlib import contextmanager

import pytest

from rushlight.backends.settings import settings

pytest.importorskip("llvmlite")


@pytest.fixture
def on_numpy():
    """A context in which every eager call is NumPy's."""

    @contextmanager
    def inside():
        before, settings.native = settings.native, False
        try:
            yield
        finally:
            settings.native = before

    return inside

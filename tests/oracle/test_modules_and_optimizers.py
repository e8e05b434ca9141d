"""Every module and every optimizer against PyTorch's own cases for it."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is the oracle: pip install -e '.[oracle]'")

from tests.oracle.module_cases import modules, optimizers, run_module, run_optimizer  # noqa: E402
from tests.support.ledger import expected  # noqa: E402

pytestmark = pytest.mark.oracle


@pytest.mark.parametrize("info", modules(), ids=lambda info: info.module_cls.__name__)
def test_module(info: Any) -> None:
    with expected("module_db", info.module_cls.__name__):
        for dtype in (torch.float32, torch.float64):
            count, failures = run_module(info, dtype)
            assert count, "no case ran"
            assert not failures, f"{dtype}: {len(failures)} of {count} cases fail: " + "\n".join(
                failures[:3]
            )


@pytest.mark.parametrize("info", optimizers(), ids=lambda info: info.optim_cls.__name__)
def test_optimizer(info: Any) -> None:
    with expected("optim_db", info.optim_cls.__name__):
        for dtype in (torch.float32, torch.float64):
            count, failures = run_optimizer(info, dtype)
            assert count, "no case ran"
            assert not failures, f"{dtype}: {len(failures)} of {count} cases fail: " + "\n".join(
                failures[:3]
            )

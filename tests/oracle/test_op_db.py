"""Every declared op against PyTorch's own cases for it, in float32 and float64 (integers where it has no floats)."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is the oracle: pip install -e '.[oracle]'")

from tests.oracle.op_cases import cases, key_of, run_op  # noqa: E402
from tests.support.ledger import expected  # noqa: E402

pytestmark = pytest.mark.oracle


def dtypes_of(info: Any) -> list[Any]:
    """float32 and float64; for ops without floats the first integer type they have."""
    floats = [d for d in (torch.float32, torch.float64) if d in info.dtypes]
    return floats or [d for d in (torch.int64, torch.bool, torch.complex64) if d in info.dtypes][:1]


@pytest.mark.parametrize("info", [info for info, _ in cases()], ids=key_of)
def test_op(info: Any) -> None:
    with expected("op_db", key_of(info)):
        for dtype in dtypes_of(info):
            count, failures = run_op(info, dtype)
            assert not failures, f"{dtype}: {len(failures)} of {count} cases fail: " + "\n".join(
                failures[:3]
            )

"""What may run eager calls: as far as the user has a say, and as far as higher rooms have filled it in."""

from __future__ import annotations

from typing import Any

from rushlight.core.flags import setting


class _Settings:
    """`native`: whether large calls may be given to native kernels."""

    def __init__(self) -> None:
        self.native = setting("RUSHLIGHT_EAGER") != "numpy"

    def step_natively(self, optimizer: Any) -> bool:
        """Makes an optimizer's step in one native call; False, and nothing done, where Python should."""
        return self.native and self.stepper(optimizer)

    def stepper(self, optimizer: Any) -> bool:
        """Filled from above, by capture."""
        return False


settings = _Settings()

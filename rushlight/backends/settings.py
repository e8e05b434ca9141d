"""What may run eager calls, as far as the user has a say."""

from __future__ import annotations

from rushlight.core.flags import setting


class _Settings:
    """`native`: whether large calls may be given to native kernels."""

    def __init__(self) -> None:
        self.native = setting("RUSHLIGHT_EAGER") != "numpy"


settings = _Settings()

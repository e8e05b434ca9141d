"""What lower rooms ask higher ones to do: who runs eager calls and steps, who compiles, and who reads files."""

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

    def compile_module(self, module: Any, options: dict[str, Any]) -> None:
        """Filled from above, by capture: compiles a module's forward in place."""
        raise RuntimeError("rushlight.capture is not there: nothing can be compiled")

    def load_model(self, module: Any, path: Any, strict: bool) -> tuple[list[str], list[str]]:
        """Filled from above, by serialization: loads a file of tensors into a module."""
        raise RuntimeError("rushlight.serialization is not there: no file can be loaded")


settings = _Settings()

"""The command line of rushlight. See README.md."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line on these arguments, or the process's own, and ends the process."""
    from rushlight.cli.main import run

    sys.exit(run(arguments))

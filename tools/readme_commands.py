"""Prints a command of the README: `train` (installs and runs the main job) or `tests` (installs and tests).

python tools/readme_commands.py tests
"""

from __future__ import annotations

import re
import sys
from pathlib import Path


def commands() -> dict[str, str]:
    """The README's two one-line commands, by their purpose."""
    text = (Path(__file__).parents[1] / "README.md").read_text()
    lines = [
        line
        for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
        for line in block.splitlines()
    ]
    return {
        "train": next(line for line in lines if line.endswith("rushlight train")),
        "tests": next(line for line in lines if "pytest" in line),
    }


if __name__ == "__main__":
    print(commands()[sys.argv[1]])

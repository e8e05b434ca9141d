"""How large an install is: the wheel, and everything that `pip install rushlight` unpacks.

    python benchmarks/install_size.py

Asked: a py3-none-any wheel of at most 2 MB, at most 245 MB with dependencies (without .pyc files).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
MB = 1 << 20


def main() -> int:
    """Builds the wheel, installs it into an empty folder, and adds up the files."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", folder, str(ROOT)], check=True)
        wheel = next(Path(folder).glob("rushlight-*.whl"))
        target = Path(folder) / "site"
        subprocess.run(
            [*pip, "install", "--no-compile", "--target", str(target), str(wheel)], check=True
        )
        sizes: dict[str, int] = {}
        for file in target.rglob("*"):
            if file.is_file() and not file.is_symlink() and file.suffix != ".pyc":
                top = file.relative_to(target).parts[0]
                sizes[top] = sizes.get(top, 0) + file.stat().st_size
        for name, size in sorted(sizes.items(), key=lambda item: -item[1])[:6]:
            print(f"{size / MB:8.1f} MB  {name}")
        total, own = sum(sizes.values()) / MB, wheel.stat().st_size / MB
        print(f"{total:8.1f} MB  installed, with dependencies (asked: at most 245)")
        print(f"{own:8.2f} MB  {wheel.name} (asked: at most 2)")
        return int(total > 245 or own > 2 or not wheel.name.endswith("py3-none-any.whl"))


if __name__ == "__main__":
    sys.exit(main())

"""Copy a checkout without the package itself: ``copy_checkout.py FROM TO`` (see tox.ini)."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

SKIPPED = shutil.ignore_patterns(".git", ".tox", ".venv", "build", "dist", "*.egg-info", "data")


def main(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, ignore=SKIPPED)
    shutil.rmtree(target / "kvcore")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

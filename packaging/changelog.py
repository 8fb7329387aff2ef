"""The section of one release in CHANGELOG.md, on standard output.

python packaging/changelog.py 1.2.3
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

CHANGELOG = Path(__file__).resolve().parents[1] / "CHANGELOG.md"


def section(version: str, text: str) -> str:
    """What stands below `## VERSION` up to the next release. Raises LookupError where there is none."""
    found = re.search(rf"^## {re.escape(version)}\b.*?\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    if found is None:
        raise LookupError(f"CHANGELOG.md has no section for {version}.")
    return found[1].strip() + "\n"


if __name__ == "__main__":
    try:
        sys.stdout.write(section(sys.argv[1], CHANGELOG.read_text(encoding="utf-8")))
    except LookupError as error:
        sys.exit(str(error))

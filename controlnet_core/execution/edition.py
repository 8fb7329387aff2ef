"""Which studio this is, down to the last line: processes on several machines must run the same one."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_ROOMS = ("controlnet_core", "annotator", "paperworld", "webapp/application")
"""What makes pictures and maps; pages and commands may differ."""


@cache
def edition() -> str:
    """Twelve hexadecimal digits: a digest of the code and the cards that make pictures."""
    digest = hashlib.sha256()
    for room in _ROOMS:
        for path in sorted((_ROOT / room).rglob("*")):
            if path.suffix in (".py", ".toml") and "__pycache__" not in path.parts:
                digest.update(path.relative_to(_ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]

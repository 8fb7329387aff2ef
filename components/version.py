"""Which files the browser loads, and a name for their present state that changes when one of them does."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

ASSETS = Path(__file__).parent / "assets"
"""Everything under it is served as `/studio/assets/{assets_version()}/{path}` and may be cached for ever."""

_IMPORT = re.compile(r"""^(?:import|export)\b[^;"']*?["'](\.[^"']+)["']""", re.MULTILINE)


def assets_version() -> str:
    """Twelve hexadecimal digits over the names and contents of all assets.

    While nobody edits them this costs a look at each file's time and size.
    """
    return _digest(tuple(sorted(_files(ASSETS))))


def _files(folder: Path) -> Iterator[tuple[Path, int, int]]:
    """Every file under a folder, its time and size; with one look at each, for every page asks for this."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _files(Path(entry.path))
            else:
                about = entry.stat()
                yield Path(entry.path), about.st_mtime_ns, about.st_size


@lru_cache(maxsize=64)
def modules(entries: tuple[str, ...], version: str) -> tuple[str, ...]:
    """The paths under `ASSETS` of some modules and of all that they import, at a version.

    A browser that is told of all at once needs no round trip for every level of imports.
    """
    found: dict[str, None] = {}
    waiting = list(entries)
    while waiting:
        name = waiting.pop(0)
        if name in found:
            continue
        found[name] = None
        path = ASSETS / name
        for imported in _IMPORT.findall(path.read_text(encoding="utf-8")):
            waiting.append((path.parent / imported).resolve().relative_to(ASSETS.resolve()).as_posix())
    return tuple(found)


@lru_cache(maxsize=8)
def _digest(files: tuple[tuple[Path, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for path, _, _ in files:
        content = path.read_bytes()
        digest.update(f"{path.relative_to(ASSETS).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:12]

"""What the browser loads, and a name for its present state that changes when a file does."""

from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from components.linker import link

ASSETS = Path(__file__).parent / "assets"
"""Everything under it is served as `/studio/assets/{assets_version()}/{path}` and may be cached for ever."""

BUNDLE = "all.js"
"""Beside the assets: all modules in one, see `components.linker`."""


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


@lru_cache(maxsize=1)
def bundle(version: str) -> bytes:
    """All modules in one, gzipped, at a version; made once, in a twentieth of a second."""
    return gzip.compress(link(ASSETS).encode())


@lru_cache(maxsize=8)
def _digest(files: tuple[tuple[Path, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for path, _, _ in files:
        content = path.read_bytes()
        digest.update(f"{path.relative_to(ASSETS).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:12]

"""Where a command puts its pictures: a folder, a file or standard output, with the permissions of the user's other files."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from controlnet_core.domain.errors import InputError
from controlnet_core.storage import store

SUFFIX = ".png"


@dataclass(frozen=True)
class Output:
    """`place` is a folder, or a file whose name ends in .png; None is standard output, which takes one picture alone."""

    place: Path | None

    @classmethod
    def of(cls, given: str, count: int) -> Output:
        """What `--out` means for `count` pictures. Raises InputError with what to write instead."""
        if given == "-":
            if count > 1:
                raise InputError(f"Standard output takes one picture, not {count}.", "Name a folder: --out pictures/")
            if sys.stdout.isatty():
                raise InputError("A picture on a terminal is noise.", "Pipe it on, or name a file: --out picture.png")
            return cls(None)
        place = Path(given)
        if place.suffix and place.suffix.lower() != SUFFIX and not place.is_dir():
            raise InputError(
                f"Pictures are PNGs, which hold their recipe; {place.name} is not one.",
                f"Write --out {place.with_suffix(SUFFIX)}, or name a folder.",
            )
        return cls(place)

    @property
    def words(self) -> TextIO:
        """Where a command talks meanwhile: where its picture does not go."""
        return sys.stderr if self.place is None else sys.stdout

    def write(self, name: str, index: int, data: bytes, free_min_bytes: int) -> str:
        """Put picture `index` (from 0) there; in a folder it is called `name`. Returns where it lies now. Raises NoSpace."""
        if self.place is None:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            return "standard output"
        path = self._path(name, index)
        store.write(path, data, free_min_bytes=free_min_bytes, private=False)
        return str(path)

    def _path(self, name: str, index: int) -> Path:
        place = self.place or Path()
        if place.suffix.lower() != SUFFIX or place.is_dir():
            return place / name
        return place if index == 0 else place.with_name(f"{place.stem}-{index + 1}{place.suffix}")

"""What is said of models that a worker on another machine is lent. Opens no file.

The studio says which models a job needs (`Lent`) and what they are made of (`Parcel`); the worker has them, keeps them from
an earlier job, or has them sent (`storage.shelf`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class Lent:
    """A model that a job needs, as the studio has it.

    `card` is its card as JSON: another machine may know none of that name. `place` is where it lies on the studio's machine.
    `own` says that it is the user's: what another machine has under its name may be another one.
    """

    id: str
    title: str
    card: str
    place: Path
    own: bool


@dataclass(frozen=True)
class PartOfModel:
    """A file of a model: its `path` below the model's folder, "" of a model that is one file."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Parcel:
    """What a model is made of. `name` is what its file or folder is called."""

    name: str
    files: tuple[PartOfModel, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @cached_property
    def digest(self) -> str:
        """64 hexadecimal digits: two models of the same digest are the same, down to their names."""
        lines = "".join(f"{file.sha256} {file.size} {file.path}\n" for file in self.files)
        return hashlib.sha256(f"{self.name}\n{lines}".encode()).hexdigest()


@runtime_checkable
class Borrower(Protocol):
    """An engine that uses models from where it is told."""

    def has(self, lent: Lent) -> Path | None:
        """Where this machine itself has a model of that name; None without one."""
        ...

    def lend(self, models: Mapping[str, tuple[Lent, Path]]) -> None:
        """Use these models, by id, from these places, and none that were lent before."""
        ...

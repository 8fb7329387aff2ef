"""The installed studio: all of it lies in this package, so no name of ours (`pages`, `components`) stands in site-packages.

Importing it makes the rooms of the repository importable by their own names, in this process and before anybody else's:

    import controlnet_studio
    from controlnet_core.domain.recipe import Recipe

A clone needs none of this: there the rooms lie side by side.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent
ROOMS = ("annotator", "components", "controlnet_core", "pages", "paperworld", "webapp")

__all__ = ["ROOMS", "ROOT", "main"]


class _Rooms(MetaPathFinder):
    """Finds the rooms, and nothing else, in this package's folder."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if path is not None or fullname not in ROOMS:
            return None
        return PathFinder.find_spec(fullname, [str(ROOT)])


if not any(isinstance(finder, _Rooms) for finder in sys.meta_path):
    sys.meta_path.insert(0, _Rooms())


def main() -> None:
    """The entry point of `studio`."""
    from webapp.cli import main as run

    run()

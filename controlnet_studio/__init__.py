"""The studio as one package: the same import in a clone, where the rooms lie beside it, and installed, where they lie inside it.

    from controlnet_studio import Studio

    with Studio() as studio:
        studio.generate("a red house", control={"scribble": drawing})[0].save("made.png")

Installed, all of it lies in this package, so no name of ours (`pages`, `components`) stands in site-packages. Importing it makes
the rooms importable by their own names, in this process and before anybody else's.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from webapp.application.notebook import Control as Control
    from webapp.application.notebook import Studio as Studio

_HERE = Path(__file__).resolve().parent
ROOT = _HERE if (_HERE / "webapp").is_dir() else _HERE.parent
"""Where the rooms lie."""
ROOMS = ("annotator", "components", "controlnet_core", "pages", "paperworld", "webapp")

__all__ = ["ROOMS", "ROOT", "Control", "Studio", "main"]


class _Rooms(MetaPathFinder):
    """Finds the rooms, and nothing else, where they lie."""

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


def __getattr__(name: str) -> Any:
    """`Studio` and `Control`, read when they are asked for: the command line needs neither."""
    if name not in ("Control", "Studio"):
        raise AttributeError(name)
    from webapp.application import notebook

    return getattr(notebook, name)

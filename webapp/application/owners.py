"""Who made what lies by name in a folder (data sets, photos for them, trainings), and what of it is shared.

What nobody is noted for was put there by hand, by a command or by an older studio: it is everybody's. One small file for each
folder, data/owners/NAME.json; `belongings` does the same for what is kept by digest.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

from controlnet_core.domain.errors import InputError
from controlnet_core.storage import store


class Owners:
    """The owners of the things in one folder. Safe across threads."""

    def __init__(self, folder: Path) -> None:
        self.path = folder.parent / "owners" / f"{folder.name}.json"
        self._lock = threading.Lock()

    def note(self, name: str, workspace: str) -> None:
        """A thing is made by a workspace; "" is nobody. What is somebody's stays theirs. Raises NoSpace."""
        with self._lock:
            noted = self._read()
            if workspace and name not in noted:
                self._write(noted | {name: {"owner": workspace, "shared": False}})

    def forget(self, name: str) -> None:
        """A thing is gone."""
        with self._lock:
            noted = self._read()
            if noted.pop(name, None) is not None:
                self._write(noted)

    def share(self, name: str, workspace: str, shared: bool) -> None:
        """Show a thing to everybody, or to its workspace alone again. Raises InputError for what is somebody else's."""
        with self._lock:
            noted = self._read()
            if noted.get(name, {}).get("owner") != workspace:
                raise InputError(f"{name} is not yours to share.")
            noted[name]["shared"] = shared
            self._write(noted)

    def is_shared(self, name: str) -> bool:
        """Whether everybody sees it: its workspace wants so, or it has none."""
        noted = self._read().get(name)
        return noted is None or bool(noted.get("shared"))

    def has_owner(self, name: str) -> bool:
        """Whether somebody is noted for it."""
        return name in self._read()

    def sees(self, name: str, workspace: str) -> bool:
        """Whether a workspace may look at a thing and use it."""
        return self.is_shared(name) or self.owns(name, workspace)

    def owns(self, name: str, workspace: str) -> bool:
        """Whether a workspace may change a thing: it is its own, or nobody's."""
        noted = self._read().get(name)
        return noted is None or noted.get("owner") == workspace

    def check(self, name: str, workspace: str) -> None:
        """Raise InputError for what a workspace may not change, also by making something of the same name."""
        if not self.owns(name, workspace):
            raise InputError(f"The name {name} belongs to somebody else here.", "Choose another name.")

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            noted = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:  # nobody is shown what may be somebody's
            raise InputError(
                f"{self.path} cannot be read.", "Mend it; without it, what it is about is everybody's."
            ) from error
        return noted if isinstance(noted, dict) else {}

    def _write(self, noted: dict[str, dict[str, Any]]) -> None:
        store.write(self.path, json.dumps(noted, indent=1, sort_keys=True).encode(), free_min_bytes=0)

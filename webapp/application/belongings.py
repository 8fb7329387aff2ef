"""Whose a kept thing is: which workspace put a photo, drawing or picture here, or was shown it by its own page.

Things are kept under digests of themselves, and a picture's recipe names them; so a digest says what something is and opens
nothing. Only the workspace that it belongs to is given it. One file of lines for each workspace, appended to, read once.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Container
from pathlib import Path

from controlnet_core.storage import store
from webapp.application.tokens import Unknown

READ_MAX = 256
"""Workspaces whose lines stay in memory."""
_WORKSPACE = re.compile(r"[0-9a-f]{32}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Belongings:
    """The digests of each workspace, in the folder `folder`. Safe across threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._read: OrderedDict[str, set[str]] = OrderedDict()

    def give(self, workspace: str, *digests: str) -> None:
        """Note that things belong to a workspace; "" is nobody. Raises NoSpace."""
        if not _WORKSPACE.fullmatch(workspace):
            return
        with self._lock:
            known = self._of(workspace)
            new = [digest for digest in dict.fromkeys(digests) if digest not in known and _DIGEST.fullmatch(digest)]
            if not new:
                return
            try:
                store.make_private(self.folder)
                with open(self.folder / workspace, "a", encoding="ascii", opener=store.open_private) as file:
                    file.write("".join(f"\n{digest}" for digest in new))  # a line that a crash cut short ends here
            except OSError as error:
                raise store.unwritable(self.folder, error.strerror or str(error)) from error
            known.update(new)

    def has(self, workspace: str, digest: str) -> bool:
        """Whether something belongs to a workspace."""
        if not _WORKSPACE.fullmatch(workspace):
            return False
        with self._lock:
            return digest in self._of(workspace)

    def check(self, workspace: str, digest: str, name: str = "picture") -> str:
        """The digest, where it belongs to the workspace. Raises Unknown, which never says whether it is somebody else's."""
        if not self.has(workspace, digest):
            raise Unknown(f"This {name} is not here any more.", "Send it again.")
        return digest

    def forget(self, kept: Container[str]) -> None:
        """Leave out what is not `kept` any more."""
        for path in sorted(self.folder.glob("*")):
            if not _WORKSPACE.fullmatch(path.name):
                continue
            with self._lock:
                known = self._of(path.name)
                left = {digest for digest in known if digest in kept}
                if left == known:
                    continue
                if left:
                    store.write(path, "\n".join(sorted(left)).encode(), free_min_bytes=0)
                else:
                    path.unlink(missing_ok=True)
                self._read[path.name] = left

    def _of(self, workspace: str) -> set[str]:
        if workspace not in self._read:
            try:
                lines = (self.folder / workspace).read_text(encoding="ascii", errors="replace").split()
            except FileNotFoundError:
                lines = []
            self._read[workspace] = {line for line in lines if _DIGEST.fullmatch(line)}
        self._read.move_to_end(workspace)
        while len(self._read) > READ_MAX:
            self._read.popitem(last=False)
        return self._read[workspace]

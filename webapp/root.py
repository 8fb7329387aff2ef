"""The studio of this process, for those who put a process together: the ASGI app, the commands, the pages' entry.

They ask for it once and pass it on; nothing that is passed a studio asks for one.
"""

from __future__ import annotations

from functools import cache

from webapp.application.settings import Settings
from webapp.application.studio import Studio
from webapp.ui import visitor


@cache
def studio() -> Studio:
    """The studio of this process, as its environment asks for."""
    return Studio(Settings.from_environment(), connected=visitor.connected)

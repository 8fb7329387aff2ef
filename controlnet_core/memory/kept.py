"""What the last run computed from things that the next one may have unchanged: texts, control pictures, pictures to start from.

A picture that follows a pen is a run after a run in which one control picture is new and nothing else. Loads and moves nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

V = TypeVar("V")


class Kept:
    """Tensors by all that they were computed from; what two runs in a row did not ask for is forgotten.

    So it takes no more than two runs do. Everybody gets a copy: recorded steps write the next run's contents into theirs.
    """

    def __init__(self) -> None:
        self._now: dict[Hashable, Any] = {}
        self._before: dict[Hashable, Any] = {}

    def begin(self) -> None:
        """A run begins."""
        self._before, self._now = self._now, {}

    def get(self, key: Hashable, compute: Callable[[], V]) -> V:
        """What was computed under this key in this run or the one before it; else it is computed now."""
        if key not in self._now:
            self._now[key] = self._before[key] if key in self._before else compute()
        return copy.deepcopy(self._now[key])

    def clear(self) -> None:
        """Forget everything."""
        self._now.clear()
        self._before.clear()

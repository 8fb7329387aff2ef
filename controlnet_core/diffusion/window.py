"""The steps of a picture on which a control or a reference acts."""

from __future__ import annotations


def in_window(start: float, end: float, index: int, steps: int) -> bool:
    """Whether step `index` (0-based) of `steps` lies as a whole between the shares `start` and `end` of them, each in [0, 1]."""
    return index / steps >= start and (index + 1) / steps <= end

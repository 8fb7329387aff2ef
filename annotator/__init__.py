"""The conditions: one file each, found by having a `CONTROL`.

`annotator/seg.py` says everything about segmentation, and adding a condition is adding a file. Importing this package
loads no deep-learning library; detectors with weights import theirs when they run (`annotator.networks`).
"""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module

from controlnet_core.domain.control import ControlType
from controlnet_core.domain.errors import InputError


@cache
def controls() -> dict[str, ControlType]:
    """Every condition by its key, in the order in which pages list them."""
    modules = [import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__) if not found.ispkg]
    types = [module.CONTROL for module in modules if isinstance(getattr(module, "CONTROL", None), ControlType)]
    return {one.key: one for one in sorted(types, key=lambda one: (one.order, one.key))}


def control(key: str) -> ControlType:
    """The condition called `key`. Raises InputError that lists the known ones."""
    try:
        return controls()[key]
    except KeyError:
        raise InputError(f"There is no control called {key!r}.", f"Known: {', '.join(controls())}.") from None

"""The architectures of base models that run here: one file each, found by having a `FAMILY`.

Everything that differs between them is asked of a `Family`; nobody else compares a family's name. Adding one is adding a
file, and cards of its models.
"""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module

from controlnet_core.families.base import (
    UNKNOWN,
    Added,
    Capability,
    Family,
    Latent,
    Shapes,
    TextEncoder,
    Traits,
    traits_of,
    traits_of_config,
)

__all__ = [
    "UNKNOWN", "Added", "Capability", "Family", "Latent", "Shapes", "TextEncoder", "Traits", "families", "family", "named",
    "recognised", "traits_of", "traits_of_config",
]  # fmt: skip


@cache
def families() -> dict[str, Family]:
    """Every family by its key."""
    modules = [import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    found = [module.FAMILY for module in modules if isinstance(getattr(module, "FAMILY", None), Family)]
    return {one.key: one for one in found}


def family(key: str) -> Family:
    """The family called `key`; `UNKNOWN` for a name that a user gave to models of his own, and for ""."""
    return families().get(key, UNKNOWN)


def named(base: str) -> str:
    """The key of the family whose base models the metadata of a file calls so, as "sdxl_base_v1-0"; "" for other names."""
    return next((one.key for one in families().values() if one.called and base.lower().startswith(one.called)), "")


def recognised(traits: Traits) -> Family:
    """The family of a model in which `traits` are seen; `UNKNOWN` when it is none of them."""
    return next((one for one in families().values() if one.matches(traits)), UNKNOWN)

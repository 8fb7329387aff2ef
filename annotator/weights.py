"""Where the weights of detectors lie: in the models folder, by the id of their card; and how they come there.

Loads nothing, imports no torch.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

from controlnet_core.domain import amounts
from controlnet_core.domain.job import OnLoad
from controlnet_core.models.catalog import Catalog, ModelCard
from controlnet_core.models.download import DownloadProgress, fetch
from controlnet_core.storage.store import FREE_MIN_BYTES

_ASK_EVERY_S = 0.25


def models_folder() -> Path:
    """The models folder: environment variable STUDIO_MODELS, else `models/` beside the packages."""
    return Path(os.environ.get("STUDIO_MODELS") or Path(__file__).resolve().parents[1] / "models")


def locate(card: str) -> Path:
    """The file or folder of the card called `card`. Raises ModelMissing with what to download and where to put it."""
    catalog = Catalog(models_folder())
    return catalog.locate(catalog.card(card))


def provide(cards: Iterable[str], on_load: OnLoad, free_min_bytes: int = FREE_MIN_BYTES) -> None:
    """Fetch those of `cards` that are not on this machine; `on_load` hears how far they are.

    Raises DownloadError, ModelError, NoSpace, and what `on_load` raises to stop it.
    """
    catalog = Catalog(models_folder())
    for card in map(catalog.card, cards):
        if not catalog.installed(card):
            _fetch(card, catalog.models, on_load, free_min_bytes)


def _fetch(card: ModelCard, models: Path, on_load: OnLoad, free_min_bytes: int) -> None:
    told_at, known = 0.0, DownloadProgress(0, 0)

    def tell(progress: DownloadProgress) -> None:
        nonlocal told_at, known
        told_at, known = time.monotonic(), progress
        on_load(_words(card, progress), progress.done, progress.total)

    def cancelled() -> bool:
        # `on_load` raises when nobody wants it any more; while a server is waited for, nothing else asks.
        if time.monotonic() - told_at > _ASK_EVERY_S:
            tell(known)
        return False

    fetch(card, models, tell, cancelled, free_min_bytes=free_min_bytes)


def _words(card: ModelCard, progress: DownloadProgress) -> str:
    if not progress.total:
        return f"Downloading {card.title}"
    return f"Downloading {card.title}: {amounts.size(progress.done)} of {amounts.size(progress.total)}"

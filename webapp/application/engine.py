"""What the worker process runs: the local engine over this machine's models, and the detectors. Only the worker imports this
module."""

from __future__ import annotations

from collections.abc import Mapping

import annotator
from annotator import detection as detecting
from annotator.networks import loading
from controlnet_core.domain.control import Rgb
from controlnet_core.domain.detection import Detection
from controlnet_core.domain.document import Document
from controlnet_core.domain.errors import ModelMissing, OutOfMemory
from controlnet_core.domain.job import OnLoad, OnStep
from controlnet_core.domain.recipe import Recipe
from controlnet_core.engine import LocalEngine, unheard
from controlnet_core.memory import cache
from controlnet_core.models import download
from webapp.application.settings import Settings


class StudioEngine(LocalEngine):
    """Makes pictures as `LocalEngine` does, and finds documents in photos."""

    _looked: tuple[str, ...] = ()
    """The detectors that were used last, as `Job.needs` calls them."""

    def loaded(self) -> list[str]:
        """What `LocalEngine` says, and the last detectors: their networks stay loaded."""
        return [*super().loaded(), *self._looked]

    def run(self, recipe: Recipe, pictures: Mapping[str, Rgb], on_step: OnStep, on_load: OnLoad = unheard) -> list[Rgb]:
        """See `LocalEngine`. On a node of a cluster (STUDIO_FETCH) a model that is not there is fetched first, whole or not at all,
        and once, however many workers the node has."""
        settings = Settings.from_environment()
        fetched: set[str] = set()
        while True:
            try:
                return super().run(recipe, pictures, on_step, on_load)
            except ModelMissing as missing:
                if not settings.fetch or not missing.model or missing.model in fetched:
                    raise
                name = missing.model
            fetched.add(name)
            card = self.catalog.card(name)
            words = f"Fetching {card.title}"
            on_load(words)
            download.fetch(
                card,
                self.catalog.models,
                lambda come, words=words: on_load(words, come.done, come.total),
                free_min_bytes=settings.free_min_bytes,
            )

    def detect(self, detection: Detection, picture: Rgb, on_load: OnLoad) -> Document:
        """What `detection` finds in its photo; networks that are not here yet are fetched first, see `annotator.detection`.

        When memory runs out, everything else that is loaded makes room for a second try. Raises OutOfMemory after that.
        """
        name = f"{detection.control}/{detection.detector}"
        self._looked = (*(one for one in self._looked if one != name), name)[-loading.KEPT :]
        for _ in range(2):
            try:
                return detecting.run(detection, picture, on_load, Settings.from_environment().free_min_bytes)
            except Exception as error:
                if not cache.is_exhausted(error):
                    raise
            # Outside the except block: the exception holds the tensors that have to go.
            loading.forget()
            self._looked = ()
            self.make_room()
        raise OutOfMemory(
            "Looking at this photo needs more memory than this machine has.",
            "Make the detection or the map smaller, or choose another detector.",
        )


def build(device: str = "") -> StudioEngine:
    """The engine on a device ("cpu", "cuda"; "": the GPU where there is one), with the default model in memory so that the
    first picture does not wait for it."""
    settings = Settings.from_environment()
    catalog = settings.catalog()
    engine = StudioEngine(catalog, annotator.controls(), device or None)
    bases = catalog.bases()
    if bases:
        side = min(bases[0].defaults.width, 256)
        # One step is the cheapest way to load every part and to let the device choose its kernels.
        engine.run(Recipe(model=bases[0].id, width=side, height=side, steps=1, guidance=1.0), {}, lambda _step: None)
    return engine

"""The gallery as a data set: pictures that were made here, each with the control picture it was made from."""

from __future__ import annotations

from collections.abc import Sequence

from controlnet_core.datasets.pairs import Listed, PairFiles, decoded
from controlnet_core.domain import picture
from controlnet_core.domain.errors import InputError
from controlnet_core.domain.resize import fit
from controlnet_core.storage.gallery import Gallery
from controlnet_core.storage.store import Blobs

KEPT_MAX = 100_000


class KeptPairs(Listed):
    """Pictures of a gallery that one condition controlled, newest first; the recipe's prompt is the pair's.

    Those of one workspace, `owner`, or of all ("") as they are now; or those with the `ids` of an earlier time.
    """

    def __init__(
        self, gallery: Gallery, blobs: Blobs, control: str, owner: str = "", ids: Sequence[str] | None = None
    ) -> None:
        super().__init__("Gallery")
        self.gallery, self.blobs, self.control = gallery, blobs, control
        self.ids = list(ids) if ids is not None else self._now(owner)

    def _now(self, owner: str) -> list[str]:
        results = self.gallery.recent(KEPT_MAX, owner or None)
        return [one.id for one in results if any(unit.control == self.control for unit in one.recipe.controls)]

    def __len__(self) -> int:
        return len(self.ids)

    def name(self, index: int) -> str:
        """The picture's id."""
        return self.ids[index]

    def entry(self, index: int) -> PairFiles:
        """See `Listed.entry`. The control picture is brought to the size at which it was used."""
        result = self.gallery.get(self.ids[index])
        unit = next((unit for unit in result.recipe.controls if unit.control == self.control), None)
        if unit is None:
            raise InputError("The picture was made without this condition.")
        try:
            target = result.png.read_bytes()
        except OSError as error:
            raise InputError("The picture is not in the gallery any more.") from error
        source = decoded(self.blobs.get(unit.picture), "control picture")
        fitted = fit(source, result.recipe.width, result.recipe.height, unit.resize)
        return PairFiles(result.id, picture.to_png(fitted), target, result.recipe.prompt)

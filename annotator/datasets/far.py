"""Pairs made on the nodes of a cluster: what an actor of a pool does with the photos that it is given. Imports no ray.

Every node has to see the photos and the data set's folder under the same paths. The pairs are those that this machine would make.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import cv2

import annotator
from annotator import detection as detecting
from annotator import weights
from annotator.datasets.dataset import AnnotationPlan, make_pair
from annotator.datasets.photos import Photo, reader
from controlnet_core.domain.errors import StudioError
from controlnet_core.execution.ray_data import Mapped


def pairs(
    mapped: Mapped,
    source: Path,
    folder: Path,
    plan: AnnotationPlan,
    environment: Mapping[str, str],
    free_min_bytes: int,
) -> Callable[[Sequence[Photo]], Iterator[str]]:
    """What `dataset.make` takes as `pairs`. Raises, when it is asked for the pairs, what stopped a node."""
    if not folder.is_absolute() or not source.is_absolute():
        raise ValueError("another machine has another working folder")

    def make(photos: Sequence[Photo]) -> Iterator[str]:
        if not photos:
            return
        rows = [{"name": photo.name, "where": photo.where, "place": photo.place} for photo in photos]
        for row in mapped(rows, PairMaker, (source, folder, plan, dict(environment), free_min_bytes)):
            if row["stop"]:
                raise StudioError(row["stop"], row["hint"])
            yield row["why"]

    return make


class PairMaker:
    """An actor's body: makes the pairs of a batch of photos."""

    def __init__(
        self, source: Path, folder: Path, plan: AnnotationPlan, environment: Mapping[str, str], free_min_bytes: int
    ) -> None:
        for name, value in environment.items():
            if name != "STUDIO_MODELS" or Path(value).is_dir():
                os.environ.setdefault(name, value)
        cv2.setNumThreads(1)  # there is an actor for each core
        self._read, self._folder, self._plan, self._free = reader(source), folder, plan, free_min_bytes
        control = annotator.control(plan.control)
        self._detector = detecting.detector(control, plan.detector)
        self._find = partial(detecting.detect, control, self._detector)
        self._stop: StudioError | None = None
        try:
            weights.provide(self._detector.weights, _untold, free_min_bytes)
        except StudioError as error:
            self._stop = error

    def __call__(self, batch: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        """Columns "name", "where", "place" in; out "why" each pair is missing, and what stops everything in "stop" and "hint"."""
        rows = zip(batch["name"], batch["where"], batch["place"], strict=True)
        told = [self._made(str(name), str(where), str(place)) for name, where, place in rows]
        return {key: [row[number] for row in told] for number, key in enumerate(("why", "stop", "hint"))}

    def _made(self, name: str, where: str, place: str) -> tuple[str, str, str]:
        try:
            if self._stop is not None:
                raise self._stop
            photo = Photo(name, where, lambda: self._read(place))
            values = self._plan.values
            return (
                make_pair(photo, self._folder, self._plan, lambda rgb, w, h: self._find(rgb, values, w, h), self._free),
                "",
                "",
            )
        except StudioError as error:
            return "", error.message, error.hint


def _untold(text: str, done: int = 0, total: int = 0) -> None:
    """Nobody looks at a node while it fetches a network."""

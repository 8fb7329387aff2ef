"""A small engine for the queue's and the worker's tests: draws noise from the seed, at the pace of the prompt.

The first byte of a model that it was lent is the grey of a corner.
A detection finds ink where the photo is dark; the detector's key is then the prompt word.

Prompt words: "slow=0.05" seconds a step, "die" kills its own process at step 3, "die-once=PATH" only while PATH is
absent, "gone-once=PATH" has the device compute nothing more in this process while PATH is absent, "raise" fails
unexpectedly, "memory" runs out of it, "deaf" never asks whether to stop.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from controlnet_core.domain.control import Rgb
from controlnet_core.domain.detection import Detection
from controlnet_core.domain.document import Document, Raster
from controlnet_core.domain.errors import InputError, OutOfMemory
from controlnet_core.domain.job import OnLoad, OnStep, Step
from controlnet_core.domain.lending import Lent
from controlnet_core.domain.picture import resize_to
from controlnet_core.domain.recipe import Recipe


class StrokesEngine:
    device = "paper"
    model = ""
    lent: Mapping[str, tuple[Lent, Path]] = {}

    def has(self, lent: Lent) -> Path | None:
        return None

    def lend(self, models: Mapping[str, tuple[Lent, Path]]) -> None:
        self.lent = models

    gone = False

    def works(self) -> bool:
        return not self.gone

    def loaded(self) -> list[str]:
        return [self.model]

    def run(self, recipe: Recipe, pictures: Mapping[str, Rgb], on_step: OnStep, on_load: OnLoad) -> list[Rgb]:
        self.model = recipe.model
        words = dict(word.partition("=")[::2] for word in recipe.prompt.split())
        if "deaf" in words:
            on_load("Deaf from now on")  # who stops it before that is heard
        made = [self.picture(recipe, k) for k in range(recipe.images)]
        for control in recipe.controls:
            for rgb in made:
                rgb[:8, :8] = pictures[control.picture][:8, :8]
        for _, place in self.lent.values():
            for rgb in made:
                rgb[8:16, :8] = place.read_bytes()[0]
        for step in range(1, recipe.steps + 1):
            time.sleep(float(words.get("slow", 0)))
            if step == 3:
                self._misbehave(words)
            if "deaf" not in words:
                on_step(Step(step, recipe.steps, lambda: made[0]))
        return made

    def detect(self, detection: Detection, picture: Rgb, on_load: OnLoad) -> Document:
        on_load("Looking")
        for _ in range(int(detection.values.get("waits", 0))):
            time.sleep(0.05)
            on_load("Still looking")
        self._misbehave({detection.detector: str(detection.values.get("mark", ""))})
        if detection.detector == "nothing":
            raise InputError("No person was found in the picture.", "Set the joints by hand.")
        small = resize_to(picture, detection.width, detection.height, cv2.INTER_NEAREST)
        return Raster("mask", np.where(small.max(axis=2) < 128, 255, 0).astype(np.uint8))

    def picture(self, recipe: Recipe, k: int) -> Rgb:
        random = np.random.default_rng(recipe.seed + k)
        return random.integers(0, 256, (recipe.height, recipe.width, 3), np.uint8)

    def _misbehave(self, words: dict[str, str]) -> None:
        if "gone-once" in words and not Path(words["gone-once"]).exists():
            Path(words["gone-once"]).touch()
            self.gone = True
        if self.gone:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        if "raise" in words:
            raise ZeroDivisionError("secret detail")
        if "memory" in words:
            raise OutOfMemory("This needs more memory.", "Make it smaller.")
        mark = Path(words["die-once"]) if "die-once" in words else None
        if "die" in words or (mark is not None and not mark.exists()):
            if mark is not None:
                mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def build(_device: str = "") -> StrokesEngine:
    seconds = float(os.environ.get("STROKES_BUILD_S", "0"))
    time.sleep(seconds)
    return StrokesEngine()


def build_broken(_device: str = "") -> StrokesEngine:
    raise ZeroDivisionError("no engine today")

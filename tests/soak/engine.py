"""The tests' small engine, which may also die, once, at a phase of a job: while loading, in a step, while decoding.

Prompt words beside those of `strokes_engine`: "die-load=PATH", "die-step=PATH", "die-decode=PATH", each only while PATH is
absent.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path

from controlnet_core.domain.control import Rgb
from controlnet_core.domain.job import OnLoad, OnStep, Step
from controlnet_core.domain.recipe import Recipe
from tests.core.strokes_engine import StrokesEngine


class PhaseEngine(StrokesEngine):
    def run(self, recipe: Recipe, pictures: Mapping[str, Rgb], on_step: OnStep, on_load: OnLoad) -> list[Rgb]:
        marks = dict(word.partition("=")[::2] for word in recipe.prompt.split())

        def dies(phase: str) -> None:
            path = Path(marks.get(f"die-{phase}") or os.devnull)
            if not path.exists():
                path.touch()
                os.kill(os.getpid(), signal.SIGKILL)

        def stepped(step: Step) -> None:
            on_step(step)
            if step.step == max(1, recipe.steps // 2):
                dies("step")

        on_load("Loading")
        dies("load")
        made = super().run(recipe, pictures, stepped, on_load)
        dies("decode")
        return made


def build(_device: str = "") -> PhaseEngine:
    return PhaseEngine()

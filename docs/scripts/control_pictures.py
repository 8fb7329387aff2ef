"""The picture of every control's page: an example's drawing beside what the embedded model makes of it.

    python docs/scripts/control_pictures.py [KEY ...]

Writes docs/controls/KEY.png, 512 x 256 px, with the first example of each control and seed 1. Deterministic.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import annotator  # noqa: E402
from controlnet_core.domain import picture  # noqa: E402
from controlnet_core.domain.control import values  # noqa: E402
from controlnet_core.domain.recipe import ControlUnit, Recipe  # noqa: E402
from controlnet_core.engine import LocalEngine  # noqa: E402
from controlnet_core.models.catalog import Catalog  # noqa: E402
from webapp.application.examples import examples  # noqa: E402

SIDE = 256
MODEL = "paperworld"
OUT = ROOT / "docs" / "controls"


def main(keys: list[str]) -> None:
    """Make the pictures of `keys`, or of every control that the embedded model can follow."""
    catalog = Catalog(ROOT / "models")
    engine, defaults = LocalEngine(catalog, annotator.controls(), "cpu"), catalog.card(MODEL).defaults
    OUT.mkdir(exist_ok=True)
    for key in keys or [key for key in annotator.controls() if catalog.network(key, MODEL)]:
        control = annotator.control(key)
        example = examples(key)[0]
        drawn = control.render(example.make(SIDE, SIDE), values(control.params, {}))
        unit = ControlUnit(control=key, picture="0" * 64)
        recipe = Recipe(
            model=MODEL,
            prompt=example.prompt,
            width=SIDE,
            height=SIDE,
            steps=defaults.steps,
            guidance=defaults.guidance,
            sampler=defaults.sampler,
            seed=1,
            controls=(unit,),
        )
        made = engine.run(recipe, {unit.picture: drawn}, lambda _step: None)[0]
        (OUT / f"{key}.png").write_bytes(picture.to_png(np.concatenate([drawn, made], axis=1)))
        print(f"docs/controls/{key}.png", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

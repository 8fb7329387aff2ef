"""Measures the embedded model on held-out scenes and drawings; `python -m paperworld.evaluation.evaluate` writes them to docs/.

Every figure stands beside its ceiling (the true picture of the scene), a shuffled control (another scene's), no control
(the prompt alone) and pure noise for a picture. Deterministic: scenes, captions, noise and hand-drawn controls follow
from seeds. Finished parts are kept, so that an interrupted evaluation goes on where it stopped.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from annotator.colour import INK_BELOW
from controlnet_core.domain.control import Rgb
from paperworld.evaluation import measures
from paperworld.evaluation.benchmark import (
    CONDITIONS,
    HAND_DRAWN,
    answered,
    benchmark,
    by_hand,
    colour_error,
    coloured,
    edge_agreement,
    faces,
    measure_of,
    questions,
    right_colours,
)
from paperworld.evaluation.strangers import drawings
from paperworld.model import codec
from paperworld.model.sampling import SHIPPED, Hint, Painter
from paperworld.world import colouring
from paperworld.world.examples import COLOUR, HELD_OUT

DOCS = Path("docs")
BATCH = 8
STEPS, GUIDANCE = 1, 1.0
"""What the studio draws with when nobody says otherwise."""

Figures = dict[str, Any]


def paint(
    painter: Painter,
    prompts: Sequence[str],
    controls: Sequence[Rgb] | Sequence[tuple[Hint, ...]] | None,
    steps: int = STEPS,
    guidance: float = GUIDANCE,
) -> list[Rgb]:
    """Pictures in batches, seeded by their place. `controls`: one picture each, or one tuple of hints each."""
    pictures: list[Rgb] = []
    for start in range(0, len(prompts), BATCH):
        part = slice(start, start + BATCH)
        hints: list[Hint] = []
        if controls is not None:
            rows = [row if isinstance(row, tuple) else (Hint([row]),) for row in controls[part]]
            hints = [Hint.stack(column) for column in zip(*rows, strict=True)]
        pictures += painter.paint(list(prompts[part]), hints, steps, guidance, seed=start)
    return pictures


@dataclass(frozen=True)
class Merit:
    """By what weights are compared: agreement with lines drawn by hand, and error of colour (0..255)."""

    f1: float
    error: float

    def better(self, other: Merit) -> bool:
        """Whether these weights are better in one and not worse in the other: 0.006 of F1 and 0.3 levels of colour are equal."""
        gains = ((self.f1 - other.f1) / 0.006, (other.error - self.error) / 0.3)
        return min(gains) > -1 and max(gains) > 1

    def __str__(self) -> str:
        return f"F1 {self.f1:.3f}, colour error {self.error:.1f}"


def merit(painter: Painter, count: int) -> Merit:
    """The merit of a painter on held-out scenes drawn by hand."""
    test = by_hand("scribble", count)
    pictures = paint(painter, test.prompts, test.controls)
    return Merit(edge_agreement(pictures, test.controls), colour_error(pictures, test.truths))


class Report:
    """The figures of one model. `model` names its weights: parts that were measured for the same ones are not repeated."""

    def __init__(self, painter: Painter, scenes: int, steps: int, kept: Path, model: str) -> None:
        self.painter, self.scenes, self.steps, self.kept = painter, scenes, steps, kept
        self.model = f"{model}-{scenes}-{steps}"
        self.figures: Figures = {}
        if kept.exists():
            old = json.loads(kept.read_text())
            self.figures = old["figures"] if old["model"] == self.model else {}

    def part(self, name: str, make: Callable[[], Figures]) -> None:
        """One part of the report, measured unless it is there already."""
        if name not in self.figures:
            self.figures[name] = _rounded(make())
            self.kept.parent.mkdir(parents=True, exist_ok=True)
            self.kept.write_text(json.dumps({"model": self.model, "figures": self.figures}))
        print(name, json.dumps(self.figures[name]), flush=True)  # noqa: T201

    def paint(self, prompts: Sequence[str], controls: Any) -> list[Rgb]:
        """Pictures at the report's number of steps."""
        return paint(self.painter, prompts, controls, self.steps)

    def condition(self, key: str) -> Figures:
        """Agreement with one condition, and what to hold it against."""
        measure, test = measure_of(key), benchmark(key, self.scenes)
        count = len(test.prompts)
        # Pictures made from another scene's control, held against this scene's.
        shuffled = [test.controls[(index + count // 2) % count] for index in range(count)]

        def agree(pictures: Sequence[Rgb]) -> float:
            return measure.agree(pictures, test)

        pictures = self.paint(test.prompts, test.controls)
        generated, ceiling = agree(pictures), agree([t.picture for t in test.truths])
        return {
            "measure": measure.name,
            "scenes": count,
            "generated": generated,
            "ceiling": ceiling,
            "share": measure.share(generated, ceiling),
            "colour error": colour_error(pictures, test.truths),
            "shuffled": agree(self.paint(test.prompts, shuffled)),
            "empty": agree(self.paint(test.prompts, [np.zeros_like(each) for each in test.controls])),
            "none": agree(self.paint(test.prompts, None)),
            "noise": agree(_noise(count)),
            **({"faces": faces(pictures, test)} if key == "pose" else {}),
        }

    def hand(self) -> Figures:
        """Scribbles drawn by hand: agreement with the drawn lines, and how far colours are off."""
        test = by_hand("scribble", self.scenes)
        pictures = self.paint(test.prompts, test.controls)
        return {
            "measure": "edge F1 within 2 px, against the drawn lines; mean absolute error of colour, 0..255",
            "scenes": len(test.prompts),
            "generated": edge_agreement(pictures, test.controls),
            "ceiling": edge_agreement([t.picture for t in test.truths], test.controls),
            "colour error": colour_error(pictures, test.truths),
        }

    def strangers(self, more: Sequence[Path]) -> Figures:
        """Drawings from outside the world: agreement with their lines, and how crisp the pictures are."""
        drawn = drawings(more)
        controls = [each.control for each in drawn]

        def crisp(pictures: Sequence[Rgb]) -> Figures:
            slopes = np.mean([measures.slopes(a, b) for a, b in zip(pictures, controls, strict=True)], axis=0)
            return {
                "edge F1": edge_agreement(pictures, controls),
                "slope at lines": float(slopes[0]),
                "slope on flat paper": float(slopes[1]),
            }

        return {
            "measure": "edge F1 within 2 px of the drawn lines; slopes in grey levels per pixel",
            "drawings": len(drawn),
            **crisp(self.paint([each.prompt for each in drawn], controls)),
            "without words": crisp(self.paint([""] * len(drawn), controls)),
        }

    def colours(self) -> Figures:
        """Free forms whose caption names their colour: how many have it."""
        asked = coloured(self.scenes)
        pictures = self.paint([each.prompt for each in asked], [each.control for each in asked])
        others = [replace(each, name=asked[(n + 7) % len(asked)].name) for n, each in enumerate(asked)]
        return {
            "measure": "share of scribbled forms in the colour that is asked for",
            "scenes": len(asked),
            "generated": right_colours(pictures, asked),
            "another's colour": right_colours(pictures, others),
        }

    def crayons(self) -> Figures:
        """Colour strokes: how far colours are off where the drawing says them, and agreement with its ink."""
        test = by_hand(COLOUR, self.scenes)
        said = [colouring.said(control) for control in test.controls]
        ink = [np.where(control.max(2, keepdims=True) < INK_BELOW, 255, 0) for control in test.controls]
        lined = [n for n, each in enumerate(ink) if each.any()]

        def off(pictures: Sequence[Rgb]) -> float:
            triples = zip(pictures, test.controls, said, strict=True)
            return float(
                np.mean([np.abs(a[where].astype(int) - b[where]).mean() for a, b, where in triples if where.any()])
            )

        def edges(pictures: Sequence[Rgb]) -> float:
            return edge_agreement([pictures[n] for n in lined], [ink[n].astype(np.uint8) for n in lined])

        pictures, truths = self.paint(test.prompts, test.controls), [truth.picture for truth in test.truths]
        return {
            "measure": "mean absolute error of colour where a crayon says it, 0..255; edge F1 within 2 px of the ink",
            "scenes": len(test.prompts),
            "colour error": {
                "generated": off(pictures), "ceiling": off(truths), "none": off(self.paint(test.prompts, None))
            },
            "edge F1": {"generated": edges(pictures), "ceiling": edges(truths)},
        }  # fmt: skip

    def prompts(self) -> Figures:
        """Asked object, colour and time of day, from the prompt alone."""
        asked = questions(self.scenes)
        pictures = self.paint([question.prompt for question in asked], None)
        generated, ceiling = answered(pictures, asked), answered([question.picture for question in asked], asked)
        others = [*pictures[len(pictures) // 2 :], *pictures[: len(pictures) // 2]]
        return {
            "measure": "asked object, colour and time of day present",
            "scenes": len(asked),
            "generated": generated["all"],
            "ceiling": ceiling["all"],
            "share": generated["all"] / ceiling["all"],
            "shuffled": answered(others, asked)["all"],
            "noise": answered(_noise(len(asked)), asked)["all"],
            "each": {kind: {"generated": generated[kind], "ceiling": ceiling[kind]} for kind in generated},
        }

    def strength(self) -> Figures:
        """Scribble agreement by strength of the control."""
        test = benchmark("scribble", self.scenes)

        def agree(**settings: float) -> float:
            rows = [(Hint([control], **settings),) for control in test.controls]
            return edge_agreement(self.paint(test.prompts, rows), test.controls)

        return {
            "measure": "edge F1 within 2 px, scribble",
            "strength": {str(value): agree(strength=value) for value in (0.0, 0.5, 1.0, 1.5)},
        }

    def together(self) -> Figures:
        """Two controls of the same scene at once, each alone, and two that contradict each other."""
        drawn, painted = benchmark("scribble", self.scenes), benchmark("seg", self.scenes)
        layout = measure_of("seg")

        def both(first: float, second: float) -> Figures:
            rows = [
                (Hint([a], first), Hint([b], second)) for a, b in zip(drawn.controls, painted.controls, strict=True)
            ]
            pictures = self.paint(drawn.prompts, rows)
            return {"edges": edge_agreement(pictures, drawn.controls), "layout": layout.agree(pictures, painted)}

        return {
            "measure": "edge F1 with the scribble; mean IoU with the layout",
            "scribble alone": both(1, 0),
            "layout alone": both(0, 1),
            "both at 1": both(1, 1),
            "both at 0.5": both(0.5, 0.5),
        }

    def settings(self) -> Figures:
        """Scribble agreement by number of steps and by guidance."""
        test = benchmark("scribble", self.scenes)

        def agree(steps: int, guidance: float) -> float:
            return edge_agreement(paint(self.painter, test.prompts, test.controls, steps, guidance), test.controls)

        return {
            "measure": "edge F1 within 2 px, scribble",
            "steps": {str(steps): agree(steps, GUIDANCE) for steps in (1, 2, 4, 8)},
            "guidance at one step": {str(value): agree(1, value) for value in (1.0, 1.5, 2.5)},
        }

    def larger(self) -> Figures:
        """Scribble agreement of pictures of 512 x 512 px, both made half as large for the measure."""
        test = benchmark("scribble", max(4, self.scenes // 3), side_px=512)
        pictures = [_half(picture) for picture in self.paint(test.prompts, test.controls)]
        halves = [_half(control) for control in test.controls]
        return {
            "measure": "edge F1 within 2 px at half size, scribble, 512 x 512 px",
            "scenes": len(pictures),
            "generated": edge_agreement(pictures, halves),
            "ceiling": edge_agreement([_half(truth.picture) for truth in test.truths], halves),
        }


def _half(picture: Rgb) -> Rgb:
    return cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA).astype(np.uint8)


def _noise(count: int, side_px: int = 256) -> list[Rgb]:
    return [np.random.default_rng(seed).integers(0, 256, (side_px, side_px, 3), np.uint8) for seed in range(count)]


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    return round(value, 4) if isinstance(value, float) else value


def sheet(painter: Painter, key: str, count: int, steps: int, path: Path) -> None:
    """A contact sheet: control (by hand where people draw it), picture made from it, true picture; two scenes a row."""
    test = (by_hand if key in HAND_DRAWN else benchmark)(key, count, HELD_OUT + 1000)
    pictures = paint(painter, test.prompts, test.controls, steps)
    truths = [truth.picture for truth in test.truths]
    board([np.concatenate(row, 1) for row in zip(test.controls, pictures, truths, strict=True)], 2, path)


def gallery(painter: Painter, more: Sequence[Path], count: int, steps: int, path: Path) -> None:
    """A contact sheet of the first `count` drawings from outside the world, each beside its picture."""
    drawn = drawings(more)[:count]
    pictures = paint(painter, [each.prompt for each in drawn], [each.control for each in drawn], steps)
    board([np.concatenate([255 - a.control, b], 1) for a, b in zip(drawn, pictures, strict=True)], 4, path)


def board(cells: Sequence[Rgb], across: int, path: Path) -> None:
    """Write cells of one size in rows of `across`, at five eighths of their size."""
    full = [*cells, *[np.full_like(cells[0], 255)] * (-len(cells) % across)]
    rows = [np.concatenate(full[start : start + across], 1) for start in range(0, len(full), across)]
    made = cv2.resize(np.concatenate(rows, 0), None, fx=0.625, fy=0.625, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(path), made[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])


def weights_name(folder: Path) -> str:
    """A name that changes with the weights in a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def main() -> None:
    """The command line."""
    options = _options()
    torch.set_num_threads(options.threads)
    painter = Painter.load(options.model)
    report = Report(painter, options.scenes, options.steps, options.kept, weights_name(options.model))
    seen = benchmark("scribble", options.scenes)
    pictures = [truth.picture for truth in seen.truths]
    report.part("codec", lambda: {"measure": "PSNR, dB", "generated": codec.psnr(painter.vae, pictures)})
    report.part("by hand", report.hand)
    report.part("drawings", lambda: report.strangers(options.drawings))
    report.part("colours", report.colours)
    report.part("colour strokes", report.crayons)
    for key in options.conditions.split(","):
        report.part(key, functools.partial(report.condition, key))
    report.part("prompt", report.prompts)
    report.part("strength", report.strength)
    report.part("together", report.together)
    report.part("settings", report.settings)
    report.part("512", report.larger)
    gallery(painter, options.drawings, 24, options.steps, options.out / "paperworld-drawings.png")
    for key in options.sheets.split(",") if options.sheets else ():
        sheet(painter, key, 8, options.steps, options.out / f"paperworld-{key}.png")
    (options.out / "paperworld-eval.json").write_text(json.dumps(report.figures, indent=2) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m paperworld.evaluation.evaluate", description=__doc__)
    parser.add_argument("--scenes", type=int, default=64, help="held-out scenes a condition")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument(
        "--drawings", type=Path, nargs="*", default=[], help="pictures of drawings, beside the own ones"
    )
    parser.add_argument("--conditions", default=",".join(CONDITIONS))
    parser.add_argument(
        "--sheets", default=",".join((*CONDITIONS, COLOUR)), help="conditions to draw contact sheets of"
    )
    parser.add_argument("--model", type=Path, default=SHIPPED)
    parser.add_argument(
        "--kept", type=Path, default=Path("runs/paperworld/figures.json"), help="where finished parts are kept"
    )
    parser.add_argument("--threads", type=int, default=2, help="threads of the processor")
    parser.add_argument("--out", type=Path, default=DOCS)
    return parser.parse_args()


if __name__ == "__main__":
    main()

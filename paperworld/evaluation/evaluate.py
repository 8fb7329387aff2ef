"""Measures the embedded model on held-out scenes: `python -m paperworld.evaluation.evaluate` writes docs/paperworld-eval.json.

Every figure stands beside its ceiling (the true picture of the scene), a shuffled control (another scene's), no control
(the prompt alone) and pure noise for a picture. Deterministic: scenes, captions, noise and hand-drawn controls follow
from seeds. Finished parts are kept beside the classifier, so that an interrupted evaluation goes on where it stopped.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from controlnet_core.domain.control import Rgb
from paperworld.evaluation import classifier as classifying
from paperworld.evaluation.benchmark import (
    CONDITIONS,
    answered,
    benchmark,
    edge_agreement,
    measure_of,
    questions,
)
from paperworld.evaluation.classifier import Classifier
from paperworld.model import codec
from paperworld.model.sampling import SHIPPED, Hint, Painter
from paperworld.training.examples import HELD_OUT

DOCS = Path("docs")
BATCH = 8
STEPS, GUIDANCE = 5, 1.5
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


def agreement(painter: Painter, key: str, count: int, steps: int = 8) -> float:
    """Edge agreement of pictures with exact controls of a line condition; the figure by which weights are compared."""
    test = benchmark(key, count)
    return edge_agreement(paint(painter, test.prompts, test.exact, steps), test.exact)


class Report:
    """The figures of one model. `model` names its weights: parts that were measured for the same ones are not repeated."""

    def __init__(
        self, painter: Painter, classifier: Classifier | None, scenes: int, steps: int, kept: Path, model: str
    ) -> None:
        self.painter, self.classifier, self.scenes, self.steps, self.kept = painter, classifier, scenes, steps, kept
        self.model = f"{model}-{scenes}-{steps}"
        self.figures: Figures = {}
        if kept.exists():
            old = json.loads(kept.read_text())
            self.figures = old["figures"] if old["model"] == self.model else {}

    def part(self, name: str, make: Callable[[], Figures]) -> None:
        """One part of the report, measured unless it is there already."""
        if name not in self.figures:
            self.figures[name] = _rounded(make())
            self.kept.write_text(json.dumps({"model": self.model, "figures": self.figures}))
        print(name, json.dumps(self.figures[name]), flush=True)  # noqa: T201

    def paint(self, prompts: Sequence[str], controls: Any) -> list[Rgb]:
        """Pictures at the report's number of steps."""
        return paint(self.painter, prompts, controls, self.steps)

    def condition(self, key: str) -> Figures:
        """Agreement with one condition, and what to hold it against."""
        measure, test = measure_of(key, self.classifier), benchmark(key, self.scenes)
        count = len(test.prompts)
        # Pictures made from another scene's control, held against this scene's.
        shuffled = [test.exact[(index + count // 2) % count] for index in range(count)]

        def agree(pictures: Sequence[Rgb]) -> float:
            return measure.agree(pictures, test)

        generated, ceiling = agree(self.paint(test.prompts, test.exact)), agree([t.picture for t in test.truths])
        figures: Figures = {
            "measure": measure.name,
            "scenes": count,
            "generated": generated,
            "ceiling": ceiling,
            "share": measure.share(generated, ceiling),
            "shuffled": agree(self.paint(test.prompts, shuffled)),
            "none": agree(self.paint(test.prompts, None)),
            "noise": agree(_noise(count)),
        }
        if test.hand is not test.exact and key in ("scribble", "seg", "pose"):
            figures["by_hand"] = agree(self.paint(test.prompts, test.hand))
        return figures

    def prompts(self) -> Figures:
        """Asked object, colour and time of day, from the prompt alone."""
        assert self.classifier is not None
        asked, truths = questions(self.scenes)
        pictures = self.paint([question.prompt for question in asked], None)
        generated, ceiling = answered(self.classifier, pictures, asked), answered(self.classifier, truths, asked)
        others = [*pictures[len(pictures) // 2 :], *pictures[: len(pictures) // 2]]
        return {
            "measure": "asked object, colour and time of day present",
            "scenes": len(asked),
            "generated": generated["all"],
            "ceiling": ceiling["all"],
            "share": generated["all"] / ceiling["all"],
            "shuffled": answered(self.classifier, others, asked)["all"],
            "noise": answered(self.classifier, _noise(len(asked)), asked)["all"],
            "each": {kind: {"generated": generated[kind], "ceiling": ceiling[kind]} for kind in generated},
        }

    def strength(self) -> Figures:
        """Scribble agreement by strength of the control, and by the part of the steps in which it acts."""
        test = benchmark("scribble", self.scenes)

        def agree(**settings: float) -> float:
            rows = [(Hint([control], **settings),) for control in test.exact]
            return edge_agreement(self.paint(test.prompts, rows), test.exact)

        return {
            "measure": "edge F1 within 2 px, scribble",
            "strength": {str(value): agree(strength=value) for value in (0.0, 0.5, 1.0, 1.5)},
            "window": {
                "first half of the steps": agree(end=0.5),
                "second half of the steps": agree(start=0.5),
                "all steps": agree(),
            },
        }

    def together(self) -> Figures:
        """Two controls of the same scene at once, each alone, and two that contradict each other."""
        drawn, painted = benchmark("scribble", self.scenes), benchmark("seg", self.scenes)
        layout = measure_of("seg", self.classifier)

        def both(first: float, second: float) -> Figures:
            rows = [(Hint([a], first), Hint([b], second)) for a, b in zip(drawn.exact, painted.exact, strict=True)]
            pictures = self.paint(drawn.prompts, rows)
            return {"edges": edge_agreement(pictures, drawn.exact), "layout": layout.agree(pictures, painted)}

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
            return edge_agreement(paint(self.painter, test.prompts, test.exact, steps, guidance), test.exact)

        return {
            "measure": "edge F1 within 2 px, scribble",
            "steps": {str(steps): agree(steps, GUIDANCE) for steps in (2, 4, 6, 10, 20)},
            "guidance at 10 steps": {str(value): agree(10, value) for value in (1.0, 1.5, 2.0, 3.0, 4.5)},
        }

    def larger(self) -> Figures:
        """Scribble agreement of pictures of 512 x 512 px, both made half as large for the measure."""
        test = benchmark("scribble", max(4, self.scenes // 3), side_px=512)
        pictures = [_half(picture) for picture in self.paint(test.prompts, test.exact)]
        halves = [_half(control) for control in test.exact]
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
    test = benchmark(key, count, HELD_OUT + 1000)
    pictures = paint(painter, test.prompts, test.hand, steps)
    triples = [
        np.concatenate([control, picture, truth.picture], 1)
        for control, picture, truth in zip(test.hand, pictures, test.truths, strict=True)
    ]
    rows = [np.concatenate(triples[start : start + 2], 1) for start in range(0, count - count % 2, 2)]
    board = cv2.resize(np.concatenate(rows, 0), None, fx=0.625, fy=0.625, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(path), board[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])


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
    classifier = classifying.load(options.classifier, options.classifier_minutes)
    kept = options.classifier / "figures.json"
    report = Report(painter, classifier, options.scenes, options.steps, kept, weights_name(options.model))
    seeds = range(HELD_OUT, HELD_OUT + 64)
    report.part("codec", lambda: {"measure": "PSNR, dB", "generated": codec.psnr(painter.vae, seeds)})
    for key in options.conditions.split(","):
        report.part(key, functools.partial(report.condition, key))
    report.part("prompt", report.prompts)
    report.part("strength", report.strength)
    report.part("together", report.together)
    report.part("settings", report.settings)
    report.part("512", report.larger)
    for key in options.sheets.split(",") if options.sheets else ():
        sheet(painter, key, 8, options.steps, options.out / f"paperworld-{key}.png")
    (options.out / "paperworld-eval.json").write_text(json.dumps(report.figures, indent=2) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m paperworld.evaluation.evaluate", description=__doc__)
    parser.add_argument("--scenes", type=int, default=24, help="held-out scenes a condition")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--conditions", default=",".join(CONDITIONS))
    parser.add_argument("--sheets", default=",".join(CONDITIONS), help="conditions to draw contact sheets of")
    parser.add_argument("--model", type=Path, default=SHIPPED)
    parser.add_argument(
        "--classifier", type=Path, default=Path("runs/paperworld/classifier"), help="where the classifier network lies"
    )
    parser.add_argument("--classifier-minutes", type=float, default=30, help="at most so long it is trained; 0 for not")
    parser.add_argument("--threads", type=int, default=2, help="threads of the processor")
    parser.add_argument("--out", type=Path, default=DOCS)
    return parser.parse_args()


if __name__ == "__main__":
    main()

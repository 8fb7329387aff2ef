"""The classifier: one small network that reads a picture of this world, trained on true pictures only.

It says what is where (classes), how far, how it lies (normals), where people's joints are, and which facts hold (a red
house, night). It never sees generated pictures in training, so it cannot learn to forgive them; its own agreement with
true pictures is the ceiling of every figure that it gives. Not shipped:
`python -m paperworld.evaluation.evaluate` trains it when it is missing.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

import paperworld
from controlnet_core.domain.control import Rgb, Truth
from controlnet_core.training.loop import LoopSettings, read, train
from paperworld.world import labels
from paperworld.world.caption import Facts
from paperworld.world.palette import NAMED, PALETTES
from paperworld.world.portraits import compose_people
from paperworld.world.scene import Scene
from paperworld.world.spoken import compose_spoken
from paperworld.world.warp import thinned

Scalar = TypeVar("Scalar", bound=np.generic)
LABELS = tuple(sorted({value for value in vars(labels).values() if isinstance(value, int)}))
"""The classes that the world shows; the classifier knows no other."""
GRID = 4
"""The classifier speaks about cells of this many pixels."""
JOINTS = 18
COLOURED = ("house", "car", "boat", "flower", "sofa", "bed", "person")
NAMES = (
    *("house", "tree", "pine", "palm", "bush", "flower", "rock", "car", "boat", "lighthouse", "skyscraper"),
    *("streetlight", "bench", "dog", "cat", "sheep", "cow", "horse", "fence", "bridge", "bed", "sofa", "table"),
    *("lamp", "painting", "rug", "window", "person", "mountain", "road", "river", "sea", "sun", "moon", "cloud"),
)
FACTS = (*PALETTES, *NAMES, *(f"{colour} {name}" for name in COLOURED for colour in NAMED))
"""What the classifier can say of a whole picture: its time of day, what it shows, and that in which colour."""
WIDTHS = (16, 32, 64, 96, 96)
MIX = 32
STEPS, BATCH = 600, 8


def facts_of(known: Facts) -> set[str]:
    """Which of FACTS hold."""
    found = {known.time}
    for seen in known.objects:
        name = "person" if seen.name in ("man", "woman") else seen.name
        found |= {name, f"{seen.colour} {name}"}
    found |= {f"{person.colour} person" for person in known.people}
    return found & set(FACTS)


@dataclass(frozen=True)
class Opinion:
    """What the classifier sees in one picture, on a grid of H/4,W/4: ADE20K `classes`, `depth` (natural logarithm of metres),
    unit `normal` (...,3), `joints` (18,...) in [0, 1]; and `facts`, the probability of each of FACTS."""

    classes: NDArray[np.uint8]
    depth: NDArray[np.float32]
    normal: NDArray[np.float32]
    joints: NDArray[np.float32]
    facts: dict[str, float]


def _layer(narrow: int, wide: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(narrow, wide, 3, stride, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU(inplace=True))


class Classifier(nn.Module):
    """Pictures B,3,H,W in [-1, 1]; forward of a batch is the training loss."""

    def __init__(self) -> None:
        super().__init__()
        stem, *rest = WIDTHS
        self.stem = _layer(3, stem, 2)
        self.down = nn.ModuleList(
            nn.Sequential(_layer(narrow, wide, 2), _layer(wide, wide)) for narrow, wide in itertools.pairwise(WIDTHS)
        )
        self.side = nn.ModuleList(nn.Conv2d(width, MIX, 1) for width in rest)
        self.mix = _layer(MIX, MIX)
        self.head = nn.Conv2d(MIX, len(LABELS) + 1 + 3 + JOINTS, 1)
        self.fact = nn.Conv2d(rest[1], len(FACTS), 1)
        self.mood = nn.Linear(rest[-1], len(FACTS))
        # Joints and facts are rare: begin by doubting them.
        nn.init.constant_(self.fact.bias, -3)  # pyright: ignore[reportArgumentType]

    def read(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Class scores, log depth, normals, joint scores (all B,C,H/4,W/4) and fact scores B,F."""
        x, levels = self.stem(pictures), []
        for down in self.down:
            x = down(x)
            levels.append(x)
        total = self.side[-1](levels[-1])
        for level, side in zip(levels[-2::-1], list(self.side)[-2::-1], strict=True):
            total = side(level) + F.interpolate(total, size=level.shape[2:], mode="bilinear")
        classes, depth, normal, joints = self.head(self.mix(total)).split([len(LABELS), 1, 3, JOINTS], 1)
        # A fact holds where it shows best; the rest of the picture sets the mood.
        facts = torch.logsumexp(self.fact(levels[1]), (2, 3)) - 3 + self.mood(levels[-1].mean((2, 3)))
        return classes, depth, F.normalize(normal, dim=1), joints - 4, facts

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Cross-entropies of classes, joints and facts; L1 of log depth; one minus the cosine of normals."""
        classes, depth, normal, joints, facts = self.read(batch["pictures"])
        return (
            F.cross_entropy(classes, batch["classes"])
            + 0.3 * F.l1_loss(depth[:, 0], batch["depth"])
            + (1 - (normal * batch["normal"]).sum(1)).mean()
            + 20 * F.binary_cross_entropy_with_logits(joints, batch["joints"])
            + 5 * F.binary_cross_entropy_with_logits(facts, batch["facts"])
        )

    @torch.no_grad()
    def look(self, pictures: Sequence[Rgb]) -> list[Opinion]:
        """What each picture shows."""
        found = []
        for picture in pictures:
            classes, depth, normal, joints, facts = (part[0] for part in self.read(_tensor(picture)[None]))
            found.append(
                Opinion(
                    np.asarray(LABELS, np.uint8)[classes.argmax(0).numpy()],
                    depth[0].numpy(),
                    normal.permute(1, 2, 0).numpy(),
                    joints.sigmoid().numpy(),
                    dict(zip(FACTS, facts.sigmoid().tolist(), strict=True)),
                )
            )
        return found


def cells_of(values: NDArray[Scalar]) -> NDArray[Scalar]:
    """The value at the centre of every cell."""
    return values[GRID // 2 :: GRID, GRID // 2 :: GRID]


def heat_of(truth: Truth) -> NDArray[np.float32]:
    """18,H/4,W/4: bumps of 1.2 cells' width around the joints of all people."""
    height, width = truth.classes.shape[0] // GRID, truth.classes.shape[1] // GRID
    heat = np.zeros((JOINTS, height, width), np.float32)
    y, x = np.mgrid[0:height, 0:width] * GRID + (GRID - 1) / 2
    for person in truth.skeleton.people:
        for number, point in enumerate(person.body):
            if point.confidence > 0:
                bump = np.exp(-((x - point.x) ** 2 + (y - point.y) ** 2) / (2 * (1.2 * GRID) ** 2))
                heat[number] = np.maximum(heat[number], bump)
    return heat


def load(folder: Path, minutes: float) -> Classifier:
    """The classifier in `folder`, trained for at most `minutes` more when its training is not finished."""
    torch.manual_seed(0)
    classifier = Classifier()
    path = folder / "classifier.pt"
    if not path.exists() or (minutes > 0 and read(path)["step"] < STEPS):
        plan = LoopSettings(steps=STEPS, minutes=minutes, rate=3e-3, average=0.98, save_minutes=2)
        train(classifier, _batch_at, plan, path, Accelerator(cpu=True))
    classifier.load_state_dict(read(path)["average"])
    return classifier.eval()


def scene_for(number: int) -> Scene:
    """Scene `number` of those that the classifier knows: whole and thinned ones, people alone, what words compose."""
    rng = np.random.default_rng((13, number))
    kind = rng.random()
    if kind < 0.3:
        return compose_people(number)
    if kind < 0.45:
        return compose_spoken(number)
    share = 0.0 if kind < 0.7 else float(rng.uniform(0.1, 0.6))
    return thinned(paperworld.compose(number), rng, share, sky=kind < 0.8)


def _batch_at(number: int) -> dict[str, Tensor]:
    rng = np.random.default_rng((1, number))
    rows = [_row(int(seed)) for seed in rng.integers(0, 1_000_000, BATCH)]
    return {key: torch.stack([torch.as_tensor(row[key]) for row in rows]) for key in rows[0]}


def _row(number: int) -> dict[str, NDArray[np.generic] | Tensor]:
    scene = scene_for(number)
    truth = paperworld.render(scene)
    known = facts_of(paperworld.facts(scene))
    return {
        "pictures": _tensor(truth.picture),
        "classes": np.searchsorted(LABELS, cells_of(truth.classes)).astype(np.int64),
        "depth": np.log(cells_of(truth.depth)).astype(np.float32),
        "normal": np.ascontiguousarray(cells_of(truth.normal).transpose(2, 0, 1)),
        "joints": heat_of(truth),
        "facts": np.array([fact in known for fact in FACTS], np.float32),
    }


def _tensor(picture: Rgb) -> Tensor:
    return torch.from_numpy(picture.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)

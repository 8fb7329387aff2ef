"""Training examples, rendered ahead: shards of scenes with their codes, captions and control pictures.

One shard is one file: codes as float16, control pictures as PNG bytes, so that tens of thousands of scenes fit into
memory. `render_ahead` writes shards for ever smaller needs of the trainer in a process of its own; `Library` reads
those that exist and notices new ones. A shard is a function of its number alone.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from controlnet_core.domain.control import Rgb, Truth
from controlnet_core.domain.errors import ModelError
from paperworld.model.latents import Basis, fit

SIDE_PX = 256
SHARD = 250
HELD_OUT = 10_000_000
"""Seeds from here on are never trained on."""
CAPTIONS = 3
FREEHAND_SHARE = 0.8


def scene_of(seed: int) -> tuple[Any, Truth]:
    """The scene of `seed` and its rendering at 256 px."""
    import paperworld

    scene = paperworld.compose(seed)
    return scene, paperworld.render(scene, SIDE_PX, SIDE_PX)


def control_of(truth: Truth, key: str, rng: np.random.Generator, freehand: bool) -> Rgb:
    """The control picture of a rendering under condition `key`, as a person would draw it or exact, as the network reads it."""
    from annotator import controls
    from controlnet_core.domain.control import values
    from paperworld.world import freehand as hand

    control = controls()[key]
    document = control.truth(truth)
    if freehand and key == "scribble":
        document = hand.scribble(truth, rng)
    elif freehand and key == "seg":
        document = hand.layout(truth, rng)
    elif freehand and key == "pose":
        document = hand.pose(truth, rng)
    return control.fed(control.render(document, values(control.params, {})), control.networks["paperworld"])


def pack(picture: Rgb) -> bytes:
    """PNG bytes of a control picture."""
    done, data = cv2.imencode(".png", picture[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise ModelError("A control picture could not be packed.")
    return data.tobytes()


def unpack(data: bytes) -> Rgb:
    """The control picture in PNG bytes."""
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise ModelError("A training shard is damaged.", "Remove it; it is rendered again.")
    return np.ascontiguousarray(picture[..., ::-1]).astype(np.uint8, copy=False)


EMPTY = pack(np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8))
"""An empty sheet, packed."""


def basis_at(folder: Path, side: int, channels: int) -> Basis:
    """The latent basis in `folder`; else the one that the shipped weights speak (axes of equal strength turn freely, so that
    another machine would fit another one); else one fitted to the first 600 scenes."""
    path = folder / f"basis-{side}-{channels}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        shipped = Path(__file__).parents[1] / "model" / path.name
        if shipped.exists():
            return Basis.load(shipped)
        basis = fit([scene_of(seed)[1].picture for seed in range(600)], side, channels)
        basis.save(path.with_name("part-" + path.name))
        path.with_name("part-" + path.name).replace(path)
    return Basis.load(path)


def render_shard(number: int, folder: Path, basis: Basis, conditions: Sequence[str]) -> None:
    """Render scenes number * SHARD ... into one file, whole or not at all."""
    import paperworld

    codes, captions = [], []
    pictures: dict[str, list[bytes]] = {key: [] for key in conditions}
    for seed in range(number * SHARD, (number + 1) * SHARD):
        rng = np.random.default_rng(seed)
        scene, truth = scene_of(seed)
        codes.append(basis.encode(truth.picture).astype(np.float16))
        captions.append([paperworld.caption(scene, rng) for _ in range(CAPTIONS)])
        for key in conditions:
            pictures[key].append(pack(control_of(truth, key, rng, bool(rng.random() < FREEHAND_SHARE))))
    path = folder / f"shard-{number:05d}.pickle"
    part = path.with_suffix(".part")
    part.write_bytes(pickle.dumps({"codes": np.stack(codes), "captions": captions, "controls": pictures}))
    part.replace(path)


@dataclass
class Library:
    """The examples of all shards that exist in a folder; `refresh` takes in new ones.

    `showing` are the rows by condition where it shows something: two scenes of three have nobody to pose.
    """

    folder: Path
    codes: list[NDArray[np.float16]] = field(default_factory=list)
    captions: list[list[str]] = field(default_factory=list)
    controls: list[dict[str, bytes]] = field(default_factory=list)
    showing: dict[str, list[int]] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)

    def refresh(self) -> int:
        """Read new shards; returns the number of examples."""
        for path in sorted(self.folder.glob("shard-*.pickle")):
            if path.name in self.taken:
                continue
            try:
                # Shards are this program's own, from this machine's working folder.
                shard = pickle.loads(path.read_bytes())
                controls = [
                    dict(zip(shard["controls"], row, strict=True))
                    for row in zip(*shard["controls"].values(), strict=True)
                ]
            except (pickle.UnpicklingError, EOFError, KeyError, AttributeError) as error:
                raise ModelError(
                    f"The training shard {path.name} is damaged.", "Remove it; it is rendered again."
                ) from error
            self.taken.add(path.name)
            self.codes.extend(shard["codes"])
            self.captions.extend(shard["captions"])
            self.controls.extend(controls)
            for row, pictures in enumerate(controls, len(self.controls) - len(controls)):
                for key in (key for key, data in pictures.items() if data != EMPTY):
                    self.showing.setdefault(key, []).append(row)
        return len(self.codes)


def render_ahead(
    folder: Path, basis: Basis, conditions: Sequence[str], count: int, part: int = 0, parts: int = 1
) -> None:
    """Render the shards up to `count` scenes that are missing; process `part` of `parts`."""
    cv2.setNumThreads(1)
    for number in range(part, -(-count // SHARD), parts):
        if not (folder / f"shard-{number:05d}.pickle").exists():
            render_shard(number, folder, basis, conditions)

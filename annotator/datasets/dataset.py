"""Makes a data set of photos: maps and photos in pairs, in the layout of the original's tutorial.

    source/NAME.png    the control picture
    target/NAME.png    the photo, in the same size
    prompt.json        a line {"source", "target", "prompt"} a pair
    annotation.json    how the maps were made
    skipped.jsonl      the photos of the last run that could not be used, and why

A pair counts when its line is written, after its pictures: so a run that was stopped, killed or ran into a full disk goes on
where it was, and lines whose prompts were edited meanwhile stay as they are. Which photos there are says `photos`; what is
found in them says whoever calls.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import annotator
from annotator import detection as detecting
from annotator.datasets.photos import Photo
from controlnet_core.domain import picture
from controlnet_core.domain.control import Rgb, Value, values
from controlnet_core.domain.document import Document
from controlnet_core.domain.errors import InputError
from controlnet_core.execution import decoder
from controlnet_core.storage import store

PROMPTS, PLAN, SKIPPED = "prompt.json", "annotation.json", "skipped.jsonl"


@dataclass(frozen=True)
class AnnotationPlan:
    """How the maps are made. `size` is the shorter side of the pairs in pixels; 0 keeps the photos' own size.

    `values` are those of the detector, `drawn` those of the condition's renderer. `caption` is for photos without one.
    """

    control: str
    detector: str
    values: Mapping[str, Value] = field(default_factory=dict[str, Value])
    drawn: Mapping[str, Value] = field(default_factory=dict[str, Value])
    size: int = 512
    caption: str = ""


@dataclass
class AnnotationProgress:
    """How far a run is: photos in all, pairs that are there, photos that were skipped with the reason, the photo at work."""

    total: int
    done: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    name: str = ""

    @property
    def seen(self) -> int:
        """Photos that are finished, one way or the other."""
        return self.done + len(self.skipped)


Find = Callable[[Rgb, int, int], Document]
"""(photo, width, height) -> document of that size. Raises InputError for a photo in which there is nothing to find."""
Pairs = Callable[[Sequence[Photo]], Iterator[str]]
"""Makes the pairs of photos, in their order, as it is asked for them: for each "", or why there is none."""
OnProgress = Callable[[AnnotationProgress], None]


def make(
    photos: Sequence[Photo],
    folder: Path,
    plan: AnnotationPlan,
    find: Find | None,
    on_progress: OnProgress = lambda _progress: None,
    *,
    free_min_bytes: int = store.FREE_MIN_BYTES,
    pairs: Pairs | None = None,
) -> AnnotationProgress:
    """Make the pairs that are not there yet, here with `find` or elsewhere by `pairs`. `on_progress` hears of every photo; what it
    raises stops the run.

    A photo that cannot be used is skipped and reported. Raises InputError when the folder holds pairs made otherwise,
    NoSpace, and what `find` raises beside InputError.
    """
    _claim(folder, plan, free_min_bytes)
    lined = _targets(folder)
    progress = AnnotationProgress(len(photos))
    lacking = [photo for photo in photos if not _is_there(photo, folder, lined)]
    names = {photo.name for photo in lacking}
    if pairs is not None:
        made = pairs(lacking)
    else:
        assert find is not None, "somebody has to make the pairs"
        made = (make_pair(photo, folder, plan, find, free_min_bytes) for photo in lacking)
    with (folder / PROMPTS).open("ab") as lines:
        for photo in photos:
            progress.name = photo.where
            on_progress(progress)
            if photo.name in names and (why := next(made)):
                progress.skipped.append((photo.where, why))
                continue
            where = _files(photo)
            if where["target"] not in lined:
                prompt = photo.caption or plan.caption
                lines.write(json.dumps(where | {"prompt": prompt}, ensure_ascii=False).encode() + b"\n")
                lines.flush()
                os.fsync(lines.fileno())
            progress.done += 1
    skipped = "".join(
        json.dumps({"file": name, "why": why}, ensure_ascii=False) + "\n" for name, why in progress.skipped
    )
    if skipped or (folder / SKIPPED).is_file():
        store.write(folder / SKIPPED, skipped.encode(), free_min_bytes=free_min_bytes, private=False)
    progress.name = ""
    on_progress(progress)
    return progress


def pair_size(height: int, width: int, shorter: int) -> tuple[int, int]:
    """Width and height of a pair: the canvas of the photo's shape, or for `shorter` 0 the photo's own size."""
    return detecting.canvas_size(height, width, shorter) if shorter else detecting.photo_size(height, width)


def make_pair(photo: Photo, folder: Path, plan: AnnotationPlan, find: Find, free_min_bytes: int) -> str:
    """Write the two files of a pair, whole or not at all; returns "", or why the photo cannot be used."""
    try:
        _write_pair(photo, folder, plan, find, free_min_bytes)
    except InputError as error:
        return str(error)
    return ""


def _files(photo: Photo) -> dict[str, str]:
    return {side: f"{side}/{photo.name}.png" for side in ("source", "target")}


def _is_there(photo: Photo, folder: Path, lined: set[str]) -> bool:
    where = _files(photo)
    return where["target"] in lined and all((folder / path).is_file() for path in where.values())


def _write_pair(photo: Photo, folder: Path, plan: AnnotationPlan, find: Find, free_min_bytes: int) -> None:
    where, data = _files(photo), photo.read()
    rgb = decoder.decode(data)
    width, height = pair_size(rgb.shape[0], rgb.shape[1], plan.size)
    control = annotator.control(plan.control)
    mapped = control.render(find(rgb, width, height), values(control.params, plan.drawn))
    shown = rgb if rgb.shape[:2] == (height, width) else picture.resize_to(rgb, width, height)
    store.write(folder / where["source"], picture.to_png(mapped), free_min_bytes=free_min_bytes, private=False)
    store.write(folder / where["target"], picture.to_png(shown), free_min_bytes=free_min_bytes, private=False)


def _claim(folder: Path, plan: AnnotationPlan, free_min_bytes: int) -> None:
    """Note the plan in a new folder; refuse a folder whose pairs were made with another one."""
    made = json.loads(json.dumps({key: value for key, value in asdict(plan).items() if key != "caption"}))
    path = folder / PLAN
    if path.is_file():
        try:
            before: Any = json.loads(path.read_bytes())
        except ValueError:
            before = None
        if before != made:
            raise InputError(
                f"{folder.name} holds pairs that were made in another way.", "Use the same settings, or another folder."
            )
    elif (folder / PROMPTS).exists():
        raise InputError(f"{folder.name} holds another data set already.", "Choose another folder.")
    else:
        store.write(path, json.dumps(made, indent=1).encode(), free_min_bytes=free_min_bytes, private=False)


def _targets(folder: Path) -> set[str]:
    """The targets of the lines that are there; what a crash left of a last line is cut off."""
    path = folder / PROMPTS
    if not path.is_file():
        return set()
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    found: set[str] = set()
    for line in whole.splitlines():
        try:
            told: Any = json.loads(line)
            found.add(str(told["target"]))
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
    return found

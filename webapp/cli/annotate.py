"""`studio annotate`: a photo to its map, or a folder, zip, JSONL or shards of photos to a data set."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from webapp.cli.words import told

if TYPE_CHECKING:
    from collections.abc import Mapping

    from annotator.datasets.dataset import AnnotationPlan, AnnotationProgress
    from controlnet_core.domain.control import ControlType, Detector, Param, Value
    from controlnet_core.domain.document import Document
    from webapp.application.studio import Studio


def annotate(
    context: typer.Context,
    control: Annotated[str, typer.Argument(help="A control: scribble, pose, seg, canny, ...")],
    source: Annotated[
        Path,
        typer.Argument(
            metavar="IN", help="A photo; or a folder, zip, JSONL, Parquet file or WebDataset tar of photos."
        ),
    ],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="A PNG; or the folder of the data set.")],
    detector: Annotated[str, typer.Option(help="How; by default the first that this machine can run.")] = "",
    size: Annotated[
        int, typer.Option(min=-1, help="Shorter side in px; 0: the photo's own. By default 0; data sets 512.")
    ] = -1,
    caption: Annotated[str, typer.Option(help="Prompt of the photos of a data set that have none.")] = "",
    ray: Annotated[
        str,
        typer.Option(
            metavar="auto|HOST:PORT", help="Make a data set on a Ray cluster, whose nodes see the same folders."
        ),
    ] = "",
    machine: Annotated[bool, typer.Option("--json", help="Tell the progress in lines of JSON.")] = False,
) -> None:
    """Turn photos into control pictures. Every parameter of the condition is an option: --low 50.

    Many photos become source/, target/ and prompt.json; what was stopped goes on where it was.
    """
    with told():
        from annotator import detection as detecting
        from annotator.datasets.dataset import AnnotationPlan
        from annotator.datasets.photos import MANY
        from controlnet_core.domain.control import values
        from controlnet_core.domain.errors import InputError
        from webapp.application.recipe_builder import runnable
        from webapp.root import studio

        if size > detecting.CANVAS_MAX_PX:
            raise InputError(f"--size {size} is too large.", f"Choose at most {detecting.CANVAS_MAX_PX}.")
        here = studio()
        kind = here.control(control)
        found = detecting.detector(kind, detector) if detector else runnable(here.catalog, kind)
        given = _values(context.args, (*found.params, *kind.params))
        drawn = values(kind.params, {key: one for key, one in given.items() if key in {p.key for p in kind.params}})
        own = values(found.params, {key: one for key, one in given.items() if key in {p.key for p in found.params}})
        if source.is_dir() or source.suffix.lower() in MANY:
            if not kind.teaches:
                raise InputError(*kind.no_pairs)
            plan = AnnotationPlan(control, found.key, own, drawn, 512 if size < 0 else size, caption)
            _data_set(here, source, target, plan, found, machine, ray)
        elif ray:
            raise InputError(
                "One photo is made here.", "Leave --ray away, or name a folder, zip, JSONL or shard of photos."
            )
        else:
            _one(here, kind, found, source, target, own, drawn, max(size, 0))


def _one(
    here: Studio,
    kind: ControlType,
    detector: Detector,
    source: Path,
    target: Path,
    given: dict[str, Value],
    drawn: dict[str, Value],
    size: int,
) -> None:
    from controlnet_core.domain.errors import InputError
    from controlnet_core.domain.picture import to_png
    from webapp.cli.outputs import Output

    if not source.is_file():
        raise InputError(f"There is no {source}.")
    document = document_of(kind, detector, source, given, size)
    output = Output.of(str(target) if target.is_dir() or str(target) == "-" else str(target.with_suffix(".png")), 1)
    data = to_png(here.render(kind.key, document, drawn))
    place = output.write(f"{source.stem}.png", 0, data, here.settings.free_min_bytes)
    print(f"{source} -> {place}", file=output.words)


def _data_set(
    here: Studio, source: Path, target: Path, plan: AnnotationPlan, detector: Detector, machine: bool, ray: str
) -> None:
    from annotator import detection as detecting
    from annotator import weights
    from annotator.datasets.dataset import make
    from annotator.datasets.photos import photos
    from controlnet_core.domain.errors import InputError

    listed = photos(source)
    if detector.weights:
        weights.provide(detector.weights, partial(_load, machine), here.settings.free_min_bytes)
    find = partial(detecting.detect, here.control(plan.control), detector)
    free = here.settings.free_min_bytes
    tell = partial(_tell, machine)
    if ray:
        from annotator.datasets import far
        from controlnet_core.execution.ray_data import pool

        where = {"STUDIO_MODELS": str(here.settings.models)}
        with pool(ray, gpu=bool(detector.weights)) as mapped:
            pairs = far.pairs(mapped, source.resolve(), target.resolve(), plan, where, free)
            done = make(listed, target, plan, None, tell, free_min_bytes=free, pairs=pairs)
    else:
        done = make(listed, target, plan, lambda rgb, w, h: find(rgb, plan.values, w, h), tell, free_min_bytes=free)
    for name, why in done.skipped:
        print(f"{name}: {why}", file=sys.stderr)
    print(f"{done.done} pairs in {target}" if not machine else "", end="" if machine else "\n")
    if done.skipped:
        raise InputError(f"{len(done.skipped)} of {done.total} pictures could not be annotated.")


def _load(machine: bool, text: str, done: int = 0, total: int = 0) -> None:
    if machine:
        print(json.dumps({"text": text, "done": done, "total": total}), flush=True)
    else:
        print(f"\r{text}", end="" if done < total else "\n", file=sys.stderr, flush=True)


def _tell(machine: bool, progress: AnnotationProgress) -> None:
    if machine:
        text = f"{progress.seen} of {progress.total} photos"
        print(
            json.dumps(
                {"text": text, "done": progress.seen, "total": progress.total, "skipped": len(progress.skipped)}
            ),
            flush=True,
        )
    elif sys.stderr.isatty():
        end = "\n" if progress.seen == progress.total else ""
        print(f"\r\x1b[K{progress.seen} of {progress.total} {progress.name}", end=end, file=sys.stderr, flush=True)


def document_of(kind: ControlType, detector: Detector, path: Path, given: dict[str, Value], size: int = 0) -> Document:
    """What a detector of `kind` finds in the picture file at `path`; `size` is the shorter side, 0 the picture's own.

    Networks that are not on this machine are fetched. Raises InputError for a file that is no picture, or in which there is
    nothing to find.
    """
    from annotator import detection as detecting
    from annotator import weights
    from annotator.datasets.dataset import pair_size
    from controlnet_core.domain.errors import InputError
    from controlnet_core.domain.picture import open_picture

    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    picture = open_picture(data, alpha=detector.alpha)
    if detector.weights:
        weights.provide(detector.weights, partial(_load, False))
    width, height = pair_size(picture.shape[0], picture.shape[1], size)
    return detecting.detect(kind, detector, picture, given, width, height)


def _values(args: list[str], params: tuple[Param, ...]) -> dict[str, Value]:
    """The options that are parameters: --low 50, --low=50, and --light or --light true for a switch."""
    from controlnet_core.domain.errors import InputError

    known = {param.key: param for param in params}
    values: dict[str, Value] = {}
    waiting = [part for arg in args for part in (arg.split("=", 1) if arg.startswith("--") else [arg])]
    while waiting:
        name = waiting.pop(0)
        key = name.removeprefix("--").replace("-", "_")
        if not name.startswith("--") or key not in known:
            listed = ", ".join(f"--{one.replace('_', '-')}" for one in known) or "none"
            raise InputError(f"There is no option {name!r} here.", f"Known: {listed}.")
        param = known[key]
        if isinstance(param.default, bool) and (not waiting or waiting[0].startswith("--")):
            values[key] = True
        elif not waiting:
            raise InputError(f"{name} needs a value.")
        else:
            values[key] = param.check(_typed(param, waiting.pop(0)))
    return values


def values_of(given: Mapping[str, str], params: tuple[Param, ...]) -> dict[str, Value]:
    """Parameters that were given as words, all of them. Raises InputError that names what is unknown or out of range."""
    from controlnet_core.domain.control import values

    known = {param.key: param for param in params}
    return values(params, {key: _typed(known[key], text) if key in known else text for key, text in given.items()})


def _typed(param: Param, text: str) -> object:
    if param.choices:
        return text
    if isinstance(param.default, bool):
        return {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}.get(
            text.lower(), text
        )
    try:
        return int(text) if isinstance(param.default, int) else float(text)
    except ValueError:
        return text  # the parameter says what it wants

"""`studio models`: what is on this machine, fetching, checking and deleting it, and making ControlNets from others."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from controlnet_core.domain import amounts
from webapp.cli.words import told

if TYPE_CHECKING:
    from controlnet_core.checkpoints.transfer import Done, TransferOptions
    from controlnet_core.models.download import DownloadProgress
    from webapp.application.studio import Studio

T = TypeVar("T")
CHECK_MEMORY_BYTES = 512 << 20
CHECK_CPU_S = 60.0
app = typer.Typer(no_args_is_help=True, help="The models of this machine: list, fetch, check, delete, transfer.")
Half = Annotated[bool, typer.Option("--half", help="Write half precision: half the size.")]
Full = Annotated[bool, typer.Option("--full", help="Write the base model into the same file, for other programs.")]
Watched = Annotated[bool, typer.Option(hidden=True, help="Stop when standard input closes; progress in lines.")]


@app.command("list")
def list_models(
    kind: Annotated[
        str,
        typer.Argument(
            help="base, controlnet, detector, lora, vae, embedding, ip_adapter, image_encoder; all by default."
        ),
    ] = "",
) -> None:
    """Every model that is known, and whether it is on this machine."""
    with told():
        from webapp.root import studio

        here = studio()
        rows = [row for row in here.library.rows() if kind in ("", row["kind"])]
        for row in sorted(rows, key=lambda row: (row["kind"], not row["here"], row["id"])):
            begun = row["begun"] and f"{100 * row['begun'][0] // row['begun'][1]} %"
            mark = "trouble" if row["trouble"] else "installed" if row["here"] else begun or "-"
            size = amounts.size(row["size"]) if row["size"] else ""
            print(f"{row['kind']:<14}{mark:<11}{row['id']:<34}{size:>9}  {row['title']}  ({row['licence']})")


@app.command("check")
def check_model(
    paths: Annotated[list[str], typer.Argument(help="Files or folders, or ids of `studio models list`.")],
    json: Annotated[bool, typer.Option("--json", hidden=True)] = False,
) -> None:
    """Say in a sentence what each file is and whether it can be used. Nothing inside a file is ever run."""
    with told():
        from dataclasses import asdict
        from json import dumps

        from controlnet_core.checkpoints.probe import check

        bad = 0
        if json:
            _confine([Path(given) for given in paths])
        for given in paths:
            path = Path(given)
            if not path.exists():
                from webapp.root import studio

                catalog = studio().catalog
                path = catalog.locate(catalog.card(given))
            verdict = check(path)
            bad += not verdict.ok
            print(dumps(asdict(verdict)) if json else f"{given}: {verdict.sentence} {verdict.hint}".rstrip())
        if bad and not json:
            raise typer.Exit(1)


def _confine(paths: list[Path]) -> None:
    """The pages' check may take so much memory and processor time, whatever a pickle asks for."""
    import signal

    import torch  # noqa: F401 - what it takes itself is not the file's

    from controlnet_core.execution.confined import confine

    largest = max((path.stat().st_size for path in paths if path.is_file()), default=0)
    confine(2 * largest + CHECK_MEMORY_BYTES)  # a mapped file counts, and so does one that is read
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, CHECK_CPU_S)


@app.command("sets")
def list_sets() -> None:
    """Starter sets: everything that one draws with, by family. `studio models download` takes their names too."""
    with told():
        from webapp.root import studio

        for row in studio().sets.rows():
            size = "all here" if row["here"] else f"{row['size'] / 1e9:.1f} GB to come"
            print(f"{row['id']:<12}{row['title']:<30}{size:>17}  {row['note']}")
            print("".join(f"    {'x' if part['here'] else '-'} {part['title']}\n" for part in row["parts"]), end="")


@app.command("download")
def download_models(
    ids: Annotated[list[str], typer.Argument(help="Ids of `studio models list`, or of `studio models sets`.")],
) -> None:
    """Fetch models from the hub: whole and checked, or not at all. A cut or stopped download goes on where it was."""
    with told():
        from controlnet_core.models.download import fetch
        from controlnet_core.models.sets import starter_sets
        from webapp.application.starter_sets import check_room, to_come
        from webapp.root import studio

        here, wanted = studio(), list(ids)
        for one in [starter_sets()[id] for id in ids if id in starter_sets()]:
            check_room(here.catalog, one, here.settings.free_min_bytes)
            print(f"{one.title}: {to_come(here.catalog, one) / 1e9:.1f} GB to come.", flush=True)
            at = wanted.index(one.id)
            wanted[at : at + 1] = one.cards
        for card in [here.catalog.card(id) for id in dict.fromkeys(wanted)]:
            if here.catalog.installed(card):
                print(f"{card.title} is here: {here.catalog.locate(card)}")
                continue
            print(f"{card.title}, from {card.hub}; licence: {card.licence or 'unknown'}", flush=True)
            place = _interruptible(
                lambda stop, card=card: fetch(
                    card, here.catalog.models, _Bar(), stop.is_set, free_min_bytes=here.settings.free_min_bytes
                )
            )
            print(f"\n{place}")


@app.command("add")
def add_model(
    name: Annotated[str, typer.Argument(help="author/model, author/model/file, or an address of the hub.")],
    kind: Annotated[
        str,
        typer.Option(
            help="base, controlnet, lora, embedding, vae, ip_adapter or image_encoder, where it does not show."
        ),
    ] = "",
) -> None:
    """Take up a model of the hub; `studio models download` fetches it."""
    with told():
        from controlnet_core.domain.errors import InputError
        from controlnet_core.models.catalog import Kind
        from webapp.application.library import ADDABLE
        from webapp.root import studio

        chosen: Kind | None = next((one for one in ADDABLE if one == kind), None)
        if kind and chosen is None:
            raise InputError(f"{kind!r} is no kind of model that can be added.", f"Known: {', '.join(ADDABLE)}.")
        card, sentence = studio().library.add(name, chosen)
        print(f"{sentence}\nFetch it: studio models download {card.id}")


@app.command("predicts")
def say_prediction(
    id: Annotated[str, typer.Argument(help="Id of `studio models list`.")],
    what: Annotated[str, typer.Argument(help="epsilon, v, sample; auto: what the file itself tells.")],
) -> None:
    """Say what a base model in a single file predicts, where that does not show: pictures of noise alone are the sign."""
    with told():
        from controlnet_core.domain.errors import InputError
        from controlnet_core.models.catalog import Prediction
        from webapp.root import studio

        known: dict[str, Prediction | None] = {
            "epsilon": "epsilon", "v": "v_prediction", "v_prediction": "v_prediction", "sample": "sample", "auto": None,
        }  # fmt: skip
        if what not in known:
            raise InputError(f"{what!r} is nothing that a model predicts.", f"Known: {', '.join(known)}.")
        print(studio().library.set_prediction(id, known[what]))


@app.command("delete")
def delete_model(
    id: Annotated[str, typer.Argument(help="An id of `studio models list`.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Put a model into the bin; `studio models undo` brings it back, `studio models empty` frees its space."""
    with told():
        from webapp.root import studio

        here = studio()
        place = here.catalog.locate(here.catalog.card(id))
        if yes or typer.confirm(f"Delete {place}?"):
            here.library.delete(id)
            print("It is in the bin. Bring it back: studio models undo")


@app.command("undo")
def undo_delete() -> None:
    """Bring back the model that was deleted last."""
    with told():
        from webapp.root import studio

        print(f"{studio().library.undo()} is back.")


@app.command("empty")
def empty_bin() -> None:
    """Remove what is in the bin for good."""
    with told():
        from webapp.root import studio

        here = studio()
        size = here.library.room()["bin"]["size"]
        here.library.empty()
        print(f"{amounts.size(size)} are free again." if size else "The bin is empty.")


@app.command("transfer")
def transfer_control(
    control: Annotated[str, typer.Argument(help="A ControlNet: id or path.")],
    target: Annotated[str, typer.Argument(help="The base model to carry it over to: id or path.")],
    output: Annotated[
        Path, typer.Argument(help="The new file, NAME.safetensors; or a folder, where the source is one.")
    ],
    origin: Annotated[
        str, typer.Option("--from", help="What the ControlNet was trained on: id or path; or 'inside' its own file.")
    ] = "sd15",
    full: Full = False,
    half: Half = False,
    watched: Watched = False,
) -> None:
    """Carry a ControlNet over to another base model of its family: control + target - origin."""
    with told():
        from controlnet_core.checkpoints.transfer import transfer
        from webapp.root import studio

        here = studio()
        begin = None if origin == "inside" else _place(here, origin)
        given = _place(here, control)
        paths = (given, begin, _place(here, target), _output(output, given))
        done = _working(here, half, watched, lambda work: transfer(*paths, work, full=full))
        print(f"{_made(done)} {done.moved} weights moved, by {100 * done.change:.1f} % of their norm.")


@app.command("extract")
def extract_control(
    source: Annotated[str, typer.Argument(help="A full checkpoint with a ControlNet in it: id or path.")],
    output: Annotated[
        Path, typer.Argument(help="The new file, NAME.safetensors; or a folder, where the source is one.")
    ],
    half: Half = False,
    watched: Watched = False,
) -> None:
    """Write the ControlNet of a full checkpoint into a file of its own."""
    with told():
        from controlnet_core.checkpoints.transfer import extract
        from webapp.root import studio

        here = studio()
        given = _place(here, source)
        paths = (given, _output(output, given))
        print(_made(_working(here, half, watched, lambda work: extract(*paths, work))))


@app.command("add-control")
def add_fresh_control(
    base: Annotated[str, typer.Argument(help="A base model: id or path.")],
    output: Annotated[
        Path, typer.Argument(help="The new file, NAME.safetensors; or a folder, where the source is one.")
    ],
    full: Full = False,
    half: Half = False,
    watched: Watched = False,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the new layers' beginnings.")] = 0,
) -> None:
    """Write a fresh, untrained ControlNet for a base model: what training starts from."""
    with told():
        from controlnet_core.checkpoints.transfer import add_control
        from webapp.root import studio

        here = studio()
        given = _place(here, base)
        paths = (given, _output(output, given))
        done = _working(here, half, watched, lambda work: add_control(*paths, work, full=full, seed=seed))
        print(_made(done))


def _place(here: Studio, given: str) -> Path:
    path = Path(given)
    return path if path.exists() else here.catalog.locate(here.catalog.card(given))


def _output(path: Path, source: Path) -> Path:
    """Where to write: a file; a folder, when the source is one and the name does not ask for a file."""
    from controlnet_core.domain.errors import InputError

    if path.suffix != ".safetensors" and not source.is_dir():
        path = path.with_name(f"{path.name}.safetensors")
    if path.exists():
        raise InputError(f"{path} is there already.", "Choose another name.")
    return path


def _made(done: Done) -> str:
    return f"{done.path}: {done.tensors} tensors, {amounts.size(done.size)}."


def _working(here: Studio, half: bool, watched: bool, run: Callable[[TransferOptions], Done]) -> Done:
    from controlnet_core.checkpoints.transfer import TransferOptions

    def show(share: float) -> None:
        print(f"{share:.4f}" if watched else f"\r{100 * share:3.0f} %", end="\n" if watched else "", flush=True)

    def call(stop: threading.Event) -> Done:
        return run(TransferOptions(half, show, stop.is_set, here.settings.free_min_bytes))

    done = _interruptible(call, watched=watched)
    if not watched:
        print()
    return done


def _interruptible(run: Callable[[threading.Event], T], *, watched: bool = False) -> T:
    """Run something that stops cleanly on Ctrl-C, or when whoever started it goes away."""
    import signal

    stop = threading.Event()

    def until_closed() -> None:
        sys.stdin.read()
        stop.set()

    if watched:
        threading.Thread(target=until_closed, daemon=True).start()
    before = signal.signal(signal.SIGINT, lambda *_: stop.set())
    try:
        return run(stop)
    finally:
        signal.signal(signal.SIGINT, before)


class _Bar:
    """Progress on one line."""

    def __call__(self, progress: DownloadProgress) -> None:
        if progress.total:
            share = 100 * progress.done / progress.total
            print(
                f"\r{share:5.1f} %  {amounts.size(progress.done)} of {amounts.size(progress.total)}", end="", flush=True
            )

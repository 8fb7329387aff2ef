"""`studio dataset`: look through the data of a training before it starts, or make the tutorial's."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from webapp.cli.words import told

app = typer.Typer(no_args_is_help=True, help="Data sets to train on.")


@app.command("check")
def check(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A data set in any known layout.")],
    limit: Annotated[int, typer.Option(min=0, help="Only the first so many pairs.")] = 0,
    empty_captions: Annotated[
        bool | None,
        typer.Option(
            "--empty-captions/--no-empty-captions",
            help="Pairs without words may be learnt from, or not; the choice stays with the folder.",
        ),
    ] = None,
) -> None:
    """Read every pair and name those that cannot be used; exit status 1 when there are any."""
    with told():
        from controlnet_core.datasets import checks, open_folder
        from controlnet_core.datasets.layouts import Editable
        from controlnet_core.domain.errors import InputError
        from webapp.application.settings import Settings

        pairs = open_folder(folder)
        if empty_captions is not None:
            if not isinstance(pairs, Editable):
                raise InputError(
                    "The words of this data set cannot be changed.", "Unpack it into a folder of pictures."
                )
            pairs.allow_empty_prompts(empty_captions, free_min_bytes=Settings.from_environment().free_min_bytes)
        print(f"{pairs.title}: {len(pairs)} pairs", flush=True)
        report = checks.check(pairs, limit, _count)
        for line in checks.lines(report):
            print(line)
        if report.bad or not report.count:
            raise typer.Exit(1)


@app.command("circles")
def circles(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="An empty or new folder.")],
    number: Annotated[int, typer.Option("-n", min=1, max=1_000_000, help="How many pairs.")] = 1000,
    size: Annotated[int, typer.Option(min=64, max=1024, help="Side in pixels.")] = 512,
) -> None:
    """Write the tutorial's data set: filled circles on coloured ground, with their outlines as control pictures."""
    with told():
        from controlnet_core.datasets.example_circles import Circles
        from webapp.application.settings import Settings

        Circles(size).write(folder, number, free_min_bytes=Settings.from_environment().free_min_bytes)
        print(f"{number} pairs of {size} px in {folder}")


def _count(done: int, total: int) -> None:
    if done % 500 == 0:
        print(f"{done} of {total}", file=sys.stderr, flush=True)

"""`studio export`: a ControlNet of this machine as files that other programs read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from webapp.cli.words import told


def export(
    model: Annotated[str, typer.Argument(help="A ControlNet of `studio models list`.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A folder, or a .safetensors file.")],
    form: Annotated[
        Literal["folder", "file", "original"],
        typer.Option(help="diffusers folder, one file, or one file under the original's names"),
    ] = "folder",
) -> None:
    """Write a ControlNet, trained here or not, in another form."""
    with told():
        from controlnet_core.domain.errors import InputError
        from webapp.application.settings import Settings

        catalog = Settings.from_environment().catalog()
        card = catalog.card(model)
        if card.kind != "controlnet":
            raise InputError(f"{card.title} is not a ControlNet.", "Choose one of studio models list.")
        if out.exists():
            raise InputError(f"{out} is there already.", "Choose another name.")
        path = catalog.locate(card)
        from controlnet_core.models.loading import load_control
        from controlnet_core.training.export import save

        save(load_control(path), out, form)
        print(out)

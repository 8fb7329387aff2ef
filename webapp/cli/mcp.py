"""`studio mcp`: a server of the Model Context Protocol on standard input and output, for assistants."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from webapp.cli.words import told


def mcp(
    folder: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Where files may be named. By default nowhere.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Keep what is made in this folder's gallery. By default nothing is kept.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where pictures are made: cuda:0, cpu.")] = "",
) -> None:
    """Let an assistant draw here: make, detect, list_models. It starts this command itself and needs no running studio."""
    with told():
        from controlnet_core.domain.errors import StudioError

        if find_spec("mcp") is None:
            raise StudioError(
                "The package mcp is not installed.", "pip install 'controlnet-studio[mcp]', or pip install mcp."
            )
        from webapp.api.mcp import server
        from webapp.application.notebook import Studio

        server(lambda: Studio(data=data, device=device), folder).run()

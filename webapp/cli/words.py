"""How a command says what went wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer


@contextmanager
def told() -> Iterator[None]:
    """What went wrong in a sentence, and exit status 1."""
    from controlnet_core.domain.errors import StudioError

    try:
        yield
    except StudioError as error:
        print(f"studio: {error}", file=sys.stderr)
        raise typer.Exit(1) from error

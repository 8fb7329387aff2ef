"""`studio keys`: who may use the API."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from webapp.cli.words import told

if TYPE_CHECKING:
    from webapp.application.keys import Keys

app = typer.Typer(no_args_is_help=True, help="Keys of the API: make, list and revoke them. They work at once.")


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="What it is for, such as bot or photoshop.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="read, make, train or watch; may be repeated. By default read and make.")
    ] = None,
    pictures: Annotated[int | None, typer.Option(min=1, help="At most so many pictures an hour.")] = None,
    seconds: Annotated[int | None, typer.Option(min=1, help="At most so many seconds of the device a day.")] = None,
) -> None:
    """Make a key and print it, this once."""
    with told():
        key, secret = _keys().create(
            name, scope or ("read", "make"), pictures_per_hour=pictures, seconds_per_day=seconds
        )
        print(secret)
        typer.echo(f"Key {key.name} may {', '.join(sorted(key.scopes))}. It is not shown again.", err=True)


@app.command("list")
def list_keys() -> None:
    """Every key, what it may and its limits."""
    with told():
        for key in _keys().all():
            limits = [f"{key.pictures_per_hour} pictures an hour"] if key.pictures_per_hour else []
            limits += [f"{key.seconds_per_day} s of the device a day"] if key.seconds_per_day else []
            made = time.strftime("%Y-%m-%d", time.localtime(key.created))
            print(f"{key.name:<24}{made}  {', '.join(sorted(key.scopes)):<18}{'; '.join(limits)}".rstrip())


@app.command("revoke")
def revoke(name: Annotated[str, typer.Argument(help="A name of `studio keys list`.")]) -> None:
    """End a key at once. Its pictures stay in the gallery folder."""
    with told():
        _keys().revoke(name)
        print(f"{name} is no key any more.")


def _keys() -> Keys:
    from webapp.application.keys import Keys, keys_file
    from webapp.application.settings import Settings

    return Keys(keys_file(Settings.from_environment().data))

"""The command line, `studio` (also `python -m webapp`). One file a command; this one puts them together.

It builds the same recipes as the pages and prints what it does. What a page can do in a worker it does in this process.
"""

from __future__ import annotations

import os

import typer

from controlnet_core.execution.devices import PATIENT
from webapp.application.settings import Settings
from webapp.cli import annotate, dataset, doctor, export, generate, keys, mcp, models, run, train

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Draw, pose and paint what a model should make.")
app.command("run")(run.run)
app.command("doctor")(doctor.doctor)
app.command("generate")(generate.generate)
app.command("annotate", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(annotate.annotate)
app.command("train")(train.train)
app.command("export")(export.export)
app.command("mcp")(mcp.mcp)
app.add_typer(models.app, name="models")
app.add_typer(keys.app, name="keys")
app.add_typer(dataset.app, name="dataset")


def main() -> None:
    """The entry point of `studio`."""
    # Detectors and processes of their own look into the same folder of models.
    os.environ.setdefault("STUDIO_MODELS", str(Settings.from_environment().models))
    for name, value in PATIENT.items():
        os.environ.setdefault(name, value)
    app()

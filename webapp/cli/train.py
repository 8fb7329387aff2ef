"""`studio train`: train a ControlNet as a configuration says, or go on with one that was interrupted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from webapp.cli.words import told


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="What decides the training: docs/training.md.")],
    ray: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="Train in N processes of the Ray cluster that this machine is part of; 0: as CONFIG says.",
        ),
    ] = 0,
    nice: Annotated[int, typer.Option(min=0, max=19, help="How far to stand back behind other programs.")] = 0,
) -> None:
    """Train a ControlNet. Ctrl-C keeps the checkpoint; the same command goes on from it.

    Several processes: accelerate launch --num_processes 2 -m webapp train CONFIG.toml
    """
    with told():
        from controlnet_core.domain.errors import InputError
        from controlnet_core.training.run import Run, parse
        from webapp.application import training_setup
        from webapp.application.settings import Settings

        try:
            wanted = parse(config.read_bytes())
        except OSError as error:
            raise InputError(f"{config} cannot be read: {error.strerror}.") from error
        os.nice(nice)
        settings = Settings.from_environment()
        run = Run(settings.data / "training" / wanted.name)
        if int(os.environ.get("RANK", "0")) == 0:
            print(f"{wanted.title or wanted.name}: {run.folder}", flush=True)
        ray = ray or wanted.training.devices
        if ray:
            status = training_setup.on_cluster(wanted, settings, run, ray)
        else:
            status = training_setup.main(wanted, settings, lambda text: print(text, flush=True), run)
        if status.result and int(os.environ.get("RANK", "0")) == 0:
            print(settings.models / "controlnet" / status.result)

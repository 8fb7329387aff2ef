"""Writes the trained networks to models/paperworld in the diffusers layout, and only when they are better.

Better means that pictures of held-out scenes, drawn by hand, agree better with the drawn lines, and differ less in colour, than
those of the shipped networks. Half precision, whole files first and then one rename each, so that a reader never meets half a
model.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from diffusers import StableDiffusionPipeline

import paperworld
from annotator import seg
from controlnet_core.training.loop import read
from paperworld.evaluation.evaluate import merit
from paperworld.model import codec, tokens
from paperworld.model.latents import SHIPPED_BASIS, Basis
from paperworld.model.networks import Size, Studio, schedule
from paperworld.model.sampling import SHIPPED, Painter
from paperworld.training import checkpoints
from paperworld.world import labels
from paperworld.world.examples import MIX, example

SCENES = 24
"""Held-out scenes on which weights are compared."""
PICTURES = 96
"""Pictures of all kinds that the decoder is fitted to."""
FILE_SIZE = "15MB"


def trained(folder: Path, size: Size) -> Painter:
    """The averaged networks of a training folder: settled ones where they are newer, else those of the running training."""
    settled, running = folder / checkpoints.SETTLED, folder / checkpoints.STUDIO
    newer = settled.exists() and settled.stat().st_mtime >= running.stat().st_mtime
    return painter_of(read(settled if newer else running)["average"], size)


def painter_of(weights: dict[str, Any], size: Size) -> Painter:
    """A painter with the `weights` of a checkpoint and the decoder in closed form."""
    tokenizer = tokens.build(paperworld.WORDS)
    studio = Studio(size, len(tokenizer))
    studio.load_state_dict(weights)
    studio.eval()
    keys = np.random.default_rng(0).choice(list(MIX), PICTURES, p=list(MIX.values()))
    pictures = [example(str(key), seed).truth.picture for seed, key in enumerate(keys)]
    vae = codec.closed_form(size, Basis.load(SHIPPED_BASIS), pictures)
    return Painter(studio.text, studio.unet, studio.control, vae, tokenizer, schedule())


def write(painter: Painter, folder: Path) -> None:
    """Write a painter's networks as a diffusers folder with a controlnet/ beside them."""
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    # Pipelines of diffusers ask for the cell size under this name.
    painter.vae.register_to_config(block_out_channels=painter.vae.config["encoder_block_out_channels"])
    # Its types forbid what its documentation allows: no safety checker.
    pipeline = cast("Any", StableDiffusionPipeline)(
        vae=painter.vae,
        text_encoder=painter.text,
        # A fresh one: the one in use remembers how it was last asked to pad.
        tokenizer=tokens.build(paperworld.WORDS),
        unet=painter.unet,
        scheduler=painter.scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).to(torch.float16)
    pipeline.save_pretrained(part, max_shard_size=FILE_SIZE)
    painter.control.half().save_pretrained(part / "controlnet", max_shard_size=FILE_SIZE)
    (part / "words.txt").write_text("\n".join(sorted(paperworld.WORDS)) + "\n")
    (part / "classes.txt").write_text("".join(f"{index} {seg.classes()[index].name}\n" for index in labels.SHOWN))
    for path in part.rglob("*.json"):
        # Paths of this machine have no place in a shipped configuration.
        values = json.loads(path.read_text())
        if isinstance(values, dict) and values.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(values, indent=2) + "\n")
    folder.mkdir(parents=True, exist_ok=True)
    for source in sorted(part.rglob("*")):
        target = folder / source.relative_to(part)
        if source.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            source.replace(target)
    shutil.rmtree(part)


def export(folder: Path, size: Size, target: Path = SHIPPED, whatever: bool = False) -> str:
    """Write the networks of a training folder to `target` if they beat those there, or `whatever`; returns a sentence."""
    candidate = trained(folder, size)
    ours = merit(candidate, SCENES)
    theirs = merit(Painter.load(target), SCENES) if (target / "model_index.json").exists() else None
    better = whatever or theirs is None or ours.better(theirs)
    if better:
        write(candidate, target)
    return f"By hand {ours}; shipped so far {theirs}: {'shipped' if better else 'the shipped ones stay'}."

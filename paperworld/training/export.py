"""Writes the trained networks to models/paperworld in the diffusers layout, and only when they are better.

Better means a higher edge agreement under exact scribbles than the shipped networks reach on the same held-out scenes.
Half precision, whole files first and then one rename each, so that a reader never meets half a model.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from diffusers import StableDiffusionPipeline

import paperworld
from annotator import seg
from controlnet_core.training.loop import read
from paperworld.model import codec, tokens
from paperworld.model.networks import Size, Studio, amplify, schedule
from paperworld.model.sampling import SHIPPED, Painter
from paperworld.world import labels

SCENES = 24
"""Held-out scenes on which weights are compared."""
FILE_SIZE = "15MB"


def trained(folder: Path, size: Size, target: Path = SHIPPED) -> Painter:
    """The averaged networks of the checkpoints in a training folder; those in `target` for what was not trained there."""
    there = Painter.load(target) if (target / "model_index.json").exists() else None
    # Not even in new layers that would say nothing yet.
    vae = there.vae if there and not (folder / "codec.pt").exists() else codec.trained(folder, size, target)
    if there and not (folder / "studio.pt").exists():
        return replace(there, vae=vae)
    tokenizer = tokens.build(paperworld.WORDS)
    studio = Studio(size, len(tokenizer))
    studio.load_state_dict(read(folder / "studio.pt")["average"])
    studio.eval()
    amplify(studio.control, size.gain)
    return Painter(studio.text, studio.unet, studio.control, vae, tokenizer, schedule(size))


def candidate(folder: Path, size: Size, target: Path = SHIPPED) -> Path:
    """The model as trained so far, written beside its checkpoints; `target` where no denoiser was trained in this folder."""
    if not (folder / "studio.pt").exists():
        return target
    write(trained(folder, size, target), folder / "candidate")
    return folder / "candidate"


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


def export(folder: Path, size: Size, target: Path = SHIPPED) -> str:
    """Write the networks of a training folder to `target` if they beat those there; returns a sentence about it."""
    from paperworld.evaluation.evaluate import agreement

    candidate = trained(folder, size, target)
    ours = agreement(candidate, "scribble", SCENES)
    theirs = agreement(Painter.load(target), "scribble", SCENES) if (target / "model_index.json").exists() else 0.0
    if ours > theirs:
        write(candidate, target)
    verdict = "shipped" if ours > theirs else "the shipped ones stay"
    return f"Scribble agreement {ours:.3f}, shipped so far {theirs:.3f}: {verdict}."

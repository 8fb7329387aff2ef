"""The larger preset in short: from scenes to weights on disk, stopped and resumed on the way."""

from __future__ import annotations

import argparse
import functools
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from controlnet_core.domain.errors import ModelError
from controlnet_core.training.loop import read
from paperworld.model import codec
from paperworld.model.latents import fit
from paperworld.model.networks import SIZES
from paperworld.model.sampling import Painter
from paperworld.training import drafts, examples, export, train
from paperworld.training.examples import render_shard, scene_of

SIZE = SIZES["gpu"]


def test_larger_preset_trains_stops_resumes_and_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(examples, "SHARD", 4)
    monkeypatch.setattr(export, "SCENES", 1)
    monkeypatch.setattr(codec, "begin", functools.partial(codec.begin, scenes=6))
    folder, target = tmp_path / "run", tmp_path / "shipped"
    folder.mkdir()
    basis = fit([scene_of(seed)[1].picture for seed in range(6)], SIZE.patch, SIZE.latents)
    basis.save(folder / f"basis-{SIZE.patch}-{SIZE.latents}.npz")
    render_shard(0, folder, basis, list(train.MIX))
    options = argparse.Namespace(
        batch=2,
        repeat=1,
        ends=0.4,
        conditions=",".join(train.MIX),
        workers=0,
        first=4,
        seed=0,
        steps=1,
        rate=1e-3,
        decay=1.0,
        scenes=0,
        further=False,
    )
    for steps in (1, 2):
        options.steps = steps
        train.teach(folder, SIZE, options, 1.0, Accelerator(cpu=True))
        assert read(folder / "studio.pt")["step"] == steps
    monkeypatch.setattr(drafts, "BATCHES", 1)
    monkeypatch.setattr(drafts, "BATCH", 2)
    monkeypatch.setattr(drafts, "STEPS", (1,))
    weights = export.candidate(folder, SIZE, target)
    drafts.sketch(Painter.load(weights), 0, codec.CONDITIONS, folder)
    monkeypatch.setattr(codec, "STEPS", 2)
    monkeypatch.setattr(codec, "SHARDS", 1)
    before = codec.trained(folder, SIZE, target).state_dict()
    codec.teach(folder, SIZE, 1.0, Accelerator(cpu=True), weights)
    after = codec.trained(folder, SIZE, target).state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and {name.split(".")[0] for name in changed} == {"decoder"}, sorted(changed)
    assert "shipped" in export.export(folder, SIZE, target)
    assert Painter.load(target).paint(["a red house"], steps=1)[0].shape == (256, 256, 3)
    sizes = [path.stat().st_size for path in target.rglob("*.safetensors")]
    assert max(sizes) <= 16 << 20 and sum(sizes) <= 60 << 20

    (folder / "studio.pt").write_bytes((folder / "studio.pt").read_bytes()[:5000])
    with pytest.raises(ModelError, match=r"studio\.pt is damaged"):
        train.teach(folder, SIZE, options, 1.0, Accelerator(cpu=True))
    next(folder.glob("shard-*")).write_bytes(b"")
    with pytest.raises(ModelError, match="damaged"):
        examples.Library(folder).refresh()

"""Both presets in short: from scenes to weights on disk, stopped, resumed, settled and exported on the way."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from controlnet_core.domain.errors import ModelError
from controlnet_core.training.loop import read
from paperworld.model.networks import SIZES
from paperworld.model.sampling import Painter
from paperworld.training import batches, checkpoints, export, train


def options(**changed: object) -> argparse.Namespace:
    given = {
        "batch": 2, "ends": 0.8, "seed": 0, "workers": 0, "further": False, "steps": 1, "minutes": 5.0, "rate": 1e-3,
        "average": 0.9, "compile": False,
    }  # fmt: skip
    return argparse.Namespace(**(given | changed))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(batches, "WINDOW", 4)
    monkeypatch.setattr(export, "SCENES", 1)
    monkeypatch.setattr(export, "PICTURES", 8)


@pytest.mark.parametrize("preset", list(SIZES))
def test_a_training_stops_resumes_settles_and_is_exported(tmp_path: Path, preset: str) -> None:
    size, accelerator = SIZES[preset], Accelerator(cpu=True)
    folder, target = tmp_path / "run", tmp_path / "shipped"
    for steps in (1, 2):
        train.teach(folder, size, options(steps=steps), accelerator)
        assert read(folder / checkpoints.STUDIO)["step"] == steps
    running = (folder / checkpoints.STUDIO).read_bytes()
    train.teach(folder, size, options(), accelerator, settle_steps=2)
    assert read(folder / checkpoints.SETTLED)["step"] == 4
    assert (folder / checkpoints.STUDIO).read_bytes() == running, "the training goes on where the rate was constant"
    assert "shipped" in export.export(folder, size, target)
    painter = Painter.load(target)
    assert painter.paint(["a red house"])[0].shape == (256, 256, 3)
    settled = read(folder / checkpoints.SETTLED)["average"]
    name = "conv_in.weight"
    assert torch.allclose(painter.unet.state_dict()[name], settled[f"unet.{name}"], atol=1e-3)
    sizes = [path.stat().st_size for path in target.rglob("*.safetensors")]
    assert max(sizes) <= 16 << 20
    assert sum(sizes) <= 61 << 20
    assert "the shipped ones stay" in export.export(folder, size, target), "the same ones are not better"


def test_a_damaged_checkpoint_is_refused_in_a_sentence(tmp_path: Path) -> None:
    train.teach(tmp_path, SIZES["cpu"], options(), Accelerator(cpu=True))
    path = tmp_path / checkpoints.STUDIO
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ModelError, match=r"studio\.pt is damaged"):
        train.teach(tmp_path, SIZES["cpu"], options(steps=3), Accelerator(cpu=True))


def test_words_keep_their_meaning_when_the_vocabulary_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train.teach(tmp_path, SIZES["cpu"], options(), Accelerator(cpu=True))
    before = read(tmp_path / checkpoints.STUDIO)
    old = train.tokens.build(train.paperworld.WORDS).get_vocab()
    words = ("aardvark", "abacus", *(word for word in train.paperworld.WORDS if word != "turtle"))
    new = train.tokens.build(words).get_vocab()
    assert checkpoints.carry(tmp_path, words, torch.full((len(new), SIZES["cpu"].text), 7.0))
    after = read(tmp_path / checkpoints.STUDIO)
    place = list(before["module"]).index(checkpoints.TABLE)
    words_kept = ("red</w>", "house</w>", "<|endoftext|>", "yellow</w>", "cat</w>")
    assert any(old[word] != new[word] for word in words_kept), "the test shows nothing"
    for word in words_kept:
        for part in ("module", "average"):
            assert torch.equal(before[part][checkpoints.TABLE][old[word]], after[part][checkpoints.TABLE][new[word]])
        moments = [state["optimizer"]["state"][place]["exp_avg_sq"] for state in (before, after)]
        assert torch.equal(moments[0][old[word]], moments[1][new[word]])
    assert (after["module"][checkpoints.TABLE][new["aardvark</w>"]] == 7).all()
    assert not checkpoints.carry(tmp_path, words, torch.zeros(1)), "once is enough"
    monkeypatch.setattr(train.paperworld, "WORDS", words)
    train.teach(tmp_path, SIZES["cpu"], options(steps=2), Accelerator(cpu=True))
    assert read(tmp_path / checkpoints.STUDIO)["step"] == 2


def test_a_training_goes_on_when_the_networks_got_a_part_more(tmp_path: Path) -> None:
    train.teach(tmp_path, SIZES["cpu"], options(), Accelerator(cpu=True))
    path = tmp_path / checkpoints.STUDIO
    before = read(path)
    for part in ("module", "average"):
        before[part] = {name: value for name, value in before[part].items() if not name.startswith("colours.")}
    gone = before["optimizer"]["param_groups"].pop()["params"]
    before["optimizer"]["state"] = {n: value for n, value in before["optimizer"]["state"].items() if n not in gone}
    torch.save(before, path)
    train.teach(tmp_path, SIZES["cpu"], options(steps=2), Accelerator(cpu=True))
    after = read(path)
    assert after["step"] == 2 and after["module"]["colours.weight"].abs().max() > 0
    groups = after["optimizer"]["param_groups"]
    assert groups[-1]["params"] == gone and groups[-1]["scale"] == train.MEANING_RATE
    assert after["optimizer"]["state"][0]["step"] == 2 and after["optimizer"]["state"][gone[0]]["step"] == 1

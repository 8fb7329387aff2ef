"""The trainer goes on where it stopped, refuses what is damaged, and the tokenizer knows the world's words."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.nn import functional as F

import paperworld
from controlnet_core.domain.errors import ModelError, StudioError
from controlnet_core.training.loop import LoopSettings, TrainingProgress, read, train
from paperworld.model import tokens


class Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.SiLU(), nn.Linear(8, 1))

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return F.mse_loss(self.layers(batch["x"]), batch["y"])


def batch_at(number: int) -> dict[str, Tensor]:
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(number))
    return {"x": x, "y": x.sum(1, keepdim=True)}


class Losses:
    """Collects every step's loss, report by report."""

    def __init__(self) -> None:
        self.all: list[float] = []

    def __call__(self, progress: TrainingProgress, average: object) -> None:
        self.all += progress.losses


def run(plan: LoopSettings, checkpoint: Path, until: int | None = None) -> tuple[list[float], Line]:
    """Train from nothing or from `checkpoint`; with `until`, the machine dies before that batch."""
    losses, module = Losses(), Line()

    def batches(number: int) -> dict[str, Tensor]:
        if until is not None and number >= until:
            raise KeyboardInterrupt
        return batch_at(number)

    with contextlib.suppress(KeyboardInterrupt):
        train(module, batches, plan, checkpoint, report=losses)
    return losses.all, module


def constant_rate(steps: int) -> LoopSettings:
    # Without decay the length of the plan does not change the rate, so a short plan is the start of a long one.
    return LoopSettings(steps=steps, rate=1e-2, warmup=5, decay=0.0)


def test_resumed_training_takes_the_same_steps(tmp_path: Path) -> None:
    whole, straight = run(constant_rate(40), tmp_path / "whole.pt")
    first, _ = run(constant_rate(15), tmp_path / "parts.pt")
    rest, resumed = run(constant_rate(40), tmp_path / "parts.pt")
    assert whole[-1] < whole[0] / 2, "it learns"
    assert (len(first), len(rest)) == (15, 25)
    assert first + rest == pytest.approx(whole, rel=1e-5)
    for ours, theirs in zip(resumed.parameters(), straight.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.fixture
def in_float16() -> Iterator[Callable[[], Accelerator]]:
    """What accelerate makes of float16 on a GPU, on a processor: autocast and a scale, here one that overflows at first."""

    def made() -> Accelerator:
        AcceleratorState._reset_state(reset_partial_state=True)
        accelerator = Accelerator(cpu=True)
        accelerator.native_amp, accelerator.state._mixed_precision = True, "fp16"
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**24)
        return accelerator

    yield made
    AcceleratorState._reset_state(reset_partial_state=True)


def test_resumed_in_float16_it_takes_the_same_steps(tmp_path: Path, in_float16: Callable[[], Accelerator]) -> None:
    """Steps that overflow are skipped until the scale fits; a training that goes on knows which one fits."""

    def parts(*lengths: int) -> tuple[list[float], list[float], Line]:
        losses, norms = Losses(), list[float]()
        for steps in lengths:
            module = Line()
            train(
                module, batch_at, constant_rate(steps), tmp_path / f"{len(lengths)}.pt", in_float16(), losses,
                on_step=lambda step, _average: norms.append(step.norm) or 0.0,
            )  # fmt: skip
        return losses.all, norms, module

    whole, norms, straight = parts(60)
    resumed_losses, resumed_norms, resumed = parts(30, 60)
    skipped = [not math.isfinite(norm) for norm in norms]
    assert skipped[0] and not skipped[-1] and whole[-1] < whole[0] / 2
    assert [not math.isfinite(norm) for norm in resumed_norms] == skipped
    assert resumed_losses == pytest.approx(whole, rel=1e-3)
    for ours, theirs in zip(resumed.parameters(), straight.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_crash_between_saves_costs_only_the_steps_since(tmp_path: Path) -> None:
    checkpoint = tmp_path / "studio.pt"
    train(Line(), batch_at, LoopSettings(steps=10, rate=1e-2), checkpoint)
    before = checkpoint.read_bytes()
    run(LoopSettings(steps=40, rate=1e-2), checkpoint, until=17)
    assert checkpoint.read_bytes() == before
    assert not list(tmp_path.glob("*.part"))
    losses, _ = run(LoopSettings(steps=40, rate=1e-2), checkpoint)
    assert len(losses) == 30
    assert read(checkpoint)["step"] == 40


def test_a_step_without_a_number_changes_nothing_and_many_end_it(tmp_path: Path) -> None:
    def broken(number: int) -> dict[str, Tensor]:
        batch = batch_at(number)
        return batch | {"y": batch["y"] * math.nan} if number == 7 or number >= 20 else batch

    def none_at_7(number: int) -> dict[str, Tensor]:
        return batch_at(number if number < 7 else number + 1)

    checkpoint, module, other = tmp_path / "a.pt", Line(), Line()
    plan = LoopSettings(steps=20, rate=1e-2, warmup=0, decay=0.0, average=0.0)
    train(module, broken, plan, checkpoint)
    train(other, none_at_7, replace(plan, steps=19), tmp_path / "b.pt")
    for ours, theirs in zip(module.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    with pytest.raises(StudioError, match="come apart") as caught:
        train(module, broken, replace(plan, steps=1000), checkpoint)
    assert "lower rate" in caught.value.hint
    kept = read(checkpoint)
    assert kept["step"] == 20 and all(torch.isfinite(value).all() for value in kept["module"].values())


def test_averages_lie_between_first_and_last_weights(tmp_path: Path) -> None:
    train(Line(), batch_at, LoopSettings(steps=60, rate=1e-2, average=0.9), tmp_path / "a.pt")
    state = read(tmp_path / "a.pt")
    start = Line().state_dict()
    for name, last in state["module"].items():
        assert not torch.equal(state["average"][name], start[name])
        assert (state["average"][name] - last).norm() < (start[name] - last).norm()


def test_time_limit_stops_in_good_order(tmp_path: Path) -> None:
    progress = train(Line(), batch_at, LoopSettings(steps=10**9, minutes=0.01), tmp_path / "t.pt")
    assert 0 < progress.step < 10**9
    assert read(tmp_path / "t.pt")["step"] == progress.step


@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"x" * len(data)]
)
def test_damaged_checkpoint_is_refused_in_a_sentence(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "studio.pt"
    train(Line(), batch_at, LoopSettings(steps=2), path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ModelError, match=r"studio\.pt is damaged"):
        train(Line(), batch_at, LoopSettings(steps=4), path)


def test_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    train(Line(), batch_at, LoopSettings(steps=2), tmp_path / "s.pt")
    with pytest.raises(ModelError, match="another network"):
        train(nn.Linear(3, 3), batch_at, LoopSettings(steps=4), tmp_path / "s.pt")


def test_every_word_of_the_world_is_one_token() -> None:
    tokenizer = tokens.build(paperworld.WORDS)
    assert [word for word in paperworld.WORDS if not tokens.is_whole(tokenizer, word)] == []


@pytest.mark.parametrize("prompt", ["", "häuser 🙂 дом", "tree " * 300, "A RED House!"])
def test_any_prompt_becomes_tokens(prompt: str) -> None:
    tokenizer = tokens.build(paperworld.WORDS)
    ids = tokenizer(prompt, padding="max_length", truncation=True)["input_ids"]
    assert len(ids) == tokens.LENGTH
    assert ids[0] == tokenizer.bos_token_id and tokenizer.eos_token_id in ids
    assert max(ids) < len(tokenizer)
    assert tokenizer("a red house")["input_ids"] == tokenizer("A RED house")["input_ids"]

"""What an awakened control hears, that it still changes nothing at first, and how weights learn in a basis."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from controlnet_core.datasets.example_circles import Circles
from controlnet_core.diffusion.vae import from_rgb
from controlnet_core.models.loading import Base, load_base
from controlnet_core.training import weight_init
from controlnet_core.training.controlnet_loss import ControlNetLoss, fresh
from controlnet_core.training.loop import Group, LoopSettings, train
from controlnet_core.training.run import Training


@pytest.fixture
def base(models: Path) -> Base:
    return load_base(models / "checkpoints" / "tiny")


def outlines(count: int = 8) -> Tensor:
    return torch.cat([from_rgb(Circles(64).read(index).source) for index in range(count)])


def test_an_awakened_control_changes_nothing_before_the_first_step(base: Base) -> None:
    control, hints = fresh(base), outlines(2)
    weight_init.embedding(control, outlines())
    seen, times, text = torch.randn(2, base.channels, 8, 8), torch.tensor([5, 900]), torch.randn(2, 77, 32)
    lesson = ControlNetLoss(base.unet, control, "epsilon", Training())
    with torch.no_grad():
        assert control.controlnet_cond_embedding(hints).any()
        assert torch.equal(lesson.predict(seen, times, text, hints), base.unet(seen, times, text).sample)


def test_an_awakened_embedding_passes_on_what_a_random_one_loses(base: Base) -> None:
    torch.manual_seed(1)
    hints, control = outlines(), fresh(base)
    layers = control.controlnet_cond_embedding

    def heard() -> Tensor:
        """How much the last features differ from place to place, as a share of their size."""
        with torch.no_grad():
            x = layers.conv_in(hints)
            for block in layers.blocks:
                x = block(torch.nn.functional.silu(x))
            return (x.std((0, 2, 3)) / x.square().mean().sqrt()).mean()

    before = heard()
    weight_init.embedding(control, hints)
    assert heard() > 5 * before
    with torch.no_grad():
        spread = layers(hints).std((0, 2, 3))
    torch.testing.assert_close(spread, torch.ones_like(spread), rtol=1e-3, atol=1e-3)


def test_a_text_basis_makes_every_direction_equally_loud() -> None:
    generator = torch.Generator().manual_seed(0)
    loudness = torch.tensor([9.0, 1.0, 0.5, 0.3])
    turn = torch.linalg.qr(torch.randn(4, 4, generator=generator)).Q
    texts = (torch.randn(50, 40, 4, generator=generator) * loudness) @ turn
    basis = weight_init.text_basis(texts)
    white = (texts @ basis).reshape(-1, 4)
    torch.testing.assert_close(basis, basis.T)
    moment = white.T @ white / len(white)
    # The quietest loses a little: it is only three times as loud as what counts as rounding.
    torch.testing.assert_close(moment, torch.eye(4), atol=0.12, rtol=0)
    assert torch.isfinite(weight_init.text_basis(torch.ones(2, 3, 4))).all()


class Reader(nn.Module):
    """Linear regression; the wanted answer lies in a direction of the input that is a hundredth of the others."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.texts = torch.randn(2000, 8, generator=generator)
        self.texts[:, 0] *= 0.01
        self.wanted = self.texts[:, :1] * 100
        self.line = nn.Linear(8, 1, bias=False)
        nn.init.zeros_(self.line.weight)

    def forward(self, _batch: object) -> Tensor:
        return (self.line(self.texts) - self.wanted).square().mean()

    def taught(self, path: Path, steps: int, basis: Tensor | None) -> float:
        plan = LoopSettings(steps=steps, rate=1e-2, warmup=0, decay=0, average=0, clip=0)
        train(self, lambda _n: {}, plan, path, groups=[Group([self.line.weight], 1.0, basis)])
        return self(None).item()


def test_what_texts_whisper_is_learnt_in_their_basis_and_not_without(tmp_path: Path) -> None:
    assert Reader().taught(tmp_path / "plain.pt", 300, None) > 0.8
    assert Reader().taught(tmp_path / "basis.pt", 300, weight_init.text_basis(Reader().texts)) < 0.1


def test_a_group_with_a_basis_is_adam_on_the_factor(tmp_path: Path) -> None:
    ours, basis = Reader(), weight_init.text_basis(Reader().texts)
    start = torch.randn(1, 8)
    with torch.no_grad():
        ours.line.weight.copy_(start)
    ours.taught(tmp_path / "state.pt", 5, basis)
    factor = torch.zeros(1, 8, requires_grad=True)
    adam = torch.optim.AdamW([factor], lr=1e-2, betas=(0.9, 0.98), weight_decay=0.0)
    for _ in range(5):
        adam.zero_grad()
        (ours.texts @ (start + factor @ basis).T - ours.wanted).square().mean().backward()
        adam.step()
    torch.testing.assert_close(ours.line.weight.detach(), (start + factor @ basis).detach(), rtol=1e-4, atol=1e-5)


def test_in_a_basis_too_a_resumed_training_takes_the_same_steps(tmp_path: Path) -> None:
    basis = weight_init.text_basis(Reader().texts)
    whole = Reader().taught(tmp_path / "a.pt", 12, basis)
    Reader().taught(tmp_path / "b.pt", 5, basis)
    assert Reader().taught(tmp_path / "b.pt", 12, basis) == whole


def test_only_the_texts_keys_and_values_learn_in_it(base: Base) -> None:
    lesson = ControlNetLoss(base.unet, fresh(base), "epsilon", Training(locked=False, rate=1e-4, decoder_rate=1e-5))
    groups = lesson.groups(torch.eye(32))
    names = {id(value): name for name, value in lesson.named_parameters()}
    inside = [names[id(value)] for group in groups if group.basis is not None for value in group.parameters]
    assert {name.split(".")[0] for name in inside} == {"control", "unet"}
    assert all(name.endswith(("attn2.to_k.weight", "attn2.to_v.weight")) for name in inside)
    every = [id(value) for group in groups for value in group.parameters]
    wanted = {id(value) for value in lesson.parameters() if value.requires_grad}
    assert len(every) == len(set(every)) and set(every) == wanted

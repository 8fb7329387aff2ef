"""One step of a lesson is one step of the original's recipe; what starts at nothing changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from controlnet_core.diffusion.conditioning import Conditioning
from controlnet_core.diffusion.denoiser import Control, Denoiser, embed_hint, levels_of
from controlnet_core.models.loading import Base, load_base
from controlnet_core.training.controlnet_loss import ControlNetLoss, Levels, fresh, wanted
from controlnet_core.training.loop import LoopSettings, read, train
from controlnet_core.training.run import Training


@pytest.fixture
def base(models: Path) -> Base:
    return load_base(models / "checkpoints" / "tiny")


def batch(base: Base, count: int = 2, min_snr: float = 0.0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(4)
    drawn = Levels(base.schedule, min_snr).draw(count, generator)
    size = (count, base.channels, 8, 8)
    return drawn | {
        "latents": torch.randn(size, generator=generator),
        "noise": torch.randn(size, generator=generator),
        "context": torch.randn(count, 77, 32, generator=generator),
        "hint": torch.rand(count, 3, 64, 64, generator=generator),
    }


def awake(base: Base) -> Any:
    """A control whose zero convolutions have moved, so that every parameter has a gradient."""
    control = fresh(base)
    for layer in (
        *control.controlnet_down_blocks,
        control.controlnet_mid_block,
        control.controlnet_cond_embedding.conv_out,
    ):
        torch.nn.init.normal_(layer.weight, std=0.2)
    return control


def test_at_step_0_the_output_is_the_uncontrolled_one_exactly(base: Base) -> None:
    seen, time, text = torch.randn(2, base.channels, 8, 8), torch.tensor(500), torch.randn(1, 77, 32)
    control = fresh(base)
    with torch.inference_mode():
        alone = Denoiser(base.unet, Conditioning(text), Conditioning(text * 0.5), 7.0).predict(seen, time)
        hint = embed_hint(control, torch.rand(1, 3, 64, 64))
        acting = Control(control, hint, scales=(1.0,) * levels_of(control))
        together = Denoiser(base.unet, Conditioning(text), Conditioning(text * 0.5), 7.0, [acting]).predict(seen, time)
    assert torch.equal(alone, together)
    lesson = ControlNetLoss(base.unet, control, "epsilon", Training())
    given = batch(base)
    noisy = given["signal"].view(-1, 1, 1, 1) * given["latents"] + given["spread"].view(-1, 1, 1, 1) * given["noise"]
    with torch.no_grad():
        ours = lesson.predict(noisy, given["times"], given["context"], given["hint"])
        theirs = base.unet(noisy, given["times"], given["context"]).sample
    assert torch.equal(ours, theirs)


def test_the_zero_convolutions_move_first(base: Base) -> None:
    lesson = ControlNetLoss(base.unet, fresh(base), "epsilon", Training())
    lesson(batch(base)).backward()
    moving = {name for name, value in lesson.control.named_parameters() if value.grad is not None and value.grad.any()}
    assert moving and all(name.startswith(("controlnet_down_blocks", "controlnet_mid_block")) for name in moving)


def originals_step(base: Base, control: Any, given: dict[str, Tensor], locked: bool) -> tuple[float, dict[str, Tensor]]:
    """The recipe of the original's training script, written out: q_sample, eps-MSE, AdamW with its defaults."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    kept = torch.cumprod(1 - betas, 0)[given["times"]]
    a, b = kept.sqrt().float().view(-1, 1, 1, 1), (1 - kept).sqrt().float().view(-1, 1, 1, 1)
    noisy = a * given["latents"] + b * given["noise"]
    decoder = [base.unet.up_blocks, base.unet.conv_norm_out, base.unet.conv_out]
    parameters = [*control.parameters()]
    for part in decoder:
        part.requires_grad_(not locked)
        parameters += [] if locked else [*part.parameters()]
    downs, middle = control(noisy, given["times"], given["context"], given["hint"], return_dict=False)
    output = base.unet(
        noisy, given["times"], given["context"], down_block_additional_residuals=downs,
        mid_block_additional_residual=middle,
    ).sample  # fmt: skip
    loss = ((output - given["noise"]) ** 2).mean(dim=[1, 2, 3]).mean()
    optimizer = torch.optim.AdamW(parameters, lr=1e-5)
    loss.backward()
    optimizer.step()
    return float(loss.detach()), {name: value.grad.clone() for name, value in control.named_parameters()}


@pytest.mark.parametrize("locked", [True, False])
def test_a_step_is_the_originals(models: Path, base: Base, tmp_path: Path, locked: bool) -> None:
    given = batch(base)
    theirs_base, theirs = load_base(models / "checkpoints" / "tiny"), awake(base)
    ours = fresh(base)
    ours.load_state_dict(theirs.state_dict())
    loss, gradients = originals_step(theirs_base, theirs, given, locked)

    settings = Training(locked=locked, decoder_rate=1e-5)
    lesson = ControlNetLoss(base.unet, ours, "epsilon", settings)
    mine = lesson(given)
    mine.backward()
    assert float(mine.detach()) == pytest.approx(loss, rel=1e-6)
    for name, value in ours.named_parameters():
        torch.testing.assert_close(value.grad, gradients[name], rtol=1e-4, atol=1e-7)
    lesson.zero_grad()
    plan = LoopSettings(
        steps=1, rate=settings.rate, warmup=0, decay=0, weight_decay=settings.weight_decay, betas=(0.9, 0.999),
        clip=settings.clip, average=settings.ema,
    )  # fmt: skip
    train(lesson, lambda _number: given, plan, tmp_path / "state.pt", groups=lesson.groups())
    # Adam's first step is the gradient's sign: where the gradient is nothing but rounding, so is its sign.
    for one, other in ((lesson.control, theirs), (lesson.unet, theirs_base.unet)):
        moved, wanted_ = (torch.cat([value.detach().flatten() for value in net.parameters()]) for net in (one, other))
        assert ((moved - wanted_).abs() > 1e-7).float().mean() < 0.01


def test_locks(base: Base) -> None:
    def free(settings: Training) -> set[str]:
        lesson = ControlNetLoss(base.unet, fresh(base), "epsilon", settings)
        return {".".join(name.split(".")[:2]) for name, value in lesson.named_parameters() if value.requires_grad}

    locked = free(Training())
    assert {name.split(".")[0] for name in locked} == {"control"}
    assert free(Training(locked=False)) - locked == {"unet.up_blocks", "unet.conv_norm_out", "unet.conv_out"}
    assert locked - free(Training(middle_only=True)) == {"control.controlnet_down_blocks"}
    groups = ControlNetLoss(
        base.unet, fresh(base), "epsilon", Training(locked=False, rate=1e-4, decoder_rate=2e-6)
    ).groups()
    assert [group.scale for group in groups] == pytest.approx([1.0, 0.02])


def test_middle_only_hears_the_middle_alone(base: Base) -> None:
    control = awake(base)
    given = batch(base)
    one = ControlNetLoss(base.unet, control, "epsilon", Training(middle_only=True))(given)
    for layer in control.controlnet_down_blocks:
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    assert one.item() == pytest.approx(
        ControlNetLoss(base.unet, control, "epsilon", Training())(given).item(), rel=1e-6
    )


def test_checkpointing_changes_no_gradient(base: Base) -> None:
    def gradients(settings: Training) -> list[Tensor]:
        lesson = ControlNetLoss(base.unet, control, "epsilon", settings)
        lesson.zero_grad()
        lesson(given).backward()
        return [value.grad.clone() for value in lesson.parameters() if value.requires_grad]

    control, given = awake(base), batch(base)
    plain = gradients(Training(locked=False))
    assert control.is_gradient_checkpointing is False
    thrifty = gradients(Training(locked=False, checkpointing=True))
    assert control.is_gradient_checkpointing
    for one, other in zip(plain, thrifty, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_every_prediction_is_taught_what_the_sampler_undoes(prediction: str) -> None:
    from controlnet_core.diffusion.schedulers import clean_and_noise

    latents, noise = torch.randn(3, 4, 8, 8), torch.randn(3, 4, 8, 8)
    alpha = torch.tensor([0.1, 0.5, 0.9]).view(-1, 1, 1, 1)
    seen = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
    output = wanted(prediction, latents, noise, alpha.sqrt(), (1 - alpha).sqrt())
    clean, drawn = clean_and_noise(prediction, alpha, seen, output)
    torch.testing.assert_close(clean, latents)
    torch.testing.assert_close(drawn, noise)


def test_min_snr_weighs_all_predictions_alike() -> None:
    """The same error of the clean picture costs the same, whatever the network predicts (Hang et al., section 3.4)."""
    schedule = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    levels = {
        kind: Levels({**schedule, "prediction_type": kind}, 5.0) for kind in ("epsilon", "v_prediction", "sample")
    }
    snr = (levels["epsilon"].signal / levels["epsilon"].spread) ** 2
    in_pictures = {
        "sample": levels["sample"].weight,
        "epsilon": levels["epsilon"].weight * snr,
        "v_prediction": levels["v_prediction"].weight * (snr + 1),
    }
    for weight in in_pictures.values():
        torch.testing.assert_close(weight, snr.clamp(max=5.0), rtol=1e-3, atol=1e-5)
    assert Levels({**schedule, "prediction_type": "epsilon"}).weight.unique().tolist() == [1.0]


def test_accumulated_batches_are_one_large_batch(base: Base, tmp_path: Path) -> None:
    control = awake(base)
    whole = batch(base, 4)
    halves = [{key: value[:2] for key, value in whole.items()}, {key: value[2:] for key, value in whole.items()}]

    def trained(accumulate: int, name: str) -> Tensor:
        ours = fresh(base)
        ours.load_state_dict(control.state_dict())
        lesson = ControlNetLoss(base.unet, ours, "epsilon", Training())
        plan = LoopSettings(steps=1, rate=1e-3, warmup=0, decay=0, average=0, clip=0, accumulate=accumulate)
        train(lesson, lambda n: whole if accumulate == 1 else halves[n], plan, tmp_path / name, groups=lesson.groups())
        return torch.cat([value.detach().flatten() for value in ours.parameters()])

    # Adam's first step is the gradient's sign: where the gradient is nothing but rounding, so is its sign.
    assert ((trained(1, "a.pt") - trained(2, "b.pt")).abs() > 1e-6).float().mean() < 0.01


def test_what_is_kept_is_what_was_learnt_wherever_parameters_go(tmp_path: Path) -> None:
    """A module that comes to a GPU keeps its parameters, but their numbers lie elsewhere from then on."""

    class Elsewhere(Accelerator):
        def prepare(self, *args: Any, **settings: Any) -> Any:
            for value in args[0].parameters():
                value.data = value.data.clone()
            return super().prepare(*args, **settings)

    class Lone(torch.nn.Linear):
        def forward(self, batch: dict[str, Tensor]) -> Tensor:
            return (super().forward(batch["x"]) - 1).square().mean()

    module = Lone(2, 1)
    train(
        module,
        lambda _number: {"x": torch.ones(1, 2)},
        LoopSettings(steps=3, warmup=0),
        tmp_path / "c.pt",
        Elsewhere(cpu=True),
    )
    state = read(tmp_path / "c.pt")
    for name, value in module.state_dict().items():
        assert torch.equal(state["module"][name], value)
        assert not torch.equal(state["average"][name], value)

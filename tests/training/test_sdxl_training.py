"""A ControlNet for SDXL is trained with its pooled texts and its sizes, on a small random model of its architecture."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from controlnet_core.datasets.example_circles import Circles
from controlnet_core.models.loading import Base, load_base, load_control
from controlnet_core.training import export
from controlnet_core.training.controlnet_loss import ControlNetLoss, fresh
from controlnet_core.training.dataloader import ControlDataLoader
from controlnet_core.training.run import Training
from tests.core.small_xl import save_small_xl
from tests.training.test_dataloader import feed


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return load_base(save_small_xl(tmp_path_factory.mktemp("xl") / "xl"))


@pytest.fixture(scope="module")
def cached(base: Base, tmp_path_factory: pytest.TempPathFactory) -> ControlDataLoader:
    return feed(base, Circles(64), range(4), tmp_path_factory.mktemp("cache") / "cache")


def test_a_batch_has_pooled_texts_and_sizes_cached_or_not(
    base: Base, cached: ControlDataLoader, tmp_path: Path
) -> None:
    plain = feed(base, Circles(64), range(4), tmp_path / "none", cache=False)
    ours, theirs = cached(0), plain(0)
    assert ours.keys() == theirs.keys() >= {"context", "text_embeds", "time_ids"}
    assert ours["time_ids"].tolist() == [[64, 64, 0, 0, 64, 64]] * 3
    assert ours["context"].shape == (3, 77, 2048)
    for key in ("context", "text_embeds", "time_ids"):
        torch.testing.assert_close(ours[key], theirs[key], rtol=2e-3, atol=4e-3)


def test_at_step_0_it_is_the_uncontrolled_one_and_then_it_learns(base: Base, cached: ControlDataLoader) -> None:
    lesson = ControlNetLoss(base.unet, fresh(base), "epsilon", Training())
    given = cached(0)
    added = {name: given[name] for name in ("text_embeds", "time_ids")}
    with torch.no_grad():
        ours = lesson.predict(given["latents"], given["times"], given["context"], given["hint"], added)
        theirs = base.unet(given["latents"], given["times"], given["context"], added_cond_kwargs=added).sample
    assert torch.equal(ours, theirs)
    optimizer = torch.optim.Adam([value for value in lesson.control.parameters() if value.requires_grad], 3e-3)
    losses: list[float] = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = lesson(given)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert lesson.control.add_embedding.linear_1.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("form", ["folder", "file"])
def test_what_was_trained_is_kept_and_read_again(form: export.Form, base: Base, tmp_path: Path) -> None:
    control = fresh(base)
    place = tmp_path / ("made" if form == "folder" else "made.safetensors")
    export.save(control, place, form)
    loaded = load_control(place)
    assert loaded.config["addition_embed_type"] == "text_time"
    assert all(torch.equal(value, control.state_dict()[name]) for name, value in loaded.state_dict().items())

"""From the units of a recipe to controls at work: which ControlNet, which picture, at which size.

Refuses what does not fit together. Loads nothing itself: whoever asks brings a way to get networks.
"""
# torch and diffusers publish partial types.
# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from controlnet_core.diffusion import control_xs, vae
from controlnet_core.diffusion.denoiser import (
    AdapterControl,
    AnyControl,
    Control,
    XsControl,
    embed_hint,
    features_of,
    level_scales,
    levels_of,
)
from controlnet_core.domain.control import HOLE_BELOW, ControlType, Rgb, fed
from controlnet_core.domain.errors import RecipeError
from controlnet_core.domain.picture import hwc3
from controlnet_core.domain.recipe import ControlUnit, Recipe
from controlnet_core.domain.resize import fit
from controlnet_core.memory.placement import sent
from controlnet_core.models.catalog import Catalog, ModelCard
from controlnet_core.models.diffusers_setup import ControlNetUnionModel, ControlNetXSAdapter, T2IAdapter
from controlnet_core.models.loading import Base, Network

LoadNetwork = Callable[[ModelCard], Network]


@dataclass(frozen=True)
class ControlInput:
    """A unit of a recipe with what it needs: its network, its control picture and its mask, at size.

    `shown` says what is seen in `picture`: with the same network, it makes the same `embedding`.
    """

    unit: ControlUnit
    card: ModelCard
    network: Network
    picture: Rgb
    mask: Rgb | None
    shown: tuple[object, ...]

    def embedding(self, device: torch.device) -> tuple[Tensor, ...]:
        """What the network makes of the picture, once a run; it has to be on the device. A T2I-Adapter runs here."""
        picture = hint_of(self.picture, device)
        if isinstance(self.network, T2IAdapter):
            return features_of(self.network, picture)
        return (embed_hint(self.network, picture),)

    def control(self, embedding: tuple[Tensor, ...]) -> AnyControl:
        """The control as the loop takes it, with what `embedding` gave."""
        unit, network = self.unit, self.network
        if isinstance(network, T2IAdapter):
            features = embedding
            return AdapterControl(
                network=network,
                features=features,
                scales=level_scales(unit.weight, unit.mode, len(features)),
                conditional_only=unit.mode == "control",
                start=unit.start,
                end=unit.end,
                mask=None if self.mask is None else _mask_of(self.mask, features[0]),
            )
        (hint,) = embedding
        if isinstance(network, ControlNetXSAdapter):
            return XsControl(network, hint, scales=(unit.weight,), start=unit.start, end=unit.end)
        return Control(
            network=network,
            hint=hint,
            scales=level_scales(unit.weight, unit.mode, levels_of(network)),
            # What is averaged over the picture says what it is about, not where: as text, it guides by what it adds.
            conditional_only=unit.mode == "control" or bool(network.config["global_pool_conditions"]),
            start=unit.start,
            end=unit.end,
            mask=None if self.mask is None else _mask_of(self.mask, hint),
            task=self.card.types.get(unit.control),
        )


class ControlInputs:
    """Prepares the units of recipes; `controls` says, by key, what the controls are."""

    def __init__(self, catalog: Catalog, controls: Mapping[str, ControlType]) -> None:
        self._catalog = catalog
        self._controls = controls

    def check(self, recipe: Recipe, pictures: Mapping[str, Rgb]) -> list[ControlUnit]:
        """The units that do something. Raises RecipeError for unknown controls and for pictures that did not come."""
        units = [unit for unit in recipe.controls if unit.weight > 0]
        for unit in units:
            if unit.control not in self._controls:
                known = ", ".join(sorted(self._controls))
                raise RecipeError(f"There is no control called {unit.control!r}.", f"Known: {known or 'none'}.")
        wanted = [digest for unit in units for digest in (unit.picture, unit.mask)]
        wanted += [recipe.source.picture, recipe.source.mask] if recipe.source else []
        wanted += [reference.picture for reference in recipe.references if reference.weight]
        for digest in wanted:
            if digest is not None and digest not in pictures:
                raise RecipeError(f"The {recipe.role(digest)} did not come with the recipe.", "Draw or upload it.")
        return units

    def prepare(
        self,
        unit: ControlUnit,
        recipe: Recipe,
        card: ModelCard,
        base: Base,
        pictures: Mapping[str, Rgb],
        load: LoadNetwork,
    ) -> ControlInput:
        """Find the unit's network for the base model and bring its pictures to size. Raises RecipeError, ModelError."""
        control = self._controls[unit.control]
        family = card.family or base.family.key
        network_card = self._catalog.network(control.key, family, unit.network)
        if network_card is None:
            raise RecipeError(
                f"{card.title} has no ControlNet for {control.title}.", "Choose another model or another control."
            )
        network = load(network_card)
        if not _fits(network, base):
            raise RecipeError(
                f"{network_card.title} was made for another kind of model than {card.title}.",
                "Choose a ControlNet of the same family.",
            )
        if isinstance(network, ControlNetUnionModel) and control.key not in network_card.types:
            raise RecipeError(
                f"{network_card.title} is not known to read {control.title}.", "Choose another ControlNet for it."
            )
        picture = pictures[unit.picture]
        if control.document != "rgba":
            picture = hwc3(picture)
        picture = fit(picture, recipe.width, recipe.height, unit.resize, control.nearest)
        feed = network_card.feed.get(control.key, "rgb")
        picture = fed(picture, feed)
        mask = None if unit.mask is None else fit(pictures[unit.mask], recipe.width, recipe.height, unit.resize)
        shown = (control.key, unit.picture, unit.resize, recipe.width, recipe.height, feed)
        return ControlInput(unit, network_card, network, picture, mask, shown)


def hint_of(picture: Rgb, device: torch.device | str = "cpu") -> Tensor:
    """A control picture as a ControlNet takes it: (1, 3, H, W), RGB in [0, 1], and -1 in every channel of a hole; on a device.

    The picture is uint8 H,W,3, or H,W,4 with holes (`HOLE_BELOW`). The -1 is what the inpaint network of ControlNet 1.1 was
    trained on.
    """
    hint = vae.from_rgb(picture[..., :3], device)
    if picture.shape[2] == 4:
        return hint.masked_fill(sent(torch.from_numpy(picture[..., 3] < HOLE_BELOW), device), -1.0)
    return hint


def _mask_of(mask: Rgb, like: Tensor) -> Tensor:
    grey = torch.from_numpy(mask.max(axis=2).astype(np.float32) / 255)[None, None]
    return sent(torch.nn.functional.adaptive_avg_pool2d(grey, (like.shape[-2], like.shape[-1])), like.device)


def _fits(network: Network, base: Base) -> bool:
    if isinstance(network, T2IAdapter):
        widths = list(base.unet.config["block_out_channels"])
        return list(network.config["channels"])[: len(widths)] == widths
    if isinstance(network, ControlNetXSAdapter):
        return control_xs.fits(network, base.unet)
    same = ("block_out_channels", "layers_per_block", "cross_attention_dim")
    ours, theirs = network.config, base.unet.config
    # A ControlNet sees latents alone, an inpainting U-Net more than that.
    return ours["in_channels"] == base.channels and all(_plain(ours[key]) == _plain(theirs[key]) for key in same)


def _plain(value: object) -> object:
    return list(value) if isinstance(value, (list, tuple)) else value

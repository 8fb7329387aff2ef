"""The denoising loop: networks, text and controls in, a clean latent out.

Works on tensors and diffusers' modules alone; one code path for every model family. What is the same in every step
(text and condition embeddings) is computed once, outside of it. Knows no recipes, files or devices: `engine` does.

    latent -> input --+--> ControlNet 1..n --scaled, summed--+
                       |                                      v
                       +--> U-Net (conditional and unconditional half) --guidance--> output --> sampler --> latent
"""
# torch and diffusers publish partial types.
# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from controlnet_core.diffusion import control_xs, streams
from controlnet_core.diffusion.conditioning import Conditioning, joined
from controlnet_core.diffusion.reference_only import AttendedReference, Bank
from controlnet_core.diffusion.schedulers import Noise, Sampler
from controlnet_core.diffusion.window import in_window
from controlnet_core.domain.errors import RecipeError
from controlnet_core.domain.recipe import Mode
from controlnet_core.memory.placement import computes_in
from controlnet_core.models.diffusers_setup import (
    ControlNetModel,
    ControlNetUnionModel,
    ControlNetXSAdapter,
    T2IAdapter,
    UNet2DConditionModel,
)
from controlnet_core.models.loading.load_ip_adapter import IpAdapter

GUESS_DECAY = 0.825


def level_scales(weight: float, mode: Mode, levels: int = 13) -> tuple[float, ...]:
    """What the residuals of a control are multiplied by, shallowest level first and the middle last.

    "balanced": `weight` everywhere. "prompt" and "control": level i gets weight * 0.825 ** (levels - 1 - i), the
    original's guess mode.
    """
    if mode == "balanced":
        return (weight,) * levels
    return tuple(weight * GUESS_DECAY ** (levels - 1 - level) for level in range(levels))


ControlNet = ControlNetModel | ControlNetUnionModel


@dataclass(frozen=True, kw_only=True)
class Acting:
    """When, where and how strongly a control acts, whatever carries it.

    `scales` has one number a level. `conditional_only` keeps it off the unconditional half. It acts on step i of n if
    start <= i / n and (i + 1) / n <= end, and where `mask` says so: (1, 1, h, w) in [0, 1], None everywhere. `task` is the
    number by which a union network knows the condition; None for the others.
    """

    scales: tuple[float, ...]
    conditional_only: bool = False
    start: float = 0.0
    end: float = 1.0
    mask: Tensor | None = None
    task: int | None = None

    @property
    def embedding(self) -> tuple[Tensor, ...]:
        """What was made of the control picture, once a run."""
        raise NotImplementedError

    def tensors(self) -> list[Tensor]:
        """What a step reads of it beside the weights."""
        return [*self.embedding] if self.mask is None else [*self.embedding, self.mask]

    def acts(self, index: int, steps: int) -> bool:
        """Whether it acts at step `index` of `steps`."""
        return any(self.scales) and in_window(self.start, self.end, index, steps)

    def scaled(self, outputs: Sequence[Tensor]) -> list[Tensor]:
        """What the network returned, by level: times its scale, and less where the mask is darker."""
        scaled = [output * scale for output, scale in zip(outputs, self.scales, strict=True)]
        if self.mask is None:
            return scaled
        return [output * self._mask_at(output) for output in scaled]

    def _mask_at(self, output: Tensor) -> Tensor:
        size = (int(output.shape[-2]), int(output.shape[-1]))
        if size not in self._masks:
            self._masks[size] = self._shrunk(size).to(output)
        return self._masks[size]

    def _shrunk(self, size: tuple[int, int]) -> Tensor:
        return F.adaptive_avg_pool2d(cast("Tensor", self.mask), size)

    @cached_property
    def _masks(self) -> dict[tuple[int, int], Tensor]:
        return {}

    def renew(self) -> None:
        """Derive again, in place, what comes from `mask`: its content has changed."""
        for size, known in self._masks.items():
            known.copy_(self._shrunk(size))


@dataclass(frozen=True)
class Control(Acting):
    """One ControlNet at work, in every step.

    `hint` is what `embed_hint` made of the control picture, (1, C, h, w) at the size of the latents.
    """

    network: ControlNet
    hint: Tensor

    @property
    def embedding(self) -> tuple[Tensor, ...]:
        """The hint."""
        return (self.hint,)


@dataclass(frozen=True)
class AdapterControl(Acting):
    """One T2I-Adapter at work: it ran once, and every step adds what it found to the U-Net's own.

    `features` are the outputs of the adapter, (1, C, h, w) each, the shallowest first.
    """

    network: T2IAdapter
    features: tuple[Tensor, ...]

    @property
    def embedding(self) -> tuple[Tensor, ...]:
        """The features."""
        return self.features


@dataclass(frozen=True)
class XsControl(Acting):
    """One ControlNet-XS at work, which runs in one with the U-Net: no other control acts beside it.

    `hint` is what `embed_hint` made of the control picture, and `scales` the one number that all it says is scaled by. It takes
    no mask.
    """

    network: ControlNetXSAdapter
    hint: Tensor

    @property
    def embedding(self) -> tuple[Tensor, ...]:
        """The hint."""
        return (self.hint,)


AnyControl = Control | AdapterControl | XsControl


@dataclass(frozen=True)
class PictureReference:
    """A picture that the U-Net reads beside the text, by an IP-Adapter.

    `tokens` (1, n, width of the text) is what it says, `nothing` what no picture says, which the unconditional half reads.
    It acts on the steps that a control with this window acts on.
    """

    adapter: IpAdapter
    tokens: Tensor
    nothing: Tensor
    weight: float
    start: float = 0.0
    end: float = 1.0

    def acts(self, index: int, steps: int) -> bool:
        """Whether it is read at step `index` of `steps`."""
        return bool(self.weight) and in_window(self.start, self.end, index, steps)


@dataclass(frozen=True)
class Shown:
    """What the cross attentions of a batch read of a reference: its tokens (B, n, width), and how much it counts."""

    adapter: IpAdapter
    tokens: Tensor
    weight: float


@dataclass(frozen=True)
class StepProgress:
    """A finished step: `index` of `steps` (0-based), the `latent` after it, and the clean latent it aims at."""

    index: int
    steps: int
    latent: Tensor
    clean: Callable[[], Tensor]


def levels_of(network: ControlNet) -> int:
    """How many residuals a ControlNet has: 13 in SD 1.5."""
    return len(network.controlnet_down_blocks) + 1


def embed_hint(network: ControlNet | ControlNetXSAdapter, picture: Tensor) -> Tensor:
    """The condition embedding of a control picture (1, 3, H, W) in [0, 1], RGB: constant over a run."""
    named = "conditioning_channel_order"
    if network.config[named if isinstance(network, ControlNetXSAdapter) else f"controlnet_{named}"] == "bgr":
        picture = picture.flip(1)
    return network.controlnet_cond_embedding(picture.to(computes_in(network)))


def features_of(network: T2IAdapter, picture: Tensor) -> tuple[Tensor, ...]:
    """What a T2I-Adapter finds in a control picture (1, 3, H, W) in [0, 1], RGB: constant over a run."""
    if network.config["in_channels"] == 1:
        picture = picture.mean(dim=1, keepdim=True)
    return tuple(network(picture.to(computes_in(network))))


def residuals(
    network: ControlNet,
    model_input: Tensor,
    time: Tensor,
    conditioning: Conditioning,
    hint: Tensor,
    task: int | None = None,
) -> list[Tensor]:
    """The unscaled outputs of a ControlNet, shallowest level first and the middle last.

    model_input (B, C, h, w), time (B,), hint from `embed_hint`; `task` as in `Control`. This is the forward pass of
    ControlNetModel, or of ControlNetUnionModel for one picture, with the condition embedding taken out of it.
    """
    model_input = model_input.to(computes_in(network))
    conditioning = conditioning.to(model_input)
    t_emb = network.time_embedding(network.time_proj(time).to(model_input.dtype))
    if network.config["addition_embed_type"] == "text_time":
        t_emb = t_emb + _time_and_text(network, conditioning)
    context = conditioning.context
    state = network.conv_in(model_input)
    if hint.shape[-2:] != state.shape[-2:]:
        raise RecipeError(
            "This ControlNet was made for another kind of model.", "Choose one of the base model's family."
        )
    told = None if task is None else _told(network, task, state, hint)
    state = state + hint
    if told is not None:
        state, t_emb = state + told[0], t_emb + told[1]
    levels: list[Tensor] = [state]
    for block in network.down_blocks:
        state, states = block(state, t_emb, **_text(block, context))
        levels += states
    middle: Any = network.mid_block
    state = middle(state, t_emb, **_text(middle, context))
    outputs = [project(level) for project, level in zip(network.controlnet_down_blocks, levels, strict=True)]
    outputs.append(network.controlnet_mid_block(state))
    if network.config["global_pool_conditions"]:
        return [output.mean(dim=(2, 3), keepdim=True).expand_as(output) for output in outputs]
    return outputs


def _told(network: Any, task: int, state: Tensor, hint: Tensor) -> tuple[Tensor, Tensor]:
    """What a union network learns from the kind of condition: an offset (B, C, 1, 1), and an embedding (B, width)."""
    one = torch.zeros(len(state), int(network.config["num_control_type"]), device=state.device)
    one[:, task] = 1
    waves = network.control_type_proj(one.flatten()).reshape(len(state), -1).to(state.dtype)
    read = hint.mean(dim=(2, 3)) + network.task_embedding[task].to(hint)
    both = torch.stack([read.expand(len(state), -1), state.mean(dim=(2, 3))], dim=1)
    for layer in network.transformer_layes:
        both = layer(both)
    return network.spatial_ch_projs(both[:, 0])[:, :, None, None], network.control_add_embedding(waves)


def _time_and_text(network: Any, conditioning: Conditioning) -> Tensor:
    """The embedding (B, width) of the conditions that come beside the text, as ControlNetModel.forward makes it."""
    pooled, sizes = conditioning.added["text_embeds"], conditioning.added["time_ids"]
    waves = network.add_time_proj(sizes.flatten()).reshape(len(pooled), -1).to(pooled)
    return network.add_embedding(torch.cat([pooled, waves], dim=-1))


def _text(block: Any, context: Tensor) -> dict[str, Tensor]:
    return {"encoder_hidden_states": context} if getattr(block, "has_cross_attention", False) else {}


class Predicts(Protocol):
    """What the loop needs of a denoiser."""

    def predict(self, model_input: Tensor, time: Tensor, index: int = 0, steps: int = 1) -> Tensor:
        """See `Denoiser.predict`."""
        ...


@dataclass(frozen=True)
class Denoiser:
    """Networks, text and controls of one run; `predict` is one guided network output.

    `conditional` and `unconditional` are c and uc, of one row each; `unconditional` None (or a guidance of 1) runs the
    conditional half alone. Guided: uncond + guidance * (cond - uncond). `inpaint_latents` (1 or B, C, h, w) is what an
    inpainting U-Net sees beside the latents: the mask and the latents of what stays.
    """

    unet: UNet2DConditionModel
    conditional: Conditioning
    unconditional: Conditioning | None = None
    guidance: float = 1.0
    controls: Sequence[AnyControl] = ()
    inpaint_latents: Tensor | None = None
    references: Sequence[PictureReference] = ()
    attended: Sequence[AttendedReference] = ()

    @property
    def guided(self) -> bool:
        """Whether every step runs both halves."""
        return self.unconditional is not None and self.guidance != 1

    def predict(self, model_input: Tensor, time: Tensor, index: int = 0, steps: int = 1) -> Tensor:
        """The network's output (B, C, h, w), float32, for `model_input` at `time` (0-d), step `index` of `steps`."""
        attended = [one for one in self.attended if one.acts(index, steps)]
        if not attended:
            return self._predicted(model_input, time, index, steps)
        with self._bank.present(self.guided):
            for one in attended:
                with self._bank.written(one):
                    self._look_at(one, time)
            return self._predicted(model_input, time, index, steps)

    def _look_at(self, reference: AttendedReference, time: Tensor) -> None:
        """Run the U-Net over a reference, which reads the text and nothing else."""
        seen = reference.seen(time, inpaints=self.inpaint_latents is not None)
        both = torch.cat([seen] * (2 if self.guided else 1)).to(computes_in(self.unet))
        self.unet(both, time.expand(len(both)), **self._conditioning(1).unet_kwargs(), return_dict=False)

    @cached_property
    def _bank(self) -> Bank:
        return Bank(self.unet)

    def _predicted(self, model_input: Tensor, time: Tensor, index: int, steps: int) -> Tensor:
        count = len(model_input)
        halves = 2 if self.guided else 1
        conditioning = self._conditioning(count)
        both = torch.cat([model_input] * halves).to(computes_in(self.unet))
        times = time.expand(len(both))
        acting = [one for one in self.controls if one.acts(index, steps)]
        networks = [one for one in acting if isinstance(one, Control)]
        branches = list(dict.fromkeys(id(one.network) for one in networks))
        given = [self._given(one, both, times, count) for one in networks]
        fork = streams.Fork(both.device, len(branches))
        outputs: list[list[Tensor]] = []
        for one, inputs in zip(networks, given, strict=True):
            with fork.branch(branches.index(id(one.network))):
                outputs.append(self._outputs(one, *inputs))
        with fork.gathered():
            summed = _sum(outputs)
        shown = [self._shown(at, count) for at, one in enumerate(self.references) if one.acts(index, steps)]
        adapted = self._adapted([one for one in acting if isinstance(one, AdapterControl)], both)
        sample = both
        if self.inpaint_latents is not None:
            sample = torch.cat([both, self.inpaint_latents.to(both).expand(len(both), -1, -1, -1)], dim=1)
        # The name is one that attention without references passes over in silence.
        read = {"cross_attention_kwargs": {"ip_hidden_states": shown} if shown else None, "return_dict": False}
        beside = next((one for one in acting if isinstance(one, XsControl)), None)
        if beside is not None:
            both_networks = control_xs.joined(self.unet, beside.network)
            output = both_networks(
                sample,
                times,
                **conditioning.unet_kwargs(),
                **read,
                controlnet_cond=beside.hint.to(sample),
                conditioning_scale=beside.scales[0],
            )[0].float()
        else:
            with fork.joined_in(self.unet):
                output = self.unet(
                    sample,
                    times,
                    **conditioning.unet_kwargs(),
                    **read,
                    down_block_additional_residuals=tuple(summed[:-1]) if summed else None,
                    mid_block_additional_residual=summed[-1] if summed else None,
                    down_intrablock_additional_residuals=adapted or None,
                )[0].float()
        if not self.guided:
            return output
        free, bound = output.chunk(2)
        return free + self.guidance * (bound - free)

    def tensors(self) -> list[Tensor]:
        """All that a step reads beside the latents and the weights, in one order: a recorded step reads it from here."""
        halves = [half for half in (self.unconditional, self.conditional) if half is not None]
        own = [tensor for half in halves for tensor in half.tensors()]
        own += [] if self.inpaint_latents is None else [self.inpaint_latents]
        own += [tensor for one in self.references for tensor in (one.tokens, one.nothing)]
        own += [tensor for one in self.attended for tensor in one.tensors()]
        return own + [tensor for control in self.controls for tensor in control.tensors()]

    def _conditioning(self, count: int, conditional_only: bool = False) -> Conditioning:
        """What a batch reads, the same tensors in every step: what is computed from them can be kept."""
        key = (count, conditional_only)
        if key not in self._conditionings:
            self._conditionings[key] = self._joined(*key)
        return self._conditionings[key]

    def _joined(self, count: int, conditional_only: bool) -> Conditioning:
        halves = [self.conditional] if conditional_only or not self.guided else [self.unconditional, self.conditional]
        like = torch.empty((), dtype=computes_in(self.unet), device=self.conditional.context.device)
        return joined((half for half in halves if half is not None), count).to(like)

    @cached_property
    def _conditionings(self) -> dict[tuple[int, bool], Conditioning]:
        return {}

    def _shown(self, number: int, count: int) -> Shown:
        """A reference as a batch reads it, the same tensors in every step."""
        key = (number, count)
        if key not in self._read:
            one = self.references[number]
            self._read[key] = Shown(one.adapter, self._repeated(*key).to(computes_in(self.unet)), one.weight)
        return self._read[key]

    def _repeated(self, number: int, count: int) -> Tensor:
        one = self.references[number]
        halves = [one.nothing, one.tokens] if self.guided else [one.tokens]
        return torch.cat([half.expand(count, -1, -1) for half in halves])

    @cached_property
    def _read(self) -> dict[tuple[int, int], Shown]:
        return {}

    def renew(self) -> None:
        """Derive again, in place, what comes from texts, references and masks: their contents have changed."""
        for key, shown in self._read.items():
            shown.tokens.copy_(self._repeated(*key))
        for key, known in self._conditionings.items():
            known.copy_(self._joined(*key))
        for control in self.controls:
            control.renew()

    def _given(self, control: Control, both: Tensor, times: Tensor, count: int) -> tuple[Tensor, Tensor, Conditioning]:
        """What a control's network is given: of both halves, or of the conditional one, which is the last."""
        alone = control.conditional_only and self.guided
        part = slice(-count, None) if alone else slice(None)
        return both[part], times[part], self._conditioning(count, conditional_only=alone)

    def _outputs(
        self, control: Control, model_input: Tensor, times: Tensor, conditioning: Conditioning
    ) -> list[Tensor]:
        """The scaled residuals of a control, for both halves."""
        outputs = residuals(control.network, model_input, times, conditioning, control.hint, control.task)
        # A ControlNet that is trained is kept whole, at a base model in half precision.
        scaled = [output.to(model_input.dtype) for output in control.scaled(outputs)]
        if control.conditional_only and self.guided:
            scaled = [torch.cat([torch.zeros_like(output), output]) for output in scaled]
        return scaled

    def _adapted(self, acting: Sequence[AdapterControl], both: Tensor) -> list[Tensor]:
        """What the adapters add inside the U-Net, (B, C, h, w) each."""
        found: list[list[Tensor]] = []
        for control in acting:
            scaled = [feature.to(both.dtype) for feature in control.scaled(control.features)]
            halves = [torch.zeros_like(one) if control.conditional_only else one for one in scaled]
            pairs = zip(halves, scaled, strict=True) if self.guided else ((one,) for one in scaled)
            # As many as there are pictures: the U-Net compares shapes.
            each = len(both) // (2 if self.guided else 1)
            found.append([torch.cat([part.expand(each, -1, -1, -1) for part in pair]) for pair in pairs])
        return _sum(found)


def _sum(outputs: Sequence[list[Tensor]]) -> list[Tensor]:
    """The outputs of all controls, level by level; nothing where there is none."""
    total = list(outputs[0]) if outputs else []
    for more in outputs[1:]:
        total = [first + second for first, second in zip(total, more, strict=True)]
    return total


@dataclass(frozen=True)
class InpaintBlend:
    """What a run keeps of a picture: its clean latent (1 or B, C, h, w), and a mask (1, 1, h, w), 1 where it is made anew.

    `mask` None makes all of it anew, starting from the picture.
    """

    clean: Tensor
    mask: Tensor | None = None
    blank: bool = False
    """Whether the part that is made anew starts from noise alone."""
    blends: bool = True
    """Whether the rest is put back after every step; an inpainting U-Net sees it, and goes on by itself."""

    def start(self, sampler: Sampler, noise: Tensor) -> Tensor:
        """The latent that a run starts from."""
        if not self.blends and sampler.first == 0:
            return sampler.start(noise)  # all steps run: nothing of the picture is needed twice
        clean = self.clean.expand_as(noise)
        if self.blank:
            clean = torch.zeros_like(clean) if self.mask is None else clean * (1 - self.mask)
        return sampler.noised(sampler.first, clean, noise)

    def blend_in(self, sampler: Sampler, after: int, latent: Tensor, noise: Tensor) -> Tensor:
        """The latent after step `after`, with the kept part at the noise level of the next step."""
        if self.mask is None or not self.blends:
            return latent
        rest = self.clean.expand_as(noise)
        if after + 1 < sampler.steps:
            rest = sampler.noised(after + 1, rest, noise)
        return rest + self.mask * (latent - rest)


@torch.inference_mode()
def sample(
    denoiser: Predicts,
    sampler: Sampler,
    noise: Noise,
    latent: Tensor,
    *,
    eta: float = 0.0,
    kept: InpaintBlend | None = None,
    on_step: Callable[[StepProgress], None] | None = None,
) -> Tensor:
    """Run the whole loop from `latent`, standard normal (B, C, h, w), to the clean latent, float32.

    `on_step` is called after every step; whatever it raises ends the run.
    """
    drawn = latent.float()
    latent = sampler.start(drawn) if kept is None else kept.start(sampler, drawn)
    steps = sampler.steps - sampler.first
    for index in range(sampler.first, sampler.steps):
        model_input = sampler.scale_model_input(index, latent)
        step = index - sampler.first
        output = first = denoiser.predict(model_input, sampler.times[index], step, steps)
        if (halfway := sampler.halfway(index, output, latent, noise)) is not None:
            latent, output = halfway.latent, denoiser.predict(halfway.model_input, halfway.time, step, steps)
        latent = sampler.step(index, output, latent, eta, noise)
        if kept is not None:
            latent = kept.blend_in(sampler, index, latent, drawn)
        if on_step is not None:
            on_step(StepProgress(step, steps, latent, _clean(sampler, index, model_input, first)))
    return latent


def _clean(sampler: Sampler, index: int, model_input: Tensor, output: Tensor) -> Callable[[], Tensor]:
    return lambda: sampler.clean(index, model_input, output)

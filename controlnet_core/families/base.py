"""What an architecture of base models is, in facts: its text encoders, its latents, its sizes, what it can be asked for.

    sdxl = families.family("sdxl")
    sdxl.native, [encoder.part for encoder in sdxl.text]   # (1024, 1024), ["text_encoder", "text_encoder_2"]

Imports no torch, for the web process asks too. What is computed from these facts stands in `models` and `diffusion`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from controlnet_core.domain.errors import RecipeError

Shapes = Mapping[str, tuple[int, ...]]
Capability = Literal[
    "negative", "clip_skip", "embedding", "lora", "vae", "ip_adapter", "reference_only", "micro_conditioning", "training",
    "transfer",
]  # fmt: skip
"""What may be asked of a base model beside a picture; four of them are also the kinds of files that are added to it."""
Added = Literal["text_embeds", "time_ids"]
"""Conditions that a U-Net takes beside the text's hidden states, in diffusers' words: the pooled text, and sizes."""
_WORDS: Mapping[Capability, str] = {
    "negative": "take no negative prompt",
    "clip_skip": "read one layer of their text encoder alone",
    "embedding": "take no textual inversions",
    "lora": "take no LoRAs",
    "vae": "have an autoencoder of their own, and no other fits",
    "ip_adapter": "take no reference pictures",
    "reference_only": "take nothing from a reference picture by themselves",
    "micro_conditioning": "are told no sizes (micro-conditioning)",
    "training": "cannot be trained for here yet",
    "transfer": "are no part of weight arithmetic here yet",
}
EVERYTHING: frozenset[Capability] = frozenset(_WORDS)
USUAL = EVERYTHING - {"micro_conditioning"}
"""What a family can be asked for that says nothing else."""


@dataclass(frozen=True)
class TextEncoder:
    """One text encoder of a family, and what it is called where.

    `part` and `tokenizer` are its folders in a diffusers pipeline, `vocabulary` the card of its words where a single file brings
    none. `ldm` is the prefix of its tensors in the original layout, `lora` that of its layers in kohya's files, `inversion` the
    name of its vectors in a textual inversion for several encoders.
    """

    part: str = "text_encoder"
    tokenizer: str = "tokenizer"
    vocabulary: str = "clip-tokenizer"
    ldm: str = "cond_stage_model."
    lora: str = "lora_te_"
    inversion: str = "clip_l"
    width: int = 768
    layer: int = 1
    """The hidden state that is read, counted from the last one (1)."""
    normalised: bool = True
    """Whether the final layer norm is applied to it."""
    pooled: bool = False
    """Whether its projected pooled output is the "text_embeds" of the family; its file then holds every block of it."""


@dataclass(frozen=True)
class Latent:
    """The latents of a family: latents that the U-Net sees are (autoencoder's - shift) * scale.

    `force_upcast` says that the autoencoder overflows in float16 and computes in float32 instead. A file of diffusers that
    says otherwise is believed.
    """

    channels: int = 4
    scale: float = 0.18215
    shift: float = 0.0
    force_upcast: bool = False
    vae_scale_factor: int = 8
    """Side in pixels of what one latent describes."""


@dataclass(frozen=True)
class Traits:
    """What shows of a model before it is loaded; 0 or False where nothing does.

    `context_width` is the width of the text that its cross attention reads, `channels` those of its latents, `text_time`
    whether it takes pooled text and sizes beside that, `encoders` how many text encoders it has where there are several,
    `depth` how many transformer blocks one attention has, as far as they are seen.
    """

    context_width: int = 0
    channels: int = 0
    text_time: bool = False
    encoders: int = 0
    depth: int = 0


@dataclass(frozen=True)
class Family:
    """One architecture. Sizes are in pixels, width before height."""

    key: str
    title: str
    context_width: int = 0
    text: tuple[TextEncoder, ...] = (TextEncoder(),)
    native: tuple[int, int] = (512, 512)
    side_max: int = 1024
    aspects: tuple[tuple[int, int], ...] = ()
    """Sizes that it was trained at, beside the native one."""
    latent: Latent = Latent()
    depth: int = 1
    """How many transformer blocks an attention has, where it has most."""
    adapter_px: int = 0
    """Side in pixels of the squares that its T2I-Adapters read; 0 when there are none."""
    called: tuple[str, ...] = ()
    """What the names of its base models begin with in the metadata of files made for it, lower case."""
    added: tuple[Added, ...] = ()
    supports: frozenset[Capability] = USUAL
    empty_is_zero: bool = False
    """Whether an empty negative prompt is zeros, as in the training, and not what the encoders make of no words."""
    guidance: float = 9.0
    """The guidance scale that a model starts with whose card says none."""
    added_prompt: str = "best quality, extremely detailed"
    negative: str = (
        "longbody, lowres, bad anatomy, bad hands, missing fingers, extra digit, fewer digits, cropped, "
        "worst quality, low quality"
    )
    """Likewise what is added to a prompt, and what is not to be seen: the original's words, for SD 1.5 and what is read alike."""
    preview: str = ""
    """The card of the small decoder that shows its latents quickly; "" when there is none."""
    training: Mapping[str, float | int | bool] = field(
        default_factory=lambda: {
            "rate": 1e-5, "batch": 4, "clip": 0.0, "warmup": 0, "decay": 0.0, "ema": 0.0, "awake": False,
        }
    )  # fmt: skip
    """How a ControlNet for it is trained when nobody says otherwise; `warmup` steps at most, and a tenth of all."""

    def picture_size(self, width: int, height: int, size: int) -> tuple[int, int]:
        """Width and height, multiples of 64 from 64 to `side_max`, of a picture with the shape of a canvas.

        `size` is its shorter side. Where the family was trained at several shapes, all of as many pixels, it is the side of
        the square that has as many: such a family makes at its own size the shape that is most alike. `size_of` is the way back.
        """
        shorter = float(size)
        if self.aspects:
            if size == min(self.native):
                return self.shape_like(width, height)
            shorter *= math.sqrt(min(width, height) / max(width, height))
        scale = shorter / min(width, height)
        wide, tall = (min(self.side_max, max(64, round(side * scale / 64) * 64)) for side in (width, height))
        return wide, tall

    def size_of(self, width: int, height: int) -> int:
        """The size, a multiple of 64, by which the family makes pictures of `width` x `height`, or some that are most like them."""
        if (width, height) in self.aspects:
            return min(self.native)
        side = math.sqrt(width * height) if self.aspects else min(width, height)
        return max(64, round(side / 64) * 64)

    def shape_like(self, width: int, height: int) -> tuple[int, int]:
        """Of the sizes that it was trained at, the one whose shape is most like `width` x `height`."""
        known = (self.native, *self.aspects)
        return min(known, key=lambda one: abs(math.log(one[0] * height / (one[1] * width))))

    def matches(self, traits: Traits) -> bool:
        """Whether a model in which this is seen is one of the family."""
        if not self.context_width or traits.channels not in (0, self.latent.channels):
            return False
        if (traits.text_time and not self.added) or traits.encoders not in (0, len(self.text)):
            return False
        if traits.context_width:
            return traits.context_width == self.context_width
        # A LoRA may leave the cross attention alone: several encoders or blocks say as much as a width.
        return traits.encoders > 1 or 1 < traits.depth <= self.depth

    def refuses(self, feature: Capability) -> str:
        """Why a recipe cannot ask for `feature`, as a sentence; "" when it can."""
        return "" if feature in self.supports else f"{self.title or 'These'} models {_WORDS[feature]}."

    def check_size(self, width: int, height: int) -> None:
        """Raise RecipeError for a picture that is larger than the family makes them."""
        if max(width, height) > self.side_max:
            raise RecipeError(
                f"A picture of {width} x {height} px is larger than {self.title or 'this model'} makes them.",
                f"Make it {self.side_max} px or smaller on both sides.",
            )


UNKNOWN = Family("", "")
"""What stands for a model of no published family: one text encoder, latents as in SD 1.5, what is usual is tried."""
_CROSS = re.compile(
    r"(?:input_blocks\.\d+\.1|down_blocks\.\d+\.attentions\.\d+|down_blocks_\d+_attentions_\d+|input_blocks_\d+_1)"
    r"[._]transformer_blocks[._]0[._]attn2[._](?:processor[._])?to_k(?:_lora)?[._](?:lora_down\.|lora_A\.|down\.)?weight$"
)
_SIZES = ("label_emb.", "add_embedding.linear_1.")
_SECOND = ("conditioner.embedders.1.", "lora_te2_", "text_encoder_2.", "clip_g")
"""What the tensors of a second text encoder begin with, of what changes it, and of what it reads."""
_DEPTH = re.compile(
    r"(?:(?:input|output)_blocks[._]\d+[._]1|middle_block[._]1|attentions[._]\d+)[._]transformer_blocks[._](\d+)"
)
_FIRST = ("model.diffusion_model.out.2.weight", "conv_out.weight")


def traits_of(shapes: Shapes) -> Traits:
    """What names and shapes of tensors show, in the original's layout or in that of diffusers, of a LoRA too."""
    width = next((shape[-1] for key, shape in shapes.items() if _CROSS.search(key) and len(shape) > 1), 0)
    channels = next((shapes[name][0] for name in _FIRST if shapes.get(name)), 0)
    sizes = any(mark in name for name in shapes for mark in _SIZES)
    encoders = 2 if any(name.startswith(_SECOND) for name in shapes) else 0
    depth = 1 + max((int(found[1]) for name in shapes if (found := _DEPTH.search(name))), default=-1)
    return Traits(width, channels, sizes, encoders, depth)


def traits_of_config(config: Mapping[str, Any]) -> Traits:
    """What a configuration of diffusers' U-Net or ControlNet shows."""
    width, channels = config.get("cross_attention_dim"), config.get("out_channels")
    return Traits(
        width if isinstance(width, int) else 0,
        channels if isinstance(channels, int) else 0,
        config.get("addition_embed_type") == "text_time",
    )

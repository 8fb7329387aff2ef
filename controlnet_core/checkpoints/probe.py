"""Says what a model file is and whether it can be used here, in one sentence, without building or running anything.

    check(Path("models/controlnet/canny.safetensors")).sentence   # "A ControlNet for SD 1.5, half precision."

Judges by container, names and shapes of tensors, and configurations; loads no network. A safetensors file or a folder is
judged without torch, a pickle is opened by `tensors`, which never runs what is inside.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

from controlnet_core.checkpoints import lora_keys
from controlnet_core.checkpoints.ldm_keys import is_adapter, is_union, is_xs
from controlnet_core.checkpoints.safetensors_header import AGAIN, ORDINARY, read_header, read_shapes, shapes_of, sniff
from controlnet_core.domain.errors import ModelError, StudioError
from controlnet_core.families import (
    Shapes,
    Traits,
    families,
    family,
    named,
    recognised,
    traits_of,
    traits_of_config,
)

Kind = Literal[
    "base", "controlnet", "lora", "embedding", "vae", "detector", "tokenizer", "ip_adapter", "image_encoder",
]  # fmt: skip
Network = Literal["controlnet", "union", "t2i", "xs"]
"""A ControlNet for some condition; one for many, to which the kind is told; a T2I-Adapter, which runs once; a ControlNet-XS,
which runs in one with the U-Net."""
_ENCODERS = {
    ("pooled", 1024): "clip-vit-h", ("hidden", 1280): "clip-vit-h",
    ("pooled", 1280): "clip-vit-bigg", ("hidden", 1664): "clip-vit-bigg",
}  # fmt: skip
"""The image encoders of the published IP-Adapters, by the width of what an adapter reads of them."""
_MORE = "a network that is told more than a text, as SDXL's refiner is, which does not run here."
_PRECISION = {"F32": "full precision", "F16": "half precision", "BF16": "half precision (bfloat16)"}
_FOLDER = "Choose the folder that the whole model lies in."
_WHOLE = "Use a whole ControlNet."
_LORA = "Use a LoRA."
_XS = "Use it as diffusers has it: a folder with config.json, whose class is ControlNetXSAdapter."
_FOREIGN = {
    # What a part of a name says about models of other kinds, none of which runs here; and what to take instead.
    "lllite_": ("a ControlNet-LLLite (a control in the style of a LoRA)", _WHOLE),
    "enc_zero_convs_out.": ("a ControlNet-XS in its makers' own layout", _XS),
    "lora_controlnet": ("a Control-LoRA (a control in the style of a LoRA)", _WHOLE),
    "joint_blocks.": ("a model of the SD 3 kind", ORDINARY),
    "distilled_guidance_layer.": ("a model of the Chroma kind", ORDINARY),
    "individual_token_refiner.": ("a model of the HunyuanVideo kind", ORDINARY),
    "double_stream_modulation_img.": ("a model of the Flux.2 kind", ORDINARY),
    "double_blocks.": ("a model of the Flux kind", ORDINARY),
    "single_transformer_blocks.": ("a model of the Flux kind", ORDINARY),
    ".norm1_context.": ("a model of the SD 3 kind", ORDINARY),
    ".img_mod.1.": ("a model of the Qwen-Image kind", ORDINARY),
    "all_x_embedder.": ("a model of the Z-Image kind", ORDINARY),
    "noise_refiner.": ("a model of the Z-Image or Lumina kind", ORDINARY),
    "double_layers.": ("a model of the AuraFlow kind", ORDINARY),
    "double_stream_blocks.": ("a model of the HiDream kind", ORDINARY),
    "blocks.0.cross_attn.norm_k.": ("a model of the Wan kind, for videos,", ORDINARY),
    "blocks.0.attn2.norm_k.": ("a model of the Wan kind, for videos,", ORDINARY),
    ".SelfAttention.q.": ("a text encoder of the T5 kind", ORDINARY),
    "motion_modules.": ("a motion module for videos", ORDINARY),
}
_PIPELINES = {
    "Flux2": "Flux.2", "Flux": "Flux", "StableDiffusion3": "SD 3", "ZImage": "Z-Image", "QwenImage": "Qwen-Image",
    "Lumina": "Lumina", "Chroma": "Chroma", "AuraFlow": "AuraFlow", "HiDream": "HiDream", "PixArt": "PixArt", "Sana": "Sana",
    "Hunyuan": "Hunyuan", "Wan": "Wan", "LTX": "LTX", "Kandinsky": "Kandinsky", "StableCascade": "Stable Cascade",
}  # fmt: skip
"""Models of other kinds by what the class of their pipeline of diffusers begins with."""
_RELATIVES = {
    re.compile(pattern): what
    for pattern, what in (
        (r"\.oft_", "an OFT"),
        (r"\.ia3_l|\.on_input$", "an IA3"),
        (r"\.diff(?:_b)?$", "a full difference"),
    )
}
"""Relatives of LoRA by the names of their tensors that do not run here."""
_ADAPTED = {
    "Chroma": ("distilled_guidance_layer",),
    "Flux.2": ("to_qkv_mlp_proj",),
    "Flux": ("double_blocks", "single_blocks", "single_transformer_blocks"),
    "Qwen-Image": ("img_mod", "img_mlp", "txt_mlp"),
    "SD 3": ("joint_blocks",),
    "HiDream": ("double_stream_blocks", "single_stream_blocks"),
    "Z-Image": ("noise_refiner", "context_refiner", "diffusion_model.layers.", "diffusion_model_layers_", "lora_unet_layers_",
                "transformer.layers."),
    "Wan, which makes videos": ("diffusion_model.blocks.", "lora_unet_blocks_", "transformer.blocks.", "lora_transformer_blocks_"),
    "a model without a U-Net (SD 3, Flux, Qwen-Image or their like)": (
        "transformer.transformer_blocks.", "lora_transformer_transformer_blocks_", "diffusion_model.transformer_blocks.",
        "lora_unet_transformer_blocks_",
    ),
}  # fmt: skip
"""What LoRAs are for that do not run here, by a part of their layers' names; the surest parts first."""
_LAYERS_HERE = re.compile(
    r"(?:down|up|input|output)_blocks|mid(?:dle)?_block|lora_te|text_encoder|text_model|lora_unet_(?:conv|time)"
)
_PREDICTS: dict[str, Literal["epsilon", "v_prediction"]] = {"epsilon": "epsilon", "v": "v_prediction"}
"""The model specification's words for what a network predicts."""
_CONTROL = "control_model."
_CARRIERS = ("ControlNetModel", "ControlNetUnionModel", "ControlNetXSAdapter", "T2IAdapter", "UNetControlNetXSModel")
_HINTS = ("input_hint_block.0.weight", "controlnet_cond_embedding.conv_in.weight")


@dataclass(frozen=True)
class ModelProbe:
    """What a file or folder is. `ok` says whether it can be used; `sentence` is for people, `hint` what to do if not."""

    ok: bool
    sentence: str
    hint: str = ""
    kind: Kind | None = None
    family: str = ""
    network: Network = "controlnet"
    """What kind of network carries a condition, where it is of the kind "controlnet"."""
    types: int = 0
    """How many kinds of condition a union ControlNet is told apart; 0 for others."""
    encoder: str = ""
    """The card of the image encoder that an IP-Adapter needs."""
    control: bool = False
    """Whether there is a ControlNet in it, alone or beside a base model."""
    called: str = ""
    """The title that a file's metadata gives it."""
    prediction: Literal["", "epsilon", "v_prediction"] = ""
    """What a base model predicts by its file's metadata."""


def check(path: Path) -> ModelProbe:
    """Look at a model file or folder of diffusers. Never raises for what is inside: that is the verdict."""
    try:
        if path.is_dir():
            return _folder(path)
        if sniff(path) == "safetensors":
            header = read_header(path)
            shapes = shapes_of(header)
            precision = Counter(header[name].get("dtype") for name in shapes)
            found = judge(path.name, shapes, precision.most_common(1)[0][0] if precision else "")
            return _told(found, header.get("__metadata__"))
        return _pickle(path)
    except StudioError as error:
        return ModelProbe(False, error.message, error.hint)
    except (ValueError, TypeError, AttributeError, KeyError, IndexError):
        return ModelProbe(False, f"{path.name} is damaged: its table of contents cannot be read.", "Download it again.")
    except OSError as error:
        return ModelProbe(False, f"{path.name} cannot be read: {error.strerror}.")


def _told(found: ModelProbe, metadata: object) -> ModelProbe:
    """A verdict with what whoever saved the file says of it, in the model specification's words or kohya's trainer's."""
    given = cast("dict[str, object]", metadata) if isinstance(metadata, dict) else {}
    texts = {name: text[:200] for name, text in given.items() if isinstance(text, str) and text}
    predicts = _PREDICTS.get(texts.get("modelspec.prediction_type", "") if found.kind == "base" else "", "")
    called = texts.get("modelspec.title", texts.get("ss_output_name", ""))
    found = replace(found, called=called, prediction=predicts)
    base = texts.get("modelspec.architecture", texts.get("ss_base_model_version", ""))
    if found.kind not in ("lora", "embedding") or found.family or not (key := named(base)):
        return found
    return replace(found, family=key, sentence=found.sentence.replace(", ", f" for {family(key).title}, ", 1))


def judge(name: str, shapes: Shapes, dtype: str = "") -> ModelProbe:
    """The verdict about a file called `name` by the names and shapes of its tensors; `dtype` as safetensors calls it."""
    traits = traits_of(shapes)
    try:
        kind, what, key = _kind(shapes, traits)
    except ModelError as error:
        return ModelProbe(False, f"{name} is {error.message}", error.hint, family=recognised(traits).key)
    if kind is None:
        return ModelProbe(False, f"{name} holds nothing that is known here.", "Choose the file of a model.")
    known = family(key).title
    where = f" for {known}" if known else ", of no published size" if kind in ("base", "controlnet") else ""
    precision = f", {_PRECISION[dtype]}" if dtype in _PRECISION else ""
    control = any(key.removeprefix(_CONTROL) in _HINTS for key in shapes)
    sentence = f"{what[0].upper()}{what[1:]}{where}{precision}."
    types = shapes.get("task_embedding", (0,))[0] if kind == "controlnet" else 0
    network: Network = "union" if types else "t2i" if kind == "controlnet" and is_adapter(shapes) else "controlnet"
    encoder = _encoder_of(shapes) if kind == "ip_adapter" else ""
    return ModelProbe(
        True, sentence, kind=kind, family=key, network=network, types=types, control=control, encoder=encoder
    )


def _kind(shapes: Shapes, traits: Traits) -> tuple[Kind | None, str, str]:
    """Kind, words and family. Raises ModelError whose message goes on after "NAME is "."""
    _refuse_adapter(shapes)
    for mark, (what, instead) in _FOREIGN.items():
        if any(mark in name for name in shapes):
            raise ModelError(f"{what}, which does not run here.", instead)
    key = recognised(traits).key
    if traits.text_time and not key:
        raise ModelError(_MORE, ORDINARY)
    adapted = lora_keys.layers(shapes)
    if any(role != "alpha" for roles in adapted.values() for role in roles):
        width = next((lora_keys.inward(one) for name, one in adapted.items() if name.endswith("attn2_to_k")), 0)
        if width and not traits.context_width:
            key = recognised(replace(traits, context_width=width)).key
        return "lora", _lora(adapted), key
    if any(name.startswith("model.diffusion_model.") for name in shapes):
        return _base(shapes, key)
    if any(name.startswith("ip_adapter.") for name in shapes):
        return _ip_adapter(shapes)
    if is_adapter(shapes) or is_union(shapes) or any(name.removeprefix(_CONTROL) in _HINTS for name in shapes):
        return _carrier(shapes, key)
    return _part(shapes, traits, key)


def _part(shapes: Shapes, traits: Traits, key: str) -> tuple[Kind | None, str, str]:
    """As `_kind`, of what goes with a base model and is neither LoRA nor control."""
    if any(name.removeprefix("first_stage_model.") == "decoder.conv_in.weight" for name in shapes):
        return "vae", "an autoencoder (VAE)", ""
    if len(shapes) <= 4 and (vectors := _embedding(shapes)) is not None:
        if traits.encoders and len(shapes) < traits.encoders:
            raise ModelError("half a textual inversion: the vectors of one text encoder are missing.", AGAIN)
        known = key if traits.encoders else recognised(Traits(vectors[1])).key
        return "embedding", f"a textual inversion of {vectors[0]} vectors", known
    return None, "", ""


def _ip_adapter(shapes: Shapes) -> tuple[Kind, str, str]:
    """As `_kind`, of an IP-Adapter: the width of the text that its tokens stand beside tells the family."""
    faces = "image_proj.proj.0.weight" in shapes and "image_proj.proj.3.weight" not in shapes
    if faces or any(name.startswith("image_proj.perceiver_resampler.") for name in shapes):
        raise ModelError(
            "an IP-Adapter for faces (FaceID), which does not run here.", "Use a plain one, or a plus one."
        )
    width = shapes.get("ip_adapter.1.to_k_ip.weight", (0, 0))[-1]
    plus = " (plus)" if "image_proj.latents" in shapes else ""
    return "ip_adapter", f"an IP-Adapter{plus}", recognised(Traits(width)).key


def _encoder_of(shapes: Shapes) -> str:
    """The card of the image encoder that an IP-Adapter was made with, by the width of what it reads; "" for none known."""
    plain, deep = shapes.get("image_proj.proj.weight"), shapes.get("image_proj.proj_in.weight")
    full = shapes.get("image_proj.proj.0.weight")
    hidden = (deep or full or (0,))[-1]
    return _ENCODERS.get(("pooled", plain[-1]) if plain else ("hidden", hidden), "")


def _carrier(shapes: Shapes, key: str) -> tuple[Kind, str, str]:
    """As `_kind`, of what carries a condition."""
    if is_adapter(shapes):
        return "controlnet", "a T2I-Adapter", _of_adapter(shapes)
    if is_xs(shapes):
        raise ModelError("a ControlNet-XS without its configuration.", _XS)
    if is_union(shapes):
        return "controlnet", f"a ControlNet for {shapes['task_embedding'][0]} kinds of condition", key
    if "difference" in shapes:
        raise ModelError("a ControlNet stored as a difference from its base model, which does not run here.", _WHOLE)
    return "controlnet", "a ControlNet", key


def _of_adapter(shapes: Shapes) -> str:
    """The family of a T2I-Adapter, by the squares of pixels that its first convolution reads, grey or in colour."""
    named = {name.removeprefix("adapter."): shape for name, shape in shapes.items()}
    first = named.get("conv_in.weight") or named.get("body.0.in_conv.weight") or (0, 0)
    known = (one for one in families().values() if one.adapter_px and first[1] in _squares(one.adapter_px))
    return next((one.key for one in known), "")


def _squares(side: int) -> tuple[int, int]:
    return side**2, 3 * side**2


def _lora(layers: Mapping[str, Mapping[str, object]]) -> str:
    """What a LoRA or a relative of it is called, by the roles of its tensors."""
    roles = {role for layer in layers.values() for role in layer}
    if roles & {"dora_scale", "magnitude"}:
        return "a DoRA"
    return next((f"a {called}" for role, called in lora_keys.RELATIVES.items() if role in roles), "a LoRA")


def _refuse_adapter(shapes: Shapes) -> None:
    """Raise ModelError for what is like a LoRA and does not run here: another way of changing weights, another network."""
    for pattern, what in _RELATIVES.items():
        if any(pattern.search(name) for name in shapes):
            raise ModelError(f"{what}, a relative of LoRA which does not run here.", _LORA)
    adapted = [
        name
        for name in shapes
        if ("lora" in name and not name.startswith(("control", "lora_controlnet"))) or lora_keys.split(name)
    ]
    if not adapted or len(adapted) < len(shapes) / 2 or any("lllite_" in name for name in shapes):
        return
    for model, marks in _ADAPTED.items():
        if any(mark in name for name in adapted for mark in marks):
            raise ModelError(f"a LoRA for {model}, which does not run here.", _LORA)
    if not any(_LAYERS_HERE.search(name) for name in adapted):
        raise ModelError("a LoRA for a network that does not run here.", _LORA)


def _base(shapes: Shapes, key: str) -> tuple[Kind, str, str]:
    parts = {"first_stage_model.": "autoencoder", **_encoders(key)}
    missing = [what for prefix, what in parts.items() if not any(name.startswith(prefix) for name in shapes)]
    if missing:
        *first, last = missing
        words = f"{', '.join(first)} and {last}" if first else last
        raise ModelError(f"a base model without {words}.", "Choose a full checkpoint.")
    channels = shapes.get("model.diffusion_model.input_blocks.0.0.weight", (0, 4))[1]
    latents = family(key).latent.channels
    if channels not in (latents, 2 * latents + 1) and key:
        raise ModelError(f"a base model of a special kind, which wants {channels} channels of input.", ORDINARY)
    control = any(name.startswith("control_model.") for name in shapes)
    what = "a base model with a ControlNet in it" if control else "a base model"
    return "base", f"{what}, for inpainting," if channels == 2 * latents + 1 else what, key


def _encoders(key: str) -> dict[str, str]:
    """What a single file of a family has for reading texts, by the prefix of its tensors."""
    text = family(key).text
    counted = [""] if len(text) == 1 else ["first ", "second "]
    return {one.ldm: f"{which}text encoder" for one, which in zip(text, counted, strict=True)}


def _embedding(shapes: Shapes) -> tuple[int, int] | None:
    for shape in shapes.values():
        if len(shape) in (1, 2) and any(
            shape[-1] == encoder.width for one in families().values() for encoder in one.text
        ):
            return (shape[0] if len(shape) == 2 else 1, shape[-1])
    return None


def _pickle(path: Path) -> ModelProbe:
    from controlnet_core.checkpoints.checkpoint_reader import read_tensors

    tensors = read_tensors(path)
    dtypes = Counter(str(tensor.dtype) for tensor in tensors.values())
    dtype = {"torch.float32": "F32", "torch.float16": "F16", "torch.bfloat16": "BF16"}
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    return judge(path.name, shapes, dtype.get(dtypes.most_common(1)[0][0], ""))


def _folder(path: Path) -> ModelProbe:
    if (path / "model_index.json").is_file():
        return _pipeline(path)
    if not (path / "config.json").is_file():
        return ModelProbe(
            False, f"{path.name} is not a model: it has neither model_index.json nor config.json.", _FOLDER
        )
    config = _json(path / "config.json")
    missing = _without_weights(path)
    if missing:
        return ModelProbe(False, f"{path.name} has no weights.", "Download it again.")
    name = str(config.get("_class_name") or (config.get("architectures") or [""])[0])
    if name in _CARRIERS:
        return _network(path, config)
    if name.startswith("Autoencoder"):
        return ModelProbe(True, f"An autoencoder (VAE), {name}.", kind="vae")
    if name == "CLIPVisionModelWithProjection":
        what, kind = "An image encoder of CLIP.", "image_encoder"
    else:
        what, kind = f"A network of the transformers library, {name}." if name else "A network.", "detector"
    return ModelProbe(True, what, kind=kind)


def _network(path: Path, config: dict[str, Any]) -> ModelProbe:
    """The verdict about a folder of what carries a condition: its tensors tell more than its configuration does."""
    if config["_class_name"] == "UNetControlNetXSModel":
        return ModelProbe(False, f"{path.name} is a ControlNet-XS and a U-Net in one, which does not run here.", _XS)
    files = sorted(file for file in path.iterdir() if file.suffix.lower() == ".safetensors")
    shapes = {name: shape for file in files for name, shape in read_shapes(file).items()}
    if config.get("_class_name") == "T2IAdapter":
        channels, side = int(config.get("in_channels", 3)), int(config.get("downscale_factor", 8))
        key = _of_adapter({"conv_in.weight": (0, channels * side**2)})
        where = f" for {family(key).title}" if key else ", of no published size"
        return ModelProbe(True, f"A T2I-Adapter{where}.", kind="controlnet", family=key, network="t2i")
    if config.get("_class_name") == "ControlNetXSAdapter":
        return replace(_sized(path.name, "controlnet", "A ControlNet-XS", config), network="xs")
    types = shapes["task_embedding"][0] if "task_embedding" in shapes else 0
    what = f"A ControlNet for {types} kinds of condition" if types else "A ControlNet"
    return replace(
        _sized(path.name, "controlnet", what, config), network="union" if types else "controlnet", types=types
    )


def _pipeline(path: Path) -> ModelProbe:
    config: dict[str, Any] = {}
    called = str(_json(path / "model_index.json").get("_class_name", ""))
    if not (path / "unet").is_dir() and (path / "transformer").is_dir():
        known = next((title for mark, title in _PIPELINES.items() if called.startswith(mark)), called)
        return ModelProbe(False, f"{path.name} is a model of the {known} kind, which does not run here.", ORDINARY)
    parts = ["unet", "vae"]
    while parts:
        part = parts.pop(0)
        if not (path / part / "config.json").is_file() or _without_weights(path / part):
            return ModelProbe(False, f"{path.name} is incomplete: {part} is missing.", "Download it again.")
        if part == "unet":
            config = _json(path / "unet" / "config.json")
            parts += [one.part for one in recognised(traits_of_config(config)).text]
    return _sized(path.name, "base", "A base model", config)


def _sized(name: str, kind: Kind, what: str, config: dict[str, Any]) -> ModelProbe:
    traits = traits_of_config(config)
    known = recognised(traits)
    if traits.text_time and not known.key:
        return ModelProbe(False, f"{name} is {_MORE}", ORDINARY)
    where = f" for {known.title}" if known.key else ", of no published size"
    return ModelProbe(True, f"{what}{where}.", kind=kind, family=known.key)


def _without_weights(folder: Path) -> bool:
    files = [path for path in folder.iterdir() if path.suffix.lower() in (".safetensors", ".bin", ".pth")]
    for path in files:
        if path.suffix.lower() == ".safetensors":
            read_header(path)
        else:
            sniff(path)
    return not files


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ModelError(f"{path.name} of {path.parent.name} is damaged.", "Download the model again.") from error

"""Loads models: diffusers folders and single files in the original layout, in one way, safely.

`load_base` and `load_control` take whatever a user has: a diffusers folder, a community checkpoint, the original's
`control_sd15_*.pth` (full model) or `control_v11*.pth` (control part alone). Weights are read by `tensors`, renamed by
`ldm_keys`, and the architecture is read from their shapes (`infer_config`) when no configuration lies beside them. Does not
decide where models lie (`catalog`), nor what stays in memory (`engine`).
"""
# torch and diffusers publish partial types.
# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from controlnet_core.checkpoints import ldm_keys
from controlnet_core.checkpoints.checkpoint_reader import read_tensors
from controlnet_core.checkpoints.safetensors_header import AGAIN, ORDINARY
from controlnet_core.domain.errors import ModelError, ModelMissing
from controlnet_core.families import UNKNOWN, Family, TextEncoder
from controlnet_core.models.catalog import Catalog
from controlnet_core.models.diffusers_setup import (
    AutoencoderDC,
    AutoencoderKL,
    AutoencoderTiny,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    ControlNetModel,
    ControlNetUnionModel,
    ControlNetXSAdapter,
    ResBlock,
    T2IAdapter,
    UNet2DConditionModel,
)
from controlnet_core.models.loading import infer_config
from controlnet_core.models.loading.infer_config import Hints

__all__ = [
    "Base", "Hints", "Network", "Vae", "assembled", "folder_config", "folder_weights",
    "lend_vocabularies", "load_base", "load_control", "load_tokenizer", "read_tensors",
]  # fmt: skip

Vae = AutoencoderKL | AutoencoderTiny | AutoencoderDC
Network = ControlNetModel | ControlNetUnionModel | ControlNetXSAdapter | T2IAdapter
"""What carries a condition."""
M = TypeVar("M", bound=nn.Module)
_VAES: dict[str, type[Vae]] = {kind.__name__: kind for kind in (AutoencoderKL, AutoencoderTiny, AutoencoderDC)}
_WEIGHTS = ("diffusion_pytorch_model", "model", "pytorch_model")
_SUFFIXES = (".safetensors", ".fp16.safetensors", ".bin", ".fp16.bin")


@dataclass
class Base:
    """A base model: its networks and what is known about them.

    `tokenizer` is None when the file brought none (single-file checkpoints). `schedule` is the configuration of the
    model's noise schedule, in diffusers' words; samplers are made from it. Families of two text encoders have the second
    beside the first, named as in diffusers' pipelines.
    """

    name: str
    unet: UNet2DConditionModel
    vae: Vae
    text_encoder: CLIPTextModel
    tokenizer: Any | None
    schedule: dict[str, Any]
    family: Family = UNKNOWN
    text_encoder_2: CLIPTextModelWithProjection | None = None
    tokenizer_2: Any | None = None
    empty_is_zero: bool = False
    """Whether an empty negative prompt is zeros: see `Family`; a folder says so itself."""

    @property
    def texts(self) -> list[tuple[TextEncoder, Any, Any | None]]:
        """What is known of each text encoder, the encoder, and its tokenizer (None: it came without)."""
        return [(one, getattr(self, one.part), getattr(self, one.tokenizer)) for one in self.family.text]

    @property
    def text_encoders(self) -> tuple[nn.Module, ...]:
        """The networks that read the prompt."""
        return tuple(encoder for _, encoder, _ in self.texts)

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """Every network of it."""
        return (self.unet, self.vae, *self.text_encoders)

    @property
    def channels(self) -> int:
        """Channels of the latents."""
        return int(self.unet.config["out_channels"])

    @property
    def inpaints(self) -> bool:
        """Whether the U-Net sees a mask and what stays beside the latents."""
        return int(self.unet.config["in_channels"]) == 2 * self.channels + 1

    @property
    def vae_scale_factor(self) -> int:
        """Side in pixels of what one latent describes."""
        return vae_scale_factor(self.vae.config)


def vae_scale_factor(config: Mapping[str, Any]) -> int:
    """Side in pixels of what one latent describes, by the configuration of an autoencoder of any kind."""
    return 2 ** (len(config.get("block_out_channels") or config["encoder_block_out_channels"]) - 1)


def load_base(path: Path, dtype: torch.dtype = torch.float32, hints: Hints | None = None) -> Base:
    """Load a base model onto the CPU in `dtype`, whatever the dtype of the file.

    Raises ModelMissing, or ModelError with the reason: damaged, hostile, or another kind of model.
    """
    if path.is_dir():
        return _base_folder(path, dtype)
    tensors = read_tensors(path)
    _refuse_others(path, tensors)
    if not any(name.startswith(ldm_keys.UNET) for name in tensors):
        what = "a ControlNet alone" if _is_control(tensors) else "no base model"
        raise ModelError(f"{path.name} holds {what}.", "Choose a full checkpoint as the model.")
    return _explained(path, lambda: _base_file(path, tensors, dtype, hints or Hints()))


def load_network(path: Path, dtype: torch.dtype = torch.float32, hints: Hints | None = None) -> Network:
    """Load what carries a condition onto the CPU in `dtype`: a ControlNet, one for many conditions, or a T2I-Adapter.

    A diffusers folder, or a file that holds it, alone or not. Raises ModelMissing, or ModelError with the reason.
    """
    if path.is_dir():
        config, tensors = folder_config(path), folder_weights(path)
        if ldm_keys.is_adapter(tensors):
            return _build(T2IAdapter, config, tensors, dtype, path.name)
        if ldm_keys.is_union(tensors):
            return _explained(path, lambda: _union(config, tensors, dtype, path.name))
        kind = ControlNetXSAdapter if ldm_keys.is_xs(tensors) else ControlNetModel
        return _explained(path, lambda: _build(kind, config, tensors, dtype, path.name))
    tensors = read_tensors(path)
    if ldm_keys.is_adapter(tensors):
        named = ldm_keys.adapter(tensors)
        return _explained(path, lambda: _build(T2IAdapter, infer_config.adapter(named), named, dtype, path.name))
    if ldm_keys.is_union(tensors):
        config = infer_config.control(tensors, hints or Hints())
        return _explained(path, lambda: _union(config, tensors, dtype, path.name))
    return load_control(path, dtype, hints)


def _union(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], dtype: torch.dtype, name: str
) -> ControlNetUnionModel:
    return _build(ControlNetUnionModel, {**config, **infer_config.union(tensors)}, tensors, dtype, name)


def load_control(path: Path, dtype: torch.dtype = torch.float32, hints: Hints | None = None) -> ControlNetModel:
    """Load a ControlNet onto the CPU in `dtype`: a diffusers folder, or a file that holds it, alone or not.

    Raises ModelMissing, or ModelError with the reason.
    """
    if path.is_dir():
        return _build(ControlNetModel, folder_config(path), folder_weights(path), dtype, path.name)
    tensors = read_tensors(path)
    _refuse_others(path, tensors)
    if not _is_control(tensors):
        raise ModelError(f"{path.name} holds no ControlNet.", "Choose a file such as control_v11p_sd15_canny.pth.")

    def load() -> ControlNetModel:
        control = ldm_keys.part(tensors, ldm_keys.CONTROL) or dict(tensors)
        if "input_hint_block.0.weight" in control:
            control = ldm_keys.unet(control)
        return _build(ControlNetModel, infer_config.control(control, hints or Hints()), control, dtype, path.name)

    return _explained(path, load)


def load_tokenizer(path: Path, encoder: Any | None = None) -> Any:
    """Load the tokenizer in a folder; with `encoder`, one that pads as that was trained. Raises ModelError."""
    from transformers import AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path.name} of {path.parent.name} is not a usable tokenizer.", AGAIN) from error
    pad: Any = encoder and tokenizer.convert_ids_to_tokens(encoder.config.pad_token_id)
    if pad:
        tokenizer.pad_token = pad
    return tokenizer


def lend_vocabularies(base: Base, catalog: Catalog) -> None:
    """Give a base model that came without its words those of its family, from the catalog. Raises ModelMissing."""
    for facts, encoder, tokenizer in base.texts:
        if tokenizer is None:
            words = load_tokenizer(catalog.locate(catalog.card(facts.vocabulary)), encoder)
            _told_its_end(encoder, words)
            setattr(base, facts.tokenizer, words)


def _is_control(tensors: Mapping[str, Tensor]) -> bool:
    stems = ("input_hint_block.0.weight", "controlnet_cond_embedding.conv_in.weight")
    return any(name.removeprefix(ldm_keys.CONTROL) in stems for name in tensors)


def _refuse_others(path: Path, tensors: Mapping[str, Tensor]) -> None:
    if any("lora_" in name or name.startswith("lllite") for name in tensors):
        raise ModelError(f"{path.name} is a LoRA, not a whole model.", "Choose a checkpoint or a ControlNet file.")


def _explained(path: Path, load: Callable[[], M | Base]) -> Any:
    # A file with the right prefixes and the wrong insides: say so instead of naming a missing dictionary key.
    try:
        return load()
    except (KeyError, IndexError, ValueError, TypeError, ZeroDivisionError, StopIteration, AttributeError) as error:
        raise ModelError(
            f"{path.name} holds parts of a model, but not a whole one of a known kind.", ORDINARY
        ) from error


def _base_file(path: Path, tensors: Mapping[str, Tensor], dtype: torch.dtype, hints: Hints) -> Base:
    unet = ldm_keys.unet(ldm_keys.part(tensors, ldm_keys.UNET))
    unet_config = infer_config.unet(unet, hints)
    family = _known(path, unet_config)
    stages = {one.part: ldm_keys.part(tensors, one.ldm) for one in family.text}
    encoders: dict[str, Any] = {}
    for one in family.text:
        text = ldm_keys.text(stages[one.part], projected=one.pooled)
        config = infer_config.text(text, hints, ldm_keys.is_open_clip(stages[one.part]))
        encoders[one.part] = _text_encoder(one, config, text, dtype, path.name)
    openclip = all(map(ldm_keys.is_open_clip, stages.values()))
    return Base(
        name=path.stem,
        unet=_build(UNet2DConditionModel, unet_config, unet, dtype, path.name),
        vae=vae_of_file(path, ldm_keys.part(tensors, ldm_keys.VAE), dtype, hints, family),
        tokenizer=None,
        schedule=infer_config.schedule(tensors, hints, openclip),
        family=family,
        empty_is_zero=family.empty_is_zero,
        **encoders,
    )


def _known(path: Path, unet_config: Mapping[str, Any]) -> Family:
    """The family of a base model. Raises ModelError for one that wants more than is known to be given it."""
    family = infer_config.family(unet_config)
    wanted = unet_config.get("addition_embed_type")
    # "text" is the text's own average.
    told = wanted in (None, "text") or (wanted == "text_time" and bool(family.added))
    if not told or unet_config.get("encoder_hid_dim_type"):
        raise ModelError(f"{path.name} is told more than a text, in a way that is not known here.", ORDINARY)
    return family


def _text_encoder(
    facts: TextEncoder, config: Mapping[str, Any], tensors: Mapping[str, Tensor], dtype: torch.dtype, name: str
) -> nn.Module:
    kind = CLIPTextModelWithProjection if facts.pooled else CLIPTextModel
    return assembled(lambda: kind(CLIPTextConfig(**config)), tensors, dtype, name)


def _told_its_end(encoder: nn.Module, tokenizer: Any) -> None:
    """Have an encoder pool a text where its tokenizer ends it.

    Older configurations of CLIP name another number. transformers then takes the highest one for the end, which the words of an
    inversion have.
    """
    for module in encoder.modules():
        if hasattr(module, "eos_token_id") and tokenizer.eos_token_id is not None:
            cast("Any", module).eos_token_id = tokenizer.eos_token_id


def _base_folder(path: Path, dtype: torch.dtype) -> Base:
    unet_config = folder_config(path / "unet")
    family = _known(path, unet_config)
    parts: dict[str, Any] = {}
    for one in family.text:
        rename = ldm_keys.with_projection if one.pooled else ldm_keys.clip
        text = rename(folder_weights(path / one.part))
        parts[one.part] = _text_encoder(one, folder_config(path / one.part), text, dtype, path.name)
        parts[one.tokenizer] = load_tokenizer(path / one.tokenizer)
        _told_its_end(parts[one.part], parts[one.tokenizer])
    said = folder_config(path, "model_index.json") if (path / "model_index.json").is_file() else {}
    return Base(
        name=path.name,
        unet=_build(UNet2DConditionModel, unet_config, folder_weights(path / "unet"), dtype, path.name),
        vae=vae_of_folder(path / "vae", dtype, family),
        schedule=folder_config(path / "scheduler", "scheduler_config.json"),
        family=family,
        empty_is_zero=bool(said.get("force_zeros_for_empty_prompt", family.empty_is_zero)),
        **parts,
    )


def vae_of_folder(path: Path, dtype: torch.dtype, family: Family = UNKNOWN) -> Vae:
    """An autoencoder in a folder of diffusers; what its configuration leaves out is as in `family`."""
    config: dict[str, Any] = {"force_upcast": family.latent.force_upcast, **folder_config(path)}
    kind = _VAES.get(config.get("_class_name", "AutoencoderKL"))
    if kind is None:
        raise ModelError(f"{path.name} has an autoencoder of an unknown kind: {config['_class_name']}.", ORDINARY)
    vae = _build(kind, config, ldm_keys.vae_folder(folder_weights(path)), vae_dtype(config, dtype), path.name)
    return spared(vae) if kind is AutoencoderDC else vae


def spared(module: M) -> M:
    """`module` without the work that changes nothing, of which a decoder in closed form has most: residual blocks whose last
    normalisation multiplies by 0 and adds 0 are left out, and a 3 x 3 convolution that is 0 but for its middle is one of 1 x 1.

    What it computes stays equal but for rounding.
    """
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, ResBlock) and _is_silent(child):
                setattr(parent, name, nn.Identity())
            elif type(child) is nn.Conv2d and _is_pointwise(child):
                point = nn.Conv2d(child.in_channels, child.out_channels, 1, bias=child.bias is not None)
                point.weight, point.bias = nn.Parameter(child.weight[..., 1:2, 1:2].contiguous()), child.bias
                setattr(parent, name, point)
    return module


def _is_silent(block: nn.Module) -> bool:
    last: Any = block.get_submodule("norm")
    return isinstance(last, nn.BatchNorm2d) and not last.weight.any() and not last.bias.any()


def _is_pointwise(conv: nn.Conv2d) -> bool:
    if (conv.kernel_size, conv.stride, conv.padding, conv.groups) != ((3, 3), (1, 1), (1, 1), 1):
        return False
    rim = conv.weight.detach().clone()
    rim[..., 1, 1] = 0
    return not rim.any()


def vae_dtype(config: Mapping[str, Any], dtype: torch.dtype) -> torch.dtype:
    """What an autoencoder computes in beside a U-Net in `dtype`: float32 where it would overflow in float16."""
    return torch.float32 if dtype == torch.float16 and config.get("force_upcast") else dtype


def vae_of_file(
    path: Path,
    tensors: Mapping[str, Tensor],
    dtype: torch.dtype,
    hints: Hints | None = None,
    family: Family = UNKNOWN,
) -> Vae:
    """An autoencoder of `family` whose `tensors`, under the original's names or those of diffusers, came from a file."""

    def load() -> AutoencoderKL:
        rename = ldm_keys.vae if any(name.startswith("decoder.up.") for name in tensors) else ldm_keys.vae_folder
        named = rename(tensors)
        config = infer_config.vae(named, hints or Hints(), family)
        return _build(AutoencoderKL, config, named, vae_dtype(config, dtype), path.name)

    return _explained(path, load)


def folder_config(folder: Path, name: str = "config.json") -> dict[str, Any]:
    """A configuration in a folder. Raises ModelMissing, ModelError."""
    file = folder / name
    if not file.is_file():
        raise ModelMissing(f"The model has no {folder.name}/{name}.", f"Download it again: {folder} is incomplete.")
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError, RecursionError) as error:
        raise ModelError(f"{folder.name}/{name} is damaged.", "Download the model again.") from error


def folder_weights(folder: Path) -> dict[str, Tensor]:
    """The tensors of a network's folder, in one file or in several. Raises ModelMissing, ModelError."""
    for suffix in _SUFFIXES:
        for stem in _WEIGHTS:
            if (folder / f"{stem}{suffix}").is_file():
                return read_tensors(folder / f"{stem}{suffix}")
    shards = sorted(path for stem in _WEIGHTS for path in folder.glob(f"{stem}-*-of-*.safetensors"))
    if not shards:
        raise ModelMissing(f"The model has no weights in {folder.name}.", f"Download it again: {folder} is incomplete.")
    return {name: tensor for shard in shards for name, tensor in read_tensors(shard).items()}


def _build(kind: type[M], config: dict[str, Any], tensors: Mapping[str, Tensor], dtype: torch.dtype, name: str) -> M:
    make = cast("Any", kind).from_config
    known = inspect.signature(kind).parameters
    fitting = {key: value for key, value in config.items() if key in known}
    return assembled(lambda: make(fitting), tensors, dtype, name)


def assembled(make: Callable[[], M], tensors: Mapping[str, Tensor], dtype: torch.dtype, name: str) -> M:
    """Make a module without memory, then give it the tensors, one copy each."""
    with torch.device("meta"):
        module = make()
    wanted = {key: tensor.shape for key, tensor in module.state_dict().items()}
    wrong = [key for key, shape in wanted.items() if key not in tensors or tensors[key].shape != shape]
    if wrong:
        kind = type(module).__name__
        raise ModelError(f"{name} does not fit together: in {kind}, {wrong[0]} is missing or has another shape.", AGAIN)
    module.load_state_dict({key: tensors[key].to(dtype, copy=True) for key in wanted}, assign=True)
    for owner in module.modules():
        for key, buffer in owner.named_buffers(recurse=False):
            if buffer.is_meta:
                # The only buffer that is not saved: the position numbers of the text encoder.
                owner.register_buffer(key, torch.arange(buffer.shape[-1]).expand(buffer.shape), persistent=False)
    return module.eval().requires_grad_(False)

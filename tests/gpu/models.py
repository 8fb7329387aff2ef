"""Models of random weights at real and at small sizes, in the folders where a catalog looks for them.

Speed and memory do not depend on the values of weights, and an arithmetic that is right for any is right for these. The
ControlNets' zero convolutions are random too: nobody times zeros.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tests.core.small import save_small_model
from tests.core.small_xl import save_small_xl
from tests.core.test_references import adapter_of, save_encoder

CONTROLS = 3
_DISK_BYTES = 15 << 30
"""What all models take at real size."""
_PERIOD = 1_000_003
"""A prime: no two rows of a matrix are the same."""


@dataclass(frozen=True)
class Scale:
    """Sizes: U-Net widths, autoencoder widths, side in pixels, text width and layers, rounds; `steps` 0 leaves a row's number.

    `side_xl` is the side of SDXL's pictures; 0 where there is none. `xl` are the widths of its U-Net: its text encoders are as wide
    as the real ones, and at lesser widths of the U-Net two layers deep.
    """

    widths: tuple[int, ...]
    vae: tuple[int, ...]
    side: int
    text: tuple[int, int]
    rounds: int
    steps: int = 0
    side_xl: int = 0
    xl: tuple[int, ...] = (320, 640, 1280)


SCALES = {
    "real": Scale((320, 640, 1280, 1280), (128, 256, 512, 512), 512, (768, 12), 5, side_xl=1024),
    "fifth": Scale((64, 128, 256, 256), (32, 64, 96, 96), 256, (768, 2), 2, 4),
    "small": Scale((16, 32), (8, 8, 8, 8), 64, (768, 1), 1, 2, side_xl=64),
}


def short_of_space(root: Path, scale: str) -> str:
    """Why models of a size cannot be written below `root`; "" where they can, or are there already."""
    if scale != "real" or (root / scale / "done-xl.txt").is_file():
        return ""
    free = shutil.disk_usage(next(place for place in (root, *root.parents) if place.is_dir())).free
    if free >= _DISK_BYTES:
        return ""
    return (
        f"the models take {_DISK_BYTES >> 30} GB of the disk and {free >> 30} GB are free; --models names another place"
    )


def save(models: Path, scale: Scale) -> None:
    """SD 1.5's model "random", ControlNets, a tiny autoencoder, a LoRA and an IP-Adapter; kept where they are already."""
    from diffusers import AutoencoderKL, AutoencoderTiny, ControlNetModel, UNet2DConditionModel
    from safetensors.torch import save_file
    from transformers import CLIPTextConfig, CLIPTextModel

    done = models / "done.txt"
    if done.is_file():
        return
    folder = save_small_model(models / "checkpoints" / "random", text_width=scale.text[0])
    torch.manual_seed(0)
    save_encoder(models / "image_encoders" / "clip-vit-h")
    (models / "ip_adapters").mkdir(exist_ok=True)
    AutoencoderTiny(scaling_factor=1.0).half().save_pretrained(models / "vae" / "tiny")
    (models / "loras").mkdir(exist_ok=True)
    if scale.side < 256:
        unet, control = UNet2DConditionModel.from_pretrained(folder / "unet"), folder / "controlnet"
        for number in range(CONTROLS):
            other = ControlNetModel.from_pretrained(control)
            for layer in other.controlnet_down_blocks:
                layer.weight.data *= 1 - 0.3 * number
            other.save_pretrained(models / "controlnet" / f"control{number}")
        save_file(lora(unet), models / "loras" / "style.safetensors")
        save_file(adapter_of(unet, "plain"), models / "ip_adapters" / "look.safetensors")
        done.touch()
        return
    width, layers = scale.text
    levels = len(scale.vae)
    with torch.device("meta"):
        text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=49408, hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers,
                num_attention_heads=max(1, width // 64), bos_token_id=0, eos_token_id=1, pad_token_id=1,
            )
        )  # fmt: skip
        unet = UNet2DConditionModel(
            in_channels=4, out_channels=4, block_out_channels=scale.widths, layers_per_block=2, attention_head_dim=8,
            down_block_types=(*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"), cross_attention_dim=width,
            up_block_types=("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
        )  # fmt: skip
        controls = [ControlNetModel.from_unet(unet, load_weights_from_unet=False) for _ in range(CONTROLS)]
        vae = AutoencoderKL(
            block_out_channels=scale.vae, down_block_types=("DownEncoderBlock2D",) * levels, latent_channels=4,
            up_block_types=("UpDecoderBlock2D",) * levels, layers_per_block=2, sample_size=512,
        )  # fmt: skip
    for number, (module, place) in enumerate(
        [(text, folder / "text_encoder"), (unet, folder / "unet"), (vae, folder / "vae")]
        + [(one, models / "controlnet" / f"control{which}") for which, one in enumerate(controls)]
    ):
        _save_filled(module, number, place)
    save_file(lora(unet), models / "loras" / "style.safetensors")
    save_file(adapter_of(unet, "plain"), models / "ip_adapters" / "look.safetensors")
    done.touch()


def save_xl(models: Path, scale: Scale) -> None:
    """SDXL's model "xl" and a ControlNet of it; where sizes are small, a small model of its architecture."""
    from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    done = models / "done-xl.txt"
    if done.is_file():
        return
    folder = save_small_xl(models / "checkpoints" / "xl")
    if scale.side_xl < 512:
        (models / "controlnet").mkdir(exist_ok=True)
        (folder / "controlnet").rename(models / "controlnet" / "xl0")
        done.touch()
        return
    ends = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1, "vocab_size": 49408}
    deep = (12, 32) if scale.xl[0] == 320 else (2, 2)
    with torch.device("meta"):
        first = CLIPTextModel(
            CLIPTextConfig(hidden_size=768, num_attention_heads=12, num_hidden_layers=deep[0], **ends)
        )
        second = CLIPTextModelWithProjection(
            CLIPTextConfig(
                hidden_size=1280, intermediate_size=5120, num_attention_heads=20, num_hidden_layers=deep[1],
                projection_dim=1280, hidden_act="gelu", **ends,
            )
        )  # fmt: skip
        unet = UNet2DConditionModel(
            block_out_channels=scale.xl, layers_per_block=2, cross_attention_dim=2048, use_linear_projection=True,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10), attention_head_dim=[one // 64 for one in scale.xl],
            addition_embed_type="text_time",
            addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816, sample_size=128,
        )  # fmt: skip
        control = ControlNetModel.from_unet(unet, load_weights_from_unet=False)
        vae = AutoencoderKL(
            block_out_channels=scale.vae, down_block_types=("DownEncoderBlock2D",) * 4, layers_per_block=2,
            up_block_types=("UpDecoderBlock2D",) * 4, latent_channels=4, sample_size=1024, scaling_factor=0.13025,
            force_upcast=True,
        )  # fmt: skip
    parts = {"text_encoder": first, "text_encoder_2": second, "unet": unet, "vae": vae}
    for number, (name, module) in enumerate(parts.items()):
        _save_filled(module, number, folder / name)
    _save_filled(control, len(parts), models / "controlnet" / "xl0")
    done.touch()


def _save_filled(module: Any, seed: int, place: Path) -> None:
    """Write a module with random weights; in memory is one at a time."""
    fill(module, seed).save_pretrained(place)
    module.to("meta")


def fill(module: Any, seed: int, dtype: torch.dtype = torch.float16) -> Any:
    """Give a module that was made without memory random weights, of the sizes that fresh ones have, at the speed of memory."""
    noise = torch.rand(_PERIOD, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    found: dict[str, Tensor] = {}
    for name, layer in module.named_modules():
        for leaf, value in layer.named_parameters(name, recurse=False):
            if isinstance(layer, (nn.GroupNorm, nn.LayerNorm)):
                found[leaf] = torch.full(value.shape, float(leaf.endswith("weight")), dtype=dtype)
            elif leaf.endswith("bias"):
                found[leaf] = torch.zeros(value.shape, dtype=dtype)
            else:
                reach = 0.03 if isinstance(layer, nn.Embedding) else value[0].numel() ** -0.5
                start = len(found) * 7919 % _PERIOD
                rows = noise.repeat(1 + (start + value.numel()) // _PERIOD)[start : start + value.numel()]
                found[leaf] = (rows * reach).to(dtype).view(value.shape)
    module.load_state_dict(found, strict=False, assign=True)
    return module


def lora(unet: nn.Module) -> dict[str, Tensor]:
    """A LoRA of all attention layers, the keys and values of the text among them."""
    generator = torch.Generator().manual_seed(5)
    found: dict[str, Tensor] = {}
    for name, layer in unet.named_modules():
        if ".attentions." in name and isinstance(layer, nn.Linear):
            stem = f"lora_unet_{name.replace('.', '_')}"
            sides = {"down": (4, layer.in_features), "up": (layer.out_features, 4)}
            for side, shape in sides.items():
                found[f"{stem}.lora_{side}.weight"] = torch.randn(shape, generator=generator) * 0.05
    return found

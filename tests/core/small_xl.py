"""A small random model of SDXL's architecture, as a folder of diffusers and as a single file in the original's layout.

Its texts are as wide as the real ones, for by that it is known; all else is narrow. Groups and heads are those that shapes
imply, so that the single file can be read without being told anything.
"""

import json
import re
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

TOKENS = ["!", ",", "a", "house", "tree", "red", "blue", "sea", "<s>", "</s>"]
WIDTHS, DEPTHS, LAYERS = (32, 64, 64), (1, 1, 2), 2
CARD = 'controls = ["scribble", "depth"]\n'
_INNER = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
_OUTER = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2", "conv_norm_out": "out.0",
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2", "conv_out": "out.2",
    "conv_in": "input_blocks.0.0",
}  # fmt: skip


def tokenizer(pad: str):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({token: n for n, token in enumerate(TOKENS)}, unk_token="a"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [("<s>", len(TOKENS) - 2), ("</s>", len(TOKENS) - 1)]
    words.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    return PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="</s>", pad_token=pad, unk_token="a", model_max_length=77
    )


def save_small_xl(folder: Path, *, inpaints: bool = False, seed: int = 7) -> Path:
    """The folder, with a ControlNet in it; with `inpaints` its U-Net sees a mask and the latents of what stays."""
    from diffusers import (
        AutoencoderKL,
        ControlNetModel,
        EulerDiscreteScheduler,
        StableDiffusionXLPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(seed)
    # The end is as the published configurations say, and there is room for more words, as in files to which some were added.
    ends = {"bos_token_id": len(TOKENS) - 2, "eos_token_id": 2}
    shared = {"vocab_size": len(TOKENS) + 2, "intermediate_size": 64, "num_hidden_layers": 3, **ends}
    first = CLIPTextModel(CLIPTextConfig(hidden_size=768, num_attention_heads=12, pad_token_id=1, **shared))
    second = CLIPTextModelWithProjection(
        CLIPTextConfig(
            hidden_size=1280, num_attention_heads=20, projection_dim=1280, hidden_act="gelu", pad_token_id=1, **shared
        )
    )
    unet = UNet2DConditionModel(
        block_out_channels=WIDTHS, layers_per_block=LAYERS, cross_attention_dim=2048, use_linear_projection=True,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=DEPTHS, attention_head_dim=(1, 1, 1), addition_embed_type="text_time",
        addition_time_embed_dim=8, projection_class_embeddings_input_dim=1280 + 6 * 8,
    )  # fmt: skip
    control = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(4, 4, 4, 4))
    if inpaints:
        unet.conv_in = torch.nn.Conv2d(9, WIDTHS[0], 3, padding=1)
        unet.register_to_config(in_channels=9)
    for layer in (*control.controlnet_down_blocks, control.controlnet_mid_block):
        torch.nn.init.normal_(layer.weight, std=0.3)
    torch.nn.init.normal_(control.controlnet_cond_embedding.conv_out.weight, std=0.5)
    vae = AutoencoderKL(
        block_out_channels=(32, 32, 32, 32), down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, latent_channels=4, sample_size=1024, scaling_factor=0.13025,
        force_upcast=True,
    )  # fmt: skip
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, timestep_spacing="leading"
    )
    pipeline = StableDiffusionXLPipeline(
        vae, first, second, tokenizer("</s>"), tokenizer("!"), unet, scheduler, add_watermarker=False
    )
    pipeline.save_pretrained(folder)
    control.save_pretrained(folder / "controlnet")
    (folder / "controlnet" / "card.toml").write_text(CARD, encoding="utf-8")
    return folder


def original_unet(name: str) -> str:
    """A layer of the U-Net under the name that the original gives it."""
    stem, _, leaf = name.rpartition(".")
    if stem in _OUTER:
        return f"{_OUTER[stem]}.{leaf}"
    side, *rest = stem.split(".")
    if side == "mid_block":
        kind, index, *inner = rest
        place = "middle_block.1" if kind == "attentions" else f"middle_block.{2 * int(index)}"
    else:
        level, kind, index, *inner = rest
        down = side == "down_blocks"
        at = int(level) * (LAYERS + 1) + (1 if down else 0)
        group = "input_blocks" if down else "output_blocks"
        if kind == "downsamplers":
            return f"{group}.{at + LAYERS}.0.op.{leaf}"
        if kind == "upsamplers":
            return f"{group}.{at + LAYERS}.2.conv.{leaf}"
        place = f"{group}.{at + int(index)}.{1 if kind == 'attentions' else 0}"
    inside = ".".join(inner)
    return f"{place}.{_INNER.get(inside, inside)}.{leaf}"


def _original_vae(name: str) -> str:
    name = re.sub(r"(encoder)\.down_blocks\.(\d)", r"\1.down.\2", name)
    name = re.sub(r"decoder\.up_blocks\.(\d)", lambda found: f"decoder.up.{3 - int(found[1])}", name)
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda found: f"mid.block_{int(found[1]) + 1}", name)
    name = re.sub(r"\.resnets\.", ".block.", name).replace("samplers.0.conv", "sample.conv")
    name = name.replace("mid_block.attentions.0.group_norm", "mid.attn_1.norm")
    name = re.sub(r"mid_block\.attentions\.0\.to_(q|k|v)", r"mid.attn_1.\1", name)
    name = name.replace("mid_block.attentions.0.to_out.0", "mid.attn_1.proj_out")
    return name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")


def _open_clip(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    plain = {
        "embeddings.token_embedding.weight": "token_embedding.weight",
        "embeddings.position_embedding.weight": "positional_embedding",
        "final_layer_norm.weight": "ln_final.weight",
        "final_layer_norm.bias": "ln_final.bias",
    }
    inner = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
    found = {"text_projection": tensors.pop("text_projection.weight").T.contiguous()}
    for full, tensor in tensors.items():
        name = full.removeprefix("text_model.")
        if name in plain:
            found[plain[name]] = tensor
            continue
        layer = re.match(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)$", name)
        block, stem, leaf = f"transformer.resblocks.{layer[1]}", layer[2], layer[3]
        if stem == "self_attn.q_proj":
            three = [tensors[f"text_model.encoder.layers.{layer[1]}.self_attn.{one}_proj.{leaf}"] for one in "qkv"]
            found[f"{block}.attn.in_proj_{leaf}"] = torch.cat(three)
        elif stem == "self_attn.out_proj":
            found[f"{block}.attn.out_proj.{leaf}"] = tensor
        elif stem in inner:
            found[f"{block}.{inner[stem]}.{leaf}"] = tensor
    return found


def write_single(folder: Path, file: Path, marks: tuple[str, ...] = (), leave_out: str = "") -> Path:
    """The model of `folder` as one file in the original's layout, with empty tensors called `marks`."""
    whole: dict[str, torch.Tensor] = {}
    unet = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    whole |= {f"model.diffusion_model.{original_unet(name)}": tensor for name, tensor in unet.items()}
    for name, tensor in load_file(folder / "vae" / "diffusion_pytorch_model.safetensors").items():
        matrix = "attentions" in name and tensor.ndim == 2
        whole[f"first_stage_model.{_original_vae(name)}"] = tensor[:, :, None, None] if matrix else tensor
    for name, tensor in load_file(folder / "text_encoder" / "model.safetensors").items():
        whole[f"conditioner.embedders.0.transformer.text_model.{name.removeprefix('text_model.')}"] = tensor
    second = _open_clip(load_file(folder / "text_encoder_2" / "model.safetensors"))
    whole |= {f"conditioner.embedders.1.model.{name}": tensor for name, tensor in second.items()}
    whole |= {mark: torch.zeros(0) for mark in marks}
    if leave_out:
        whole = {name: tensor for name, tensor in whole.items() if not name.startswith(leave_out)}
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in whole.items()}, file)
    return file


def config_of(folder: Path, part: str) -> dict:
    return json.loads((folder / part / "config.json").read_text())

"""What files are is said in one true sentence: usable ones by kind and family, others with the reason."""

import json
import pickle
import struct
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from controlnet_core.checkpoints.probe import check, judge
from controlnet_core.models.loading.load_lora import load_lora
from tests.core.small import save_small_model

UNET = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
WHOLE = {"first_stage_model.decoder.conv_in.weight": (8, 4, 3, 3), "cond_stage_model.x.weight": (1,)}
PAIR = {
    "first_stage_model.decoder.conv_in.weight": (8, 4, 3, 3),
    "conditioner.embedders.0.x": (1,),
    "conditioner.embedders.1.x": (1,),
    "model.diffusion_model.label_emb.0.0.weight": (1280, 2816),
}
LORA = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight"
DIFFUSERS_TO_K = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
CONTROL = {
    "control_model.input_hint_block.0.weight": (16, 3, 3, 3),
    "control_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768),
}
DIFFUSERS = {
    "controlnet_cond_embedding.conv_in.weight": (16, 3, 3, 3),
    "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight": (320, 1024),
}


@pytest.mark.parametrize(
    ("shapes", "kind", "family", "words"),
    [
        ({UNET: (320, 768), **WHOLE}, "base", "sd15", "A base model for SD 1.5."),
        ({UNET: (320, 1024), **WHOLE}, "base", "sd21", "SD 2.1"),
        ({UNET: (320, 64), **WHOLE}, "base", "", "no published size"),
        ({UNET: (320, 768), **WHOLE, **CONTROL}, "base", "sd15", "with a ControlNet in it"),
        ({UNET: (320, 768), **WHOLE, "model.diffusion_model.input_blocks.0.0.weight": (320, 9, 3, 3)}, "base", "sd15",
         "inpainting"),
        (CONTROL, "controlnet", "sd15", "A ControlNet for SD 1.5."),
        ({k.removeprefix("control_model."): v for k, v in CONTROL.items()}, "controlnet", "sd15", "ControlNet"),
        (DIFFUSERS, "controlnet", "sd21", "SD 2.1"),
        ({LORA: (8, 768)}, "lora", "sd15", "A LoRA for SD 1.5."),
        ({"body.0.block1.weight": (320, 320, 3, 3), "conv_in.weight": (320, 192, 3, 3)}, "controlnet", "sd15",
         "A T2I-Adapter for SD 1.5."),
        ({"adapter.body.0.resnets.0.block1.weight": (1,), "adapter.conv_in.weight": (320, 768, 3, 3)}, "controlnet",
         "sdxl", "A T2I-Adapter for SDXL."),
        ({"ip_adapter.1.to_k_ip.weight": (320, 768), "image_proj.proj.weight": (3072, 1024)}, "ip_adapter", "sd15",
         "An IP-Adapter for SD 1.5."),
        ({**DIFFUSERS, "task_embedding": (6, 320)}, "controlnet", "sd21", "A ControlNet for 6 kinds of condition"),
        ({"decoder.conv_in.weight": (8, 4, 3, 3)}, "vae", "", "autoencoder"),
        ({"emb_params": (4, 768)}, "embedding", "sd15", "4 vectors"),
        ({UNET: (320, 2048), **PAIR}, "base", "sdxl", "A base model for SDXL."),
        ({LORA: (8, 2048)}, "lora", "sdxl", "A LoRA for SDXL."),
        ({"lora_te2_x.lora_down.weight": (1, 2)}, "lora", "sdxl", "A LoRA for SDXL."),
        ({"text_encoder_2.x.lora_A.weight": (1, 2)}, "lora", "sdxl", "A LoRA for SDXL."),
        ({"clip_l": (4, 768), "clip_g": (4, 1280)}, "embedding", "sdxl", "4 vectors"),
    ],
)  # fmt: skip
def test_usable_files_by_kind_and_family(shapes, kind, family, words):
    verdict = judge("x", shapes)
    assert verdict.ok
    assert (verdict.kind, verdict.family) == (kind, family)
    assert words in verdict.sentence


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({UNET: (320, 2048), **WHOLE}, "without first text encoder and second text encoder"),
        ({UNET: (320, 1280), **WHOLE, "model.diffusion_model.label_emb.0.0.weight": (8, 8)}, "SDXL's refiner"),
        ({"conditioner.embedders.0.x": (1,)}, "nothing that is known"),
        ({"lllite_unet_x": (1,)}, "in the style of a LoRA"),
        ({"lora_controlnet": (0,), "x": (1,)}, "in the style of a LoRA"),
        ({"model.diffusion_model.joint_blocks.0.x": (1,)}, "SD 3"),
        ({"double_blocks.0.x": (1,)}, "of the Flux kind"),
        ({"single_transformer_blocks.0.attn.to_q.weight": (1,)}, "of the Flux kind"),
        ({"double_blocks.0.x": (1,), "double_stream_modulation_img.lin.weight": (1,)}, "of the Flux.2 kind"),
        ({"transformer_blocks.0.img_mod.1.weight": (1,)}, "of the Qwen-Image kind"),
        ({"transformer_blocks.0.norm1_context.linear.weight": (1,)}, "of the SD 3 kind"),
        ({"distilled_guidance_layer.x": (1,), "single_transformer_blocks.0.x": (1,)}, "of the Chroma kind"),
        ({"blocks.0.attn2.norm_k.weight": (1,), "patch_embedding.weight": (1,)}, "of the Wan kind, for videos"),
        ({"blocks.0.cross_attn.norm_k.weight": (1,)}, "of the Wan kind, for videos"),
        ({"all_x_embedder.2-1.weight": (1,), "noise_refiner.0.x": (1,)}, "of the Z-Image kind"),
        ({"model.diffusion_model.noise_refiner.0.x": (1,)}, "of the Z-Image or Lumina kind"),
        ({"encoder.block.0.layer.0.SelfAttention.q.weight": (1,)}, "a text encoder of the T5 kind"),
        ({"x.oft_blocks": (1,)}, "OFT"),
        ({"clip_g": (4, 1280)}, "half a textual inversion"),
        ({**CONTROL, "difference": (0,)}, "difference"),
        ({UNET: (320, 768)}, "without autoencoder and text encoder"),
        ({UNET: (320, 768), **WHOLE, "model.diffusion_model.input_blocks.0.0.weight": (320, 8, 3, 3)}, "8 channels"),
        ({"some.weight": (3, 3)}, "nothing that is known"),
        ({}, "nothing that is known"),
    ],
)
def test_others_are_refused_with_the_reason(shapes, words):
    verdict = judge("x", shapes)
    assert not verdict.ok
    assert words in verdict.sentence
    assert verdict.hint == "Use a LoRA." or words != "OFT"


TO_K = LORA.removesuffix(".lora_down.weight")
SELF = TO_K.replace("attn2", "attn1").replace("blocks_0_attn", "blocks_7_attn")


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({f"{TO_K}.lora_down.weight": (4, 768), f"{TO_K}.dora_scale": (1, 768)}, "A DoRA for SD 1.5."),
        ({f"unet.{DIFFUSERS_TO_K}.lora_A.weight": (4, 2048), f"unet.{DIFFUSERS_TO_K}.lora_magnitude_vector": (640,)},
         "A DoRA for SDXL."),
        ({f"{TO_K}.hada_w1_a": (640, 4), f"{TO_K}.hada_w1_b": (4, 2048)}, "A LoHa for SDXL."),
        ({f"{TO_K}.lokr_w1": (16, 32), f"{TO_K}.lokr_w2_a": (40, 4), f"{TO_K}.lokr_w2_b": (4, 64)}, "A LoKr for SDXL."),
        ({f"{SELF}.lora_down.weight": (4, 640)}, "A LoRA for SDXL."),
        ({f"{SELF.replace('blocks_7_attn', 'blocks_0_attn')}.lora_down.weight": (4, 640)}, "A LoRA."),
    ],
)  # fmt: skip
def test_loras_and_their_relatives_by_kind_and_family(shapes, words):
    verdict = judge("x", shapes)
    assert (verdict.ok, verdict.kind, verdict.sentence) == (True, "lora", words)


def test_what_metadata_says_of_the_family_is_believed_where_nothing_else_shows(tmp_path):
    name = f"{SELF.replace('blocks_7_attn', 'blocks_0_attn')}.lora_down.weight"
    for said, family in (("sdxl_base_v1-0", "sdxl"), ("sd_v1", "sd15"), ("stable-diffusion-xl-v1-base/lora", "sdxl")):
        key = "modelspec.architecture" if "/" in said else "ss_base_model_version"
        save_file({name: torch.zeros(4, 8)}, tmp_path / "x.safetensors", {key: said})
        found = check(tmp_path / "x.safetensors")
        assert (found.family, found.kind) == (family, "lora")
    assert found.sentence == "A LoRA for SDXL, full precision."


def test_folders_of_other_kinds_are_called_by_their_names(tmp_path):
    kinds = {"FluxPipeline": "Flux", "ZImagePipeline": "Z-Image", "QwenImagePipeline": "Qwen-Image",
             "StableDiffusion3Pipeline": "SD 3", "Flux2Pipeline": "Flux.2", "NewPipeline": "NewPipeline"}  # fmt: skip
    (tmp_path / "transformer").mkdir()
    for called, words in kinds.items():
        (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": called}))
        found = check(tmp_path)
        assert not found.ok
        assert f"is a model of the {words} kind, which does not run here." in found.sentence


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


def hostile(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Evil()))
        archive.writestr("archive/version", "3")


def test_files_that_are_no_models_say_so(tmp_path, capfd):
    whole = tmp_path / "whole.safetensors"
    save_file({"decoder.conv_in.weight": torch.zeros(8, 4, 3, 3)}, whole)
    data = whole.read_bytes()
    cases = {
        "empty.safetensors": (b"", "is empty"),
        "cut.safetensors": (data[:-5], "cut off"),
        "page.safetensors": (b"<!DOCTYPE html><html>", "web page"),
        "pointer.ckpt": (b"version https://git-lfs.github.com/spec/v1\n", "git-LFS"),
        "noise.ckpt": (b"\x01\x02\x03" * 100, "not a model file"),
        "lying.safetensors": (struct.pack("<Q", 1 << 40) + b"{" * 50, "table of contents"),
        "flux1-dev-Q4_K_S.gguf": (b"GGUF\x03\x00\x00\x00", "is a GGUF file"),
        "shapeless.safetensors": (_with_header({"a": {"data_offsets": [0, 0]}}), "table of contents"),
        "cut.ckpt": (pickle.dumps({"a": 1}, 2)[:-3], "cut off or damaged"),
    }
    for name, (content, words) in cases.items():
        (tmp_path / name).write_bytes(content)
        verdict = check(tmp_path / name)
        assert not verdict.ok, name
        assert words in verdict.sentence, (name, verdict.sentence)
    hostile(tmp_path / "hostile.ckpt")
    verdict = check(tmp_path / "hostile.ckpt")
    assert not verdict.ok
    assert "program code" in verdict.sentence
    assert "executed" not in capfd.readouterr().out
    assert "not there" in check(tmp_path / "nothing.ckpt").sentence


def _with_header(table: dict) -> bytes:
    text = json.dumps(table).encode()
    return struct.pack("<Q", len(text)) + text


def test_real_files_and_folders(tmp_path, checkpoints):
    assert check(checkpoints["wrapped"]).sentence == check(checkpoints["safetensors"]).sentence
    assert check(checkpoints["safetensors"]).kind == "base"
    folder = save_small_model(tmp_path / "small")
    assert check(folder).kind == "base"
    assert check(folder / "controlnet").kind == "controlnet"
    assert check(folder / "vae").kind == "vae"
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"{}")
    assert not check(folder).ok
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    assert "incomplete" in check(folder).sentence
    assert not check(tmp_path).ok


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["lora_unet_down_blocks_0_x.oft_blocks", "lora_unet_down_blocks_0_x.alpha"], "an OFT"),
        (["lora_unet_down_blocks_0_x.weight", "lora_unet_down_blocks_0_x.on_input"], "an IA3"),
        (["base_model.model.down_blocks.0.to_k.ia3_l"], "an IA3"),
        (["lora_unet_down_blocks_0_x.diff", "lora_unet_down_blocks_0_x.diff_b"], "a full difference"),
        (["lora_unet_double_blocks_0_img_attn_proj.lora_down.weight"], "a LoRA for Flux"),
        (["transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight"], "a LoRA for Flux"),
        (["diffusion_model.layers.3.attention.to_q.lora_A.weight"], "a LoRA for Z-Image"),
        (["transformer.transformer_blocks.3.img_mod.1.lora_A.weight"], "a LoRA for Qwen-Image"),
        (["lora_unet_distilled_guidance_layer_layers_0.lora_down.weight", "lora_unet_double_blocks_0.lora_down.weight"],
         "a LoRA for Chroma"),
        (["transformer.single_transformer_blocks.0.attn.to_qkv_mlp_proj.lora_A.weight"], "a LoRA for Flux.2"),
        (["diffusion_model.blocks.3.self_attn.q.lora_A.weight"], "a LoRA for Wan, which makes videos"),
        (["transformer.transformer_blocks.3.attn.to_q.lora_A.weight"], "a LoRA for a model without a U-Net (SD 3, Flux"),
        (["model.decoder.3.q.lora_A.weight"], "a LoRA for a network that does not run here"),
    ],
)  # fmt: skip
def test_what_is_like_a_lora_and_does_not_run_is_named(names, words):
    verdict = judge("x", dict.fromkeys(names, (8, 8)))
    assert not verdict.ok and words in verdict.sentence and verdict.kind is None


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("lora_unet_input_blocks_1_1_transformer_blocks_0_attn2_to_k",
         "down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"),
        ("lora_unet_input_blocks_5_0_in_layers_2", "down_blocks_1_resnets_1_conv1"),
        ("lora_unet_input_blocks_3_0_op", "down_blocks_0_downsamplers_0_conv"),
        ("lora_unet_middle_block_1_proj_in", "mid_block_attentions_0_proj_in"),
        ("lora_unet_middle_block_2_out_layers_3", "mid_block_resnets_1_conv2"),
        ("lora_unet_output_blocks_4_1_proj_out", "up_blocks_1_attentions_1_proj_out"),
        ("lora_unet_output_blocks_5_2_conv", "up_blocks_1_upsamplers_0_conv"),
        ("base_model.model.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q",
         "down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"),
    ],
)  # fmt: skip
def test_names_of_the_original_and_of_peft_are_layers_too(tmp_path, name, layer):
    file = tmp_path / "style.safetensors"
    dot = "lora_A", "lora_B"
    down, up = dot if "." in name else ("lora_down", "lora_up")
    save_file({f"{name}.{down}.weight": torch.ones(2, 4), f"{name}.{up}.weight": torch.ones(4, 2),
               "bundle_emb.calm.string_to_param.*": torch.ones(1, 4)}, file)  # fmt: skip
    assert list(load_lora(file)) == [f"lora_unet_{layer}"]

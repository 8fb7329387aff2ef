"""Small random models, saved as folders of diffusers."""

import hashlib
from pathlib import Path

import numpy as np

from controlnet_core.domain.control import ControlType
from controlnet_core.domain.document import Raster

TOKENS = ["<s>", "</s>", "a", "house", "tree", "red", "blue", ",", "sea"]
CARD = 'controls = ["scribble", "normal", "seg"]\nfeed = { normal = "bgr" }\n'
"""What the small ControlNet says of itself."""


def digest(picture: np.ndarray) -> str:
    return hashlib.sha256(picture.tobytes()).hexdigest()


def control_type(key: str, **settings) -> ControlType:
    return ControlType(
        key=key,
        title=key.capitalize(),
        icon="",
        group="draw",
        order=0,
        help="",
        document="rgb",
        editor="view",
        render=lambda document, values: document.pixels,
        truth=lambda world: Raster("rgb", world.picture),
        **settings,
    )


def save_small_model(
    folder: Path,
    vae: str = "kl",
    prediction: str = "epsilon",
    *,
    zero_snr: bool = False,
    widths: tuple[int, ...] = (16, 32),
    inpaints: bool = False,
    seed: int = 7,
    text_width: int = 32,
    text_layers: int = 1,
) -> Path:
    """A whole base model with a ControlNet, random and tiny, saved the way diffusers saves one.

    With `inpaints`, its U-Net sees a mask and the latents of what stays beside its own. A `text_width` of 768 makes it one
    of SD 1.5's family.
    """
    import torch
    from diffusers import (
        AutoencoderDC,
        AutoencoderKL,
        AutoencoderTiny,
        ControlNetModel,
        DDIMScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

    torch.manual_seed(seed)
    channels, stages = (4, 4) if vae == "kl" else (8, 5)
    words = Tokenizer(models.WordLevel({token: n for n, token in enumerate(TOKENS)}, unk_token="a"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="</s>", pad_token="</s>", unk_token="a", model_max_length=77
    )
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(TOKENS), hidden_size=text_width, intermediate_size=64, num_hidden_layers=text_layers,
            num_attention_heads=2, bos_token_id=0, eos_token_id=1, pad_token_id=1,
        )
    )  # fmt: skip
    unet = UNet2DConditionModel(
        in_channels=channels, out_channels=channels, block_out_channels=widths, layers_per_block=1,
        down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * (len(widths) - 1)),
        up_block_types=(*("CrossAttnUpBlock2D",) * (len(widths) - 1), "UpBlock2D"),
        cross_attention_dim=text_width, attention_head_dim=2, norm_num_groups=4,
    )  # fmt: skip
    control = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(4,) * stages)
    if inpaints:
        wider = torch.nn.Conv2d(2 * channels + 1, widths[0], 3, padding=1)
        unet.conv_in = wider
        unet.register_to_config(in_channels=2 * channels + 1)
    for layer in (*control.controlnet_down_blocks, control.controlnet_mid_block):
        torch.nn.init.normal_(layer.weight, std=0.3)
    torch.nn.init.normal_(control.controlnet_cond_embedding.conv_out.weight, std=0.5)
    if vae == "tiny":
        codec = AutoencoderTiny(
            latent_channels=channels,
            encoder_block_out_channels=(8,) * stages, decoder_block_out_channels=(8,) * stages,
            num_encoder_blocks=(1,) * stages, num_decoder_blocks=(1,) * stages,
        )  # fmt: skip
    elif vae == "dc":
        codec = AutoencoderDC(
            latent_channels=channels, encoder_block_out_channels=(8,) * stages, decoder_block_out_channels=(8,) * stages,
            encoder_layers_per_block=(0,) + (1,) * (stages - 1), decoder_layers_per_block=(0,) + (1,) * (stages - 1),
            encoder_qkv_multiscales=((),) * stages, decoder_qkv_multiscales=((),) * stages,
            encoder_out_shortcut=False, decoder_in_shortcut=False,
        )  # fmt: skip
        codec.register_to_config(block_out_channels=(8,) * stages)
    else:
        codec = AutoencoderKL(
            block_out_channels=(8,) * stages, down_block_types=("DownEncoderBlock2D",) * stages,
            up_block_types=("UpDecoderBlock2D",) * stages, latent_channels=channels, norm_num_groups=4,
            sample_size=512,
        )  # fmt: skip
    if vae == "tiny":
        # Random weights end in black; the middle of the range shows differences.
        torch.nn.init.normal_(codec.decoder.layers[-1].weight, std=0.2)
        torch.nn.init.constant_(codec.decoder.layers[-1].bias, 0.5)
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1,
        set_alpha_to_one=zero_snr, prediction_type=prediction, rescale_betas_zero_snr=zero_snr,
        timestep_spacing="trailing" if zero_snr else "leading",
    )  # fmt: skip
    pipeline = StableDiffusionPipeline(
        vae=codec, text_encoder=text, tokenizer=tokenizer, unet=unet, scheduler=scheduler, safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder)
    control.save_pretrained(folder / "controlnet")
    (folder / "controlnet" / "card.toml").write_text(CARD, encoding="utf-8")
    return folder

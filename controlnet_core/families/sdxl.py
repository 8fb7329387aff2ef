"""Stable Diffusion XL (Podell et al. 2023), and what was made of it: Illustrious, NoobAI, Pony, Animagine and many more."""

from controlnet_core.families.base import EVERYTHING, Family, Latent, TextEncoder

FAMILY = Family(
    key="sdxl",
    title="SDXL",
    context_width=2048,
    text=(
        TextEncoder(ldm="conditioner.embedders.0.", lora="lora_te1_", layer=2, normalised=False),
        TextEncoder(
            part="text_encoder_2",
            tokenizer="tokenizer_2",
            ldm="conditioner.embedders.1.",
            lora="lora_te2_",
            inversion="clip_g",
            width=1280,
            layer=2,
            normalised=False,
            pooled=True,
        ),
    ),
    native=(1024, 1024),
    side_max=2048,
    aspects=(
        (1152, 896), (1216, 832), (1344, 768), (1536, 640),
        (896, 1152), (832, 1216), (768, 1344), (640, 1536),
    ),
    latent=Latent(scale=0.13025, force_upcast=True),
    depth=10,
    adapter_px=16,
    called=("sdxl", "stable-diffusion-xl-v1"),
    added=("text_embeds", "time_ids"),
    supports=EVERYTHING,
    empty_is_zero=True,
    guidance=6.0,
    # Its second encoder reads sentences, and without a negative prompt it is guided away from zeros, as it was trained.
    added_prompt="",
    negative="",
    preview="taesdxl",
)  # fmt: skip

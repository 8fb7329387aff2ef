"""Stable Diffusion 2: OpenCLIP ViT-H, whose last block was never used and is left out of the files."""

from controlnet_core.families.base import Family, TextEncoder

FAMILY = Family(
    key="sd21",
    title="SD 2.1",
    context_width=1024,
    text=(TextEncoder(width=1024),),
    native=(768, 768),
    preview="taesd",
    called=("sd_v2", "stable-diffusion-v2"),
)

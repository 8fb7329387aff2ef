"""Stable Diffusion 1 (Rombach et al. 2022), to whose latest version, 1.5, most community models go back."""

from controlnet_core.families.base import Family

FAMILY = Family(
    key="sd15",
    title="SD 1.5",
    context_width=768,
    preview="taesd",
    adapter_px=8,
    called=("sd_v1", "stable-diffusion-v1"),
)

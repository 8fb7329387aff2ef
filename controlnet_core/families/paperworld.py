"""The embedded model: a miniature that knows a few hundred words and makes its latents by itself."""

from controlnet_core.families.base import Family, Latent, TextEncoder

FAMILY = Family(
    key="paperworld",
    title="Paperworld",
    context_width=128,
    text=(TextEncoder(width=128),),
    native=(256, 256),
    latent=Latent(channels=24, scale=1.0, vae_scale_factor=8),
    # Reference-only moved its pictures by less than half a level of 255, in one step and in twenty.
    supports=frozenset({"negative", "training", "transfer"}),
    added_prompt="",
    negative="",
    training={"rate": 1e-3, "batch": 8, "clip": 1.0, "warmup": 50, "decay": 0.4, "ema": 0.99, "awake": True},
)

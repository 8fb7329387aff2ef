"""The samplers of recipes: their names here and elsewhere, and which spacings of noise levels each of them takes.

    named("DPM++ SDE Karras")          # Named("dpmpp_sde", "karras")
    named("Euler", "SGM Uniform")      # Named("euler", "sgm_uniform")

How they compute stands in `diffusion.schedulers`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Sampler = Literal[
    "ddim", "euler", "euler_a", "heun", "dpm2", "dpm2_a", "dpmpp_2m", "dpmpp_2m_karras", "dpmpp_2m_sde", "dpmpp_sde", "unipc",
    "lcm", "tcd",
]  # fmt: skip
SAMPLER_TITLES: dict[Sampler, str] = {
    "ddim": "DDIM",
    "euler": "Euler",
    "euler_a": "Euler a",
    "heun": "Heun",
    "dpm2": "DPM2",
    "dpm2_a": "DPM2 a",
    "dpmpp_2m": "DPM++ 2M",
    "dpmpp_2m_karras": "DPM++ 2M Karras",
    "dpmpp_2m_sde": "DPM++ 2M SDE",
    "dpmpp_sde": "DPM++ SDE",
    "unipc": "UniPC",
    "lcm": "LCM",
    "tcd": "TCD",
}
"""The samplers as people know them; the A1111 form writes these names too."""
Spacing = Literal["model", "karras", "exponential", "beta", "sgm_uniform"]
"""Where the noise levels of a run lie: as the model's configuration says, or as another schedule has them."""
SPACING_TITLES: dict[Spacing, str] = {
    "model": "The model's own",
    "karras": "Karras",
    "exponential": "Exponential",
    "beta": "Beta",
    "sgm_uniform": "SGM Uniform",
}
"""The spacings as people know them: what A1111 calls a schedule type and ComfyUI a scheduler."""
_ANY: tuple[Spacing, ...] = get_args(Spacing)
SPACINGS: dict[Sampler, tuple[Spacing, ...]] = {
    **dict.fromkeys(("euler", "heun", "dpm2", "dpm2_a", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_sde"), _ANY),
    "unipc": ("model", "karras", "exponential", "sgm_uniform"),
    "ddim": ("model", "beta", "sgm_uniform"),
    "euler_a": ("model", "sgm_uniform"),
    "lcm": ("model", "sgm_uniform"),
    "tcd": ("model", "sgm_uniform"),
    "dpmpp_2m_karras": ("model",),
}
"""The spacings that each sampler takes. Distilled models know few noise levels: theirs are not spread anew."""
SECOND_ORDER: frozenset[Sampler] = frozenset({"heun", "dpm2", "dpm2_a", "dpmpp_sde"})
"""Samplers that ask the network twice in every step but the last."""
TAKES_ETA: frozenset[Sampler] = frozenset({"ddim", "tcd"})
"""Samplers that add as much noise in every step as `eta` says; TCD's paper calls it gamma."""
_ALIASES: dict[str, Sampler] = {
    **{title.casefold(): key for key, title in SAMPLER_TITLES.items()},
    **{name: key for key in SAMPLER_TITLES for name in (key, f"k_{key}")},
    "euler ancestral": "euler_a", "euler_ancestral": "euler_a", "k_euler_ancestral": "euler_a", "euler_cfg_pp": "euler",
    "dpm_2": "dpm2", "k_dpm_2": "dpm2", "dpm_2_ancestral": "dpm2_a", "k_dpm_2_a": "dpm2_a", "k_dpm_2_ancestral": "dpm2_a",
    "dpm2 ancestral": "dpm2_a", "dpmpp_2m_k": "dpmpp_2m_karras", "dpmpp_2m_sde_gpu": "dpmpp_2m_sde",
    "dpmpp_sde_gpu": "dpmpp_sde", "dpmpp_sde_k": "dpmpp_sde", "heunpp2": "heun", "uni_pc": "unipc", "uni_pc_bh2": "unipc",
    "ddim_v3": "ddim", "plms": "ddim", "lcm test": "lcm",
}  # fmt: skip
_SCHEDULES: dict[str, Spacing] = {
    **{key: key for key in _ANY}, "sgm uniform": "sgm_uniform", "automatic": "model", "none": "model", "uniform": "model",
    "normal": "model", "simple": "model", "": "model",
}  # fmt: skip


@dataclass(frozen=True)
class Named:
    """A sampler that was named; `ignored` is a schedule that it does not take, or that is not known here."""

    sampler: Sampler
    spacing: Spacing = "model"
    ignored: str = ""


def looks(sampler: Sampler, steps: int) -> int:
    """How often a network is asked in so many steps."""
    return 2 * steps - 1 if sampler in SECOND_ORDER else steps


def named(name: str, schedule: str = "") -> Named | None:
    """What another program calls a sampler, the schedule in its name or beside it; None for one that is not known here."""
    plain = name.strip().casefold()
    sampler, spacing, ignored = _ALIASES.get(plain), _SCHEDULES.get(schedule.strip().casefold()), ""
    if sampler is None:
        for ending in ("karras", "exponential"):
            if plain.endswith(ending):
                sampler, spacing = _ALIASES.get(plain.removesuffix(ending).strip(" _")), _SCHEDULES[ending]
    if sampler is None:
        return None
    if sampler == "dpmpp_2m" and spacing == "karras":  # it had a name before spacings had theirs
        return Named("dpmpp_2m_karras")
    if sampler == "dpmpp_2m_karras":
        spacing = "model"
    if spacing is None or spacing not in SPACINGS[sampler]:
        spacing, ignored = "model", schedule.strip() or str(spacing)
    return Named(sampler, spacing, ignored)

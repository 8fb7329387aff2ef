"""What models such as SDXL are told of sizes: their settings, folded, for the few who want them."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from controlnet_core.domain.recipe import TOLD_MAX, MicroConditioning, Told
from controlnet_core.models.catalog import ModelCard
from webapp.application import validation
from webapp.application.studio import Studio
from webapp.ui.session import GenerationState, widget

USUAL = "as the picture"


def section(studio: Studio, at: GenerationState, base: ModelCard) -> None:
    """The folded part of the settings; nothing for families that are told no sizes. Raises InputError."""
    if "micro_conditioning" not in studio.catalog.family(base).supports:
        return
    told = at.choices.micro
    changed = "" if told == MicroConditioning() else ": changed"
    box = st.expander(f"Micro-conditioning{changed}", key=f"{at.key}.micro", on_change="rerun", type="compact")
    if not box.open:
        return
    key = f"{at.key}.{at.round}.micro"
    with box:
        st.caption(
            "SDXL was told of each picture that it learned from how large it had been and how it was cropped. Said of a new "
            "one, a large original size asks for fine detail, a small one for a blurred picture; cropping cuts off the subject."
        )
        left, middle, right = st.columns(3, gap="small")
        with left:
            original = _pair("Original size", f"{key}.original", told.original)
        with middle:
            crop = _pair("Cropped left, top", f"{key}.crop", told.crop if any(told.crop) else None, "0x0")
        with right:
            target = _pair("Target size", f"{key}.target", told.target)
    at.choices = replace(at.choices, micro=MicroConditioning(original=original, crop=crop or (0, 0), target=target))


def _pair(title: str, key: str, now: Told | None, usual: str = USUAL) -> Told | None:
    given = st.text_input(title, key=widget(key, f"{now[0]}x{now[1]}" if now else ""), placeholder=usual)
    return validation.sides(given, 0, TOLD_MAX, title)

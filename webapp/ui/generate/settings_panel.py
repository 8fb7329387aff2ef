"""The settings of a page: everything of a recipe beside prompt and controls, with its default and one reset.

Basics first, then what belongs to the control, the picture to start from, and what only some models can use. Nothing of
it is drawn, or asked of the disk, while the panel is closed. Values are data in `choices`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, get_args

import streamlit as st

from controlnet_core.domain.recipe import PROMPT_MAX, SEED_MAX, Mode
from controlnet_core.domain.samplers import SAMPLER_TITLES, SPACING_TITLES, SPACINGS, TAKES_ETA, Sampler
from controlnet_core.models.catalog import ModelCard
from webapp.application import validation
from webapp.application.choices import LORAS_MAX, Choices, Networks, fitting, quick, quick_missing
from webapp.application.studio import Studio
from webapp.ui.generate import micro_conditioning
from webapp.ui.messages import plain, told
from webapp.ui.session import GenerationState, set_widget, text_widget, typed, widget, widget_value

SIZE_MIN_PX = 256
MODES: dict[Mode, str] = {
    "balanced": "Balanced",
    "prompt": "Prompt first",
    "control": "Control first (guess mode)",
}
WEIGHT_MAX = 2.0
CLIP_SKIP_MAX = 12


class Acting(Protocol):
    """Whatever says how a control acts: the choices of a page, or a layer of a composition."""

    weight: float
    start: float
    end: float
    mode: Mode


@dataclass(frozen=True)
class Section:
    """A further part of the panel that a page brings along: its tab, and what draws it."""

    title: str
    draw: Callable[[], None]


def settings(studio: Studio, at: GenerationState, base: ModelCard, sections: tuple[Section, ...] = ()) -> None:
    """The folded panel. `sections` of the page stand between the basics and the extras."""
    box = st.expander("Settings", key=f"{at.key}.settings", icon=":material/tune:", on_change="rerun")
    if not box.open:
        return
    parts = [
        Section("Basics", lambda: _basics(studio, at, base)),
        *sections,
        Section("Extras", lambda: _extras(studio, at, base)),
    ]
    with box:
        tabs = st.tabs([part.title for part in parts], key=f"{at.key}.tabs", on_change="rerun")
        for tab, part in zip(tabs, parts, strict=True):
            if tab.open:
                with tab, told():
                    part.draw()
        st.button(
            "Reset to defaults",
            key=f"{at.key}.reset",
            icon=":material/restart_alt:",
            type="tertiary",
            on_click=adopt,
            args=(at, Choices.of(base.defaults)),
        )


def adopt(at: GenerationState, choices: Choices) -> None:
    """Make other settings a page's own, and show them."""
    at.choices = choices
    at.round += 1


def acting(key: str, at: Acting) -> None:
    """Strength, window and balance of one control; `key` begins its widgets' keys."""
    weight = st.slider(
        "Control strength",
        0.0,
        WEIGHT_MAX,
        step=0.05,
        key=widget(f"{key}.weight", at.weight),
        help="How strongly the picture follows the control. 0 switches it off.",
    )
    window = st.slider(
        "Acts from, to",
        0.0,
        1.0,
        step=0.05,
        key=widget(f"{key}.window", (at.start, at.end)),
        help="Share of the steps between which the control acts. Ending early leaves the details to the prompt.",
    )
    mode = st.selectbox(
        "Balance",
        list(MODES),
        format_func=MODES.__getitem__,
        key=widget(f"{key}.mode", at.mode),
        help="Who wins where prompt and control disagree.",
    )
    at.weight = validation.number(weight, 0, WEIGHT_MAX, "The control strength")
    at.start, at.end = validation.span(window, 0, 1, "The window")
    at.mode = validation.choice(mode, get_args(Mode), "The balance")


def network(key: str, offered: Networks, wanted: str | None) -> str | None:
    """The ControlNet of one control, None for the usual one: a choice where there is one. Raises InputError."""
    if offered.lack or offered.note:
        st.caption(f":material/info: {plain(offered.lack or offered.note)}")
    if not offered.titles or list(offered.titles) == [""]:
        return None
    given = st.selectbox(
        "ControlNet",
        list(offered.titles),
        format_func=lambda id: offered.titles.get(id, ""),
        key=widget(f"{key}.network", offered.chosen(wanted) or ""),
        help="ControlNets of your own appear here: trained on the Train page, or put into models/controlnet.",
    )
    return validation.choice(given, tuple(offered.titles), "The ControlNet") or None


def _pace(studio: Studio, at: GenerationState, base: ModelCard) -> None:
    """The model's own way, or a preset of few steps: which sets sampler, steps and guidance, and adds its LoRA."""
    start = base.defaults
    offered = {one.key: one for one in quick(studio.catalog, base)}
    if any(one.lora is None and vars(start).items() >= one.preset.fields.items() for one in offered.values()):
        return  # the model's own way is a quick one
    if not offered:
        for card in quick_missing(studio.catalog, base)[:1]:
            st.caption(plain(f"Pictures in a few steps: download {card.title} on the Models page."))
        return
    alike = {one.title for one in offered.values() if sum(one.title == other.title for other in offered.values()) > 1}
    titles = {"": "The model's own"} | {
        key: f"{one.title} ({one.lora.title})" if one.lora and one.title in alike else one.title
        for key, one in offered.items()
    }
    chosen = offered.get(at.choices.quick)
    present = chosen.key if chosen and (chosen.lora is None or chosen.key in at.choices.loras) else ""
    key = f"{at.key}.{at.round}.quick"

    def take() -> None:
        wanted = widget_value(key)
        if wanted in titles:
            adopt(at, at.choices.paced(offered.get(wanted), start))

    st.segmented_control(
        "Quick",
        list(titles),
        format_func=titles.__getitem__,
        key=widget(key, present),
        help="Few steps, by a model or LoRA that was made for them. It sets sampler, steps and guidance as its makers do; "
        "change them as you like.",
        required=True,
        on_change=take,
    )


def _basics(studio: Studio, at: GenerationState, base: ModelCard) -> None:
    _pace(studio, at, base)
    key, chosen = f"{at.key}.{at.round}", at.choices
    family = studio.catalog.family(base)
    sizes = tuple(range(SIZE_MIN_PX, family.side_max + 1, 64))
    nearest = min(sizes, key=lambda size: abs(size - chosen.size))
    meant = "The picture's shorter side in pixels; its shape is the canvas's."
    if family.aspects:
        meant = (
            "In pixels, the side of a square picture; other shapes have as many pixels. The shape is the canvas's, and at "
            f"{min(family.native)} the one nearest to it that the model was trained at."
        )
    left, right = st.columns(2, gap="medium")
    with left:
        size = st.select_slider(
            "Size",
            sizes,
            key=widget(f"{key}.size", nearest),
            help=meant,
        )
        images = st.slider("Images", 1, 12, key=widget(f"{key}.images", chosen.images))
        steps = st.slider("Steps", 1, 100, key=widget(f"{key}.steps", chosen.steps))
    with right:
        guidance = st.slider(
            "Guidance scale",
            0.0,
            30.0,
            step=0.1,
            key=widget(f"{key}.guidance", chosen.guidance),
            help="How strongly the prompt pulls. 1 ignores the negative prompt and is twice as fast.",
        )
        sampler = st.selectbox(
            "Sampler",
            list(SAMPLER_TITLES),
            format_func=SAMPLER_TITLES.__getitem__,
            key=widget(f"{key}.sampler", chosen.sampler),
            help="The way from noise to the picture. LCM and TCD suit models that were made for few steps; Heun, DPM2 and "
            "DPM++ SDE ask the model twice a step.",
        )
        sampler = validation.choice(sampler, get_args(Sampler), "The sampler")
        spacings = SPACINGS[sampler]
        spacing = "model"
        if len(spacings) > 1:
            spacing = st.selectbox(
                "Spacing",
                spacings,
                format_func=SPACING_TITLES.__getitem__,
                key=widget(f"{key}.spacing.{sampler}", chosen.spacing if chosen.spacing in spacings else "model"),
                help="Where the noise levels of the steps lie; other programs call it the schedule.",
            )
    with left:
        seed = st.number_input(
            "Seed",
            -1,
            SEED_MAX,
            step=1,
            key=widget(f"{key}.seed", chosen.seed),
            help="-1 takes a new one each time. The same seed gives the same picture.",
        )
    negative = st.text_area(
        "Negative prompt" if guidance != 1 else "Negative prompt (ignored at a guidance scale of 1)",
        height=68,
        key=text_widget(f"{key}.negative", chosen.negative),
    )
    at.choices = replace(
        chosen,
        size=validation.choice(size, sizes, "The size"),
        images=validation.whole(images, 1, 12, "Images"),
        steps=validation.whole(steps, 1, 100, "Steps"),
        guidance=validation.number(guidance, 0, 30, "The guidance scale"),
        sampler=sampler,
        spacing=validation.choice(spacing, spacings, "The spacing"),
        seed=validation.whole(seed, -1, SEED_MAX, "The seed"),
        negative=typed(f"{key}.negative", negative, chosen.negative, PROMPT_MAX, "The negative prompt"),
    )


def _extras(studio: Studio, at: GenerationState, base: ModelCard) -> None:
    """Variations, what DDIM and the text encoder can do, and models that are added to the base model."""
    key, chosen = f"{at.key}.{at.round}", at.choices
    added = st.text_input("Added to the prompt", key=widget(f"{key}.added", chosen.added_prompt))
    left, right = st.columns(2, gap="medium", vertical_alignment="bottom")
    with left:
        variation = st.slider(
            "Variation",
            0.0,
            1.0,
            step=0.01,
            key=widget(f"{key}.variation", chosen.variation),
            help="Pictures that resemble the one of the seed: the more, the less alike.",
        )
    with right:
        variation_seed = st.number_input(
            "Variation seed",
            0,
            SEED_MAX,
            step=1,
            key=widget(f"{key}.variation_seed", chosen.variation_seed),
            disabled=not variation,
        )
    values: dict[str, Any] = {
        "added_prompt": validation.text(added, 1000, "The added prompt"),
        "variation": validation.number(variation, 0, 1, "The variation"),
        "variation_seed": validation.whole(variation_seed, 0, SEED_MAX, "The variation seed"),
    }
    if chosen.sampler in TAKES_ETA:
        eta = st.slider(
            "Eta",
            0.0,
            1.0,
            step=0.05,
            key=widget(f"{key}.eta", chosen.eta),
            help="Noise that DDIM and TCD add in every step; 0 adds none.",
        )
        values["eta"] = validation.number(eta, 0, 1, "Eta")
    at.choices = replace(chosen, **values)
    if "clip_skip" not in studio.catalog.family(base).supports:
        st.caption("LoRAs, textual inversions, VAEs and clip skip work with Stable Diffusion models.")
        return
    _text_and_decoder(studio, at, base, key)
    _loras(studio, at, base, key)
    _embeddings(studio, at, base)
    micro_conditioning.section(studio, at, base)


def _text_and_decoder(studio: Studio, at: GenerationState, base: ModelCard, key: str) -> None:
    chosen = at.choices
    skip = st.slider(
        "Clip skip",
        1,
        CLIP_SKIP_MAX,
        key=widget(f"{key}.clip_skip", chosen.clip_skip),
        help="Which of the text encoder's layers is read, from the last. Some models were made for 2.",
    )
    at.choices = replace(chosen, clip_skip=validation.whole(skip, 1, CLIP_SKIP_MAX, "Clip skip"))
    vaes = {"": "The model's own"} | {card.id: card.title for card in fitting(studio.catalog, base, "vae")}
    if len(vaes) == 1:
        return
    present = chosen.vae if chosen.vae in vaes else ""
    vae = st.selectbox(
        "VAE",
        list(vaes),
        format_func=vaes.__getitem__,
        key=widget(f"{key}.vae", present),
        help="What turns the model's result into pixels: colours and small details are its own.",
    )
    at.choices = replace(at.choices, vae=validation.choice(vae, tuple(vaes), "The VAE") or None)


def _loras(studio: Studio, at: GenerationState, base: ModelCard, key: str) -> None:
    titles = {card.id: card.title for card in fitting(studio.catalog, base, "lora")}
    if not titles:
        st.caption("No LoRA for this model yet: put its file into `models/loras` and it appears here.")
        return
    present = [lora for lora in at.choices.loras if lora in titles]
    chosen = st.multiselect(
        "LoRAs",
        list(titles),
        format_func=titles.__getitem__,
        key=widget(f"{key}.loras", present),
        max_selections=LORAS_MAX,
        placeholder="None",
    )
    loras: dict[str, float] = {}
    for lora in chosen:
        validation.choice(lora, tuple(titles), "The LoRA")
        weight = st.slider(
            f"Weight of {plain(titles[lora])}",
            -2.0,
            2.0,
            step=0.05,
            key=widget(f"{key}.lora.{lora}", at.choices.loras.get(lora, 1.0)),
        )
        loras[lora] = validation.number(weight, -2, 2, "The weight of a LoRA")
    at.choices = replace(at.choices, loras=loras)


def _embeddings(studio: Studio, at: GenerationState, base: ModelCard) -> None:
    titles = {card.id: card.title for card in fitting(studio.catalog, base, "embedding")}
    if not titles:
        st.caption("Textual inversions go into `models/embeddings`; the prompt calls them by name.")
        return
    key = f"{at.key}.embedding"

    def add() -> None:
        word = widget_value(key)
        if word in titles:
            at.prompt = f"{at.prompt}, {word}" if at.prompt.strip() else str(word)
            set_widget(f"{at.key}.prompt", at.prompt)
        set_widget(key, None)

    st.pills(
        "Textual inversions: a click adds one to the prompt", list(titles), format_func=plain, key=key, on_change=add
    )
    st.caption(plain("Or write its name where it belongs, also into the negative prompt."))

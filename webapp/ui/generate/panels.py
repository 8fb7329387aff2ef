"""The parts of a studio page: prompt, editor, result. Each draws itself for one `ConditionPage`, most for any `GenerationState`.

They know Streamlit and the studio, and nothing about any one condition: what differs between conditions comes from its
`ControlType`. Where documents come from stands in `webapp.ui.drawing.sources`, the settings in `tuning`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import partial
from typing import Any

import streamlit as st

import components
from controlnet_core.domain import amounts, picture
from controlnet_core.domain import document as documents
from controlnet_core.domain.control import ControlType
from controlnet_core.domain.errors import InputError
from controlnet_core.domain.recipe import PROMPT_MAX, SEED_MAX, Recipe, parse
from controlnet_core.execution.dispatcher import NOBODY_DRAWS, Status, nobody_draws
from controlnet_core.models.catalog import ModelCard
from webapp.application.choices import Choices, Networks, networks_for
from webapp.application.recipe_builder import Draft
from webapp.application.studio import Studio
from webapp.ui import page_state_store, theme, visitor
from webapp.ui.drawing.shapes import with_shapes
from webapp.ui.drawing.sources import first_document
from webapp.ui.fields import param_fields
from webapp.ui.generate import estimate, init_image, live, references, settings_panel, sheet
from webapp.ui.generate.picture_source import Drawn
from webapp.ui.messages import places, plain, told
from webapp.ui.models import choice
from webapp.ui.session import (
    ConditionPage,
    GenerationState,
    go_to,
    page_state,
    set_widget,
    text_widget,
    typed,
    widget_value,
)

CANVAS_PX = 512
WARM_S = 2.0
"""How often a page looks whether a worker is up by now."""
CHIPS = (
    "turtle", "balloon", "robot", "house", "tree", "boat", "person", "red", "blue", "green", "sea", "city", "sunset",
    "night", "snow",
)  # fmt: skip


def model_card(studio: Studio) -> ModelCard:
    """The base model that this session draws with."""
    return choice.base_model(studio)


def open_desk(studio: Studio, control_key: str) -> ConditionPage:
    """The desk of a condition: as it was left here; else with the first example on it. Settings suit the base model."""

    def make() -> ConditionPage:
        document, prompt = first_document(studio.controls[control_key], CANVAS_PX, CANVAS_PX)
        token = visitor.open_document(studio, control_key, documents.encode(document))
        left = page_state_store.recall(studio, control_key, GenerationState) or GenerationState(
            control_key, prompt, Choices()
        )
        return ConditionPage(**{one.name: getattr(left, one.name) for one in fields(GenerationState)}, token=token)

    at = page_state(control_key, make)
    suit(studio, at)
    return at


def suit(studio: Studio, at: GenerationState) -> None:
    """Bring the settings to what the present base model suggests, if they were made for another one."""
    card = model_card(studio)
    if at.model != card.id:
        at.model = card.id
        settings_panel.adopt(at, replace(Choices.of(card.defaults), seed=at.choices.seed))


def keep(studio: Studio, at: GenerationState) -> None:
    """Keep the words and settings of a page for its next visit."""
    whole = (
        at
        if not isinstance(at, ConditionPage)
        else GenerationState(**{one.name: getattr(at, one.name) for one in fields(GenerationState)})
    )
    page_state_store.keep(studio, at.key, whole)


def editor(studio: Studio, at: ConditionPage) -> bool:
    """The editor; True in the run that its Ctrl+Enter caused, or that a live picture is kept in."""
    control = _control(studio, at)
    rev, data = studio.documents.read(at.token)
    studio.documents.view(at.token, control.key, at.choices.params)
    edited = components.edit(
        control.editor,
        key=f"{at.control}.editor",
        document=data,
        rev=rev,
        upload_url=f"./studio/documents/{at.token}",
        slot=at.control,
        height=theme.EDITOR_HEIGHT,
        options={**editor_options(studio, control, at.control), "live": live.option(at, at.token)},
        on_live=partial(live.toggle, at),
    )
    live.keep(at, edited.seed)
    return edited.generate


def editor_options(studio: Studio, control: ControlType, name: str) -> dict[str, Any]:
    """What the editor of a condition needs to know; `name` is that of its downloads."""
    return {
        "name": name,
        "document_kind": control.document,
        "sizes": components.SIZES,
        "trained": studio.catalog.classes(model_card(studio)) if control.document == "classes" else [],
        **control.options(),
    }


def prompt(
    studio: Studio, at: GenerationState, placeholder: str = "", beside: Callable[[], None] | None = None
) -> tuple[bool, bool]:
    """Prompt, the words that the model knows, and Generate: whether it was pressed, and whether the prompt can be used.

    `beside` draws what stands beside the button.
    """
    key = text_widget(f"{at.key}.prompt", at.prompt)
    written = st.text_area(
        "Prompt",
        key=key,
        height=72,
        placeholder=placeholder or "What should it be?",
        help="Ctrl+↑ and Ctrl+↓ have the words in hand weigh more or less: (red:1.2).",
    )
    with told() as telling:
        at.prompt = typed(key, written, at.prompt, PROMPT_MAX, "The prompt")
    _word_chips(studio, at, key)
    with st.container(horizontal=True, vertical_alignment="center"):
        pressed = st.button(
            "Generate",
            key=f"{at.key}.generate",
            type="primary",
            icon=":material/play_arrow:",
            width="stretch",
            help="Ctrl+Enter in the editor does the same.",
        )
        if beside is not None:
            beside()
    return pressed, not telling.refused


def placeholder(studio: Studio, at: ConditionPage) -> str:
    """An example prompt that suits the desk's condition."""
    return _control(studio, at).placeholder


def _word_chips(studio: Studio, at: GenerationState, prompt_key: str) -> None:
    known = set(studio.catalog.words(model_card(studio)))
    words = [word for word in CHIPS if word in known]
    if not words:
        return
    key = f"{at.key}.word"

    def add() -> None:
        word = widget_value(key)
        if word in words:
            before = at.prompt.rstrip(" ,")
            set_widget(prompt_key, f"{before}, {word}" if before else word)
        set_widget(key, None)

    st.pills("Words", words, format_func=plain, key=key, on_change=add, label_visibility="collapsed", wrap=True)


def recipe(studio: Studio, at: ConditionPage) -> Recipe:
    """What the desk asks for. Raises StudioError."""
    chosen = at.choices
    document = with_shapes(at, studio.documents.latest(at.token)[1])
    draft = Draft(
        at.control,
        document,
        chosen.params,
        weight=chosen.weight,
        start=chosen.start,
        end=chosen.end,
        mode=chosen.mode,
        network=networks(studio, at).chosen(chosen.network) if chosen.weight else None,
        found=studio.photo_detections.found(at.token),
    )
    return recipe_of(studio, at, [draft], (document.width, document.height))


def recipe_of(studio: Studio, at: GenerationState, drafts: list[Draft], canvas: tuple[int, int]) -> Recipe:
    """The recipe for controls on a canvas of `canvas` (width, height) pixels. Raises StudioError."""
    card = model_card(studio)
    width, height = at.choices.picture_size(canvas, studio.catalog.family(card))
    return studio.builder.for_base(
        card,
        drafts,
        prompt=at.prompt,
        width=width,
        height=height,
        source=init_image.source(studio, at, canvas),
        references=references.of_recipe(studio, at, card),
        **at.choices.fields(studio.catalog, card, at.prompt),
    )


def control_settings(studio: Studio, at: ConditionPage, make: Callable[[], Recipe]) -> None:
    """The section of the settings about the page's only control."""
    at.choices.network = settings_panel.network(f"{at.key}.{at.round}", networks(studio, at), at.choices.network)
    settings_panel.acting(f"{at.key}.{at.round}", at.choices)
    at.choices.params = param_fields(f"{at.key}.{at.round}.drawn", _control(studio, at).params, at.choices.params)
    sheet.button(studio, at, make, 0, at.choices, _control(studio, at).title)


def networks(studio: Studio, at: ConditionPage) -> Networks:
    """The ControlNets that can carry the page's control."""
    return networks_for(studio.catalog, model_card(studio), _control(studio, at))


def generate(studio: Studio, at: GenerationState, make: Callable[[], Recipe]) -> bool:
    """Queue the recipe that `make` builds; False where it was refused, which is said."""
    with told() as telling:
        at.job = studio.submit(visitor.session(), live.kept(at, make()), owner=visitor.workspace())
    return not telling.refused


def canvas_of(studio: Studio, token: str) -> tuple[int, int]:
    """Width and height of a drawing, in pixels."""
    document = studio.documents.latest(token)[1]
    return document.width, document.height


def on_canvas(studio: Studio, at: ConditionPage) -> list[Drawn]:
    """The pictures that lie on a page's canvas: the drawing as its network sees it, and the photo that it was found in."""
    title, chosen = _control(studio, at).title, at.choices.params

    def rendered() -> bytes:
        return picture.to_png(studio.render(at.control, studio.documents.latest(at.token)[1], chosen))

    studio.documents.view(at.token, at.control, chosen)
    found = [Drawn(title, f"./studio/control/{at.token}.png?rev={studio.documents.read(at.token)[0]}", rendered)]
    photo = studio.photo_detections.of(at.token).photo
    if photo:
        shown = visitor.photo_url(studio, photo, canvas_of(studio, at.token), "crop")
        found.append(Drawn("Photo", shown, lambda: studio.blobs.get(photo)))
    return found


def results(
    studio: Studio,
    at: GenerationState,
    make: Callable[[], Recipe],
    canvas: tuple[int, int],
    control: str | None,
    drawn: str | None = None,
) -> None:
    """The place of the result: progress, preview, pictures and what can be done with them.

    `control` is the token of the drawing that can be laid over the result, `drawn` that of the drawing whose live pictures are
    shown.
    """
    stream = studio.events.stream(visitor.session())
    job, pictures = _job_and_pictures(studio, at)
    action = components.results(
        key=f"{at.key}.results",
        events_url=f"./studio/events/{stream}",
        cancel_url=f"./studio/jobs/{stream}/cancel/{job}" if job else None,
        job=job,
        pictures=pictures,
        control_url=f"./studio/control/{control}.png" if control else None,
        aspect=canvas,
        images=at.choices.images,
        height=theme.RESULT_HEIGHT,
        actions=("keep", "vary"),
        live=live.address(at, drawn),
    )
    if action is None or at.job is None:
        return
    if action.kind == "keep":
        with told():
            made = parse(studio.queue.get(at.job).work)
            counted = "variation_seed" if made.variation_strength else "seed"
            value = (getattr(made, counted) + action.picture) % (SEED_MAX + 1)
            settings_panel.adopt(at, replace(at.choices, **{"seed": made.seed, counted: value}))
            st.rerun(scope="fragment")
    elif action.kind == "vary":
        settings_panel.adopt(at, replace(at.choices, seed=-1))
        generate(studio, at, make)
        st.rerun(scope="fragment")


def _job_and_pictures(studio: Studio, at: GenerationState) -> tuple[str | None, list[components.ResultPicture]]:
    """The job that the pane is to follow; for one of an earlier visit that is over, its pictures instead."""
    if at.job is None:
        return None, []
    try:
        entry = studio.queue.get(at.job)
    except InputError:
        at.job = None
        return None, []
    if entry.session == visitor.session():
        return at.job, []
    if not entry.over:
        # A server that was started again does not know whose its events are.
        studio.events.stream(entry.session, entry.owner)
        return at.job, []
    found = studio.pictures(entry.kept)
    return None, [components.ResultPicture(one.url, one.name, one.seed) for one in found]


Carried = Sequence[tuple[Networks, str | None]]
"""The controls that act: the ControlNets that may carry each of them, and the one that is wanted."""


def lacking(carried: Carried) -> Networks | None:
    """The first control that acts for which the base model has no ControlNet here."""
    return next((offered for offered, _ in carried if offered.lack), None)


def answer(
    studio: Studio,
    at: GenerationState,
    make: Callable[[], Recipe],
    canvas: tuple[int, int],
    carried: Carried,
    *,
    pressed: bool,
    worded: bool,
) -> None:
    """Below Generate: queue what was asked for, where it was `pressed`; say what it takes, or what is missing and the way there.

    A refusal says itself what is missing, and is not said twice; nor is that the prompt cannot be used (`worded`).
    """
    missing = lacking(carried)
    if missing is not None:
        if pressed:
            st.warning(plain(missing.lack), icon=":material/info:")
        else:
            st.caption(f":material/info: {plain(missing.lack)}")
        _offer(studio, at, missing)
    elif worded and (not pressed or generate(studio, at, make)):
        _prospect(studio, at, canvas, carried)


def _prospect(studio: Studio, at: GenerationState, canvas: tuple[int, int], carried: Carried) -> None:
    """What Generate would take: time, memory where it matters, and which ControlNets."""
    networks = [(offered.control.key, offered.chosen(wanted)) for offered, wanted in carried]
    card = model_card(studio)
    size = at.choices.picture_size(canvas, studio.catalog.family(card))
    text = estimate.sentence(studio, at, card, size, networks)
    for (offered, _), (_, name) in zip(carried, networks, strict=True):
        if name is not None:  # not the usual one
            text += f" {offered.control.title} uses the ControlNet “{offered.titles[name]}”."
    st.caption(plain(text))
    if why := references.left_out(studio, at, card):
        st.caption(f":material/info: {plain(why)}")


def _offer(studio: Studio, at: GenerationState, lacking: Networks) -> None:
    """The way to what a control needs: the Models page, with its downloads begun."""
    size = sum(card.size_mib for card in lacking.missing)
    wanted = " and ".join(card.title for card in lacking.missing)
    words = f"Download {plain(wanted)} ({amounts.size(size << 20)})" if size else "Open Models"
    icon = ":material/download:" if size else ":material/deployed_code:"
    if st.button(words, key=f"{at.key}.offer", icon=icon, width="stretch"):
        with told() as telling:
            for card in lacking.missing:
                studio.library.download(card.id)
        if not telling.refused:
            go_to("models")


def model_line(studio: Studio) -> None:
    """Which model draws, where, what it knows, and whether the worker is warm: as long as none is, it looks again."""
    waits = not _working(studio.dispatcher.statuses())

    @st.fragment(run_every=WARM_S if waits else None)
    def line() -> None:
        if waits and _working(studio.dispatcher.statuses()):
            st.rerun()  # whole: so the page looks no more, and says what it knows of the device elsewhere, too
        _model_line(studio)

    line()


def _working(statuses: Sequence[Status]) -> list[Status]:
    """The workers that can say where they are."""
    return [status for status in statuses if status.state in ("ready", "busy", "broken")]


def _model_line(studio: Studio) -> None:
    card = model_card(studio)
    statuses = studio.dispatcher.statuses()
    broken = [status for status in statuses if status.state == "broken"]
    if broken and len(broken) == len([status for status in statuses if status.state != "gone"]):
        st.warning("The engine cannot start; data/studio.log says why. You can draw, but not generate.")
    elif broken:
        st.warning(f"{plain(broken[0].device)} cannot draw: {plain(broken[0].text)} The others draw.")
    elif nobody_draws(statuses):
        st.warning(NOBODY_DRAWS)
    for status in statuses:
        if status.state == "starting" and status.text:
            st.warning(plain(status.text))
    words = len(studio.catalog.words(card))
    where = places([status.device for status in _working(statuses)])
    starting = any(status.state == "starting" for status in statuses)
    parts = [
        plain(card.title),
        where or ("warming up, you can draw already" if starting else ""),
        *(f"{plain(status.device)} is training" for status in statuses if status.state == "lent"),
        *(f"{plain(status.device)} was lost" for status in statuses if status.state == "gone"),
        f"knows about {round(words, -1)} words" if words else "",
        "more under Models",
    ]
    st.caption(":material/deployed_code: " + " · ".join(part for part in parts if part))


def _control(studio: Studio, at: ConditionPage) -> ControlType:
    return studio.controls[at.control]

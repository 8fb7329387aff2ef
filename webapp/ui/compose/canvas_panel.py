"""The middle of the Compose page: the chosen layer's editor, its mask, or what the model sees; examples and the photo."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from html import escape
from typing import Any, cast, get_args

import streamlit as st

import components
from components.mount import task
from controlnet_core.domain import picture
from controlnet_core.domain.control import Value
from controlnet_core.domain.recipe import Recipe, Resize
from webapp.application import validation
from webapp.application.examples import scene
from webapp.application.layers import covers
from webapp.application.studio import Studio
from webapp.ui import theme, visitor
from webapp.ui.compose import reference_panel, state
from webapp.ui.compose.layers_panel import RESIZES, TINTS, address
from webapp.ui.compose.state import KEY, Composition, Layer, View
from webapp.ui.fields import param_fields
from webapp.ui.generate import live, panels, references, settings_panel
from webapp.ui.generate.picture_source import Drawn
from webapp.ui.messages import plain, told
from webapp.ui.session import remember, remembered, set_widget, widget, widget_value

VIEWS: dict[View, str] = {"draw": "Draw", "mask": "Where it acts", "sees": "What the model sees"}
KINDS = ["png", "jpg", "jpeg", "webp"]
THUMB_PX = 192


def show(studio: Studio, at: Composition) -> bool:
    """The editor of the chosen layer, its mask, or what the model sees; True in the run that Ctrl+Enter caused."""
    _bar(studio, at)
    layer = at.layer
    if at.reference is not None and at.view != "sees":
        reference_panel.picture(studio, at, at.reference, on_canvas(studio, at))
        return False
    if layer is None and not at.references:
        st.info("Nothing here yet. Add a layer on the left.", icon=":material/layers:")
        return False
    if layer is None or at.view == "sees":
        _seen(studio, at)
        return False
    return _editor(studio, at, layer, mask=at.view == "mask" and layer.masked)


def _bar(studio: Studio, at: Composition) -> None:
    layer = at.layer
    offered = [view for view in VIEWS if view != "mask" or (layer is not None and layer.masked)]
    key = f"{KEY}.view.{at.view}.{len(offered)}.{at.reference is None}"

    def take() -> None:
        chosen = widget_value(key)
        if chosen in VIEWS:
            at.view = cast("View", chosen)

    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.segmented_control(
            "View",
            offered,
            format_func=lambda view: "Picture" if view == "draw" and at.reference is not None else VIEWS[view],
            key=widget(key, at.view if at.view in offered else "draw"),
            on_change=take,
            required=True,
            label_visibility="collapsed",
        )
        examples = st.popover("Examples", icon=":material/auto_awesome:", key=f"{KEY}.examples", on_change="rerun")
        if examples.open:
            with examples:
                _examples(studio, at)
        photo = st.popover("Photo", icon=":material/add_photo_alternate:", key=f"{KEY}.photo", on_change="rerun")
        if photo.open:
            with photo, told():
                _photo(studio, at)
    with told():
        _fill(studio, at)
    _follow(studio, at)


def _editor(studio: Studio, at: Composition, layer: Layer, *, mask: bool) -> bool:
    control = studio.control(layer.control)
    token = state.token(studio, layer, at.frame, mask=mask)
    rev, data = studio.documents.read(token)
    options: dict[str, Any] = panels.editor_options(studio, control, layer.control)
    if mask:
        options = {"name": f"{layer.control}-mask", "document_kind": "mask", "brush_px": 48, "mask": True}
    edited = components.edit(
        "scribble" if mask else control.editor,
        key=f"{layer.slot}.{'mask' if mask else 'draw'}.editor",
        document=data,
        rev=rev,
        upload_url=f"./studio/documents/{token}",
        slot=f"{layer.slot}.mask" if mask else layer.slot,
        height=theme.EDITOR_HEIGHT,
        options={
            **options,
            "sizes": components.SIZES | {"fixed": True},
            "layers": _beneath(studio, at, None if mask else layer),
            "live": None if mask else live.option(at, token),
        },
        on_live=partial(live.toggle, at),
    )
    live.keep(at, edited.seed)
    return edited.generate


def prepare_live(studio: Studio, at: Composition, make: Callable[[], Recipe], *, possible: bool) -> str | None:
    """Have the picture follow the pen on the chosen layer, if the page is live; returns its drawing's token.

    Where no drawing is open, or a layer that is left out, nothing moves: then there is none, and the page says so. `possible`: see
    `live.prepare`.
    """
    layer = at.layer
    if layer is None:
        live.rests(at, "it follows the pen. Choose a layer and draw; references act on its pictures, too.")
        return None
    if layer not in at.acting or at.view != "draw":
        left_out = layer not in at.acting
        live.rests(at, "this layer is left out." if left_out else "it follows the drawing. Choose Draw.")
        return None
    token = state.token(studio, layer, at.frame)
    live.prepare(studio, at, token, make, layer.params, at.acting.index(layer), possible=possible)
    return token


def _beneath(studio: Studio, at: Composition, edited: Layer | None) -> list[dict[str, Any]]:
    """What lies under the drawing, from the bottom up: the photo, then every other layer that counts."""
    found: list[dict[str, Any]] = []
    # The editor lays them over a drawing that would hide them.
    over = edited is not None and covers(studio.control(edited.control))
    if at.photo:
        found.append(
            {"url": visitor.photo_url(studio, at.photo, at.frame, at.photo_resize), "opacity": 0.3 if over else 0.6}
        )
    for index, layer in reversed(list(enumerate(at.layers))):
        if layer is edited or not layer.shown or state.is_empty(studio, layer, at.frame):
            continue
        opaque = covers(studio.control(layer.control))
        opacity = (0.3 if over else 0.45) if opaque else 0.9
        found.append({"url": address(studio, at, layer, "layers", TINTS[index]), "opacity": opacity})
    return found


def _seen(studio: Studio, at: Composition) -> None:
    """Every control's picture as the network gets it."""
    width, height = at.choices.picture_size(at.frame, studio.catalog.family(panels.model_card(studio)))
    figures: list[str] = []
    for index, layer in enumerate(at.layers):
        control = studio.control(layer.control)
        words = f"{layer.weight:g} × from {layer.start:.0%} to {layer.end:.0%}" if layer.shown else "left out"
        if layer.shown and layer.mode != "balanced":
            words += f", {settings_panel.MODES[layer.mode].split(' (')[0].lower()}"
        veil = ""
        if layer.masked and state.mask_of(studio, layer, at.frame):
            veil = f'<img class="veil" alt="" src="{address(studio, at, layer, "control", mask=True)}">'
        figures.append(
            f'<figure class="{"" if layer.shown else "faint"}" style="--tint:#{TINTS[index]}">'
            f'<div style="aspect-ratio:{width}/{height}"><img alt="{escape(control.title)}" '
            f'src="{address(studio, at, layer, "control")}">{veil}</div>'
            f"<figcaption><b>{escape(control.title)}</b> {words}</figcaption></figure>"
        )
    for number, one in enumerate(at.references):
        if one.picture:
            words = f"{one.weight:g} × from {one.start:.0%} to {one.end:.0%}" if one.shown else "left out"
            figures.append(
                f'<figure class="{"" if one.shown else "faint"}" style="--tint:transparent"><div style="aspect-ratio:1">'
                f'<img alt="Reference {number + 1}" src="{references.address(studio, at, number)}"></div>'
                f"<figcaption><b>Reference {number + 1}</b> {words}</figcaption></figure>"
            )
    st.html(f'<div class="seen">{"".join(figures)}</div>')
    said: list[str] = []
    if at.layers:
        said = [
            f"The ControlNets get these at {width} × {height} px.",
            "A control does not act where its picture is greyed out.",
        ]
    if any(one.picture for one in at.references):
        said.append("Of a reference, an IP-Adapter sees a square; reference-only what fills the frame.")
    st.caption(" ".join(said))


def on_canvas(studio: Studio, at: Composition) -> list[Drawn]:
    """The pictures that lie on the canvas: the photo, and every drawing as its network sees it."""
    found: list[Drawn] = []
    if at.photo:
        digest = at.photo
        shown = visitor.photo_url(studio, digest, at.frame, at.photo_resize)
        found.append(Drawn("Photo", shown, lambda: studio.blobs.get(digest)))
    for layer in at.layers:
        if not state.is_empty(studio, layer, at.frame):
            read = partial(_rendered, studio, at, layer)
            found.append(Drawn(studio.control(layer.control).title, address(studio, at, layer, "control"), read))
    return found


def _rendered(studio: Studio, at: Composition, layer: Layer) -> bytes:
    document = studio.documents.latest(state.token(studio, layer, at.frame))[1]
    return picture.to_png(studio.render(layer.control, document, layer.params))


# ---- examples and the photo


def _examples(studio: Studio, at: Composition) -> None:
    st.caption("A layout and people that belong together. Undo in the editors brings your drawings back.")
    columns = st.columns(3)
    for index, seed in enumerate(state.SCENES):
        with columns[index % 3]:
            st.image(_example_thumb(studio, seed), width="stretch")
            st.button(
                scene(seed, "seg").title,
                key=f"{KEY}.example.{seed}",
                width="stretch",
                on_click=_take_example,
                args=(studio, at, seed),
            )


@cache
def _example_thumb(studio: Studio, seed: int) -> Any:
    layout, people = (
        studio.render(control, scene(seed, control).make(THUMB_PX, THUMB_PX)) for control in state.SCENE_CONTROLS
    )
    drawn = people.max(axis=2, keepdims=True) > 0
    return layout * (1 - drawn) + people * drawn


def _take_example(studio: Studio, at: Composition, seed: int) -> None:
    with told():
        state.begin_with(studio, at, seed)
        set_widget(f"{KEY}.prompt", at.prompt)


def _photo(studio: Studio, at: Composition) -> None:
    if at.photo is None:
        st.caption("One photo under all layers: trace it, or let a detector fill a layer from it.")
        file = st.file_uploader("Photo", type=KINDS, key=f"{KEY}.photo.file", label_visibility="collapsed")
        if file is not None:
            at.photo = studio.photos.keep(file.getvalue(), visitor.workspace())
            st.rerun(scope="fragment")
        return
    st.html(
        f'<img class="begin" alt="The photo" src="{visitor.photo_url(studio, at.photo, at.frame, at.photo_resize)}">'
    )
    how = st.selectbox(
        "In the frame", list(RESIZES), format_func=RESIZES.__getitem__, key=widget(f"{KEY}.photo.how", at.photo_resize)
    )
    at.photo_resize = validation.choice(how, get_args(Resize), "The way to resize")
    if at.layer is not None:
        _detectors(studio, at, at.layer)
    st.button("Remove the photo", icon=":material/close:", type="tertiary", on_click=_drop_photo, args=(at,))


def _detectors(studio: Studio, at: Composition, layer: Layer) -> None:
    control = studio.control(layer.control)
    offered = {detector.key: detector for detector in control.detectors}
    if not offered:
        return
    look = studio.photo_detections.of(state.token(studio, layer, at.frame))
    first = next((one.key for one in control.detectors if not one.weights), next(iter(offered)))
    chosen = st.selectbox(
        f"Find for {control.title}",
        list(offered),
        format_func=lambda key: offered[key].title,
        key=widget(f"{layer.slot}.{at.round}.detector", look.detector if look.detector in offered else first),
    )
    key = validation.choice(chosen, tuple(offered), "The detector")
    values = param_fields(f"{layer.slot}.{at.round}.{key}.drawn", offered[key].params, look.values.get(key, {}))
    # Kept until it is done: closing the panel at once starts another run, which may overtake the one of the press.
    st.button(
        "Fill the layer from the photo",
        key=f"{layer.slot}.detect",
        type="primary",
        width="stretch",
        on_click=remember,
        args=(f"{KEY}.wanted", (key, values)),
    )


def detect(studio: Studio, at: Composition, layer: Layer, detector: str, values: Mapping[str, Value]) -> None:
    """Fill a layer with what a detector finds in the photo: at once, or by a job. Raises StudioError."""
    photo = state.photo_in_frame(studio, at)
    if photo is None:
        return
    detection = studio.photos.detection(layer.control, detector, photo, values, size=at.frame)
    found = studio.photos.find(detection)
    if found is not None:
        state.put(studio, layer, found)
        studio.photo_detections.note(visitor.workspace(), layer.slot, detection)
        return
    job = studio.submit(visitor.session(), detection, owner=visitor.workspace(), slot=layer.slot)
    remember(f"{KEY}.detection", job)


def _fill(studio: Studio, at: Composition) -> None:
    """Do what "Fill the layer" asked for, whether or not its panel is still open."""
    wanted: tuple[str, dict[str, Value]] | None = remembered(f"{KEY}.wanted", None)
    if wanted is not None and at.layer is not None:
        remember(f"{KEY}.wanted", None)
        detect(studio, at, at.layer, *wanted)
        st.rerun()


def _drop_photo(at: Composition) -> None:
    at.photo = None


def _follow(studio: Studio, at: Composition) -> None:
    """The line of a detector at work, and what came of it."""
    job = remembered(f"{KEY}.detection", "")
    if not job:
        return
    entry = studio.queue.get(job)
    if entry.over:
        if entry.state == "failed":
            st.warning(plain(f"{entry.text} {entry.hint}"))
        remember(f"{KEY}.detection", "")
        return
    stream = studio.events.stream(visitor.session())
    ended = task(
        key=f"{KEY}.task",
        events_url=f"./studio/events/{stream}",
        cancel_url=f"./studio/jobs/{stream}/cancel/{job}",
        job=job,
    )
    if ended:
        st.rerun(scope="fragment")


def overlaid(studio: Studio, at: Composition) -> str | None:
    """The token of the drawing that the result pane can lay over the picture: the chosen layer's."""
    return state.token(studio, at.layer, at.frame) if at.layer else None

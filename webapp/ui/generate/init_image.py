"""The picture that a page's results start from, and what of it is to change: img2img and inpainting.

The picture is a blob; the mask is a drawing like any other, kept open under the page's name and painted with the
scribble editor over the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import get_args

import numpy as np
import streamlit as st

import components
from controlnet_core.domain import document as documents
from controlnet_core.domain import picture
from controlnet_core.domain.document import Raster
from controlnet_core.domain.errors import InputError
from controlnet_core.domain.recipe import Fill, Source
from webapp.application import validation
from webapp.application.choices import InitImageChoice
from webapp.application.layers import placed
from webapp.application.studio import Studio
from webapp.ui import theme, visitor
from webapp.ui.generate import picture_source
from webapp.ui.generate.picture_source import Drawn
from webapp.ui.session import GenerationState, widget

GALLERY_MAX = 8
BRUSH_PX = 48
FILLS: dict[Fill, str] = {"original": "The picture itself", "noise": "Nothing: something new"}


def section(studio: Studio, at: GenerationState, canvas: tuple[int, int], drawn: Sequence[Drawn] = ()) -> None:
    """The part of the settings about the picture to start from; `drawn` are those on the canvas, which it may be."""
    if at.begin is None:
        st.caption("Start from a picture instead of noise: all of it changes a little, or a part of it a lot.")
        take = partial(begin_with, studio, at)
        picture_source.choose(studio, f"{at.key}.begin", at.round, GALLERY_MAX, take, drawn)
        return
    begin, key = at.begin, f"{at.key}.begin.{at.round}"
    left, right = st.columns([1, 2], gap="medium")
    with left:
        shown = visitor.photo_url(studio, begin.picture, canvas, "crop")
        st.html(f'<img class="begin" alt="The picture to start from" src="{shown}">')
        st.button("Remove", key=f"{key}.remove", icon=":material/close:", type="tertiary", on_click=_drop, args=(at,))
    with right:
        strength = st.slider(
            "How much changes",
            0.05,
            1.0,
            step=0.05,
            key=widget(f"{key}.strength", begin.strength),
            help="A little keeps nearly everything of the picture; 1 keeps next to nothing.",
        )
        masked = st.toggle(
            "Change only a part",
            key=widget(f"{key}.masked", begin.masked),
            help="What you paint over the picture is made anew, the rest stays.",
        )
        at.begin = replace(
            begin,
            strength=validation.number(strength, 0.05, 1, "How much changes"),
            masked=validation.flag(masked),
            painting=begin.painting and masked,
        )
        if masked:
            if not begin.masked:
                at.begin.painting = True
                st.rerun(scope="fragment")
            _mask_settings(at, key)


def _mask_settings(at: GenerationState, key: str) -> None:
    begin = at.begin
    assert begin is not None
    st.button(
        "Back to the drawing" if begin.painting else "Paint what changes",
        key=f"{key}.paint",
        icon=":material/undo:" if begin.painting else ":material/brush:",
        on_click=_paint,
        args=(at, not begin.painting),
        width="stretch",
    )
    fill = st.selectbox(
        "The painted part starts from",
        list(FILLS),
        format_func=FILLS.__getitem__,
        key=widget(f"{key}.fill", begin.fill),
    )
    blur = st.slider("Soft edge, px", 0, 64, key=widget(f"{key}.blur", begin.blur_px))
    begin.fill = validation.choice(fill, get_args(Fill), "The filling")
    begin.blur_px = validation.whole(blur, 0, 64, "The soft edge")


def begin_with(studio: Studio, at: GenerationState, data: bytes, title: str = "") -> None:
    """Start from a picture (the bytes of its file). Raises InputError, NoSpace."""
    at.begin = InitImageChoice(studio.photos.keep(data, visitor.workspace()), title[:80])
    at.round += 1


def _drop(at: GenerationState) -> None:
    at.begin = None
    at.round += 1


def _paint(at: GenerationState, painting: bool) -> None:
    if at.begin is not None:
        at.begin.painting = painting


def painting(at: GenerationState) -> bool:
    """Whether the mask is to be shown in place of the drawing."""
    return at.begin is not None and at.begin.painting


def editor(studio: Studio, at: GenerationState, canvas: tuple[int, int]) -> bool:
    """The picture with the mask over it, for painting; True in the run that its Ctrl+Enter caused."""
    assert at.begin is not None
    st.button("Back to the drawing", key=f"{at.key}.unpaint", icon=":material/undo:", on_click=_paint, args=(at, False))
    token = _mask(studio, at, canvas)
    rev, data = studio.documents.read(token)
    edited = components.edit(
        "scribble",
        key=f"{at.key}.change.editor",
        document=data,
        rev=rev,
        upload_url=f"./studio/documents/{token}",
        slot=f"{at.key}.change",
        height=theme.EDITOR_HEIGHT,
        options={
            "name": "mask",
            "document_kind": "mask",
            "sizes": components.SIZES | {"fixed": True},
            "brush_px": BRUSH_PX,
            "mask": True,
            "layers": [{"url": visitor.photo_url(studio, at.begin.picture, canvas, "crop"), "opacity": 1}],
        },
    )
    return edited.generate


def source(studio: Studio, at: GenerationState, canvas: tuple[int, int]) -> Source | None:
    """The part of a recipe. Raises InputError when only a part is to change and nothing is painted."""
    if at.begin is None:
        return None
    if not at.begin.masked:
        return at.begin.source(None)
    document = studio.documents.latest(_mask(studio, at, canvas))[1]
    assert isinstance(document, Raster)
    if not document.pixels.any():
        raise InputError(
            "Nothing is painted yet.", "Paint over what should change, or switch off “Change only a part”."
        )
    mask = picture.to_png(picture.hwc3(document.pixels))
    return at.begin.source(studio.blobs.put(mask))


def _mask(studio: Studio, at: GenerationState, canvas: tuple[int, int]) -> str:
    """The token of the mask's drawing, brought to the canvas's size."""
    blank = Raster("mask", np.zeros(canvas[::-1], np.uint8))
    token = visitor.open_document(studio, f"{at.key}.change", documents.encode(blank))
    document = studio.documents.latest(token)[1]
    if (document.width, document.height) != canvas:
        studio.documents.replace(token, documents.encode(placed(document, *canvas, "stretch")))
    return token

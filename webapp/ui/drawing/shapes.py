"""Shapes mode of the pages for lines: movable lines, boxes, circles and polygons over the drawing.

Shapes stay movable vectors (streamlit-drawable-canvas) until they are stamped onto the drawing; until then a picture is made from
drawing and shapes together.
"""

from __future__ import annotations

import zlib
from functools import partial
from typing import Any

import cv2
import numpy as np
import streamlit as st
from PIL import Image

from annotator.colour import INK
from components import mount
from controlnet_core.domain import document as documents
from controlnet_core.domain.document import Document, Raster
from controlnet_core.domain.errors import InputError
from controlnet_core.execution import decoder
from webapp.application import validation
from webapp.application.studio import Studio
from webapp.ui.generate import live
from webapp.ui.messages import told
from webapp.ui.session import ConditionPage, widget

SHOWN_PX = 640
WIDTHS_PX = (2, 4, 6, 8, 12, 16, 24, 32)
OBJECTS_MAX = 500
PIXELS_MAX = (4 * SHOWN_PX) ** 2
"""Of the canvas's picture; dense screens have several pixels for one."""
TOOLS = {"line": "Line", "rect": "Box", "circle": "Circle", "polygon": "Polygon"}
EMPTY: dict[str, Any] = {"objects": []}


def with_shapes(at: ConditionPage, document: Document) -> Document:
    """A drawing with the desk's shapes on it, on white paper in ink; any other document as it is."""
    if at.shapes is None or not isinstance(document, Raster) or document.kind not in ("mask", "rgb"):
        return document
    fitted = cv2.resize(at.shapes, (document.width, document.height), interpolation=cv2.INTER_AREA)
    if document.kind == "mask":
        return Raster("mask", np.maximum(document.pixels, fitted))
    share = fitted[..., None].astype(np.float32) / 255
    inked = document.pixels * (1 - share) + np.array(INK, np.float32) * share
    return Raster("rgb", np.rint(inked).astype(np.uint8))


def canvas(studio: Studio, at: ConditionPage) -> None:
    """The canvas of movable shapes, with the drawing faintly under it."""
    from streamlit_drawable_canvas import st_canvas  # registers itself, which needs a running server

    drawing = studio.documents.latest(at.token)[1]
    if not isinstance(drawing, Raster):
        raise InputError("Shapes go onto drawings only.")
    width = round(SHOWN_PX * min(1, drawing.width / drawing.height))
    height = round(SHOWN_PX * min(1, drawing.height / drawing.width))
    with st.container(horizontal=True, vertical_alignment="center"):
        tool = st.segmented_control(
            "Shape",
            list(TOOLS),
            format_func=TOOLS.__getitem__,
            key=widget("shapes.tool", "rect"),
            label_visibility="collapsed",
        )
        widths = {thickness: f"{thickness} px" for thickness in WIDTHS_PX}
        thickness = st.selectbox(
            "Line width",
            WIDTHS_PX,
            format_func=widths.__getitem__,
            key=widget("shapes.width", 6),
            label_visibility="collapsed",
            width=110,
        )
    faint = 255 - drawing.pixels // 3 if drawing.kind == "mask" else 170 + drawing.pixels // 3
    paper = Image.fromarray(faint).resize((width, height)).convert("RGB")
    drawn = st_canvas(
        fill_color="rgba(0, 0, 0, 0)",
        stroke_width=validation.choice(thickness, WIDTHS_PX, "The width"),
        stroke_color="#000000",
        background_image=paper,
        width=width,
        height=height,
        drawing_mode=validation.choice(tool or "rect", tuple(TOOLS), "The shape"),
        initial_drawing=at.shapes_first,
        return_image_data=True,
        key=f"{at.control}.shapes.{at.shapes_round}",
    )
    with told():
        _take(at, drawn)
    mount.shapes(
        key=f"{at.control}.shapes.live",
        data={
            "live": live.option(at, at.token),
            "document_url": f"./studio/documents/{at.token}",
            "rev": studio.documents.latest(at.token)[0],
            "shapes": 0 if at.shapes is None else zlib.crc32(at.shapes.tobytes()),
        },
        on_keep=partial(live.keep_now, at),
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Stamp onto the drawing",
            icon=":material/approval:",
            on_click=stamp,
            args=(
                studio,
                at,
            ),
            disabled=at.shapes is None,
        )
        st.caption("The pencil above the canvas moves and scales shapes. A double click ends a polygon.")


def stamp(studio: Studio, at: ConditionPage) -> None:
    """Put the shapes onto the drawing for good and begin with none."""
    drawing = studio.documents.latest(at.token)[1]
    studio.documents.replace(at.token, documents.encode(with_shapes(at, drawing)))
    at.shapes, at.shapes_first, at.shapes_round = None, None, at.shapes_round + 1


def _take(at: ConditionPage, drawn: Any) -> None:
    found = drawn.json_data
    if found is None:
        return
    objects = found.get("objects") if isinstance(found, dict) else None
    if not isinstance(objects, list) or len(objects) > OBJECTS_MAX:
        raise InputError("The shapes could not be read.", "Undo the last one.")
    at.shapes_now = found
    try:
        data = drawn.image_bytes  # a text of the browser's, whatever it says
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        raise InputError("The shapes could not be read.", "Undo the last one.") from error
    # Black over white: what is not white is covered. The paper beneath is no part of the picture data.
    seen = 255 - decoder.decode(data, pixels_max=PIXELS_MAX)[:, :, 0] if objects and data is not None else None
    at.shapes = None if seen is None else np.ascontiguousarray(seen)

"""The page of app_seg.py: any editor, as large as the query says."""

from dataclasses import asdict

import numpy as np
import streamlit as st

from annotator import colour, seg
from components import edit
from controlnet_core.domain.document import Document, Raster, Skeleton, encode
from tests.components.app_scribble import DRAWINGS

st.set_page_config(layout="wide")
st.html("<style>.stMainBlockContainer { padding: 3.5rem 1rem 1rem !important; }</style>")
query = st.query_params
kind = query.get("kind", "seg")
slot = query.get("slot", "default")
side = int(query.get("side", "512"))
trained = [int(index) for index in query.get("trained", "").split(",") if index]


def first() -> Document:
    if kind == "pose":
        return Skeleton(width=side, height=side)
    if kind == "scribble":
        return Raster("mask", np.zeros((side, side), np.uint8))
    if kind == "colour":
        return Raster("rgb", np.full((side, side, 3), 255, np.uint8))
    if kind == "seg":
        pixels = np.full((side, side), 2, np.uint8)
        pixels[side // 2 :] = 9
        return Raster("classes", pixels)
    ramp = np.linspace(0, 255, side).astype(np.uint8)
    return Raster("rgb", np.repeat(np.broadcast_to(ramp, (side, side))[..., None], 3, axis=2).copy())


rev, stored = DRAWINGS.get(slot, (0, encode(first())))
result = edit(
    kind,  # type: ignore[arg-type]
    key=f"editor-{kind}",
    document=stored,
    rev=rev,
    upload_url=f"./test/drawings/{slot}",
    slot=f"{kind}-{slot}",
    height=query.get("height", "780") + "px",
    options={
        "name": kind,
        "sizes": {"min": 256, "max": 2048, "step": 64},
        "classes": [asdict(one) for one in seg.classes()],
        "trained": trained,
        "crayons": [{"name": name, "rgb": rgb} for name, rgb in colour.CRAYONS.items()],
    },
)
if result.generate:
    st.write(f"generate {result.rev}")

"""The page of app_scribble.py."""

import numpy as np
import streamlit as st

from components import edit
from controlnet_core.domain.document import Document, Raster, Skeleton, encode

st.set_page_config(layout="wide")
kind = st.query_params.get("kind", "scribble")
slot = st.query_params.get("slot", "default")
side = int(st.query_params.get("side", "512"))
blank: dict[str, Document] = {
    "scribble": Raster("mask", np.zeros((side, side), np.uint8)),
    "seg": Raster("classes", np.zeros((side, side), np.uint8)),
    "pose": Skeleton(width=side, height=side),
    "view": Raster("mask", np.zeros((side, side), np.uint8)),
}
st.session_state["runs"] = st.session_state.get("runs", 0) + 1
result = edit(
    kind,  # type: ignore[arg-type]
    key=f"editor-{kind}",
    document=encode(blank[kind]),
    rev=0,
    upload_url=f"./test/drawings/{slot}",
    slot=slot,
    height=st.query_params.get("height", "780") + "px",
)
st.write(f"runs {st.session_state['runs']}")
if result.generate:
    st.write(f"generate {result.rev}")

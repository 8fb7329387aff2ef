"""A field for each parameter of a detector or a renderer, the same on every page."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from controlnet_core.domain.control import Param, Value
from webapp.ui.session import widget


def param_fields(key: str, params: tuple[Param, ...], present: Mapping[str, Value]) -> dict[str, Value]:
    """Draw a field for each parameter and return what stands in them; `key` begins their keys. Raises InputError."""
    chosen: dict[str, Value] = {}
    for param in params:
        name, now, words = f"{key}.{param.key}", present.get(param.key, param.default), param.help or None
        title = f"{param.title} ({param.unit})" if param.unit else param.title
        given: object
        if param.choices:
            given = st.segmented_control(title, param.choices, key=widget(name, now), help=words, required=True)
        elif isinstance(param.default, bool):
            given = st.toggle(title, key=widget(name, now), help=words)
        else:
            kind = int if isinstance(param.default, int) else float
            low, high, step = kind(param.low), kind(param.high), kind(param.step)
            given = st.slider(title, low, high, step=step, key=widget(name, now), help=words)
        chosen[param.key] = param.check(given)
    return chosen

"""Small buttons that pages share: one that shows only its icon, and one that brings back what was removed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from webapp.ui.messages import plain


def icon(name: str, symbol: str, key: str, run: Callable[..., None], *args: Any, disabled: bool = False) -> None:
    """A button that shows only its symbol; its name is there for the pointer and for screen readers."""
    st.button(
        name,
        key=f"icon-{key}",
        icon=f":material/{symbol}:",
        help=name,
        type="tertiary",
        disabled=disabled,
        on_click=run,
        args=args,
    )


def undo(what: str, key: str, run: Callable[..., None], *args: Any) -> None:
    """A button that brings `what` back."""
    st.button(f"Bring {plain(what)} back", key=key, icon=":material/undo:", type="tertiary", on_click=run, args=args)

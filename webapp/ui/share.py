"""The switch that shows something of one's own to everybody who may open the studio, or to nobody else again."""

from __future__ import annotations

import streamlit as st

from webapp.application import validation
from webapp.application.owners import Owners
from webapp.ui import visitor


def toggle(owners: Owners, name: str, where: str) -> None:
    """The switch for a thing; words where it is somebody else's; nothing where it is everybody's anyway."""
    workspace = visitor.workspace()
    if not owners.has_owner(name):
        return
    if not owners.owns(name, workspace):
        st.caption("shared with you")
        return
    was = owners.is_shared(name)
    now = st.toggle(
        "Shared", was, key=f"{where}.share.{name}",
        help="Everybody who may open this studio sees and uses it; only you can change it.",
    )  # fmt: skip
    if validation.flag(now) != was:
        owners.share(name, workspace, now)

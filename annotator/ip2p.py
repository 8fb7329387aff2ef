"""Instruct: the picture itself, and a prompt that says what is to change in it (ControlNet 1.1, "instruct pix2pix")."""

from __future__ import annotations

from annotator import depth
from controlnet_core.domain.control import ControlType, Detector

CONTROL = ControlType(
    key="ip2p",
    title="Instruct",
    icon=":material/auto_fix_high:",
    group="rework",
    order=140,
    help="Changes a picture as the prompt tells: “make it winter”, “make him laugh”.",
    document="rgb",
    editor="view",
    options=lambda: {"adjust": []},
    render=depth.render,
    detectors=(
        Detector("as_is", "The picture itself", depth.itself, "Nothing is detected: the prompt says what changes."),
    ),
    placeholder="make it winter",
)

"""Pose: people as coloured stick figures, with hands and faces where known (OpenPose)."""

from __future__ import annotations

import numpy as np

from annotator import skeleton_drawing as drawing
from annotator.ink import RESOLUTION
from controlnet_core.domain.control import ControlType, Detector, Param, Rgb, Truth, Values
from controlnet_core.domain.document import Document, Person, Point, Skeleton
from controlnet_core.domain.errors import InputError

STYLE = Param("style", "Drawing style", "1.0", choices=("1.0", "1.1"), help="As the 1.0 or the 1.1 models saw it.")
HANDS = Param("hands", "Hands", True, help="Draw hands where they are known.")
FACES = Param("faces", "Faces", True, help="Draw faces where they are known.")
FIND_HANDS = Param("detect_hands", "Find hands", True)


def render(document: Document, values: Values) -> Rgb:
    """The people on black. Hidden people and joints, and ghosts, are not drawn."""
    if not isinstance(document, Skeleton):
        raise InputError("This drawing belongs to another control.", "Open it on the page that it was drawn on.")
    canvas = np.zeros((document.height, document.width, 3), np.uint8)
    people = [person for person in document.people if person.visible]
    bodies = [_body(person) for person in people]
    if values.get("style", "1.0") == "1.1":
        drawing.draw_bodies_v11(canvas, bodies)
    else:
        drawing.draw_bodies(canvas, bodies)
    for person in people:
        for hand in (person.left_hand, person.right_hand):
            if hand is not None and values.get("hands", True):
                drawing.draw_hand(canvas, _present(hand))
    for person in people:
        if person.face is not None and values.get("faces", True):
            drawing.draw_face(canvas, _present(person.face))
    return canvas


def _body(person: Person) -> drawing.Points:
    return [(point.x, point.y) if person.drawn(index) else None for index, point in enumerate(person.body)]


def _present(points: tuple[Point, ...]) -> drawing.Points:
    return [(point.x, point.y) if point.confidence > 0 else None for point in points]


def _vitpose(picture: Rgb, values: Values) -> Document:
    from annotator.networks import vitpose

    return vitpose.detect(picture, values)


def _openpose(picture: Rgb, values: Values) -> Document:
    from annotator.networks import openpose

    return openpose.detect(picture, hands=bool(values["detect_hands"]))


def _openpose_full(picture: Rgb, values: Values) -> Document:
    from annotator.networks import openpose

    return openpose.detect(picture, hands=bool(values["detect_hands"]), faces=True)


def _truth(world: Truth) -> Document:
    return world.skeleton


CONTROL = ControlType(
    key="pose",
    title="Pose",
    icon=":material/accessibility_new:",
    group="draw",
    order=20,
    help="Set the joints of one or more people; the prompt dresses them.",
    document="skeleton",
    editor="pose",
    render=render,
    truth=_truth,
    params=(STYLE, HANDS, FACES),
    detectors=(
        Detector(
            "vitpose",
            "VitPose",
            _vitpose,
            "Finds people with RT-DETR, then their joints with VitPose.",
            (
                RESOLUTION,
                Param("person", "Surest people only above", 0.5, 0.05, 0.95, 0.05),
                Param("joint", "Accept joints above", 0.3, 0.05, 0.95, 0.05, help="Weaker joints stay as ghosts."),
            ),
            ("rtdetr-r50", "vitpose-base"),
        ),
        Detector(
            "openpose",
            "OpenPose",
            _openpose,
            "The networks whose poses ControlNets are trained on. Their licence allows non-commercial use only.",
            (RESOLUTION, FIND_HANDS),
            ("openpose-body", "openpose-hand"),
        ),
        Detector(
            "openpose_full",
            "OpenPose with faces",
            _openpose_full,
            "Also 70 points of every face. Their licence allows non-commercial use only.",
            (RESOLUTION, FIND_HANDS),
            ("openpose-body", "openpose-hand", "openpose-face"),
        ),
    ),
    nearest=True,
    placeholder="a chef in the kitchen",
)

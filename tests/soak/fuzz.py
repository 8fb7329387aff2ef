"""Anything into everything that reads from outside: only our own error ever comes out."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from annotator.formats import openpose_json
from components.mount import read_action, read_wanted
from controlnet_core.domain import detection, document, recipe
from controlnet_core.domain.errors import StudioError
from controlnet_core.storage import metadata
from tests.soak.row import Row
from webapp.application import validation

GOOD_RECIPE: dict[str, Any] = {
    "version": 2,
    "model": "paperworld",
    "prompt": "a house",
    "width": 256,
    "height": 256,
    "controls": [
        {
            "control": "canny",
            "picture": "a" * 64,
            "weight": 1.0,
            "values": {"low": 50, "light": True},
            "found": {"detector": "canny", "picture": "a" * 64, "values": {"low": 50}},
        }
    ],
}
GOOD_POSE: dict[str, Any] = {
    "people": [{"pose_keypoints_2d": [float(n) for n in range(54)], "face_keypoints_2d": None}],
    "canvas_height": 512,
    "canvas_width": 512,
}
scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=40)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def bent(draw: st.DrawFn, good: Any) -> Any:
    """A good value in which something is replaced, added or taken away, at any depth."""
    if isinstance(good, dict) and draw(st.integers(0, 3)):
        made = dict(good)
        key = draw(st.sampled_from(sorted(good)) | st.text(max_size=12))
        if key in made and draw(st.integers(0, 4)) == 0:
            del made[key]
        else:
            made[key] = draw(bent(made[key]) if key in made else anything)
        return made
    if isinstance(good, list) and good and draw(st.integers(0, 3)):
        at = draw(st.integers(0, len(good) - 1))
        return [*good[:at], draw(bent(good[at])), *good[at + draw(st.integers(0, 1)) :]]
    return draw(anything)


def texts(good: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """JSON near a good one, and no JSON at all."""
    near = bent(good).map(lambda value: json.dumps(value).encode())
    return near | anything.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=200)


def container() -> st.SearchStrategy[bytes]:
    """Documents, whole, cut, and with bytes turned over."""
    point = {"x": 1.0, "y": 2.0, "confidence": 1.0}
    person = {"body": [point] * 18, "hidden": [1], "ghosts": []}
    skeleton = {"kind": "skeleton", "width": 64, "height": 64, "people": [person]}
    head = bent(skeleton) | bent({"kind": "mask", "width": 8, "height": 8})
    packed = st.tuples(head, st.binary(max_size=80)).map(
        lambda pair: document.MAGIC + len(text := json.dumps(pair[0]).encode()).to_bytes(4, "little") + text + pair[1]
    )
    return packed | st.binary(max_size=120).map(lambda data: document.MAGIC + data)


def every_gate(value: object) -> None:
    """All gates on one value."""
    for ask in (
        lambda: validation.text(value, 100),
        lambda: validation.number(value, 0, 1),
        lambda: validation.whole(value, 0, 9),
        lambda: validation.span(value, 0, 1),
        lambda: validation.flag(value),
        lambda: validation.choice(value, ("a", 1, True)),
        lambda: validation.job_id(value),
    ):
        try:
            ask()
        except StudioError:
            continue
    validation.workspace(value)


def read_payload(value: object) -> None:
    """What components hear from a browser."""
    read_action(value)
    read_wanted(value)


def targets() -> dict[str, tuple[Callable[[Any], object], st.SearchStrategy[Any]]]:
    """What reads from outside, and what it is given."""
    return {
        "recipe": (recipe.parse, texts(GOOD_RECIPE)),
        "detection": (
            detection.parse,
            texts({"control": "canny", "detector": "canny", "picture": "a" * 64, "width": 64}),
        ),
        "pose JSON": (openpose_json.read, texts(GOOD_POSE)),
        "document": (document.decode, container()),
        "component payloads": (read_payload, anything | bent({"kind": "reopen", "id": "a", "picture": 0})),
        "parameters of other programs": (metadata.read_parameters, st.text(max_size=400) | bent_parameters()),
        "widget values": (every_gate, anything),
    }


@st.composite
def bent_parameters(draw: st.DrawFn) -> str:
    """Texts near those that A1111 writes."""
    fields = draw(
        st.lists(
            st.tuples(st.sampled_from(["Steps", "Seed", "Size", "CFG scale", "Sampler", "x"]), st.text(max_size=12))
        )
    )
    return f"words\nNegative prompt: {draw(st.text(max_size=20))}\nSteps: 2, " + ", ".join(
        f"{a}: {b}" for a, b in fields
    )


def check(examples: int) -> list[Row]:
    """`examples` inputs for each reader."""
    return [_try(name, read, inputs, examples) for name, (read, inputs) in targets().items()]


def _try(name: str, read: Callable[[Any], object], inputs: st.SearchStrategy[Any], examples: int) -> Row:
    seen = refused = 0

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs)
    def one(value: Any) -> None:
        nonlocal seen, refused
        seen += 1
        try:
            read(value)
        except StudioError as error:
            refused += 1
            assert error.message, "an error without words"

    try:
        one()
    except Exception as error:
        return Row(f"fuzz: {name}", f"{seen} inputs", f"{type(error).__name__}: {error}"[:66], False)
    return Row(f"fuzz: {name}", f"{seen} inputs", f"{refused} refused in a sentence, 0 other errors", True)

"""Whatever is sent to the API is answered, or refused in a sentence: no request is an error of ours."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.testclient import TestClient

from controlnet_core.domain.picture import to_png
from webapp.api import a1111, a1111_extras, openai, v1
from webapp.api.door import Door
from webapp.application.settings import ROOT, Settings
from webapp.application.studio import Studio

PICTURE = base64.b64encode(to_png(np.full((8, 8, 3), 200, np.uint8))).decode()
OPERATIONS = [*v1.OPERATIONS, *a1111.OPERATIONS, *openai.OPERATIONS]
UNIT = {"enabled": True, "image": PICTURE, "module": "canny", "model": "None"}
TAKES: dict[str, set[str]] = {
    **{one.path: set(one.takes.model_fields) for one in v1.OPERATIONS if one.takes is not None and one.method == "POST"},
    **{
        path: set(model.model_fields) | {"styles", "restore_faces", "future"}
        for path, model in {
            "/sdapi/v1/txt2img": a1111.Txt2Img, "/sdapi/v1/img2img": a1111.Img2Img, "/sdapi/v1/png-info": a1111.PngInfo,
            "/sdapi/v1/extra-single-image": a1111_extras.Extras, "/controlnet/detect": a1111.Detect,
            "/v1/images/generations": openai.ImageRequest,
        }.items()
    },
    "/sdapi/v1/options": {"sd_model_checkpoint", "sd_vae", "CLIP_stop_at_last_layers"},
    "/controlnet/render_openpose_json": {"people", "canvas_width", "canvas_height"},
}  # fmt: skip
"""The fields of everything that takes JSON."""
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-2, 300)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        [10**30, -(10**30), "x" * 5000, PICTURE, "data:image/png;base64," + PICTURE, "/etc/passwd", "0" * 64]
    )
    | st.sampled_from(["paperworld", "canny", "scribble", "pose", "none", "None", "64x64", "auto", "url", "nothing"])
)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["control", "picture", "photo", "image", "key", "weight", "source"]), inner, max_size=3
        )
        | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
UNITS = st.fixed_dictionaries(
    {"args": st.lists(st.dictionaries(st.sampled_from(sorted(UNIT)), JSON) | st.just(UNIT), max_size=3)}
)
LIKELY: dict[str, Any] = {
    "prompt": "a house", "width": 64, "height": 64, "steps": 1, "batch_size": 1, "n_iter": 1, "size": "64x64", "n": 1,
    "init_images": [PICTURE], "image": PICTURE, "controlnet_input_images": [PICTURE], "images": 1, "photo": PICTURE,
    "control": "scribble", "controlnet_module": "canny", "picture": PICTURE,
}  # fmt: skip
"""What is right: wrong fields are tried beside right ones, or only the first check would ever be reached."""


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """The embedded model's files before the tests' engine."""
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "models").mkdir()
    (folder / "models" / "paperworld").symlink_to(ROOT / "models" / "paperworld")
    settings = Settings(folder / "data", folder / "models", engine="tests.core.strokes_engine:build", api=True)
    studio = Studio(settings)
    studio.start()
    yield studio
    studio.stop()


@pytest.fixture(scope="module")
def client(studio: Studio) -> TestClient:
    door = Door(Starlette(), lambda: studio, OPERATIONS, words=[*a1111.WORDS, *openai.WORDS])
    return TestClient(door, base_url="http://127.0.0.1", client=("127.0.0.1", 5))


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, Any]:
    """An address and a body: right fields, of which some are wrong; or anything."""
    path = draw(st.sampled_from(sorted(TAKES)))
    fields = sorted(TAKES[path])
    body = {name: LIKELY[name] for name in fields if name in LIKELY}
    body |= draw(st.dictionaries(st.sampled_from(fields), JSON, max_size=3))
    if "alwayson_scripts" in fields and draw(st.booleans()):
        body["alwayson_scripts"] = {"ControlNet": draw(UNITS)}
    return path, draw(st.just(body) | st.just([body]) | JSON)


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(requests())
def test_no_request_is_an_error_of_ours(client: TestClient, asked: tuple[str, Any]) -> None:
    path, body = asked
    answer = client.post(path.replace("{name}", "x"), content=json.dumps(body).encode("utf-8", "replace"))
    assert answer.status_code < 500, (path, body, answer.text)
    if answer.status_code >= 400:
        told = answer.json()
        words = told.get("detail") or told["error"]
        assert (words["message"] if isinstance(words, dict) else words).strip(), told


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(TAKES)), st.binary(max_size=40))
def test_no_bytes_are_an_error_of_ours(client: TestClient, path: str, body: bytes) -> None:
    assert client.post(path.replace("{name}", "x"), content=body).status_code < 500


def test_everything_that_takes_json_is_tried() -> None:
    assert {one.path for one in v1.OPERATIONS if one.takes is not None} <= set(TAKES)
    assert all(issubclass(one.takes, BaseModel) for one in v1.OPERATIONS if one.takes is not None)

"""Layers and photos over HTTP: what they show, and one sentence for every wrong address."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from controlnet_core.domain.document import Raster, encode
from tests.webapp.conftest import WORKSPACE
from webapp.application.studio import Studio
from webapp.routes import table


@pytest.fixture
def client(quiet: Studio) -> Iterator[TestClient]:
    with TestClient(Starlette(routes=table.routes(lambda: quiet))) as client:
        yield client


def seen(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def test_a_layer_is_tinted_and_clear(client: TestClient, quiet: Studio) -> None:
    pixels = np.zeros((64, 64), np.uint8)
    pixels[10:20] = 255
    token = quiet.documents.open(WORKSPACE, "s", "compose.scribble.1", encode(Raster("mask", pixels)))
    assert client.get(f"/studio/layers/{token}/2f6fde.png").status_code == 400  # nobody said how it is shown
    quiet.documents.view(token, "scribble", {})
    answer = client.get(f"/studio/layers/{token}/2f6fde.png")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert answer.headers["cache-control"] == "no-store"
    layer = seen(answer.content)
    assert layer[15, 5].tolist() == [0x2F, 0x6F, 0xDE, 255]
    assert layer[40, 5, 3] == 0


def test_a_photo_comes_in_any_frame(client: TestClient, quiet: Studio) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (200, 100), (200, 30, 30)).save(buffer, "PNG")
    digest = quiet.photos.keep(buffer.getvalue(), WORKSPACE)
    stream = quiet.events.stream("tab", WORKSPACE)
    for how in ("crop", "fit", "stretch"):
        answer = client.get(f"/studio/photos/{stream}/{digest}/{how}-128x192.jpg")
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        assert seen(answer.content).shape == (192, 128, 3)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("layers/nobody/2f6fde.png", 404),
        ("layers/nobody/red.png", 400),
        ("layers/nobody/2F6FDE.png", 400),
        (f"photos/nobody/{'0' * 64}/crop-64x64.jpg", 404),
        (f"photos/STREAM/{'0' * 64}/crop-64x64.jpg", 404),
        ("photos/STREAM/..%2f..%2fetc/crop-64x64.jpg", 404),
        (f"photos/STREAM/{'0' * 64}/crop-0x64.jpg", 400),
        (f"photos/STREAM/{'0' * 64}/crop-64x9000.jpg", 400),
        (f"photos/STREAM/{'0' * 64}/melt-64x64.jpg", 400),
        (f"photos/STREAM/{'0' * 64}/crop-64x-4.jpg", 404),
    ],
)
def test_a_wrong_address_is_a_sentence(client: TestClient, quiet: Studio, path: str, status: int) -> None:
    answer = client.get(f"/studio/{path.replace('STREAM', quiet.events.stream('tab', WORKSPACE))}")
    assert answer.status_code == status
    if answer.headers["content-type"] == "application/json":
        assert answer.json()["error"].endswith(".")


def test_a_blob_that_is_no_picture_is_not_shown(client: TestClient, quiet: Studio) -> None:
    digest = quiet.blobs.put(b"CNSD1 a document of somebody's")
    quiet.belongings.give(WORKSPACE, digest)
    assert (
        client.get(f"/studio/photos/{quiet.events.stream('tab', WORKSPACE)}/{digest}/crop-64x64.jpg").status_code == 400
    )

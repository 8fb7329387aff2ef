"""The route of regions: what it answers, and what it refuses in one sentence."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tests.webapp.conftest import WORKSPACE, container
from webapp.application.studio import Studio
from webapp.routes import table

ORIGIN = {"Origin": "http://localhost"}


def png(width: int = 96, height: int = 64) -> bytes:
    picture = np.zeros((height, width, 3), np.uint8)
    picture[:, width // 2 :] = (240, 200, 40)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def client(quiet: Studio) -> TestClient:
    return TestClient(Starlette(routes=table.routes(lambda: quiet)), base_url="http://localhost")


def test_every_pixel_gets_a_region_that_keeps_to_the_border(client: TestClient, quiet: Studio) -> None:
    token = quiet.documents.open(WORKSPACE, "one", "seg", container())
    answer = client.post(f"/studio/documents/{token}/regions?count=30", content=png(), headers=ORIGIN)
    assert answer.status_code == 200
    found = np.frombuffer(zlib.decompress(answer.content), "<u2").reshape(64, 96)
    assert not set(found[:, :46].flat) & set(found[:, 50:].flat)


@pytest.mark.parametrize(
    ("address", "content", "status"),
    [
        ("nobody/regions?count=30", png(), 404),
        ("{token}/regions", png(), 400),
        ("{token}/regions?count=-3", png(), 400),
        ("{token}/regions?count=999999", png(), 400),
        ("{token}/regions?count=30", b"GIF89a", 400),
        ("{token}/regions?count=30", png(2112, 64), 400),
        ("{token}/regions?count=30", b"x" * (26 << 20), 413),
    ],
)
def test_refusals_are_one_sentence(
    client: TestClient, quiet: Studio, address: str, content: bytes, status: int
) -> None:
    token = quiet.documents.open(WORKSPACE, "one", "seg", container())
    answer = client.post(f"/studio/documents/{address.format(token=token)}", content=content, headers=ORIGIN)
    assert answer.status_code == status
    assert answer.json()["error"].endswith(".")


def test_another_site_and_a_flood_are_refused(client: TestClient, quiet: Studio) -> None:
    token = quiet.documents.open(WORKSPACE, "one", "seg", container())
    address = f"/studio/documents/{token}/regions?count=30"
    assert client.post(address, content=png(), headers={"Origin": "http://elsewhere.example"}).status_code == 403
    codes = {client.post(address, content=b"no picture", headers=ORIGIN).status_code for _ in range(40)}
    assert codes == {400, 429}

"""Weights on first use: fetched from a hub on a real socket, told about, stopped, resumed; or a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from annotator import detection as detecting
from annotator import weights
from controlnet_core.domain.control import Rgb
from controlnet_core.domain.detection import Detection
from controlnet_core.domain.document import Raster
from controlnet_core.domain.errors import Cancelled, DownloadError, ModelError, ModelMissing
from controlnet_core.domain.picture import open_picture
from tests.core.hub_server import Hub, serve

NAME = "annotator/ckpts/mlsd_tiny_512_fp32.pth"
TINY = Detection(
    control="lines", detector="mlsd_tiny", picture="0" * 64, width=512, height=704, values={"resolution": 512}
)


@pytest.fixture
def room(oracles: Path) -> Rgb:
    return open_picture((oracles / "annotators" / "room_512.png").read_bytes())


@pytest.fixture
def hub(golden: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    made = Hub({"lllyasviel/ControlNet": {NAME: (golden / "weights" / "mlsd_tiny_512_fp32.pth").read_bytes()}})
    server = serve(made)
    monkeypatch.setenv("HF_ENDPOINT", made.url)
    yield made
    server.shutdown()
    server.server_close()


def run(picture: Rgb, told: list[tuple[str, int, int]], stop_at: int = 10**12) -> Raster:
    def on_load(text: str, done: int = 0, total: int = 0) -> None:
        told.append((text, done, total))
        if done > stop_at:
            raise Cancelled()

    found = detecting.run(TINY, picture, on_load, free_min_bytes=0)
    assert isinstance(found, Raster)
    return found


def test_the_first_use_fetches_the_real_weights_and_finds_the_lines_of_the_original(
    hub: Hub, oracles: Path, room: Rgb
) -> None:
    told: list[tuple[str, int, int]] = []
    hub.cut_after, hub.cuts = 1_000_000, 1
    found = run(room, told)
    mlsd = open_picture((oracles / "annotators" / "room_mlsd_tiny.png").read_bytes())[:, :, 0]
    assert ((found.pixels > 0) != (mlsd > 0)).mean() <= 0.002
    assert told[-1] == ("M-LSD tiny is looking", 0, 0)
    downloads = [one for one in told if one[0].startswith("Downloading M-LSD tiny")]
    assert downloads
    assert downloads[-1][1] == downloads[-1][2] == len(hub.files["lllyasviel/ControlNet"][NAME])
    before = sum(hub.requests.values())
    run(room, told)
    assert sum(hub.requests.values()) == before


def test_stopping_keeps_what_came_and_the_next_use_goes_on(hub: Hub, room: Rgb, models: Path) -> None:
    told: list[tuple[str, int, int]] = []
    hub.pause_s = 0.02
    with pytest.raises(Cancelled):
        run(room, told, stop_at=100_000)
    assert not (models / "detectors" / "mlsd_tiny_512_fp32.pth").exists()
    hub.pause_s = 0
    hub.sent.clear()
    run(room, told)
    assert hub.sent[NAME] < len(hub.files["lllyasviel/ControlNet"][NAME])


def test_another_file_than_the_known_one_is_refused(hub: Hub, room: Rgb, models: Path) -> None:
    hub.files["lllyasviel/ControlNet"][NAME] = b"something else" * 1000
    with pytest.raises(ModelError):
        run(room, [])
    assert not (models / "detectors" / "mlsd_tiny_512_fp32.pth").exists()


def test_without_internet_it_is_a_sentence(models: Path, room: Rgb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DownloadError) as refused:
        run(room, [])
    assert refused.value.message.endswith(".")
    assert refused.value.hint
    with pytest.raises(ModelMissing, match="M-LSD tiny is not on this machine"):
        detecting.run(TINY, room)


def test_a_model_in_the_folder_of_the_user_is_used(models: Path, golden: Path, room: Rgb) -> None:
    place = models / "detectors" / "mlsd_tiny_512_fp32.pth"
    place.write_bytes((golden / "weights" / place.name).read_bytes())
    assert weights.locate("mlsd-tiny") == place
    assert np.count_nonzero(run(room, []).pixels)

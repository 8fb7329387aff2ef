"""Trainings and transfers by the API: real processes, started, watched and stopped."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from controlnet_core.domain.picture import open_picture
from tests.webapp.test_api import refused
from webapp.api.door import Door
from webapp.api.v1 import OPERATIONS
from webapp.application.settings import ROOT, Settings
from webapp.application.studio import Studio

ASKED: dict[str, Any] = {
    "name": "rings",
    "base": "paperworld",
    "control": "scribble",
    "data": {"source": "circles", "size": 64, "pairs": 8, "held_out": 1},
    "training": {"steps": 100_000, "batch": 1},
    "watch": {"sample_every": 1, "samples": 1, "sample_steps": 1},
}


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    """One without workers, with a copy of the embedded model's place to put new ControlNets beside it."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "paperworld").symlink_to(ROOT / "models" / "paperworld")
    studio = Studio(Settings(data=tmp_path / "data", models=tmp_path / "models", free_min_bytes=0, devices="cpu"))
    yield studio
    for run in studio.trainings.all():
        run.want("stop")
        until(lambda run=run: not run.alive())
    studio.close()


def client_of(studio: Studio, *scopes: str) -> TestClient:
    _, secret = studio.keys.create("-".join(scopes), scopes)
    door = Door(Starlette(), lambda: studio, OPERATIONS)
    return TestClient(door, base_url="http://127.0.0.1", headers={"Authorization": f"Bearer {secret}"})


@pytest.fixture
def client(studio: Studio) -> TestClient:
    return client_of(studio, "train")


def until(happened: Callable[[], Any], seconds: float = 300) -> Any:
    end = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


def test_a_training_is_started_watched_and_stopped(client: TestClient, studio: Studio) -> None:
    begun = client.post("/api/v1/trainings", json=ASKED)
    assert begun.status_code == 202, begun.text
    assert (begun.json()["name"], begun.json()["steps"]) == ("rings", 100_000)
    assert "is training" in refused(client.post("/api/v1/trainings", json=ASKED | {"name": "other"}), 422)
    config = studio.trainings.run("rings", studio.keys.all()[0].owner).config()
    assert (config.training.batch, config.training.steps) == (1, 100_000)
    assert config.training.rate > 1e-5, "what is left out suits the small base model"

    def trained() -> dict[str, Any] | None:
        told = client.get("/api/v1/trainings/rings").json()
        assert told["state"] != "failed", told
        return told if told["step"] >= 2 and told["samples"] else None

    told = until(trained)
    assert told["curve"][0]["step"] == 1
    assert told["curve"][0]["loss"] > 0
    address = next(iter(told["samples"].values()))[0]
    assert open_picture(client.get(address).content).shape == (64, 64, 3)
    assert client.post("/api/v1/trainings/rings/wish", json={"wish": "wait"}).status_code == 200
    until(lambda: client.get("/api/v1/trainings/rings").json()["state"] == "waiting")
    assert client.delete("/api/v1/trainings/rings").status_code == 200
    for wish in ("run", "wait"):
        words = refused(client.post("/api/v1/trainings/rings/wish", json={"wish": wish}), 422)
        assert words.startswith("rings is stopping.")
    with client.stream("GET", "/api/v1/trainings/rings/events") as stream:
        states = [json.loads(line[6:])["state"] for line in stream.iter_lines() if line.startswith("data: ")]
    assert states[-1] == "stopped"
    (listed,) = client.get("/api/v1/trainings").json()["trainings"]
    stranger = client_of(studio, "train", "read")
    assert stranger.get("/api/v1/trainings").json()["trainings"] == []
    for address in ("", "/events", "/samples/step-1-0.png"):
        refused(stranger.get(f"/api/v1/trainings/rings{address}"), 404)
    refused(stranger.delete("/api/v1/trainings/rings"), 404)
    assert "somebody else" in refused(stranger.post("/api/v1/trainings", json=ASKED), 422)
    assert listed["result"] in {card.id for card in studio.catalog.cards()}
    assert client.delete("/api/v1/trainings/rings").json()["state"] == "stopped"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"name": "../evil"}, "name"),
        ({"base": "nothing"}, "no model called"),
        ({"control": "nothing"}, "nothing"),
        ({"control": "inpaint"}, "cannot be trained"),
        ({"data": {"source": "/etc"}}, "no data called"),
        ({"data": {"source": "circles", "size": 65}}, "size"),
        ({"data": {"source": "circles", "owner": "0" * 32}}, "owner"),
        ({"training": {"steps": -1}}, "steps"),
        ({"training": {"rate": "fast"}}, "rate"),
        ({"training": {"evil": 1}}, "evil"),
        ({"training": {"steps": [1]}}, "steps"),
        ({"watch": {"samples": 99}}, "samples"),
        ({"evil": 1}, "evil"),
    ],
)
def test_what_is_wrong_with_a_training_is_named(client: TestClient, wrong: dict[str, Any], words: str) -> None:
    answer = client.post("/api/v1/trainings", json=ASKED | wrong)
    assert answer.status_code in (404, 422)
    assert words in refused(answer, answer.status_code)


def test_what_there_is_not_and_who_may_not(client: TestClient, studio: Studio) -> None:
    (studio.settings.data / "datasets" / "mine").mkdir(parents=True)
    assert client.get("/api/v1/trainings").json() == {
        "trainings": [],
        "sources": ["circles", "world", "gallery", "mine"],
    }
    for address in ("/trainings/nothing", "/trainings/nothing/events", "/trainings/a/samples/b", "/transfers/nothing"):
        refused(client.get(f"/api/v1{address}"), 404)
    refused(client.delete("/api/v1/trainings/nothing"), 404)
    refused(client.delete("/api/v1/transfers/nothing"), 404)
    refused(client.post("/api/v1/trainings/nothing/wish", json={"wish": "run"}), 404)
    maker = client_of(studio, "read", "make")
    for told in (maker.get("/api/v1/trainings"), maker.post("/api/v1/trainings", json=ASKED)):
        assert "may not train" in refused(told, 403)
    refused(maker.post("/api/v1/transfers", json={}), 403)


def test_a_control_net_is_made_and_told_of(client: TestClient, studio: Studio) -> None:
    asked = {"tool": "add-control", "source": "paperworld", "name": "fresh"}
    begun = client.post("/api/v1/transfers", json=asked)
    assert begun.status_code == 202, begun.text

    def over() -> dict[str, Any] | None:
        told = client.get("/api/v1/transfers/fresh").json()
        return told if told["phase"] not in ("waiting", "running") else None

    told = until(over)
    assert told["phase"] == "done", told
    assert studio.catalog.card(told["result"]).note.startswith("Fresh and untrained")
    assert client.get("/api/v1/transfers").json()["transfers"] == [told]
    assert client.delete("/api/v1/transfers/fresh").json()["phase"] == "done"
    refusals = {
        "already": asked,
        "needs target": {"source": "fresh", "name": "carried"},
        "name of a model": asked | {"name": "../evil"},
        "no model called": asked | {"source": "nothing", "name": "new"},
        "tool": asked | {"tool": "explode"},
    }
    for words, wrong in refusals.items():
        answer: httpx.Response = client.post("/api/v1/transfers", json=wrong)
        assert words in refused(answer, answer.status_code)
        assert answer.status_code in (404, 422)

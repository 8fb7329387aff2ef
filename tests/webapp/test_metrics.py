"""Health and figures: what they say, and to whom."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from controlnet_core.domain.job import Job
from controlnet_core.domain.recipe import Recipe
from controlnet_core.execution import devices
from controlnet_core.execution.dispatcher import Status
from webapp.api import metrics, v1
from webapp.api.door import Door
from webapp.application.settings import Settings
from webapp.application.studio import Studio
from webapp.routes import table

HERE, AWAY = ("127.0.0.1", 50000), ("192.0.2.7", 50000)


def app_of(studio: Studio) -> Starlette:
    door = Middleware(Door, studio=lambda: studio, operations=[*v1.OPERATIONS, *metrics.OPERATIONS])
    return Starlette(routes=table.routes(lambda: studio), middleware=[door, *table.middleware()])


@pytest.fixture
def client(studio: Studio) -> TestClient:
    return TestClient(app_of(studio), base_url="http://127.0.0.1:8501", client=HERE)


@pytest.fixture
def done(studio: Studio) -> Iterator[str]:
    """One picture that was made."""
    work = Recipe(model="small", prompt="a secret house", steps=2, width=64, height=64, seed=3)
    entry = studio.wait(put(studio, work), 30)
    assert entry.state == "done"
    yield entry.id


def put(studio: Studio, work: Recipe) -> str:
    studio.queue.submit(Job("0f" * 16, "somebody", work))
    studio.dispatcher.wake()
    return "0f" * 16


def read(text: str) -> dict[str, float]:
    """Name with labels -> value, as Prometheus' own reader understands it; every name was announced once, with its type."""
    found: dict[str, float] = {}
    families = list(text_string_to_metric_families(text))
    names = [family.name for family in families]
    assert len(set(names)) == len(names), "studio_x and the counter studio_x_total are one name to some readers"
    for family in families:
        assert family.type in ("gauge", "counter", "histogram"), family
        for sample in family.samples:
            labels = ",".join(f'{key}="{value}"' for key, value in sample.labels.items())
            key = f"{sample.name}{{{labels}}}" if labels else sample.name
            assert key not in found, key
            found[key] = sample.value
    return found


def test_figures_of_a_picture_that_was_made(client: TestClient, done: str) -> None:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    told = read(answer.text)
    assert told['studio_jobs_total{state="done",kind="recipe"}'] >= 1
    count = told['studio_job_seconds_count{kind="recipe"}']
    assert count >= 1
    assert told['studio_job_seconds_bucket{kind="recipe",le="+Inf"}'] == count
    bounds = [value for key, value in told.items() if key.startswith('studio_job_seconds_bucket{kind="recipe"')]
    assert bounds == sorted(bounds), "buckets add up"
    assert told['studio_jobs_open{state="queued",kind="recipe"}'] == 0
    assert told["studio_queue_age_seconds"] == 0
    assert sum(value for key, value in told.items() if key.startswith("studio_worker{")) == 1
    assert told['studio_worker_memory_bytes{worker="0"}'] > 1 << 20
    assert told['studio_device_memory_bytes{device="cpu",what="total"}'] > 0
    assert told["studio_disk_free_bytes"] > 0
    for secret in ("secret house", "somebody", done):
        assert secret not in answer.text


def test_waiting_jobs_have_an_age(quiet: Studio) -> None:
    put(quiet, Recipe(model="small", width=64, height=64))
    told = read(quiet.metrics.text())
    assert told['studio_jobs_open{state="queued",kind="recipe"}'] == 1
    assert 0 < told["studio_queue_age_seconds"] < 60


def test_the_queue_is_as_long_as_it_is_wanted(tmp_path: Path) -> None:
    wanted = Settings.from_environment({"STUDIO_DATA": str(tmp_path), "STUDIO_QUEUED_MAX": "500"})
    assert read(Studio(wanted).metrics.text())["studio_jobs_max"] == 500
    assert Settings.from_environment({"STUDIO_QUEUED_MAX": "many"}).queued_max == 64


def test_memory_of_a_gpu_is_what_its_driver_says(quiet: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"index,uuid": [["0", "GPU-1"]], "memory.used,memory.total": [["1000", "24000"]]}
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(devices, "_ask_gpus", lambda fields, _which="": said[fields])
    told = read(quiet.metrics.text())
    assert told['studio_device_memory_bytes{device="cuda:0",what="used"}'] == 1000 << 20
    assert told['studio_device_memory_bytes{device="cuda:0",what="total"}'] == 24000 << 20


def test_figures_are_kept_from_strangers(studio: Studio, client: TestClient) -> None:
    app = app_of(studio)
    away = TestClient(app, base_url="http://127.0.0.1:8501", client=AWAY)
    assert away.get("/metrics").status_code == 401
    assert client.get("/metrics", headers={"Host": "studio.example"}).status_code == 401, "a name that points here"
    for name in ("X-Forwarded-For", "X-Forwarded-Proto", "Via"):
        assert client.get("/metrics", headers={name: "https"}).status_code == 401, "through a proxy"
    assert client.get("/metrics", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 401
    assert client.get("/metrics", headers={"Origin": "https://elsewhere.example"}).status_code == 403
    _, reads = studio.keys.create("reads", ("read",))
    _, watches = studio.keys.create("watches", ("watch",))
    try:
        refused = away.get("/metrics", headers={"Authorization": f"Bearer {reads}"})
        assert refused.status_code == 403
        assert "watch" in refused.json()["hint"]
        assert away.get("/metrics", headers={"Authorization": f"Bearer {watches}"}).status_code == 200
        assert away.get("/api/v1/jobs", headers={"Authorization": f"Bearer {watches}"}).status_code == 403
    finally:
        for name in ("reads", "watches"):
            studio.keys.revoke(name)


def test_the_rest_of_the_api_stays_closed(client: TestClient) -> None:
    assert client.get("/api/v1/models").status_code == 404


def test_health_says_one_word(client: TestClient, done: str) -> None:
    assert done
    for path in ("/healthz", "/readyz"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
        assert answer.headers["cache-control"] == "no-store"
    assert client.get("/healthz", headers={"Host": "studio.example"}).status_code == 403


@pytest.mark.parametrize(
    ("states", "status", "ready"),
    [
        (["starting", "broken"], "starting", 503),
        (["broken", "broken"], "broken", 503),
        (["broken", "busy"], "ok", 200),
        (["lent"], "ok", 200),
    ],
)
def test_health_is_that_of_the_best_worker(
    studio: Studio, client: TestClient, monkeypatch: pytest.MonkeyPatch, states: list[str], status: str, ready: int
) -> None:
    monkeypatch.setattr(studio.dispatcher, "statuses", lambda: tuple(Status(state) for state in states))  # pyright: ignore
    assert client.get("/healthz").status_code == 200
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (ready, status)


def test_without_a_dispatcher_it_is_to_be_started_again(quiet: Studio) -> None:
    answer = TestClient(app_of(quiet), base_url="http://127.0.0.1:8501", client=HERE).get("/healthz")
    assert (answer.status_code, answer.json()) == (503, {"status": "stopped"})

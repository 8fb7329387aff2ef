"""Workers in a Ray cluster of two nodes on this machine: what holds for workers of this machine holds for them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from controlnet_core.domain import picture
from controlnet_core.domain.errors import StudioError
from controlnet_core.domain.job import Event
from controlnet_core.domain.recipe import ControlUnit
from controlnet_core.execution.dispatcher import Dispatcher
from controlnet_core.execution.queue import Queue
from controlnet_core.execution.ray_cluster import RayCluster
from controlnet_core.storage.gallery import Gallery
from controlnet_core.storage.store import Blobs
from tests.core.strokes_engine import StrokesEngine
from tests.core.test_worker import ENGINE, RECIPE, Shop, until
from tests.ports import free_port
from tests.ray_nodes import STORE_BYTES, Cluster, ray_program

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    ray_program()
    cluster = Cluster(health_check_period_ms=300, health_check_failure_threshold=3, local_fs_capacity_threshold=0.01)
    with pytest.MonkeyPatch.context() as patched:
        for name, value in cluster.environment.items():
            patched.setenv(name, value)
        try:
            cluster.add()
            yield cluster
        finally:
            cluster.close()


@dataclass
class FarShop(Shop):
    """A shop whose workers are in the cluster `far`."""

    far: RayCluster = field(kw_only=True)


@contextmanager
def open_far_shop(folder: Path, address: str, engine: str = ENGINE, **more: str) -> Iterator[FarShop]:
    queue = Queue(folder / "jobs.sqlite", Blobs(folder / "blobs"), session_max=1000, queued_max=1000)
    gallery = Gallery(folder / "gallery")
    told: list[tuple[str, Event]] = []
    far = RayCluster(address, engine, log=folder / "studio.log", read=queue.blobs.get, **more)
    far.connect()
    keeper = Dispatcher(queue, [], keep=gallery.add, tell=lambda session, event: told.append((session, event)))
    far.follow(keeper.add)
    keeper.start()
    try:
        yield FarShop(queue, gallery, keeper, told, far=far)
    finally:
        keeper.stop()
        far.close()
        queue.close()


@pytest.fixture(scope="module")
def far(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarShop]:
    with open_far_shop(tmp_path_factory.mktemp("far"), cluster.address) as shop:
        yield shop


@pytest.fixture
def shop(far: FarShop) -> FarShop:
    until(lambda: any(status.state == "ready" for status in far.statuses))
    return replace(far, tag=f"{time.monotonic_ns()}-")


def test_a_picture_made_far_away_is_the_engines_with_steps_and_previews(shop: FarShop) -> None:
    rgb = np.full((64, 64, 3), 200, np.uint8)
    digest = shop.queue.blobs.put(picture.to_png(rgb))
    shop.put("a", "slow=0.05", controls=(ControlUnit(control="scribble", picture=digest),))
    entry = shop.over("a")
    assert entry.state == "done"
    made = picture.open_picture(shop.gallery.get(entry.kept[0]).png.read_bytes())
    alone = StrokesEngine().picture(RECIPE, 0)
    assert (made[:8, :8] == 200).all()
    assert np.array_equal(made[8:], alone[8:])
    assert [event.step for event in shop.of("a") if event.kind == "step"] == [1, 2, 3, 4, 5, 6]
    assert any(event.preview for event in shop.of("a"))
    assert " on " in shop.statuses[0].device


def test_a_failure_far_away_is_a_sentence_here_and_its_details_are_in_the_log_here(shop: FarShop) -> None:
    shop.put("a", "raise")
    assert shop.last("a").text == "Something went wrong while making this picture."
    log = (shop.gallery.folder.parent / "studio.log").read_text()
    assert f"{shop.tag}a" in log
    assert "ZeroDivisionError" in log


def test_cancel_stops_it_at_a_step(shop: FarShop) -> None:
    shop.put("a", "slow=0.05", steps=100)
    until(lambda: "step" in shop.kinds("a"))
    assert shop.cancel("a") == "running"
    assert shop.over("a").state == "cancelled"
    assert shop.kinds("a").count("step") < 100
    shop.put("b")
    assert shop.over("b").state == "done"


def test_an_actor_that_is_killed_loses_no_job_and_doubles_none(shop: FarShop, cluster: Cluster) -> None:
    shop.put("a", "slow=0.2")
    until(lambda: "step" in shop.kinds("a"))
    for pid in cluster.actors():
        os.kill(pid, signal.SIGKILL)
    assert shop.over("a").state == "done"
    assert shop.kinds("a").count("done") == 1
    assert shop.made() == 1
    assert [event.text for event in shop.of("a") if event.kind == "queued"][-1] == "The worker died and is coming back"


def test_a_job_that_kills_its_actor_twice_fails_with_a_sentence(shop: FarShop) -> None:
    shop.put("a", "die")
    assert "died twice" in shop.last("a").text
    shop.put("b")
    assert shop.over("b").state == "done"


def test_a_full_object_store_is_a_sentence_and_the_next_job_runs(
    shop: FarShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = shop.queue.blobs.put(picture.to_png(np.full((64, 64, 3), 100, np.uint8)))
    with monkeypatch.context() as patched:
        patched.setattr(shop.far, "read", lambda _digest: bytes(2 * STORE_BYTES))
        shop.put("a", controls=(ControlUnit(control="scribble", picture=digest),))
        assert "object store is full" in shop.last("a").text
    shop.put("b", controls=(ControlUnit(control="scribble", picture=digest),))
    assert shop.over("b").state == "done"


def test_the_way_to_the_cluster_dies_and_is_made_again(shop: FarShop) -> None:
    shop.put("a", "slow=0.2")
    until(lambda: "step" in shop.kinds("a"))
    os.kill(shop.far.pid, signal.SIGKILL)
    assert shop.over("a").state == "done"
    assert shop.kinds("a").count("done") == 1


def test_a_node_that_joins_is_taken_and_one_that_is_lost_loses_no_job(shop: FarShop, cluster: Cluster) -> None:
    cluster.add()
    until(lambda: [status.state for status in shop.statuses].count("ready") == 2)
    assert len({status.device for status in shop.statuses}) == 2
    shop.put("a", "slow=0.5", session="t")
    shop.put("b", "slow=0.5", session="u")
    until(lambda: "step" in shop.kinds("a") and "step" in shop.kinds("b"))
    cluster.kill(1)
    assert shop.over("a").state == shop.over("b").state == "done"
    assert shop.kinds("a").count("done") == shop.kinds("b").count("done") == 1
    assert shop.made() == 2
    until(lambda: "gone" in [status.state for status in shop.statuses])
    lost = next(status for status in shop.statuses if status.state == "gone")
    assert lost.text == f"{lost.device} was lost: its machine left."


def test_a_node_with_another_version_is_refused_in_a_sentence(shop: FarShop, cluster: Cluster, tmp_path: Path) -> None:
    shop.dispatcher.stop()  # its actors give their places back
    with open_far_shop(tmp_path, cluster.address, edition_of_studio="0" * 12) as other:
        until(lambda: other.statuses[0].state == "broken")
        assert "another version of the studio" in other.statuses[0].text
        other.put("a")
        assert "another version of the studio" in other.last("a").text


def test_a_cluster_that_is_not_there_is_refused_in_a_sentence(cluster: Cluster, tmp_path: Path) -> None:
    assert (Path(cluster.environment["RAY_AUTH_TOKEN_PATH"]).stat().st_mode & 0o777) == 0o600
    nobody = RayCluster(f"127.0.0.1:{free_port()}", ENGINE, log=tmp_path / "log", read=lambda _digest: b"")
    with pytest.raises(StudioError, match="There is no Ray cluster at 127"):
        nobody.connect()


def test_a_token_that_the_cluster_does_not_know_is_refused_in_a_sentence(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("e" * 64)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    with pytest.raises(StudioError, match="does not know our token"):
        RayCluster(cluster.address, ENGINE, log=tmp_path / "log", read=lambda _digest: b"").connect()

"""Workers in a Ray cluster of two nodes on this machine: what holds for workers of this machine holds for them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from controlnet_core.datasets.example_circles import Circles
from controlnet_core.domain import picture
from controlnet_core.domain.errors import StudioError
from controlnet_core.domain.job import Event
from controlnet_core.domain.lending import Lent
from controlnet_core.domain.recipe import ControlUnit
from controlnet_core.execution.devices import Device, is_borrowed
from controlnet_core.execution.dispatcher import Dispatcher
from controlnet_core.execution.queue import Queue
from controlnet_core.execution.ray_cluster import RayCluster
from controlnet_core.storage.gallery import Gallery
from controlnet_core.storage.store import Blobs
from tests.annotator.test_dataset import photo
from tests.annotator.test_shards import parquet, tar
from tests.core.strokes_engine import StrokesEngine
from tests.core.test_worker import ENGINE, RECIPE, Shop, until
from tests.ports import free_port
from tests.ray_nodes import STORE_BYTES, Cluster, NotStarted, ray_program

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


def start(cluster: Cluster, cpus: int = 1) -> None:
    """One more node; where Ray itself does not start, there is nothing to test."""
    try:
        cluster.add(cpus)
    except NotStarted as error:
        pytest.skip(f"this machine is too busy for Ray to start: {str(error)[-200:]}")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    ray_program()
    cluster = Cluster(health_check_period_ms=300, health_check_failure_threshold=3, local_fs_capacity_threshold=0.01)
    with pytest.MonkeyPatch.context() as patched:
        for name, value in cluster.environment.items():
            patched.setenv(name, value)
        try:
            start(cluster, cpus=2)  # one for a worker, one for pools
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
    where = {"STUDIO_MODEL_CACHE": str(folder / "models"), "STUDIO_FREE_MB": "0"}
    far = RayCluster(address, engine, log=folder / "studio.log", read=queue.blobs.get, environment=where, **more)
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
    shop.over("a", 300)  # what it says before it dies may die with it: then that death does not count, up to four times
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


def test_a_model_of_the_users_own_reaches_the_node_whole_and_once(
    shop: FarShop, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, kept = tmp_path / "mine.safetensors", shop.gallery.folder.parent / "models"
    place.write_bytes(b"\x40" * 20_000_000)
    monkeypatch.setattr(shop.far, "lends", lambda work: (work, (Lent("mine", "Mine", "{}", place, True),)))

    def fetched(id: str) -> list[int]:
        return [event.step for event in shop.of(id) if event.kind == "loading" and "Fetching" in event.text]

    for id, sent in (("a", True), ("b", False)):
        shop.put(id)
        made = picture.open_picture(shop.gallery.get(shop.over(id).kept[0]).png.read_bytes())
        assert (made[8:16, :8] == 0x40).all()
        assert bool(fetched(id)) == sent
    with place.open("r+b") as file:
        file.truncate(250_000_000)
    shop.put("c")
    until(lambda: any(fetched("c")))
    for pid in cluster.actors():
        os.kill(pid, signal.SIGKILL)
    assert shop.over("c").state == "done"
    assert shop.kinds("c").count("done") == 1
    assert sorted(path.stat().st_size for path in kept.glob("*/mine.safetensors")) == [20_000_000, 250_000_000]
    assert not list(kept.glob(".*"))


def test_the_way_to_the_cluster_dies_and_is_made_again(shop: FarShop) -> None:
    shop.put("a", "slow=0.2")
    until(lambda: "step" in shop.kinds("a"))
    os.kill(shop.far.pid, signal.SIGKILL)
    assert shop.over("a").state == "done"
    assert shop.kinds("a").count("done") == 1


def test_a_node_that_joins_is_taken_and_one_that_is_lost_loses_no_job(shop: FarShop, cluster: Cluster) -> None:
    start(cluster)
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


def test_a_stranger_at_the_clusters_port_disturbs_nobody(shop: FarShop, cluster: Cluster) -> None:
    shop.put("a", "slow=0.05", steps=20)
    until(lambda: "step" in shop.kinds("a"))
    for said in (
        os.urandom(100_000),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9000),
    ):
        with socket.create_connection(("127.0.0.1", cluster.port), 10) as stranger, suppress(OSError):
            stranger.settimeout(1)
            stranger.sendall(said)
            stranger.recv(100)
    nobody = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    code = f"import ray; ray._raylet.GcsClient(address={cluster.address!r}).internal_kv_keys(b'', b'')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=nobody | {"RAY_AUTH_MODE": "disabled"},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode != 0 and b"uthentic" in done.stderr, done.stderr[-500:]
    assert shop.over("a").state == "done"
    assert shop.kinds("a").count("done") == 1


def annotate(source: Path, target: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "webapp", "annotate", "canny", str(source), str(target), "--size", "64", *more]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=400)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_data_set_made_on_the_cluster_is_the_one_made_here_and_goes_on_where_it_was(
    cluster: Cluster, tmp_path: Path
) -> None:
    photos, far = tmp_path / "photos", tmp_path / "far"
    photos.mkdir()
    for number in range(20):
        rgb = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
        big = np.kron(rgb, np.ones((12, 12, 1), np.uint8))
        (photos / f"{number:02d}.png").write_bytes(picture.to_png(big))
        (photos / f"{number:02d}.txt").write_text(f"photo {number}")
    (photos / "07.png").write_bytes(b"no picture")
    parquet(photos / "rows.parquet", 10, group=4)
    tar(
        photos / "more" / "0.tar",
        [*((f"{number}.png", photo(number)) for number in range(9)), ("9.png", b"no picture")],
    )
    first = annotate(photos, far, "--ray", cluster.address)
    assert first.returncode == 1
    assert "07.png: " in first.stderr and "2 of 40 pictures could not be annotated" in first.stderr
    assert "more/0.tar/9.png: " in first.stderr
    here = annotate(photos, tmp_path / "here")
    assert here.returncode == 1
    assert files_of(far) == files_of(tmp_path / "here")
    gone = far / "source" / "11.png"
    before = {path: path.stat().st_mtime_ns for path in (far / "source").iterdir() if path != gone}
    gone.unlink()
    (photos / "07.png").unlink()
    tar(photos / "more" / "0.tar", [(f"{number}.png", photo(number)) for number in range(9)])
    again = annotate(photos, far, "--ray", cluster.address)
    assert again.returncode == 0, again.stderr
    assert gone.read_bytes() == (tmp_path / "here" / "source" / "11.png").read_bytes()
    assert before == {path: path.stat().st_mtime_ns for path in (far / "source").iterdir() if path != gone}


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


def test_two_processes_of_the_cluster_train_one_network_and_go_on_when_one_is_killed(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from controlnet_core.models.catalog import Catalog
    from tests.core.small import save_small_model
    from tests.training.test_runs import Studio, config, losses
    from webapp.application.trainings import Trainings

    folder = tmp_path / "models"
    save_small_model(folder / "checkpoints" / "tiny")
    studio, data = Studio(tmp_path / "studio", folder), tmp_path / "fill"
    Circles(64).write(data, 10, free_min_bytes=0)
    shared = {"steps": 12, "prompt_dropout": 0.0, "ema": 0.0}
    one, two = config(data, "one", accumulate=2, **shared), config(data, "two", devices=2, **shared)
    monkeypatch.setenv("STUDIO_FREE_MB", "0")
    devices = [Device("cpu on box"), Device("cpu on box #2"), Device("cpu on box #3")]
    settings = replace(studio.settings, ray=cluster.address)
    here = Trainings(settings, Catalog(folder), cluster=lambda: devices)
    run = here.start(two)
    assert [is_borrowed(device, settings.data) for device in devices] == [True, True, False]
    until(lambda: run.status().step >= 6 or not run.alive(), 600)
    killed = run.status().pid
    os.kill(killed, signal.SIGKILL)
    until(lambda: not run.alive(), 600)
    assert run.status().state == "done", (run.status(), run.log.read_text()[-2000:])
    assert run.status().pid != killed
    assert run.status().device == f"2 x cpu on {socket.gethostname().partition('.')[0]}"
    until(lambda: len(here.lendable()) == 3)  # with the end of its process
    studio.train(one)
    np.testing.assert_allclose(losses(run), losses(studio.run(one)), rtol=1e-3)

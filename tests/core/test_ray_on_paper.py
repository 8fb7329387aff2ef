"""The way to a Ray cluster without Ray: our bridge, ports and hosts as they are, over a Ray on paper (`tests/paper_ray`)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from controlnet_core.domain import picture
from controlnet_core.domain.errors import StudioError
from controlnet_core.domain.recipe import ControlUnit
from controlnet_core.execution.dispatcher import Dispatcher
from controlnet_core.execution.port import Lost, Ready, Said
from controlnet_core.execution.queue import Queue
from controlnet_core.execution.ray_cluster import RayCluster, RayWorker
from controlnet_core.storage.gallery import Gallery
from controlnet_core.storage.store import Blobs
from tests.core.strokes_engine import StrokesEngine
from tests.core.test_worker import ENGINE, RECIPE, Shop, until

ROOT = Path(__file__).resolve().parents[2]
PAPER = ROOT / "tests" / "paper_ray"
GPUS = {"NodeID": "box1", "Resources": {"GPU": 2, "CPU": 8}}
PLAIN: dict[str, object] = {"NodeID": "box2", "Resources": {"CPU": 4}}
IDLE = {"NodeID": "head", "Resources": {}}
STORE_BYTES = 100_000


@dataclass
class PaperShop(Shop):
    """A shop whose workers are on the nodes of the file `nodes`."""

    nodes: Path = field(kw_only=True)
    far: RayCluster = field(kw_only=True)

    def cluster_is(self, *nodes: dict[str, object]) -> None:
        """Nodes come and go."""
        told = self.nodes.with_suffix(".new")
        told.write_text(json.dumps(nodes))
        told.replace(self.nodes)

    def named(self) -> dict[str, str]:
        """State by device."""
        return {status.device: status.state for status in self.statuses}


def paper(folder: Path) -> dict[str, str]:
    """The environment in which the Ray on paper is found."""
    return {
        "PYTHONPATH": os.pathsep.join([str(PAPER), str(ROOT)]),
        "PAPER_RAY_NODES": str(folder / "nodes.json"),
        "PAPER_RAY_STORE": str(STORE_BYTES),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
    }


@contextmanager
def opened(folder: Path, *nodes: dict[str, object], edition: str = "") -> Iterator[PaperShop]:
    (folder / "token").write_text("f" * 64)
    (folder / "token").chmod(0o644)
    queue = Queue(folder / "jobs.sqlite", Blobs(folder / "blobs"), session_max=1000, queued_max=1000)
    gallery, told = Gallery(folder / "gallery"), []
    with pytest.MonkeyPatch.context() as patched:
        for name, value in paper(folder).items():
            patched.setenv(name, value)
        patched.syspath_prepend(PAPER)
        far = RayCluster(
            "auto",
            ENGINE,
            log=folder / "studio.log",
            read=queue.blobs.get,
            environment={"STUDIO_MODEL_CACHE": str(folder / "models"), "STUDIO_FREE_MB": "0"},
            edition_of_studio=edition,
        )
        keeper = Dispatcher(queue, [], keep=gallery.add, tell=lambda session, event: told.append((session, event)))
        shop = PaperShop(queue, gallery, keeper, told, nodes=folder / "nodes.json", far=far)
        try:
            shop.cluster_is(*nodes)
            far.connect()
            far.follow(keeper.add)
            keeper.start()
            yield shop
        finally:
            keeper.stop()
            far.close()
            queue.close()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PaperShop]:
    with opened(tmp_path_factory.mktemp("paper"), GPUS, PLAIN, IDLE) as shop:
        yield shop


@pytest.fixture
def shop(whole: PaperShop) -> PaperShop:
    whole.cluster_is(GPUS, PLAIN, IDLE)
    until(lambda: list(whole.named().values()).count("ready") == 3)
    return replace(whole, tag=f"{time.monotonic_ns()}-")


def test_every_gpu_is_a_worker_and_of_a_node_without_one_its_processor(shop: PaperShop) -> None:
    assert {device for device, state in shop.named().items() if state == "ready"} == {
        "cuda:0 on box1",
        "cuda:1 on box1",
        "cpu on box2",
    }


def test_the_token_is_nobody_elses_to_read(shop: PaperShop) -> None:
    assert ((shop.nodes.parent / "token").stat().st_mode & 0o777) == 0o600


def test_a_picture_is_the_engines_with_its_steps(shop: PaperShop) -> None:
    rgb = np.full((64, 64, 3), 200, np.uint8)
    digest = shop.queue.blobs.put(picture.to_png(rgb))
    shop.put("a", controls=(ControlUnit(control="scribble", picture=digest),))
    entry = shop.over("a")
    assert entry.state == "done"
    made = picture.open_picture(shop.gallery.get(entry.kept[0]).png.read_bytes())
    assert (made[:8, :8] == 200).all()
    assert np.array_equal(made[8:], StrokesEngine().picture(RECIPE, 0)[8:])
    assert [event.step for event in shop.of("a") if event.kind == "step"] == [1, 2, 3, 4, 5, 6]


def test_jobs_of_many_are_done_once_each_and_a_cancelled_one_stops(shop: PaperShop) -> None:
    ids = [f"j{number}" for number in range(12)]
    shop.put("long", "slow=0.05", steps=100)
    until(lambda: "step" in shop.kinds("long"))
    for number, id in enumerate(ids):
        shop.put(id, session=f"s{number % 4}")
    assert shop.cancel("long") == "running"
    assert shop.over("long").state == "cancelled"
    assert {shop.over(id).state for id in ids} == {"done"}
    assert [shop.kinds(id).count("done") for id in ids] == [1] * 12


def test_a_full_object_store_is_a_sentence_and_the_next_job_runs(shop: PaperShop) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (256, 256, 3), np.uint8)
    large, small = (shop.queue.blobs.put(picture.to_png(rgb)) for rgb in (noise, noise[:64, :64]))
    shop.put("a", controls=(ControlUnit(control="scribble", picture=large),))
    assert "object store is full" in shop.last("a").text
    shop.put("b", controls=(ControlUnit(control="scribble", picture=small),))
    assert shop.over("b").state == "done"


def test_a_failure_there_is_a_sentence_here_and_its_details_are_in_the_log_here(shop: PaperShop) -> None:
    shop.put("a", "raise")
    assert shop.last("a").text == "Something went wrong while making this picture."
    assert "ZeroDivisionError" in (shop.nodes.parent / "studio.log").read_text()


def test_a_process_that_dies_there_fails_its_job_after_a_second_try_and_all_come_back(shop: PaperShop) -> None:
    shop.put("a", "die")  # on paper all of the cluster is one process, which dies
    assert "died twice" in shop.last("a").text
    until(lambda: list(shop.named().values()).count("ready") == 3)
    shop.put("b")
    assert shop.over("b").state == "done"


def test_a_node_that_leaves_loses_no_job_and_one_that_joins_is_taken(shop: PaperShop) -> None:
    shop.cluster_is(GPUS)
    until(lambda: shop.named().get("cpu on box2", "gone") == "gone")
    shop.put("a", "slow=0.1")
    until(lambda: "step" in shop.kinds("a"))
    shop.cluster_is(PLAIN, {"NodeID": "box3", "Resources": {"CPU": 2}})
    assert shop.over("a").state == "done"
    assert shop.kinds("a").count("done") == 1
    until(lambda: shop.named().get("cpu on box3") == "ready")
    lost = [status.text for status in shop.statuses if status.state == "gone" and "cuda" in status.device]
    assert "cuda:0 on box1 was lost: its machine left." in lost


def test_another_version_of_the_studio_cannot_draw(tmp_path: Path) -> None:
    with opened(tmp_path, PLAIN, edition="0" * 12) as other:
        until(lambda: other.named().get("cpu on box2") == "broken")
        assert "another version of the studio" in other.statuses[0].text
        other.put("a")
        assert "another version of the studio" in other.last("a").text


def test_a_node_that_joins_is_taken_though_the_way_was_lost_while_there_was_none(tmp_path: Path) -> None:
    with opened(tmp_path, IDLE) as shop:
        os.kill(shop.far.pid, signal.SIGKILL)
        shop.put("a")
        shop.cluster_is(IDLE, PLAIN)
        assert shop.over("a").state == "done"


@pytest.mark.slow
def test_a_device_that_others_hold_says_so_and_draws_when_they_end(tmp_path: Path) -> None:
    with opened(tmp_path, PLAIN | {"held": True}) as shop:
        shop.put("a")
        until(lambda: shop.statuses[0].text)
        assert shop.statuses[0].state == "starting"
        assert "cpu on box2 does not begin: another program of the cluster holds it" in shop.statuses[0].text
        shop.cluster_is(PLAIN)
        assert shop.over("a").state == "done"
        assert shop.statuses[0].text == ""


def test_a_life_that_began_over_the_next_bridge_does_not_hear_of_the_end_of_the_one_before(tmp_path: Path) -> None:
    with opened(tmp_path, IDLE) as shop:
        shop.cluster_is(GPUS)
        workers: list[RayWorker] = []
        shop.far.follow(workers.append)
        until(lambda: len(workers) == 2)
        first, second = workers
        said: dict[str, list[Said]] = {"first": [], "second": [], "second again": []}

        def hear_first(one: Said) -> None:
            said["first"].append(one)
            if isinstance(one, Lost):
                second.start(said["second again"].append)

        first.start(hear_first)
        second.start(said["second"].append)
        until(lambda: said["first"] and said["second"])
        second.kill()
        until(lambda: isinstance(said["second"][-1], Lost))
        os.kill(shop.far.pid, signal.SIGKILL)
        until(lambda: said["second again"])
        assert isinstance(said["second again"][0], Ready)
        time.sleep(0.5)
        assert len(said["second again"]) == 1


def test_where_there_is_no_cluster_or_no_token_a_sentence_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in paper(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(PAPER)

    def connect(address: str) -> None:
        RayCluster(address, ENGINE, log=tmp_path / "log", read=lambda _digest: b"").connect()

    with pytest.raises(StudioError, match="There is no token for the Ray cluster"):
        connect("auto")
    (tmp_path / "token").write_text("f" * 64)
    with pytest.raises(StudioError, match="part of no Ray cluster"):
        connect("auto")
    with pytest.raises(StudioError, match="There is no Ray cluster at 127"):
        connect("127.0.0.1:1")


def test_a_training_over_nodes_of_which_one_does_not_see_the_folder_ends_with_its_name(tmp_path: Path) -> None:
    blind = PLAIN | {"root": "/elsewhere"}
    (tmp_path / "nodes.json").write_text(json.dumps([GPUS, blind]))
    (tmp_path / "token").write_text("f" * 64)
    code = (
        "import sys\nfrom pathlib import Path\nfrom controlnet_core.domain.errors import StudioError\n"
        "from controlnet_core.execution.ray_train import together\n"
        "try:\n    together(print, {}, int(sys.argv[2]), Path(sys.argv[1]), wait_s=0)\n"
        "except StudioError as error:\n    print(error.message)\n"
    )

    def told(processes: int) -> str:
        command = [sys.executable, "-c", code, str(tmp_path / "run" / "ray"), str(processes)]
        done = subprocess.run(
            command, env=os.environ | paper(tmp_path), capture_output=True, text=True, timeout=120, check=False
        )
        return done.stdout + done.stderr

    assert f"box2 cannot see {tmp_path / 'run'}." in told(2)
    assert "The cluster has no 13 free processors." in told(13)

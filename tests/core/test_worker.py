"""The dispatcher and its worker processes, one and two of them: real processes, really killed."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from controlnet_core.domain import picture
from controlnet_core.domain.detection import Detection
from controlnet_core.domain.document import Raster, decode
from controlnet_core.domain.errors import NoSpace
from controlnet_core.domain.job import Event, Job
from controlnet_core.domain.recipe import ControlUnit, Recipe
from controlnet_core.execution import dispatcher
from controlnet_core.execution.devices import devices
from controlnet_core.execution.dispatcher import Dispatcher, Status
from controlnet_core.execution.local_process import LocalProcess
from controlnet_core.execution.queue import Queue, QueueEntry
from controlnet_core.storage.gallery import Gallery, recipe_of
from controlnet_core.storage.store import Blobs
from tests.core.strokes_engine import StrokesEngine

ENGINE = "tests.core.strokes_engine:build"
RECIPE = Recipe(model="paperworld", width=64, height=64, steps=6, seed=5)


def recipe(prompt: str = "", **more: object) -> Recipe:
    return RECIPE.model_copy(update={"prompt": prompt, **more})


def until(true: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for something to become true, else fail."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


@dataclass
class Shop:
    """A queue with living workers, and every event that was told. `tag` keeps the jobs of one test apart."""

    queue: Queue
    gallery: Gallery
    dispatcher: Dispatcher
    told: list[tuple[str, Event]]
    tag: str = ""

    def put(self, id: str, prompt: str = "", session: str = "s", **more: object) -> None:
        self.queue.submit(Job(self.tag + id, self.tag + session, recipe(prompt, **more)))
        self.dispatcher.wake()

    def look(self, id: str, detector: str = "dark", **values: int | str) -> None:
        rgb = np.zeros((64, 128, 3), np.uint8)
        rgb[:, 64:] = 255
        digest = self.queue.blobs.put(picture.to_png(rgb))
        work = Detection(control="lines", detector=detector, picture=digest, width=64, height=32, values=dict(values))
        self.queue.submit(Job(self.tag + id, self.tag + "s", work, owner="w", slot="lines"))
        self.dispatcher.wake()

    def cancel(self, id: str) -> str:
        return self.dispatcher.cancel(self.tag + id)

    def entry(self, id: str) -> QueueEntry:
        return self.queue.get(self.tag + id)

    def over(self, id: str, seconds: float = 60.0) -> QueueEntry:
        until(lambda: self.entry(id).over, seconds)
        return self.entry(id)

    @property
    def statuses(self) -> tuple[Status, ...]:
        return self.dispatcher.statuses()

    def ready(self) -> set[int]:
        """The process ids of the workers, once all of them are free."""
        until(lambda: all(status.state == "ready" for status in self.statuses))
        return {status.pid for status in self.statuses}

    def working(self, id: str) -> int:
        """The process id of the worker that does a job."""
        until(lambda: any(status.job == self.tag + id for status in self.statuses))
        return next(status.pid for status in self.statuses if status.job == self.tag + id)

    def back(self, killed: int) -> None:
        """Wait until every worker is free, none of them the one that was killed."""
        until(lambda: all(status.state == "ready" and status.pid != killed for status in self.statuses))

    @property
    def events(self) -> list[tuple[str, Event]]:
        return [(session, event) for session, event in self.told if event.job.startswith(self.tag)]

    def of(self, id: str) -> list[Event]:
        return [event for _, event in self.told if event.job == self.tag + id]

    def kinds(self, id: str) -> list[str]:
        return [event.kind for event in self.of(id)]

    def last(self, id: str) -> Event:
        until(lambda: self.kinds(id)[-1:] and self.kinds(id)[-1] in ("done", "failed", "cancelled"))
        return self.of(id)[-1]

    def made(self) -> int:
        return len([one for one in self.gallery.recent(1000) if one.job.startswith(self.tag)])


@contextmanager
def open_shop(folder: Path, engine: str = ENGINE, workers: int = 1, **env: str) -> Iterator[Shop]:
    queue = Queue(folder / "jobs.sqlite", Blobs(folder / "blobs"))
    gallery = Gallery(folder / "gallery")
    events: list[tuple[str, Event]] = []
    log = folder / "studio.log"
    keeper = Dispatcher(
        queue,
        [LocalProcess(engine, device, log=log, env=env) for device in devices(",".join(["cpu"] * workers))],
        keep=gallery.add,
        tell=lambda session, event: events.append((session, event)),
    )
    keeper.start()
    try:
        yield Shop(queue, gallery, keeper, events)
    finally:
        keeper.stop()
        queue.close()


@pytest.fixture(scope="module", params=[1, 2], ids=["one worker", "two workers"])
def shared(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Shop]:
    with open_shop(tmp_path_factory.mktemp("shop"), workers=request.param) as shop:
        yield shop


@pytest.fixture(params=[1, 2], ids=["one worker", "two workers"])
def workers(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture
def shop(shared: Shop) -> Shop:
    """The shared shop with ready workers and nothing in its queue; a worker takes a second to start."""
    shared.ready()
    assert shared.queue.open() == []
    return replace(shared, tag=f"{time.monotonic_ns()}-")


def test_a_job_runs_and_its_pictures_are_the_engines(shop: Shop) -> None:
    shop.put("a", "slow=0.02", images=2)
    entry = shop.over("a")
    assert entry.state == "done"
    last = shop.last("a")
    assert last.kind == "done"
    assert last.kept == entry.kept
    assert last.seconds > 0.1
    assert [event.step for _, event in shop.events if event.kind == "step"] == [1, 2, 3, 4, 5, 6]
    for k, id in enumerate(entry.kept):
        png = shop.gallery.get(id).png.read_bytes()
        alone = recipe("slow=0.02", seed=5 + k)
        assert recipe_of(png) == alone
        assert np.array_equal(picture.open_picture(png), StrokesEngine().picture(alone, 0))
    assert {status.device for status in shop.statuses} == {"paper"}
    shop.ready()


def test_control_pictures_reach_the_engine(shop: Shop) -> None:
    rgb = np.full((64, 64, 3), 200, np.uint8)
    digest = shop.queue.blobs.put(picture.to_png(rgb))
    shop.put("a", controls=(ControlUnit(control="scribble", picture=digest),))
    made = picture.open_picture(shop.gallery.get(shop.over("a").kept[0]).png.read_bytes())
    assert (made[:8, :8] == 200).all()
    assert not (made[8:] == 200).all()


def test_a_detection_is_a_job_whose_document_is_kept(shop: Shop) -> None:
    shop.look("a")
    entry, last = shop.over("a"), shop.last("a")
    assert (entry.state, entry.kind, entry.recipe, entry.slot) == ("done", "detection", "", "lines")
    assert shop.kinds("a")[-2:] == ["loading", "done"]
    assert (last.kept, last.pictures) == (entry.kept, ())
    found = decode(shop.queue.blobs.get(entry.kept[0]))
    assert isinstance(found, Raster)
    assert found.pixels.shape == (32, 64)
    assert (found.pixels[:, :32] == 255).all()
    assert not found.pixels[:, 32:].any()
    assert shop.made() == 0


def test_a_detection_fails_in_its_own_words_and_stops_when_told(shop: Shop) -> None:
    shop.look("a", "nothing")
    assert (shop.last("a").kind, shop.last("a").text) == ("failed", "No person was found in the picture.")
    shop.look("b", "raise")
    assert shop.last("b").text == "Something went wrong while looking at this photo."
    shop.look("c", waits=200)
    until(lambda: shop.of("c")[-1:] and shop.of("c")[-1].text == "Still looking")
    shop.cancel("c")
    assert shop.over("c", 5).state == "cancelled"


def test_a_detection_survives_the_death_of_its_worker(shop: Shop, tmp_path: Path) -> None:
    first = shop.ready()
    shop.look("a", "die-once", mark=str(tmp_path / "mark"))
    assert shop.over("a").state == "done"
    assert shop.ready() != first
    assert shop.kinds("a").count("done") == 1


def test_previews_are_jpeg_and_at_most_ten_a_second(shop: Shop) -> None:
    shop.put("a", "slow=0.01", steps=60)
    entry = shop.over("a")
    previews = [event.preview for _, event in shop.events if event.preview]
    seconds = (entry.ended or 0) - (entry.started or 0)
    assert 2 <= len(previews) <= seconds * 10 + 1
    rgb = picture.open_picture(previews[0])
    assert previews[0].startswith(b"\xff\xd8")
    assert rgb.shape == (64, 64, 3)


def test_a_worker_killed_in_a_job_comes_back_and_makes_the_same_picture(shop: Shop) -> None:
    shop.ready()
    shop.put("a", "slow=0.1")
    until(lambda: "step" in shop.kinds("a"))
    killed = shop.working("a")
    os.kill(killed, signal.SIGKILL)
    entry = shop.over("a")
    assert entry.state == "done"
    shop.back(killed)
    made = picture.open_picture(shop.gallery.get(entry.kept[0]).png.read_bytes())
    assert np.array_equal(made, StrokesEngine().picture(RECIPE, 0))
    assert [event.text for _, event in shop.events if event.kind == "queued"] == ["The worker died and is coming back"]


def test_a_job_that_kills_its_worker_twice_fails_with_a_sentence_and_the_next_one_runs(shop: Shop) -> None:
    shop.put("a", "die")
    shop.put("b", session="t")
    failed = shop.last("a")
    assert failed.kind == "failed"
    assert "died twice" in failed.text
    assert failed.hint
    assert shop.entry("a").state == "failed"
    assert shop.over("b").state == "done"
    assert shop.made() == 1


def test_a_job_that_dies_once_is_done_once(shop: Shop, tmp_path: Path) -> None:
    shop.put("a", f"die-once={tmp_path / 'mark'}")
    assert shop.over("a").state == "done"
    assert shop.made() == 1
    assert shop.kinds("a").count("done") == 1


def test_a_worker_whose_device_is_gone_ends_and_the_job_is_done_by_another(shop: Shop, tmp_path: Path) -> None:
    """After some errors of CUDA, nothing that a process asks for works any more: every later job would fail in it."""
    gone = min(shop.ready())
    shop.put("a", f"gone-once={tmp_path / 'mark'}")
    assert shop.over("a").state == "done"
    shop.back(gone)
    assert shop.made() == 1 and "failed" not in shop.kinds("a")


def test_a_worker_killed_while_idle_comes_back(shop: Shop) -> None:
    killed = min(shop.ready())
    os.kill(killed, signal.SIGKILL)
    shop.back(killed)
    shop.put("a")
    assert shop.over("a").state == "done"


@pytest.mark.parametrize(
    ("prompt", "text"),
    [("raise", "Something went wrong while making this picture."), ("memory", "This needs more memory.")],
)
def test_a_failure_is_a_sentence_and_its_details_are_in_the_log(shop: Shop, prompt: str, text: str) -> None:
    pids = shop.ready()
    shop.put("job-7", prompt)
    failed = shop.last("job-7")
    assert (failed.kind, failed.text) == ("failed", text)
    assert failed.hint
    assert "secret" not in failed.text + failed.hint
    assert (shop.entry("job-7").text, shop.entry("job-7").hint) == (failed.text, failed.hint)
    log = (shop.gallery.folder.parent / "studio.log").read_text()
    assert f"{shop.tag}job-7" in log
    assert "Traceback" in log
    shop.put("b")
    assert shop.over("b").state == "done"
    assert shop.ready() == pids


def test_cancel_stops_what_runs_and_what_waits(shop: Shop) -> None:
    shop.ready()
    for k, _ in enumerate(shop.statuses):
        shop.put(f"a{k}" if k else "a", "slow=0.05", steps=100)
    shop.put("b")
    until(lambda: "step" in shop.kinds("a"))
    assert shop.cancel("b") == "cancelled"
    assert shop.last("b").kind == "cancelled"
    assert shop.dispatcher.cancel(shop.tag + "a", shop.tag + "s") == "running"
    for k in range(1, len(shop.statuses)):
        shop.cancel(f"a{k}")
    assert shop.over("a").state == "cancelled"
    assert shop.last("a").kind == "cancelled"
    assert shop.kinds("a").count("step") < 100
    shop.put("c")
    assert shop.over("c").state == "done"
    *places, end = shop.kinds("b")
    assert end == "cancelled" and set(places) <= {"queued"}
    assert len(places) <= len(shop.statuses), "told its place where a job began after it came"


def test_cancel_while_the_worker_starts_is_at_once(tmp_path: Path, workers: int) -> None:
    with open_shop(tmp_path, workers=workers, STROKES_BUILD_S="2") as shop:
        shop.put("a")
        until(lambda: "loading" in shop.kinds("a"))
        shop.cancel("a")
        assert shop.over("a").state == "cancelled"
        assert {status.state for status in shop.statuses} == {"starting"}
        shop.put("b")
        assert shop.over("b").state == "done"
        assert shop.kinds("a")[-1] == "cancelled"


def test_a_job_that_does_not_listen_takes_its_worker_with_it(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "CANCEL_MAX_S", 0.5)
    shop.ready()
    shop.put("a", "deaf slow=0.3", steps=100)
    killed = shop.working("a")
    until(lambda: "loading" in shop.kinds("a"))
    shop.cancel("a")
    assert shop.over("a").state == "cancelled"
    shop.put("b")
    assert shop.over("b").state == "done"
    shop.back(killed)


def test_waiting_jobs_hear_how_many_are_ahead(shop: Shop) -> None:
    workers = len(shop.ready())
    for k in range(workers):
        shop.put(f"a{k}", f"slow={0.05 + k}", session=f"s{k}")  # the others are still at it when "c" begins
    shop.put("b", session="t")
    shop.put("c", session="u")
    shop.over("c")
    for k in range(1, workers):
        shop.cancel(f"a{k}")
        shop.over(f"a{k}")
    ahead = [event.ahead for event in shop.of("c") if event.kind == "queued"]
    assert ahead[-1] == workers
    assert ahead == sorted(ahead, reverse=True)


def test_events_go_to_the_session_of_the_job(shop: Shop) -> None:
    shop.put("a", session="s1")
    shop.put("b", session="s2")
    shop.over("b")
    shop.last("a")
    for id, own in (("a", "s1"), ("b", "s2")):
        assert {session for session, event in shop.events if event.job == shop.tag + id} == {shop.tag + own}


def test_a_broken_engine_is_told_and_fails_jobs_with_a_sentence(tmp_path: Path, workers: int) -> None:
    with open_shop(tmp_path, "tests.core.strokes_engine:build_broken", workers) as shop:
        until(lambda: all(status.state == "broken" for status in shop.statuses))
        assert all("could not start" in status.text for status in shop.statuses)
        shop.put("a")
        failed = shop.last("a")
        assert failed.text == "The engine could not start."
        assert all(status.state == "broken" for status in shop.statuses)
        assert "no engine today" in (tmp_path / "studio.log").read_text()


def test_a_full_disk_fails_the_job_in_a_sentence(shop: Shop) -> None:
    left, shop.gallery.free_min_bytes = shop.gallery.free_min_bytes, 2**60
    shop.put("a")
    failed = shop.last("a")
    shop.gallery.free_min_bytes = left
    assert failed.kind == "failed"
    assert "too little space" in failed.text
    assert shop.made() == 0


def test_a_job_whose_beginning_finds_no_space_waits_and_its_worker_lives(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids, asked, claim = shop.ready(), [0.0], shop.queue.claim

    def full(_prefers: object) -> object:
        asked.append(time.monotonic())
        if len(asked) < 4:
            raise NoSpace("The disk has too little space left.")
        return claim()

    monkeypatch.setattr(dispatcher, "FULL_S", 0.2)
    monkeypatch.setattr(shop.queue, "claim", full)
    shop.put("a")
    assert shop.over("a").state == "done"
    assert shop.ready() == pids
    assert min(later - sooner for sooner, later in itertools.pairwise(asked[1:4])) > 0.1


def test_stop_is_quick_and_keeps_the_job_for_the_next_start(tmp_path: Path, workers: int) -> None:
    with open_shop(tmp_path, workers=workers) as shop:
        pids = shop.ready()
        shop.put("a", "slow=0.05", steps=40)
        shop.put("b", "slow=0.05", session="t", steps=40)
        until(lambda: "step" in shop.kinds("a"))
        shop.dispatcher.stop()
        assert not any(psutil.pid_exists(pid) for pid in pids)
        assert [entry.state for entry in shop.queue.open()] == ["queued", "queued"]
    with open_shop(tmp_path) as shop:
        assert shop.over("a").state == "done"
        assert shop.over("b").state == "done"


def test_the_worker_never_outlives_its_parent(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from tests.core.test_worker import open_shop\n"
        "with open_shop(Path(sys.argv[1])) as shop:\n"
        "    (pid,) = shop.ready(); shop.put('a', 'slow=0.2', steps=100); print(pid, flush=True); time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    worker = psutil.Process(int(parent.stdout.readline()))
    time.sleep(0.3)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert psutil.wait_procs([worker], timeout=5)[1] == []
    with open_shop(tmp_path) as shop:
        assert [event.text for _, event in shop.events if event.kind == "failed"] == []
        shop.cancel("a")


def test_an_idle_worker_costs_nothing(shop: Shop) -> None:
    processes = [psutil.Process(), *map(psutil.Process, shop.ready())]
    before = sum(sum(process.cpu_times()[:2]) for process in processes)
    time.sleep(1.5)
    spent = sum(sum(process.cpu_times()[:2]) for process in processes) - before
    assert spent <= 0.03


def test_ten_sessions_lose_and_double_nothing(shop: Shop) -> None:
    def submit(session: str) -> None:
        for k in range(4):
            id = f"{session}-{k}"
            until(lambda: len(shop.queue.open(shop.tag + session)) < 4, 30)
            shop.put(id, session=session, steps=2)
            shop.put(id, session=session, steps=2)

    threads = [threading.Thread(target=submit, args=(f"session{n}",)) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until(lambda: not shop.queue.open(), 30)
    entries = [entry for n in range(10) for entry in shop.queue.of(f"{shop.tag}session{n}")]
    assert [entry.state for entry in entries] == ["done"] * 40
    assert len({entry.kept[0] for entry in entries}) == 40
    assert shop.made() == 40
    done = [event.job for _, event in shop.events if event.kind == "done"]
    assert sorted(done) == sorted(entry.id for entry in entries)


def test_a_workers_threads_sleep_while_they_wait_unless_somebody_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for given, expected in ((None, "PASSIVE"), ("ACTIVE", "ACTIVE")):
        if given is None:
            monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
        else:
            monkeypatch.setenv("OMP_WAIT_POLICY", given)
        with open_shop(tmp_path / expected) as shop:
            shop.ready()
            environment = psutil.Process(shop.statuses[0].pid).environ()
        assert environment["OMP_WAIT_POLICY"] == expected

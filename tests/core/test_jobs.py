"""The queue: bounds, fairness, restart, one job for one id."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from controlnet_core.domain import picture
from controlnet_core.domain.detection import Detection, parse
from controlnet_core.domain.errors import InputError, NoSpace, QueueFull, RecipeError, StudioError
from controlnet_core.domain.job import Job
from controlnet_core.domain.recipe import ControlUnit, Recipe
from controlnet_core.execution.queue import REACH, Queue
from controlnet_core.storage.store import Blobs

RECIPE = Recipe(model="paperworld", width=64, height=64)
RGB = np.full((64, 64, 3), 7, np.uint8)


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    queue = Queue(tmp_path / "jobs.sqlite", Blobs(tmp_path / "blobs"))
    yield queue
    queue.close()


def put(queue: Queue, id: str, session: str = "s", recipe: Recipe = RECIPE, owner: str = "") -> None:
    queue.submit(Job(id, session, recipe, owner=owner))


def drain(queue: Queue) -> list[str]:
    order: list[str] = []
    while (job := queue.claim()) is not None:
        order.append(job.id)
        queue.done(job.id, ())
    return order


def test_a_job_goes_through_its_states(queue: Queue) -> None:
    put(queue, "a")
    assert queue.get("a").state == "queued"
    job = queue.claim()
    assert job is not None
    assert (job.id, job.session, job.recipe) == ("a", "s", RECIPE)
    assert queue.get("a").state == "running"
    assert queue.claim() is None
    queue.done("a", ("id1", "id2"))
    entry = queue.get("a")
    assert (entry.state, entry.kept, entry.over) == ("done", ("id1", "id2"), True)
    assert entry.created <= (entry.started or 0) <= (entry.ended or 0)


def test_a_job_that_cannot_be_begun_for_whatever_reason_fails_instead_of_running_for_ever(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = queue.blobs.put(picture.to_png(RGB))
    put(queue, "a", recipe=RECIPE.model_copy(update={"controls": (ControlUnit(control="canny", picture=digest),)}))
    put(queue, "b")

    def exhausted(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(picture, "open_picture", exhausted)
    assert drain(queue) == ["b"]
    entry = queue.get("a")
    assert (entry.state, entry.text) == ("failed", "Something went wrong on the way to the device.")


def test_what_is_over_stays_over(queue: Queue) -> None:
    put(queue, "a")
    queue.claim()
    queue.cancelled("a")
    queue.done("a", ("late",))
    queue.fail("a", StudioError("late"))
    assert queue.get("a").state == "cancelled"
    assert queue.lost("a").state == "cancelled"
    assert queue.cancel("a") == "cancelled"


def test_a_double_click_is_one_job(queue: Queue) -> None:
    put(queue, "a")
    put(queue, "a")
    assert drain(queue) == ["a"]
    put(queue, "a")
    assert queue.claim() is None
    with pytest.raises(InputError, match="taken"):
        put(queue, "a", "somebody else")


def test_many_threads_submit_and_claim_each_job_once(queue: Queue) -> None:
    queue.queued_max, queue.session_max = 1000, 1000
    claimed: list[str] = []

    def work(name: str) -> None:
        for k in range(15):
            put(queue, f"{name}{k}", name)
            put(queue, f"{name}{k}", name)
            job = queue.claim()
            if job is not None:
                claimed.append(job.id)

    threads = [threading.Thread(target=work, args=(f"t{n}-",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while (job := queue.claim()) is not None:
        claimed.append(job.id)
    assert len(claimed) == len(set(claimed)) == 60


def test_a_workspace_has_one_turn_in_a_round_and_eight_places_in_all_its_tabs(queue: Queue) -> None:
    for k in range(8):
        put(queue, f"many{k}", f"tab{k}", owner="ab" * 16)
    with pytest.raises(QueueFull, match="8 jobs in the queue already"):
        put(queue, "many8", "tab8", owner="ab" * 16)
    for k in range(3):
        put(queue, f"single{k}", f"other{k}", owner=f"{k}" * 32)
    assert drain(queue)[:4] == ["many0", "single0", "single1", "single2"]


def test_a_session_has_four_places(queue: Queue) -> None:
    for k in range(4):
        put(queue, f"a{k}")
    queue.claim()
    with pytest.raises(QueueFull, match="4 jobs in the queue already"):
        put(queue, "a4")
    queue.done("a0", ())
    put(queue, "a4")


def test_the_queue_has_sixty_four_places(queue: Queue) -> None:
    for k in range(64):
        put(queue, f"j{k}", f"s{k}")
    with pytest.raises(QueueFull, match="64 jobs are ahead"):
        put(queue, "late", "s64")
    put(queue, "j3", "s3")  # known already: not one more


def test_sessions_take_turns_and_keep_their_order(queue: Queue) -> None:
    for k in range(4):
        put(queue, f"a{k}", "a")
    put(queue, "b0", "b")
    for k in range(2):
        put(queue, f"c{k}", "c")
    assert [entry.id for entry in queue.open()] == ["a0", "b0", "c0", "a1", "c1", "a2", "a3"]
    assert [queue.get(id).ahead for id in ("a0", "b0", "a3")] == [0, 1, 6]
    assert drain(queue) == ["a0", "b0", "c0", "a1", "c1", "a2", "a3"]


def test_one_flooder_and_nine_singles(queue: Queue) -> None:
    """Each single starts within ten jobs, although the flooder refills its places at once."""
    for k in range(4):
        put(queue, f"flood{k}", "flooder")
    assert queue.claim() is not None
    for k in range(9):
        put(queue, f"single{k}", f"single{k}")
    started, flooded = [], 4
    queue.done("flood0", ())
    for _ in range(20):
        job = queue.claim()
        if job is None:
            break
        started.append(job.id)
        if job.session == "flooder":
            put(queue, f"flood{flooded}", "flooder") if len(queue.open("flooder")) < 4 else None
            flooded += 1
        queue.done(job.id, ())
    assert {f"single{k}" for k in range(9)} <= set(started[:10])


def test_newcomers_do_not_starve_who_waits(queue: Queue) -> None:
    put(queue, "old0", "old")
    put(queue, "old1", "old")
    order: list[str] = []
    for k in range(8):  # a new session with every job that starts
        put(queue, f"new{k}", f"new{k}")
        job = queue.claim()
        assert job is not None
        order.append(job.id)
        queue.done(job.id, ())
    assert order.index("old1") <= 2


def test_cancel_of_what_waits_is_at_once_and_of_what_runs_is_asked(queue: Queue) -> None:
    put(queue, "a")
    put(queue, "b")
    queue.claim()
    assert queue.cancel("b") == "cancelled"
    assert queue.cancel("a") == "running"
    assert queue.claim() is None
    with pytest.raises(InputError, match="no such job"):
        queue.cancel("a", session="somebody else")
    with pytest.raises(InputError, match="no such job"):
        queue.cancel("nothing")


def test_a_lost_worker_is_forgiven_once(queue: Queue) -> None:
    put(queue, "a")
    put(queue, "b")
    queue.claim()
    assert queue.lost("a").state == "queued"
    job = queue.claim()
    assert job is not None
    assert job.id == "a"  # it keeps its place
    entry = queue.lost("a")
    assert entry.state == "failed"
    assert "died twice" in entry.text


def test_a_restart_finds_everything_again(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs")
    before = Queue(tmp_path / "jobs.sqlite", blobs)
    for id in ("done", "running", "waiting"):
        put(before, id, "w")
    before.claim()
    before.done("done", ("x",))
    before.claim()
    # No close: the process is gone without a word.
    after = Queue(tmp_path / "jobs.sqlite", blobs)
    assert [entry.id for entry in after.recover()] == ["running"]
    assert [(entry.id, entry.state) for entry in after.of("w")] == [
        ("waiting", "queued"),
        ("running", "queued"),
        ("done", "done"),
    ]
    assert drain(after) == ["running", "waiting"]
    after.close()
    before.close()


def test_a_job_that_a_shutdown_interrupted_has_not_used_its_second_chance(queue: Queue) -> None:
    put(queue, "a")
    queue.claim()
    queue.put_back("a")
    queue.claim()
    assert queue.lost("a").state == "queued"


def test_control_pictures_travel_with_the_job(queue: Queue) -> None:
    digest = queue.blobs.put(picture.to_png(RGB))
    recipe = RECIPE.model_copy(update={"controls": (ControlUnit(control="scribble", picture=digest),)})
    put(queue, "a", recipe=recipe)
    job = queue.claim()
    assert job is not None
    assert np.array_equal(job.pictures[digest], RGB)


def test_a_picture_may_come_with_the_job(queue: Queue, tmp_path: Path) -> None:
    digest = Blobs(tmp_path / "elsewhere").put(picture.to_png(RGB))
    recipe = RECIPE.model_copy(update={"controls": (ControlUnit(control="scribble", picture=digest),)})
    queue.submit(Job("a", "s", recipe, {digest: RGB}))
    assert digest in queue.blobs
    for wrong in ({}, {digest: RGB + 1}):
        other = recipe.model_copy(update={"controls": (ControlUnit(control="scribble", picture=digest[::-1]),)})
        with pytest.raises(RecipeError, match="scribble control is missing"):
            queue.submit(Job("b", "s", other, wrong))
    assert [entry.id for entry in queue.open()] == ["a"]


def test_a_job_whose_picture_vanished_fails_and_the_next_one_runs(queue: Queue) -> None:
    digest = queue.blobs.put(picture.to_png(RGB))
    recipe = RECIPE.model_copy(update={"controls": (ControlUnit(control="scribble", picture=digest),)})
    put(queue, "a", recipe=recipe)
    put(queue, "b")
    next(path for path in queue.blobs.folder.rglob(digest)).unlink()
    job = queue.claim()
    assert job is not None
    assert job.id == "b"
    assert queue.get("a").state == "failed"
    assert "not here any more" in queue.get("a").text


def test_owner_and_session_both_find_their_jobs(queue: Queue) -> None:
    queue.submit(Job("a", "tab1", RECIPE, owner="browser"))
    queue.submit(Job("b", "tab2", RECIPE, owner="browser"))
    assert [entry.id for entry in queue.of("browser")] == ["b", "a"]
    assert [entry.id for entry in queue.of("tab1")] == ["a"]
    assert [entry.id for entry in queue.open("tab2")] == ["b"]


def test_a_detection_waits_like_a_recipe_and_brings_its_photo(queue: Queue) -> None:
    digest = queue.blobs.put(picture.to_png(RGB))
    work = Detection(control="pose", detector="vitpose", picture=digest, width=64, height=32, values={"joint": 0.3})
    queue.submit(Job("a", "s", work, owner="w", slot="pose"))
    job = queue.claim()
    assert job is not None
    assert (job.work, job.kind, job.owner, job.slot) == (work, "detection", "w", "pose")
    assert np.array_equal(job.pictures[digest], RGB)
    entry = queue.get("a")
    assert (entry.kind, entry.recipe, parse(entry.work)) == ("detection", "", work)
    with pytest.raises(RecipeError, match="photo is missing"):
        queue.submit(Job("b", "s", work.model_copy(update={"picture": "0" * 64})))


@pytest.mark.parametrize(
    "wrong",
    [{"width": 0}, {"height": 4096}, {"picture": "x"}, {"control": "../x"}, {"values": {"a": [1]}}, {"evil": 1}],
)
def test_a_detection_is_strict(wrong: dict[str, object]) -> None:
    fields = {"control": "pose", "detector": "vitpose", "picture": "0" * 64, "width": 64, "height": 64, "values": {}}
    assert Detection.model_validate(fields).values == {}
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Detection.model_validate(fields | wrong)


def test_equal_detections_give_equal_lines() -> None:
    one = Detection(control="a", detector="b", picture="0" * 64, width=1, height=1, values={"x": 1, "y": True})
    other = Detection(control="a", detector="b", picture="0" * 64, width=1, height=1, values={"y": True, "x": 1})
    assert one.to_json() == other.to_json()
    assert parse(one.to_json()) == one


def test_jobs_from_before_there_were_detections_are_still_there(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "jobs.sqlite")
    db.execute(
        "CREATE TABLE job (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, session TEXT NOT NULL, "
        "owner TEXT NOT NULL DEFAULT '', recipe TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'queued', tag INTEGER NOT NULL, "
        "runs INTEGER NOT NULL DEFAULT 0, created REAL NOT NULL, started REAL, ended REAL, text TEXT NOT NULL DEFAULT '', "
        "hint TEXT NOT NULL DEFAULT '', kept TEXT NOT NULL DEFAULT '[]')"
    )
    db.execute(
        "INSERT INTO job (id, session, recipe, tag, created) VALUES (?, ?, ?, ?, ?)",
        ("a", "s", RECIPE.to_json(), 1, 1.0),
    )
    db.commit()
    db.close()
    for _ in range(2):
        queue = Queue(tmp_path / "jobs.sqlite", Blobs(tmp_path / "blobs"))
        entry = queue.get("a")
        assert (entry.kind, entry.recipe, entry.slot) == ("recipe", RECIPE.to_json(), "")
        queue.close()


def test_what_was_accepted_ends_in_words_however_full_the_disk_is(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.session_max = queue.queued_max
    put(queue, "first")
    database = queue._db  # pyright: ignore[reportPrivateUsage]
    (pages,) = database.execute("PRAGMA page_count").fetchone()
    database.execute(f"PRAGMA max_page_count = {pages}")  # to SQLite a full disk
    failed = 0

    def fail_all() -> int:
        count = 0
        while (job := queue.claim()) is not None:
            queue.fail(job.id, NoSpace("No room. " * 20, "Make some. " * 20))
            assert (queue.get(job.id).state, queue.get(job.id).text) == ("failed", "No room. " * 20)
            count += 1
        return count

    with pytest.raises(NoSpace, match="too little space"):
        for number in range(2000):
            try:
                put(queue, f"job-{number}")
            except QueueFull:
                failed += fail_all()
    failed += fail_all()
    assert failed == queue._number("SELECT COUNT(*) FROM job") > 20  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(queue.blobs, "free_min_bytes", 2**60)
    database.execute("PRAGMA max_page_count = 1000000")
    with pytest.raises(NoSpace):  # what it makes could not be kept
        put(queue, "no room for its result")


def needing(queue: Queue, *models: str) -> None:
    for number, model in enumerate(models):
        queue.submit(Job(f"j{number:02d}", f"s{number}", RECIPE.model_copy(update={"model": model})))


def claimed(queue: Queue, *prefers: str) -> str:
    job = queue.claim(prefers)
    assert job is not None
    return job.id


def test_a_job_whose_model_is_in_memory_goes_first_of_those_near_the_front(queue: Queue) -> None:
    needing(queue, "large", "large", "small", "small")
    assert claimed(queue, "small") == "j02"
    assert claimed(queue, "other") == "j00"
    assert claimed(queue, "small", "large") == "j01", "its model is there, too"
    assert claimed(queue) == "j03"


def test_a_detection_whose_detector_is_in_memory_goes_first_too(queue: Queue) -> None:
    needing(queue, "large")
    digest = queue.blobs.put(picture.to_png(np.zeros((8, 8, 3), np.uint8)))
    work = Detection(control="pose", detector="openpose", picture=digest, width=64, height=64)
    queue.submit(Job("look", "t", work))
    assert claimed(queue, "pose/openpose") == "look"


def test_nobody_is_passed_over_for_ever(queue: Queue) -> None:
    needing(queue, "rare", *["small"] * (2 * REACH))
    order = [claimed(queue, "small") for _ in range(2 * REACH + 1)]
    assert order.index("j00") == REACH


def test_a_preferred_job_far_behind_waits_its_turn(queue: Queue) -> None:
    needing(queue, *["large"] * REACH, "small")
    assert claimed(queue, "small") == "j00"

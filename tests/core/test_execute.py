"""One job from its beginning to its last event, without a process, a queue or a file."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from controlnet_core.domain import picture
from controlnet_core.domain.detection import Detection
from controlnet_core.domain.document import Raster, decode
from controlnet_core.domain.job import Job
from controlnet_core.execution.execute import execute
from tests.core.strokes_engine import StrokesEngine
from tests.core.test_worker import recipe


def job(prompt: str = "", **fields: object) -> Job:
    return Job("a", "s", recipe(prompt, **fields))


def test_the_events_of_a_job_are_its_steps_and_its_pictures() -> None:
    *steps, last = execute(job(images=2), StrokesEngine(), lambda: False)
    assert [event.step for event in steps if event.kind == "step"] == [1, 2, 3, 4, 5, 6]
    assert last.kind == "done" and {event.job for event in steps} == {"a"}
    made = [picture.open_picture(png) for png in last.pictures]
    assert all(np.array_equal(made[k], StrokesEngine().picture(recipe(), k)) for k in range(2))


def test_a_detection_ends_with_its_document() -> None:
    rgb = np.zeros((64, 64, 3), np.uint8)
    digest = "a" * 64
    work = Detection(control="lines", detector="dark", picture=digest, width=64, height=32)
    *_, last = execute(Job("a", "s", work, {digest: rgb}), StrokesEngine(), lambda: False)
    assert last.kind == "done" and _size(last.found) == (64, 32)


def _size(found: bytes) -> tuple[int, int]:
    document = decode(found)
    assert isinstance(document, Raster)
    return document.pixels.shape[1], document.pixels.shape[0]


def test_a_job_is_cancelled_at_its_next_step() -> None:
    heard: list[str] = []
    for event in execute(job(steps=50), StrokesEngine(), lambda: len(heard) >= 3):
        heard.append(event.kind)
    assert heard[-1] == "cancelled" and heard.count("step") < 50


def test_who_stops_listening_stops_the_job() -> None:
    engine = StrokesEngine()
    events = execute(job("slow=0.01", steps=1000), engine, lambda: False)
    assert next(events).kind == "step"
    begun = threading.active_count()
    events.close()
    assert threading.active_count() <= begun
    *_, last = execute(job(), engine, lambda: False)
    assert last.kind == "done", "the engine is free again"


@pytest.mark.parametrize(("prompt", "text"), [("raise", "Something went wrong"), ("memory", "This needs more memory.")])
def test_what_fails_says_so_in_its_last_event(prompt: str, text: str) -> None:
    *_, last = execute(job(prompt), StrokesEngine(), lambda: False)
    assert last.kind == "failed" and last.text.startswith(text) and last.hint and "secret" not in last.text


def test_an_engine_works_in_one_thread_whoever_asks() -> None:
    names: set[str] = set()

    class Engine(StrokesEngine):
        def run(self, *given: object) -> list[picture.Rgb]:  # type: ignore[override]
            names.add(threading.current_thread().name)
            return super().run(*given)  # type: ignore[arg-type]

    threads = [threading.Thread(target=lambda: list(execute(job(), Engine(), lambda: False))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(names) == 1

"""Live frames between the queue's jobs: real workers, one and two of them, really killed."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections.abc import Iterator

import pytest

from controlnet_core.domain import picture
from controlnet_core.domain.errors import StudioError
from controlnet_core.domain.job import Event, Job
from controlnet_core.execution.live import LiveLine
from tests.core.test_worker import Shop, open_shop, recipe, until

_numbers = itertools.count()


class Sketch:
    """A drawing in the making whose revision is the seed of its frames, at a pace of its prompt."""

    def __init__(self, name: str, prompt: str = "", steps: int = 6) -> None:
        self.name, self.prompt, self.steps = name, prompt, steps
        self.rev = 0
        self.asked: list[int] = []
        self.heard: list[Event] = []

    def frame(self) -> Job | None:
        if self.asked and self.asked[-1] == self.rev and self.heard and self.heard[-1].kind == "done":
            return None
        self.asked.append(self.rev)
        work = recipe(self.prompt, steps=self.steps, seed=self.rev)
        return Job(f"live-{self.name}-{next(_numbers)}", self.name, work, live=True)

    def hear(self, event: Event) -> None:
        self.heard.append(event)

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.heard]

    @property
    def pictures(self) -> int:
        return self.kinds.count("done")


def draw(shop: Shop, sketch: Sketch) -> None:
    sketch.rev += 1
    shop.dispatcher.want(sketch)


@pytest.fixture(scope="module", params=[1, 2], ids=["one worker", "two workers"])
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with open_shop(tmp_path_factory.mktemp("shop"), workers=request.param) as running:
        running.ready()
        yield running


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with open_shop(tmp_path_factory.mktemp("alone")) as running:
        yield running


@pytest.fixture
def one(alone: Shop) -> Shop:
    alone.ready()
    return alone


def test_the_last_picture_belongs_to_the_last_drawing(shop: Shop) -> None:
    sketch = Sketch("hand", "slow=0.002", steps=4)
    before = shop.made()
    for _ in range(200):
        draw(shop, sketch)
    until(lambda: sketch.pictures and sketch.asked[-1] == 200)
    until(lambda: sketch.kinds[-1] == "done")
    assert len(sketch.asked) < 100, "newer drawings took the place of older ones"
    shown = picture.open_picture(sketch.heard[-1].pictures[0])
    assert sketch.heard[-1].pictures[0][:2] == b"\xff\xd8" and shown.shape == (64, 64, 3)
    assert shop.made() == before and not shop.queue.open(), "neither gallery nor queue has seen any of it"
    shop.dispatcher.leave(sketch)


def test_who_draws_without_a_pause_sees_pictures_all_the_same(shop: Shop) -> None:
    sketch, over = Sketch("restless", "slow=0.01", steps=8), threading.Event()

    def scribble() -> None:
        while not over.wait(0.004):
            draw(shop, sketch)

    hand = threading.Thread(target=scribble)
    hand.start()
    until(lambda: sketch.pictures >= 4)
    over.set()
    hand.join()
    assert len(sketch.asked) > sketch.pictures, "some were dropped for newer ones"
    shop.dispatcher.leave(sketch)


def test_a_waiting_job_goes_first_and_live_goes_on(one: Shop) -> None:
    sketch = Sketch("polite", "slow=0.05", steps=100)
    draw(one, sketch)
    until(lambda: "step" in sketch.kinds)
    one.put("job", "slow=0.01")
    assert one.over("job").state == "done"
    assert sketch.pictures == 0, "it did not wait for a hundred steps"
    assert "queued" in sketch.kinds, "and it is said"
    sketch.steps = 3
    draw(one, sketch)
    until(lambda: sketch.pictures)
    one.dispatcher.leave(sketch)


def test_another_free_worker_takes_the_job(shop: Shop) -> None:
    if len(shop.statuses) == 1:
        pytest.skip("there is only one worker")
    sketch = Sketch("calm", "slow=0.02", steps=40)
    draw(shop, sketch)
    until(lambda: "step" in sketch.kinds)
    shop.put("beside")
    assert shop.over("beside").state == "done"
    until(lambda: sketch.pictures)
    assert sketch.asked == [1], "the frame was not dropped for it"
    shop.dispatcher.leave(sketch)


def test_two_drawings_take_turns_on_one_worker(shop: Shop) -> None:
    first, second = Sketch("a", "slow=0.02", steps=3), Sketch("b", "slow=0.02", steps=3)
    for _ in range(1000):
        draw(shop, first)
        draw(shop, second)
        assert sum(bool(worker.frame) for worker in shop.dispatcher._workers) <= 1  # pyright: ignore[reportPrivateUsage]
        if min(first.pictures, second.pictures) >= 3:
            break
        threading.Event().wait(0.03)
    assert min(first.pictures, second.pictures) >= 3
    assert abs(len(first.asked) - len(second.asked)) <= 2
    shop.dispatcher.leave(first)
    shop.dispatcher.leave(second)


def test_a_killed_worker_comes_back_and_live_goes_on(one: Shop) -> None:
    sketch = Sketch("tough", "slow=0.05", steps=10)
    (pid,) = one.ready()
    draw(one, sketch)
    until(lambda: "step" in sketch.kinds)
    os.kill(pid, signal.SIGKILL)
    until(lambda: sketch.pictures)
    assert sketch.asked == [1, 1] and "loading" in sketch.kinds
    one.dispatcher.leave(sketch)


def test_a_drawing_that_kills_workers_is_told_so(one: Shop) -> None:
    sketch = Sketch("deadly", "die")
    draw(one, sketch)
    until(lambda: sketch.kinds[-1:] == ["failed"])
    assert sketch.heard[-1].text and sketch.heard[-1].hint
    one.put("after")
    assert one.over("after").state == "done"


def test_who_leaves_gets_nothing_more(one: Shop) -> None:
    sketch = Sketch("gone", "slow=0.02", steps=50)
    draw(one, sketch)
    until(lambda: "step" in sketch.kinds)
    one.dispatcher.leave(sketch)
    one.put("next")
    assert one.over("next").state == "done"
    assert "done" not in sketch.kinds and "cancelled" not in sketch.kinds


def test_what_cannot_be_prepared_says_so_and_the_next_has_its_turn() -> None:
    class Torn(Sketch):
        def frame(self) -> Job | None:
            raise StudioError("This drawing is torn.", "Mend it.")

    line, torn, whole = LiveLine(), Torn("torn"), Sketch("whole")
    line.want(torn)
    line.want(whole)
    job = line.next()
    assert job is not None and job.session == "whole"
    assert [(event.kind, event.text) for event in torn.heard] == [("failed", "This drawing is torn.")]

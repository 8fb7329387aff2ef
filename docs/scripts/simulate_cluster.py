"""Many people on many devices, on paper: how long pictures wait, with and without a sense for loaded models, and with turns.

    python docs/scripts/simulate_cluster.py                     the table of docs/scaling.md
    python docs/scripts/simulate_cluster.py --devices 16 --people 250 --picture-s 2 --load-s 6

A person asks for a picture, waits for it, looks at it for a while, asks again; one in twenty asks for four at once. Service times
are put in, not measured here: the time of a picture varies as lognormal; a model that is not in a device's memory is loaded first.
Models are as popular as words are (Zipf); a person has a favourite and takes another now and then.

Orders: "first come" is one line; "turns" is the queue's own (`execution/queue.py`: a job's tag is one more than its session's
last, or than the highest that ran). Choices: "any": the longest free device; "loaded": one that has the first job's model, if one
is free; "reaching", the queue's own too: a free device takes, of the first `REACH` jobs, one whose model it has, unless the first
was passed over `REACH` times.
"""

from __future__ import annotations

import argparse
import heapq
import random
import statistics
from bisect import insort
from dataclasses import dataclass, field

MANY, HOUR_S, REACH = 4, 3600.0, 8
KEPT = 2
"""Models in the memory of a device."""


@dataclass(order=True)
class _Job:
    tag: int
    number: int
    person: int = field(compare=False)
    model: int = field(compare=False)
    asked: float = field(compare=False)
    passed: int = field(compare=False, default=0)


@dataclass
class _Device:
    free_since: float = 0.0
    loaded: list[int] = field(default_factory=list)


class _World:
    """One run: an order of jobs and a choice of devices."""

    def __init__(self, given: argparse.Namespace, order: str, choice: str, seed: int = 1) -> None:
        self.given, self.order, self.choice = given, order, choice
        self.rng = random.Random(seed)
        self.weights = [1 / (rank + 1) for rank in range(given.models)]
        self.favourite = self.rng.choices(range(given.models), self.weights, k=given.people)
        self.many = [self.rng.random() < 0.05 for _ in range(given.people)]
        self.events: list[tuple[float, int, str, int]] = []
        self.line: list[_Job] = []
        self.free = [_Device() for _ in range(given.devices)]
        self.busy: dict[int, tuple[_Device, _Job]] = {}
        self.tags: dict[int, int] = {}
        self.ran = self.count = self.loads = self.done = 0
        self.open = [0] * given.people
        self.waits: dict[bool, list[float]] = {True: [], False: []}

    def run(self) -> _World:
        for person in range(self.given.people):
            self.plan(self.rng.uniform(0, self.given.think_s), "ask", person)
        while self.events:
            now, _, what, which = heapq.heappop(self.events)
            if now > HOUR_S:
                break
            self.ask(now, which) if what == "ask" else self.end(now, which)
            self.hand_out(now)
        return self

    def plan(self, at: float, what: str, which: int) -> None:
        self.count += 1
        heapq.heappush(self.events, (at, self.count, what, which))

    def ask(self, now: float, person: int) -> None:
        for _ in range(MANY if self.many[person] else 1):
            other = self.rng.random() < 0.1
            model = self.rng.choices(range(self.given.models), self.weights)[0] if other else self.favourite[person]
            self.count += 1
            tag = 1 + max(self.ran, self.tags.get(person, 0)) if self.order == "turns" else 0
            self.tags[person] = tag
            insort(self.line, _Job(tag, self.count, person, model, now))
            self.open[person] += 1

    def end(self, now: float, number: int) -> None:
        device, job = self.busy.pop(number)
        device.free_since = now
        self.free.append(device)
        self.done += 1
        self.open[job.person] -= 1
        if not self.open[job.person]:
            self.plan(now + self.rng.expovariate(1 / self.given.think_s), "ask", job.person)

    def hand_out(self, now: float) -> None:
        while self.free and self.line:
            job, device = self.next()
            self.line.remove(job)
            self.free.remove(device)
            self.ran = max(self.ran, job.tag)
            if now > HOUR_S / 6:  # the first minutes are a start
                self.waits[self.many[job.person]].append(now - job.asked)
            takes = self.given.picture_s * self.rng.lognormvariate(-0.125, 0.5)  # its mean is 1
            if job.model in device.loaded:
                device.loaded.remove(job.model)
            else:
                takes += self.given.load_s
                self.loads += 1
            device.loaded = [job.model, *device.loaded][:KEPT]
            self.busy[job.number] = device, job
            self.plan(now + takes, "end", job.number)

    def next(self) -> tuple[_Job, _Device]:
        longest = min(self.free, key=lambda one: one.free_since)
        if self.choice == "any":
            return self.line[0], longest
        first = self.line[0]
        reach = REACH if self.choice == "reaching" and first.passed < REACH else 1
        for job in self.line[:reach]:
            having = [one for one in self.free if job.model in one.loaded]
            if having:
                first.passed += job is not first
                return job, min(having, key=lambda one: one.free_since)
        return first, longest


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--people", type=int, default=1000)
    parser.add_argument("--devices", type=int, default=64)
    parser.add_argument("--models", type=int, default=12)
    parser.add_argument("--picture-s", type=float, default=3.0)
    parser.add_argument("--load-s", type=float, default=10.0)
    parser.add_argument("--think-s", type=float, default=45.0)
    given = parser.parse_args()
    print(
        "| order | choice | pictures an hour | loads a picture | one waits: median, 95 %, 99 % | four wait: median, 95 % |"
    )
    print("|---|---|---|---|---|---|")
    for order in ("first come", "turns"):
        for choice in ("any", "loaded", "reaching"):
            world = _World(given, order, choice).run()
            one, many = (statistics.quantiles(world.waits[which], n=100) for which in (False, True))
            print(
                f"| {order} | {choice} | {world.done} | {world.loads / world.done:.2f} "
                f"| {one[49]:.1f}, {one[94]:.1f}, {one[98]:.1f} s | {many[49]:.1f}, {many[94]:.1f} s |"
            )


if __name__ == "__main__":
    main()

"""Workers in a Ray cluster beside workers of this machine, in one run. One JSON line for each figure; needs ray.

python tests/bench/bench_ray.py             a small engine: what the way to an actor costs, and what two actors bring
python tests/bench/bench_ray.py --model     with the shipped model, too: the same pixels, and the real gain on this machine
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from controlnet_core.domain.picture import open_picture
from controlnet_core.domain.recipe import Recipe
from tests.core.test_ray import open_far_shop
from tests.core.test_worker import ENGINE, Shop, open_shop, until
from tests.ray_nodes import Cluster

MODEL = "webapp.application.engine:build"
WAITING = "slow=0.05"


def say(name: str, value: float, unit: str) -> None:
    print(json.dumps({"bench": "ray", "name": name, "value": round(value, 3), "unit": unit}), flush=True)


def one_by_one(shop: Shop, rounds: int, fields: dict[str, object], name: str) -> list[float]:
    """Seconds of each picture, from its submission to its last event."""
    times: list[float] = []
    for number in range(rounds):
        id = f"{name}{number}"
        begun = time.perf_counter()
        shop.put(id, **fields)
        until(lambda id=id: shop.kinds(id)[-1:] == ["done"], 600)
        times.append(time.perf_counter() - begun)
    return times


def together(shop: Shop, jobs: int, fields: dict[str, object], name: str) -> float:
    """Pictures a second, of many that wait."""
    begun = time.perf_counter()
    for number in range(jobs):
        shop.put(f"{name}{number}", session=f"s{number}", **fields)
    for number in range(jobs):
        until(lambda number=number: shop.kinds(f"{name}{number}")[-1:] == ["done"], 600)
    return jobs / (time.perf_counter() - begun)


def everybody(cluster: Cluster) -> list[psutil.Process]:
    """This process, its workers and its bridge, and all that belongs to the cluster."""
    mine = psutil.Process()
    pids = {mine.pid, *(child.pid for child in mine.children(recursive=True)), *cluster.processes()}
    return [psutil.Process(pid) for pid in pids]


def processor_s(processes: Sequence[psutil.Process]) -> float:
    """Seconds of processors that they have taken: other programs on this machine change it little."""
    total = 0.0
    for process in processes:
        with suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def ready(shop: Shop, count: int) -> None:
    until(lambda: sum(status.state == "ready" for status in shop.statuses) == count, 300)


def measure_small(folder: Path, cluster: Cluster, rounds: int) -> None:
    fields: dict[str, object] = {"prompt": "", "width": 512, "height": 512, "steps": 4}
    waits: dict[str, object] = {"prompt": WAITING, "steps": 6}
    with open_shop(folder / "near", ENGINE) as near, open_far_shop(folder / "far", cluster.address) as far:
        ready(near, 1)
        ready(far, 1)
        one_by_one(near, 5, fields, "warm")
        one_by_one(far, 5, fields, "warm")
        found: dict[str, list[float]] = {"near": [], "far": []}
        spent = {"near": 0.0, "far": 0.0}
        processes = everybody(cluster)
        for turn in range(4):  # taking turns: what else the machine does meets both
            for name, shop in (("near", near), ("far", far)):
                begun = processor_s(processes)
                found[name] += one_by_one(shop, rounds // 4, fields, f"{name}{turn}-")
                spent[name] += processor_s(processes) - begun
        middle = {name: statistics.median(times) * 1e3 for name, times in found.items()}
        say("512 px picture, 4 steps that cost nothing, worker of this machine, median", middle["near"], "ms")
        say("the same on an actor, median", middle["far"], "ms")
        say("what the way to an actor costs a picture", middle["far"] - middle["near"], "ms")
        more = (spent["far"] - spent["near"]) / rounds * 1e3
        say("the same in processor time of all processes, Ray's own too", more, "ms")
        one = together(far, 16, waits, "one")
        begun = time.perf_counter()
        cluster.add()
        say("ray start of a node", time.perf_counter() - begun, "s")
        begun = time.perf_counter()
        ready(far, 2)
        say("from there to its worker's readiness", time.perf_counter() - begun, "s")
        two = together(far, 16, waits, "two")
        say("two actors to one, jobs that wait", two / one, "times")


def measure_model(folder: Path, cluster: Cluster) -> None:
    """`cluster` has two nodes."""
    recipe = Recipe(model="paperworld", prompt="a red house", width=256, height=256, steps=8, seed=7)
    fields = recipe.model_dump(include={"model", "prompt", "width", "height", "steps", "seed"})
    pictures: list[object] = []
    rates: dict[str, float] = {}
    for name, opened, count in (
        ("one worker", open_shop(folder / "m-near", MODEL, OMP_NUM_THREADS="1"), 1),
        ("two actors", open_far_shop(folder / "m-far", cluster.address, MODEL), 2),
    ):
        with opened as shop:
            ready(shop, count)
            for number in range(count):
                shop.put(f"warm{number}", session=f"w{number}", **fields)
            for number in range(count):
                shop.over(f"warm{number}", 600)
            rates[name] = together(shop, 12, fields, "m")
            say(f"shipped model, 256 px, 8 steps, {name}", rates[name], "pictures/s")
            png = shop.gallery.get(shop.entry("m0").kept[0]).png.read_bytes()
            pictures.append(open_picture(png).astype(np.int16))
    here, far = pictures
    say(
        "two actors to one worker of this machine, one core each",
        rates["two actors"] / rates["one worker"],
        "times",
    )
    say("largest difference of their pictures", float(np.abs(here - far).max()), "levels of 255")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", action="store_true")
    parser.add_argument("--rounds", type=int, default=80)
    given = parser.parse_args()
    cluster = Cluster()
    try:
        with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, cluster.environment):
            cluster.add()
            measure_small(Path(folder), cluster, given.rounds)
            if given.model:
                measure_model(Path(folder), cluster)
    finally:
        cluster.close()


if __name__ == "__main__":
    main()

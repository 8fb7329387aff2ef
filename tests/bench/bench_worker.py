"""Queue and worker: what they cost beside the sampling itself. One JSON line for each figure.

python tests/bench/bench_worker.py            with a small engine: overhead of process, queue, gallery
python tests/bench/bench_worker.py --model    with the shipped model: cold start and first picture, too
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from controlnet_core.domain.document import Raster
from webapp.application.recipe_builder import Draft
from webapp.application.settings import Settings
from webapp.application.studio import Studio


def say(name: str, value: float, unit: str) -> None:
    print(json.dumps({"bench": "worker", "name": name, "value": round(value, 3), "unit": unit}), flush=True)


def until_over(studio: Studio, job: str) -> float:
    """Seconds from now until a job has ended well."""
    begun = time.perf_counter()
    while not studio.queue.get(job).over:
        time.sleep(0.002)
    entry = studio.queue.get(job)
    assert entry.state == "done", entry
    return time.perf_counter() - begun


def measure(studio: Studio, model: str, steps: int, rounds: int, document: Raster) -> None:
    begun = time.perf_counter()
    studio.start()
    say("start() returns after", (time.perf_counter() - begun) * 1e3, "ms")
    fields = {"model": model, "prompt": "a red house", "width": 256, "height": 256, "steps": steps, "guidance": 3.0}
    recipe = studio.new_recipe([Draft("scribble", document)], seed=1, **fields)
    until_over(studio, studio.submit("bench", recipe))
    say("cold worker to first picture", time.perf_counter() - begun, "s")
    times = [until_over(studio, studio.submit("bench", recipe)) for _ in range(rounds)]
    say(f"warm picture, 256 px, {steps} steps, median", statistics.median(times), "s")
    processes = [psutil.Process(), psutil.Process(studio.dispatcher.statuses()[0].pid)]
    spent = [sum(process.cpu_times()[:2]) for process in processes]
    time.sleep(5)
    for name, process, before in zip(("web process", "worker"), processes, spent, strict=True):
        say(f"{name} idle", (sum(process.cpu_times()[:2]) - before) / 5 * 100, "% of a core")
        say(f"{name} memory", process.memory_info().rss / 2**20, "MiB")
    slow = fields | {"steps": 100, "prompt": "slow=0.05"}  # the small engine obeys, a model takes its time anyway
    job = studio.submit("bench", studio.new_recipe([], seed=1, **slow))
    while studio.queue.get(job).state != "running":
        time.sleep(0.002)
    time.sleep(0.2)
    begun = time.perf_counter()
    studio.cancel(job)
    while not studio.queue.get(job).over:
        time.sleep(0.002)
    assert studio.queue.get(job).state == "cancelled"
    say("cancel", (time.perf_counter() - begun) * 1e3, "ms")
    begun = time.perf_counter()
    studio.stop()
    say("stop", (time.perf_counter() - begun) * 1e3, "ms")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", action="store_true", help="measure with the shipped model")
    with_model = parser.parse_args().model
    document = Raster("mask", np.zeros((256, 256), np.uint8))
    document.pixels[60:200, 60:66] = 255
    with tempfile.TemporaryDirectory() as folder:
        engine = "webapp.application.engine:build" if with_model else "tests.core.strokes_engine:build"
        studio = Studio(Settings(data=Path(folder), engine=engine))
        measure(studio, "paperworld", 20, 5 if with_model else 20, document)


if __name__ == "__main__":
    main()

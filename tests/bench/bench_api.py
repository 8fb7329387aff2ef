"""The API: what a picture costs beside the worker, many jobs at once, many listeners. One JSON line for each figure.

python tests/bench/bench_api.py            20 rounds of the shipped model, 200 jobs, 50 listeners
python tests/bench/bench_api.py --rounds 5
"""

from __future__ import annotations

import argparse
import base64
import json
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.webapp.conftest import mask, serving
from webapp.application.recipe_builder import Draft
from webapp.application.studio import Studio

JOBS, KEYS, LISTENERS = 200, 25, 50
FIELDS: dict[str, Any] = {"width": 256, "height": 256, "steps": 5, "guidance": 3.0, "sampler": "ddim", "seed": 7}


def say(name: str, value: float, unit: str) -> None:
    print(json.dumps({"bench": "api", "name": name, "value": round(value, 3), "unit": unit}), flush=True)


def overhead(folder: Path, rounds: int) -> None:
    """A picture by every way in turns; the worker's own time of each is what the queue says of it."""
    with serving(folder) as (studio, port):
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=300)
        edges = base64.b64encode(_png(studio)).decode()
        unit = {"image": edges, "module": "none", "model": "None", "union_control_type": "Scribble", "resize_mode": 0}
        control = {"control": "scribble", "picture": edges}
        a1111 = {"prompt": "a red house", "width": 256, "height": 256, "steps": 5, "cfg_scale": 3.0, "sampler_name": "DDIM",
                 "seed": 7, "alwayson_scripts": {"controlnet": {"args": [unit]}}}  # fmt: skip
        more = {"controls": [control], **{key: FIELDS[key] for key in ("steps", "guidance", "sampler", "seed")}}
        openai = {"prompt": "a red house", "size": "256x256", "studio": more}

        def page() -> None:
            draft = Draft("scribble", mask(1, 256))
            recipe = studio.builder.for_base(studio.catalog.card("paperworld"), [draft], prompt="a red house", **FIELDS)
            studio.wait(studio.submit("bench", recipe, owner="ab" * 16))

        def ours() -> None:
            asked = {"prompt": "a red house", "controls": [control], **FIELDS}
            job = client.post("/api/v1/jobs", json=asked).json()
            with client.stream("GET", f"/api/v1/jobs/{job['id']}/events") as events:
                told = [json.loads(line[6:]) for line in events.iter_lines() if line.startswith("data: ")]
            client.get(told[-1]["pictures"][0]["url"]).raise_for_status()

        ways: dict[str, Callable[[], object]] = {
            "in process": page,
            "/api/v1": ours,
            "A1111": lambda: client.post("/sdapi/v1/txt2img", json=a1111).raise_for_status(),
            "OpenAI": lambda: client.post("/v1/images/generations", json=openai).raise_for_status(),
        }
        beside: dict[str, list[float]] = {name: [] for name in ways}
        worker: list[float] = []
        spent: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds + 1):
            for name, way in ways.items():
                begun, before = time.perf_counter(), time.process_time()
                way()
                took = time.perf_counter() - begun
                spent[name].append(time.process_time() - before)
                entry = studio.queue.ended(1)[0]
                ran = (entry.ended or 0) - (entry.started or 0)
                beside[name].append(took - ran)
                worker.append(ran)
        engine = statistics.median(worker[len(ways) :])
        say("worker, a picture of 256 px in 5 steps, median", engine * 1e3, "ms")
        for name, times in beside.items():
            median = statistics.median(times[1:])
            say(f"{name}: beside the worker, median", median * 1e3, "ms")
            say(f"{name}: beside the worker, least", min(times[1:]) * 1e3, "ms")
            say(f"{name}: processor time of server and client, median", statistics.median(spent[name][1:]) * 1e3, "ms")


def many(folder: Path) -> None:
    """Jobs of many keys at once, each sent twice; who is refused comes back until it is taken."""
    with serving(folder, engine="tests.core.strokes_engine:build") as (studio, port):
        url = f"http://127.0.0.1:{port}/api/v1/jobs"
        secrets = [studio.keys.create(f"key-{number}")[1] for number in range(KEYS)]
        refused, begun = Counter[int](), time.perf_counter()
        places: list[tuple[int, str]] = []
        client = httpx.Client(timeout=300, limits=httpx.Limits(max_connections=JOBS))

        def post(number: int) -> None:
            key = number % KEYS
            head = {"Authorization": f"Bearer {secrets[key]}"}
            asked = {
                "id": f"bench-job-{number}",
                "model": "paperworld",
                "width": 64,
                "height": 64,
                "steps": 2,
                "prompt": "slow=0.005",
            }
            while (answer := client.post(url, json=asked, headers=head)).status_code == 429:
                refused[key] += 1
                time.sleep(0.2)
            answer.raise_for_status()
            client.post(url, json=asked, headers=head)  # as a double click would
            while client.get(f"{url}/bench-job-{number}", headers=head).json()["state"] not in (
                "done",
                "failed",
                "cancelled",
            ):
                time.sleep(0.1)
            places.append((key, f"bench-job-{number}"))

        threads = [threading.Thread(target=post, args=(number,)) for number in range(JOBS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        say(f"{JOBS} jobs at once, of {KEYS} keys, sent twice", time.perf_counter() - begun, "s")
        ended = studio.queue.ended(JOBS * 2)
        kept = [name for entry in ended for name in entry.kept]
        say("lost", JOBS - len({entry.id for entry in ended}), "jobs")
        say("doubled", len(kept) - len(set(kept)) + len(kept) - JOBS, "pictures")
        say("refused for a while (429)", sum(refused.values()), "answers")
        rank = {entry.id: place for place, entry in enumerate(reversed(ended))}
        means = [statistics.mean(rank[job] for key, job in places if key == number) for number in range(KEYS)]
        say("mean place of a key's jobs, least", min(means), f"of {JOBS}")
        say("mean place of a key's jobs, most", max(means), f"of {JOBS}")


def listeners(folder: Path) -> None:
    """How late the last of many listeners hears that a job is done."""
    with serving(folder, engine="tests.core.strokes_engine:build") as (studio, port):
        base = f"http://127.0.0.1:{port}/api/v1/jobs"
        client = httpx.Client(timeout=300, limits=httpx.Limits(max_connections=LISTENERS + 4))
        asked = {"model": "paperworld", "width": 64, "height": 64, "steps": 60, "prompt": "slow=0.05"}
        job = client.post(base, json=asked).json()["id"]
        heard: list[float] = []
        done: list[float] = []
        end = studio.events.subscribe(
            lambda _session, event: done.append(time.perf_counter()) if event.kind == "done" else None
        )

        def listen() -> None:
            with client.stream("GET", f"{base}/{job}/events") as events:
                for line in events.iter_lines():
                    if line.startswith("data: ") and json.loads(line[6:])["kind"] == "done":
                        heard.append(time.perf_counter())

        threads = [threading.Thread(target=listen) for _ in range(LISTENERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        end()
        say(f"{LISTENERS} listeners: heard the end", len(heard), "listeners")
        say(f"{LISTENERS} listeners: the last one heard it after", (max(heard) - done[0]) * 1e3, "ms")


def _png(studio: Studio) -> bytes:
    from controlnet_core.domain.picture import to_png

    return to_png(studio.render("scribble", mask(1, 256)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        for name, measure in (("overhead", lambda at: overhead(at, rounds)), ("many", many), ("listeners", listeners)):
            (Path(folder) / name).mkdir()
            measure(Path(folder) / name)


if __name__ == "__main__":
    main()

"""The gallery at ten thousand pictures: opening, the first page, searching. One JSON line a figure.

Times are of this process without a network; the first page's answer is what the wall waits for before it draws.
"""

from __future__ import annotations

import json
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from controlnet_core.storage.gallery import Gallery, Query
from webapp.routes.gallery import tile

COUNT = 10_000
PAGE = 120
ROUNDS = 9
OWNER = "ab" * 16


def fill(folder: Path) -> None:
    """Records as `Gallery` writes them; the pictures beside them are empty, nothing here looks into them."""
    folder.mkdir()
    for number in range(COUNT):
        control = {"control": ("scribble", "pose", "seg")[number % 3], "picture": "a" * 64, "document": "b" * 64}
        recipe = {"version": 2, "model": "paperworld", "prompt": f"a house and a boat {number}", "seed": number}
        recipe |= {"width": 512, "height": 512, "controls": [control]}
        record = {"job": f"job-{number}", "owner": OWNER, "index": 0, "created": float(number)}
        id = f"{1_700_000_000_000 + number * 1000:012x}{secrets.token_hex(10)}"
        (folder / f"{id}.json").write_text(json.dumps(record | {"recipe": json.dumps(recipe)}))
        for suffix in ("png", "webp"):
            (folder / f"{id}.{suffix}").touch()


def say(name: str, run: Callable[[], object], rounds: int = ROUNDS) -> None:
    times: list[float] = []
    for _ in range(rounds):
        begun = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - begun))
    figures = {"median_ms": round(statistics.median(times), 2), "worst_ms": round(max(times), 2)}
    print(json.dumps({"bench": "gallery", "name": name, "pictures": COUNT} | figures), flush=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "gallery"
        fill(folder)
        say("index made from the files", lambda: Gallery(folder), rounds=1)
        say("index compared with the files", lambda: Gallery(folder), rounds=3)
        gallery = Gallery(folder)

        def page(query: Query) -> str:
            found = [tile(one) for one in gallery.find(query, PAGE)]
            return json.dumps(
                [found, gallery.count(query), gallery.controls(OWNER), gallery.count(Query(OWNER, shelf="bin"))]
            )

        say("first page", lambda: page(Query(OWNER)))
        say("search that finds little", lambda: page(Query(OWNER, "boat 9999")))
        say("search that finds nothing", lambda: page(Query(OWNER, "castle")))
        say("one condition", lambda: page(Query(OWNER, control="pose")))


if __name__ == "__main__":
    main()

"""How long each detector takes at 512 px, and what is around it: one JSON line each, best of `--runs`, wall and processor time.

    python -m tests.bench.bench_annotators [--runs 5] [--threads 1] [--only canny]

Besides the detectors: "repeat" asks for the same detection of the same photo again; "open" is the way of a find into the
drawing, from the question to the container that the editor loads, without the find itself. Detectors whose weights are not in
the models folder are named and skipped. On a busy machine processor time says more than wall time.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from annotator import controls
from annotator import detection as detecting
from controlnet_core.control import values
from controlnet_core.document import Raster, encode
from controlnet_core.errors import ModelMissing
from controlnet_core.picture import resize_to
from tests.conftest import golden_folder


def picture() -> np.ndarray:
    photo = np.array(Image.open(golden_folder() / "pictures" / "room.jpg").convert("RGB"))
    return resize_to(photo, 512, 512)


def measured(run: Callable[[], object], runs: int) -> dict[str, float]:
    walls, cores = [], []
    for _ in range(runs):
        wall, core = time.perf_counter(), time.process_time()
        run()
        walls.append(time.perf_counter() - wall)
        cores.append(time.process_time() - core)
    return {"ms": round(min(walls) * 1000, 1), "cpu_ms": round(min(cores) * 1000, 1)}


def detectors(rgb: np.ndarray, runs: int, only: str) -> None:
    for control in controls().values():
        for one in control.detectors:
            if only not in (control.key, ""):
                continue
            line: dict[str, object] = {"control": control.key, "detector": one.key, "px": 512}
            complete = values(one.params, {})
            try:
                detecting.detect(control, one, rgb, complete, 512, 512)  # loads the weights
                line |= measured(
                    lambda c=control, one=one, complete=complete: detecting.detect(c, one, rgb, complete, 512, 512),
                    runs,
                )
            except ModelMissing as error:
                line["skipped"] = error.message
            print(json.dumps(line), flush=True)


def around(runs: int) -> None:
    from webapp.services import Studio
    from webapp.settings import Settings

    with tempfile.TemporaryDirectory() as folder:
        studio = Studio(Settings(data=Path(folder) / "data", free_min_bytes=0))
        photo = studio.photos.keep((golden_folder() / "pictures" / "room.jpg").read_bytes())
        token = studio.hub.open("ab" * 16, "bench", "canny", encode(Raster("mask", np.zeros((512, 512), np.uint8))))
        studio.looks.take(token, photo)
        ask = {"control": "canny", "detector": "canny", "given": {"low": 50}, "shorter": 512}

        def repeat() -> None:
            assert studio.photos.find(studio.photos.detection("canny", "canny", photo, {"low": 50})) is not None

        def opened() -> None:
            studio.looks.detect(token, "bench", **ask)
            studio.hub.read(token)

        repeat()
        print(json.dumps({"what": "repeat"} | measured(repeat, runs)), flush=True)
        print(json.dumps({"what": "open"} | measured(opened, runs)), flush=True)
        studio.hub.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    cv2.setNumThreads(asked.threads)
    detectors(picture(), asked.runs, asked.only)
    around(asked.runs)


if __name__ == "__main__":
    main()

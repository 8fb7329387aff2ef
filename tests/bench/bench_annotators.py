"""How long each detector takes at 512 px, and what is around it: one JSON line each, best of `--runs`, wall and processor time.

    python -m tests.bench.bench_annotators [--runs 5] [--threads 1] [--only canny]

"original" lines set our way beside the original's in one process, in turns, on weights of the published shapes: the time of HED
and M-LSD from picture to map, of which the networks take nearly all, and how much of it comes before and after the network.

Besides the detectors: "repeat" asks for the same detection of the same photo again; "open" is the way of a find into the
drawing, from the question to the container that the editor loads, without the find itself. Detectors whose weights are not in
the models folder are named and skipped. On a busy machine processor time says more than wall time.
"""

from __future__ import annotations

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
from controlnet_core.domain.control import values
from controlnet_core.domain.document import Raster, encode
from controlnet_core.domain.errors import ModelMissing
from controlnet_core.domain.picture import resize_to
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


def originals(rgb: np.ndarray, runs: int, threads: int) -> None:
    """Our HED and M-LSD beside the same layers with their weights in the usual order and the original's steps around them."""
    import torch

    from annotator import ink
    from annotator.networks import hed, loading, mlsd

    torch.set_num_threads(threads)

    def hed_before() -> torch.Tensor:
        return torch.from_numpy(rgb.copy()).float().permute(2, 0, 1)[None]

    def hed_after(sides: list[torch.Tensor]) -> np.ndarray:
        maps = [side.detach().cpu().numpy().astype(np.float32)[0, 0] for side in sides]
        large = np.stack([cv2.resize(one, (512, 512), interpolation=cv2.INTER_LINEAR) for one in maps], axis=2)
        return (1 / (1 + np.exp(-np.mean(large, axis=2).astype(np.float64))) * 255.0).clip(0, 255).astype(np.uint8)

    def mlsd_before() -> torch.Tensor:
        ones = np.ones((512, 512, 1))
        stacked = np.concatenate([cv2.resize(rgb, (512, 512), interpolation=cv2.INTER_AREA), ones], axis=-1)
        return torch.from_numpy((stacked.transpose(2, 0, 1)[None] / 127.5 - 1.0).astype(np.float32)).float()

    def mlsd_after(output: torch.Tensor) -> np.ndarray:
        heat = torch.sigmoid(output[:, 0])
        heat = heat * (torch.nn.functional.max_pool2d(heat, 3, stride=1, padding=1) == heat).float()
        scores, places = torch.topk(heat.reshape(-1), 200)
        moves = output[0, 1:5].permute(1, 2, 0).numpy()
        drawn = np.zeros_like(rgb)
        for score, place in zip(scores.numpy(), places.numpy(), strict=True):
            y, x = divmod(int(place), output.shape[-1])
            start, end = moves[y, x, :2], moves[y, x, 2:]
            if score > 0.1 and np.sqrt(((start - end) ** 2).sum()) > 0.1:
                x1, y1, x2, y2 = (int(v * 2) for v in (x + start[0], y + start[1], x + end[0], y + end[1]))
                cv2.line(drawn, (x1, y1), (x2, y2), [255, 255, 255], 1)
        return drawn[:, :, 0]

    def ours_mlsd(output: torch.Tensor) -> np.ndarray:
        return ink.segments_mask(mlsd.decode(output, 0.1, 0.1, (512, 512), mlsd.seen_size(512, 512)), 512, 512)

    def ours_hed(sides: list[torch.Tensor]) -> np.ndarray:
        return hed.edges([loading.to_array(side)[0, 0] for side in sides], 512, 512)

    torch.manual_seed(0)
    cases = {
        "hed": (hed.Hed, lambda: loading.to_tensor(rgb, scale=1.0), ours_hed, hed_before, hed_after),
        "mlsd": (lambda: mlsd.Mlsd(large=True), lambda: mlsd.network_input(rgb), ours_mlsd, mlsd_before, mlsd_after),
        "mlsd_tiny": (
            lambda: mlsd.Mlsd(large=False),
            lambda: mlsd.network_input(rgb),
            ours_mlsd,
            mlsd_before,
            mlsd_after,
        ),
    }
    for name, (make, before, after, their_before, their_after) in cases.items():
        model, theirs = make().eval(), make().eval()
        for weights in theirs.parameters():
            weights.data = torch.empty(weights.shape)  # in the usual order
        if name == "mlsd_tiny":
            model.load_state_dict(torch.load(golden_folder() / "weights" / "mlsd_tiny_512_fp32.pth"), strict=False)
        theirs.load_state_dict(model.state_dict())
        ways = {"": (model, before, after), "original_": (theirs, their_before, their_after)}
        times: dict[str, list[tuple[float, float]]] = {key: [] for key in ways}
        maps: dict[str, np.ndarray] = {}
        with torch.inference_mode():
            for _ in range(runs + 1):
                for key, (network, start, end) in ways.items():
                    marks = [time.process_time()]
                    seen = start()
                    marks.append(time.process_time())
                    output = network(seen)
                    marks.append(time.process_time())
                    maps[key] = end(output)
                    marks.append(time.process_time())
                    times[key].append((marks[3] - marks[0], marks[3] - marks[2] + marks[1] - marks[0]))
        line: dict[str, object] = {"what": "original", "network": name, "px": 512}
        for key, measures in times.items():
            line[key + "cpu_ms"] = round(min(one[0] for one in measures[1:]) * 1000, 1)
            line[key + "around_ms"] = round(min(one[1] for one in measures[1:]) * 1000, 1)
        line["ratio"] = round(min(one[0] for one in times[""][1:]) / min(one[0] for one in times["original_"][1:]), 2)
        line["differing_pixels"] = int((maps[""].astype(int) - maps["original_"] != 0).sum())
        print(json.dumps(line), flush=True)


def around(runs: int) -> None:
    from webapp.application.settings import Settings
    from webapp.application.studio import Studio

    with tempfile.TemporaryDirectory() as folder:
        studio = Studio(Settings(data=Path(folder) / "data", free_min_bytes=0))
        photo = studio.photos.keep((golden_folder() / "pictures" / "room.jpg").read_bytes())
        token = studio.documents.open(
            "ab" * 16, "bench", "canny", encode(Raster("mask", np.zeros((512, 512), np.uint8)))
        )
        studio.photo_detections.take(token, photo)
        ask = {"control": "canny", "detector": "canny", "given": {"low": 50}, "shorter": 512}

        def repeat() -> None:
            assert studio.photos.find(studio.photos.detection("canny", "canny", photo, {"low": 50})) is not None

        def opened() -> None:
            studio.photo_detections.detect(token, "bench", **ask)
            studio.documents.read(token)

        repeat()
        print(json.dumps({"what": "repeat"} | measured(repeat, runs)), flush=True)
        print(json.dumps({"what": "open"} | measured(opened, runs)), flush=True)
        studio.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="a condition, or: original, around")
    asked = parser.parse_args()
    cv2.setNumThreads(asked.threads)
    detectors(picture(), asked.runs, asked.only)
    if asked.only in ("", "original"):
        originals(picture(), asked.runs, asked.threads)
    if asked.only in ("", "around"):
        around(asked.runs)


if __name__ == "__main__":
    main()

"""A data set made on a Ray cluster of this machine beside one made without. One JSON line for each figure; needs ray.

python tests/bench/bench_ray_annotate.py --photos 5000 --control canny
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import paperworld
from tests.ray_nodes import Cluster

ROOT = Path(__file__).resolve().parents[2]


def say(name: str, value: float, unit: str) -> None:
    print(json.dumps({"bench": "ray annotate", "name": name, "value": round(value, 3), "unit": unit}), flush=True)


def rendered(folder: Path, count: int) -> None:
    """Scenes of the picture world as photos."""
    folder.mkdir()
    for seed in range(count):
        picture = paperworld.render(paperworld.compose(seed)).picture
        cv2.imwrite(str(folder / f"{seed:06d}.jpg"), picture[:, :, ::-1])


def annotate(control: str, photos: Path, out: Path, cluster: Cluster | None = None) -> float:
    """Seconds of one run."""
    more = ["--ray", cluster.address] if cluster else []
    command = [sys.executable, "-m", "webapp", "annotate", control, str(photos), str(out), "--size", "256", *more]
    begun = time.perf_counter()
    subprocess.run(command, cwd=ROOT, env=os.environ | (cluster.environment if cluster else {}), check=True)
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--photos", type=int, default=500)
    parser.add_argument("--control", default="canny")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rendered(folder / "photos", given.photos)
        what = f"{given.photos} rendered photos of 256 px, {given.control}"
        for cores in (1, 2):
            cluster = Cluster()
            try:
                cluster.add(cpus=cores)
                took = annotate(given.control, folder / "photos", folder / f"far{cores}", cluster)
            finally:
                cluster.close()
            say(f"{what}, {cores} actors of one core, with the start", took, "s")
            say(f"photos a second, {cores} actors", given.photos / took, "1/s")
        took = annotate(given.control, folder / "photos", folder / "here")
        say(f"{what}, without Ray", took, "s")
        same = all(
            (folder / "here" / "source" / one.name).read_bytes() == one.read_bytes()
            for one in (folder / "far2" / "source").iterdir()
        )
        say("the same files", float(same), "")


if __name__ == "__main__":
    main()

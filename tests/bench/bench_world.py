"""How fast the picture world renders: one JSON line, scenes a second on one core at 256 px.

python tests/bench/bench_world.py [scenes]
"""

import json
import sys
import time
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import paperworld
from paperworld.world.examples import example

FLOOR_PER_SECOND = 60


def rate(action, count: int) -> float:
    """Calls a second of `action(seed)`, by processor time: other programs on the machine do not count."""
    start = time.process_time()
    for seed in range(count):
        action(seed)
    return count / (time.process_time() - start)


def main(count: int) -> dict[str, float | int | bool]:
    """Measure composing with rendering, captions and free-hand documents."""
    cv2.setNumThreads(1)
    scenes = [paperworld.compose(seed) for seed in range(count)]
    truths = [paperworld.render(scene) for scene in scenes]
    world = rate(lambda seed: paperworld.render(paperworld.compose(seed)), count)
    return {
        "scenes": count,
        "side_px": 256,
        "compose_and_render_per_s": round(world, 1),
        "compose_per_s": round(rate(paperworld.compose, count), 1),
        "caption_per_s": round(
            rate(lambda n: paperworld.caption(paperworld.compose(n), np.random.default_rng(n)), count), 1
        ),
        "scribble_per_s": round(
            rate(lambda n: paperworld.freehand.scribble(scenes[n], truths[n], np.random.default_rng(n)), count), 1
        ),
        "example_per_s": round(rate(lambda n: example("scribble", n), count), 1),
        "floor_per_s": FLOOR_PER_SECOND,
        "fast_enough": world >= FLOOR_PER_SECOND,
    }


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]) if len(sys.argv) > 1 else 120)))

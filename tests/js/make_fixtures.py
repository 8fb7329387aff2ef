"""Writes tests/js/fixtures: containers as `controlnet_core.domain.document.encode` makes them, for the browser's half to read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from controlnet_core.domain.document import MISSING, Document, Person, Point, Raster, Skeleton, encode

FIXTURES = Path(__file__).with_name("fixtures")


def documents() -> dict[str, Document]:
    """Pixel (x, y) of a raster is (3 x + 5 y) mod 251, of channel c of an rgb raster (3 x + 5 y + 7 c) mod 251."""
    y, x = np.mgrid[0:7, 0:12]
    base = (3 * x + 5 * y) % 251
    body = tuple(Point(x=10.5 + i, y=10 - 4.25 * i, confidence=0.5) if i != 3 else MISSING for i in range(18))
    hand = tuple(Point(x=i, y=2 * i) for i in range(21))
    person = Person(body=body, right_hand=hand, hidden=frozenset({2}), ghosts=frozenset({17}))
    return {
        "mask": Raster("mask", base.astype(np.uint8)),
        "classes": Raster("classes", (base % 150).astype(np.uint8)),
        "rgb": Raster("rgb", ((base[..., None] + 7 * np.arange(3)) % 251).astype(np.uint8)),
        "skeleton": Skeleton(width=640, height=480, people=(person,)),
    }


if __name__ == "__main__":
    FIXTURES.mkdir(exist_ok=True)
    for name, document in documents().items():
        (FIXTURES / f"{name}.cnsd").write_bytes(encode(document))

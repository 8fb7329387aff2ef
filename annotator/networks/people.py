"""From heat and affinity maps to people: peaks, the limbs that connect them, and the persons that limbs make.

The greedy matching of OpenPose (Cao et al. 2017, section 2.4). Plain numpy, no network.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from controlnet_core.domain.document import Point

Body = tuple[Point, ...]
Table = NDArray[np.float64]

LIMBS = ((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13), (1, 0),
         (0, 14), (14, 16), (0, 15), (15, 17), (2, 16), (5, 17))  # fmt: skip
"""The 19 connections that are scored, 0-based; the last two only join what is there, they start no person."""
CHANNELS = ((12, 13), (20, 21), (14, 15), (16, 17), (22, 23), (24, 25), (0, 1), (2, 3), (4, 5), (6, 7), (8, 9),
            (10, 11), (28, 29), (30, 31), (34, 35), (32, 33), (36, 37), (18, 19), (26, 27))  # fmt: skip
"""The affinity channels (x, y) of each connection."""

_PEAK = 0.1
_ALIGNED = 0.05
_SAMPLES = 10
_SIGMA_PX = 3.0


def peaks(heat: NDArray[np.float32]) -> list[Table]:
    """For each of the 18 joints the local maxima above 0.1 in heat maps (H,W,19), as rows x, y, score, number.

    Maxima are sought after a Gaussian blur of 3 px; scores are read before it. Numbers count through all joints.
    """
    found: list[Table] = []
    count = 0
    for part in range(18):
        plane = heat[:, :, part].astype(np.float64)
        smooth = np.asarray(cv2.GaussianBlur(plane, (25, 25), _SIGMA_PX, borderType=cv2.BORDER_REFLECT))
        around = np.pad(smooth, 1)
        higher = np.maximum.reduce([around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:]])
        y, x = np.nonzero((smooth >= higher) & (smooth > _PEAK))
        found.append(np.stack([x, y, plane[y, x], np.arange(count, count + len(x))], axis=1).astype(np.float64))
        count += len(x)
    return found


def connect(found: list[Table], paf: NDArray[np.float32]) -> list[Table]:
    """For each of the 19 connections the matched pairs of peaks: rows number, number, score; best score first."""
    links: list[Table] = []
    for (start, end), channels in zip(LIMBS, CHANNELS, strict=True):
        first, second = found[start], found[end]
        if not len(first) or not len(second):
            links.append(np.zeros((0, 3)))
            continue
        scores, good = _alignment(first, second, paf[:, :, list(channels)])
        pairs = sorted(zip(*np.nonzero(good), strict=True), key=lambda pair: scores[pair], reverse=True)
        rows: list[tuple[float, float, float]] = []
        used: tuple[set[int], set[int]] = (set(), set())
        for i, j in pairs:
            if i not in used[0] and j not in used[1]:
                used[0].add(i)
                used[1].add(j)
                rows.append((float(first[i, 3]), float(second[j, 3]), float(scores[i, j])))
        links.append(np.array(rows).reshape(-1, 3))
    return links


def _alignment(first: Table, second: Table, field: NDArray[np.float32]) -> tuple[Table, NDArray[np.bool_]]:
    """Mean of the field along each pair's line, less a penalty for length; and whether the pair counts at all."""
    along = second[None, :, :2] - first[:, None, :2]
    length = np.maximum(np.sqrt((along**2).sum(axis=2)), 1e-3)
    places = np.rint(np.linspace(first[:, None, :2] + 0 * along, second[None, :, :2] + 0 * along, _SAMPLES)).astype(int)
    sampled = field[places[..., 1], places[..., 0]].astype(np.float64)
    aligned = (sampled * (along / length[..., None])[None]).sum(axis=3)
    score = aligned.mean(axis=0) + np.minimum(0.5 * field.shape[0] / length - 1, 0)
    return score, ((aligned > _ALIGNED).sum(axis=0) > 0.8 * _SAMPLES) & (score > 0)


def assemble(candidates: Table, links: list[Table]) -> Table:
    """People (P,20) from matched limbs: joints 0..17, then total score and number of joints.

    A limb extends the person that has one of its ends; if two people have one end each and no joint in common, they
    become one. Dropped are people of fewer than four joints or a mean score below 0.4.
    """
    people: list[Table] = []
    for number, ((start, end), rows) in enumerate(zip(LIMBS, links, strict=True)):
        for first, second, score in rows:
            _place(people, candidates, (start, end), (first, second), score, starts=number < 17)
    kept = [person for person in people if person[19] >= 4 and person[18] / person[19] >= 0.4]
    return np.array(kept).reshape(-1, 20)


def _place(
    people: list[Table],
    candidates: Table,
    limb: tuple[int, int],
    ends: tuple[float, float],
    score: float,
    starts: bool,
) -> None:
    start, end = limb
    holders = [person for person in people if person[start] == ends[0] or person[end] == ends[1]][:2]
    if len(holders) == 2 and not ((holders[0][:18] >= 0) & (holders[1][:18] >= 0)).any():
        holders[0][:18] += holders[1][:18] + 1
        holders[0][18:] += holders[1][18:]
        holders[0][18] += score
        people[:] = [person for person in people if person is not holders[1]]
    elif len(holders) == 2 or (holders and holders[0][end] != ends[1]):
        holders[0][end] = ends[1]
        holders[0][19] += 1
        holders[0][18] += candidates[int(ends[1]), 2] + score
    elif not holders and starts:
        person = np.full(20, -1.0)
        person[[start, end]] = ends
        person[18:] = candidates[[int(e) for e in ends], 2].sum() + score, 2
        people.append(person)

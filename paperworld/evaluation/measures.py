"""How far a picture agrees with a control or a scene: formulae. What a picture shows is the matter of `reading`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from controlnet_core.domain.control import Rgb
from controlnet_core.domain.document import Person, Skeleton
from paperworld.evaluation.reading import refound

TOLERANCE_PX = 2
EDGE_BLUR_PX = 1.2
EDGE_LOW, EDGE_HIGH = 40, 90


def edges_of(picture: Rgb) -> NDArray[np.bool_]:
    """H,W edges of a picture: Canny (1986) on a slightly blurred copy, so that texture and noise do not count."""
    smooth = cv2.GaussianBlur(picture, (0, 0), EDGE_BLUR_PX)
    return cv2.Canny(smooth, EDGE_LOW, EDGE_HIGH) > 0


def centres_of(control: Rgb) -> NDArray[np.bool_]:
    """H,W centres of the light lines on black in a control picture: ridges of the distance to the dark."""
    depth = cv2.distanceTransform((control.max(2) > 127).astype(np.uint8), cv2.DIST_L2, 5)
    return (depth > 0) & (depth >= cv2.dilate(depth, np.ones((3, 3), np.uint8)) - 0.2)


def edge_f1(found: NDArray[np.bool_], wanted: NDArray[np.bool_], tolerance_px: int = TOLERANCE_PX) -> float:
    """F1 of two edge maps: precision and recall count pixels with a counterpart within `tolerance_px`."""
    if not found.any() or not wanted.any():
        return float(not found.any() and not wanted.any())
    precision = (_distance(wanted)[found] <= tolerance_px).mean()
    recall = (_distance(found)[wanted] <= tolerance_px).mean()
    return float(2 * precision * recall / (precision + recall + 1e-9))


def _distance(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    return np.asarray(cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5), np.float32)


def slopes(picture: Rgb, control: Rgb) -> tuple[float, float]:
    """How steep a picture is, in grey levels a pixel: at the lines of its control (the steepest place within 2 px of a line's
    centre, mean over centres), and farther than 8 px from any: crisp pictures are steep there and flat here."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    slope = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0, scale=0.125), cv2.Sobel(grey, cv2.CV_32F, 0, 1, scale=0.125))
    away = _distance(centres_of(control))
    steepest = cv2.dilate(slope, np.ones((5, 5), np.uint8))
    at, off = away <= 1, away > 8
    return float(steepest[at].mean()) if at.any() else 0.0, float(slope[off].mean()) if off.any() else 0.0


def nearest_colour(pixels: NDArray[np.uint8], colours: Mapping[str, tuple[int, int, int]]) -> str:
    """The name of the colour that the median of `pixels` N,3 is nearest to (CIE Lab, 1976)."""
    rows = np.array([np.median(pixels, axis=0), *colours.values()], np.uint8)[None]
    lab = cv2.cvtColor(rows.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
    return list(colours)[int(np.linalg.norm(lab[1:] - lab[0], axis=1).argmin())]


def lines_of(picture: Rgb) -> NDArray[np.bool_]:
    """H,W straight lines in a picture: line segment detector (Grompone von Gioi et al. 2010), at least 1/20 of a side long."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    found = cv2.createLineSegmentDetector(cv2.LSD_REFINE_STD).detect(grey)[0]
    sheet = np.zeros(grey.shape, np.uint8)
    for x0, y0, x1, y1 in found.reshape(-1, 4) if found is not None else ():
        if np.hypot(x1 - x0, y1 - y0) >= max(grey.shape) / 20:
            cv2.line(sheet, (round(x0), round(y0)), (round(x1), round(y1)), 255, 1)
    return sheet > 0


def iou(found: Sequence[NDArray[np.uint8]], wanted: Sequence[NDArray[np.uint8]]) -> dict[int, float]:
    """Intersection over union of every class that is present in `wanted`, over all maps."""
    ours, theirs = np.stack(found), np.stack(wanted)
    return {
        int(index): float(((ours == index) & (theirs == index)).sum() / ((ours == index) | (theirs == index)).sum())
        for index in np.unique(theirs)
    }


def lines_recall(found: NDArray[np.bool_], wanted: NDArray[np.bool_], tolerance_px: int = TOLERANCE_PX) -> float:
    """Share of the wanted lines with a found one within `tolerance_px`. A control of straight lines says nothing about the
    rest of the picture: what else is found there is no fault."""
    return float((_distance(found)[wanted] <= tolerance_px).mean()) if wanted.any() and found.any() else 0.0


PCK_SHARE = 0.1
PERSON_MIN_PX = 64
NOSE, NECK, RIGHT_HIP, LEFT_HIP = 0, 1, 8, 11
LEAST, FACE_LEAST = 0.5, 0.7
"""Correlations from which surroundings of a joint, and a face, count as the same."""


def _large(person: Person) -> float:
    """The trunk (neck to middle of the hips) of a person of at least 64 px in pixels; else 0."""
    trunk = [person.body[index] for index in (NECK, RIGHT_HIP, LEFT_HIP)]
    ys = [point.y for point in person.body if point.confidence > 0]
    if not ys or min(point.confidence for point in trunk) <= 0 or max(ys) - min(ys) < PERSON_MIN_PX:
        return 0.0
    return float(np.hypot(trunk[0].x - (trunk[1].x + trunk[2].x) / 2, trunk[0].y - (trunk[1].y + trunk[2].y) / 2))


def joints_found(picture: Rgb, truth: Rgb, wanted: Skeleton) -> tuple[int, int]:
    """How many visible joints of people of at least 64 px are found, and how many there are (PCK, Yang & Ramanan 2013).

    A joint is where its surroundings in the true picture, a third of the trunk either way, fit best. It is found when that
    is at most a tenth of the trunk away, and fits.
    """
    found = total = 0
    for person in wanted.people:
        trunk = _large(person)
        for point in person.body if trunk else ():
            if point.confidence > 0 and 0 <= point.x < wanted.width and 0 <= point.y < wanted.height:
                away, fit = refound(picture, truth, (point.x, point.y), (0.35 * trunk, 0.35 * trunk), 0.5 * trunk)
                total += 1
                found += int(away <= max(1.0, PCK_SHARE * trunk) and fit >= LEAST)
    return found, total


def faces_found(picture: Rgb, truth: Rgb, wanted: Skeleton) -> tuple[int, int]:
    """How many faces of people of at least 64 px are seen, and how many there are: eyes and smile in their places."""
    found = total = 0
    for person in wanted.people:
        nose, neck, trunk = person.body[NOSE], person.body[NECK], _large(person)
        if trunk and nose.confidence > 0 and 0 <= nose.x < wanted.width and 0 <= nose.y < wanted.height:
            half = 0.5 * float(np.hypot(nose.x - neck.x, nose.y - neck.y))
            _, fit = refound(picture, truth, (nose.x, nose.y), (half, half), 2)
            total += 1
            found += int(fit >= FACE_LEAST)
    return found, total


def rank_correlation(ours: NDArray[np.floating], theirs: NDArray[np.floating]) -> float:
    """Spearman's rank correlation of two maps; 0 when one of them is flat."""
    from scipy.stats import rankdata  # a second of a process's start, which nobody else here needs

    a, b = rankdata(ours.ravel()), rankdata(theirs.ravel())
    if a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def mean_angle(ours: NDArray[np.floating], theirs: NDArray[np.floating]) -> float:
    """Mean angle in degrees between two maps ...,3 of unit normals."""
    return float(np.degrees(np.arccos(np.clip((ours * theirs).sum(-1), -1, 1))).mean())

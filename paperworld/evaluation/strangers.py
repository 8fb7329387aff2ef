"""Drawings from outside the world: strokes of a person who does not know it, with a hand's wobble, doubled and open lines.

None of them uses the makers of the world. Coordinates are pixels of a sheet of 256 x 256.
"""

# Coordinates read better in long lines.
# ruff: noqa: E501

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from controlnet_core.domain.control import Rgb
from controlnet_core.domain.errors import InputError

SIDE_PX = 256
Stroke = NDArray[np.float64]


@dataclass(frozen=True)
class Drawing:
    """A drawing: its name, what somebody would say of it, and its lines white on black."""

    name: str
    prompt: str
    control: Rgb


def _l(*points: tuple[float, float]) -> Stroke:
    """A stroke with corners."""
    return np.array(points, np.float64)


def _c(*points: tuple[float, float], closed: bool = False) -> Stroke:
    """A soft stroke (Chaikin)."""
    p = np.array(points, np.float64)
    if closed:
        p = np.concatenate([p, p[:1]])
    for _ in range(3):
        middle = np.stack([0.75 * p[:-1] + 0.25 * p[1:], 0.25 * p[:-1] + 0.75 * p[1:]], 1).reshape(-1, 2)
        p = np.concatenate([middle, middle[:1]]) if closed else np.concatenate([p[:1], middle, p[-1:]])
    return p


def _e(x: float, y: float, rx: float, ry: float, start: float = 0, end: float = 360) -> Stroke:
    """An ellipse, or an arc of one."""
    t = np.radians(np.linspace(start, end, 60))
    return np.stack([x + rx * np.cos(t), y + ry * np.sin(t)], 1)


def _star(x: float, y: float, outer: float, inner: float) -> Stroke:
    t = np.arange(11) * np.pi / 5
    r = np.where(np.arange(11) % 2 == 0, outer, inner)
    return np.stack([x + r * np.sin(t), y - r * np.cos(t)], 1)


def _rays(x: float, y: float, low: float, high: float, count: int) -> list[Stroke]:
    turns = [2 * np.pi * n / count for n in range(count)]
    return [_l(*((x + r * np.cos(t), y + r * np.sin(t)) for r in (low, high))) for t in turns]


STROKES: dict[str, tuple[str, list[Stroke]]] = {
    "balloon": ("a red balloon", [
        _e(128, 92, 58, 68), _l((120, 159), (112, 174), (144, 174), (136, 159)), _c((128, 174), (140, 195), (116, 215), (134, 245))]),
    "dog": ("a brown dog", [
        _c((62, 112), (80, 96), (150, 98), (196, 104), (206, 128), (200, 150), (150, 160), (92, 156), (70, 146), closed=True),
        _c((66, 112), (40, 108), (26, 92), (34, 70), (58, 58), (84, 66), (92, 92), (84, 104)),
        _c((60, 60), (52, 78), (50, 102), (66, 106), (76, 86), (72, 62)), _e(44, 80, 4, 4), _e(27, 94, 6, 5),
        _l((88, 155), (84, 214), (104, 214), (108, 158)), _l((168, 157), (170, 214), (190, 214), (192, 150)),
        _l((118, 159), (118, 206), (134, 206), (136, 160)), _c((204, 116), (226, 96), (232, 70)),
        _c((205, 128), (236, 108), (240, 74), (232, 70))]),
    "cup": ("a blue cup", [
        _l((66, 84), (82, 206), (162, 206), (178, 84)), _e(122, 84, 56, 16), _c((174, 108), (216, 100), (222, 160), (168, 170)),
        _c((173, 124), (198, 120), (202, 150), (170, 154)), _c((104, 60), (96, 46), (110, 34), (102, 18)),
        _c((136, 60), (128, 46), (142, 34), (134, 18))]),
    "fish": ("an orange fish in the sea", [
        _c((30, 128), (60, 84), (120, 74), (170, 108), (182, 128), (170, 148), (120, 182), (60, 172), closed=True),
        _l((176, 118), (226, 80), (214, 128), (228, 178), (176, 140)), _e(66, 116, 7, 7), _c((92, 94), (106, 128), (92, 164)),
        _l((106, 77), (128, 48), (150, 92)), _c((118, 120), (130, 128), (118, 136)), _c((140, 112), (152, 120), (140, 130))]),
    "snail": ("a green snail", [
        _e(140, 112, 62, 58), _e(140, 112, 40, 37), _e(140, 112, 17, 16),
        _c((204, 150), (224, 196), (120, 200), (52, 200), (36, 178), (40, 120)),
        _c((40, 120), (46, 96), (70, 98), (72, 124), (82, 156), (92, 152)), _l((46, 104), (36, 70)), _l((62, 100), (66, 66)),
        _e(35, 66, 5, 5), _e(67, 61, 5, 5)]),
    "star": ("a yellow star on blue", [_star(128, 132, 98, 42)]),
    "ship": ("a white boat in the sea", [
        _l((34, 160), (60, 206), (190, 206), (224, 160), (34, 160)), _l((124, 160), (124, 36)), _c((130, 44), (190, 90), (196, 146)),
        _l((196, 146), (130, 146)), _l((118, 60), (64, 146), (118, 146)), _l((124, 36), (148, 28), (124, 48))]),
    "cat": ("an orange cat", [
        _c((60, 90), (128, 70), (196, 90), (212, 150), (170, 204), (128, 212), (86, 204), (44, 150), closed=True),
        _l((62, 96), (56, 38), (102, 74)), _l((154, 74), (200, 38), (194, 96)), _e(96, 132, 12, 15), _e(160, 132, 12, 15),
        _l((118, 160), (138, 160), (128, 172), (118, 160)), _c((128, 172), (118, 190), (104, 182)),
        _c((128, 172), (138, 190), (152, 182)), _l((74, 164), (30, 156)), _l((74, 174), (32, 182)), _l((182, 164), (226, 156)),
        _l((182, 174), (224, 182))]),
    "leaf": ("a green leaf", [
        _c((40, 216), (44, 120), (110, 50), (216, 36), (206, 140), (140, 206), (40, 216), closed=True), _l((28, 230), (196, 60)),
        _c((92, 164), (96, 120), (110, 100)), _c((104, 152), (150, 150), (170, 136)), _c((140, 116), (146, 90), (156, 76))]),
    "robot": ("a grey robot", [
        _l((84, 40), (172, 40), (172, 106), (84, 106), (84, 40)), _l((72, 118), (184, 118), (184, 198), (72, 198), (72, 118)),
        _e(108, 70, 10, 10), _e(148, 70, 10, 10), _l((106, 92), (150, 92)), _l((128, 40), (128, 20)), _e(128, 15, 6, 6),
        _l((72, 128), (40, 160), (50, 172), (72, 150)), _l((184, 128), (216, 160), (206, 172), (184, 150)),
        _l((92, 198), (92, 236), (114, 236), (114, 198)), _l((142, 198), (142, 236), (164, 236), (164, 198)),
        _l((96, 138), (160, 138), (160, 168), (96, 168), (96, 138))]),
    "house": ("a yellow house on a meadow", [
        _l((56, 118), (56, 220), (196, 220), (196, 118)), _l((40, 122), (126, 40), (214, 122), (40, 122)),
        _l((112, 220), (112, 160), (146, 160), (146, 220)), _l((72, 140), (98, 140), (98, 166), (72, 166), (72, 140)),
        _l((160, 140), (184, 140), (184, 166), (160, 166), (160, 140)), _l((168, 78), (168, 50), (188, 50), (188, 96)), _e(138, 192, 3, 3)]),
    "tree": ("a tree on grass", [
        _c((116, 226), (122, 180), (112, 150)), _c((146, 226), (142, 180), (150, 150)),
        _c((112, 152), (60, 156), (44, 112), (76, 74), (96, 34), (150, 26), (184, 60), (216, 90), (204, 140), (150, 152), closed=True),
        _l((130, 150), (116, 112)), _l((132, 150), (154, 116))]),
    "sun": ("a yellow sun on white", [_e(128, 128, 48, 46), *_rays(128, 128, 62, 96, 10), _e(112, 118, 4, 4), _e(144, 118, 4, 4),
                                      _c((108, 140), (128, 158), (148, 140))]),
    "flower": ("a red flower", [
        *(_e(128 + 38 * np.cos(t), 92 + 38 * np.sin(t), 25, 25) for t in np.arange(6) * np.pi / 3), _e(128, 92, 17, 17),
        _c((128, 152), (124, 190), (130, 240)), _c((128, 210), (160, 180), (186, 186), (160, 216), (128, 214))]),
    "car": ("a blue car on a street", [
        _c((26, 166), (28, 132), (76, 124), (100, 84), (164, 84), (190, 124), (230, 132), (232, 166)), _l((26, 168), (232, 168)),
        _e(76, 170, 22, 22), _e(182, 170, 22, 22), _l((88, 122), (106, 94), (128, 94), (128, 122), (88, 122)),
        _l((138, 122), (138, 94), (158, 94), (174, 122), (138, 122)), _e(76, 170, 8, 8), _e(182, 170, 8, 8)]),
    "rocket": ("a red rocket at night", [
        _c((128, 18), (166, 80), (162, 180), (94, 180), (90, 80), closed=True), _e(128, 96, 16, 16),
        _l((94, 140), (58, 196), (96, 182)), _l((162, 140), (198, 196), (160, 182)), _l((106, 184), (114, 226), (128, 200), (142, 226), (150, 184))]),
    "dinosaur": ("a green dinosaur", [
        _c((30, 60), (52, 38), (82, 44), (88, 70), (96, 112), (140, 98), (190, 130), (240, 176)),
        _c((30, 62), (48, 76), (66, 76), (62, 120), (76, 160)), _c((240, 176), (196, 172), (176, 168)),
        _l((76, 158), (74, 220), (100, 220), (104, 176)), _l((150, 176), (150, 220), (174, 220), (178, 168)), _l((104, 178), (150, 178)),
        _e(60, 54, 4, 4), _l((112, 104), (122, 84), (134, 98)), _l((146, 98), (160, 82), (168, 110))]),
    "bird": ("a blue bird", [
        _c((60, 108), (70, 70), (112, 66), (124, 98), (176, 120), (196, 160), (150, 190), (92, 180), (66, 140), closed=True),
        _l((60, 96), (30, 108), (62, 116)), _e(88, 92, 5, 5), _c((112, 130), (150, 124), (164, 156), (124, 164), (112, 130)),
        _l((190, 150), (236, 140), (232, 176), (188, 170)), _l((116, 186), (114, 226)), _l((138, 188), (140, 226)), _l((104, 228), (124, 226)),
        _l((130, 228), (150, 226))]),
    "face": ("a face", [
        _c((60, 120), (76, 52), (180, 52), (198, 120), (176, 196), (128, 216), (82, 196), closed=True), _e(100, 112, 9, 9), _e(158, 112, 9, 9),
        _c((128, 120), (120, 148), (134, 150)), _c((92, 168), (128, 192), (166, 168)), _c((60, 110), (44, 112), (46, 146), (62, 146)),
        _c((198, 110), (214, 112), (212, 146), (194, 146))]),
    "umbrella": ("a purple umbrella", [
        _c((28, 130), (44, 50), (128, 26), (212, 50), (228, 130)), _c((28, 130), (56, 112), (80, 130)), _c((80, 130), (104, 112), (128, 130)),
        _c((128, 130), (152, 112), (176, 130)), _c((176, 130), (204, 112), (228, 130)), _c((128, 130), (128, 200), (124, 232), (98, 228), (98, 208))]),
    "ice": ("a pink cake", [
        _l((84, 128), (128, 240), (172, 128)), _c((78, 128), (74, 74), (128, 48), (182, 74), (178, 128)), _l((76, 128), (180, 128)),
        _l((100, 168), (146, 128)), _l((156, 168), (108, 128)), _e(128, 40, 11, 11)]),
    "apple": ("a red apple on green", [
        _c((128, 76), (84, 52), (46, 96), (60, 176), (104, 222), (128, 210), (152, 222), (198, 176), (210, 96), (172, 52), closed=True),
        _c((128, 78), (126, 50), (142, 28)), _c((138, 50), (160, 28), (190, 36), (168, 56), (138, 50))]),
    "guitar": ("a brown guitar", [
        _c((100, 120), (84, 150), (62, 176), (74, 226), (128, 238), (182, 226), (194, 176), (172, 150), (156, 120), closed=True),
        _e(128, 172, 20, 20), _l((118, 118), (118, 40), (138, 40), (138, 118)), _l((112, 40), (108, 14), (148, 14), (144, 40), (112, 40)),
        _l((104, 212), (152, 212)), _l((124, 150), (124, 42)), _l((132, 150), (132, 42))]),
    "key": ("a yellow key", [
        _e(72, 104, 42, 42), _e(72, 104, 20, 20), _l((112, 96), (226, 96), (226, 114), (112, 114)),
        _l((184, 114), (184, 142), (198, 142), (198, 114)), _l((210, 114), (210, 136), (224, 136), (224, 114))]),
    "crown": ("a yellow crown on red", [
        _l((40, 196), (30, 84), (84, 132), (128, 62), (172, 132), (226, 84), (216, 196), (40, 196)), _l((42, 174), (214, 174)), _e(128, 54, 9, 9),
        _e(28, 76, 9, 9), _e(228, 76, 9, 9)]),
    "whale": ("a blue whale in water", [
        _c((30, 150), (40, 96), (110, 74), (180, 104), (206, 132), (228, 92)), _c((228, 92), (244, 120), (214, 150), (190, 186), (110, 206), (50, 192), (30, 150)),
        _e(70, 134, 5, 5), _c((40, 168), (70, 178), (96, 166)), _c((104, 72), (98, 44), (76, 40)), _c((104, 72), (110, 44), (132, 40)),
        _c((112, 162), (134, 196), (152, 160))]),
    "mushroom": ("a red mushroom in the country", [
        _c((36, 128), (52, 56), (128, 34), (206, 58), (222, 128), closed=False), _c((36, 128), (128, 146), (222, 128)),
        _c((104, 140), (110, 190), (96, 226)), _c((154, 140), (148, 190), (164, 226)), _l((96, 226), (164, 226)), _e(92, 84, 14, 13), _e(144, 72, 12, 11),
        _e(180, 104, 13, 12)]),
    "teapot": ("a green teapot on white", [
        _c((70, 130), (76, 90), (128, 78), (180, 90), (188, 130), (170, 196), (128, 204), (88, 196), closed=True),
        _c((72, 150), (40, 140), (34, 96), (18, 92)), _c((80, 176), (30, 176), (20, 104), (18, 92)), _c((184, 110), (230, 100), (236, 170), (182, 172)),
        _c((186, 124), (214, 122), (216, 156), (184, 158)), _c((100, 84), (128, 70), (156, 84)), _e(128, 64, 9, 8)]),
    "butterfly": ("a purple butterfly", [
        _c((122, 110), (80, 40), (28, 56), (40, 118), (122, 134), closed=True), _c((134, 110), (176, 40), (228, 56), (216, 118), (134, 134), closed=True),
        _c((122, 140), (64, 140), (56, 196), (96, 214), (122, 160), closed=True), _c((134, 140), (192, 140), (200, 196), (160, 214), (134, 160), closed=True),
        _e(128, 138, 7, 48), _c((124, 92), (116, 64), (104, 56)), _c((132, 92), (140, 64), (152, 56)), _e(72, 86, 12, 12), _e(184, 86, 12, 12)]),
}  # fmt: skip


def drawings(more: Sequence[Path] = (), side_px: int = SIDE_PX) -> list[Drawing]:
    """All drawings, always the same; `more` are pictures of dark lines on light paper, which come first.

    A third of the strokes is drawn twice, a fifth has a gap. Raises InputError where a picture cannot be read.
    """
    found = [_read(path, side_px) for path in more]
    for number, (name, (prompt, strokes)) in enumerate(STROKES.items()):
        rng = np.random.default_rng(100 + number)
        ink = np.zeros((side_px, side_px), np.uint8)
        scale = side_px / SIDE_PX
        wide = int(rng.integers(2, 6))
        for stroke in strokes:
            for _ in range(2 if rng.random() < 0.33 else 1):
                for piece in _gapped(_wobbled(stroke, rng), rng):
                    fixed = np.round(piece * scale * 16).astype(np.int32)
                    cv2.polylines(ink, [fixed], False, 255, max(1, round(wide * scale)), cv2.LINE_AA, 4)
        found.append(Drawing(name, prompt, np.repeat(np.where(ink > 127, 255, 0).astype(np.uint8)[..., None], 3, 2)))
    return found


def _read(path: Path, side_px: int) -> Drawing:
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if grey is None:
        raise InputError(f"{path.name} is not a picture.", "Give a PNG or a JPEG of a drawing.")
    small = cv2.resize(grey, (side_px, side_px), interpolation=cv2.INTER_AREA)
    ink = np.where(small < 150, 255, 0).astype(np.uint8)
    return Drawing(path.stem, f"a {path.stem}", np.repeat(ink[..., None], 3, 2))


def _wobbled(stroke: Stroke, rng: np.random.Generator, reach: float = 1.4) -> Stroke:
    """The stroke as an unsteady hand draws it, in pixels."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(stroke, axis=0), axis=1))])
    count = max(8, int(along[-1] / 2))
    at = np.linspace(0, along[-1], count)
    path = np.stack([np.interp(at, along, stroke[:, k]) for k in (0, 1)], 1)
    knots = max(3, count // 10)
    drift = rng.normal(0, reach, (knots, 2))
    places = np.linspace(0, knots - 1, count)
    return path + np.stack([np.interp(places, np.arange(knots), drift[:, k]) for k in (0, 1)], 1)


def _gapped(path: Stroke, rng: np.random.Generator) -> list[Stroke]:
    if rng.random() > 0.2 or len(path) < 24:
        return [path]
    start = int(rng.integers(6, len(path) - 12))
    return [path[:start], path[start + int(rng.integers(3, 6)) :]]

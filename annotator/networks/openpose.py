"""OpenPose body, hand and face networks (Cao et al. 2017, Simon et al. 2017) and the way from their maps to people.

Layers are called as in the released files (`conv1_1.weight`). Those weights are for non-commercial use only; their card
says so.
"""

from __future__ import annotations

import math
from functools import partial

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from annotator.networks import loading
from annotator.networks.people import Body, assemble, connect, peaks
from controlnet_core.domain.control import Rgb
from controlnet_core.domain.document import MISSING, PEOPLE_MAX, Person, Point, Skeleton
from controlnet_core.domain.errors import InputError
from controlnet_core.domain.picture import resize_to

Maps = NDArray[np.float32]
Points = tuple[Point, ...]

BOX_PX = 368
STRIDE_PX = 8
_HAND_POINTS, _FACE_POINTS = 21, 70
_HAND_SCALES = (0.5, 1.0, 1.5, 2.0)
_POINT_THRESHOLD = 0.05
_CROP_MIN_PX = 20
_FACE_PX = 384
_FACE_REACH = ((14, 3.0), (15, 3.0), (16, 1.5), (17, 1.5))
"""Eyes and ears, and how many times its distance from the nose the face reaches around the nose."""

_STEM = (("conv1_1", 3, 64), ("conv1_2", 64, 64), ("", 0, 0), ("conv2_1", 64, 128), ("conv2_2", 128, 128), ("", 0, 0),
         ("conv3_1", 128, 256), ("conv3_2", 256, 256), ("conv3_3", 256, 256), ("conv3_4", 256, 256), ("", 0, 0),
         ("conv4_1", 256, 512), ("conv4_2", 512, 512))  # fmt: skip
"""The common beginning (VGG-19): name, channels in and out; an empty name halves the map."""


class _Layers(nn.Module):
    """A network of named convolutions that keep the size, each with a ReLU unless told otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.convs: dict[str, nn.Conv2d] = {}

    def layer(self, name: str, inside: int, outside: int, kernel: int = 3) -> str:
        conv = nn.Conv2d(inside, outside, kernel, padding=kernel // 2)
        self.add_module(name, conv)
        return name

    def stem(self) -> None:
        for name, inside, outside in _STEM:
            if name:
                self.layer(name, inside, outside)

    def stage(self, number: int, inside: int, outside: int, branch: str = "") -> None:
        widths = [inside, *[128] * 6, outside]
        for index, kernel in enumerate((7, 7, 7, 7, 7, 1, 1)):
            self.layer(f"Mconv{index + 1}_stage{number}{branch}", widths[index], widths[index + 1], kernel)

    def run(self, x: Tensor, *names: str, last_relu: bool = True) -> Tensor:
        for name in names:
            x = self.get_submodule(name)(x)
            if last_relu or name != names[-1]:
                x = F.relu(x)
        return x

    def run_stem(self, x: Tensor) -> Tensor:
        for name, _, _ in _STEM:
            x = self.run(x, name) if name else F.max_pool2d(x, 2, 2)
        return x

    def run_stage(self, x: Tensor, number: int, branch: str = "", last_relu: bool = False) -> Tensor:
        return self.run(x, *(f"Mconv{i}_stage{number}{branch}" for i in range(1, 8)), last_relu=last_relu)


class BodyNet(_Layers):
    """BGR / 256 - 0.5, float32 1,3,H,W (multiples of 8) -> affinities 1,38,H/8,W/8 and heat 1,19,H/8,W/8."""

    def __init__(self) -> None:
        super().__init__()
        self.stem()
        self.layer("conv4_3_CPM", 512, 256)
        self.layer("conv4_4_CPM", 256, 128)
        for branch, outside in (("_L1", 38), ("_L2", 19)):
            for index in (1, 2, 3):
                self.layer(f"conv5_{index}_CPM{branch}", 128, 128)
            self.layer(f"conv5_4_CPM{branch}", 128, 512, 1)
            self.layer(f"conv5_5_CPM{branch}", 512, outside, 1)
            for number in range(2, 7):
                self.stage(number, 185, outside, branch)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Run the network."""
        seen = self.run(self.run_stem(x), "conv4_3_CPM", "conv4_4_CPM")
        paf, heat = (
            self.run(seen, *(f"conv5_{i}_CPM{branch}" for i in range(1, 6)), last_relu=False)
            for branch in ("_L1", "_L2")
        )
        for number in range(2, 7):
            joined = torch.cat((paf, heat, seen), dim=1)
            paf = self.run_stage(joined, number, "_L1")
            # The released network was trained with this one ReLU at the end.
            heat = self.run_stage(joined, number, "_L2", last_relu=number == 6)
        return paf, heat


class PointNet(_Layers):
    """BGR / 256 - 0.5, float32 1,3,H,W (multiples of 8) -> heat 1,P+1,H/8,W/8: `points` P, then the background."""

    def __init__(self, points: int) -> None:
        super().__init__()
        self.stem()
        for name, inside, outside, kernel in (
            ("conv4_3", 512, 512, 3), ("conv4_4", 512, 512, 3), ("conv5_1", 512, 512, 3), ("conv5_2", 512, 512, 3),
            ("conv5_3_CPM", 512, 128, 3), ("conv6_1_CPM", 128, 512, 1), ("conv6_2_CPM", 512, points + 1, 1),
        ):  # fmt: skip
            self.layer(name, inside, outside, kernel)
        for number in range(2, 7):
            self.stage(number, 128 + points + 1, points + 1)

    def forward(self, x: Tensor) -> Tensor:
        """Run the network."""
        seen = self.run(self.run_stem(x), "conv4_3", "conv4_4", "conv5_1", "conv5_2", "conv5_3_CPM")
        heat = self.run(seen, "conv6_1_CPM", "conv6_2_CPM", last_relu=False)
        for number in range(2, 7):
            heat = self.run_stage(torch.cat((heat, seen), dim=1), number)
        return heat


HandNet = partial(PointNet, _HAND_POINTS)
FaceNet = partial(PointNet, _FACE_POINTS)


def network_input(picture: Rgb, scale: float) -> tuple[Tensor, tuple[int, int]]:
    """The picture scaled and padded (grey, right and bottom) to multiples of 8, and its height and width before padding."""
    size = (max(round(picture.shape[1] * scale), 1), max(round(picture.shape[0] * scale), 1))
    small = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    pad = [(0, -side % STRIDE_PX) for side in small.shape[:2]]
    padded = np.pad(small, (*pad, (0, 0)), constant_values=128)
    return loading.to_tensor(padded[:, :, ::-1], scale=256.0, offset=0.5), (size[1], size[0])


def enlarge(maps: Maps, inner: tuple[int, int], height: int, width: int) -> Maps:
    """Network maps (C,h,w) as H,W,C at the size of the picture; `inner` is the network input without its padding."""
    stacked = np.ascontiguousarray(maps.transpose(1, 2, 0), np.float32)
    large = (stacked.shape[1] * STRIDE_PX, stacked.shape[0] * STRIDE_PX)
    big = np.asarray(cv2.resize(stacked, large, interpolation=cv2.INTER_CUBIC))[: inner[0], : inner[1]]
    return np.asarray(cv2.resize(big, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def bodies(heat: Maps, paf: Maps, height: int, width: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """People from the body network's maps (19,h,w and 38,h,w) in a picture of `height` x `width` pixels.

    Returns candidates (N,4: x, y, score, number) and people (P,20: a candidate's number or -1 for each of 18 joints,
    total score, joints found), as OpenPose counts them.
    """
    scale = 0.5 * BOX_PX / height
    inner = (max(round(height * scale), 1), max(round(width * scale), 1))
    found = peaks(enlarge(heat, inner, height, width))
    links = connect(found, enlarge(paf, inner, height, width))
    candidates = np.concatenate(found) if found else np.zeros((0, 4))
    return candidates, assemble(candidates, links)


@torch.inference_mode()
def detect(picture: Rgb, hands: bool = False, faces: bool = False) -> Skeleton:
    """The people of a uint8 RGB picture, where asked with their hands and faces. InputError when there is nobody."""
    height, width = picture.shape[:2]
    tensor, _ = network_input(picture, 0.5 * BOX_PX / height)
    paf, heat = loading.network("openpose-body", BodyNet)(tensor)
    candidates, found = bodies(loading.to_array(heat)[0], loading.to_array(paf)[0], height, width)
    if not len(found):
        raise InputError(
            "No person was found in the picture.", "Use a picture with larger people, or set the joints by hand."
        )
    people = [_person(picture, candidates, row, hands, faces) for row in found[:PEOPLE_MAX]]
    return Skeleton(width=width, height=height, people=tuple(people))


def _person(
    picture: Rgb, candidates: NDArray[np.float64], row: NDArray[np.float64], hands: bool, faces: bool
) -> Person:
    body: Body = tuple(_point(*candidates[int(index)][:3]) if index >= 0 else MISSING for index in row[:18])
    left, right = (find_hand(picture, body, arm) if hands else None for arm in ((5, 6, 7), (2, 3, 4)))
    return Person(body=body, left_hand=left, right_hand=right, face=find_face(picture, body) if faces else None)


def _point(x: float, y: float, score: float) -> Point:
    return Point(x=float(x), y=float(y), confidence=float(np.clip(score, 1e-3, 1)))


def hand_box(body: Body, arm: tuple[int, int, int], height: int, width: int) -> tuple[int, int, int] | None:
    """Left, top and side of the square where the hand of `arm` (shoulder, elbow, wrist) should be; None if unknown."""
    shoulder, elbow, wrist = (body[index] for index in arm)
    if not all(point.confidence > 0 for point in (shoulder, elbow, wrist)):
        return None
    lower = math.hypot(wrist.x - elbow.x, wrist.y - elbow.y)
    upper = math.hypot(elbow.x - shoulder.x, elbow.y - shoulder.y)
    side = 1.5 * max(lower, 0.9 * upper)
    left = max(wrist.x + 0.33 * (wrist.x - elbow.x) - side / 2, 0)
    top = max(wrist.y + 0.33 * (wrist.y - elbow.y) - side / 2, 0)
    side = min(side, width - left, height - top)
    return (int(left), int(top), int(side)) if side >= _CROP_MIN_PX else None


def face_box(body: Body, height: int, width: int) -> tuple[int, int, int, int] | None:
    """Left, top, right and bottom of where the face should be; None without a nose, or without an eye or ear.

    The rule of ControlNet 1.1: a square around the nose, cut off where the picture ends.
    """
    nose = body[0]
    reach = max(
        (_apart(nose, body[index]) * times for index, times in _FACE_REACH if body[index].confidence > 0), default=0.0
    )
    if nose.confidence <= 0 or 2 * reach < _CROP_MIN_PX:
        return None
    left, top = int(max(nose.x - reach, 0)), int(max(nose.y - reach, 0))
    return left, top, min(left + int(2 * reach), width), min(top + int(2 * reach), height)


def _apart(first: Point, second: Point) -> float:
    return max(abs(first.x - second.x), abs(first.y - second.y))


@torch.inference_mode()
def find_hand(picture: Rgb, body: Body, arm: tuple[int, int, int]) -> Points | None:
    """21 points of the hand of `arm` (shoulder, elbow, wrist), in pixels of the picture; None where there is none."""
    box = hand_box(body, arm, *picture.shape[:2])
    if box is None:
        return None
    left, top, side = box
    crop = picture[top : top + side, left : left + side]
    total = np.zeros((*crop.shape[:2], _HAND_POINTS + 1), np.float32)
    for factor in _HAND_SCALES:
        tensor, inner = network_input(crop, factor * BOX_PX / crop.shape[0])
        heat = loading.to_array(loading.network("openpose-hand", HandNet)(tensor))[0]
        total += enlarge(heat, inner, *crop.shape[:2]) / len(_HAND_SCALES)
    return _moved(hand_points(total), left, top)


@torch.inference_mode()
def find_face(picture: Rgb, body: Body) -> Points | None:
    """70 points of a face (68 of the contours, 2 pupils), in pixels of the picture; None where there is none."""
    box = face_box(body, *picture.shape[:2])
    if box is None:
        return None
    left, top, right, bottom = box
    square = resize_to(picture[top:bottom, left:right], _FACE_PX, _FACE_PX)
    tensor = loading.to_tensor(square[:, :, ::-1], scale=256.0, offset=0.5)
    heat = loading.network("openpose-face", FaceNet)(tensor)
    large = F.interpolate(heat, (bottom - top, right - left), mode="bilinear", align_corners=True)
    return _moved(face_points(loading.to_array(large)[0]), left, top)


def hand_points(heat: Maps) -> Points:
    """21 points from hand maps (H,W,22): the peak of the blob with the largest sum in each, missing where all is weak."""
    points: list[Point] = []
    for part in range(_HAND_POINTS):
        plane = np.ascontiguousarray(heat[:, :, part])
        smooth = cv2.GaussianBlur(plane, (25, 25), 3, borderType=cv2.BORDER_REFLECT)
        count, labels = cv2.connectedComponents(
            (np.asarray(smooth) > _POINT_THRESHOLD).astype(np.uint8), connectivity=8
        )
        if count < 2:
            points.append(MISSING)
            continue
        sums = np.bincount(labels.ravel(), weights=plane.ravel(), minlength=count)[1:]
        points.append(_peak(np.where(labels == int(sums.argmax()) + 1, plane, 0)))
    return tuple(points)


def face_points(heat: Maps) -> Points:
    """70 points from face maps (71,H,W): the maximum of each but the background's, missing where it is weak."""
    return tuple(_peak(plane) if plane.max() > _POINT_THRESHOLD else MISSING for plane in heat[:_FACE_POINTS])


def _peak(plane: Maps) -> Point:
    y, x = np.unravel_index(int(plane.argmax()), plane.shape)
    return _point(float(x), float(y), float(plane[y, x]))


def _moved(points: Points, left: int, top: int) -> Points | None:
    """Points of a cut-out as points of the picture; None when all are missing."""
    if not any(point.confidence > 0 for point in points):
        return None
    return tuple(
        Point(x=p.x + left, y=p.y + top, confidence=p.confidence) if p.confidence > 0 else MISSING for p in points
    )

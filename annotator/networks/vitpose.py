"""People through transformers: RT-DETR finds them, VitPose finds their 17 COCO joints, which become OpenPose's 18.

Crops and peaks follow VitPose's unbiased data processing (Huang et al. 2020) and distribution-aware decoding (Zhang et
al. 2020), without the library's image processors, which want torchvision.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from annotator.networks import loading
from controlnet_core.domain.control import Rgb, Values
from controlnet_core.domain.document import MISSING, PEOPLE_MAX, Person, Point, Skeleton
from controlnet_core.domain.errors import InputError

Floats = NDArray[np.float32]

COCO_OF_OPENPOSE = (0, -1, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
"""The COCO joint in each OpenPose slot; the neck (-1) is the middle of the shoulders 5 and 6."""

_DETECTOR_PX = 640
_MARGIN = 1.25
_GHOST_MIN = 0.05
_SAME_PERSON = 0.8


@torch.inference_mode()
def detect(picture: Rgb, values: Values) -> Skeleton:
    """The people of a uint8 RGB picture, largest first. InputError when there is nobody.

    `values`: "person" is the score from which a box counts, "joint" the one from which a joint is accepted; weaker
    joints are ghosts.
    """
    height, width = picture.shape[:2]
    boxes = find_people(picture, float(values["person"]))[:PEOPLE_MAX]
    if not len(boxes):
        raise InputError(
            "No person was found in the picture.", "Lower the person threshold, or set the joints by hand."
        )
    joints = find_joints(picture, boxes)
    people = tuple(to_person(one, float(values["joint"])) for one in joints)
    return Skeleton(width=width, height=height, people=people)


def find_people(picture: Rgb, threshold: float) -> Floats:
    """Boxes of people, N,4: left, top, right, bottom in pixels, largest first; N may be 0."""
    from transformers import RTDetrForObjectDetection

    model = loading.pretrained("rtdetr-r50", RTDetrForObjectDetection)
    square = np.asarray(cv2.resize(picture, (_DETECTOR_PX, _DETECTOR_PX), interpolation=cv2.INTER_LINEAR), np.uint8)
    output = model(pixel_values=loading.to_tensor(square))
    names: dict[Any, str] = model.config.id2label
    person = next((int(index) for index, name in names.items() if name == "person"), 0)
    scores = loading.to_array(output.logits.sigmoid())[0, :, person]
    return boxes_of(loading.to_array(output.pred_boxes)[0], scores, threshold, *picture.shape[:2])


def boxes_of(relative: Floats, scores: Floats, threshold: float, height: int, width: int) -> Floats:
    """Corner boxes in pixels from centre boxes in 0..1 (N,4: x y w h): above `threshold`, each person once."""
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] > threshold]
    middle, size = relative[order, :2], relative[order, 2:]
    boxes = np.concatenate([middle - size / 2, middle + size / 2], axis=1) * np.array([width, height] * 2, np.float32)
    kept: list[Floats] = []
    for box in boxes.clip(0, np.array([width, height] * 2, np.float32)).astype(np.float32):
        if (box[2:] - box[:2] >= 1).all() and all(_overlap(box, other) < _SAME_PERSON for other in kept):
            kept.append(box)
    kept.sort(key=_area, reverse=True)
    return np.array(kept, np.float32).reshape(-1, 4)


def find_joints(picture: Rgb, boxes: Floats) -> Floats:
    """17 COCO joints for every box: N,17,3 with x, y in pixels and a score."""
    from transformers import VitPoseForPoseEstimation

    model = loading.pretrained("vitpose-base", VitPoseForPoseEstimation)
    height, width = (int(side) for side in model.config.backbone_config.image_size)
    windows = [window(box, width / height) for box in boxes]
    crops = [loading.imagenet_tensor(_crop(picture, place, height, width)) for place in windows]
    found: list[Floats] = []
    for crop, place in zip(crops, windows, strict=True):
        heat = loading.to_array(model(pixel_values=crop, dataset_index=crop.new_zeros(1, dtype=torch.long)).heatmaps)[0]
        found.append(peaks(heat, place))
    return np.stack(found)


def window(box: Floats, aspect: float) -> Floats:
    """What the network sees of a box: the same centre, 1.25 times its size, widened to `aspect` (width / height)."""
    width, height = box[2:] - box[:2]
    width, height = max(width, height * aspect) * _MARGIN, max(height, width / aspect) * _MARGIN
    middle = (box[:2] + box[2:]) / 2
    return np.array([*(middle - (width / 2, height / 2)), width, height], np.float32)


def peaks(heat: Floats, place: Floats) -> Floats:
    """Peaks of heat maps (K,h,w) in the pixels of the picture: K,3 with x, y, score.

    The position between pixels is that of a Gaussian through the neighbourhood of the maximum.
    """
    count, height, width = heat.shape
    rows = np.zeros((count, 3), np.float32)
    for number, plane in enumerate(heat):
        y, x = (int(index) for index in np.unravel_index(int(plane.argmax()), plane.shape))
        blurred = np.maximum(np.asarray(cv2.GaussianBlur(plane, (11, 11), 0), np.float32), 1e-6)
        dx, dy = _between(np.log(blurred), x, y)
        rows[number, 0] = place[0] + (x + dx) * place[2] / (width - 1)
        rows[number, 1] = place[1] + (y + dy) * place[3] / (height - 1)
        rows[number, 2] = plane[y, x]
    return rows


def to_person(joints: Floats, accepted: float) -> Person:
    """COCO joints (17,3: x, y, score) as an OpenPose person; scores below `accepted` make ghosts, under 0.05 gaps."""
    neck = np.append((joints[5, :2] + joints[6, :2]) / 2, min(joints[5, 2], joints[6, 2]))
    rows = [neck if coco < 0 else joints[coco] for coco in COCO_OF_OPENPOSE]
    scores = [float(np.clip(row[2], 0, 1)) for row in rows]
    body = tuple(
        Point(x=float(row[0]), y=float(row[1]), confidence=score) if score >= _GHOST_MIN else MISSING
        for row, score in zip(rows, scores, strict=True)
    )
    ghosts = frozenset(index for index, score in enumerate(scores) if _GHOST_MIN <= score < accepted)
    return Person(body=body, ghosts=ghosts)


def _crop(picture: Rgb, place: Floats, height: int, width: int) -> Rgb:
    scale_x, scale_y = (width - 1) / place[2], (height - 1) / place[3]
    matrix = np.array([[scale_x, 0, -place[0] * scale_x], [0, scale_y, -place[1] * scale_y]], np.float64)
    return np.asarray(cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_LINEAR), np.uint8)


def _between(plane: Floats, x: int, y: int) -> tuple[float, float]:
    """Newton's step from pixel x, y to the maximum of a smooth plane; none at the border or where it is no maximum."""
    if not (1 <= x < plane.shape[1] - 1 and 1 <= y < plane.shape[0] - 1):
        return 0.0, 0.0
    near = plane[y - 1 : y + 2, x - 1 : x + 2].astype(np.float64)
    slope = np.array([near[1, 2] - near[1, 0], near[2, 1] - near[0, 1]]) / 2
    cross = (near[2, 2] - near[2, 0] - near[0, 2] + near[0, 0]) / 4
    xx, yy = near[1, 2] - 2 * near[1, 1] + near[1, 0], near[2, 1] - 2 * near[1, 1] + near[0, 1]
    determinant = xx * yy - cross * cross
    if determinant <= 1e-12 or xx >= 0:
        return 0.0, 0.0
    step = -np.linalg.solve(np.array([[xx, cross], [cross, yy]]), slope)
    dx, dy = step.clip(-1, 1)
    return float(dx), float(dy)


def _area(box: Floats) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))


def _overlap(first: Floats, second: Floats) -> float:
    inner = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    common = float(inner.clip(0, None).prod())
    return common / max(_area(first) + _area(second) - common, 1e-6)

"""Depth networks through transformers: DPT-hybrid MiDaS (the original's) and Depth Anything V2."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from annotator.networks import loading
from controlnet_core.domain.control import Rgb


@torch.inference_mode()
def detect(picture: Rgb, card: str) -> NDArray[np.float32]:
    """Inverse depth of a uint8 RGB picture with the network behind `card`: float32 H,W, larger is nearer, no unit."""
    nearness = _dpt(picture, card) if card == "depth-dpt-hybrid" else _anything(picture, card)
    height, width = picture.shape[:2]
    return np.asarray(cv2.resize(nearness, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _dpt(picture: Rgb, card: str) -> NDArray[np.float32]:
    from transformers import DPTForDepthEstimation

    model = loading.pretrained(card, DPTForDepthEstimation)
    small = _multiple(picture, 32)
    height, width = small.shape[:2]
    # The network itself takes any size, as the original does; the library's wrapper insists on the configured square in
    # two places: a check, and the shape in which the neck reads the patches.
    model.dpt.embeddings.image_size = (height, width)
    patches = (height // int(model.config.patch_size), width // int(model.config.patch_size))

    def with_patches(_neck: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        return (given[0], *patches)

    hook = model.neck.register_forward_pre_hook(with_patches)
    try:
        return _nearness(model(pixel_values=loading.to_tensor(small, scale=127.5, offset=1.0)))
    finally:
        hook.remove()


def _anything(picture: Rgb, card: str) -> NDArray[np.float32]:
    from transformers import DepthAnythingForDepthEstimation

    model = loading.pretrained(card, DepthAnythingForDepthEstimation)
    small = _multiple(picture, int(model.config.patch_size))
    return _nearness(model(pixel_values=loading.imagenet_tensor(small)))


def _nearness(output: Any) -> NDArray[np.float32]:
    return loading.to_array(output.predicted_depth)[0]


def _multiple(picture: Rgb, unit: int) -> Rgb:
    """The picture at the nearest size whose sides are multiples of `unit`, two at least."""
    height, width = (max(round(side / unit), 2) * unit for side in picture.shape[:2])
    if (height, width) == picture.shape[:2]:
        return picture
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)

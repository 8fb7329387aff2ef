"""Segmentation networks for ADE20K through transformers: UperNet, OneFormer and SegFormer."""

from __future__ import annotations

from typing import Any, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from annotator.networks import loading
from annotator.weights import locate
from controlnet_core.domain.control import Rgb
from controlnet_core.domain.errors import ModelError

CLASSES = 150
_UNIT_PX = 32
_TASK = "the task is semantic"
_TASK_TOKENS = 77


@torch.inference_mode()
def detect(picture: Rgb, card: str) -> NDArray[np.uint8]:
    """The class 0..149 of every pixel of a uint8 RGB picture, with the network behind `card`; uint8 H,W."""
    height, width = picture.shape[:2]
    size = tuple(max(round(side / _UNIT_PX), 2) * _UNIT_PX for side in (width, height))
    pixels = loading.imagenet_tensor(np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8))
    scores = _oneformer(pixels, card) if "oneformer" in card else _convolutional(pixels, card)
    return classes(scores, height, width)


def classes(scores: Tensor, height: int, width: int) -> NDArray[np.uint8]:
    """The best class of every pixel: scores 1,150,h,w are enlarged, then compared. ModelError for another number."""
    if scores.shape[1] != CLASSES:
        raise ModelError(
            f"The network knows {scores.shape[1]} classes instead of the 150 of ADE20K.", "Use another one."
        )
    best = F.interpolate(scores.float(), (height, width), mode="bilinear", align_corners=False).argmax(dim=1)
    return best[0].to(torch.uint8).cpu().numpy()


def mask_scores(class_logits: Tensor, mask_logits: Tensor) -> Tensor:
    """Scores 1,C,h,w from queries: class logits 1,Q,C+1 (the last is "nothing") and mask logits 1,Q,h,w."""
    return torch.einsum("bqc,bqhw->bchw", class_logits.softmax(dim=-1)[..., :-1], mask_logits.sigmoid())


def _convolutional(pixels: Tensor, card: str) -> Tensor:
    from transformers import SegformerForSemanticSegmentation, UperNetForSemanticSegmentation

    kind = SegformerForSemanticSegmentation if "segformer" in card else UperNetForSemanticSegmentation
    return loading.pretrained(card, kind)(pixel_values=pixels).logits


def _oneformer(pixels: Tensor, card: str) -> Tensor:
    from transformers import OneFormerForUniversalSegmentation

    model = loading.pretrained(card, OneFormerForUniversalSegmentation)
    output = model(pixel_values=pixels, task_inputs=_task(card).to(pixels.device))
    return mask_scores(output.class_queries_logits, output.masks_queries_logits)


def _task(card: str) -> Tensor:
    """The tokens of the task, padded with zeros as the network was trained."""
    import transformers

    folder = locate(card)
    try:
        tokenizer = cast("Any", transformers.AutoTokenizer).from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{folder.name} has no usable tokenizer.", "Download the model again, all of it.") from error
    tokens = tokenizer(_TASK, padding="max_length", max_length=_TASK_TOKENS, truncation=True, return_tensors="pt")
    return cast("Tensor", tokens["input_ids"] * tokens["attention_mask"])

"""Superpixels: a photo cut into small regions of one colour each, so that a click can give a whole region its class.

SLIC (Achanta et al., "SLIC Superpixels Compared to State-of-the-art Superpixel Methods", 2012) as scikit-image computes it.
Regions know nothing of classes; who clicks gives them one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from controlnet_core.domain.control import Rgb
from controlnet_core.domain.errors import InputError

COUNT_MIN, COUNT_MAX = 20, 1500
WORK_MAX_PX = 640
"""Longer side at which regions are sought: finer borders would take seconds and show nobody anything."""


def regions(picture: Rgb, count: int) -> NDArray[np.uint16]:
    """The region of every pixel, uint16 H,W, numbered from 0; about `count` of them, all connected.

    `picture` is uint8 H,W,3. Raises InputError for a `count` outside 20..1500.
    """
    from skimage import segmentation

    if not COUNT_MIN <= count <= COUNT_MAX:
        raise InputError(f"The number of regions must lie between {COUNT_MIN} and {COUNT_MAX}.")
    height, width = picture.shape[:2]
    scale = min(1.0, WORK_MAX_PX / max(height, width))
    small = (max(1, round(width * scale)), max(1, round(height * scale)))
    work = cv2.resize(picture, small, interpolation=cv2.INTER_AREA) if scale < 1 else picture
    slic = cast("Callable[..., NDArray[np.int64]]", segmentation.slic)  # pyright: ignore[reportUnknownMemberType]
    found = slic(work, n_segments=count, compactness=8, sigma=0.8, max_num_iter=6, start_label=0, channel_axis=2)
    return np.asarray(cv2.resize(found.astype(np.uint16), (width, height), interpolation=cv2.INTER_NEAREST), np.uint16)

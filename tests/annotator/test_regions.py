"""Superpixels keep to a picture's borders, are connected, and come in the number asked for."""

import cv2
import numpy as np
import pytest

from annotator.regions import regions
from controlnet_core.domain.errors import InputError


def quarters(side: int) -> np.ndarray:
    picture = np.zeros((side, side, 3), np.uint8)
    picture[: side // 2, : side // 2] = (200, 40, 30)
    picture[: side // 2, side // 2 :] = (30, 160, 60)
    picture[side // 2 :, : side // 2] = (40, 60, 220)
    picture[side // 2 :, side // 2 :] = (230, 220, 90)
    noise = np.random.default_rng(1).normal(0, 6, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("count", [40, 200])
def test_regions_keep_to_the_borders_of_a_picture(count):
    side = 256
    found = regions(quarters(side), count)
    assert found.shape == (side, side) and found.dtype == np.uint16
    assert 0.5 * count <= found.max() + 1 <= 1.3 * count
    truth = np.arange(4).reshape(2, 2).repeat(side // 2, 0).repeat(side // 2, 1)
    table = np.zeros((found.max() + 1, 4), np.int64)
    np.add.at(table, (found.ravel(), truth.ravel()), 1)
    assert table.max(axis=1).sum() / side**2 > 0.99, "a region lies in one quarter"


def test_every_region_is_one_piece():
    found = regions(quarters(192), 60)
    for index in range(int(found.max()) + 1):
        pieces, _ = cv2.connectedComponents((found == index).astype(np.uint8), connectivity=4)
        assert pieces == 2, f"region {index} (and the ground)"


def test_a_large_picture_keeps_its_size_and_a_tiny_one_works():
    picture = np.zeros((700, 1200, 3), np.uint8)
    picture[:, 600:] = 255
    found = regions(picture, 50)
    assert found.shape == (700, 1200)
    assert len(np.intersect1d(found[:, :595], found[:, 605:])) == 0
    assert regions(np.zeros((1, 1, 3), np.uint8), 20).shape == (1, 1)


@pytest.mark.parametrize("count", [0, -5, 10**6])
def test_a_number_of_regions_out_of_range_is_told(count):
    with pytest.raises(InputError, match="between 20 and 1500"):
        regions(np.zeros((8, 8, 3), np.uint8), count)

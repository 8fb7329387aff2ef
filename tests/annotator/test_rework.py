"""Tile, shuffle, instruct and inpaint: pictures that become control pictures without a network."""

import numpy as np
import pytest
from PIL import Image

from annotator import control, detection, shuffle, tile
from controlnet_core.diffusion.control_inputs import hint_of
from controlnet_core.domain import document as documents
from controlnet_core.domain import picture
from controlnet_core.domain.document import Raster
from controlnet_core.domain.errors import InputError
from controlnet_core.domain.resize import fit


def house(golden):
    return np.array(Image.open(golden / "pictures" / "house.jpg").convert("RGB"))


def noise(height, width, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels)).astype(np.uint8)


def found(key, rgb, **values):
    one = control(key)
    return detection.detect(one, one.detectors[0], rgb, values, rgb.shape[1], rgb.shape[0])


def test_a_tile_at_rate_one_is_the_picture_and_higher_rates_leave_less_of_it(golden):
    photo = house(golden)
    assert np.array_equal(found("tile", photo).pixels, photo)
    rates = (1.5, 2, 4, 8)
    coarse = [tile.coarser(photo, rate) for rate in rates]
    left = [float(np.abs(np.diff(one.astype(float), axis=1)).mean()) for one in coarse]
    assert left == sorted(left, reverse=True), "ever fewer details"
    for one in coarse:
        assert one.shape == photo.shape
        assert np.abs(one.mean(axis=(0, 1)) - photo.mean(axis=(0, 1))).max() < 1.5, "its colours stay"


def test_a_tile_averages_areas():
    """At rate 4, blocks of 4 x 4 of one colour come back as they are in their middles; what is within a block is lost."""
    blocks = np.kron(np.array([[0, 255], [255, 0]], np.uint8), np.ones((32, 32), np.uint8))
    rgb = np.repeat(blocks[..., None], 3, axis=2)
    fine = rgb.copy()
    fine[::2, ::2] = 255 - fine[::2, ::2]  # a quarter of every pixel block is turned round
    coarse = tile.coarser(fine, 4)
    assert abs(int(coarse[16, 16, 0]) - 64) <= 1 and abs(int(coarse[16, 48, 0]) - 191) <= 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (7, 3), (64, 2048)])
@pytest.mark.parametrize("key", ["tile", "shuffle", "ip2p", "inpaint"])
def test_odd_shapes(key, shape):
    document = found(key, noise(*shape))
    assert (document.height, document.width) == shape


def test_a_shuffle_takes_every_colour_from_the_picture_and_its_seed_decides_where(golden):
    photo = house(golden)
    one, again, other = shuffle.shuffled(photo, 1), shuffle.shuffled(photo, 1), shuffle.shuffled(photo, 2)
    assert np.array_equal(one, again) and not np.array_equal(one, other)
    assert not np.array_equal(found("shuffle", photo, seed=1).pixels, found("shuffle", photo, seed=2).pixels)
    for channel in range(3):
        assert (
            photo[..., channel].min() <= one[..., channel].min()
            and one[..., channel].max() <= photo[..., channel].max()
        )
    # The field is smooth: neighbours stay neighbours, so edges are no stronger than the picture's own by much.
    plain = np.full((256, 256, 3), (10, 200, 90), np.uint8)
    assert np.array_equal(shuffle.shuffled(plain, 5), plain)


def test_the_field_of_a_shuffle_is_smooth_and_reaches_every_edge():
    for spacing in (64, 256):
        field = shuffle.field(384, 512, spacing, np.random.default_rng(3))
        assert field.shape == (384, 512) and field.dtype == np.float32
        assert (float(field.min()), float(field.max())) == (0.0, 1.0)
        steps = max(np.abs(np.diff(field, axis=axis)).max() for axis in (0, 1))
        assert steps < 6 / spacing, "a cell of the grid changes by about one"
    wide, fine = (shuffle.field(512, 512, spacing, np.random.default_rng(4)) for spacing in (256, 64))
    assert np.abs(np.diff(fine)).mean() > 2 * np.abs(np.diff(wide)).mean(), "smaller swirls"


def test_instruct_is_the_photo_itself(golden):
    photo = house(golden)
    one = control("ip2p")
    assert np.array_equal(one.render(found("ip2p", photo), {}), photo)


def test_a_hole_is_minus_one_in_every_channel_and_the_rest_is_the_picture():
    """As the inpaint network of ControlNet 1.1 was trained: picture / 255, -1 where it is to be made anew."""
    pixels = noise(32, 48, 4)
    drawn = control("inpaint").render(Raster("rgba", pixels), {})
    hint = hint_of(drawn)[0].numpy()
    holes = pixels[..., 3] < 128
    assert (hint[:, holes] == -1).all()
    assert np.allclose(hint[:, ~holes], pixels[..., :3][~holes].T / np.float32(255))
    assert hint_of(noise(8, 8)).min() >= 0, "a picture without transparency has none"


def test_a_hole_survives_file_and_resizing_and_nothing_of_the_picture_is_lost_under_it():
    pixels = np.dstack([noise(64, 64), np.full((64, 64), 255, np.uint8)])
    pixels[16:32, 16:48, 3] = 0
    document = documents.decode(documents.encode(Raster("rgba", pixels)))
    assert np.array_equal(document.pixels, pixels)
    drawn = control("inpaint").render(document, {})
    again = picture.open_picture(picture.to_png(drawn), alpha=True)
    assert np.array_equal(again, drawn), "colours stay under holes"
    larger = fit(again, 128, 128)
    assert (larger[34:62, 34:94, 3] < 128).all() and (larger[70:, :, 3] == 255).all()
    assert fit(again, 96, 128, "fit").shape == (128, 96, 4)


def test_a_transparent_file_has_holes_and_an_opaque_one_has_none():
    pixels = np.dstack([noise(64, 64), np.full((64, 64), 255, np.uint8)])
    opaque = picture.open_picture(picture.to_png(pixels), alpha=True)
    assert opaque.shape[2] == 3
    assert (found("inpaint", opaque).pixels[..., 3] == 255).all()
    pixels[:20, :, 3] = 0
    document = found("inpaint", picture.open_picture(picture.to_png(pixels), alpha=True))
    assert (document.pixels[:20, :, 3] == 0).all() and (document.pixels[20:, :, 3] == 255).all()
    assert picture.open_picture(picture.to_png(pixels)).shape[2] == 3, "everybody else sees it over white"


@pytest.mark.parametrize("key", ["inpaint", "ip2p"])
def test_what_is_no_map_of_a_picture_teaches_nothing(key):
    with pytest.raises(InputError, match="no map of a picture"):
        control(key).truth_of(None)

"""Photos as they come: however a file stores the same picture, the map is the same; what cannot be looked at is refused."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from annotator import controls, detection
from annotator.networks import loading, openpose
from controlnet_core.domain.errors import InputError
from controlnet_core.domain.picture import open_picture

TURNS = {
    1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
}  # fmt: skip
"""How a picture lies in a file whose EXIF orientation is the key."""


@pytest.fixture(scope="module")
def photo(golden):
    return np.array(Image.open(golden / "pictures" / "dog.jpg").convert("RGB"))


def file_of(picture, kind="PNG", **how):
    buffer = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(buffer, kind, **how)
    return buffer.getvalue()


def edges(data, key="canny"):
    one = controls()[key]
    found = detection.detect(one, detection.detector(one, key), open_picture(data), {}, 320, 256)
    return found.pixels


def test_colour_pictures_of_every_kind_give_the_same_map(photo):
    wanted = edges(file_of(photo))
    assert wanted.any()
    opaque = np.dstack([photo, np.full(photo.shape[:2], 255, np.uint8)])
    sixteen = cv2.imencode(".png", photo[:, :, ::-1].astype(np.uint16) * 257)[1].tobytes()
    for data in (
        file_of(opaque),
        file_of(photo, "WEBP", lossless=True),
        file_of(opaque, "WEBP", lossless=True),
        sixteen,
    ):
        np.testing.assert_array_equal(edges(data), wanted)


def test_grey_pictures_of_every_kind_give_the_same_map(photo):
    grey = Image.fromarray(photo).convert("L")
    wanted = edges(file_of(grey.convert("RGB")))
    with_alpha = Image.merge("LA", (grey, Image.new("L", grey.size, 255)))
    palette = grey.copy()
    palette.putpalette(bytes(level for level in range(256) for _ in range(3)))
    sixteen = np.asarray(grey).astype(np.uint16) * 257
    for data in (file_of(grey), file_of(with_alpha), file_of(palette), file_of(sixteen)):
        np.testing.assert_array_equal(edges(data), wanted)


def test_print_colours_give_nearly_the_same_map(photo):
    coarse = cv2.GaussianBlur(photo, (0, 0), 3)
    plain, printed = edges(file_of(coarse)), edges(file_of(Image.fromarray(coarse).convert("CMYK"), "JPEG", quality=98))
    near = cv2.dilate(plain, np.ones((5, 5), np.uint8))
    assert printed.any() and (near[printed > 0] > 0).mean() > 0.95


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_pictures_are_looked_at_upright(photo, orientation):
    exif = Image.Exif()
    exif[0x112] = orientation
    turn = TURNS[orientation]
    stored = Image.fromarray(photo) if turn is None else Image.fromarray(photo).transpose(turn)
    np.testing.assert_array_equal(edges(file_of(stored, exif=exif)), edges(file_of(photo)))


def test_what_is_transparent_is_paper():
    drawing = np.zeros((256, 320, 4), np.uint8)
    drawing[100:110, 50:250, 3] = 255
    found = detection.detect(
        controls()["scribble"], detection.detector(controls()["scribble"], "drawing"), open_picture(file_of(drawing)), {},
        320, 256,
    )  # fmt: skip
    assert (found.pixels[100:110, 50:250] == 255).all() and found.pixels.sum() == 10 * 200 * 255


def test_files_that_cannot_be_looked_at_are_refused_in_a_sentence(photo):
    whole = file_of(photo)
    for data in (
        b"",
        whole[: len(whole) // 2],
        b"<html>Sign in</html>",
        b"%PDF-1.7 ",
        file_of(Image.new("1", (7000, 6000))),
    ):
        with pytest.raises(InputError) as refused:
            edges(data)
        assert refused.value.message.endswith(".") and refused.value.hint.endswith(".")


def test_nobody_in_the_picture_is_said(monkeypatch):
    import torch

    nothing = (torch.zeros(1, 38, 23, 23), torch.zeros(1, 19, 23, 23))
    monkeypatch.setattr(loading, "network", lambda _card, _make: lambda _tensor: nothing)
    with pytest.raises(InputError, match="No person"):
        openpose.detect(np.zeros((184, 184, 3), np.uint8), hands=True, faces=True)

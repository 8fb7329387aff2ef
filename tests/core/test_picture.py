"""Pictures from outside come out right or are refused in a sentence."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from controlnet_core.domain import picture
from controlnet_core.domain.errors import InputError
from tests.hostile_pictures import hostile


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def colourful(height=40, width=60) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (height + width)], 2).astype(np.uint8)


def test_size_table_equals_the_original(oracles):
    table = np.load(oracles / "annotators" / "resize_hwc3.npz")["size_table"]
    for height, width, resolution, new_height, new_width in table.tolist():
        assert picture.resized_size(height, width, resolution) == (new_height, new_width)


@pytest.mark.parametrize("case", range(4))
def test_resize_equals_the_original(oracles, case):
    data = np.load(oracles / "annotators" / "resize_hwc3.npz")
    ours = picture.resize_image(data[f"resize{case}_in"], int(data[f"resize{case}_resolution"]))
    assert ours.shape == data[f"resize{case}_out"].shape
    assert np.abs(ours.astype(int) - data[f"resize{case}_out"]).max() <= 1


@pytest.mark.parametrize("kind", ["gray", "rgba"])
def test_hwc3_equals_the_original(oracles, kind):
    data = np.load(oracles / "annotators" / "resize_hwc3.npz")
    np.testing.assert_array_equal(picture.hwc3(data[f"hwc3_{kind}_in"]), data[f"hwc3_{kind}_out"])


def test_hwc3_refuses_other_types():
    for wrong in (np.zeros((4, 4), np.float32), np.zeros((4, 4, 2), np.uint8), np.zeros(4, np.uint8)):
        with pytest.raises(InputError):
            picture.hwc3(wrong)


@pytest.mark.parametrize(("kind", "tolerance"), [("PNG", 0), ("JPEG", 12), ("WEBP", 12)])
def test_rgb_formats(kind, tolerance):
    options = {"quality": 98} | ({"subsampling": 0} if kind == "JPEG" else {})
    got = picture.open_picture(encoded(Image.fromarray(colourful()), kind, **({} if kind == "PNG" else options)))
    assert got.dtype == np.uint8 and got.shape == (40, 60, 3)
    assert np.abs(got.astype(int) - colourful()).max() <= tolerance


def test_grey_and_one_bit():
    grey = colourful()[:, :, 0]
    got = picture.open_picture(encoded(Image.fromarray(grey)))
    np.testing.assert_array_equal(got, np.repeat(grey[:, :, None], 3, 2))
    bits = Image.fromarray(grey > 100)
    np.testing.assert_array_equal(picture.open_picture(encoded(bits))[:, :, 1], np.where(grey > 100, 255, 0))


def test_sixteen_bit_grey_keeps_its_range():
    deep = np.linspace(0, 65535, 60).astype(np.uint16)[None].repeat(10, 0)
    got = picture.open_picture(encoded(Image.fromarray(deep)))
    assert got[0, 0, 0] == 0 and got[0, -1, 0] == 255
    np.testing.assert_array_equal(got[0, :, 0], (deep[0].astype(int) + 128) // 257)


def test_transparency_lies_over_white():
    rgba = np.dstack([colourful(), np.zeros((40, 60), np.uint8)])
    rgba[:20, :, 3] = 255
    got = picture.open_picture(encoded(Image.fromarray(rgba)))
    np.testing.assert_array_equal(got[:20], colourful()[:20])
    assert (got[20:] == 255).all()
    palette = Image.fromarray(colourful()).quantize(8)
    palette.info["transparency"] = 0
    indices = np.array(palette)
    got = picture.open_picture(encoded(palette, transparency=0))
    assert (got[indices == 0] == 255).all()
    assert np.array_equal(got[indices != 0], np.array(palette.convert("RGB"))[indices != 0])


def test_cmyk_jpeg():
    red = Image.new("CMYK", (32, 32), (0, 255, 255, 0))
    got = picture.open_picture(encoded(red, "JPEG", quality=95))
    assert got[16, 16, 0] > 200 and got[16, 16, 1] < 60 and got[16, 16, 2] < 60


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation):
    upright = colourful()
    turn = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(turn(upright)))
    np.testing.assert_array_equal(picture.open_picture(encoded(stored, exif=exif)), upright)


def test_refusals_are_sentences():
    png = encoded(Image.fromarray(colourful(300, 300)))
    wrong = {
        "empty": b"",
        "text": b"hello, this is no picture" * 10,
        "html": b"<!doctype html><title>404</title>",
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "gif": encoded(Image.fromarray(colourful()), "GIF"),
        "bmp": encoded(Image.fromarray(colourful()), "BMP"),
        "truncated": png[: len(png) // 2],
        "header only": png[:40],
        "huge file": b"\x89PNG" + b"\0" * (26 << 20),
    }
    for name, data in wrong.items():
        with pytest.raises(InputError) as caught:
            picture.open_picture(data)
        assert caught.value.message.count(".") <= 1 + caught.value.message.count(".."), name
        assert caught.value.message.endswith("."), name
        assert caught.value.hint, name


@pytest.mark.parametrize("side", [6_000, 20_000, 60_000, 2_000_000_000])
def test_too_many_pixels(side):
    bomb = bytearray(encoded(Image.new("1", (8, 8))))
    bomb[16:24] = struct.pack(">II", side, side)
    bomb[29:33] = struct.pack(">I", zlib.crc32(bomb[12:29]))
    with pytest.raises(InputError, match="33 megapixels"):
        picture.open_picture(bytes(bomb))


def test_a_jpeg_of_very_many_scans_is_refused_before_it_is_read() -> None:
    """Each of them is a walk over the whole picture; the process that decodes would be ended for it only after two seconds."""
    with pytest.raises(InputError, match="far too many scans"):
        picture.open_picture(hostile("a JPEG of 2,000 scans"))


@settings(max_examples=150)
@given(
    place=st.floats(0, 1), value=st.integers(0, 255), kind=st.sampled_from(["PNG", "JPEG", "WEBP"]), cut=st.booleans()
)
def test_damage_never_escapes(place, value, kind, cut):
    data = bytearray(encoded(Image.fromarray(colourful()), kind))
    at = min(int(place * len(data)), len(data) - 1)
    data[at] = value
    try:
        got = picture.open_picture(bytes(data[:at] if cut else data))
    except InputError:
        return
    assert got.dtype == np.uint8 and got.ndim == 3 and got.shape[2] == 3


def test_round_trips():
    rgb = colourful()
    png = picture.to_png(rgb, {"parameters": "a cat, größer"})
    np.testing.assert_array_equal(picture.open_picture(png), rgb)
    assert Image.open(io.BytesIO(png)).text["parameters"] == "a cat, größer"
    assert np.abs(picture.open_picture(picture.to_jpeg(rgb, 95)).astype(int) - rgb).mean() < 4

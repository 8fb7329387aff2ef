"""Finished maps of other programs: taken as what they are, and said to be."""

import io
import json
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import annotator
from annotator import finished, seg
from annotator.finished import ink_of, read
from controlnet_core.domain.document import Raster, Skeleton
from controlnet_core.domain.errors import InputError
from controlnet_core.domain.picture import open_layers, open_mask
from tests.conftest import golden_folder
from tests.js.test_node import node

ROOT = Path(__file__).resolve().parents[2]

STROKE = np.zeros((64, 64), np.uint8)
cv2.line(STROKE, (8, 10), (50, 44), 255, 5)
INK = STROKE > 127
RED = STROKE[..., None] * (np.array([20, 200, 220]) / 255).astype(np.float32)
RED = RED.astype(np.uint8)
RANDOM = np.random.default_rng(3)
PHOTO = cv2.GaussianBlur(RANDOM.integers(0, 256, (64, 64, 3), np.uint8), (0, 0), 2) * np.uint8(1)
LINE_LIKE = ["scribble", "canny", "lines", "softedge", "lineart", "lineart_anime"]


def saved(pixels: np.ndarray, mode: str | None = None, kind: str = "PNG", **more: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels, mode).save(buffer, kind, **more)
    return buffer.getvalue()


def case(name: str) -> bytes:
    path = golden_folder() / "cases" / name
    if not path.is_file():
        pytest.skip(f"no {path}")
    return path.read_bytes()


def with_alpha(ink: tuple[int, int, int], ground: tuple[int, int, int], alpha: np.ndarray) -> bytes:
    colour = np.where((alpha > 0)[..., None], np.array(ink, np.uint8), np.array(ground, np.uint8))
    return saved(np.dstack([colour, alpha]).astype(np.uint8))


def read_mask(data: bytes, control: str = "scribble", **how) -> np.ndarray:
    reading = read(annotator.control(control), data, **how)
    assert reading is not None and isinstance(reading.document, Raster)
    return reading.document.pixels > 127


DRAWINGS = {
    "dark on light": saved(255 - STROKE),
    "light on dark": saved(STROKE),
    "a JPEG, light on dark": saved(STROKE, kind="JPEG", quality=95),
    "white ink on nothing": with_alpha((255, 255, 255), (0, 0, 0), STROKE),
    "white ink on white nothing": with_alpha((255, 255, 255), (255, 255, 255), STROKE),
    "black ink on nothing": with_alpha((0, 0, 0), (255, 255, 255), STROKE),
    "red ink on nothing": with_alpha((220, 30, 20), (0, 0, 0), STROKE),
    "blue ink on paper": saved(np.where(INK[..., None], np.array([30, 60, 240], np.uint8), np.uint8(255))),
    "pink ink on black": saved(np.where(INK[..., None], np.array([255, 100, 200], np.uint8), np.uint8(0))),
    "a JPEG, red ink": saved(cv2.GaussianBlur(255 - RED, (0, 0), 0.5), kind="JPEG", quality=92),
    "black ink, half transparent": with_alpha((0, 0, 0), (0, 0, 0), STROKE // 2),
    "a pencil's grey": saved(255 - STROKE // 3),
}


@pytest.mark.parametrize("control", LINE_LIKE)
@pytest.mark.parametrize("drawing", DRAWINGS)
def test_ink_is_ink_whatever_its_colour_and_the_papers(drawing: str, control: str) -> None:
    found = read_mask(DRAWINGS[drawing], control)
    assert np.mean(found != INK) < 0.02


def on_paper(
    ground: tuple[int, ...], ink: tuple[int, ...], shade: float = 0, grain: float = 0
) -> tuple[bytes, np.ndarray]:
    """A drawing on paper of a colour, darker by a share of `shade` towards a corner, and where its ink is."""
    wide = np.zeros((192, 256), np.uint8)
    cv2.line(wide, (30, 30), (200, 150), 255, 5)
    cv2.circle(wide, (150, 80), 50, 255, 4)
    cv2.rectangle(wide, (40, 110), (70, 140), 255, -1)
    cover = (cv2.GaussianBlur(wide, (0, 0), 0.6) / 255.0)[..., None]
    y, x = np.mgrid[0:1:192j, 0:1:256j]
    light = 1 - shade * ((0.7 * x + 0.3 * y) ** 1.5)[..., None]
    noise = np.random.default_rng(7).normal(0, grain, (192, 256, 1)) if grain else 0
    drawn = (np.array(ground) * (1 - cover) + np.array(ink) * cover) * light + noise
    return saved(drawn.clip(0, 255).astype(np.uint8)), wide > 127


ON_PAPER = {
    "a black pen on kraft": on_paper((196, 160, 118), (30, 28, 26)),
    "a white pen on kraft": on_paper((196, 160, 118), (245, 245, 240)),
    "a white pen on blue": on_paper((60, 110, 190), (250, 250, 250)),
    "a blue pen on yellow": on_paper((250, 225, 90), (30, 60, 160)),
    "a blue pen on blue": on_paper((120, 160, 230), (30, 50, 140)),
    "white paper in a photo": on_paper((225, 222, 215), (40, 40, 45), shade=0.35, grain=3),
    "kraft in a photo": on_paper((196, 160, 118), (30, 28, 26), shade=0.45, grain=4),
    "a blackboard in a photo": on_paper((40, 70, 55), (220, 225, 215), shade=0.3, grain=4),
}


@pytest.mark.parametrize("drawing", ON_PAPER)
def test_a_drawing_on_coloured_or_photographed_paper_is_a_drawing(drawing: str) -> None:
    data, ink = ON_PAPER[drawing]
    for control in LINE_LIKE:
        reading = read(annotator.control(control), data)
        assert reading is not None and "lines on coloured paper" in reading.sentence
    assert np.mean(read_mask(data) != ink) < 0.006
    assert np.mean(read_mask(data, sure=True) != ink) < 0.006
    soft = ink_of(open_layers(data))[0]
    assert np.median(soft[~cv2.dilate(ink.astype(np.uint8), np.ones((9, 9))).astype(bool)]) == 0, "the paper is black"
    large = cv2.resize(open_layers(data).rgb, (4096, 3072), interpolation=cv2.INTER_LINEAR)
    assert ink_of(open_layers(saved(large, kind="JPEG", quality=90)))[0].shape == (3072, 4096)


def test_things_before_a_plain_ground_are_photos() -> None:
    y, x = np.mgrid[0:192, 0:256]
    sky = np.dstack([90 + y * 0.3, 140 + y * 0.3, 220 - y * 0.1])
    shape = ((x - 128) / 70) ** 2 + ((y - 96) / 40) ** 2 < 1
    lit = np.clip(1.25 - np.hypot(x - 100, y - 70) / 90, 0.15, 1.2)[..., None]
    ball = np.where(shape[..., None], lit * np.array([230, 90, 40]), sky)
    bird = np.where(shape[..., None], 25.0, sky)
    sea = np.where((y > 110)[..., None], np.dstack([20 + 0 * y, 70 + 20 * np.sin(x / 9), 90 + 0 * y]), sky)
    for photo in (ball, bird, sea, sky):
        data = saved(photo.clip(0, 255).astype(np.uint8))
        for control in LINE_LIKE:
            assert read(annotator.control(control), data) is None


def test_photos_that_people_brought_are_photos() -> None:
    folder = golden_folder() / "pictures"
    photos = sorted(folder.glob("*.jpg"))
    if not photos:
        pytest.skip(f"no photos in {folder}")
    assert [path.name for path in photos if read(annotator.control("scribble"), path.read_bytes())] == []


def test_a_thing_on_white_is_a_photo() -> None:
    y, x = np.mgrid[:64, :64]
    light = np.clip(1.2 - np.hypot(x - 24, y - 24) / 30, 0.2, 1)[..., None]
    shaded = np.where(light > 0.9, 255 * light, light * np.array([230, 60, 40]))
    ball = np.where((np.hypot(x - 32, y - 32) < 20)[..., None], shaded, 255).clip(0, 255).astype(np.uint8)
    for control in LINE_LIKE:
        assert read(annotator.control(control), saved(ball)) is None


def test_the_border_decides_and_a_flag_overrules_it() -> None:
    half = STROKE.copy()
    half[:40] = 255
    assert read_mask(saved(half), polarity="light", sure=True)[0, 0]
    assert not read_mask(saved(half), polarity="dark", sure=True)[0, 0]
    with pytest.raises(InputError, match="no ink"):
        read(annotator.control("scribble"), saved(np.full((64, 64), 255, np.uint8)), sure=True)


@pytest.mark.parametrize("wide", [1, 3])
def test_a_frame_around_the_sheet_is_no_paper(wide: int) -> None:
    for ground in (0, 255):
        framed = STROKE if ground == 0 else 255 - STROKE
        framed = np.pad(framed, wide, constant_values=255 - ground)
        inside = read_mask(saved(framed))[wide:-wide, wide:-wide]
        assert (inside == INK).all()


def test_a_sky_painted_over_the_border_is_ink_all_the_same() -> None:
    sky = np.zeros((64, 64), np.uint8)
    sky[:40] = 255
    assert (ink_of(open_layers(with_alpha((255, 255, 255), (255, 255, 255), sky)))[0] == sky).all()


@pytest.mark.parametrize("control", [key for key in LINE_LIKE if key != "scribble"])
def test_a_finished_map_stays_to_the_pixel_and_a_photo_is_none(control: str) -> None:
    kind = annotator.control(control)
    soft = np.minimum(cv2.GaussianBlur(STROKE, (0, 0), 2), 255).astype(np.uint8)
    reading = read(kind, saved(soft))
    assert reading is not None and isinstance(reading.document, Raster) and (reading.document.pixels == soft).all()
    assert "finished map" in reading.sentence
    for photo in (saved(PHOTO), saved(np.asarray(cv2.cvtColor(PHOTO, cv2.COLOR_RGB2GRAY)))):
        assert read(kind, photo) is None
        assert read(kind, photo, sure=True) is not None


def test_what_the_studio_renders_is_read_back() -> None:
    for control in LINE_LIKE:
        kind = annotator.control(control)
        rendered = kind.render(Raster("mask", STROKE), {})
        assert (read_mask(saved(rendered), control) == INK).all()


def test_scribbles_that_people_brought() -> None:
    by_black, by_alpha = (
        read_mask(case("scribble_white_on_black.png")),
        read_mask(case("scribble_white_ink_transparent.png")),
    )
    assert 0.001 < by_black.mean() < 0.3 and 0.001 < by_alpha.mean() < 0.3


@pytest.mark.parametrize("ink", [(255, 255, 255), (0, 0, 0), (200, 20, 120)])
def test_a_mask_on_a_transparent_layer_is_its_alpha(ink: tuple[int, int, int]) -> None:
    assert (open_mask(with_alpha(ink, ink, STROKE))[:, :, 1] == STROKE).all()
    assert (open_mask(saved(STROKE))[:, :, 1] == STROKE).all()
    assert (open_mask(with_alpha(ink, ink, STROKE // 2))[:, :, 1] == STROKE).all(), "painted half transparent"


def test_masks_that_people_brought() -> None:
    white, black = open_mask(case("mask_alpha_white.png")), open_mask(case("mask_alpha_black.png"))
    assert (white == black).all() and 0.01 < (white > 0).mean() < 0.99


BODY = [
    (128, 40), (128, 72), (106, 76), (96, 110), (92, 140), (150, 76), (160, 110), (164, 140), (116, 140), (112, 180),
    (110, 220), (140, 140), (144, 180), (146, 220), (118, 30), (138, 30), (106, 36), (150, 36),
]  # fmt: skip


def skeleton_picture() -> np.ndarray:
    frame = {
        "people": [{"pose_keypoints_2d": [n for x, y in BODY for n in (x, y, 1)]}],
        "canvas_width": 256,
        "canvas_height": 256,
    }
    kind = annotator.control("pose")
    reading = read(kind, json.dumps(frame).encode())
    assert reading is not None and isinstance(reading.document, Skeleton) and "1 person" in reading.sentence
    return kind.render(reading.document, {})


def test_a_skeleton_picture_is_the_control_picture_and_its_pose_as_json_is() -> None:
    kind = annotator.control("pose")
    drawn = skeleton_picture()
    reading = read(kind, saved(drawn))
    assert reading is not None and reading.picture is not None and (reading.picture == drawn).all()
    assert isinstance(reading.document, Skeleton) and len(reading.document.people) == 1
    assert "of 1 person" in reading.sentence
    assert "not to be seen" not in reading.sentence, "all of it is there"
    drawn_twice = np.hstack([drawn, drawn])
    drawn_twice[130:150, 270:420] = 0
    partly = read(kind, saved(drawn_twice))
    assert partly is not None and "not to be seen in it: look whether each person is one" in partly.sentence
    clear = read(kind, saved(np.dstack([drawn, np.where(drawn.any(axis=2), 255, 0).astype(np.uint8)])))
    assert clear is not None and isinstance(clear.document, Skeleton)  # on a transparent ground


def test_a_photo_given_as_a_skeleton_picture_is_said_to_be_one() -> None:
    kind = annotator.control("pose")
    assert read(kind, saved(PHOTO)) is None
    reading = read(kind, saved(PHOTO), sure=True)
    assert reading is not None and reading.document is None and "looks like a photo" in reading.sentence
    night = np.zeros((64, 64, 3), np.uint8)
    night[20:30, 20:40] = (90, 84, 80)
    assert read(kind, saved(night)) is None


def test_poses_that_people_brought() -> None:
    kind = annotator.control("pose")
    picture = read(kind, case("pose_skeleton.png"))
    assert picture is not None and picture.picture is not None and isinstance(picture.document, Skeleton)
    body = picture.document.people[0].body
    assert len(picture.document.people) == 1 and sum(point.confidence > 0 for point in body) >= 14
    assert abs(body[4].x - 170) < 3 and abs(body[4].y - 390) < 3 and "hands and faces" in picture.sentence
    lossy = read(kind, case("pose_face69.json"))
    assert lossy is not None and "face of person 1 was left out" in lossy.sentence


CLASSES = np.repeat(np.repeat(np.array([[2, 6], [9, 25]], np.uint8), 32, axis=0), 32, axis=1)


def read_classes(data: bytes, **how) -> tuple[np.ndarray, str]:
    reading = read(annotator.control("seg"), data, **how)
    assert reading is not None and isinstance(reading.document, Raster)
    return reading.document.pixels, reading.sentence


def test_class_numbers() -> None:
    ones = CLASSES + 1
    holed = ones.copy()
    holed[:3] = 0
    for data in (saved(ones), saved(np.dstack([ones] * 3)), saved(ones.astype(np.uint16)), saved(holed)):
        pixels, sentence = read_classes(data)
        assert (pixels == CLASSES).all() and "count from 1" in sentence
    assert (read_classes(saved(CLASSES), numbers="0")[0] == CLASSES).all()
    nothing = CLASSES.copy()
    nothing[:, -2:] = 255
    pixels, sentence = read_classes(saved(nothing))
    assert (pixels == CLASSES).all() and "count from 0" in sentence and "128 pixels" in sentence
    grey = Image.fromarray(ones, "P")
    grey.putpalette([value for value in range(256) for _ in range(3)])
    buffer = io.BytesIO()
    grey.save(buffer, "PNG")
    assert (read_classes(buffer.getvalue())[0] == CLASSES).all()
    with pytest.raises(InputError, match="the last class is 150"):
        read_classes(saved(np.full((8, 8), 200, np.uint8)), numbers="1")


def test_class_numbers_in_a_file_that_changes_them_are_refused() -> None:
    for kind in ("JPEG", "WEBP"):
        with pytest.raises(InputError, match="class numbers saved as JPEG"):
            read_classes(saved(np.repeat(CLASSES + 1, 8, axis=1), kind=kind, quality=95))
    data = saved(np.dstack([CLASSES + 1] * 3), kind="WEBP", lossless=True)
    assert (read_classes(data)[0] == CLASSES).all()


def test_class_numbers_that_people_brought() -> None:
    pixels, sentence = read_classes(case("seg_annotation_1based.png"))
    assert np.unique(pixels).tolist() == [2, 6, 9, 25] and "ADE20K" in sentence


def test_an_indexed_map_keeps_classes_of_one_colour_apart() -> None:
    image = Image.fromarray(np.where(CLASSES == 9, 48, CLASSES).astype(np.uint8), "P")
    image.putpalette(seg.palette().ravel().tolist())
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    assert np.unique(read_classes(buffer.getvalue())[0]).tolist() == [2, 6, 25, 48]


def test_noise_of_a_jpeg_makes_no_classes_and_a_photo_is_said_to_be_one() -> None:
    wide = np.repeat(np.repeat(CLASSES, 4, axis=0), 4, axis=1)
    data = saved(seg.palette()[wide], kind="JPEG", quality=80)
    pixels, sentence = read_classes(data)
    plain = seg.nearest_classes(open_layers(data).rgb)[0]
    assert np.mean(pixels != wide) < min(0.005, 0.5 * np.mean(plain != wide)) and "took the nearest" in sentence
    photo = RANDOM.integers(0, 256, (64, 64, 3), np.uint8)
    with pytest.raises(InputError, match="looks like a photo") as caught:
        read(annotator.control("seg"), saved(photo))
    assert "seg.map=FILE" in caught.value.hint
    assert read(annotator.control("seg"), saved(photo), sure=True) is not None


def test_every_condition_takes_a_map_that_is_said_to_be_one() -> None:
    for kind in annotator.controls().values():
        reading = finished.read(kind, saved(skeleton_picture()), sure=True)
        assert reading is not None and (reading.document is not None or reading.picture is not None)


@pytest.mark.parametrize(
    "drawing", [*DRAWINGS, *ON_PAPER, "a sky over the border, on nothing", "a cut-out photo", "a frame"]
)
def test_the_page_reads_ink_as_the_command_line_does(drawing: str, tmp_path: Path) -> None:
    sky = np.zeros((64, 64), np.uint8)
    sky[:40] = 255
    more = {
        "a sky over the border, on nothing": with_alpha((255, 255, 255), (255, 255, 255), sky),
        "a cut-out photo": saved(np.dstack([PHOTO, np.where(sky[::-1] > 0, 255, 0).astype(np.uint8)])),
        "a frame": saved(np.pad(STROKE, 2, constant_values=255)),
        **{name: data for name, (data, _) in ON_PAPER.items()},
    }
    data = (DRAWINGS | more)[drawing]
    rgba = np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))
    (tmp_path / "rgba").write_bytes(rgba.tobytes())
    script = f"""
        import {{ readFileSync }} from "node:fs";
        import {{ maskFromRgba }} from "{(ROOT / "components/assets/canvas/transform.js").as_uri()}";
        const rgba = new Uint8Array(readFileSync(process.argv[1]));
        process.stdout.write(Buffer.from(maskFromRgba(rgba, {rgba.shape[1]}, {rgba.shape[0]}).pixels));
    """
    command = [node(), "--input-type=module", "-e", script, str(tmp_path / "rgba")]
    read_there = np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, np.uint8)
    wanted = ink_of(open_layers(data))[0]
    apart = np.abs(read_there.reshape(wanted.shape).astype(int) - wanted)
    assert apart.max() <= (8 if drawing in ON_PAPER else 1), "a level of strong ink's 255 may be several of faint ink's"
    assert apart.mean() < 0.1

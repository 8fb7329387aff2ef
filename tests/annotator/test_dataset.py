"""Data sets from photos: folders, zips and lists; stopped, killed and gone on with; bad files reported."""

from __future__ import annotations

import json
import os
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from annotator import control
from annotator import detection as detecting
from annotator.datasets.dataset import AnnotationPlan, AnnotationProgress, make
from annotator.datasets.photos import photos
from controlnet_core.datasets import open_folder
from controlnet_core.domain.control import Rgb
from controlnet_core.domain.document import Document
from controlnet_core.domain.errors import Cancelled, InputError, NoSpace
from controlnet_core.domain.picture import open_picture, to_png

PLAN = AnnotationPlan("canny", "canny", {"low": 50, "high": 100}, {}, 256, "a photo")


def photo(seed: int, height: int = 90, width: int = 120) -> bytes:
    random = np.random.default_rng(seed)
    rgb = np.zeros((height, width, 3), np.uint8)
    for _ in range(6):
        y, x = random.integers(0, height - 20), random.integers(0, width - 20)
        rgb[y : y + 20, x : x + 20] = random.integers(60, 255, 3)
    return to_png(rgb)


def find(rgb: Rgb, width: int, height: int) -> Document:
    one = control("canny")
    return detecting.detect(one, detecting.detector(one, "canny"), rgb, PLAN.values, width, height)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five photos, one of them bad, one in a subfolder, two with captions."""
    place = tmp_path / "in"
    (place / "cats").mkdir(parents=True)
    for name in ("a.png", "b.png", "cats/a.png"):
        (place / name).write_bytes(photo(len(name)))
    (place / "a.jpg").write_bytes(photo(9))
    (place / "bad.png").write_bytes(photo(1)[:50])
    (place / "b.txt").write_text("two  red\nboxes")
    (place / "metadata.jsonl").write_text(json.dumps({"file_name": "cats/a.png", "text": "a cat"}) + "\nnot json\n")
    return place


def lines(out: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (out / "prompt.json").read_text("utf-8").splitlines()]


def usual(path: Path) -> bool:
    """Whether a file has the permissions that the umask leaves to a person's own files."""
    mask = os.umask(0o022)
    os.umask(mask)
    return path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_folder_becomes_the_layout_of_the_tutorial(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = make(photos(folder), out, PLAN, find, free_min_bytes=0)
    assert (done.total, done.done, [name for name, _ in done.skipped]) == (5, 4, ["bad.png"])
    assert [
        path for path in out.rglob("*") if path.is_file() and not path.name.startswith(".") and not usual(path)
    ] == []
    assert {line["target"]: line["prompt"] for line in lines(out)} == {
        "target/a-jpg.png": "a photo",
        "target/a-png.png": "a photo",
        "target/b.png": "two red boxes",
        "target/cats__a.png": "a cat",
    }
    source = open_picture((out / "source" / "b.png").read_bytes())
    target = open_picture((out / "target" / "b.png").read_bytes())
    assert source.shape == target.shape == (256, 320, 3)
    expected = control("canny").render(find(open_picture((folder / "b.png").read_bytes()), 320, 256), {})
    assert np.array_equal(source, expected)
    assert "cut off" in (out / "skipped.jsonl").read_text()
    pairs = open_folder(out)
    assert len(pairs) == 4
    assert pairs.entry(2).prompt == "two red boxes"


def test_a_run_that_was_stopped_goes_on_and_keeps_edited_prompts(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    asked: list[int] = []

    def counted(rgb: Rgb, width: int, height: int) -> Document:
        asked.append(width)
        return find(rgb, width, height)

    def stop(progress: AnnotationProgress) -> None:
        if progress.seen == 2:
            raise Cancelled()

    with pytest.raises(Cancelled):
        make(photos(folder), out, PLAN, counted, stop, free_min_bytes=0)
    assert len(asked) == len(lines(out)) == 2
    edited = (out / "prompt.json").read_text("utf-8").replace("a photo", "a box")
    (out / "prompt.json").write_text(edited + '{"source": "sou', "utf-8")  # a crash in the middle of a line
    (out / "source" / "a-jpg.png").unlink()
    done = make(photos(folder), out, PLAN, counted, free_min_bytes=0)
    assert (done.done, len(asked)) == (4, 5)
    assert [line["prompt"] for line in lines(out)] == ["a box", "a box", "two red boxes", "a cat"]
    assert (out / "source" / "a-jpg.png").is_file()


def test_a_folder_made_otherwise_is_refused(folder: Path, tmp_path: Path) -> None:
    make(photos(folder), tmp_path / "out", PLAN, find, free_min_bytes=0)
    other = AnnotationPlan("canny", "canny", {"low": 60, "high": 100}, {}, 256)
    with pytest.raises(InputError, match="in another way"):
        make(photos(folder), tmp_path / "out", other, find, free_min_bytes=0)
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "prompt.json").write_text("")
    with pytest.raises(InputError, match="another data set"):
        make(photos(folder), tmp_path / "else", PLAN, find, free_min_bytes=0)


def test_a_full_disk_stops_with_a_sentence_and_whole_pairs(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(NoSpace):
        make(photos(folder), tmp_path / "out", PLAN, find, free_min_bytes=2**60)
    assert not (tmp_path / "out" / "prompt.json").exists()


def test_a_zip_is_read_where_it_lies(folder: Path, tmp_path: Path) -> None:
    packed = tmp_path / "in.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in folder.rglob("*"):
            if path.is_file():
                archive.write(path, path.relative_to(folder))
        archive.writestr("../evil.png", photo(3))
        archive.writestr("__MACOSX/._a.png", b"")
    done = make(photos(packed), tmp_path / "out", PLAN, find, free_min_bytes=0)
    assert done.done == 5
    assert {line["prompt"] for line in lines(tmp_path / "out")} == {"a photo", "two red boxes", "a cat"}
    assert (tmp_path / "out" / "target" / "evil.png").is_file()
    assert not (tmp_path.parent / "evil.png").exists()


def test_a_list_names_photos_beside_itself(folder: Path, tmp_path: Path) -> None:
    listing = folder / "list.jsonl"
    rows = [{"image": "b.png", "caption": "x"}, {"target": "gone.png", "prompt": "y"}, {"a": 1}]
    listing.write_text("\n".join(map(json.dumps, rows)))
    done = make(photos(listing), tmp_path / "out", PLAN, find, free_min_bytes=0)
    assert (done.done, done.skipped[0][0]) == (1, "gone.png")
    assert "no such file" in done.skipped[0][1].lower()
    assert lines(tmp_path / "out") == [{"source": "source/b.png", "target": "target/b.png", "prompt": "x"}]


@pytest.mark.parametrize("make_source", ["missing", "empty", "bad.zip", "bad.jsonl"])
def test_what_is_no_source_is_a_sentence(make_source: str, tmp_path: Path) -> None:
    place = tmp_path / make_source
    if make_source == "empty":
        place.mkdir()
    elif "." in make_source:
        place.write_bytes(b"nothing of the kind")
    with pytest.raises(InputError) as refused:
        photos(place)
    assert refused.value.message.endswith(".")


def test_a_zip_bomb_is_not_inflated(tmp_path: Path) -> None:
    packed = tmp_path / "bomb.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("big.png", bytes(120 << 20))
    (one,) = photos(packed)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="larger than 25 MB"):
            one.read()
        assert tracemalloc.get_traced_memory()[1] < 75 << 20, "no more than is allowed is ever unpacked"
    finally:
        tracemalloc.stop()


def test_the_photos_own_size_is_kept_when_asked(folder: Path, tmp_path: Path) -> None:
    own = AnnotationPlan("canny", "canny", {"low": 50, "high": 100}, {}, 0)
    make(photos(folder / "b.png"), tmp_path / "out", own, find, free_min_bytes=0)
    assert open_picture((tmp_path / "out" / "source" / "b.png").read_bytes()).shape == (90, 120, 3)

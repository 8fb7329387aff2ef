"""A picture carries its recipe, whatever else is in the file; a result is there whole or not at all."""

from __future__ import annotations

import io
import json
import os
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from controlnet_core.domain.errors import InputError, NoSpace, RecipeError
from controlnet_core.domain.job import Job
from controlnet_core.domain.recipe import ControlUnit, Recipe
from controlnet_core.storage.gallery import Gallery, Query
from controlnet_core.storage.metadata import alone, parameters_of, read_parameters, recipe_of, to_png

RECIPE = Recipe(
    model="paperworld",
    prompt='a house, "red" 🏠 at dusk\nsecond line',
    added_prompt="clean",
    negative="blurry",
    width=128,
    height=64,
    seed=2**32 - 1,
    images=3,
    guidance=4.5,
    sampler="dpmpp_2m_karras",
    controls=(ControlUnit(control="scribble", picture="a" * 64, weight=0.75, end=0.5, mode="control"),),
)
RGB = np.random.default_rng(0).integers(0, 256, (64, 128, 3), np.uint8)


def chunk(kind: bytes, data: bytes, crc: int | None = None) -> bytes:
    return (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) if crc is None else crc)
    )


def with_chunk(extra: bytes) -> bytes:
    """A PNG without a recipe of ours, with one more chunk after its header."""
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, "PNG")
    png = buffer.getvalue()
    return png[:33] + extra + png[33:]


def test_recipe_and_pixels_come_back_from_the_png() -> None:
    png = to_png(RGB, RECIPE)
    assert recipe_of(png) == RECIPE
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png))), RGB)


def test_the_other_programs_form_is_inside_too() -> None:
    text = Image.open(io.BytesIO(to_png(RGB, RECIPE))).text["parameters"]
    first, rest = text.split("\nNegative prompt: ")
    assert first == 'a house, "red" 🏠 at dusk\nsecond line, clean'
    negative, fields = rest.split("\n")
    assert negative == "blurry"
    assert fields.startswith(
        "Steps: 20, Sampler: DPM++ 2M Karras, CFG scale: 4.5, Seed: 4294967295, Size: 128x64, Model: paperworld, "
    )
    assert (
        'ControlNet 0: "Module: scribble, Model: scribble, Weight: 0.75, Guidance Start: 0, Guidance End: 0.5' in fields
    )


def test_each_picture_of_several_has_a_recipe_of_its_own() -> None:
    assert [alone(RECIPE, k).seed for k in range(3)] == [2**32 - 1, 0, 1]
    assert alone(RECIPE, 2).images == 1


def test_a_png_of_another_program_has_no_recipe() -> None:
    assert recipe_of(with_chunk(b"")) is None
    assert recipe_of(with_chunk(chunk(b"tEXt", b"parameters\0Steps: 20"))) is None
    assert recipe_of(b"") is None
    assert recipe_of(b"GIF89a") is None


def test_the_recipe_is_found_in_either_kind_of_text_chunk() -> None:
    plain = Recipe(model="paperworld", width=64, height=64)
    text = plain.to_json().encode()
    assert recipe_of(with_chunk(chunk(b"tEXt", b"studio\0" + text))) == plain
    assert recipe_of(with_chunk(chunk(b"iTXt", b"studio\0\0\0en\0studio\0" + text))) == plain


@pytest.mark.parametrize(
    "data",
    [
        b"studio\0{}",
        b"studio\0" + b"[" * 60_000,
        b"studio\0" + b'{"version": 1, "model": "x", "width": NaN, "height": 64}',
        b"studio\0" + RECIPE.to_json().encode("utf-8")[:-1] + b', "evil": 1}',
        b"studio\0" + b" " * (64 * 1024) + RECIPE.to_json().encode(),
        b"studio\0" + b"x" * 50_000_000,
        b"studio\0\xff\xfe\x00",
    ],
    ids=["empty", "deep", "nan", "unknown key", "padded", "50 MB", "no text"],
)
def test_a_hostile_recipe_is_refused_in_a_sentence(data: bytes) -> None:
    with pytest.raises(RecipeError):
        recipe_of(with_chunk(chunk(b"tEXt", data)))


def test_a_compressed_or_damaged_chunk_is_not_ours() -> None:
    bomb = zlib.compress(b"0" * 100_000_000, 9)
    assert recipe_of(with_chunk(chunk(b"iTXt", b"studio\0\1\0\0\0" + bomb))) is None
    assert recipe_of(with_chunk(chunk(b"zTXt", b"studio\0\0" + bomb))) is None
    assert recipe_of(with_chunk(chunk(b"tEXt", b"studio\0" + RECIPE.to_json().encode(), crc=1))) is None
    assert recipe_of(with_chunk(struct.pack(">I4s", 2**31, b"tEXt"))) is None


@settings(max_examples=150)
@given(data=st.binary(max_size=400), cut=st.integers(0, 6000), at=st.integers(0, 6000))
def test_only_our_error_comes_out_of_any_bytes(data: bytes, cut: int, at: int) -> None:
    png = to_png(RGB[:8, :8], RECIPE)
    for hostile in (png[:at] + data + png[at:cut], png[:8] + data, with_chunk(chunk(b"iTXt", b"studio\0" + data))):
        try:
            found = recipe_of(hostile)
        except RecipeError as error:
            assert error.message
        else:
            assert found is None or isinstance(found, Recipe)


def add(gallery: Gallery, session: str = "s", owner: str = "", count: int = 1, job: str = "job") -> tuple[str, ...]:
    pictures = [to_png(np.roll(RGB, k, 1), alone(RECIPE, k)) for k in range(count)]
    return gallery.add(Job(job, session, RECIPE, owner=owner), pictures)


def test_results_are_kept_and_come_back_newest_first(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path)
    first, second = add(gallery), add(gallery, "t", owner="w", count=2, job="other")
    assert [one.id for one in gallery.recent(10)] == [*second[::-1], *first]
    again = Gallery(tmp_path)
    assert [one.id for one in again.recent(2)] == list(second[::-1])
    assert [one.id for one in again.recent(10, owner="w")] == list(second[::-1])
    result = again.get(second[1])
    assert (result.owner, result.index, result.job, result.recipe) == ("w", 1, "other", alone(RECIPE, 1))
    assert recipe_of(result.png.read_bytes()) == alone(RECIPE, 1)
    thumb = Image.open(result.thumb)
    assert (thumb.format, thumb.size) == ("WEBP", (128, 64))


def test_a_job_that_ran_twice_has_its_pictures_once(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path)
    interrupted = add(gallery, count=2)
    again = add(gallery, count=3)
    assert [one.id for one in gallery.recent(10)] == list(again[::-1])
    assert not set(interrupted) & {path.stem for path in tmp_path.iterdir()}


def test_pictures_without_a_record_are_swept_when_they_are_old(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path)
    (kept,) = add(gallery)
    for name in (f"{'1' * 32}.png", f"{'1' * 32}.webp", f"{'2' * 32}.png"):
        (tmp_path / name).write_bytes(b"half")
    os.utime(tmp_path / f"{'1' * 32}.png", (1, 1))
    os.utime(tmp_path / f"{'1' * 32}.webp", (1, 1))
    os.utime(tmp_path / f"{kept}.png", (1, 1))
    assert gallery.sweep() == 2
    assert gallery.get(kept).png.is_file()
    assert (tmp_path / f"{'2' * 32}.png").is_file()


def words(gallery: Gallery, **query: Any) -> list[int]:
    """The seeds of what a search finds, newest first."""
    return [one.recipe.seed for one in gallery.find(Query(**query), 100)]


def fill(gallery: Gallery, count: int = 6) -> list[str]:
    """Results with seeds 0, 1, ...: even ones of "anna", odd ones of "bert"; every third is a pose."""
    ids: list[str] = []
    for seed in range(count):
        control = "pose" if seed % 3 == 0 else "scribble"
        unit = ControlUnit(control=control, picture="a" * 64)
        recipe = RECIPE.model_copy(
            update={"seed": seed, "images": 1, "prompt": f"ein Straßenbild {seed} BOAT", "controls": (unit,)}
        )
        owner = "anna" if seed % 2 == 0 else "bert"
        ids += gallery.add(Job(f"job{seed}", "s", recipe, owner=owner), [to_png(RGB, recipe)])
    return ids


def test_search_by_words_condition_owner_and_page(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path)
    ids = fill(gallery)
    assert words(gallery) == [5, 4, 3, 2, 1, 0]
    assert words(gallery, owner="anna") == [4, 2, 0]
    assert words(gallery, control="pose") == [3, 0]
    assert words(gallery, text="boat STRASSENBILD") == [5, 4, 3, 2, 1, 0]
    assert words(gallery, text="bild 4") == [4]
    assert words(gallery, text="'; DROP TABLE result --") == []
    assert words(gallery, text="%") == []
    assert [one.id for one in gallery.find(Query(), 2, before=ids[4])] == [ids[3], ids[2]]
    assert gallery.count(Query(owner="bert", control="scribble")) == 2
    assert gallery.controls() == {"pose": 2, "scribble": 4}


def test_stars_and_the_bin_stand_in_the_files(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "gallery")
    ids = fill(gallery)
    assert gallery.star(ids[:4], "anna") == [ids[0], ids[2]]  # the others are not hers
    assert gallery.delete([ids[2], ids[4], "0" * 32, "../x"], "anna") == [ids[2], ids[4]]
    for look in (gallery, Gallery(tmp_path / "gallery"), _without_index(tmp_path)):
        assert words(look, shelf="starred") == [0]
        assert words(look, shelf="bin") == [4, 2]
        assert words(look) == [5, 3, 1, 0]
        assert look.get(ids[2]).starred
    assert gallery.restore([ids[2]], "anna") == [ids[2]]
    assert words(gallery, shelf="starred") == [2, 0]
    assert gallery.empty_bin(time.time() + 1) == 1
    assert not list((tmp_path / "gallery").glob(f"{ids[4]}*"))


def _without_index(folder: Path) -> Gallery:
    for path in folder.glob("gallery.sqlite*"):
        path.unlink()
    return Gallery(folder / "gallery")


@pytest.mark.parametrize("damage", [b"", b"garbage" * 1000, b"SQLite format 3\0" + bytes(5000)])
def test_a_damaged_index_is_made_anew(tmp_path: Path, damage: bytes) -> None:
    fill(Gallery(tmp_path / "gallery"))
    for path in tmp_path.glob("gallery.sqlite-*"):
        path.unlink()
    (tmp_path / "gallery.sqlite").write_bytes(damage)
    assert words(Gallery(tmp_path / "gallery")) == [5, 4, 3, 2, 1, 0]


def test_an_index_damaged_at_work_heals(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "gallery")
    fill(gallery)
    gallery._index.close()
    (tmp_path / "gallery.sqlite").write_bytes(b"garbage" * 1000)
    assert words(gallery) == [5, 4, 3, 2, 1, 0]


def test_the_files_are_the_truth_when_the_index_missed_something(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "gallery")
    ids = fill(gallery)
    gallery._index.close()
    (tmp_path / "gallery" / f"{ids[0]}.json").unlink()
    record = tmp_path / "gallery" / f"{ids[1]}.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"starred": True}))
    (tmp_path / "gallery" / f"{ids[2]}.json").write_text("{")
    again = Gallery(tmp_path / "gallery")
    assert words(again) == [5, 4, 3, 1]
    assert words(again, shelf="starred") == [1]


def test_who_empties_a_full_disk_is_let(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "gallery")
    ids = fill(gallery)
    gallery.free_min_bytes = 2**60
    assert gallery.delete(ids, "anna") == ids[::2]
    assert gallery.empty_bin(float("inf")) == 3


def test_ids_sort_by_time_and_cannot_be_guessed(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path)
    ids = [add(gallery)[0] for _ in range(20)]
    assert len({id[12:] for id in ids}) == 20
    assert [id[:12] for id in ids] == sorted(id[:12] for id in ids)


def test_a_result_that_was_half_written_is_not_there(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path)
    (id,) = add(gallery)
    (tmp_path / f"{id}.json").unlink()
    (tmp_path / f"{'0' * 32}.json").write_bytes(b"{")
    assert Gallery(tmp_path).recent(5) == []


def test_a_full_disk_keeps_nothing_of_a_result(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path, free_min_bytes=2**60)
    with pytest.raises(NoSpace):
        add(gallery, count=2)
    assert list(tmp_path.iterdir()) == []
    assert gallery.recent(5) == []


def test_a_disk_too_full_for_the_index_keeps_nothing_of_a_result(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "gallery")
    kept = [*add(gallery, job="job-first")]
    database = gallery._index._db  # pyright: ignore[reportPrivateUsage]
    assert database is not None
    (pages,) = database.execute("PRAGMA page_count").fetchone()
    database.execute(f"PRAGMA max_page_count = {pages}")  # to SQLite a full disk
    with pytest.raises(NoSpace, match="too little space"):
        for number in range(2000):
            kept += add(gallery, job=f"job-{number}")
    assert [one.id for one in gallery.recent(-1)] == kept[::-1]
    assert {path.stem for path in gallery.folder.iterdir()} == set(kept)
    assert sorted(gallery.delete(kept, "s")) == sorted(kept)
    gallery.empty_bin(float("inf"))
    assert list(gallery.folder.iterdir()) == []
    assert gallery.recent(-1) == gallery.find(Query(shelf="bin"), -1) == []
    assert add(gallery, job="job-after")


@pytest.mark.parametrize("id", ["", "..", "../../etc/passwd", "0" * 32, "G" * 32, "0" * 32 + "\n"])
def test_an_unknown_picture_is_a_sentence(tmp_path: Path, id: str) -> None:
    with pytest.raises(InputError, match="not in the gallery"):
        Gallery(tmp_path).get(id)


A1111 = """a cat, (red:1.2) <lora:style:0.8>
second line
Negative prompt: bad, ugly
Steps: 28, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7.5, Seed: 12345, Size: 520x777, Model hash: abc, Model: dream, \
Clip skip: 2, ControlNet 0: "Module: canny, Model: x, Weight: 1", Version: v1.9"""


def test_another_programs_parameters_fill_what_they_can() -> None:
    assert read_parameters(A1111) == {
        "prompt": "a cat, (red:1.2)\nsecond line",
        "negative": "bad, ugly",
        "steps": 28,
        "sampler": "dpmpp_2m_karras",
        "guidance": 7.5,
        "seed": 12345,
        "clip_skip": 2,
        "width": 512,
        "height": 768,
    }


def test_our_own_parameters_come_back() -> None:
    found = read_parameters(parameters_of(to_png(RGB, RECIPE)) or "")
    assert found["prompt"] == RECIPE.text
    for field in ("negative", "steps", "sampler", "guidance", "seed", "width", "height"):
        assert found[field] == getattr(RECIPE, field)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("only words", {"prompt": "only words"}),
        (
            "x\nSteps: 900, CFG scale: nan, Seed: -1, Size: 0x0, Sampler: DPM adaptive",
            {"prompt": "x", "width": 64, "height": 64},
        ),
        (
            "Steps: 20, Sampler: Euler a, Size: 4096x2048",
            {"steps": 20, "sampler": "euler_a", "width": 2048, "height": 1024},
        ),
    ],
)
def test_what_does_not_fit_is_left_out(text: str, found: dict[str, object]) -> None:
    assert read_parameters(text) == found


def test_a_text_chunk_of_another_program_is_read() -> None:
    latin = "Steps: 20, é".encode("latin-1")
    assert parameters_of(with_chunk(chunk(b"tEXt", b"parameters\0" + latin))) == "Steps: 20, é"
    assert parameters_of(with_chunk(b"")) is None

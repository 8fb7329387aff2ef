"""Every layout gives the same pairs, and every kind of bad pair is named."""

from __future__ import annotations

import csv
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import annotator
from controlnet_core.datasets import Pairs, checks, open_folder
from controlnet_core.datasets.example_circles import COLOURS, Circles, verdict
from controlnet_core.datasets.layouts import LINE_MAX_BYTES, Editable, Lines
from controlnet_core.domain import picture
from controlnet_core.domain.errors import InputError, NoSpace
from controlnet_core.domain.picture import to_png
from paperworld.world.pairs import WorldPairs
from tests.conftest import golden_folder
from tests.training.conftest import add_line, add_pair


def same(ours: Pairs, theirs: Pairs, count: int) -> None:
    assert len(ours) == count
    for index in range(count):
        mine, other = ours.read(index), theirs.read(index)
        assert mine.prompt == other.prompt
        np.testing.assert_array_equal(mine.source, other.source)
        np.testing.assert_array_equal(mine.target, other.target)


def test_the_tutorials_layout(tutorial: Path) -> None:
    same(open_folder(tutorial), Circles(64), 10)


def test_two_folders_of_equal_names(tmp_path: Path) -> None:
    circles = Circles(64)
    for side in ("conditioning_images", "images"):
        (tmp_path / side).mkdir()
    for index in range(5):
        source, target, prompt = circles.read(index)
        (tmp_path / "conditioning_images" / f"{index}.png").write_bytes(picture.to_png(source))
        (tmp_path / "images" / f"{index}.png").write_bytes(picture.to_png(target))
        (tmp_path / "images" / f"{index}.txt").write_text(prompt + "\n")
    same(open_folder(tmp_path), circles, 5)


def test_an_image_folder_of_hugging_face(tutorial: Path) -> None:
    lines = [json.loads(line) for line in (tutorial / "prompt.json").read_text().splitlines()]
    (tutorial / "prompt.json").unlink()
    names = {"target": "file_name", "source": "conditioning_image_file_name", "prompt": "text"}
    renamed = [{names[key]: value for key, value in line.items()} for line in lines]
    (tutorial / "metadata.jsonl").write_text("\n".join(json.dumps(line) for line in renamed))
    same(open_folder(tutorial), Circles(64), 10)


def test_what_a_set_is_tested_with_is_not_trained_on(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for part, rows in (("train", range(3)), ("validation", range(3, 5)), ("test", range(5, 9))):
        table = pa.Table.from_pylist([{"text": f"pair {row}", "image": b"", "conditioning_image": b""} for row in rows])
        pq.write_table(table, tmp_path / f"{part}-00000-of-00001.parquet")
    pairs = open_folder(tmp_path)
    assert [pairs.entry(index).prompt for index in range(len(pairs))] == ["pair 0", "pair 1", "pair 2"]


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_a_table_of_hugging_face(tmp_path: Path, suffix: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = []
    for index in range(7):
        source, target, prompt = Circles(64).read(index)
        cells = {"image": target, "conditioning_image": source}
        rows.append(
            {key: {"bytes": picture.to_png(rgb), "path": None} for key, rgb in cells.items()} | {"text": prompt}
        )
    table = pa.Table.from_pylist(rows)
    file = tmp_path / f"train-00000.{suffix}"
    if suffix == "parquet":
        pq.write_table(table, file, row_group_size=3)
    else:
        with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=3)
    same(open_folder(tmp_path), Circles(64), 7)


def test_a_damaged_row_of_a_table_is_one_bad_pair(tmp_path: Path) -> None:
    import pyarrow as pa

    source, target, _ = Circles(64).read(0)
    cells = [[picture.to_png(rgb)] * 2 for rgb in (target, source)]
    letters = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(np.array([0, 1, 2], np.int32)), pa.py_buffer(b"a\xff")]
    )
    table = pa.table({"image": cells[0], "conditioning_image": cells[1], "text": letters})
    with (
        pa.OSFile(str(tmp_path / "train.arrow"), "wb") as sink,
        pa.ipc.new_stream(sink, table.schema) as writer,
    ):
        writer.write_table(table)
    report = checks.check(open_folder(tmp_path))
    assert [(one.index, one.text) for one in report.problems] == [(1, "The row is damaged.")]


def test_the_gallery_gives_its_pictures_with_their_drawings(tmp_path: Path) -> None:
    from controlnet_core.datasets.gallery_pairs import KeptPairs
    from controlnet_core.domain.job import Job
    from controlnet_core.domain.recipe import ControlUnit, Recipe
    from controlnet_core.storage.gallery import Gallery, to_png
    from controlnet_core.storage.store import Blobs

    source, target, prompt = Circles(128).read(3)
    blobs = Blobs(tmp_path / "blobs", free_min_bytes=0)
    unit = ControlUnit(control="scribble", picture=blobs.put(picture.to_png(source)))
    gallery = Gallery(tmp_path / "gallery", free_min_bytes=0)
    for number, units in enumerate([(unit,), ()]):
        recipe = Recipe(model="paperworld", prompt=prompt, controls=units, width=128, height=128, seed=number)
        gallery.add(Job(f"job-{number:08d}", "session", recipe), [to_png(target, recipe)])
    pairs = KeptPairs(gallery, blobs, "scribble")
    assert len(pairs) == 1
    example = pairs.read(0)
    np.testing.assert_array_equal(example.source, source)
    np.testing.assert_array_equal(example.target, target)
    assert example.prompt == prompt
    assert len(KeptPairs(gallery, blobs, "canny")) == 0
    assert len(KeptPairs(gallery, blobs, "scribble", "session")) == 1, "its owner's"
    assert len(KeptPairs(gallery, blobs, "scribble", "somebody else")) == 0
    again = KeptPairs(gallery, blobs, "scribble", ids=[*pairs.ids, "0" * 32])
    assert again.read(0).prompt == prompt, "as it was, whatever is in the gallery now"
    with pytest.raises(InputError):
        again.read(1)


@pytest.mark.parametrize("key", ["scribble", "colour", "pose", "seg", "depth"])
def test_the_world_gives_every_condition_without_end(key: str) -> None:
    pairs = WorldPairs(annotator.control(key), 128)
    assert checks.is_endless(pairs)
    one, again, other = pairs.read(5), pairs.read(5), pairs.read(6)
    assert one.source.shape == one.target.shape == (128, 128, 3) and one.prompt
    np.testing.assert_array_equal(one.source, again.source)
    assert (one.target != other.target).any()


def test_every_bad_pair_is_named(tutorial: Path) -> None:
    add_pair(tutorial, "empty", prompt="  ")
    add_pair(tutorial, "unequal")
    (tutorial / "source" / "unequal.png").write_bytes(picture.to_png(np.zeros((64, 96, 3), np.uint8)))
    add_pair(tutorial, "gone")
    (tutorial / "source" / "gone.png").unlink()
    add_pair(tutorial, "cut")
    whole = (tutorial / "target" / "0.png").read_bytes()
    (tutorial / "target" / "cut.png").write_bytes(whole[: len(whole) // 2])
    add_line(tutorial, {"source": "source/0.png", "target": "target/0.png", "prompt": "again"})
    add_line(tutorial, {"source": "../../etc/passwd", "target": "target/0.png", "prompt": "outside"})
    add_line(tutorial, ["no", "object"])
    with (tutorial / "prompt.json").open("a") as file:
        file.write('{"source": \n\n')
    report = checks.check(open_folder(tutorial))
    assert (report.count, report.good) == (18, 10)
    found = {problem.name: problem.text for problem in report.problems}
    assert list(found) == [f"line {number}" for number in range(11, 19)]
    words = ["prompt is empty", "96 x 64", "source/gone.png is missing", "target/cut.png", "Another line", "outside"]
    for text, word in zip(found.values(), [*words, "not a JSON object", "not JSON"], strict=True):
        assert word in text
    assert report.usable() == list(range(10))
    assert report.sizes == {(64, 64): 11}, "the duplicate is whole"


def test_a_line_of_3_gigabytes_costs_no_memory(tutorial: Path) -> None:
    with (tutorial / "prompt.json").open("r+b") as file:
        file.seek(0, 2)
        file.write(b'{"prompt": "')
        file.seek(3 << 30, 1)  # a hole: the file is as long as that, the disk is not
        file.write(b'"}\n')
    add_pair(tutorial, "after")
    tracemalloc.start()
    pairs = open_folder(tutorial)
    report = checks.check(pairs)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (report.count, [problem.name for problem in report.problems]) == (12, ["line 11"])
    assert str(LINE_MAX_BYTES >> 10) in report.problems[0].text
    assert pairs.read(11).prompt == "a red house"
    assert peak < 8 << 20


def test_two_files_of_one_name_are_named(tmp_path: Path) -> None:
    for side in ("source", "target"):
        (tmp_path / side).mkdir()
        (tmp_path / side / "one.png").write_bytes(picture.to_png(np.zeros((64, 64, 3), np.uint8)))
    (tmp_path / "target" / "one.jpg").write_bytes(picture.to_jpeg(np.zeros((64, 64, 3), np.uint8)))
    (tmp_path / "target" / "one.txt").write_text("a house")
    report = checks.check(open_folder(tmp_path))
    assert [problem.name for problem in report.problems] == ["one"] and "2 files" in report.problems[0].text


@pytest.mark.parametrize("content", [None, {}, {"readme.txt": b"hello"}])
def test_what_is_no_data_set_is_refused_in_a_sentence(tmp_path: Path, content: dict[str, bytes] | None) -> None:
    folder = tmp_path / "set"
    if content is not None:
        folder.mkdir()
        for name, data in content.items():
            (folder / name).write_bytes(data)
    with pytest.raises(InputError):
        open_folder(folder)


@settings(max_examples=60)
@given(st.binary(max_size=400))
def test_any_bytes_as_prompt_json_raise_nothing_of_their_own(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "prompt.json").write_bytes(data)
    report = checks.check(open_folder(folder))
    assert report.good == 0
    assert report.count == len([line for line in data.split(b"\n") if line.strip()])


def test_held_out_pairs_are_never_trained_on() -> None:
    trained, held = checks.split(list(range(5, 105)), 10, seed=3)
    assert sorted([*trained, *held]) == list(range(5, 105)) and len(held) == 10
    assert checks.split(list(range(5, 105)), 10, seed=3) == (trained, held)
    assert checks.split(list(range(5, 105)), 10, seed=4)[1] != held
    with pytest.raises(InputError):
        checks.split([1, 2], 2, seed=0)


def test_pairs_are_held_out_by_hand(tutorial: Path) -> None:
    pairs = open_folder(tutorial)
    assert isinstance(pairs, Editable)
    usable = list(range(1, 10))
    assert checks.held_out(pairs, usable) == frozenset()
    for index in (0, 7, 3):
        pairs.hold_out(index, True, free_min_bytes=0)
    pairs.hold_out(3, False, free_min_bytes=0)
    lines = (tutorial / "prompt.json").read_text().splitlines(keepends=True)
    (tutorial / "prompt.json").write_text("".join([*lines[1:], lines[0]]))
    moved = open_folder(tutorial)
    chosen = checks.held_out(moved, usable)
    assert chosen == {6, 9}, "by their names, wherever their lines stand"
    assert checks.split(usable, 4, 0, chosen) == ([1, 2, 3, 4, 5, 7, 8], [6, 9])
    with pytest.raises(InputError, match="All usable pairs"):
        checks.split([6, 9], 4, 0, chosen)
    assert checks.split([1, 2], 1, 0, chosen)[1] in ([1], [2]), "none of them can be used: others are drawn"


def test_an_empty_prompt_can_be_filled_in(tutorial: Path) -> None:
    add_pair(tutorial, "empty", prompt="")
    pairs = open_folder(tutorial)
    assert isinstance(pairs, Editable) and pairs.entry(10).prompt == ""
    with pytest.raises(InputError, match="empty"):
        pairs.read(10)
    pairs.set_prompt(10, "a house", free_min_bytes=0)
    assert pairs.read(10).prompt == "a house"


def test_the_verdict_on_circles_knows_right_from_wrong() -> None:
    circles = Circles(128)
    for index in range(20):
        circle = circles.circle(index)
        right = verdict(circles.read(index).target, circle)
        assert right.iou > 0.97 and right.colour and right.ground
        blank = np.full((128, 128, 3), COLOURS[circle.ground], np.uint8)
        assert verdict(blank, circle).iou == 0 and not verdict(blank, circle).colour
        assert verdict(circles.read(index + 1).target, circle).iou < 0.8


def test_a_prompt_is_changed_and_nothing_else(tutorial: Path) -> None:
    pairs = open_folder(tutorial)
    before = (tutorial / "prompt.json").read_bytes().splitlines()
    assert isinstance(pairs, Lines)
    pairs.set_prompt(4, "  ein größerer Kreis ", free_min_bytes=0)
    after = (tutorial / "prompt.json").read_bytes().splitlines()
    assert [index for index in range(10) if before[index] != after[index]] == [4]
    assert [pairs.read(index).prompt for index in (4, 5)] == ["ein größerer Kreis", Circles(64).read(5).prompt]
    assert open_folder(tutorial).read(9).prompt == Circles(64).read(9).prompt
    with pytest.raises(InputError):
        pairs.set_prompt(4, "  ", free_min_bytes=0)
    with pytest.raises(NoSpace):
        pairs.set_prompt(4, "no room", free_min_bytes=1 << 60)
    assert (tutorial / "prompt.json").read_bytes().splitlines() == after
    assert not list(tutorial.glob(".*"))


def written(folder: Path, name: str, count: int = 4) -> list[dict[str, str]]:
    """A folder of circles with pictures under source/ and images/; what a list of them says."""
    circles, rows = Circles(64), []
    for side in ("source", "images"):
        (folder / side).mkdir(parents=True)
    for index in range(count):
        pair = circles.read(index)
        (folder / "source" / f"{index}.png").write_bytes(to_png(pair.source))
        (folder / "images" / f"{index}.png").write_bytes(to_png(pair.target))
        rows.append(
            {"file_name": f"images/{index}.png", "conditioning_image": f"source/{index}.png", "text": pair.prompt}
        )
    if name.lower().endswith(".csv"):
        with (folder / name).open("w", newline="", encoding="utf-8-sig") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows(rows)
    else:
        (folder / name).write_text(json.dumps(rows))
    return rows


@pytest.mark.parametrize(
    "name", ["metadata.csv", "train/metadata.csv", "prompt.json", "Metadata.CSV", "data/METADATA.csv", "Prompt.JSON"]
)
def test_lists_that_are_no_lines(name: str, tmp_path: Path) -> None:
    folder = (tmp_path / name).parent
    written(folder, Path(name).name)
    same(open_folder(tmp_path), Circles(64), 4)
    pairs = open_folder(tmp_path)
    assert isinstance(pairs, Editable)
    pairs.set_prompt(1, 'a "quoted", word', free_min_bytes=0)
    again = open_folder(tmp_path)
    assert again.read(1).prompt == 'a "quoted", word' and again.read(2).prompt == Circles(64).read(2).prompt


def test_paths_with_backslashes_and_paths_that_lead_out(tmp_path: Path) -> None:
    rows = written(tmp_path, "prompt.json")
    lines = [{key: value.replace("/", "\\") if key != "text" else value for key, value in row.items()} for row in rows]
    lines[3]["file_name"] = "..\\..\\etc\\passwd"
    (tmp_path / "prompt.json").unlink()
    (tmp_path / "metadata.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    pairs = open_folder(tmp_path)
    for index in range(3):
        np.testing.assert_array_equal(pairs.read(index).target, Circles(64).read(index).target)
    with pytest.raises(InputError, match="outside"):
        pairs.read(3)


def test_captions_that_end_in_caption(tmp_path: Path) -> None:
    rows = written(tmp_path, "rows.json")
    for index, row in enumerate(rows):
        (tmp_path / "images" / f"{index}.caption").write_text(row["text"])
    same(open_folder(tmp_path), Circles(64), 4)


@pytest.mark.parametrize("suffix", [".txt", ".caption", ".TXT"])
def test_captions_beside_the_source_count_where_the_target_has_none(suffix: str, tmp_path: Path) -> None:
    rows = written(tmp_path, "rows.json")
    for index, row in enumerate(rows):
        (tmp_path / "source" / f"{index}{suffix}").write_text(row["text"])
    same(open_folder(tmp_path), Circles(64), 4)
    pairs = open_folder(tmp_path)
    assert isinstance(pairs, Editable)
    pairs.set_prompt(1, "another", free_min_bytes=0)
    (tmp_path / "images" / "2.txt").write_text("the target's")
    assert [open_folder(tmp_path).read(index).prompt for index in (1, 2)] == ["another", "the target's"]


def test_names_in_capitals_and_captions_with_a_mark_of_their_byte_order(tmp_path: Path) -> None:
    rows = written(tmp_path, "rows.json")
    for index, row in enumerate(rows):
        caption = tmp_path / "images" / f"{index}{'.TXT' if index % 2 else '.txt'}"
        caption.write_text(row["text"], encoding="utf-8-sig")
    for index, side in ((0, "source"), (1, "images"), (2, "source"), (2, "images")):
        file = tmp_path / side / f"{index}.png"
        file.rename(file.with_suffix(".PNG"))
    (tmp_path / "source").rename(tmp_path / "Source")
    (tmp_path / "images").rename(tmp_path / "Images")
    same(open_folder(tmp_path), Circles(64), 4)
    pairs = open_folder(tmp_path)
    assert isinstance(pairs, Editable)
    pairs.set_prompt(1, "another", free_min_bytes=0)
    assert open_folder(tmp_path).read(1).prompt == "another"


@pytest.mark.parametrize("between", [";", "\t"])
def test_tables_as_spreadsheets_write_them_where_decimals_have_a_comma(between: str, tmp_path: Path) -> None:
    rows = written(tmp_path, "rows.json")
    rows[0]["text"] = f"red, round{between} and large"
    with (tmp_path / "metadata.csv").open("w", newline="", encoding="utf-8-sig") as file:
        table = csv.DictWriter(file, list(rows[0]), delimiter=between)
        table.writeheader()
        table.writerows(rows)
    pairs = open_folder(tmp_path)
    assert isinstance(pairs, Editable)
    assert checks.check(pairs).good == 4 and pairs.read(0).prompt == rows[0]["text"]
    pairs.set_prompt(1, "another", free_min_bytes=0)
    again = open_folder(tmp_path)
    assert [again.read(index).prompt for index in (0, 1)] == [rows[0]["text"], "another"]


def test_tables_in_the_folder_of_a_configuration(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    circles = Circles(64)
    rows = [circles.read(index) for index in range(3)]
    table = {"conditioning_image": [{"bytes": to_png(row.source)} for row in rows],
             "image": [{"bytes": to_png(row.target)} for row in rows], "text": [row.prompt for row in rows]}  # fmt: skip
    (tmp_path / "default" / "train").mkdir(parents=True)
    pq.write_table(pa.table(table), tmp_path / "default" / "train" / "0000.parquet")
    same(open_folder(tmp_path), circles, 3)


def test_empty_captions_are_allowed_by_choice_and_the_choice_stays(tmp_path: Path) -> None:
    rows = written(tmp_path, "prompt.json")
    (tmp_path / "prompt.json").write_text(json.dumps([{**row, "text": ""} for row in rows]))
    pairs = open_folder(tmp_path)
    assert isinstance(pairs, Editable)
    assert checks.check(pairs).good == 0
    pairs.allow_empty_prompts(True, free_min_bytes=0)
    assert checks.check(open_folder(tmp_path)).good == 4 and open_folder(tmp_path).read(0).prompt == ""
    pairs.allow_empty_prompts(False)
    assert checks.check(open_folder(tmp_path)).good == 0


@pytest.mark.parametrize(("name", "good"), [("hf_metadata_csv", 3), ("promptless", 0)])
def test_data_sets_that_people_brought(name: str, good: int) -> None:
    folder = golden_folder() / "cases" / name
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    pairs = open_folder(folder)
    assert (len(pairs), checks.check(pairs).good) == (3, good)
    pairs.empty_prompts = True
    assert checks.check(pairs).good == 3

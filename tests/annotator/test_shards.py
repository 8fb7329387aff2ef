"""Photos in Parquet files and WebDataset's tars: the data set is the one of the same photos in a folder; damage is named."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from annotator.datasets.dataset import make
from annotator.datasets.photos import photos, reader
from controlnet_core.domain.errors import InputError
from tests.annotator.test_dataset import PLAN, find, lines, photo

WORDS = ["a house", "", "two\nboats"]


def tar(path: Path, files: Iterable[tuple[str, bytes]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def parquet(path: Path, count: int = 3, *, group: int = 2, inside: bool = True) -> None:
    """As Hugging Face's data sets are, or with plain bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = [photo(seed) for seed in range(count)]
    image = [{"bytes": one, "path": None} for one in data] if inside else data
    words = [WORDS[number % 3] or None for number in range(count)]
    pq.write_table(pa.table({"id": list(range(count)), "image": image, "text": words}), path, row_group_size=group)


def made(source: Path, out: Path) -> dict[str, bytes]:
    """The pairs' files by their names without a shard's."""
    make(photos(source), out, PLAN, find, free_min_bytes=0)
    files = list(out.rglob("*.png"))
    return {f"{path.parent.name}/{path.name.rpartition('__')[2]}": path.read_bytes() for path in files}


@pytest.fixture
def plain(tmp_path: Path) -> dict[str, bytes]:
    folder = tmp_path / "plain"
    folder.mkdir()
    for seed in range(3):
        (folder / f"{seed:06d}.png").write_bytes(photo(seed))
    return made(folder, tmp_path / "expected")


@pytest.mark.parametrize("inside", [True, False])
def test_rows_become_the_pairs_that_files_would(tmp_path: Path, plain: dict[str, bytes], inside: bool) -> None:
    parquet(tmp_path / "data" / "train-0.parquet", inside=inside)
    assert made(tmp_path / "data" / "train-0.parquet", tmp_path / "out") == plain
    assert [one["prompt"] for one in lines(tmp_path / "out")] == ["a house", "a photo", "two boats"]
    assert lines(tmp_path / "out")[2]["target"] == "target/train-0__000002.png"


def test_samples_become_the_pairs_that_files_would(tmp_path: Path, plain: dict[str, bytes]) -> None:
    files = [
        ("./000000.png", photo(0)), ("./000000.txt", b"a  house\n"), ("./000000.seg.png", photo(7)), ("./000000.cls", b"3"),
        ("./000001.json", b"not json"), ("./000001.png", photo(1)),
        ("./000002.json", json.dumps({"caption": "two boats"}).encode()), ("./000002.png", photo(2)),
    ]  # fmt: skip
    tar(tmp_path / "shards" / "a.tar", files)
    assert made(tmp_path / "shards", tmp_path / "out") == plain
    assert [one["prompt"] for one in lines(tmp_path / "out")] == ["a house", "a photo", "two boats"]


def test_a_folder_may_hold_shards_beside_photos_and_what_was_done_stays(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    parquet(folder / "b.parquet")
    (folder / "a.png").write_bytes(photo(5))
    tar(folder / "deep" / "c.tar", [("x.png", photo(6)), ("y.png", photo(8))])
    listed = photos(folder)
    names = ["a", "b__000000", "b__000001", "b__000002", "deep__c__x", "deep__c__y"]
    assert [one.name for one in listed] == names
    far = reader(folder)
    assert [far(one.place) for one in reversed(listed)] == [one.read() for one in reversed(listed)]
    make(listed, tmp_path / "out", PLAN, find, free_min_bytes=0)
    (tmp_path / "out" / "source" / "b__000001.png").unlink()
    looked: list[str] = []
    again = [type(one)(one.name, one.where, lambda one=one: looked.append(one.name) or one.read()) for one in listed]
    assert make(again, tmp_path / "out", PLAN, find, free_min_bytes=0).done == 6
    assert looked == ["b__000001"]


def test_what_is_damaged_is_named_and_the_rest_serves(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    parquet(folder / "good.parquet")
    (folder / "bad.parquet").write_bytes((folder / "good.parquet").read_bytes()[:-20])
    pq.write_table(pa.table({"text": ["no picture"]}), folder / "words.parquet")
    table = pa.table({"image": [photo(1), None, b"no picture"]})
    pq.write_table(table, folder / "rows.parquet")
    tar(folder / "a.tar", [(f"{number}.png", photo(number)) for number in range(3)])
    whole = (folder / "a.tar").read_bytes()
    (folder / "cut.tar").write_bytes(whole[: whole.index(b"2.png") + 600])
    (folder / "mid.tar").write_bytes(whole.replace(b"1.png\0", b"1.png\1"))
    (folder / "none.tar").write_bytes(b"<html>no tar</html>" * 100)
    done = make(photos(folder), tmp_path / "out", PLAN, find, free_min_bytes=0)
    why = dict(done.skipped)
    assert sorted(why) == [
        "bad.parquet", "cut.tar", "cut.tar/2.png", "mid.tar", "none.tar", "rows.parquet/000001", "rows.parquet/000002",
        "words.parquet",
    ]  # fmt: skip
    assert done.done == 3 + 1 + 3 + 2 + 1
    assert "no Parquet file" in why["bad.parquet"]
    assert "cut off" in why["cut.tar/2.png"]
    assert "damaged" in why["mid.tar"]
    assert "no picture" in why["rows.parquet/000001"]
    assert "None of its columns" in why["words.parquet"]


def test_rows_in_one_large_group_are_read_a_few_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "one.parquet"
    data = [bytes([number]) * 200_000 for number in range(60)]
    pq.write_table(pa.table({"image": data}), path, row_group_size=60, use_dictionary=False, write_batch_size=4)
    listed = photos(path)
    before = pa.total_allocated_bytes()
    assert all(one.read() == wanted for one, wanted in zip(listed, data, strict=True))
    assert pa.total_allocated_bytes() - before < 6_000_000


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz"])
def test_a_tar_that_is_compressed_as_a_whole_is_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x1f\x8b")
    with pytest.raises(InputError, match="compressed as a whole"):
        photos(tmp_path / name)

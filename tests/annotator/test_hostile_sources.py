"""Zips and lists of photos that somebody made to hurt: what is damaged or elsewhere is left out, and the rest is taken."""

from __future__ import annotations

import json
import time
import zipfile
from pathlib import Path

import pytest

from annotator.datasets.photos import photos
from controlnet_core.domain.errors import InputError


def test_one_damaged_entry_of_a_zip_ends_no_run(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("a.png", "a.txt", "b.png", "b.txt", "metadata.jsonl"):
            archive.writestr(name, f"the words of {name} " * 20)
    data = bytearray(path.read_bytes())
    for name in (b"a.txt", b"b.png", b"metadata.jsonl"):
        at = data.index(name) + len(name)
        data[at : at + 8] = b"\xff" * 8
    path.write_bytes(data)
    first, second = photos(path)
    assert (first.caption, second.caption[:12]) == ("", "the words of")
    assert first.read().startswith(b"the words")
    with pytest.raises(InputError, match="unpacked"):
        second.read()


def test_many_captions_are_read_in_one_walk(tmp_path: Path) -> None:
    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(3000):
            archive.writestr(f"{number}.png", b"x")
            archive.writestr(f"{number}.txt", f"house {number}")
    begun = time.process_time()
    found = photos(path)
    assert (len(found), {one.name: one.caption for one in found}["17"]) == (3000, "house 17")
    # Opening the archive anew for each took a minute of this.
    assert time.process_time() - begun < 10


def test_tables_that_unpack_to_very_much_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("annotator.datasets.photos.LISTING_MAX_BYTES", 4000)
    path = tmp_path / "bomb.zip"
    line = json.dumps({"file_name": "a.png", "text": "x" * 100}) + "\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", b"x")
        for number in range(5):
            archive.writestr(f"{number}/metadata.jsonl", line * 10_000)
    assert [one.name for one in photos(path)] == ["a"]


@pytest.mark.parametrize(
    "where", ["/etc/hostname", "../secret.png", "in/../../secret.png", "link.png", "a\0b.png", "x" * 5000]
)
def test_a_list_names_files_of_its_own_folder_alone(tmp_path: Path, where: str) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    folder = tmp_path / "photos"
    (folder / "in").mkdir(parents=True)
    (folder / "in" / "a.png").write_bytes(b"own")
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    lines = [{"file_name": where}, {"file_name": "in/a.png", "text": "mine"}]
    (folder / "list.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    bad, good = photos(folder / "list.jsonl")
    with pytest.raises(InputError):
        bad.read()
    assert (good.read(), good.caption) == (b"own", "mine")

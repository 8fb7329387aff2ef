"""Files that others hold, damage or take away: jobs and finished pictures are not lost with them."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from controlnet_core.domain.errors import Busy, NoSpace
from controlnet_core.domain.job import Job
from controlnet_core.execution import dispatcher, queue
from controlnet_core.execution.queue import Queue
from controlnet_core.storage import gallery_index, store
from controlnet_core.storage.gallery import Gallery
from controlnet_core.storage.store import Blobs
from tests.core.test_worker import Shop, open_shop, recipe, until


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Another program in the middle of a change of a database."""
    other = sqlite3.connect(path, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        yield
    finally:
        other.close()


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    for module in (queue, gallery_index):
        monkeypatch.setattr(module, "BUSY_S", 0.02)
    monkeypatch.setattr(dispatcher, "BUSY_S", 0.05)
    monkeypatch.setattr(dispatcher, "FULL_S", 0.05)
    with open_shop(tmp_path, workers=2) as shop:
        shop.ready()
        yield shop


def test_a_job_that_ends_while_another_program_holds_the_queue_ends_afterwards(shop: Shop) -> None:
    shop.put("a", "slow=0.1")
    until(lambda: "step" in shop.kinds("a"))
    with held(shop.queue.path):
        shop.ready()  # its worker is done
        time.sleep(0.3)
        assert shop.entry("a").state == "running" and "done" not in shop.kinds("a")
        with pytest.raises(Busy, match=r"Another program holds jobs\.sqlite"):
            shop.put("b")
    assert shop.over("a").state == "done"
    assert shop.last("a").kept == shop.entry("a").kept and shop.made() == 1
    shop.put("b")
    assert shop.over("b").state == "done"


def test_a_worker_that_dies_while_another_program_holds_the_queue_loses_no_job(shop: Shop, tmp_path: Path) -> None:
    shop.put("a", f"die-once={tmp_path / 'mark'} slow=0.1")
    until(lambda: "step" in shop.kinds("a"))
    with held(shop.queue.path):
        until((tmp_path / "mark").exists)
        time.sleep(0.3)
        assert shop.entry("a").state == "running"
    assert shop.over("a").state == "done"


def test_a_locked_gallery_throws_no_finished_picture_away(shop: Shop) -> None:
    with held(shop.gallery.folder.parent / "gallery.sqlite"):
        shop.put("a")
        until(lambda: shop.kinds("a").count("step") == 6)
        time.sleep(0.3)
        assert shop.entry("a").state == "running"
        shop.put("b", "slow=0.01")  # the other worker goes on
        until(lambda: shop.kinds("b").count("step") == 6)
    assert shop.over("a").state == shop.over("b").state == "done"
    assert shop.kinds("a").count("done") == 1 and shop.made() == 2
    assert shop.gallery.get(shop.entry("a").kept[0]).png.is_file()


def test_a_picture_that_waits_for_the_gallery_can_be_given_up(shop: Shop) -> None:
    with held(shop.gallery.folder.parent / "gallery.sqlite"):
        shop.put("a")
        until(lambda: shop.kinds("a").count("step") == 6)
        time.sleep(0.1)
        shop.cancel("a")
        assert shop.over("a").state == "cancelled"
    assert shop.made() == 0


def test_an_index_that_another_program_holds_is_not_taken_for_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery_index, "BUSY_S", 0.02)
    gallery = Gallery(tmp_path / "gallery", free_min_bytes=0)
    before = (tmp_path / "gallery.sqlite").stat().st_ino
    with held(tmp_path / "gallery.sqlite"):
        with pytest.raises(Busy, match=r"Another program holds gallery\.sqlite"):
            gallery.add(Job("a", "s", recipe()), [b""][:0])
        assert gallery.recent(5) == []
    assert (tmp_path / "gallery.sqlite").stat().st_ino == before


@pytest.mark.parametrize("damage", ["garbage", "cut", "page"])
def test_a_damaged_queue_is_put_aside_and_a_new_one_begins(tmp_path: Path, damage: str) -> None:
    path, blobs = tmp_path / "jobs.sqlite", Blobs(tmp_path / "blobs", free_min_bytes=0)
    first = Queue(path, blobs)
    for number in range(40):
        first.submit(Job(f"job{number}", f"s{number}", recipe("a house " * 40)))
    assert first.put_aside is None
    first.close()
    whole = path.read_bytes()
    broken = {
        "garbage": os.urandom(len(whole)),
        "cut": whole[: len(whole) // 3],
        "page": whole[:4096] + os.urandom(8192) + whole[12288:],
    }[damage]
    path.write_bytes(broken)
    again = Queue(path, blobs)
    assert again.put_aside is not None and again.put_aside.read_bytes() == broken
    assert again.open() == []
    again.submit(Job("new", "s", recipe()))
    again.close()
    assert [entry.id for entry in Queue(path, blobs).open()] == ["new"]


@pytest.mark.parametrize("what", [Queue, Gallery])
def test_a_folder_that_cannot_be_written_is_said_in_a_sentence(tmp_path: Path, what: type) -> None:
    (tmp_path / "data").write_text("a file where a folder should be")
    more = [Blobs(tmp_path / "blobs")] if what is Queue else []
    with pytest.raises(NoSpace, match="Nothing can be written to"):
        what(tmp_path / "data" / "things", *more)


def test_a_sweep_leaves_alone_what_another_process_writes(tmp_path: Path) -> None:
    code = (
        "import os, sys, time; from pathlib import Path\n"
        "from controlnet_core.storage import store\n"
        "handle, temp = store.open_temp(Path(sys.argv[1])); print(temp, flush=True); sys.stdin.readline()\n"
        "os.write(handle, b'whole'); temp.replace(temp.with_name('pair.png')); os.close(handle); print('done')\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    writer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    temp = Path(writer.stdout.readline().strip())
    (tmp_path / ".part-left-behind").write_text("half")
    assert store.sweep(tmp_path) == 1
    assert temp.is_file()
    out, _ = writer.communicate("\n", timeout=30)
    assert out == "done\n" and (tmp_path / "pair.png").read_bytes() == b"whole"

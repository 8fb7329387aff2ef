"""Files are whole or absent, blobs are what they were."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from controlnet_core.domain.errors import InputError, NoSpace
from controlnet_core.storage import store


def test_write_replaces_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.bin"
    store.write(path, b"first")
    store.write(path, b"second")
    assert path.read_bytes() == b"second"
    assert list(path.parent.iterdir()) == [path]


def test_write_refuses_a_nearly_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "file"
    store.write(path, b"old")
    with pytest.raises(NoSpace, match="too little space"):
        store.write(path, b"new", free_min_bytes=2**60)
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("content", ["tmpfs", "folder"])
def test_a_failed_write_keeps_the_old_file(tmp_path: Path, content: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    store.write(path, b"old")

    def full(_handle: int) -> None:
        raise OSError(28, content)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NoSpace):
        store.write(path, b"new" * 1000)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_lock_is_held_once_and_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "below" / "a.lock"
    assert not store.is_locked(path)
    held = store.lock(path)
    assert held is not None and store.is_locked(path)
    assert store.lock(path) is None
    held.close()
    assert not store.is_locked(path)
    again = store.lock(path)
    assert again is not None
    again.close()


def test_sweep_removes_what_a_killed_write_left(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".part-xyz").write_bytes(b"half")
    (tmp_path / "a" / "whole").write_bytes(b"whole")
    assert store.sweep(tmp_path) == 1
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["whole"]
    assert store.sweep(tmp_path / "nowhere") == 0


def test_kill_never_leaves_half_a_file(tmp_path: Path) -> None:
    """A process that rewrites one file for ever is killed at random times."""
    code = (
        "import sys; from pathlib import Path; from controlnet_core.storage import store\n"
        "path, k = Path(sys.argv[1]), 0\n"
        "while True: k += 1; store.write(path, bytes([k % 256]) * 300_000); k == 1 and print('go', flush=True)\n"
    )
    path = tmp_path / "file"
    for round in range(8):
        child = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(0.01 + 0.007 * round)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        data = path.read_bytes()
        assert len(data) == 300_000
        assert len(set(data)) == 1


def test_blobs_are_kept_once_by_their_content(tmp_path: Path) -> None:
    blobs = store.Blobs(tmp_path)
    digest = blobs.put(b"picture")
    assert digest == hashlib.sha256(b"picture").hexdigest() == blobs.put(b"picture")
    assert digest in blobs
    assert blobs.get(digest) == b"picture"
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


def test_a_missing_damaged_or_hostile_blob_is_a_sentence(tmp_path: Path) -> None:
    blobs = store.Blobs(tmp_path)
    digest = blobs.put(b"picture")
    next(path for path in tmp_path.rglob(digest)).write_bytes(b"tampered")
    with pytest.raises(InputError, match="damaged"):
        blobs.get(digest)
    with pytest.raises(InputError, match="not here"):
        blobs.get("0" * 64)
    for name in ("../../etc/passwd", "0" * 63, "A" * 64, "", "0" * 64 + "\n"):
        with pytest.raises(InputError, match="digest"):
            blobs.get(name)


def test_blobs_that_nothing_names_are_collected_when_they_are_old(tmp_path: Path) -> None:
    blobs = store.Blobs(tmp_path)
    named, old, young, put_again = (blobs.put(bytes([k]) * 10) for k in range(4))
    for digest in (named, old, put_again):
        os.utime(tmp_path / digest[:2] / digest, (1, 1))
    assert blobs.put(bytes([3]) * 10) == put_again
    assert blobs.collect({named}, older_than_s=60) == (1, 10)
    assert [digest in blobs for digest in (named, old, young, put_again)] == [True, False, True, True]
    assert not blobs.touch(old)
    assert blobs.collect((), older_than_s=60) == (1, 10)  # what was named is old

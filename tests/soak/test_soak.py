"""Small amounts of everything that `make soak` does at length."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak import crowd, disk, farewell, files, fuzz, kills, load, memory, sockets
from tests.soak.row import Row
from tests.soak.server import running


def passed(*rows: Row) -> None:
    """Every line is good, or says why it could not be tried."""
    refused = [row.figure for row in rows if row.passed is None]
    if refused:
        pytest.skip(refused[0])
    assert all(row.passed for row in rows), "\n".join(map(str, rows))


def test_sessions_at_once_lose_double_and_leak_nothing(tmp_path: Path) -> None:
    passed(load.check_load(tmp_path, sessions=6, jobs=5))


def test_nobody_waits_for_a_flooder(tmp_path: Path) -> None:
    passed(load.check_fairness(tmp_path))


def test_kill_9_at_every_phase(tmp_path: Path) -> None:
    passed(*kills.check(tmp_path, times=1))


def test_a_full_disk(tmp_path: Path) -> None:
    passed(disk.check(tmp_path / "disk", jobs=9))


def test_drawing_on_a_full_disk(tmp_path: Path) -> None:
    passed(disk.check_drawings(tmp_path / "disk", strokes=12))


def test_files_that_another_program_holds(tmp_path: Path) -> None:
    passed(disk.check_locked(tmp_path, jobs=6))


def test_bad_model_files(tmp_path: Path) -> None:
    passed(*files.check(tmp_path, 20))


def test_readers_refuse_anything_in_a_sentence() -> None:
    passed(*fuzz.check(40))


@pytest.mark.slow
def test_memory_that_runs_out_in_each_module(tmp_path: Path) -> None:
    passed(*memory.check(tmp_path, times=1))


def test_hostile_values_on_a_running_studio(tmp_path: Path) -> None:
    with running(tmp_path) as studio:
        passed(sockets.check(studio.url, studio.log, messages=6), crowd.foreign(studio, 30), crowd.streams(studio, 30))


def test_the_end_is_quick_and_clean(tmp_path: Path) -> None:
    passed(farewell.check(tmp_path)[1])

"""The log: bounded, shared by processes, without what opens anything."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from pathlib import Path

from controlnet_core.storage.log_file import SAME_MAX, LogFile, write_to


def said(handler: LogFile, text: str, line: int = 1, error: Exception | None = None) -> None:
    told = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("studio.test", logging.WARNING, __file__, line, text, (), told)
    handler.handle(record)


def test_a_rollover_loses_nothing_of_another_process(tmp_path: Path) -> None:
    path = tmp_path / "studio.log"
    web = LogFile(path, max_bytes=2000)
    standard = os.open(tmp_path / "elsewhere", os.O_WRONLY | os.O_CREAT)
    worker = LogFile(path, max_bytes=2000, also=(standard,))
    said(worker, "the worker begins")
    os.write(standard, b"what a library prints\n")
    for line in range(20):
        said(web, f"{'x' * 100} {line}", line)
    before = path.with_suffix(".log.1").read_text()
    assert "the worker begins" in before and "what a library prints" in before
    os.write(standard, b"printed meanwhile\n")
    assert "printed meanwhile" in path.with_suffix(".log.1").read_text()
    said(worker, "the worker goes on", 99)
    os.write(standard, b"a crash of C\n")
    assert "the worker goes on" in path.read_text() and "a crash of C" in path.read_text()
    lines = [line for file in (path, path.with_suffix(".log.1")) for line in file.read_text().splitlines()]
    assert path.stat().st_size + path.with_suffix(".log.1").stat().st_size < 2 * 2300
    assert lines[-1] and (path.stat().st_mode & 0o777) == 0o600


def test_two_that_find_it_too_large_at_once_begin_one_anew(tmp_path: Path) -> None:
    path = tmp_path / "studio.log"
    web, worker = (LogFile(path, max_bytes=1000) for _ in range(2))
    said(web, "before")
    said(worker, "x" * 500 + "\n" + "x" * 500)
    with path.open("rb") as third:  # one that is about to rename it
        fcntl.flock(third, fcntl.LOCK_EX)
        waiting = [threading.Thread(target=said, args=(one, "after")) for one in (web, worker)]
        for one in waiting:
            one.start()
        time.sleep(0.3)
        assert not path.with_suffix(".log.1").exists()
    for one in waiting:
        one.join(10)
    assert path.with_suffix(".log.1").read_text().count("before") == 1
    assert path.read_text().count("after") == 2, "the second one follows instead of renaming what the first began"


def test_tokens_keys_and_endless_lines_do_not_land_in_it(tmp_path: Path) -> None:
    path = tmp_path / "studio.log"
    log = LogFile(path)
    token, key = "Ab3_" * 8, "studio_" + "Zy9-" * 10
    said(log, f"GET /studio/documents/{token}?x=1 failed for {key}\n/studio/{'q' * 100_000}")
    try:
        raise ValueError("y" * 50_000)
    except ValueError as error:
        said(log, "it failed", 2, error)
    text = path.read_text()
    assert "it failed" in text and "ValueError" in text and "/studio/documents/..." in text
    assert token not in text and key not in text
    assert len(text) < 10_000


def test_the_same_again_and_again_is_counted(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    path, log = tmp_path / "studio.log", LogFile(tmp_path / "studio.log")
    for _ in range(1000):
        said(log, "the same")
    said(log, "another", 2)
    assert path.read_text().count("the same") == SAME_MAX and "another" in path.read_text()
    monkeypatch.setattr("controlnet_core.storage.log_file.SAME_S", -1.0)
    said(log, "the same")
    assert f"(and {1000 - SAME_MAX} more like it were left out)" in path.read_text()


def test_loggers_of_servers_write_there_alone(tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    server = logging.getLogger("a-server.of-the-tests")
    server.addHandler(logging.StreamHandler())
    handler = write_to(tmp_path / "studio.log", ["studio.of-the-tests"], alone=[server.name])
    assert write_to(tmp_path / "studio.log", ["studio.of-the-tests"], alone=[server.name]) is handler
    server.setLevel(logging.INFO)
    server.info("a visit")
    server.warning("a bad request")
    assert (tmp_path / "studio.log").read_text().count("a bad request") == 1
    assert "a visit" not in (tmp_path / "studio.log").read_text()
    assert capsys.readouterr().err == ""

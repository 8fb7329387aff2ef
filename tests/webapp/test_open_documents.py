"""Documents keep their revisions and survive."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from controlnet_core.domain.document import Raster
from controlnet_core.domain.errors import InputError, NoSpace
from controlnet_core.storage import store
from tests.core.test_worker import until
from tests.webapp.conftest import WORKSPACE, container, mask
from webapp.application import document_store
from webapp.application.document_store import DocumentStore
from webapp.application.open_documents import OpenDocuments, Stale
from webapp.application.tokens import Unknown


def opened(folder: Path) -> OpenDocuments:
    return OpenDocuments(DocumentStore(folder, delay_s=0.05))


def test_a_document_opens_at_revision_one_and_only_grows(tmp_path: Path) -> None:
    documents = opened(tmp_path)
    token = documents.open(WORKSPACE, "s", "scribble", container(0))
    assert len(token) >= 32
    assert documents.read(token) == (1, container(0))
    assert documents.write(token, container(1), 1) == 2
    rev, document = documents.latest(token)
    assert rev == 2
    assert isinstance(document, Raster)
    assert (document.pixels == mask(1).pixels).all()
    for stale in (0, 1, 3):
        with pytest.raises(Stale) as refused:
            documents.write(token, container(2), stale)
        assert refused.value.rev == 2
    assert documents.read(token) == (2, container(1))
    assert documents.replace(token, container(3)) == 3


def test_the_same_session_gets_the_same_token_and_another_its_own(tmp_path: Path) -> None:
    documents = opened(tmp_path)
    token = documents.open(WORKSPACE, "s", "scribble", container(0))
    assert documents.open(WORKSPACE, "s", "scribble", container(9)) == token
    other = documents.open(WORKSPACE, "t", "scribble", container(9))
    assert other != token
    assert documents.read(other) == (1, container(0))  # two tabs of one browser share the drawing
    documents.write(token, container(1), 1)
    with pytest.raises(Stale):
        documents.write(other, container(2), 1)


def test_workspaces_do_not_see_each_other(tmp_path: Path) -> None:
    documents = opened(tmp_path)
    documents.open(WORKSPACE, "s", "scribble", container(0))
    other = documents.open("cd" * 16, "t", "scribble", container(5))
    assert documents.read(other) == (1, container(5))


def test_drawings_survive_a_restart_with_their_revision(tmp_path: Path) -> None:
    documents = opened(tmp_path)
    token = documents.open(WORKSPACE, "s", "scribble", container(0))
    documents.write(token, container(1), 1)
    documents.write(token, container(2), 2)
    assert documents.stored(WORKSPACE, "scribble") == container(2)
    path = tmp_path / WORKSPACE / "scribble.doc"
    end = time.monotonic() + 2
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.01)
    # No close: the process is gone without a word.
    later = opened(tmp_path)
    assert later.stored(WORKSPACE, "scribble") == container(2)
    assert later.read(later.open(WORKSPACE, "u", "scribble", container(7))) == (3, container(2))
    assert later.stored(WORKSPACE, "pose") is None


def test_writing_is_late_but_within_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[float] = []
    plain = store.write

    def counted(path: Path, data: bytes, **options: int) -> None:
        writes.append(time.monotonic())
        plain(path, data, **options)

    monkeypatch.setattr(store, "write", counted)
    documents = OpenDocuments(DocumentStore(tmp_path))
    token = documents.open(WORKSPACE, "s", "scribble", container(0))
    for rev in range(1, 30):
        documents.write(token, container(rev), rev)
    while not writes:
        time.sleep(0.01)
    time.sleep(0.2)
    assert len(writes) == 1
    assert documents.store.get(WORKSPACE, "scribble") == (30, container(29))


def test_a_full_disk_refuses_a_drawing_and_keeps_the_last_that_was_accepted(tmp_path: Path) -> None:
    store = DocumentStore(tmp_path, delay_s=0.01, free_min_bytes=0)
    documents = OpenDocuments(store)
    token = documents.open(WORKSPACE, "s", "scribble", container(0))
    assert documents.write(token, container(1), 1) == 2
    store.flush()
    store.free_min_bytes = 2**60
    with pytest.raises(NoSpace, match="too little space"):
        documents.write(token, container(2), 2)
    assert documents.read(token) == (2, container(1)), "what was refused is not there, so that nobody counts on it"
    store.free_min_bytes = 0
    assert documents.write(token, container(2), 2) == 3
    documents.close()
    assert DocumentStore(tmp_path).get(WORKSPACE, "scribble") == (3, container(2))


def test_a_full_disk_loses_no_live_drawing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fills up between the answer and the write: it is written when there is room, without another stroke."""
    monkeypatch.setattr(document_store, "AGAIN_S", 0.05)
    store = DocumentStore(tmp_path, delay_s=0.2, free_min_bytes=0)
    documents = OpenDocuments(store)
    token = documents.open(WORKSPACE, "s", "scribble", container(0))
    documents.write(token, container(1), 1)
    store.free_min_bytes = 2**60
    store.flush()
    assert documents.read(token) == (2, container(1))
    assert not (tmp_path / WORKSPACE / "scribble.doc").exists()
    with pytest.raises(NoSpace):
        documents.write(token, container(2), 2)
    store.free_min_bytes = 0
    until(lambda: DocumentStore(tmp_path).get(WORKSPACE, "scribble") == (2, container(1)))


def test_a_folder_that_cannot_be_written_refuses_a_drawing_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / WORKSPACE).write_text("a file where a folder should be")
    documents = OpenDocuments(DocumentStore(tmp_path, free_min_bytes=0))
    token = documents.open(WORKSPACE, "s", "scribble", container(0))
    with pytest.raises(NoSpace, match="Nothing can be written to"):
        documents.write(token, container(1), 1)
    assert documents.read(token) == (1, container(0))


@pytest.mark.parametrize("kept", [b"12345678garbage", b"", b"1234", b"12345678"])
def test_a_damaged_drawing_is_put_aside_and_said(tmp_path: Path, kept: bytes) -> None:
    (tmp_path / WORKSPACE).mkdir()
    (tmp_path / WORKSPACE / "scribble.doc").write_bytes(kept)
    documents = opened(tmp_path)
    assert documents.stored(WORKSPACE, "scribble") is None
    token = documents.open(WORKSPACE, "s", "scribble", container(0))
    assert documents.read(token) == (1, container(0))
    documents.write(token, container(1), 1)
    documents.close()
    aside = documents.damage(token)
    assert aside is not None and aside.read_bytes() == kept
    assert documents.damage(token) is None, "said once"
    assert DocumentStore(tmp_path).get(WORKSPACE, "scribble") == (2, container(1))


def test_garbage_is_no_document_and_changes_nothing(tmp_path: Path) -> None:
    documents = opened(tmp_path)
    token = documents.open(WORKSPACE, "s", "scribble", container(0))
    with pytest.raises(InputError):
        documents.write(token, b"garbage", 1)
    assert documents.read(token) == (1, container(0))
    with pytest.raises(InputError):
        documents.open(WORKSPACE, "s", "other", b"garbage")


@pytest.mark.parametrize(("workspace", "slot"), [("../x", "a"), ("AB" * 16, "a"), (WORKSPACE, "../a"), (WORKSPACE, "")])
def test_names_of_drawings_are_no_paths(tmp_path: Path, workspace: str, slot: str) -> None:
    with pytest.raises(InputError, match="name of a drawing"):
        opened(tmp_path).open(workspace, "s", slot, container())


def test_concurrent_writers_lose_no_revision(tmp_path: Path) -> None:
    documents = opened(tmp_path)
    token = documents.open(WORKSPACE, "s", "scribble", container(0))
    won: list[int] = []

    def write() -> None:
        for _ in range(50):
            rev = documents.read(token)[0]
            try:
                won.append(documents.write(token, container(1), rev))
            except Stale:
                continue

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == list(range(2, len(won) + 2))


def test_old_tokens_are_dropped_and_their_drawings_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.application.open_documents.TOKENS_MAX", 3)
    documents = opened(tmp_path)
    first = documents.open(WORKSPACE, "s0", "slot0", container(0))
    documents.write(first, container(1), 1)
    for n in range(1, 5):
        documents.open(WORKSPACE, f"s{n}", f"slot{n}", container(n))
    with pytest.raises(Unknown, match="no longer open"):
        documents.read(first)
    assert documents.read(documents.open(WORKSPACE, "s0", "slot0", container(9))) == (2, container(1))


def test_unknown_tokens_are_refused(tmp_path: Path) -> None:
    documents = opened(tmp_path)
    for ask in (documents.read, documents.latest, documents.session_of, documents.view_of):
        with pytest.raises(Unknown):
            ask("nothing")

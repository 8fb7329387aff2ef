"""The models of a machine through services and routes: fetched in the background, checked, deleted and brought back."""

from __future__ import annotations

import random
import shutil
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from controlnet_core.domain.errors import InputError, NoSpace, StudioError
from controlnet_core.models.catalog import Catalog, ModelCard
from controlnet_core.models.hub import describe
from controlnet_core.models.sets import StarterSet, starter_sets
from tests.core.hub_server import Hub, serve
from webapp.application import making
from webapp.application import starter_sets as starter_sets_here
from webapp.application.library import OVER, Library
from webapp.application.making import Making
from webapp.application.starter_sets import StarterSets
from webapp.application.studio import Studio
from webapp.routes import table

CROSS = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight"
HINT = "controlnet_cond_embedding.conv_in.weight"
LORA = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight"


def safetensors(shapes: dict[str, list[int]], fill: bytes = b"") -> bytes:
    """A file of zeros with these tensors, and one of noise so that it is large enough to be cut."""
    import json

    header, offset = {}, 0
    for name, shape in shapes.items():
        size = 4
        for side in shape:
            size *= side
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    header["noise"] = {"dtype": "U8", "shape": [len(fill)], "data_offsets": [offset, offset + len(fill)]}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(offset) + fill


CONTROL = safetensors({CROSS: [8, 768], HINT: [4, 3, 3, 3]}, random.Random(3).randbytes(400_000))
SET_FILES = {
    "lllyasviel/control_v11p_sd15_scribble": {
        "config.json": b'{"_class_name": "ControlNetModel", "cross_attention_dim": 768}',
        "diffusion_pytorch_model.safetensors": CONTROL,
    },
    "latent-consistency/lcm-lora-sdv1-5": {"pytorch_lora_weights.safetensors": safetensors({LORA: [4, 768]})},
}
"""Two parts of a starter set as the hub has them."""
FLUX = safetensors({"double_blocks.0.img_attn.proj.weight": [8, 8]})


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    config = b'{"_class_name": "ControlNetModel", "cross_attention_dim": 768}'
    made = Hub(
        {
            "me/control": {"config.json": config, "diffusion_pytorch_model.safetensors": CONTROL},
            "me/large": {"control.safetensors": FLUX},
            "me/lora": {"pytorch_lora_weights.safetensors": safetensors({LORA: [4, 768]})},
            "me/several": {"one.safetensors": CONTROL, "two.safetensors": CONTROL},
            "me/xl": {"model_index.json": b"{}", "text_encoder_2/config.json": b"{}"},
            "me/unet": {"config.json": b'{"_class_name": "Other"}', "diffusion_pytorch_model.bin": b"x"},
            "me/base": {"model_index.json": b"{}", "unet/config.json": b"{}"},
            **SET_FILES,
        }
    )
    server = serve(made)
    monkeypatch.setenv("HF_ENDPOINT", made.url)
    yield made
    server.shutdown()
    server.server_close()


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(Catalog(tmp_path / "models"), free_min_bytes=0)


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def over(library: Library, id: str) -> bool:
    work = library.work(id)
    return work is not None and work.phase in OVER


def row(library: Library, id: str) -> dict[str, Any]:
    return next(row for row in library.rows() if row["id"] == id)


def test_a_pasted_name_becomes_a_card_and_a_model(hub: Hub, library: Library) -> None:
    card, sentence = library.add("https://huggingface.co/me/control")
    assert (card.kind, card.path) == ("controlnet", "controlnet/control")
    assert "ControlNet" in sentence
    assert not row(library, card.id)["here"]
    library.download(card.id)
    until(lambda: over(library, card.id))
    work = library.work(card.id)
    assert work is not None
    assert (work.phase, work.text) == ("done", "A ControlNet for SD 1.5.")
    shown = row(library, card.id)
    assert shown["here"]
    assert shown["own"]
    assert shown["place"] == "controlnet/control"
    assert shown["size"] > 400_000
    again = library.add("me/control")[0]
    assert (again.id, again.family) == (card.id, "sd15"), "the same repository is the same card, which says more by now"


@pytest.mark.parametrize(
    ("text", "kind", "path"),
    [
        ("me/lora", "lora", "lora.safetensors"),
        ("me/several/one.safetensors", None, "one.safetensors"),
        ("https://huggingface.co/me/several/blob/main/two.safetensors?download=true", None, "two.safetensors"),
        ("me/base", "base", "base"),
        ("me/xl", "base", "xl"),
    ],
)
def test_what_a_repository_is(hub: Hub, text: str, kind: str | None, path: str) -> None:
    card = describe(text, None if kind else "controlnet")
    assert (card.kind, card.path) == (kind or "controlnet", path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("me/several", "several models"),
        ("me/several/three.safetensors", "not in me/several"),
        ("me/several/one.safetensors", "does not show from outside"),
        ("me/unet", "Other"),
        ("me/nothing", "any more"),
        ("nonsense", "not a name of the hub"),
        ("a/b c", "not a name of the hub"),
        ("", "Paste a name"),
        ("/etc/passwd", "outside the models folder"),
        ("../../etc/passwd", "outside the models folder"),
        ("models/checkpoints/nothing.safetensors", "There is no"),
    ],
)
def test_what_cannot_be_added_says_why(hub: Hub, library: Library, text: str, words: str) -> None:
    with pytest.raises(StudioError, match=words):
        library.add(text)
    assert not list(library.catalog.models.glob("cards/*"))


def test_a_file_in_the_folder_is_recognised(library: Library) -> None:
    path = library.catalog.models / "controlnet" / "mine.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTROL)
    for text in (str(path), "models/controlnet/mine.safetensors", "controlnet/mine.safetensors"):
        card, sentence = library.add(text)
        assert card.own
        assert sentence == "A ControlNet for SD 1.5, full precision."


def test_a_model_that_cannot_be_used_says_so_when_it_has_come(hub: Hub, library: Library) -> None:
    card, _ = library.add("me/large", "controlnet")
    library.download(card.id)
    until(lambda: over(library, card.id))
    work = library.work(card.id)
    assert work is not None
    assert work.phase == "failed"
    assert "Flux" in work.text


def test_a_download_stops_goes_on_and_is_one(hub: Hub, library: Library) -> None:
    hub.pause_s = 0.02
    card, _ = library.add("me/control")
    first = library.download(card.id)
    assert library.download(card.id) is first
    until(lambda: first.done > 60_000)
    library.stop(card.id)
    until(lambda: first.phase == "stopped")
    begun = row(library, card.id)["begun"]
    assert 0 < begun[0] < begun[1]
    hub.pause_s = 0
    library.download(card.id)
    until(lambda: over(library, card.id))
    assert row(library, card.id)["here"]
    library.delete(card.id)
    library.download(card.id)
    until(lambda: over(library, card.id))


def test_a_download_wanted_again_while_it_stops_goes_on(hub: Hub, library: Library) -> None:
    hub.pause_s = 0.3  # a stop is heard between two pieces
    card, _ = library.add("me/control")
    first = library.download(card.id)
    until(lambda: first.done > 30_000)
    library.stop(card.id)
    again = library.download(card.id)
    assert first.phase == "running" and again is not first, "it had not stopped yet"
    assert library.download(card.id) is again
    hub.pause_s = 0
    until(lambda: again.phase in OVER)
    assert (first.phase, again.phase) == ("stopped", "done")
    assert row(library, card.id)["here"]


def test_a_stop_reaches_what_waits_for_the_one_before(library: Library) -> None:
    go = threading.Event()
    first = library.begin("one", lambda _work: until(go.is_set))
    library.stop("one")
    again = library.begin("one", lambda _work: pytest.fail("it was stopped before it began"))
    library.stop("one")
    go.set()
    until(lambda: again.phase in OVER)
    assert (first.phase, again.phase) == ("done", "stopped")


def test_what_is_left_of_a_download_can_be_discarded(hub: Hub, library: Library) -> None:
    hub.pause_s = 0.02
    card, _ = library.add("me/control")
    work = library.download(card.id)
    until(lambda: work.done > 60_000)
    with pytest.raises(StudioError, match="being downloaded"):
        library.discard(card.id)
    library.stop(card.id)
    until(lambda: work.phase == "stopped")
    library.discard(card.id)
    assert row(library, card.id)["begun"] is None


# ---- starter sets


@pytest.mark.parametrize("one", starter_sets().values(), ids=list(starter_sets()))
def test_a_starter_set_brings_all_that_it_needs(one: StarterSet) -> None:
    base, *others = one.parts
    catalog = Catalog(Path("nowhere"))
    known = catalog.family(base)
    assert base.kind == "base" and base.family == one.family == known.key
    assert all(card.hub and card.family in ("", one.family) for card in one.parts)
    assert all(card.kind == "controlnet" or card.kind in known.supports for card in others if card.family)
    if base.path.endswith(".safetensors"):
        assert {encoder.vocabulary for encoder in known.text} <= set(one.cards)
    assert {card.encoder for card in others if card.encoder} <= set(one.cards)


@pytest.fixture
def sets(hub: Hub, library: Library, monkeypatch: pytest.MonkeyPatch) -> StarterSets:
    """One set of two parts."""
    parts = ("sd15-scribble-v11", "lcm-lora-sd15")
    small = StarterSet(id="small", title="Small", family="sd15", note="", cards=parts)
    monkeypatch.setattr(starter_sets_here, "starter_sets", lambda: {"small": small})
    return StarterSets(library)


def test_a_starter_set_is_one_download_that_stops_and_goes_on(hub: Hub, library: Library, sets: StarterSets) -> None:
    (before,) = sets.rows()
    assert (before["here"], before["begun"], before["lack"]) == (False, None, "")
    assert before["size"] == sum(part["size"] for part in before["parts"]) > 1 << 30
    hub.pause_s = 0.25
    work = sets.download("small")
    assert sets.download("small") is work
    until(lambda: work.done > 30_000)
    sets.stop("small")
    until(lambda: work.phase == "stopped")
    until(lambda: over(library, "sd15-scribble-v11"))
    (stopped,) = sets.rows()
    assert 0 < stopped["begun"][0] < stopped["begun"][1]
    hub.pause_s = 0
    work = sets.download("small")
    until(lambda: work.phase in OVER)
    assert (work.phase, work.text) == ("done", "Small: all of it is here.")
    (after,) = sets.rows()
    assert (after["here"], after["size"]) == (True, 0) and all(part["here"] for part in after["parts"])
    assert row(library, "sd15-scribble-v11")["here"]


def test_a_starter_set_wanted_again_while_it_stops_goes_on(hub: Hub, library: Library, sets: StarterSets) -> None:
    """Its parts stop after it, and go on with it."""
    hub.pause_s = 0.3
    first = sets.download("small")
    until(lambda: first.done > 30_000)
    sets.stop("small")
    until(lambda: first.phase == "stopped")
    part = library.work("sd15-scribble-v11")
    assert part is not None and part.phase == "running"
    again = sets.download("small")
    hub.pause_s = 0
    until(lambda: again.phase in OVER)
    assert (again.phase, again.text) == ("done", "Small: all of it is here.")


def test_a_starter_set_that_would_not_fit_is_refused_before_anything_comes(
    hub: Hub, library: Library, sets: StarterSets
) -> None:
    library.free_min_bytes = shutil.disk_usage("/tmp").total
    with pytest.raises(NoSpace, match=r"Small needs 1\.6 GB more"):
        sets.download("small")
    (told,) = sets.rows()
    assert told["lack"].startswith("Small needs 1.6 GB more")
    assert not hub.requests
    with pytest.raises(InputError, match="no starter set"):
        sets.download("large")


def test_a_part_that_does_not_come_says_why(hub: Hub, library: Library, sets: StarterSets) -> None:
    """The other parts come all the same."""
    del hub.files["latent-consistency/lcm-lora-sdv1-5"]
    work = sets.download("small")
    until(lambda: work.phase in OVER)
    assert work.phase == "failed" and "LCM LoRA" in work.text
    assert row(library, "sd15-scribble-v11")["here"]


def test_deleting_is_undone_or_made_final(library: Library) -> None:
    path = library.catalog.models / "controlnet" / "deep" / "mine.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTROL)
    library.delete("mine")
    assert not path.exists()
    assert not [one for one in library.rows() if one["id"] == "mine"]
    assert library.room()["bin"] == {"count": 1, "size": len(CONTROL) + len("controlnet/deep/mine.safetensors")}
    assert library.undo() == "controlnet/deep/mine.safetensors"
    assert path.read_bytes() == CONTROL
    library.delete("mine")
    path.write_bytes(b"another")
    with pytest.raises(InputError, match="another mine"):
        library.undo()
    library.empty()
    assert library.room()["bin"]["count"] == 0
    with pytest.raises(InputError, match="empty"):
        library.undo()


def test_the_programs_own_model_stays(library: Library) -> None:
    (library.catalog.models / "paperworld").mkdir(parents=True)
    with pytest.raises(InputError, match="belongs to the program"):
        library.delete("paperworld")


def test_making_says_what_it_takes_and_refuses_first(library: Library) -> None:
    path = library.catalog.models / "controlnet" / "mine.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTROL)
    wanted = Making("extract", "mine", name="alone")
    found = making.cost(library, wanted)
    assert found.place == path.with_name("alone.safetensors")
    assert found.writes == found.reads == len(CONTROL)
    with pytest.raises(InputError, match="already"):
        making.cost(library, Making("extract", "mine", name="mine"))
    for name in ("", "../evil", "a/b", ".hidden", "x" * 90):
        with pytest.raises(InputError, match="name of a model"):
            making.cost(library, Making("extract", "mine", name=name))


def test_making_runs_in_a_process_and_reports(library: Library) -> None:
    """The real command line: what it refuses is told, in its words."""
    path = library.catalog.models / "controlnet" / "mine.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTROL)
    work = making.begin(library, Making("extract", "mine", name="alone"))
    until(lambda: work.phase in OVER, 120)
    assert work.phase == "failed"
    assert "holds the control alone already" in work.text
    half = making.begin(library, Making("extract", "mine", name="half", half=True))
    until(lambda: half.phase in OVER, 120)
    assert half.phase == "done", half.text
    made = library.catalog.card(half.text)
    assert (made.title, made.family, made.note) == ("half", "sd15", "Taken out of mine.")
    assert library.catalog.locate(made).stat().st_size < len(CONTROL)


@pytest.fixture
def client(quiet: Studio) -> TestClient:
    return TestClient(
        Starlette(routes=table.routes(lambda: quiet)),
        base_url="http://localhost",
        headers={"Origin": "http://localhost"},
    )


def test_the_routes_serve_the_page(hub: Hub, quiet: Studio, client: TestClient) -> None:
    quiet.library.free_min_bytes = 0
    base = f"/studio/models/{quiet.events.stream('session')}"
    found = client.get(base).json()
    assert {row["id"] for row in found["rows"]} >= {"paperworld", "sd15", "clip-tokenizer", "taesd", "lcm-lora-sd15"}
    assert found["room"]["folder"] == str(quiet.settings.models)
    assert found["works"] == []
    added = client.post(f"{base}/add", json={"text": "me/control"}).json()
    assert added["id"] == "control"
    assert client.post(f"{base}/control/download").status_code == 200
    until(lambda: client.get(f"{base}/works").json()["works"][0]["phase"] == "done")
    assert client.post(f"{base}/control/check").json()["text"] == "A ControlNet for SD 1.5."
    assert client.post(f"{base}/control/delete").status_code == 200
    assert client.post(f"{base}/undo").json()["text"] == "controlnet/control is back."
    assert client.post(f"{base}/control/delete").status_code == 200
    assert client.post(f"{base}/empty").json()["text"] == "The bin is empty."


def test_the_routes_refuse_strangers_and_nonsense(quiet: Studio, client: TestClient) -> None:
    base = f"/studio/models/{quiet.events.stream('session')}"
    assert client.get("/studio/models/wrong").status_code == 404
    assert client.post(f"{base}/undo", headers={"Origin": "http://evil.example"}).status_code == 403
    for path in ("/nothing/download", "/sd15/explode", "/paperworld/delete"):
        answer = client.post(base + path)
        assert 400 <= answer.status_code < 500, path
        assert answer.json()["error"]
    for told in ({}, {"text": 3}, {"text": "me/control", "kind": "detector"}, {"text": "x" * 1000}):
        assert client.post(f"{base}/add", json=told).status_code == 400


def test_cards_of_models_that_are_gone_go_too(library: Library) -> None:
    """What was made here has a card without a repository: nothing is left to show when its file is deleted."""
    card = library.catalog.add(
        ModelCard(id="made", title="Made", kind="controlnet", path="controlnet/made.safetensors")
    )
    assert not [one for one in library.rows() if one["id"] == card.id]
    path = library.catalog.models / card.path
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTROL)
    assert row(library, "made")["title"] == "Made"

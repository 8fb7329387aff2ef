"""Downloads against a hub on a real socket that cuts, lies, refuses and sends web pages: whole and checked, or not at all."""

import hashlib
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from controlnet_core.domain.errors import Cancelled, DownloadError, ModelError, NoSpace
from controlnet_core.models import download
from controlnet_core.models.catalog import Catalog, ModelCard, shipped
from controlnet_core.models.download import begun, discard, fetch
from controlnet_core.models.hub import wanted
from tests.core.hub_server import REVISION, Hub, serve

WEIGHTS = random.Random(7).randbytes(700_001)
FOLDER = {
    "config.json": b'{"a": 1}',
    "diffusion_pytorch_model.safetensors": WEIGHTS,
    "diffusion_pytorch_model.bin": b"another copy",
    "README.md": b"words",
}
FILE_CARD = ModelCard(
    id="one", title="One", kind="detector", path="detectors/one.pth", hub="someone/one", file="ckpts/one.pth"
)
FOLDER_CARD = ModelCard(id="net", title="Net", kind="controlnet", path="controlnet/net", hub="someone/net")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    made = Hub({"someone/one": {"ckpts/one.pth": WEIGHTS}, "someone/net": dict(FOLDER)})
    server = serve(made)
    monkeypatch.setenv("HF_ENDPOINT", made.url)
    yield made
    server.shutdown()
    server.server_close()


@pytest.fixture
def models(tmp_path):
    return tmp_path / "models"


def get(card, models, **options):
    return fetch(card, models, free_min_bytes=0, pause_s=0.01, **options)


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_file_comes_whole_with_progress(hub, models):
    told = []
    place = get(FILE_CARD, models, on_progress=told.append)
    assert place == models / "detectors/one.pth"
    assert place.read_bytes() == WEIGHTS
    assert files_below(models) == ["detectors/one.pth"]
    assert told[-1].done == told[-1].total == len(WEIGHTS)
    assert not list(models.rglob(".*"))
    assert Catalog(models).locate(FILE_CARD) == place


def test_a_folder_comes_with_one_set_of_weights(hub, models):
    get(FOLDER_CARD, models)
    assert files_below(models) == ["controlnet/net/config.json", "controlnet/net/diffusion_pytorch_model.safetensors"]


def test_named_files_come_into_a_folder(hub, models):
    hub.files["someone/words"] = {"vocab.json": b"{}", "merges.txt": b"a b", "model.safetensors": b"x"}
    card = FOLDER_CARD.model_copy(update={"hub": "someone/words", "file": "vocab.json, merges.txt"})
    get(card, models)
    assert files_below(models / "controlnet/net") == ["merges.txt", "vocab.json"]


def test_what_is_here_is_not_fetched_again(hub, models):
    get(FILE_CARD, models)
    before = sum(hub.requests.values())
    assert get(FILE_CARD, models).is_file()
    assert sum(hub.requests.values()) == before


def test_cut_connections_are_taken_up_again(hub, models):
    hub.cut_after = 100_000
    assert get(FILE_CARD, models).read_bytes() == WEIGHTS
    ranges = [asked for path, asked in hub.asked if path.endswith("one.pth")]
    assert ranges[:2] == ["", "bytes=100000-"]
    assert hub.sent["ckpts/one.pth"] == len(WEIGHTS), "no byte came twice"


def test_a_server_that_cannot_go_on_starts_again(hub, models):
    hub.cut_after, hub.ranges, hub.cuts = 500_000, False, 2
    assert get(FILE_CARD, models).read_bytes() == WEIGHTS


def test_a_download_that_never_ends_is_given_up_and_can_go_on(hub, models):
    hub.cut_after, hub.ranges = 300_000, False
    with pytest.raises(DownloadError, match="was cut") as caught:
        get(FILE_CARD, models)
    assert "kept" in caught.value.hint
    assert begun(FILE_CARD, models).done == 300_000
    assert not Catalog(models).installed(FILE_CARD)
    hub.cut_after, hub.ranges = None, True
    hub.sent.clear()
    assert get(FILE_CARD, models).read_bytes() == WEIGHTS
    assert hub.sent["ckpts/one.pth"] == len(WEIGHTS) - 300_000


def test_cancelling_keeps_what_came(hub, models):
    hub.pause_s = 0.01
    stop = threading.Event()
    told = []

    def on_progress(progress):
        told.append(progress)
        if progress.done > 100_000:
            stop.set()

    with pytest.raises(Cancelled):
        get(FOLDER_CARD, models, on_progress=on_progress, cancelled=stop.is_set)
    kept = begun(FOLDER_CARD, models).done
    assert 100_000 < kept < len(WEIGHTS)
    assert not Catalog(models).installed(FOLDER_CARD)
    hub.pause_s = 0
    hub.sent.clear()
    get(FOLDER_CARD, models)
    assert sum(hub.sent.values()) <= sum(map(len, FOLDER.values())) - kept
    assert Catalog(models).installed(FOLDER_CARD)


def test_an_interrupted_download_can_be_thrown_away(hub, models):
    hub.cut_after, hub.ranges = 300_000, False
    with pytest.raises(DownloadError):
        get(FILE_CARD, models)
    discard(FILE_CARD, models)
    assert begun(FILE_CARD, models) is None
    assert files_below(models) == []


def test_a_process_that_is_killed_leaves_a_beginning(hub, models):
    hub.pause_s = 0.02
    code = f"""
import os
from pathlib import Path
from controlnet_core.models.catalog import ModelCard
from controlnet_core.models.download import fetch
card = ModelCard.model_validate_json({FILE_CARD.model_dump_json()!r})
fetch(card, Path({str(models)!r}), lambda progress: progress.done > 200_000 and os.kill(os.getpid(), 9), free_min_bytes=0)
"""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], env=dict(os.environ), cwd=root, timeout=60, check=False)
    assert done.returncode == -9
    assert begun(FILE_CARD, models).done > 0
    hub.pause_s = 0
    assert get(FILE_CARD, models).read_bytes() == WEIGHTS


def test_two_downloads_of_one_model_are_one(hub, models):
    hub.pause_s = 0.005
    ends, told = [], []
    threads = [
        threading.Thread(target=lambda: ends.append(get(FILE_CARD, models, on_progress=told.append))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert ends == [models / "detectors/one.pth"] * 3
    assert hub.sent["ckpts/one.pth"] == len(WEIGHTS)


def test_a_wrong_checksum_is_removed(hub, models):
    hub.digests["ckpts/one.pth"] = "0" * 64
    with pytest.raises(ModelError, match="checksum"):
        get(FILE_CARD, models)
    assert begun(FILE_CARD, models).done == 0
    assert not Catalog(models).installed(FILE_CARD)


def test_a_wrong_small_file_is_noticed_too(hub, models):
    hub.files["someone/net"]["config.json"] = b'{"a": 1}'
    hub.answer["/config.json"] = (200, {}, b'{"a": 2}')
    with pytest.raises(ModelError, match="checksum"):
        get(FOLDER_CARD, models)


def test_the_card_knows_better_than_the_hub(hub, models):
    card = FILE_CARD.model_copy(update={"sha256": hashlib.sha256(b"what it once was").hexdigest()})
    with pytest.raises(ModelError, match="no longer the file"):
        get(card, models)
    assert get(FILE_CARD.model_copy(update={"sha256": hashlib.sha256(WEIGHTS).hexdigest()}), models).is_file()


@pytest.mark.parametrize("size", [len(WEIGHTS) - 1000, len(WEIGHTS) + 1000])
def test_a_lie_about_the_size_is_noticed(hub, models, size):
    hub.promise["ckpts/one.pth"] = size
    with pytest.raises(ModelError):
        get(FILE_CARD, models)
    assert not Catalog(models).installed(FILE_CARD)


def test_a_web_page_instead_of_the_file(hub, models):
    hub.answer["one.pth"] = (200, {"Content-Type": "text/html; charset=utf-8"}, b"<!doctype html><p>Log in!")
    with pytest.raises(DownloadError, match="web page") as caught:
        get(FILE_CARD, models)
    assert "login" in caught.value.hint


def test_a_web_page_that_calls_itself_a_file(hub, models):
    page = b"<!DOCTYPE html>" + b" " * 100
    hub.promise["ckpts/one.pth"] = len(page)
    hub.answer["one.pth"] = (200, {"Content-Type": "application/octet-stream"}, page)
    with pytest.raises(ModelError, match="web page"):
        get(FILE_CARD, models)


def test_a_web_page_instead_of_the_hub(hub, models):
    hub.answer["/api/models/someone/one"] = (200, {"Content-Type": "text/html"}, b"<html>Welcome to the airport</html>")
    with pytest.raises(DownloadError, match="did not answer as the hub does"):
        get(FILE_CARD, models)


@pytest.mark.parametrize(
    ("status", "code", "words", "hint"),
    [
        (404, "RepoNotFound", "any more", "by hand"),
        (404, "EntryNotFound", "any more", "by hand"),
        (401, "", "private", "HF_TOKEN"),
        (401, "GatedRepo", "accept its terms", "HF_TOKEN"),
        (403, "GatedRepo", "accept its terms", "HF_TOKEN"),
        (403, "", "accept its terms", "HF_TOKEN"),
        (451, "", "refuses the download", "by hand"),
        (500, "", "trouble of its own", "kept|by hand"),
        (503, "", "trouble of its own", "kept|by hand"),
        (429, "", "wait", "kept|by hand"),
    ],
)
@pytest.mark.parametrize("where", ["/api/models/someone/one", "one.pth"])
def test_refusals_are_explained(hub, models, status, code, words, hint, where):
    hub.answer[where] = (status, {"X-Error-Code": code} if code else {}, b"")
    with pytest.raises(DownloadError, match=words) as caught:
        get(FILE_CARD, models)
    assert any(part in caught.value.hint for part in hint.split("|"))
    assert not Catalog(models).installed(FILE_CARD)


def test_gated_models_open_with_a_token(hub, models, monkeypatch):
    hub.token = "hf_secret"
    with pytest.raises(DownloadError, match="terms"):
        get(FILE_CARD, models)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert get(FILE_CARD, models).is_file()


def test_no_connection_says_so(models, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DownloadError, match="cannot be reached") as caught:
        get(FILE_CARD, models)
    assert "ckpts/one.pth of someone/one into models/detectors/one.pth" in caught.value.hint


def test_offline_says_so_and_asks_nobody(hub, models, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE is set"):
        get(FILE_CARD, models)
    assert not hub.requests


@pytest.mark.parametrize("offline", [True, False])
def test_the_hubs_own_cache_is_used(hub, models, monkeypatch, tmp_path, offline):
    from huggingface_hub import constants

    cache = tmp_path / "cache"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    snapshot = cache / "models--someone--net" / "snapshots" / REVISION
    snapshot.mkdir(parents=True)
    for name in ("config.json", "diffusion_pytorch_model.safetensors"):
        (snapshot / name).write_bytes(FOLDER[name])
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text(REVISION)
    if offline:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    place = get(FOLDER_CARD, models)
    assert (place / "diffusion_pytorch_model.safetensors").read_bytes() == WEIGHTS
    assert not hub.sent


def test_a_full_disk_is_said_before(hub, models):
    with pytest.raises(NoSpace, match="GB"):
        fetch(FILE_CARD, models, free_min_bytes=1 << 60)
    assert not hub.sent


def test_names_from_the_hub_stay_in_the_folder(hub, models):
    hub.files["someone/net"] |= {"../../evil.json": b"{}", "/etc/evil.json": b"{}"}
    get(FOLDER_CARD, models)
    assert files_below(models.parent) == [
        "models/controlnet/net/config.json",
        "models/controlnet/net/diffusion_pytorch_model.safetensors",
    ]


def test_what_makes_up_a_base_model():
    names = [
        ".gitattributes", "README.md", "model_index.json", "v1-5-pruned.ckpt", "v1-5-pruned-emaonly.safetensors",
        "feature_extractor/preprocessor_config.json", "safety_checker/config.json", "safety_checker/model.safetensors",
        "scheduler/scheduler_config.json", "text_encoder/config.json", "text_encoder/model.safetensors",
        "text_encoder/model.fp16.safetensors", "text_encoder/pytorch_model.bin", "tokenizer/merges.txt",
        "tokenizer/vocab.json", "unet/config.json", "unet/diffusion_pytorch_model.bin",
        "unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.non_ema.safetensors",
        "vae/config.json", "vae/diffusion_pytorch_model.bin",
    ]  # fmt: skip
    assert wanted(names) == [
        "model_index.json", "scheduler/scheduler_config.json", "text_encoder/config.json",
        "text_encoder/model.safetensors", "tokenizer/merges.txt", "tokenizer/vocab.json", "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors", "vae/config.json", "vae/diffusion_pytorch_model.bin",
    ]  # fmt: skip


def test_every_shipped_card_has_a_place_of_its_own(models):
    places = [download.destination(card, models) for card in shipped().values() if card.hub]
    assert len(places) == len(set(places))
    assert all(place.is_relative_to(models) for place in places)

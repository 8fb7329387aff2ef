"""`studio models`: the same things as on the page, in words on a terminal."""

from __future__ import annotations

import signal
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from controlnet_core.checkpoints.safetensors_header import read_header
from controlnet_core.models.sets import starter_sets
from tests.core.hub_server import Hub, serve
from tests.webapp.test_library import CONTROL, FLUX, SET_FILES, safetensors
from webapp import root
from webapp.cli import app
from webapp.cli import models as commands

Studio = Callable[..., Result]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def studio(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Studio]:
    """The command line on folders of its own, with a hub that has one model."""
    config = b'{"_class_name": "ControlNetModel", "cross_attention_dim": 768}'
    hub = Hub({"me/control": {"config.json": config, "diffusion_pytorch_model.safetensors": CONTROL}, **SET_FILES})
    server = serve(hub)
    for name, value in {
        "STUDIO_DATA": str(tmp_path / "data"),
        "STUDIO_MODELS": str(models),
        "STUDIO_FREE_MB": "0",
        "HF_ENDPOINT": hub.url,
    }.items():
        monkeypatch.setenv(name, value)
    root.studio.cache_clear()
    yield lambda *words: CliRunner().invoke(app, ["models", *map(str, words)])
    root.studio.cache_clear()
    server.shutdown()
    server.server_close()


def test_a_starter_set_is_fetched_by_its_name(studio: Studio, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = studio("sets").stdout
    assert "sdxl-draw" in told and "- Union ProMax for SDXL" in told and "GB to come" in told
    for card in starter_sets()["sd15-draw"].parts:
        if card.id not in ("sd15-scribble-v11", "lcm-lora-sd15"):
            (models / card.path).mkdir(parents=True)
    done = studio("download", "sd15-draw")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("SD 1.5 to draw with: 1.6 GB to come.")
    assert (models / "loras" / "lcm-lora-sdv1-5.safetensors").is_file()
    assert "all here" in studio("sets").stdout
    monkeypatch.setenv("STUDIO_FREE_MB", str(1 << 30))
    root.studio.cache_clear()
    refused = studio("download", "sdxl-draw")
    assert refused.exit_code == 1
    assert "SDXL to draw with needs" in refused.output
    assert not list((models / "checkpoints").glob("*xl*"))


def test_add_download_list_delete_undo(studio: Studio, models: Path) -> None:
    assert "studio models download control" in studio("add", "me/control").stdout
    done = studio("download", "control")
    assert done.exit_code == 0, done.output
    assert "100.0 %" in done.stdout
    assert str(models / "controlnet" / "control") in done.stdout
    assert "is here" in studio("download", "control").stdout
    lines = studio("list", "controlnet").stdout.splitlines()
    assert any("installed" in line and " control " in line for line in lines)
    assert all(line.startswith("controlnet") for line in lines)
    assert studio("delete", "control", "--yes").exit_code == 0
    assert not (models / "controlnet" / "control").exists()
    assert "is back" in studio("undo").stdout
    assert studio("delete", "control", "--yes").exit_code == 0
    assert "MB are free again" in studio("empty").stdout


def test_check_says_a_sentence_for_each_and_fails_for_bad_ones(studio: Studio, tmp_path: Path) -> None:
    (tmp_path / "good.safetensors").write_bytes(CONTROL)
    (tmp_path / "bad.safetensors").write_bytes(FLUX)
    good = studio("check", tmp_path / "good.safetensors")
    assert good.exit_code == 0
    assert "A ControlNet for SD 1.5" in good.stdout
    both = studio("check", tmp_path / "good.safetensors", tmp_path / "bad.safetensors")
    assert both.exit_code == 1
    assert len(both.stdout.splitlines()) == 2
    assert "Flux" in both.stdout


def test_a_checked_pickle_gets_a_bounded_share_of_memory(tmp_path: Path) -> None:
    """Every name in it is one that weights have; what it asks for is four gigabytes all the same."""
    pairs = b"".join(b"(M" + struct.pack("<H", k) + b"K\x01t" for k in range(60_000))
    again = b"h\x01h\x00\x85R"  # an OrderedDict of all the pairs
    content = (
        b"\x80\x02}X\x01\x00\x00\x00a](](" + pairs + b"eq\x00ccollections\nOrderedDict\nq\x01" + again * 600 + b"es."
    )
    path = tmp_path / "greedy.ckpt"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", content)
        file.writestr("archive/version", "3\n")
    # In a process without other children, whose memory would be counted.
    code = (
        "import resource, sys; from pathlib import Path; from webapp.application import library; "
        "found = library._checked_elsewhere(Path(sys.argv[1])); "
        "print(found.ok, found.sentence, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    ok, sentence, peak_kb = done.stdout.splitlines()[-3:]
    assert ok == "False" and "greedy.ckpt" in sentence and sentence.endswith(".")
    assert int(peak_kb) < 1500 << 10


def test_a_check_ends_by_its_processor_time() -> None:
    """In a process of its own, which a signal ends whatever a library is doing."""
    assert commands.CHECK_CPU_S == 60
    code = "from webapp.cli import models; models.CHECK_CPU_S = 0.3; models._confine([])\nwhile True: pass"
    ended = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], timeout=120, check=False)
    assert ended.returncode == -signal.SIGPROF


def test_transfer_extract_and_fresh_controls(studio: Studio, tmp_path: Path) -> None:
    parts = {"input_blocks.0.0.weight": [8, 4, 3, 3], "input_blocks.3.0.op.weight": [8, 8, 3, 3]}
    unet = {f"model.diffusion_model.{name}": shape for name, shape in parts.items()}
    control = {f"control_model.{name}": shape for name, shape in parts.items()}
    control["control_model.input_hint_block.0.weight"] = [16, 3, 3, 3]
    given, origin, target = (tmp_path / f"{name}.safetensors" for name in ("given", "origin", "target"))
    given.write_bytes(safetensors({**control, **unet}))
    for base in (origin, target):
        base.write_bytes(safetensors(unet))
    done = studio("transfer", given, target, tmp_path / "made", "--from", origin)
    assert done.exit_code == 0, done.output
    assert "100 %" in done.stdout
    assert "2 weights moved" in done.stdout
    header = read_header(tmp_path / "made.safetensors")
    assert header["__metadata__"]["target"] == "target.safetensors"
    assert header.keys() == {*control, "__metadata__"}
    again = studio("transfer", given, target, tmp_path / "made", "--from", origin)
    assert again.exit_code == 1
    assert "is there already" in again.stderr
    assert studio("extract", given, tmp_path / "alone", "--half").exit_code == 0
    assert {one.get("dtype") for one in read_header(tmp_path / "alone.safetensors").values()} == {"F16", None}
    assert studio("add-control", target, tmp_path / "fresh").exit_code == 0
    assert "control_model.input_hint_block.14.weight" in read_header(tmp_path / "fresh.safetensors")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("download", "nothing"), "no model called"),
        (("check", "nothing"), "no model called"),
        (("delete", "sd15", "--yes"), "not on this machine"),
        (("undo",), "empty"),
        (("add", "me/none"), "any more"),
        (("add", "me/control", "--kind", "detector"), "no kind of model"),
        (("transfer", "sd15-canny-v11", "sd15", "x"), "studio models download sd15"),
    ],
)
def test_refusals_are_sentences(studio: Studio, words: tuple[str, ...], said: str) -> None:
    done = studio(*words)
    assert done.exit_code == 1
    assert said in done.stderr
    assert "Traceback" not in done.output

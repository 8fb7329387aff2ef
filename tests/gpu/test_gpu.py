"""What of a GPU can be rehearsed without one: every row of `make gpu`, and that nothing in a step waits or lies elsewhere."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from controlnet_core.diffusion import conditioning, cuda_graphs, schedulers, vae
from controlnet_core.diffusion.control_inputs import hint_of
from controlnet_core.diffusion.denoiser import (
    Control,
    Denoiser,
    InpaintBlend,
    embed_hint,
    level_scales,
    levels_of,
    sample,
)
from controlnet_core.diffusion.reference_only import AttendedReference
from controlnet_core.domain.errors import OutOfMemory
from controlnet_core.domain.recipe import Recipe
from controlnet_core.memory import plan as memory_plan
from controlnet_core.models import diffusers_setup
from controlnet_core.models.loading import load_base, load_control
from tests.gpu import fast, models, paper, right, run, table
from tests.gpu.card import StandIn

SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
WAITING = {"dpmpp_2m_sde", "euler_a", "lcm", "tcd", "unipc"}
"""Schedulers of diffusers that bring their noise, or the numbers of a small equation, to the device in every step."""


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("gpu")


@pytest.fixture(scope="module")
def folder(root) -> Path:
    models.save(root / "small", models.SCALES["small"])
    return root / "small"


KINDS = (
    "ours",
    "stock",
    "compiled",
    "ours, live",
    "ours, pen",
    "ours, streams",
    "ours, offload",
    "ours, SDXL",
    "stock, SDXL",
)
"""Rows of part 2 that between them run every line of it; the others differ in numbers. `make gpu` rehearses all of them."""


@pytest.fixture(scope="module")
def lines(root, folder) -> list[dict]:
    wanted = [*run.names("right"), *KINDS]
    return run.run(
        run.Here(run.Settings(str(root), "small", "small")), root / "gpu.jsonl", 30, wanted, lambda _text: None
    )


def test_every_kind_of_row_runs(lines):
    wrong = {line["row"]: line.get("where", line) for line in lines if run.is_open(line)}
    assert not wrong
    assert {line["row"] for line in lines} == {*run.names("right"), *KINDS}


def test_a_second_call_runs_what_is_missing_alone(lines, root, tmp_path):
    class Counting(run.Here):
        def __init__(self, settings):
            super().__init__(settings)
            self.asked = []

        def prepare(self):
            return {"device": lines[0]["device"]}

        def ask_all(self, rows, **more):
            self.asked += [name for _, name in rows]
            return [{"seconds": 1.0, "peak_gb": 1.0, "steps": 20, "device": lines[0]["device"]} for _ in rows]

    out = tmp_path / "gpu.jsonl"
    kept = [line for line in lines if line["row"] != "stock"]
    broken = [{**line, "failed": "the driver went away"} if line["row"] == "ours" else line for line in kept]
    out.write_text("".join(json.dumps(line) + "\n" for line in broken) + '{"bench": "gpu", "row": "cut o')
    told: list[str] = []
    counting = Counting(run.Settings(str(root), "small", "small"))
    again = run.run(counting, out, 8, [*run.names("right"), *KINDS], told.append)
    assert counting.asked == ["ours", "stock"]
    assert len(again) == len(lines) and not any(map(run.is_open, again))
    counting.asked.clear()
    assert run.run(counting, None, 0, [], told.append) == [] and "time is up" in told[-1]
    assert not counting.asked


def test_a_row_that_dies_or_is_late_harms_no_other(root, folder, monkeypatch):
    processes = run.Processes(run.Settings(str(root), "small", "small"))
    monkeypatch.setattr(run, "work", lambda part, name, settings: {"answer": name} if name else sys.exit("gone"))
    assert processes.ask_all([("right", "one"), ("right", "two")], timeout_s=60) == [
        {"answer": "one"},
        {"answer": "two"},
    ]
    assert "died" in processes.ask("right", "", timeout_s=60)["failed"]
    monkeypatch.setattr(run, "work", lambda *_given: torch.cuda.Event().wait())
    assert "failed" in processes.ask("right", "one", timeout_s=60)
    assert processes.ask("right", "one", timeout_s=0) == {"late": True}


def test_the_table_says_what_is_wrong_and_what_is_missing(lines):
    assert "All is well." in table.table(lines) and "NOT WELL" not in table.table(lines)
    assert "3 times as fast" not in table.table(lines)
    assert "3 times as fast" in table.table([{**line, "device": "a card"} for line in lines])
    some = [
        {**line, "passed": False} if line["row"] == "plan offload" else line
        for line in lines
        if line["part"] == "right"
    ]
    told = table.table(some)
    assert "NOT WELL: plan offload." in told and f"{len(fast.ROWS)} rows have not been tried" in told
    assert "Nothing was tried" in table.table([])


def test_what_a_card_is_too_small_for_is_left_out_with_the_reason(root, folder, monkeypatch, tmp_path):
    """On 8 GB: diffusers' SDXL is more than it has, ours takes another plan, and a fault of ours stays one."""

    def full(*_given):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    class Here(run.Here):
        def prepare(self):
            return {"device": "a card of 8 GB"}

    monkeypatch.setattr(fast, "theirs", full)
    settings = run.Settings(str(root), "small", "small")
    lines = run.run(Here(settings), None, 5, ["stock, SDXL"], lambda _text: None)
    assert "more memory than this GPU" in lines[0]["skipped"] and not run.is_open(lines[0])
    assert "left out: it takes more memory" in table.table(lines) and "NOT WELL" not in table.table(lines)
    assert "1 rows are left out" in table.verdict(lines) and "left out" in table.documentation(lines)
    monkeypatch.setattr(fast, "theirs", lambda *_given: fast.Drawer(lambda _steps: 1 / 0))
    assert run.is_open(run.run(Here(settings), None, 5, ["stock"], lambda _text: None)[0])
    error = OutOfMemory("It needs more.", "Take less.")
    assert fast.beyond(fast.ROWS["ours"], error, 3 << 30, StandIn()) == ""  # it has room, so the engine is to blame
    assert "9.7 GB" in fast.beyond(fast.ROWS["ours, SDXL"], error, 9 << 30, StandIn())
    no_compiler = RuntimeError("Failed to find C compiler. Please specify via CC environment variable.")
    assert "torch.compile" in fast.beyond(fast.ROWS["compiled"], no_compiler, 0, StandIn())
    assert fast.beyond(fast.ROWS["ours"], no_compiler, 0, StandIn()) == ""


_XL = memory_plan.ModelFacts(
    unet=2_567_463_684,
    text=817_720_000,
    controls=(1_251_000_000,),
    widths=(320, 640, 1280),
    file_bytes=7 << 30,
    upcast=True,
)


@pytest.mark.parametrize(
    ("gigabytes", "plain", "xl"),
    [(6, "resident", "layers"), (8, "resident", "controls"), (12, "resident", "tiled"), (24, "resident", "resident")],
)  # fmt: skip
def test_every_card_for_games_has_a_plan(gigabytes, plain, xl):
    """Of what is not the desktop's: SD 1.5 at 512 px with three controls, SDXL at 1024 px with one."""
    room = int((gigabytes - 0.7) * 1e9)
    small = memory_plan.ModelFacts(controls=(361_279_120,) * 3)
    for side, facts, wanted in ((512, small, plain), (1024, _XL, xl)):
        recipe = Recipe(model="x", prompt="a house", width=side, height=side, steps=20, guidance=7.5)
        found = memory_plan.estimate(recipe, facts, "cuda", room)
        assert found.plan is not None and found.plan.name == wanted, found.text


def test_without_a_gpu_nothing_is_tried_and_it_is_said(monkeypatch, capsys, tmp_path):
    """One sentence and an exit status of its own; another one where a GPU is there and PyTorch is not built for it."""
    from tests.gpu import __main__ as command

    monkeypatch.setattr(sys, "argv", ["make gpu", "--out", str(tmp_path / "gpu.jsonl")])
    monkeypatch.setattr(run.Processes, "ask", lambda *_given, **_more: {"device": StandIn().name})
    for driver, said in ((False, "There is no GPU here"), (True, "install a build of it for CUDA")):
        monkeypatch.setattr(run, "_has_driver", lambda driver=driver: driver)
        assert command.main() == 2
        told = capsys.readouterr().out
        assert said in told and "--rehearse" in told and told.count("\n") == 1
    assert not (tmp_path / "gpu.jsonl").exists()


def test_goals_are_weighed_by_what_was_measured():
    rows = {"ours": {"seconds": 0.1, "steps_per_s": 120.0, "peak_gb": 3.4}, "stock": {"seconds": 0.4}}
    told = {what: (came, reached) for what, _, came, reached in fast.weigh(rows)}
    assert told["20 steps beside diffusers' pipeline"] == ("4x", True)
    assert told["20 steps, guided, a control, to the picture"] == ("100 ms", True)
    assert told["20 steps beside the compiled pipeline"] == ("not measured", None)
    assert {what: reached for what, _, _, reached in fast.weigh({"ours": {"seconds": 0.2}})}[
        "20 steps, guided, a control, to the picture"
    ] is False


def test_documentation_is_made_from_the_file(lines, tmp_path):
    page = Path(run.__file__).parents[2] / "docs" / "performance.md"
    file = tmp_path / "performance.md"
    file.write_text(page.read_text())
    table.write([], file)
    assert "rows are empty" in file.read_text()
    table.write(lines, file)
    assert lines[0]["device"] in file.read_text() and "rows are empty" not in file.read_text()
    before, after = page.read_text().split(table.BEGIN)[0], page.read_text().split(table.END)[1]
    assert file.read_text().startswith(before) and file.read_text().endswith(after)


def test_recordings_are_forgotten_when_weights_move(folder):
    """A plan that moves weights between two that do not: what was recorded before reads memory that is no more."""
    with StandIn().ready():
        studio = right.Studio(folder, models.SCALES["small"], torch.device("cpu"))
        expected = studio.make(studio.recipe())
        assert studio.recorded()
        with right.environment(STUDIO_PLAN="offload"):
            studio.make(studio.recipe())
        assert not studio.recorded()
        assert right.apart(studio.make(studio.recipe()), expected) == 0


def test_running_out_of_memory_while_recording_is_no_reason_to_stop_recording(folder, monkeypatch):
    base = load_base(folder / "checkpoints" / "random")
    text = conditioning.Conditioning(torch.zeros(1, 77, 768))

    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *_error):  # what CUDA says at the end of a recording that broke off
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")

    with paper.recording():
        graphs = cuda_graphs.Graphs(torch.device("cpu"))
        denoiser = Denoiser(base.unet, text)
        with torch.inference_mode(), graphs.quickened(denoiser) as quick:
            quick.predict(torch.zeros(1, 4, 8, 8), torch.tensor(5))
            monkeypatch.setattr(torch.cuda, "graph", lambda *_given, **_more: Full())
            plain, calls = base.unet.forward, []

            def full(*given, **more):
                calls.append(1)
                if len(calls) == 3:
                    raise torch.OutOfMemoryError("CUDA out of memory.")
                return plain(*given, **more)

            monkeypatch.setattr(base.unet, "forward", full)
            with pytest.raises(RuntimeError, match="previous error"):
                quick.predict(torch.zeros(2, 4, 8, 8), torch.tensor(5))


def _quick(graphs, unet, side=8, steps=1):
    """A step of a U-Net by recorded steps; of several the last."""
    denoiser = Denoiser(unet, conditioning.Conditioning(torch.zeros(1, 77, 768)))
    with torch.inference_mode(), graphs.quickened(denoiser) as quick:
        return [quick.predict(torch.zeros(1, 4, side, side), torch.tensor(5)) for _ in range(steps)][-1]


def test_another_model_is_recorded_when_the_recordings_of_the_last_one_are_gone(folder, caplog):
    first, second = (load_base(folder / "checkpoints" / "random").unet for _ in range(2))
    with paper.recording():
        graphs, streams = cuda_graphs.Graphs(torch.device("cpu")), paper.Stream.made
        for unet in (first, second, first):
            _quick(graphs, unet)
            assert [len(record.steps) for record in graphs._records.values()] == [1]
        assert paper.Stream.made == streams + 1, "libraries hold memory for every stream"
    assert not caplog.text


def test_a_recording_that_breaks_off_leaves_the_work_where_it_was(folder, monkeypatch, caplog):
    """Something in a step that cannot be recorded: steps run one by one from then on, and on the stream from before."""
    unet = load_base(folder / "checkpoints" / "random").unet
    with paper.recording():
        expected, before = _quick(cuda_graphs.Graphs(torch.device("cpu")), unet), paper.Stream.current
        plain = unet.forward
        monkeypatch.setattr(
            unet, "forward", lambda sample, *given, **more: plain(sample + sample.sum().item(), *given, **more)
        )
        graphs = cuda_graphs.Graphs(torch.device("cpu"))
        assert torch.equal(_quick(graphs, unet, steps=2), expected)
        assert caplog.text.count("cannot be recorded") == 1, "the second step does not try again"
        assert paper.Stream.current is before and not graphs._records


@pytest.mark.parametrize(
    "name", ["ddim", *(name for name in schedulers._SCHEDULERS if name != "ddim"), *schedulers._OWN]
)
def test_no_sampler_waits_for_the_device(name):
    """Nor does any mix tensors of two devices: with and without fresh noise, on a picture's masked part and without."""
    for eta, inpaints in ((0.0, False), (1.0, True)):
        with torch.inference_mode(), paper.Elsewhere() as there:
            sampler = schedulers.make(name, SCHEDULE, 4, paper.DEVICE)
            noise = schedulers.Noise([1, 2], paper.DEVICE)
            start = noise.start((4, 8, 8))
            blend = InpaintBlend(there.empty(1, 4, 8, 8), there.empty(1, 1, 8, 8)) if inpaints else None
            there.waits.clear()

            def predict(model_input, time, *_where, there=there):
                assert model_input.device == time.device == paper.DEVICE
                return there.empty(*model_input.shape)

            latent = sample(SimpleNamespace(predict=predict), sampler, noise, start, eta=eta, kept=blend)  # pyright: ignore
            assert latent.device == paper.DEVICE
            assert name in WAITING or not there.waits, there.waits


@pytest.mark.parametrize("device", [paper.DEVICE, paper.APPLE], ids=str)
def test_no_step_waits_for_the_device(folder, device):
    """Two controls, a mask, guidance, reference-only: a step asks for nothing it would wait for, and nothing lies elsewhere."""
    base = load_base(folder / "checkpoints" / "random", torch.float16)
    network = load_control(folder / "controlnet" / "control0", torch.float16)
    drawn = np.zeros((64, 64, 4), np.uint8)
    with torch.inference_mode(), paper.Elsewhere(device) as there:
        for module in (*base.modules, network):
            module.to(device)
        texts = conditioning.encode_pair(base, "a (red:1.3) house", "sea", conditioning.Reading())
        there.waits.clear()
        hint = embed_hint(network, hint_of(drawn, device))
        scales = level_scales(0.7, "control", levels_of(network))
        mask = there.empty(1, 1, 8, 8)
        controls = [
            Control(network, hint, scales=scales, conditional_only=True, mask=mask),
            Control(network, hint, scales=scales),
        ]
        read = AttendedReference(there.empty(1, 4, 8, 8), there.empty(1, 4, 8, 8), there.empty(1000))
        denoiser = Denoiser(base.unet, *texts, 4.0, controls, attended=[read])
        for _ in range(2):
            output = denoiser.predict(there.empty(2, 4, 8, 8), there.empty())
        assert output.device == device and output.dtype == torch.float32
        pictures = vae.decode(base.vae, there.empty(1, 4, 8, 8))
        assert vae.encode(base.vae, pictures).device == device
    assert not there.waits or device == paper.APPLE  # where processor and GPU share their memory, copies are waited for


@pytest.mark.parametrize(
    "name", ["ddim", *(name for name in schedulers._SCHEDULERS if name != "ddim"), *schedulers._OWN]
)
def test_every_sampler_does_on_a_macs_gpu(name):
    """No number of 64 bits goes there."""
    with torch.inference_mode(), paper.Elsewhere(paper.APPLE) as there:
        sampler = schedulers.make(name, SCHEDULE, 4, paper.APPLE)
        noise = schedulers.Noise([1, 2], paper.APPLE)
        predicts = SimpleNamespace(predict=lambda model_input, *_where: there.empty(*model_input.shape))
        latent = sample(predicts, sampler, noise, noise.start((4, 8, 8)), eta=1.0)  # pyright: ignore
        assert latent.device == paper.APPLE


def test_paper_notices_what_a_gpu_would():
    with torch.inference_mode(), paper.Elsewhere(paper.APPLE) as there, pytest.raises(TypeError, match="float64"):
        there.empty(2).double()
    with torch.inference_mode(), paper.Elsewhere() as there:
        tensor = there.empty(2, 3)
        with pytest.raises(Exception, match="device"):
            tensor + torch.zeros(2, 3)
        with pytest.raises(Exception, match="local_scalar_dense"):
            tensor.sum().item()
        torch.zeros(3).to(paper.DEVICE)
        tensor.cpu()
        assert len(there.waits) == 2
    with torch.inference_mode():
        graph = paper.Graph()
        weight = torch.nn.Parameter(torch.ones(2), requires_grad=False)
        given = torch.ones(2)
        with paper._captured(graph):
            output = given * weight + 1
        given.fill_(3)
        weight.data = torch.full((2,), 100.0)  # moved: a recording does not know
        graph.replay()
        assert output.tolist() == [4, 4]


def test_xformers_is_taken_or_the_reason_is_said(folder, monkeypatch, caplog):
    unet = load_base(folder / "checkpoints" / "random").unet
    monkeypatch.setenv("STUDIO_ATTENTION", "xformers")
    monkeypatch.setattr(diffusers_setup, "_INSTALLED", False)
    cuda_graphs.prepared(unet)
    assert "it is not installed" in caplog.text
    monkeypatch.setattr(diffusers_setup, "_INSTALLED", True)
    monkeypatch.setattr(diffusers_setup, "ATTENDS", False)
    assert "no GPU" in diffusers_setup.take_xformers(unet)
    monkeypatch.setattr(diffusers_setup, "ATTENDS", True)

    def refuse():
        raise NotImplementedError("No operator found\nfor it")

    monkeypatch.setattr(unet, "enable_xformers_memory_efficient_attention", refuse)
    assert diffusers_setup.take_xformers(unet) == "No operator found"
    monkeypatch.setattr(unet, "enable_xformers_memory_efficient_attention", lambda: None)
    assert diffusers_setup.take_xformers(unet) == ""


def test_a_preview_is_fitted_where_pictures_are_decoded(folder, monkeypatch):
    """With weights parked elsewhere, the autoencoder comes to the device for it and goes again."""
    from controlnet_core.memory import placement

    came: list[type] = []
    plain = placement.Placement.present

    def present(self, *modules, when=True):
        came.extend(type(module) for module in modules if when)
        return plain(self, *modules, when=when)

    monkeypatch.setattr(placement.Placement, "present", present)
    with StandIn().ready(), right.environment(STUDIO_PLAN="offload"):
        studio = right.Studio(folder, models.SCALES["small"], torch.device("cpu"))
        shown = []
        studio.make(studio.recipe(), lambda step: shown.append((step.preview(), list(came))))
    assert shown[0][0].shape == (64, 64, 3)
    assert "AutoencoderKL" in {kind.__name__ for kind in shown[0][1]}


def test_a_gpu_shows_steps_by_the_tiny_decoder_of_the_family(folder, tmp_path, monkeypatch):
    for name in ("checkpoints", "controlnet"):
        (tmp_path / name).symlink_to(folder / name)
    (tmp_path / "vae").mkdir()
    monkeypatch.setattr(vae, "Preview", None)  # what fits one to the whole decoder
    with StandIn().ready():
        studio = right.Studio(tmp_path, models.SCALES["small"], torch.device("cpu"))
        with pytest.raises(TypeError):  # it is not installed
            studio.make(studio.recipe(), lambda step: step.preview())
        (tmp_path / "vae" / "taesd").symlink_to(folder / "vae" / "tiny")
        studio = right.Studio(tmp_path, models.SCALES["small"], torch.device("cpu"))
        shown = []
        studio.make(studio.recipe(vae="taesd"), lambda step: shown.append(step.preview()))
        made = studio.make(studio.recipe(vae="taesd"))
    assert right.apart(made, shown[-1:]) <= right.LEVELS, "what the last step aims at is what it reaches"
    assert not np.array_equal(shown[0], shown[-1])


def test_pixels_become_the_same_numbers_by_any_division():
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 256, 3)
    assert torch.equal(vae.from_rgb(levels)[0, 0, 0], torch.arange(256).float() / 255)

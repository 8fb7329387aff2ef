"""Transfer, extraction and fresh controls: equal to the formula on files shaped as the original's, in little memory."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from controlnet_core.checkpoints.safetensors_header import read_header
from controlnet_core.checkpoints.transfer import TransferOptions, add_control, extract, transfer
from controlnet_core.checkpoints.weight_files import TensorEntry, Weights, write
from controlnet_core.domain.errors import Cancelled, ModelError, NoSpace
from controlnet_core.models.loading import load_base, load_control
from tests.core.small import save_small_model

CONTROL, UNET = "control_model.", "model.diffusion_model."
NOW = TransferOptions(free_min_bytes=0)


@pytest.fixture(scope="module")
def states(oracles: Path):
    """Three checkpoints in the original's layout: trained, the one it was trained on, another of the family."""
    spec = importlib.util.spec_from_file_location("oracle_weights", oracles / "oracle_weights.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    names = json.loads((oracles / "cldm_v15_tiny.json").read_text())["seed"]
    return [
        {
            name: torch.from_numpy(value)
            for name, value in module.build_state_dict(oracles / "cldm_v15_tiny.json", seed=names + number).items()
        }
        for number in range(3)
    ]


@pytest.fixture(scope="module")
def files(states, tmp_path_factory):
    """The same as files: a full control checkpoint, its origin without control, the target without control."""
    folder = tmp_path_factory.mktemp("files")
    trained, origin, target = states
    save_file(trained, folder / "trained.safetensors")
    for name, state in (("origin", origin), ("target", target)):
        save_file({k: v for k, v in state.items() if not k.startswith(CONTROL)}, folder / f"{name}.safetensors")
    save_file({k: v for k, v in trained.items() if k.startswith(CONTROL)}, folder / "alone.safetensors")
    torch.save({"state_dict": trained}, folder / "trained.ckpt")
    return {path.name: path for path in folder.iterdir()}


def by_the_formula(states) -> dict[str, torch.Tensor]:
    """ControlNet's tool_transfer_control for the control part: p + target - origin where the base has a twin."""
    trained, origin, target = states
    expected = {}
    for name, weight in trained.items():
        if name.startswith(CONTROL):
            twin = UNET + name.removeprefix(CONTROL)
            expected[name] = weight + target[twin] - origin[twin] if twin in target else weight
    return expected


def test_transfer_is_the_formula_bit_by_bit(states, files, tmp_path):
    done = transfer(
        files["trained.safetensors"],
        files["origin.safetensors"],
        files["target.safetensors"],
        tmp_path / "o.safetensors",
        NOW,
    )
    made, expected = load_file(done.path), by_the_formula(states)
    assert made.keys() == expected.keys()
    assert all(torch.equal(made[name], expected[name]) for name in expected)
    new = [name for name in expected if torch.equal(expected[name], states[0][name])]
    assert done.moved == len(expected) - len(new)
    assert {name.split(".")[1] for name in new} == {"zero_convs", "input_hint_block", "middle_block_out"}
    assert done.change > 0.1
    assert done.size == done.path.stat().st_size


@pytest.mark.parametrize("control", ["alone.safetensors", "trained.ckpt"])
def test_other_containers_give_the_same(states, files, tmp_path, control):
    done = transfer(
        files[control], files["origin.safetensors"], files["target.safetensors"], tmp_path / "o.safetensors", NOW
    )
    made, expected = load_file(done.path), by_the_formula(states)
    assert all(torch.equal(made[name], expected[name]) for name in expected)


def test_a_full_checkpoint_knows_its_own_origin(states, files, tmp_path):
    trained, _, target = states
    done = transfer(files["trained.safetensors"], None, files["target.safetensors"], tmp_path / "o.safetensors", NOW)
    made = load_file(done.path)
    name = "control_model.input_blocks.1.0.in_layers.2.weight"
    twin = UNET + name.removeprefix(CONTROL)
    assert torch.equal(made[name], trained[name] + target[twin] - trained[twin])
    with pytest.raises(ModelError, match="control alone"):
        transfer(files["alone.safetensors"], None, files["target.safetensors"], tmp_path / "p.safetensors", NOW)


def test_full_output_is_the_whole_target_with_the_control(states, files, tmp_path):
    trained, origin, target = states
    done = transfer(
        files["trained.safetensors"],
        files["origin.safetensors"],
        files["target.safetensors"],
        tmp_path / "full.safetensors",
        NOW,
        full=True,
    )
    made, expected = load_file(done.path), by_the_formula(states)
    for name, weight in target.items():
        if name.startswith(CONTROL):
            continue
        moved = trained[name] + weight - origin[name] if name.startswith(UNET) else weight
        assert torch.equal(made[name], moved), name
    assert all(torch.equal(made[name], expected[name]) for name in expected)
    assert made.keys() == trained.keys()


def test_the_new_control_takes_the_place_of_one_that_is_there(states, files, tmp_path):
    """Each name stands once in a full checkpoint, and it is the new control's."""
    save_file(states[2], tmp_path / "both.safetensors")
    whole = tmp_path / "whole.safetensors"
    transfer(
        files["alone.safetensors"], files["origin.safetensors"], tmp_path / "both.safetensors", whole, NOW, full=True
    )
    made, expected = load_file(whole), by_the_formula(states)
    assert made.keys() == states[0].keys()
    assert all(torch.equal(made[name], expected[name]) for name in expected)
    fresh = load_file(add_control(tmp_path / "both.safetensors", tmp_path / "fresh.safetensors", NOW, full=True).path)
    assert fresh.keys() == states[0].keys()
    assert not fresh[f"{CONTROL}zero_convs.0.0.weight"].any()


def test_the_result_is_a_control_that_loads(files, hints, tmp_path):
    output = tmp_path / "new.safetensors"
    transfer(files["trained.safetensors"], files["origin.safetensors"], files["target.safetensors"], output, NOW)
    base = load_base(files["target.safetensors"], hints=hints)
    assert load_control(output, hints=hints).config["cross_attention_dim"] == base.unet.config["cross_attention_dim"]
    with safe_open(output, "pt") as file:
        about = file.metadata()
    assert about["control"] == "trained.safetensors"
    assert about["origin"] == "origin.safetensors"
    assert about["target"] == "target.safetensors"
    assert about["made by"] == "transfer"


def test_half_precision_halves_the_file(files, tmp_path):
    whole = extract(files["trained.safetensors"], tmp_path / "a.safetensors", NOW)
    half = extract(
        files["trained.safetensors"], tmp_path / "b.safetensors", TransferOptions(half=True, free_min_bytes=0)
    )
    assert half.size < 0.52 * whole.size
    assert {entry["dtype"] for name, entry in read_header(half.path).items() if name != "__metadata__"} == {"F16"}


def test_extraction_takes_the_control_and_nothing_else(states, files, tmp_path):
    done = extract(files["trained.ckpt"], tmp_path / "c.safetensors", NOW)
    made = load_file(done.path)
    expected = {name: weight for name, weight in states[0].items() if name.startswith(CONTROL)}
    assert made.keys() == expected.keys()
    assert all(torch.equal(made[name], expected[name]) for name in expected)
    with pytest.raises(ModelError, match="already"):
        extract(done.path, tmp_path / "d.safetensors", NOW)
    with pytest.raises(ModelError, match="no ControlNet"):
        extract(files["target.safetensors"], tmp_path / "e.safetensors", NOW)


def test_a_fresh_control_copies_the_encoder_and_changes_nothing(states, files, hints, tmp_path):
    target = states[2]
    done = add_control(files["target.safetensors"], tmp_path / "fresh.safetensors", NOW)
    made = load_file(done.path)
    assert {name: made[name].shape for name in made} == {
        name: weight.shape for name, weight in states[0].items() if name.startswith(CONTROL)
    }
    for name, weight in made.items():
        twin = UNET + name.removeprefix(CONTROL)
        if twin in target:
            assert torch.equal(weight, target[twin])
    for zero in ("zero_convs.0.0", "middle_block_out.0", "input_hint_block.14"):
        assert not made[f"{CONTROL}{zero}.weight"].any()
    assert made[f"{CONTROL}input_hint_block.0.weight"].std() > 0.05
    control = load_control(done.path, hints=hints)
    base = load_base(files["target.safetensors"], hints=hints)
    with torch.inference_mode():
        text = torch.randn(1, 77, base.unet.config["cross_attention_dim"])
        downs, mid = control(torch.randn(1, 4, 8, 8), 5, text, torch.rand(1, 3, 64, 64), return_dict=False)
    assert not mid.any()
    assert not any(one.any() for one in downs)


def test_the_same_seed_gives_the_same_fresh_control(files, tmp_path):
    one, two = (add_control(files["target.safetensors"], tmp_path / f"{n}.safetensors", NOW).path for n in range(2))
    assert one.read_bytes() == two.read_bytes()
    three = add_control(files["target.safetensors"], tmp_path / "3.safetensors", NOW, seed=1).path
    assert three.read_bytes() != one.read_bytes()


def test_a_fresh_control_in_one_file_with_its_base(states, files, tmp_path):
    done = add_control(files["target.safetensors"], tmp_path / "full.safetensors", NOW, full=True)
    assert load_file(done.path).keys() == states[0].keys()


def test_folders_of_diffusers_work_as_well(tmp_path):
    """The same formula under diffusers' names; the results load and belong to the target."""
    origin = save_small_model(tmp_path / "origin")
    target = save_small_model(tmp_path / "target")
    unet = target / "unet" / "diffusion_pytorch_model.safetensors"
    moved = {name: weight + 0.25 for name, weight in load_file(unet).items()}
    save_file(moved, unet, {"format": "pt"})
    done = transfer(origin / "controlnet", origin, target, tmp_path / "moved", NOW)
    made = load_file(done.path / "diffusion_pytorch_model.safetensors")
    before = load_file(origin / "controlnet" / "diffusion_pytorch_model.safetensors")
    base = load_file(origin / "unet" / "diffusion_pytorch_model.safetensors")
    for name, weight in made.items():
        assert torch.equal(weight, before[name] + moved[name] - base[name] if name in moved else before[name])
    assert done.moved > 20
    assert torch.equal(load_control(done.path).conv_in.weight, made["conv_in.weight"])
    alone = transfer(origin / "controlnet", origin, target, tmp_path / "moved.safetensors", NOW)
    assert all(torch.equal(weight, made[name]) for name, weight in load_file(alone.path).items())
    added = load_control(add_control(target, tmp_path / "fresh", NOW).path)
    assert torch.equal(added.conv_in.weight, moved["conv_in.weight"])
    with pytest.raises(Cancelled):
        extract(done.path, tmp_path / "stopped", TransferOptions(cancelled=lambda: True, free_min_bytes=0))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "fresh",
        "moved",
        "moved.safetensors",
        "origin",
        "target",
    ]


@pytest.mark.parametrize(("vae", "cell"), [("kl", 8), ("dc", 16)])
def test_a_fresh_control_suits_the_cells_of_its_base(tmp_path, vae, cell):
    """The control picture arrives at the size of the latents, and nothing comes out of it yet."""
    base = save_small_model(tmp_path / vae, vae)
    control = load_control(add_control(base, tmp_path / "fresh", NOW).path)
    assert control.controlnet_cond_embedding(torch.rand(1, 3, 64, 64)).shape[-1] == 64 // cell


def test_models_of_different_kinds_are_refused(files, tmp_path):
    small = save_small_model(tmp_path / "small")
    for origin, target in ((small, files["target.safetensors"]), (files["origin.safetensors"], small)):
        with pytest.raises(ModelError, match="another kind"):
            transfer(files["alone.safetensors"], origin, target, tmp_path / "o.safetensors", NOW)
    with pytest.raises(ModelError, match="no base model"):
        transfer(
            files["alone.safetensors"], files["alone.safetensors"], files["target.safetensors"], tmp_path / "o", NOW
        )
    assert not list(tmp_path.glob("o*"))


def test_stopping_leaves_no_file(files, tmp_path):
    shares = []
    work = TransferOptions(on_share=shares.append, cancelled=lambda: len(shares) > 0, free_min_bytes=0)
    with pytest.raises(Cancelled):
        extract(files["trained.safetensors"], tmp_path / "c.safetensors", work)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(NoSpace):
        extract(files["trained.safetensors"], tmp_path / "c.safetensors", TransferOptions(free_min_bytes=1 << 60))


def test_progress_ends_at_one(files, tmp_path):
    shares = []
    extract(
        files["trained.safetensors"],
        tmp_path / "c.safetensors",
        TransferOptions(on_share=shares.append, free_min_bytes=0),
    )
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_every_dtype_is_written_and_read(tmp_path):
    tensors = {
        "a": torch.randn(3, 5).bfloat16(), "b": torch.randn(2).half(), "c": torch.arange(7), "d": torch.randn(()),
        "e": torch.empty(0, 4), "f": torch.tensor([True, False]), "g": torch.randn(2, 2).double(),
    }  # fmt: skip
    path = tmp_path / "all.safetensors"
    from controlnet_core.checkpoints.weight_files import DTYPES

    entries = [
        TensorEntry(name, tuple(one.shape), DTYPES[one.dtype], lambda one=one: [one]) for name, one in tensors.items()
    ]
    write(path, entries, {"a": "b"}, free_min_bytes=0)
    read, again = load_file(path), Weights.open(path)
    for name, tensor in tensors.items():
        assert torch.equal(read[name], tensor)
        assert torch.equal(again.get(name), tensor)


@pytest.mark.parametrize("pieces", [[torch.zeros(3)], [torch.zeros(4), torch.zeros(1)], [torch.zeros(4).half()]])
def test_a_tensor_that_is_not_what_was_promised_leaves_no_file(tmp_path, pieces):
    with pytest.raises(ModelError, match="changed while it was read"):
        write(tmp_path / "o.safetensors", [TensorEntry("a", (4,), "F32", lambda: pieces)], {}, free_min_bytes=0)
    assert list(tmp_path.iterdir()) == []


def test_memory_does_not_grow_with_the_tensors(tmp_path):
    """A control of 300 MB: anonymous memory grows by less than one of its largest tensors."""
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(tmp_path)],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    before, peak, largest, size = map(int, done.stdout.split()[-4:])
    assert size > 300 << 20
    assert peak - before < largest


_MEASURE = """
import sys, threading, time
from pathlib import Path
import torch
from safetensors.torch import save_file
from controlnet_core.checkpoints.transfer import TransferOptions, transfer

folder, side = Path(sys.argv[1]), 3072
torch.set_num_threads(1)
rows = {"input_blocks.0.0.weight": torch.zeros(8, 4, 3, 3), "input_blocks.3.0.op.weight": torch.zeros(8, 8, 3, 3)}
def state(prefix, value, extra=(), dtype=torch.float32):
    big = {f"input_blocks.1.0.big{n}.weight": torch.full((side, side), float(value)) for n in range(9)}
    return {prefix + name: tensor.to(dtype) for name, tensor in {**rows, **big, **dict(extra)}.items()}
save_file(state("control_model.", 1, [("input_hint_block.0.weight", torch.zeros(4, 3, 3, 3))]), folder / "c.safetensors")
save_file(state("model.diffusion_model.", 2, dtype=torch.float16), folder / "s.safetensors")
save_file(state("model.diffusion_model.", 5, dtype=torch.float16), folder / "t.safetensors")

def anonymous():
    for line in open("/proc/self/status"):
        if line.startswith("RssAnon"):
            return int(line.split()[1]) << 10
import gc; gc.collect()
torch.ones(10) + 1
before = peak = anonymous()
ended = threading.Event()
def watch():
    global peak
    while not ended.is_set():
        peak = max(peak, anonymous())
        time.sleep(0.001)
thread = threading.Thread(target=watch); thread.start()
done = transfer(folder / "c.safetensors", folder / "s.safetensors", folder / "t.safetensors", folder / "o.safetensors",
                TransferOptions(free_min_bytes=0))
ended.set(); thread.join()
print(before, peak, side * side * 4, done.size)
"""

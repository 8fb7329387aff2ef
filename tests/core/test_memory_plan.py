"""The estimate before a run: from headers alone, in a sentence, the right plan for the room that there is."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from controlnet_core.domain.recipe import ControlUnit, Lora, Recipe, Reference
from controlnet_core.engine import LocalEngine
from controlnet_core.memory import cache
from controlnet_core.memory import plan as preflight
from controlnet_core.memory.plan import ModelFacts, estimate, facts_of, ladder, needed
from controlnet_core.models.catalog import Catalog
from controlnet_core.models.loading import load_base, load_control
from controlnet_core.models.lora import Adapters
from tests.core.small import control_type, digest

CONTROLS = {"scribble": control_type("scribble")}
PICTURE = np.zeros((64, 64, 3), np.uint8)
CONTROL = 361_279_120
GB = 10**9


def recipe(**settings) -> Recipe:
    return Recipe(**{"model": "small", "width": 512, "height": 512, "guidance": 9.0, **settings})


def parameters(module) -> int:
    return sum(tensor.numel() for tensor in module.parameters())


@pytest.fixture
def catalog(small_model, tmp_path):
    for name in ("checkpoints", "controlnet"):
        (tmp_path / name).mkdir()
    (tmp_path / "checkpoints" / "small").symlink_to(small_model)
    (tmp_path / "controlnet" / "control").symlink_to(small_model / "controlnet")
    return Catalog(tmp_path)


def test_headers_say_what_loading_finds(catalog, small_model):
    unit = ControlUnit(control="scribble", picture=digest(PICTURE))
    off = unit.model_copy(update={"weight": 0.0})
    facts = facts_of(recipe(controls=(unit, unit, off)), catalog)
    base = load_base(small_model)
    assert facts.unet == parameters(base.unet)
    assert facts.vae == parameters(base.vae)
    assert facts.text == parameters(base.text_encoder)
    assert facts.controls == (parameters(load_control(small_model / "controlnet")),)
    assert (facts.widths, facts.layers, facts.vae_widths, facts.cell_px) == ((16, 32), 1, (8, 8, 8, 8), 8)
    assert facts.attentions == (0, 4)


def test_single_files_too(checkpoints, hints, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    whole = load_file(checkpoints["safetensors"])
    save_file(whole, tmp_path / "checkpoints" / "own.safetensors")
    base = load_base(checkpoints["safetensors"], hints=hints)
    facts = facts_of(recipe(model="own"), Catalog(tmp_path))
    assert facts.unet == parameters(base.unet)
    assert facts.vae == parameters(base.vae)
    # The file also holds the table of position numbers.
    assert 0 <= facts.text - parameters(base.text_encoder) < 100
    assert facts.widths == tuple(base.unet.config["block_out_channels"])
    assert facts.layers == base.unet.config["layers_per_block"]
    assert facts.vae_widths == tuple(base.vae.config["block_out_channels"])


def test_a_pickle_counts_as_sd15(checkpoints, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "own.ckpt").symlink_to(checkpoints["wrapped"])
    assert facts_of(recipe(model="own"), Catalog(tmp_path)).unet == ModelFacts().unet


def test_what_loras_change_is_kept_beside(catalog, small_model, tmp_path):
    base = load_base(small_model)
    (tmp_path / "loras").mkdir()
    tensors = {}
    for name, layer in base.unet.named_modules():
        if hasattr(layer, "kernel_size") or name.endswith(("to_q", "to_out.0")):
            size, stem = layer.weight.shape, f"lora_unet_{name.replace('.', '_')}"
            tensors[f"{stem}.lora_down.weight"] = torch.zeros(2, *size[1:])
            tensors[f"{stem}.lora_up.weight"] = torch.zeros(size[0], 2, *([1, 1] if len(size) == 4 else []))
    for name in ("one", "other"):
        save_file(tensors, tmp_path / "loras" / f"{name}.safetensors")
    asked = recipe(loras=(Lora(key="one"), Lora(key="other")))
    facts = facts_of(asked, catalog)
    adapters = Adapters(base)
    adapters.use([(tmp_path / "loras" / f"{name}.safetensors", 1.0) for name in ("one", "other")])
    assert facts.changed == sum(tensor.numel() for tensor in adapters._original.values()) > 0
    without = facts_of(recipe(), catalog)
    more = [
        needed(asked, facts, kind, ladder(kind)[0]) - needed(asked, without, kind, ladder(kind)[0])
        for kind in ("cpu", "cuda")
    ]
    assert more == [4 * facts.changed, 0]


def test_each_plan_takes_less_than_the_one_before():
    for controls in ((), (CONTROL,), (CONTROL,) * 3):
        for side in (256, 512, 1024):
            need = [
                needed(recipe(width=side, height=side, images=4), ModelFacts(controls=controls), "cuda", plan)
                for plan in ladder("cuda")
            ]
            assert need == sorted(need, reverse=True)


def test_sd15_in_half_precision_stays_within_what_is_known_of_it():
    """Weights of 2.86 GB with one control, and about half a gigabyte of work for one picture."""
    one = needed(recipe(), ModelFacts(controls=(CONTROL,)), "cuda", ladder("cuda")[1])
    assert 2.86 * GB < one < 3.6 * GB
    assert needed(recipe(), ModelFacts(controls=(CONTROL,) * 3), "cuda", ladder("cuda")[1]) < 5.0 * GB
    # However many controls there are, the U-Net stays on the device in little memory.
    for count in (0, 1, 3):
        assert (
            needed(recipe(), ModelFacts(controls=(CONTROL,) * count), "cuda", ladder("cuda", "controls")[0]) < 2.2 * GB
        )
    assert needed(recipe(), ModelFacts(), "cpu", ladder("cpu")[0]) > 4 * ModelFacts().weights


def test_what_self_attention_reads_is_counted():
    """SD 1.5 at 512 px: keys and values of 16 layers are 23 million numbers a half of the guidance, and those of one are joined."""
    read = Reference(kind="reference_only", picture=digest(PICTURE))
    plan = ladder("cuda")[1]
    more = needed(recipe(references=(read,)), ModelFacts(), "cuda", plan) - needed(recipe(), ModelFacts(), "cuda", plan)
    numbers = 2 * 23_101_440 + 2 * 2 * 2 * 320 * 4096
    assert more == 2 * numbers
    off = recipe(references=(read.model_copy(update={"weight": 0.0}),))
    assert needed(off, ModelFacts(), "cuda", plan) == needed(recipe(), ModelFacts(), "cuda", plan)


def test_a_recorded_step_keeps_its_memory_while_a_picture_is_decoded(monkeypatch):
    resident, _, offload, *_ = ladder("cuda")
    facts, apart = ModelFacts(controls=(CONTROL,)), []
    for recorded in ("1", "0"):
        monkeypatch.setenv("STUDIO_GRAPHS", recorded)
        apart.append([needed(recipe(images=4), facts, "cuda", plan) for plan in (resident, offload)])
    steps = 8 * 4096 * 320 * 2 * 14  # the widest moment of four guided pictures alone
    assert apart[0][0] > apart[1][0] + steps
    assert apart[0][1] == apart[1][1], "where weights move, nothing is recorded"


@pytest.mark.parametrize(
    ("room", "plan", "words"),
    [
        (80 * GB, "resident", r"^This takes about 5\.\d GB of memory; 80\.0 GB are free\.$"),
        (3.5 * GB, "tiled", r"^This would take 5\.\d GB and 3\.5 GB are free; decoding in tiles it takes 3\.\d GB\.$"),
        (3.0 * GB, "offload", r"one network at a time"),
        (2.2 * GB, "controls", r"ControlNets layer by layer"),
        (1.2 * GB, "layers", r"one layer at a time"),
        (0.1 * GB, None, r"^This needs about .* but 100 MB|make the picture smaller"),
    ],
)
def test_the_room_decides_the_plan_and_a_sentence_says_it(room, plan, words):
    found = estimate(recipe(images=4), ModelFacts(controls=(CONTROL,)), "cuda", int(room))
    assert (found.plan and found.plan.name) == plan
    import re

    assert re.search(words, found.text), found.text
    assert preflight.describe(found)["plan"] == plan


def test_low_memory_mode_begins_further_down(monkeypatch, catalog):
    assert [plan.name for plan in ladder("cuda", "offload")] == ["offload", "controls", "layers", "fp8"]
    assert ladder("cuda", "unheard") == ladder("cuda")
    monkeypatch.setenv("STUDIO_PLAN", "offload")
    assert preflight.chosen(recipe(), catalog, "cuda", 80 * GB) == "offload"
    monkeypatch.delenv("STUDIO_PLAN")
    assert preflight.chosen(recipe(), catalog, "cuda", 80 * GB) == "resident"
    # The smallest plan that there is, rather than a refusal: the estimate may be wrong.
    assert preflight.chosen(recipe(), catalog, "cuda", 0) == "fp8"
    assert preflight.chosen(recipe(model="nothing"), catalog, "cuda", 0) == ""


def test_the_engine_begins_where_the_estimate_says(catalog, monkeypatch):
    tried = []
    plain = cache.plans
    monkeypatch.setattr(cache, "plans", lambda device, first: tried.append(first) or plain(device, first))
    engine = LocalEngine(catalog, CONTROLS, "cpu")
    small = recipe(width=64, height=64, steps=1)
    engine.run(small, {}, lambda step: None)
    monkeypatch.setattr(cache, "room", lambda device: 1)
    engine.run(small, {}, lambda step: None)
    assert tried == ["resident", ladder("cpu")[-1].name]


def test_no_torch_is_needed():
    code = "import sys, controlnet_core.memory.plan; assert not {'torch', 'diffusers'} & sys.modules.keys()"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_room_is_told_for_what_is_here():
    assert preflight.room("cpu") > 0
    assert preflight.room("cuda") >= 0

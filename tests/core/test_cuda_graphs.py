"""What makes steps quicker changes no number: kept text, recorded steps that are filled in anew, networks on the move."""

import numpy as np
import pytest
import torch

from controlnet_core.diffusion import conditioning, cuda_graphs, denoiser, vae
from controlnet_core.diffusion.conditioning import Conditioning
from controlnet_core.diffusion.denoiser import Control, Denoiser, embed_hint, level_scales
from controlnet_core.diffusion.reference_only import AttendedReference
from controlnet_core.domain.recipe import ControlUnit, Recipe, Reference
from controlnet_core.engine import LocalEngine
from controlnet_core.memory import plan as preflight
from controlnet_core.memory.cache import MemoryPlan
from controlnet_core.memory.placement import Placement
from controlnet_core.models.catalog import Catalog
from controlnet_core.models.loading import load_base, load_control
from tests.core.small import control_type, digest


@pytest.fixture(scope="module")
def base(small_model):
    return load_base(small_model)


@pytest.fixture(scope="module")
def network(small_model):
    return load_control(small_model / "controlnet")


@pytest.fixture
def levels(network):
    return denoiser.levels_of(network)


def make(base, network, levels, seed=1, *, attended=False) -> Denoiser:
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode():
        hint = embed_hint(network, torch.rand(1, 3, 64, 64, generator=generator))
    mask = torch.rand(1, 1, 8, 8, generator=generator)
    texts = torch.randn(2, 77, 32, generator=generator)
    scales = level_scales(0.7, "control", levels)
    control = Control(network, hint, scales=scales, conditional_only=True, mask=mask, end=0.5)
    clean, noise = torch.randn(2, 1, 4, 8, 8, generator=generator)
    read = [AttendedReference(clean, noise, torch.linspace(1, 0.01, 1000), end=0.75)] if attended else []
    return Denoiser(base.unet, Conditioning(texts[:1]), Conditioning(texts[1:]), 4.0, [control], attended=read)


SEEN, TIME = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(4)), torch.tensor(500)


def test_text_is_attended_to_once_a_run_and_nothing_changes(base, network, levels, monkeypatch):
    plain = make(base, network, levels)
    with torch.inference_mode():
        expected = [plain.predict(SEEN, TIME - index, index, 4) for index in range(4)]
    crossed = [module for module in base.unet.modules() if getattr(module, "is_cross_attention", False)]
    counts = []
    for module in crossed:
        module.to_k.register_forward_hook(lambda *_: counts.append(1))
    with torch.inference_mode(), cuda_graphs.text_kept([base.unet, network]) as keepers:
        again = [plain.predict(SEEN, TIME - index, index, 4) for index in range(4)]
    assert all(torch.equal(one, other) for one, other in zip(expected, again, strict=True))
    assert len(counts) == len(crossed)
    assert len(keepers) > len(crossed)
    assert all(type(module.processor).__name__ == "AttnProcessor2_0" for module in crossed)
    for module in crossed:
        module.to_k._forward_hooks.clear()


class OnPaper(cuda_graphs.Graphs):
    """Records as on a GPU, but replays by computing: what is recorded reads its own tensors only."""

    def __init__(self):
        super().__init__(torch.device("cpu"))
        self._on = True
        self.recordings = 0

    def _record(self, denoiser, seen, time, index, steps):
        self.recordings += 1
        output = denoiser.predict(seen, time, index, steps)
        networks = [denoiser.unet, *(control.network for control in denoiser.controls)]
        then = [
            (module, module.processor)
            for network in networks
            for module in network.modules()
            if hasattr(module, "processor")
        ]

        class Graph:
            def replay(self):
                # A recording reads what the processors of its time keep.
                now = [(module, module.processor) for module, _ in then]
                for module, processor in then:
                    module.processor = processor
                output.copy_(denoiser.predict(seen, time, index, steps))
                for module, processor in now:
                    module.processor = processor

        return cuda_graphs._Step(Graph(), seen, time, output)


def test_recorded_steps_take_new_drawings_texts_and_masks(base, network, levels):
    graphs = OnPaper()
    with torch.inference_mode():
        # The second recording is made in the second run, when the first record is there already.
        for seed, count in ((1, 2), (2, 4), (3, 4), (4, 4)):
            fresh = make(base, network, levels, seed, attended=True)
            expected = [fresh.predict(SEEN * seed, TIME - index, index, 4) for index in range(count)]
            with graphs.quickened(make(base, network, levels, seed, attended=True)) as quickened:
                again = [quickened.predict(SEEN * seed, TIME - index, index, 4) for index in range(count)]
            assert all(torch.equal(one, other) for one, other in zip(expected, again, strict=True))
    # One with the control, one after its window, and one after the reference's too, for all runs.
    assert graphs.recordings == 3


def test_recorded_steps_spoil_nothing_that_is_kept_for_the_next_run(engine, monkeypatch):
    other = 255 - PICTURE
    first, second = (ControlUnit(control="scribble", picture=digest(one)) for one in (PICTURE, other))
    pictures = {digest(one): one for one in (PICTURE, other)}

    def made(*units):
        recipe = Recipe(model="small", prompt="a red house", width=64, height=64, steps=2, controls=units)
        return engine.run(recipe, pictures, lambda step: None)[0]

    orders = ((first, second), (second, first), (second, second), (first, second))
    expected = []
    for units in orders:
        engine.make_room()
        expected.append(made(*units))
    engine.make_room()
    monkeypatch.setattr(engine, "_graphs", OnPaper())
    assert all(np.array_equal(made(*units), one) for units, one in zip(orders, expected, strict=True))


def test_a_device_that_cannot_record_runs_step_by_step(base, network, levels, caplog):
    class Broken(OnPaper):
        def _record(self, *_given):
            raise RuntimeError("operation not permitted when stream is capturing")

    graphs = Broken()
    plain = make(base, network, levels)
    with torch.inference_mode(), graphs.quickened(plain) as quickened:
        assert torch.equal(quickened.predict(SEEN, TIME, 0, 4), plain.predict(SEEN, TIME, 0, 4))
    assert "step cannot be recorded" in caplog.text
    with graphs.quickened(plain) as quickened:
        assert quickened is plain


def test_running_out_of_memory_is_not_swallowed(base, network, levels):
    class Full(OnPaper):
        def _record(self, *_given):
            raise torch.OutOfMemoryError("full")

    plain = make(base, network, levels)
    with torch.inference_mode(), Full().quickened(plain) as quickened, pytest.raises(torch.OutOfMemoryError):
        quickened.predict(SEEN, TIME, 0, 4)


def test_nothing_is_recorded_without_cuda_or_while_weights_move(base, network, levels):
    plain = make(base, network, levels)
    with cuda_graphs.Graphs(torch.device("cpu")).quickened(plain) as quickened:
        assert quickened is plain
    with OnPaper().quickened(plain, still=False) as quickened:
        assert quickened is plain


CONTROLS = {"scribble": control_type("scribble")}
PICTURE = np.random.default_rng(3).integers(0, 256, (64, 64, 3), np.uint8)
PLANS = (
    MemoryPlan(1, tiled=True, offload="model"),
    MemoryPlan(1, tiled=True, offload="control"),
    MemoryPlan(1, tiled=True, offload="layer"),
    MemoryPlan(1, tiled=True, offload="layer", fp8=True),
)


@pytest.fixture
def engine(small_model, tmp_path):
    for name in ("checkpoints", "controlnet"):
        (tmp_path / name).mkdir()
    (tmp_path / "checkpoints" / "small").symlink_to(small_model)
    (tmp_path / "controlnet" / "control").symlink_to(small_model / "controlnet")
    return LocalEngine(Catalog(tmp_path), CONTROLS, "cpu")


def test_every_plan_gives_the_picture(engine, monkeypatch):
    from controlnet_core.memory import cache

    unit = ControlUnit(control="scribble", picture=digest(PICTURE))
    reference = Reference(kind="reference_only", picture=digest(PICTURE))
    recipe = Recipe(
        model="small",
        prompt="a red house",
        width=64,
        height=64,
        steps=3,
        controls=(unit,),
        images=2,
        references=(reference,),
    )

    def made():
        return engine.run(recipe, {digest(PICTURE): PICTURE}, lambda step: None)

    plain = made()
    for plan in PLANS:
        monkeypatch.setattr(cache, "plans", lambda device, first, plan=plan: [plan])
        for one, other in zip(made(), plain, strict=True):
            distance = np.abs(one.astype(int) - other)
            # Eight bits are coarse; the rest is exact.
            assert distance.mean() < 12 if plan.fp8 else not distance.any()
            assert not plan.fp8 or distance.any()
        monkeypatch.undo()
        assert all(np.array_equal(one, other) for one, other in zip(made(), plain, strict=True)), plan


@pytest.mark.parametrize("place", ["denoiser.residuals", "vae.decode", "vae.encode", "conditioning.encode_tokens"])
def test_out_of_memory_anywhere_walks_down_the_ladder(place, engine, monkeypatch):
    """Each plan but the last fails; the last one's picture is right, and so is the next run's."""
    from controlnet_core.domain.recipe import Source
    from controlnet_core.memory import cache

    unit = ControlUnit(control="scribble", picture=digest(PICTURE))
    source = Source(picture=digest(PICTURE))
    recipe = Recipe(model="small", prompt="a red house", width=64, height=64, steps=3, controls=(unit,), source=source)

    def made():
        return engine.run(recipe, {digest(PICTURE): PICTURE}, lambda step: None)[0]

    expected = made()
    engine.make_room()
    ladder = [*preflight.ladder("cuda")[:-1], MemoryPlan(1, tiled=True, name="last")]
    monkeypatch.setattr(cache, "plans", lambda device, first: ladder)
    module, name = place.split(".")
    module = {"denoiser": denoiser, "vae": vae, "conditioning": conditioning}[module]
    plain, failures = getattr(module, name), []

    def failing(*args, **more):
        if len(failures) < len(ladder) - 1:
            failures.append(name)
            raise torch.OutOfMemoryError("out of memory")
        return plain(*args, **more)

    monkeypatch.setattr(module, name, failing)
    assert np.array_equal(made(), expected)
    assert len(failures) == len(ladder) - 1
    monkeypatch.undo()
    assert np.array_equal(made(), expected)


def test_layers_come_and_go(small_model):
    """Between two uses no layer is wrapped any more, and the weights are what they were."""
    network = load_control(small_model / "controlnet")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    places = Placement(torch.device("cpu"), MemoryPlan(1, offload="layer"))
    for _ in range(2):
        with places.present(network):
            assert any(hasattr(module, "_diffusers_hook") for module in network.modules())
            network(torch.zeros(1, 4, 8, 8), torch.tensor(1), torch.zeros(1, 77, 32), torch.zeros(1, 3, 64, 64))
        hooks = [module._diffusers_hook.hooks for module in network.modules() if hasattr(module, "_diffusers_hook")]
        assert not any(hooks)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not places.changed


def test_nothing_is_imported_that_nobody_asked_for():
    """Nor is anything broken by that: torch's compiler still works for whoever imports it afterwards."""
    import subprocess
    import sys

    code = (
        "import sys, torch, controlnet_core.engine\n"
        "assert torch.cuda.is_available() or 'xformers' not in sys.modules\n"
        "for name in ('scipy', 'diffusers.pipelines.pipeline_utils', 'torch._dynamo', 'torch.distributed.tensor', 'sympy'):\n"
        "    assert name not in sys.modules, name\n"
        "graphs = []\n"
        "compiled = torch.compile(lambda x: x * 2, backend=lambda graph, _: graphs.append(graph) or graph.forward)\n"
        "assert compiled(torch.ones(2)).tolist() == [2, 2] and len(graphs) == 1 and torch.distributed.is_available()"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "xformers" not in done.stderr.lower()

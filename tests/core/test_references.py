"""Reference pictures by IP-Adapters: the same as diffusers' own pipelines, plain and plus, SD 1.5 and SDXL."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from controlnet_core.checkpoints.probe import check, judge
from controlnet_core.diffusion import conditioning, control_inputs, references, vae
from controlnet_core.domain.errors import ModelError, ModelMissing, RecipeError
from controlnet_core.domain.recipe import ControlUnit, Recipe, Reference, Source
from controlnet_core.engine import LocalEngine
from controlnet_core.memory import plan
from controlnet_core.models import fit
from controlnet_core.models.catalog import Catalog, shipped
from tests.core.small import control_type, save_small_model
from tests.core.small_xl import save_small_xl
from tests.core.test_sdxl import LEVELS, OTHER, PHOTO, PICTURE, PICTURES, digest, far, recipe, run

KINDS = {"plain": 1024, "plus": 1280}


def save_encoder(folder: Path) -> Path:
    """An image encoder as wide as ViT-H where adapters see it, and small elsewhere."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(1)
    config = CLIPVisionConfig(hidden_size=1280, projection_dim=1024, intermediate_size=32, num_hidden_layers=2,
                              num_attention_heads=16, image_size=28, patch_size=14)  # fmt: skip
    CLIPVisionModelWithProjection(config).save_pretrained(folder)
    return folder


def adapter_of(unet, kind: str, seed: int = 0) -> dict[str, torch.Tensor]:
    """An IP-Adapter for a U-Net under its makers' names."""
    from diffusers.models.embeddings import IPAdapterPlusImageProjection

    torch.manual_seed(seed + 5)
    width = unet.config["cross_attention_dim"]
    if kind == "plain":
        given = {"proj.weight": torch.randn(4 * width, 1024) * 0.05, "proj.bias": torch.randn(4 * width) * 0.1,
                 "norm.weight": torch.ones(width), "norm.bias": torch.zeros(width)}  # fmt: skip
    else:
        made = IPAdapterPlusImageProjection(1280, width, 64, depth=4, dim_head=64, heads=1, num_queries=4).state_dict()
        inner = {"ln0": "0.norm1", "ln1": "0.norm2", "attn.to_q": "0.to_q", "attn.to_out.0": "0.to_out", "ff.0": "1.0",
                 "ff.1.net.0.proj": "1.1", "ff.1.net.2": "1.3"}  # fmt: skip
        given = {}
        for name, value in made.items():
            found = re.fullmatch(r"layers\.(\d)\.(.+)\.(weight|bias)", name)
            if found is None:
                given[name] = value
            elif found[2] in inner:
                given[f"layers.{found[1]}.{inner[found[2]]}.{found[3]}"] = value
        for layer in range(4):
            both = [made[f"layers.{layer}.attn.to_{one}.weight"] for one in "kv"]
            given[f"layers.{layer}.0.to_kv.weight"] = torch.cat(both)
    tensors = {f"image_proj.{name}": value.clone() for name, value in given.items()}
    crossed = [name for name in unet.attn_processors if name.endswith("attn2.processor")]
    for number, name in enumerate(crossed):
        out = unet.get_submodule(name.removesuffix(".processor")).to_k.weight.shape[0]
        for one in "kv":
            tensors[f"ip_adapter.{2 * number + 1}.to_{one}_ip.weight"] = torch.randn(out, width) * 0.1
    return tensors


def _strengthen(file: Path) -> None:
    """Have self attention count for something, as it does after a training."""
    from safetensors.torch import load_file

    weights = load_file(file)
    louder = {name: weight * 3 if "attn1.to_v" in name else weight for name, weight in weights.items()}
    save_file(louder, file, {"format": "pt"})


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    from diffusers import UNet2DConditionModel

    root = tmp_path_factory.mktemp("references")
    bases = {"xl": save_small_xl(root / "checkpoints" / "xl"),
             "small": save_small_model(root / "checkpoints" / "small", text_width=768, seed=5)}  # fmt: skip
    save_small_model(root / "checkpoints" / "two", prediction="v_prediction", text_width=1024)
    save_encoder(root / "image_encoders" / "clip-vit-h")
    (root / "controlnet").mkdir()
    (root / "ip_adapters").mkdir()
    for folder in (*bases.values(), root / "checkpoints" / "two"):
        _strengthen(folder / "unet" / "diffusion_pytorch_model.safetensors")
    for name, folder in bases.items():
        (root / "controlnet" / f"{name}-control").symlink_to(folder / "controlnet")
        unet = UNet2DConditionModel.from_pretrained(folder / "unet")
        for kind in KINDS:
            save_file(adapter_of(unet, kind), root / "ip_adapters" / f"{name}-{kind}.safetensors")
    return root


@pytest.fixture(scope="module")
def engine(models) -> LocalEngine:
    return LocalEngine(Catalog(models), {"scribble": control_type("scribble")}, "cpu")


def seen(picture=PHOTO, adapter="xl-plain", **settings) -> Reference:
    return Reference(picture=digest(picture), adapter=adapter, **{"weight": 0.8, **settings})


def theirs(models: Path, base: str, adapters: list[str], pictures, scales, end: float = 1.0):
    """A picture of diffusers' pipeline with IP-Adapters, uint8 levels as floats, from our noise."""
    import diffusers
    from transformers import CLIPVisionModelWithProjection

    kind = "StableDiffusionXLPipeline" if base == "xl" else "StableDiffusionPipeline"
    encoder = CLIPVisionModelWithProjection.from_pretrained(models / "image_encoders" / "clip-vit-h")
    more = {} if base == "xl" else {"safety_checker": None}
    pipeline = getattr(diffusers, kind).from_pretrained(models / "checkpoints" / base, image_encoder=encoder, **more)
    pipeline.scheduler = diffusers.DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.load_ip_adapter(
        str(models / "ip_adapters"), subfolder="", weight_name=[f"{name}.safetensors" for name in adapters],
        image_encoder_folder=None,
    )  # fmt: skip
    pipeline.set_ip_adapter_scale(scales)
    steps = 3

    def after(pipe, index, _time, kept):
        if (index + 2) / steps > end:
            pipe.set_ip_adapter_scale([0.0] * len(scales))
        return kept

    latents = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(11))
    return pipeline(
        "a red house", negative_prompt="sea", guidance_scale=4.0, num_inference_steps=steps, width=64, height=64,
        latents=latents, ip_adapter_image=[Image.fromarray(one) for one in pictures], output_type="np",
        callback_on_step_end=after,
    ).images[0] * 255  # fmt: skip


@pytest.mark.parametrize("base", ["xl", "small"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_with_a_reference_as_in_diffusers(base, kind, engine, models):
    expected = theirs(models, base, [f"{base}-{kind}"], [PHOTO], [0.8])
    ours = run(engine, model=base, references=(seen(adapter=f"{base}-{kind}"),))[0]
    assert far(ours, expected) <= LEVELS
    assert far(run(engine, model=base)[0].astype(float), ours) > LEVELS


def test_two_references_with_weights_and_a_window_as_in_diffusers(engine, models):
    expected = theirs(models, "xl", ["xl-plain", "xl-plus"], [PHOTO, OTHER], [0.8, 0.4], end=0.7)
    references = (seen(end=0.7), seen(OTHER, "xl-plus", weight=0.4, end=0.7))
    assert far(run(engine, references=references)[0], expected) <= LEVELS


def test_a_reference_leaves_no_trace_and_none_is_none(engine):
    plain = run(engine)[0]
    first = run(engine, references=(seen(),))[0]
    assert np.array_equal(first, run(engine, references=(seen(),))[0])
    assert np.array_equal(plain, run(engine)[0])
    assert np.array_equal(plain, run(engine, references=(seen(weight=0),))[0])


def test_a_batch_and_no_guidance(engine):
    both = run(engine, references=(seen(),), images=2)
    assert np.array_equal(both[0], run(engine, references=(seen(),))[0])
    alone = run(engine, references=(seen(),), guidance=1.0)[0]
    assert far(alone.astype(float), run(engine, guidance=1.0)[0]) > LEVELS


@pytest.mark.parametrize("base", ["xl", "small"])
def test_what_two_runs_share_is_computed_once(base, engine, monkeypatch):
    counts = Counter[str]()

    def count(module, name: str) -> None:
        plain = getattr(module, name)

        def counted(*given, **more):
            counts[name] += 1
            return plain(*given, **more)

        monkeypatch.setattr(module, name, counted)

    count(conditioning, "encode_tokens")
    count(control_inputs, "embed_hint")
    count(references, "look")
    count(vae, "encode")
    parts = {
        "model": base,
        "references": (seen(adapter=f"{base}-plain"),),
        "source": Source(picture=digest(PHOTO), strength=0.7),
    }

    def made(drawn=OTHER, **settings):
        """A picture, and what was computed for it: by texts, drawings, references and pictures to start from."""
        counts.clear()
        units = tuple(
            ControlUnit(control="scribble", picture=digest(one), network=f"{base}-control") for one in (PICTURE, drawn)
        )
        picture = run(engine, **{**parts, "controls": units, **settings})[0]
        names = ("encode_tokens", "embed_hint", "look", "encode")
        return picture, tuple(min(1, counts[name]) if name == "encode_tokens" else counts[name] for name in names)

    engine.make_room()
    first, computed = made()
    assert computed == (1, 2, 1, 1)
    assert made(seed=12)[1] == (0, 0, 0, 0), "only the seed is new"
    assert made(PHOTO)[1] == (0, 1, 0, 0), "a drawing goes on, the other control stays as it is"
    assert made(PHOTO, prompt="a blue house")[1] == (1, 0, 0, 0)
    assert made(PHOTO, prompt="a blue house", guidance=1.0)[1] == (1, 0, 0, 0), "there is no negative prompt any more"
    again, computed = made()
    assert computed[:2] == (1, 1), "what two runs in a row did not need is forgotten"
    assert np.array_equal(again, first)
    assert made(width=128)[1] == (int(base == "xl"), 2, 0, 1), "sizes are told to SDXL"


class Hacked:
    """Reference-only as sd-webui-controlnet and diffusers' community pipeline have it, on one of diffusers' pipelines.

    Each self attention keeps its input while the U-Net runs over the noisy reference, and reads it beside its own later. `read` are
    latents with their share of the layers and their style fidelity; all of them act on the steps before `until`.
    """

    def __init__(self, pipeline, read, until: int = 99) -> None:
        from diffusers.models.attention import BasicTransformerBlock

        self.pipeline, self.read, self.until, self.calls = pipeline, read, until, 0
        self.noise = torch.randn(read[0][0].shape[1:], generator=torch.Generator().manual_seed(2**32))[None]
        self.unet, self.writing = pipeline.unet.forward, None
        pipeline.unet.forward = self.forward
        blocks = [one for one in pipeline.unet.modules() if isinstance(one, BasicTransformerBlock)]
        blocks = sorted(blocks, key=lambda one: -one.norm1.normalized_shape[0])
        self.banks: list[list] = [[] for _ in blocks]
        for number, block in enumerate(blocks):
            block.attn1.forward = self.attention(block.attn1.forward, number, number / len(blocks))

    def attention(self, own, number, weight):
        def forward(states, encoder_hidden_states=None, **more):
            bank = self.banks[number]
            if self.writing is not None:
                if self.writing[1] > weight:
                    bank.append((states.clone(), self.writing[2]))
                return own(states, **more)
            if not bank:
                return own(states, **more)
            fidelity = sum(one for _, one in bank) / len(bank)
            free = own(states, encoder_hidden_states=torch.cat([states, *(one for one, _ in bank)], dim=1), **more)
            bound = free.clone()
            if len(states) == 2:
                bound[:1] = own(states[:1], **more)
            bank.clear()
            return fidelity * bound + (1 - fidelity) * free

        return forward

    def forward(self, sample, time, **more):
        self.calls += 1
        for one in self.read if self.calls <= self.until else ():
            self.writing = one
            noisy = self.pipeline.scheduler.add_noise(one[0], self.noise, time.reshape(1))
            self.unet(noisy.expand(len(sample), -1, -1, -1), time, **more)
        self.writing = None
        return self.unet(sample, time, **more)


def attended(picture=PHOTO, **settings) -> Reference:
    return Reference(kind="reference_only", picture=digest(picture), **{"weight": 1.0, **settings})


def hacked(models: Path, engine, base: str, references, *, guidance: float = 4.0, until: int = 99):
    """A picture of diffusers' pipeline under `Hacked`, uint8 levels as floats, from our noise."""
    import diffusers

    from controlnet_core.diffusion import vae
    from controlnet_core.models.loading import load_base

    kind, more = (
        ("StableDiffusionXLPipeline", {}) if base == "xl" else ("StableDiffusionPipeline", {"safety_checker": None})
    )
    pipeline = getattr(diffusers, kind).from_pretrained(models / "checkpoints" / base, **more)
    pipeline.scheduler = diffusers.DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
    pipeline.set_progress_bar_config(disable=True)
    own = load_base(models / "checkpoints" / base).vae
    with torch.inference_mode():
        read = [
            (vae.encode(own, vae.from_rgb(PICTURES[one.picture]) * 2 - 1), one.weight, one.style_fidelity)
            for one in references
        ]
    Hacked(pipeline, read, until)
    latents = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(11))
    return pipeline(
        "a red house", negative_prompt="sea", guidance_scale=guidance, num_inference_steps=3, width=64, height=64,
        latents=latents, output_type="np",
    ).images[0] * 255  # fmt: skip


@pytest.mark.parametrize(
    ("base", "settings"),
    [("xl", {}), ("xl", {"style_fidelity": 1.0, "weight": 0.4}), ("small", {"style_fidelity": 0.0}), ("two", {})],
    ids=str,
)
def test_reference_only_as_its_makers_have_it(base, settings, engine, models):
    references = (attended(**settings),)
    expected = hacked(models, engine, base, references)
    ours = run(engine, model=base, references=references)[0]
    assert far(ours, expected) <= LEVELS
    assert far(run(engine, model=base)[0].astype(float), ours) > LEVELS


def test_two_pictures_for_self_attention_in_a_window_and_without_guidance(engine, models):
    references = (attended(end=0.7), attended(OTHER, weight=0.5, style_fidelity=0.9, end=0.7))
    for guidance in (4.0, 1.0):
        expected = hacked(models, engine, "xl", references, guidance=guidance, until=2)
        assert far(run(engine, references=references, guidance=guidance)[0], expected) <= LEVELS


def test_self_attention_reads_a_picture_beside_all_else(engine, models):
    """A batch, a control in guess mode, an IP-Adapter, and a run that was broken off: each picture depends on its seed alone."""
    unit = ControlUnit(control="scribble", picture=digest(PHOTO), network="xl-control", mode="control")
    given = {"references": (attended(OTHER), seen()), "controls": (unit,)}
    both = run(engine, images=2, **given)
    second = run(engine, **given, seed=12)[0]
    assert np.abs(both[1].astype(int) - second).max() <= 1

    def stop(_step):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        engine.run(recipe(**given), PICTURES, stop)
    assert np.array_equal(run(engine, **given, seed=12)[0], second)
    assert far(run(engine, controls=(unit,), seed=12)[0].astype(float), second) > LEVELS


def test_they_are_known_by_what_shows(models):
    catalog = Catalog(models)
    card = catalog.card("xl-plus")
    assert (card.kind, card.family, card.encoder, card.trouble) == ("ip_adapter", "sdxl", "clip-vit-h", "")
    assert catalog.verdict(card).sentence == "An IP-Adapter (plus) for SDXL, full precision."
    assert catalog.card("small-plain").family == "sd15"
    assert check(models / "image_encoders" / "clip-vit-h").kind == "image_encoder"
    faces = judge("x", {"ip_adapter.1.to_k_ip.weight": (8, 768), "image_proj.norm.weight": (768,),
                        "image_proj.proj.0.weight": (8, 512), "image_proj.proj.2.weight": (8, 8)})  # fmt: skip
    assert not faces.ok
    assert "FaceID" in faces.sentence
    for shipped_card in shipped().values():
        assert (shipped_card.kind == "ip_adapter") == bool(shipped_card.encoder)


def test_what_does_not_go_together_is_refused_before_it_is_queued(models):
    catalog = Catalog(models)
    with pytest.raises(RecipeError, match=r"small-plain is a IP-Adapter for SD 1\.5|an IP-Adapter for SD 1\.5"):
        fit.check(recipe(references=(seen(adapter="small-plain"),)), catalog)
    with pytest.raises(RecipeError, match="xl is not an IP-Adapter"):
        fit.check(recipe(references=(seen(adapter="xl"),)), catalog)
    small = Recipe(model="paperworld", width=256, height=256, references=(seen(),))
    with pytest.raises(RecipeError, match="Paperworld models take no reference pictures"):
        fit.check(small, Catalog(Path("models").resolve()))
    with pytest.raises(RecipeError, match="Paperworld models take nothing from a reference picture"):
        fit.check(small.model_copy(update={"references": (attended(),)}), Catalog(Path("models").resolve()))
    fit.check(recipe(references=(attended(),)), catalog)


def test_what_is_missing_or_damaged_is_said(engine, models, tmp_path):
    with pytest.raises(RecipeError, match="reference picture did not come"):
        engine.run(recipe(references=(seen(),)), {}, lambda _step: None)
    (tmp_path / "checkpoints").symlink_to(models / "checkpoints")
    (tmp_path / "ip_adapters").mkdir()
    whole = models / "ip_adapters" / "xl-plain.safetensors"
    (tmp_path / "ip_adapters" / "xl-plain.safetensors").symlink_to(whole)
    alone = Catalog(tmp_path)
    assert alone.lacks(alone.card("xl-plain")).id == "clip-vit-h"
    with pytest.raises(ModelMissing, match="Image encoder"):
        LocalEngine(alone, {}, "cpu").run(recipe(references=(seen(),)), PICTURES, lambda _step: None)
    from safetensors.torch import load_file

    tensors = load_file(whole)
    del tensors["ip_adapter.3.to_v_ip.weight"]
    save_file(tensors, models / "ip_adapters" / "cut.safetensors")
    with pytest.raises(ModelError, match="damaged"):
        run(engine, references=(seen(adapter="cut"),))


def test_memory_counts_adapter_and_encoder(models):
    catalog = Catalog(models)
    plain, more = (plan.facts_of(recipe(references=one), catalog) for one in ((), (seen(),)))
    assert more.weights > plain.weights + 1_000_000
    assert recipe(references=(seen(),)).pictures == (digest(PHOTO),)
    assert recipe(references=(seen(),)).role(digest(PHOTO)) == "reference picture"

"""What is added to SDXL: LoRAs and their relatives, inversions for two encoders, inpainting U-Nets, as diffusers has them."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from controlnet_core.checkpoints import lora_keys
from controlnet_core.checkpoints.probe import check
from controlnet_core.diffusion.conditioning import Reading, encode
from controlnet_core.domain.errors import ModelError, RecipeError
from controlnet_core.domain.recipe import Lora, Source
from controlnet_core.engine import LocalEngine
from controlnet_core.models import fit
from controlnet_core.models.catalog import Catalog
from controlnet_core.models.loading import load_base
from controlnet_core.models.loading.load_extras import load_embedding
from controlnet_core.models.lora import Adapters
from tests.core.small_xl import original_unet, save_small_xl
from tests.core.test_sdxl import LEFT, LEVELS, PHOTO, PICTURES, digest, far, recipe, run, theirs

RANK, ALPHA, STRENGTH = 4, 2.0, 0.7
LINEAR = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
CONV = "up_blocks.1.resnets.0.conv1"
UNET = (LINEAR, CONV, "mid_block.attentions.0.transformer_blocks.1.ff.net.0.proj", "time_embedding.linear_1",
        "add_embedding.linear_2", "down_blocks.0.downsamplers.0.conv", "up_blocks.0.upsamplers.0.conv", "conv_in")  # fmt: skip
TEXT = ("encoder.layers.1.self_attn.q_proj", "encoder.layers.0.self_attn.out_proj", "encoder.layers.2.mlp.fc1")
PARTS = ("unet", "text_encoder", "text_encoder_2")
KOHYA = {"unet": "lora_unet_", "text_encoder": "lora_te1_text_model_", "text_encoder_2": "lora_te2_text_model_"}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("xl")
    save_small_xl(root / "checkpoints" / "xl")
    for name in ("loras", "embeddings"):
        (root / name).mkdir()
    return root


@pytest.fixture(scope="module")
def base(models):
    return load_base(models / "checkpoints" / "xl")


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape))) * 0.2


def matrices(base) -> dict[tuple[str, str], tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """(part, layer) -> down, up, what they add by the definition of LoRA."""
    found = {}
    for part, names in zip(PARTS, (UNET, TEXT, TEXT), strict=True):
        module = getattr(base, part)
        module = getattr(module, "text_model", module) if part != "unet" else module
        for name in names:
            out, into, *kernel = module.get_submodule(name).weight.shape
            down, up = random(RANK, into, *kernel), random(out, RANK, *[1] * len(kernel))
            change = (up.flatten(1) @ down.flatten(1)).reshape(out, into, *kernel) * ALPHA / RANK
            found[part, name] = down, up, change
    return found


def original(name: str) -> str:
    return original_unet(f"{name}.weight").removesuffix(".weight")


def written(pairs, form: str) -> dict[str, torch.Tensor]:
    """The LoRA in one of the forms that are shared."""
    tensors = {}
    for (part, name), (down, up, _) in pairs.items():
        whole = name if part == "unet" else f"text_model.{name}"
        if form == "kohya":
            layer = original(name) if part == "unet" else name
            stem, roles = KOHYA[part] + layer.replace(".", "_"), ("lora_down", "lora_up")
        elif form == "comfy":
            stem = f"diffusion_model.{original(name)}" if part == "unet" else KOHYA[part] + name.replace(".", "_")
            roles = ("lora_down", "lora_up")
        elif form == "peft":
            stem, roles = f"{part}.{whole}", ("lora_A", "lora_B")
        else:
            inner = "lora" if part == "unet" else "lora_linear_layer"
            stem, roles = f"{part}.{whole}", (f"{inner}.down", f"{inner}.up")
        tensors |= {f"{stem}.{role}.weight": half for role, half in zip(roles, (down, up), strict=True)}
        tensors[f"{stem}.alpha"] = torch.tensor(ALPHA)
    return tensors


def weights(base) -> dict[str, torch.Tensor]:
    return {
        f"{part}.{name.removeprefix('text_model.')}": value.clone()
        for part in PARTS
        for name, value in getattr(base, part).state_dict().items()
    }


@pytest.mark.parametrize("form", ["kohya", "comfy", "peft", "diffusers"])
def test_a_lora_reaches_the_unet_and_both_text_encoders(form, base, tmp_path):
    pairs = matrices(base)
    file = tmp_path / "style.safetensors"
    save_file(written(pairs, form), file)
    assert check(file).sentence == "A LoRA for SDXL, full precision."
    before, adapters = weights(base), Adapters(base)
    adapters.use([(file, STRENGTH)])
    after = weights(base)
    adapters.use([])
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == {f"{part}.{name}.weight" for part, name in pairs}
    for (part, name), (*_, change) in pairs.items():
        key = f"{part}.{name}.weight"
        assert torch.allclose(after[key], before[key] + STRENGTH * change, atol=1e-5), key
    assert all(torch.equal(value, before[name]) for name, value in weights(base).items())


def test_layers_are_called_as_diffusers_reads_kohyas_names(base):
    from diffusers.loaders.lora_conversion_utils import (
        _convert_non_diffusers_lora_to_diffusers,
        _maybe_map_sgm_blocks_to_diffusers,
    )

    # Theirs reads no names outside the blocks.
    pairs = {key: value for key, value in matrices(base).items() if "blocks" in key[1] or key[0] != "unet"}
    given = written(pairs, "kohya")
    mapped = _maybe_map_sgm_blocks_to_diffusers(dict(given), base.unet.config)
    converted, _ = _convert_non_diffusers_lora_to_diffusers(mapped)
    theirs = {lora_keys.layer(lora_keys.split(name)[0]) for name in converted}
    ours = {lora_keys.layer(lora_keys.split(name)[0]) for name in given}
    spelled = {name.replace("lora_te1_", "text_encoder_").replace("lora_te2_", "text_encoder_2_") for name in ours}
    assert spelled == theirs


def _relatives(weight: torch.Tensor) -> dict[str, tuple[dict[str, torch.Tensor], torch.Tensor]]:
    """Tensors of one layer by their names, and the weight at a strength of 1, by the definition of each relative."""
    out, into, *kernel = weight.shape
    flat, scale = into * int(np.prod(kernel)), ALPHA / RANK
    alpha = {"alpha": torch.tensor(ALPHA)}
    a, b, c, d = random(out, RANK), random(RANK, flat), random(out, RANK, seed=1), random(RANK, flat, seed=1)
    down, up = random(RANK, into, *kernel), random(out, RANK, *[1] * len(kernel))
    lora = (up.flatten(1) @ down.flatten(1)).reshape(weight.shape)
    plain = {"lora_down.weight": down, "lora_up.weight": up, **alpha}
    merged = weight + scale * lora
    rows = merged.flatten(1).norm(dim=1).reshape(-1, *[1] * (weight.ndim - 1))
    columns = merged.transpose(0, 1).flatten(1).norm(dim=1).reshape(1, -1, *[1] * (weight.ndim - 2))
    by_row, by_column = random(*rows.shape).abs() + 0.5, random(*columns.shape).abs() + 0.5
    small, large, second = random(4, 2), random(out // 4, into // 2, *kernel), random(RANK, flat // 2)
    whole = torch.kron(small.reshape(4, 2, *[1] * len(kernel)), large)
    halves = torch.kron(small, random(out // 4, RANK) @ second).reshape(weight.shape)
    return {
        "loha": ({"hada_w1_a": a, "hada_w1_b": b, "hada_w2_a": c, "hada_w2_b": d, **alpha},
                 weight + scale * ((a @ b) * (c @ d)).reshape(weight.shape)),
        "lokr": ({"lokr_w1": small, "lokr_w2": large, **alpha}, weight + whole),
        "lokr of halves": ({"lokr_w1": small, "lokr_w2_a": random(out // 4, RANK), "lokr_w2_b": second, **alpha},
                           weight + scale * halves),
        "dora by rows": ({**plain, "dora_scale": by_row}, merged * by_row / rows),
        "dora by columns": ({**plain, "dora_scale": by_column}, merged * by_column / columns),
        "dora of peft": ({"lora_A.weight": down, "lora_B.weight": up, **alpha,
                          "lora_magnitude_vector": by_row.flatten()}, merged * by_row / rows),
    }  # fmt: skip


def _tuckers(weight: torch.Tensor) -> dict[str, tuple[dict[str, torch.Tensor], torch.Tensor]]:
    """The forms for convolutions that part the kernel off, by their definition as sums."""
    out, into = weight.shape[:2]
    core, other = random(RANK, RANK, 3, 3), random(RANK, RANK, 3, 3, seed=1)
    a, b, c, d = random(RANK, out), random(RANK, into), random(RANK, out, seed=1), random(RANK, into, seed=1)

    def whole(core, outward, inward):
        mixed = torch.tensordot(core, outward, ([0], [0]))  # rank, h, w, out
        return torch.tensordot(mixed, inward, ([0], [0])).permute(2, 3, 0, 1)

    loha = {"hada_t1": core, "hada_w1_a": a, "hada_w1_b": b, "hada_t2": other, "hada_w2_a": c, "hada_w2_b": d}
    locon = {"lora_mid.weight": core, "lora_up.weight": a.T[:, :, None, None].contiguous(),
             "lora_down.weight": b[:, :, None, None]}  # fmt: skip
    return {
        "loha, parted": (loha, weight + whole(core, a, b) * whole(other, c, d)),
        "lora, parted": (locon, weight + whole(core, a, b)),
    }


@pytest.mark.parametrize("layer", [LINEAR, CONV])
def test_relatives_add_what_their_definitions_say(layer, base, tmp_path):
    weight = base.unet.get_submodule(layer).weight
    before, adapters = weight.clone(), Adapters(base)
    forms = {**_relatives(before), **(_tuckers(before) if before.ndim == 4 else {})}
    assert len(forms) >= 6
    for number, (form, (tensors, wanted)) in enumerate(forms.items()):
        file = tmp_path / f"{number}.safetensors"
        stem = f"unet.{layer}" if form == "dora of peft" else f"lora_unet_{original(layer).replace('.', '_')}"
        save_file({f"{stem}.{name}": value.contiguous() for name, value in tensors.items()}, file)
        assert check(file).ok, form
        for strength in (1.0, 0.5):
            adapters.use([(file, strength)])
            assert torch.allclose(weight, before + strength * (wanted - before), atol=1e-4), form
        adapters.use([])
        assert torch.equal(weight, before)


def test_matrices_that_lie_about_their_size_are_refused_before_they_are_multiplied(base, tmp_path):
    stem = f"lora_unet_{original(LINEAR).replace('.', '_')}"
    wide = {"lokr_w1": torch.zeros(60_000, 1), "lokr_w2": torch.zeros(60_000, 1)}
    file = tmp_path / "wide.safetensors"
    save_file({f"{stem}.{name}": value for name, value in wide.items()}, file)
    with pytest.raises(ModelError, match="another kind of model"):
        Adapters(base).use([(file, 1.0)])


def test_a_picture_with_a_lora_is_the_picture_of_the_changed_weights(models, base, tmp_path):
    """Against diffusers' pipeline, whose weights are changed by hand."""
    import diffusers

    pairs = matrices(base)
    save_file(written(pairs, "kohya"), models / "loras" / "style.safetensors")
    pipeline = diffusers.StableDiffusionXLPipeline.from_pretrained(models / "checkpoints" / "xl")
    for (part, name), (*_, change) in pairs.items():
        module = getattr(pipeline, part)
        module = getattr(module, "text_model", module) if part != "unet" else module
        module.get_submodule(name).weight.data += STRENGTH * change
    pipeline.save_pretrained(tmp_path)
    engine = LocalEngine(Catalog(models), {}, "cpu")
    plain, ours = run(engine)[0], run(engine, loras=(Lora(key="style", weight=STRENGTH),))[0]
    assert far(ours, theirs(tmp_path, "StableDiffusionXLPipeline")) <= LEVELS
    assert far(plain.astype(float), ours) > LEVELS
    assert np.array_equal(plain, run(engine)[0])


def test_a_lora_of_another_family_is_refused_before_it_is_queued(models, base, tmp_path):
    catalog = Catalog(models)
    attention = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    for name, width in (("old", 768), ("new", 2048)):
        half = {"lora_down.weight": torch.zeros(1, width), "lora_up.weight": torch.zeros(320, 1)}
        save_file(
            {f"{attention}.{key}": value for key, value in half.items()}, models / "loras" / f"{name}.safetensors"
        )
    with pytest.raises(RecipeError, match=r"old is a LoRA for SD 1\.5, and xl is a model of SDXL\."):
        fit.check(recipe(loras=(Lora(key="old"),)), catalog)
    with pytest.raises(RecipeError, match=r"new is a LoRA for SDXL, and .* is a model of SD 1\.5\.") as caught:
        fit.check(recipe(model="sd15", width=512, height=512, loras=(Lora(key="new"),)), catalog)
    assert caught.value.hint == "Choose a LoRA for SD 1.5, or a model of SDXL."
    fit.check(recipe(loras=(Lora(key="new"),)), catalog)


def test_an_inversion_for_both_encoders_as_in_diffusers(models, base):
    from diffusers import StableDiffusionXLPipeline

    vectors = {"clip_l": random(2, 768), "clip_g": random(2, 1280)}
    file = models / "embeddings" / "serene.safetensors"
    save_file(vectors, file)
    assert check(file).sentence.startswith("A textual inversion of 2 vectors")
    pipeline = StableDiffusionXLPipeline.from_pretrained(models / "checkpoints" / "xl", unet=None, vae=None)
    words = ["serene", "still"]
    for name, encoder, reader in (("clip_l", pipeline.text_encoder, pipeline.tokenizer),
                                  ("clip_g", pipeline.text_encoder_2, pipeline.tokenizer_2)):  # fmt: skip
        reader.add_tokens(words)
        encoder.resize_token_embeddings(len(reader))
        encoder.get_input_embeddings().weight.data[-2:] = vectors[name]
    # That of "</s>", which the published one is not: theirs would take the inversion for the end of the text.
    pipeline.text_encoder_2.text_model.eos_token_id = pipeline.tokenizer_2.eos_token_id
    context, _, pooled, _ = pipeline.encode_prompt(
        "a serene still house", device="cpu", do_classifier_free_guidance=False
    )
    ours = encode(base, ["a serene house"], Reading(embeddings={"serene": load_embedding(file)}), (64, 64))[0]
    assert torch.allclose(ours.context, context, atol=1e-5)
    assert torch.allclose(ours.added["text_embeds"], pooled, atol=1e-5)
    plain = encode(base, ["a serene house"], Reading(), (64, 64))[0]
    assert not torch.allclose(plain.context, context, atol=1e-2)


@pytest.mark.parametrize("half", ["clip_l", "clip_g"])
def test_half_an_inversion_is_refused(half, models, base, tmp_path):
    width = {"clip_l": 768, "clip_g": 1280}[half]
    save_file({half: random(2, width)}, tmp_path / "half.safetensors")
    if half == "clip_g":
        assert "half a textual inversion" in check(tmp_path / "half.safetensors").sentence
        with pytest.raises(ModelError, match="half a textual inversion"):
            load_embedding(tmp_path / "half.safetensors")
    else:  # one of SD 1.5 looks the same, and is refused as one
        assert check(tmp_path / "half.safetensors").family == "sd15"
        with pytest.raises(ModelError, match="another kind of model"):
            encode(
                base, ["a serene house"], Reading(embeddings={"serene": load_embedding(tmp_path / "half.safetensors")})
            )


def test_an_inpainting_unet_as_in_diffusers(tmp_path, monkeypatch):
    from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
    from PIL import Image

    folder = save_small_xl(tmp_path / "checkpoints" / "xl", inpaints=True)
    # Their encoding has a random part, ours takes the middle.
    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mode())
    expected = theirs(
        folder, "StableDiffusionXLInpaintPipeline", image=Image.fromarray(PHOTO), mask_image=Image.fromarray(LEFT),
        strength=1.0,
    )  # fmt: skip
    engine = LocalEngine(Catalog(tmp_path), {}, "cpu")
    source = Source(picture=digest(PHOTO), mask=digest(LEFT), strength=1.0, blur_px=0)
    ours = engine.run(recipe(source=source), PICTURES, lambda _step: None)[0]
    assert np.array_equal(ours[:, 32:], PHOTO[:, 32:])
    assert far(ours[:, :32], expected[:, :32]) <= LEVELS

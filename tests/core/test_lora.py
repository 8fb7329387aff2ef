"""LoRAs, textual inversions and autoencoders in the forms that people share: what they do, and that they leave no trace."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from controlnet_core.domain.errors import ModelError, ModelMissing, RecipeError
from controlnet_core.domain.recipe import Lora, Recipe
from controlnet_core.engine import LocalEngine
from controlnet_core.models.catalog import Catalog
from controlnet_core.models.loading import load_base
from controlnet_core.models.loading.load_extras import load_embedding, load_vae
from controlnet_core.models.loading.load_lora import load_lora
from controlnet_core.models.lora import Adapters
from tests.core.small import save_small_model

UNET_LAYERS = {
    "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q": "linear",
    "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_out.0": "linear",
    "mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj": "linear",
    "mid_block.attentions.0.proj_in": "1x1",
    "up_blocks.1.resnets.0.conv1": "3x3",
}
TEXT_LAYERS = ("encoder.layers.0.self_attn.q_proj", "encoder.layers.0.self_attn.out_proj", "encoder.layers.0.mlp.fc1")
RANK, ALPHA = 3, 2.0


def matrices(base, alpha=ALPHA):
    """(network, layer) -> down, up; and what they add by the definition of LoRA."""
    generator = torch.Generator().manual_seed(8)
    found, added = {}, {}
    for network, module, layers in (("unet", base.unet, UNET_LAYERS), ("te", base.text_encoder, TEXT_LAYERS)):
        for name in layers:
            weight = module.get_submodule(name).weight
            out, into, *kernel = weight.shape
            down = torch.randn(RANK, into, *kernel, generator=generator) * 0.2
            up = torch.randn(out, RANK, *[1] * len(kernel), generator=generator) * 0.2
            found[network, name] = down, up
            change = up.reshape(out, RANK) @ down.reshape(RANK, -1)
            added[network, name] = (alpha / RANK) * change.reshape(weight.shape)
    return found, added


def kohya(pairs) -> dict[str, torch.Tensor]:
    tensors = {}
    for (network, name), (down, up) in pairs.items():
        stem = f"lora_{network}_" + ("text_model_" if network == "te" else "") + name.replace(".", "_")
        tensors |= {
            f"{stem}.lora_down.weight": down,
            f"{stem}.lora_up.weight": up,
            f"{stem}.alpha": torch.tensor(ALPHA),
        }
    return tensors


def peft(pairs) -> dict[str, torch.Tensor]:
    tensors = {}
    for (network, name), (down, up) in pairs.items():
        stem = {"unet": f"unet.{name}", "te": f"text_encoder.text_model.{name}"}[network]
        tensors |= {f"{stem}.lora_A.weight": down, f"{stem}.lora_B.weight": up, f"{stem}.alpha": torch.tensor(ALPHA)}
    return tensors


def diffusers(pairs) -> dict[str, torch.Tensor]:
    tensors = {}
    for (network, name), (down, up) in pairs.items():
        stem = f"unet.{name}.lora" if network == "unet" else f"text_encoder.text_model.{name}.lora_linear_layer"
        tensors |= {f"{stem}.down.weight": down, f"{stem}.up.weight": up}
        tensors[f"{stem.rsplit('.', 1)[0]}.alpha"] = torch.tensor(ALPHA)
    return tensors


@pytest.fixture(scope="module")
def base(small_model):
    return load_base(small_model)


def weights(base) -> dict[str, torch.Tensor]:
    return {
        f"{network}.{name}": value.clone()
        for network, module in (("unet", base.unet), ("te", base.text_encoder))
        for name, value in module.state_dict().items()
    }


@pytest.mark.parametrize("write", [kohya, peft, diffusers])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_every_form_adds_what_the_definition_says(write, suffix, base, tmp_path):
    pairs, added = matrices(base)
    path = tmp_path / f"style{suffix}"
    save_file(write(pairs), path) if suffix == ".safetensors" else torch.save(write(pairs), path)
    before = weights(base)
    adapters = Adapters(base)
    adapters.use([(path, 0.5)])
    after = weights(base)
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == {f"{network}.{name}.weight" for network, name in added}
    for (network, name), change in added.items():
        key = f"{network}.{name}.weight"
        assert torch.allclose(after[key], before[key] + 0.5 * change, atol=1e-6)
    adapters.use([])
    assert all(torch.equal(value, before[name]) for name, value in weights(base).items())


def test_several_at_once_and_the_old_form_of_diffusers(base, tmp_path):
    pairs, added = matrices(base)
    layer = "down_blocks.1.attentions.0.transformer_blocks.0.attn2"
    (down, up), change = pairs["unet", f"{layer}.to_out.0"], added["unet", f"{layer}.to_out.0"]
    old = {f"unet.{layer}.processor.to_out_lora.{role}.weight": half for role, half in (("down", down), ("up", up))}
    save_file(old, tmp_path / "old.safetensors")
    save_file(kohya(pairs), tmp_path / "new.safetensors")
    before = weights(base)
    adapters = Adapters(base)
    adapters.use([(tmp_path / "old.safetensors", 1.0), (tmp_path / "new.safetensors", -0.25)])
    key = f"unet.{layer}.to_out.0.weight"
    # Without an alpha the scale is 1.
    assert torch.allclose(weights(base)[key], before[key] + change * RANK / ALPHA - 0.25 * change, atol=1e-6)
    adapters.use([])
    assert all(torch.equal(value, before[name]) for name, value in weights(base).items())


def test_a_file_that_came_anew_under_its_name_is_read_again(base, tmp_path):
    pairs, _ = matrices(base)
    path = tmp_path / "style.safetensors"
    adapters = Adapters(base)
    found = []
    for factor in (1.0, 3.0):
        save_file({name: tensor * factor for name, tensor in kohya(pairs).items()}, tmp_path / "new")
        (tmp_path / "new").replace(path)
        adapters.use([(path, 1.0)])
        found.append(weights(base))
    adapters.use([])
    assert any(not torch.equal(value, found[1][name]) for name, value in found[0].items())


def test_what_does_not_fit_is_refused_and_leaves_no_trace(base, tmp_path):
    pairs, _ = matrices(base)
    good = kohya(pairs)
    before = weights(base)
    adapters = Adapters(base)
    name = next(iter(good)).rsplit(".", 2)[0]
    cases = {
        "another kind of model": {**good, f"{name}.lora_up.weight": torch.zeros(7, RANK)},
        "another kind": {**good, "lora_unet_nowhere.lora_up.weight": torch.zeros(2, 1),
                         "lora_unet_nowhere.lora_down.weight": torch.zeros(1, 2)},
        "do not belong together": {key: value for key, value in good.items() if key != f"{name}.lora_up.weight"},
        "made for another": {"lora_te2_x.lora_up.weight": torch.zeros(2, 1),
                             "lora_te2_x.lora_down.weight": torch.zeros(1, 2)},
        "matrices do not belong": {"lora_unet_x.hada_w1_a": torch.zeros(2, 1)},
        "was made for another": {**good, f"{name}.dora_scale": torch.zeros(2)},
        "not a LoRA": {"model.diffusion_model.out.2.weight": torch.zeros(2)},
    }  # fmt: skip
    for number, (words, tensors) in enumerate(cases.items()):
        path = tmp_path / f"bad{number}.safetensors"
        save_file(tensors, path)
        with pytest.raises(ModelError, match=words):
            adapters.use([(path, 1.0)])
        assert all(torch.equal(value, before[key]) for key, value in weights(base).items()), words


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "a1111.pt",
            {"string_to_token": {"*": 265}, "string_to_param": {"*": torch.ones(3, 32)}, "name": "x", "step": 5},
        ),
        ("plain.bin", {"<cat>": torch.ones(3, 32)}),
        ("one.bin", {"<cat>": torch.ones(32)}),
        ("emb.safetensors", {"emb_params": torch.ones(3, 32)}),
    ],
)
def test_inversions_in_every_form(name, content, tmp_path):
    path = tmp_path / name
    save_file(content, path) if name.endswith(".safetensors") else torch.save(content, path)
    assert torch.equal(load_embedding(path), torch.ones(1 if name == "one.bin" else 3, 32))


def test_what_is_no_inversion_is_refused(tmp_path):
    for number, tensors in enumerate(({"a": torch.ones(2), "b": torch.ones(2)}, {"clip_g": torch.ones(2, 3)})):
        save_file(tensors, tmp_path / f"{number}.safetensors")
        with pytest.raises(ModelError):
            load_embedding(tmp_path / f"{number}.safetensors")


def test_autoencoders_by_themselves(checkpoints, hints, small_model, tmp_path):
    from safetensors.torch import load_file

    from controlnet_core.models.loading import load_base

    whole = load_file(checkpoints["safetensors"])
    own = load_base(checkpoints["safetensors"], hints=hints).vae
    inner = {name.removeprefix("first_stage_model."): t for name, t in whole.items() if name.startswith("first_stage")}
    save_file(inner, tmp_path / "bare.safetensors")
    save_file(own.state_dict(), tmp_path / "named.safetensors")
    for file in ("bare.safetensors", "named.safetensors"):
        loaded = load_vae(tmp_path / file, hints=hints)
        assert all(torch.equal(value, own.state_dict()[key]) for key, value in loaded.state_dict().items())
    assert load_vae(small_model / "vae").config["latent_channels"] == 4
    save_file({"x": torch.zeros(2)}, tmp_path / "no.safetensors")
    with pytest.raises(ModelError, match="not an autoencoder"):
        load_vae(tmp_path / "no.safetensors")


@pytest.fixture(scope="module")
def engine(small_model, tmp_path_factory):
    folder: Path = tmp_path_factory.mktemp("models")
    for name in ("checkpoints", "loras", "embeddings", "vae"):
        (folder / name).mkdir()
    (folder / "checkpoints" / "small").symlink_to(small_model)
    other = save_small_model(tmp_path_factory.mktemp("other") / "kl", seed=9)
    (folder / "vae" / "other").symlink_to(other / "vae")
    wrong = save_small_model(tmp_path_factory.mktemp("other") / "dc", "dc")
    (folder / "vae" / "wrong").symlink_to(wrong / "vae")
    pairs, _ = matrices(load_base(small_model))
    save_file(kohya(pairs), folder / "loras" / "Style.safetensors")
    save_file({"emb_params": torch.randn(2, 32)}, folder / "embeddings" / "badhands.safetensors")
    return LocalEngine(Catalog(folder), {}, "cpu")


def run(engine, **settings) -> np.ndarray:
    plain = {"model": "small", "prompt": "a red house", "negative": "sea", "width": 64, "height": 64, "steps": 3}
    return engine.run(Recipe(**{**plain, "guidance": 4.0, **settings}), {}, lambda step: None)[0]


def test_recipes_use_them_and_the_next_run_is_untouched(engine):
    plain = run(engine)
    changes = (
        {"loras": (Lora(key="style"),)},
        {"loras": (Lora(key="style", weight=0.3),)},
        {"embeddings": ("badhands",), "negative": "sea badhands"},
        {"vae": "other"},
        {"variation_strength": 0.2, "variation_seed": 4},
        {"prompt": "a (red:1.6) house"},
    )
    seen = [plain]
    for change in changes:
        made = run(engine, **change)
        assert all(not np.array_equal(made, other) for other in seen), change
        assert np.array_equal(made, run(engine, **change)), change
        seen.append(made)
    assert np.array_equal(plain, run(engine))
    assert np.array_equal(plain, run(engine, loras=(Lora(key="style", weight=0),)))


def test_a_failed_lora_leaves_the_engine_usable(engine):
    plain = run(engine)
    with pytest.raises(ModelMissing, match="no model called"):
        run(engine, loras=(Lora(key="style"), Lora(key="nothing")))
    with pytest.raises(RecipeError, match="is not a LoRA"):
        run(engine, loras=(Lora(key="other"),))
    with pytest.raises(RecipeError, match="is not a textual inversion"):
        run(engine, embeddings=("style",))
    with pytest.raises(RecipeError, match="is not a VAE"):
        run(engine, vae="small")
    with pytest.raises(RecipeError, match="does not fit"):
        run(engine, vae="wrong")
    assert np.array_equal(plain, run(engine))


def test_hostile_extras_are_never_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    class Call:
        def __reduce__(self):
            return (Path.touch, (Path("executed"),))

    for content in ({"string_to_param": Call()}, {"x.lora_up.weight": Call()}):
        torch.save(content, tmp_path / "hostile.pt")
        for load in (load_lora, load_embedding, load_vae):
            with pytest.raises(ModelError):
                load(tmp_path / "hostile.pt")
    assert not (tmp_path / "executed").exists()

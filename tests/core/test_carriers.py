"""What carries a condition beside plain ControlNets: union networks and T2I-Adapters, the same as diffusers' own pipelines."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from controlnet_core.checkpoints.probe import check
from controlnet_core.domain.control import fed
from controlnet_core.domain.errors import ModelError, RecipeError
from controlnet_core.engine import LocalEngine
from controlnet_core.models import fit
from controlnet_core.models.catalog import Catalog, shipped, union_types
from controlnet_core.models.diffusers_setup import ControlNetUnionModel, T2IAdapter
from controlnet_core.models.loading import load_network
from tests.core.small import control_type, save_small_model
from tests.core.small_xl import WIDTHS, save_small_xl
from tests.core.test_sdxl import LEFT, LEVELS, OTHER, PICTURE, digest, far, recipe, run, tensor, theirs, unit

KEYS = ("pose", "depth", "scribble", "canny", "inpaint", "tile")
CONTROLS = {key: control_type(key) for key in KEYS}
DEPTH, CANNY = 1, 3


def save_union(folder: Path, unet, types: int) -> Path:
    torch.manual_seed(types)
    same = ("block_out_channels", "layers_per_block", "cross_attention_dim", "use_linear_projection", "attention_head_dim",
            "transformer_layers_per_block", "addition_embed_type", "addition_time_embed_dim", "down_block_types",
            "projection_class_embeddings_input_dim")  # fmt: skip
    network = ControlNetUnionModel(
        **{key: unet.config[key] for key in same}, conditioning_embedding_out_channels=(4, 4, 4, 4),
        num_control_type=types, num_trans_channel=WIDTHS[0], num_trans_head=8, num_proj_channel=WIDTHS[0],
    )  # fmt: skip
    for layer in (*network.controlnet_down_blocks, network.controlnet_mid_block):
        torch.nn.init.normal_(layer.weight, std=0.3)
    torch.nn.init.normal_(network.controlnet_cond_embedding.conv_out.weight, std=0.5)
    torch.nn.init.normal_(network.spatial_ch_projs.weight, std=0.5)
    torch.nn.init.normal_(network.task_embedding, std=3.0)
    network.save_pretrained(folder)
    return folder


def save_adapter(folder: Path, kind: str, channels: list[int], *, pickled: bool = False, **settings) -> Path:
    torch.manual_seed(3)
    network = T2IAdapter(channels=channels, num_res_blocks=2, adapter_type=kind, **settings)
    for parameter in network.parameters():  # random weights say little
        parameter.data *= 2.5
    network.save_pretrained(folder, safe_serialization=not pickled)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    from diffusers import UNet2DConditionModel

    root = tmp_path_factory.mktemp("carriers")
    base = save_small_xl(root / "checkpoints" / "xl")
    (root / "controlnet").mkdir()
    (root / "controlnet" / "plain").symlink_to(base / "controlnet")
    unet = UNet2DConditionModel.from_pretrained(base / "unet")
    for types in (6, 8, 3):
        save_union(root / "controlnet" / f"union{types}", unet, types)
    weights = root / "controlnet" / "union8" / "diffusion_pytorch_model.safetensors"
    save_file(load_file(weights), root / "controlnet" / "promax.safetensors")
    save_adapter(root / "controlnet" / "adapter", "full_adapter_xl", [32, 64, 64, 64], downscale_factor=16)
    save_adapter(root / "controlnet" / "grey", "full_adapter_xl", [32, 64, 64, 64], downscale_factor=16, in_channels=1)
    save_small_model(root / "checkpoints" / "small", text_width=768, seed=5)
    # As in SD 1.5, attention comes first and the last level has none.
    torch.manual_seed(4)
    UNet2DConditionModel(
        block_out_channels=(16, 32), layers_per_block=1, cross_attention_dim=768, attention_head_dim=2, norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ).save_pretrained(root / "checkpoints" / "small" / "unet")  # fmt: skip
    save_adapter(root / "controlnet" / "old", "full_adapter", [16, 32])
    save_adapter(root / "controlnet" / "palette", "light_adapter", [16, 32], pickled=True)
    (root / "controlnet" / "palette" / "card.toml").write_text('controls = ["canny"]\nfeed = { canny = "blocks" }\n')
    return root


@pytest.fixture(scope="module")
def engine(models) -> LocalEngine:
    return LocalEngine(Catalog(models), CONTROLS, "cpu")


def original(name: str) -> str:
    """A tensor of a full T2I-Adapter under the name that its makers give it."""
    name = name.removeprefix("adapter.")
    name = re.sub(r"^body\.(\d+)\.resnets\.(\d+)\.", lambda f: f"body.{2 * int(f[1]) + int(f[2])}.", name)
    return re.sub(r"^body\.(\d+)\.in_conv", lambda f: f"body.{2 * int(f[1])}.in_conv", name)


def test_they_are_known_by_what_shows(models):
    catalog = Catalog(models)
    sentences = {
        "union6": "A ControlNet for 6 kinds of condition for SDXL.",
        "promax": "A ControlNet for 8 kinds of condition for SDXL, full precision.",
        "adapter": "A T2I-Adapter for SDXL.",
        "old": "A T2I-Adapter for SD 1.5.",
    }
    for name, sentence in sentences.items():
        card = catalog.card(name)
        assert (card.kind, card.trouble) == ("controlnet", "")
        assert catalog.verdict(card).sentence == sentence
    assert (catalog.card("union6").network, catalog.card("union6").types["canny"]) == ("union", CANNY)
    assert "tile" not in catalog.card("union6").controls
    assert (catalog.card("promax").types["inpaint"], catalog.card("promax").feed) == (7, {"inpaint": "black"})
    assert (catalog.card("adapter").network, catalog.card("adapter").controls) == ("t2i", ())


def test_a_union_of_an_unknown_number_of_kinds_has_to_be_told(models):
    place = models / "controlnet" / "union3" / "card.toml"
    place.unlink(missing_ok=True)
    assert "which ones is not known" in Catalog(models).card("union3").trouble
    place.write_text("types = { canny = 3 }\n")
    assert "numbers below 3" in Catalog(models).card("union3").trouble
    place.write_text("types = { canny = 0, depth = 2 }\n")
    card = Catalog(models).card("union3")
    assert (card.trouble, card.types, card.controls) == ("", {"canny": 0, "depth": 2}, ("canny", "depth"))
    assert union_types(3) == {}


def union(folder, name: str, pictures, modes, **more):
    from diffusers.models.controlnets.multicontrolnet_union import MultiControlNetUnionModel

    network = ControlNetUnionModel.from_pretrained(folder.parents[1] / "controlnet" / name)
    if len(pictures) > 1:
        network = MultiControlNetUnionModel([network] * len(pictures))
    return theirs(
        folder,
        "StableDiffusionXLControlNetUnionPipeline",
        network=network,
        control_image=pictures,
        control_mode=modes,
        **more,
    )


@pytest.mark.parametrize("name", ["union8", "promax"])
def test_a_union_network_is_told_the_condition_as_in_diffusers(name, engine, models):
    folder = models / "checkpoints" / "xl"
    scale = {"controlnet_conditioning_scale": 0.8, "control_guidance_end": 0.7}
    expected = union(folder, "union8", [tensor(PICTURE)], [CANNY], **scale)
    ours = run(engine, controls=(unit(control="canny", network=name, end=0.7),))[0]
    assert far(ours, expected) <= LEVELS
    other = run(engine, controls=(unit(control="depth", network=name, end=0.7),))[0]
    assert far(ours.astype(float), other) > LEVELS, "the same picture as another condition is another picture"


def test_two_conditions_by_one_union_network_as_in_diffusers(engine, models):
    folder = models / "checkpoints" / "xl"
    expected = union(
        folder, "union8", [tensor(PICTURE), tensor(OTHER)], [CANNY, DEPTH], controlnet_conditioning_scale=[0.8, 0.5],
        control_guidance_start=[0.0, 0.3], control_guidance_end=[0.7, 1.0],
    )  # fmt: skip
    controls = (
        unit(control="canny", network="union8", end=0.7),
        unit(OTHER, "depth", network="union8", weight=0.5, start=0.3),
    )
    assert far(run(engine, controls=controls)[0], expected) <= LEVELS


def test_an_adapter_as_in_diffusers(engine, models):
    folder = models / "checkpoints" / "xl"
    adapter = T2IAdapter.from_pretrained(models / "controlnet" / "adapter")
    given = {"image": tensor(PICTURE), "adapter_conditioning_scale": 0.8}
    kind = "StableDiffusionXLAdapterPipeline"
    whole = theirs(folder, kind, adapter=adapter, **given)
    ours = run(engine, controls=(unit(control="canny", network="adapter"),))[0]
    assert far(ours, whole) <= LEVELS
    assert far(run(engine)[0].astype(float), ours) > 10
    part = theirs(folder, kind, adapter=adapter, adapter_conditioning_factor=0.7, **given)
    assert far(run(engine, controls=(unit(control="canny", network="adapter", end=0.7),))[0], part) <= LEVELS


def test_an_adapter_runs_once_and_beside_a_controlnet(engine, models, monkeypatch):
    calls = []
    plain = T2IAdapter.forward
    monkeypatch.setattr(T2IAdapter, "forward", lambda self, x: calls.append(1) or plain(self, x))
    engine.make_room()  # what it found for a run before may be known
    adapter, net = unit(control="canny", network="adapter"), unit(OTHER, "depth", network="plain")
    both = run(engine, controls=(adapter, net), steps=4)[0]
    assert len(calls) == 1
    for alone in (adapter, net):
        assert far(run(engine, controls=(alone,), steps=4)[0].astype(float), both) > LEVELS


def test_adapters_follow_mask_mode_and_grey(engine):
    def made(**settings):
        return run(engine, controls=(unit(control="canny", network="adapter", **settings),))[0].astype(float)

    whole, plain = made(), run(engine)[0].astype(float)
    for settings in ({"mask": digest(LEFT)}, {"mode": "prompt"}, {"mode": "control"}):
        assert far(made(**settings), whole) > 1
        assert far(made(**settings), plain) > 1
    assert np.array_equal(made(weight=0.0), plain)
    assert far(run(engine, controls=(unit(control="canny", network="grey"),))[0].astype(float), plain) > LEVELS


def adapted(models: Path, name: str, picture: np.ndarray, side: int) -> np.ndarray:
    """What diffusers' pipeline of SD 1.5 makes of a control picture by a T2I-Adapter, 0..255."""
    import diffusers

    folder = models / "checkpoints" / "small"
    adapter = T2IAdapter.from_pretrained(models / "controlnet" / name)
    pipeline = diffusers.StableDiffusionAdapterPipeline.from_pretrained(folder, adapter=adapter, safety_checker=None)
    pipeline.scheduler = diffusers.DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    noise = torch.randn(1, 4, side // 8, side // 8, generator=torch.Generator().manual_seed(11))
    return pipeline(
        "a red house", negative_prompt="sea", image=tensor(picture), guidance_scale=4.0, num_inference_steps=3, width=side,
        height=side, latents=noise, adapter_conditioning_scale=0.8, output_type="np",
    ).images[0] * 255  # fmt: skip


def test_an_adapter_of_sd15_as_in_diffusers(engine, models):
    ours = run(engine, model="small", controls=(unit(control="canny", network="old"),))[0]
    assert far(ours, adapted(models, "old", PICTURE, 64)) <= LEVELS


def test_a_palette_adapter_sees_one_colour_for_every_block_as_in_diffusers(engine, models):
    """As TencentARC's colour adapter is published: light, pickled, and fed with squares of 64 px."""
    large = cv2.resize(PICTURE, (128, 128), interpolation=cv2.INTER_LINEAR)
    blocks = np.kron(large.reshape(2, 64, 2, 64, 3).mean(axis=(1, 3)).round(), np.ones((64, 64, 1))).astype(np.uint8)
    assert np.array_equal(fed(large, "blocks"), blocks)
    assert (
        fed(large[:, :70], "blocks").shape == (128, 70, 3)
        and fed(large[:10, :10], "blocks").std(axis=(0, 1)).max() == 0
    )
    ours = run(engine, model="small", width=128, height=128, controls=(unit(control="canny", network="palette"),))[0]
    assert far(ours, adapted(models, "palette", blocks, 128)) <= LEVELS
    assert far(ours.astype(float), adapted(models, "palette", large, 128)) > LEVELS


@pytest.mark.parametrize("name", ["adapter", "old", "light"])
def test_the_makers_names_are_read_too(name, models, tmp_path):
    folder = models / "controlnet" / name
    if name == "light":
        folder = save_adapter(tmp_path / "light", "light_adapter", [16, 32, 32])
    whole = load_file(folder / "diffusion_pytorch_model.safetensors")
    renamed = {original(key): value for key, value in whole.items()}
    if name == "light":
        renamed = {key.removeprefix("adapter.").replace(".resnets.", ".body."): value for key, value in whole.items()}
    save_file(renamed, tmp_path / "file.safetensors")
    assert check(tmp_path / "file.safetensors").network == "t2i"
    loaded, own = load_network(tmp_path / "file.safetensors"), load_network(folder)
    for key in ("in_channels", "downscale_factor", "adapter_type", "num_res_blocks"):
        assert loaded.config[key] == own.config[key]
    assert list(loaded.config["channels"]) == list(own.config["channels"])
    assert all(torch.equal(value, own.state_dict()[key]) for key, value in loaded.state_dict().items())


def test_what_does_not_go_together_is_refused_before_it_is_queued(engine, models):
    catalog = Catalog(models)
    with pytest.raises(RecipeError, match=r"union6 does not read tile: it knows pose, depth, ") as caught:
        fit.check(recipe(controls=(unit(control="tile", network="union6"),)), catalog)
    assert caught.value.hint.startswith("Choose another ControlNet")
    with pytest.raises(RecipeError, match=r"old is a ControlNet for SD 1\.5, and xl is a model of SDXL"):
        fit.check(recipe(controls=(unit(control="canny", network="old"),)), catalog)
    with pytest.raises(RecipeError, match=r"adapter is a ControlNet for SDXL, and small is a model of SD 1\.5"):
        fit.check(recipe(model="small", controls=(unit(control="canny", network="adapter"),)), catalog)


def test_adapters_in_the_wrong_folder_serve_as_what_they_are(models, tmp_path):
    for folder in ("checkpoints", "loras", "vae"):
        (tmp_path / folder).mkdir()
        weights = models / "controlnet" / "adapter" / "diffusion_pytorch_model.safetensors"
        save_file(load_file(weights), tmp_path / folder / f"{folder}.safetensors")
        card = Catalog(tmp_path).card(folder)
        assert (card.kind, card.network, card.family) == ("controlnet", "t2i", "sdxl")


def test_a_damaged_union_or_adapter_is_refused(models, tmp_path):
    for name, cut in (
        ("union8", "control_add_embedding.linear_1.weight"),
        ("adapter", "adapter.body.1.in_conv.weight"),
    ):
        whole = load_file(models / "controlnet" / name / "diffusion_pytorch_model.safetensors")
        save_file({key: value for key, value in whole.items() if key != cut}, tmp_path / "cut.safetensors")
        with pytest.raises(ModelError):
            load_network(tmp_path / "cut.safetensors")


def test_holes_are_black_to_a_union_network():
    picture = np.full((2, 2, 4), 200, np.uint8)
    picture[0, 0, 3] = 0
    seen = fed(picture, "black")
    assert seen.shape == (2, 2, 3)
    assert seen[0, 0].tolist() == [0, 0, 0]
    assert seen[1, 1].tolist() == [200, 200, 200]


def test_cards_of_union_networks_say_how_each_condition_is_told():
    cards = [card for card in shipped().values() if card.network == "union"]
    for card in cards:
        assert set(card.types) == set(card.controls)
        assert json.loads(card.model_dump_json())["types"] == card.types

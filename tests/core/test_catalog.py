"""The catalog: shipped cards are sound, own files appear by themselves, missing models say where to get them."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from controlnet_core.domain.errors import DownloadError, InputError, ModelError, ModelMissing, RecipeError
from controlnet_core.domain.recipe import Lora, Recipe
from controlnet_core.models import fit, hub
from controlnet_core.models.catalog import CARDS, TOKENIZER, Catalog, ModelCard, shipped

CROSS = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"


def base_tensors(width):
    """What the table of contents of a base model is known by."""
    parts = ("first_stage_model.decoder.conv_in.weight", "cond_stage_model.transformer.x.weight")
    return {CROSS: torch.zeros(8, width), **{name: torch.zeros(1) for name in parts}}


def test_shipped_cards_are_sound():
    cards = shipped()
    assert {"paperworld", "paperworld-control", "sd15"} <= cards.keys()
    for control in ("canny", "lines", "softedge", "scribble", "pose", "seg", "depth", "normal"):
        for version in ("v10", "v11"):
            assert cards[f"sd15-{control}-{version}"].family == "sd15"
    assert list(CARDS.glob("*.toml"))
    for card in cards.values():
        assert card.hub or card.family == "paperworld"
        assert card.licence
        assert not card.path.startswith(("/", ".."))


def test_a_missing_model_says_where_to_get_it_and_where_to_put_it(tmp_path):
    catalog = Catalog(tmp_path)
    card = catalog.card("sd15-canny-v11")
    assert not catalog.installed(card)
    with pytest.raises(ModelMissing) as caught:
        catalog.locate(card)
    assert "lllyasviel/control_v11p_sd15_canny" in caught.value.hint
    assert str(tmp_path / "controlnet") in caught.value.hint
    with pytest.raises(ModelMissing, match="no model called"):
        catalog.card("nothing")


def test_known_files_are_found_under_any_suffix_and_not_twice(tmp_path):
    (tmp_path / "controlnet").mkdir()
    catalog = Catalog(tmp_path)
    card = catalog.card("sd15-canny-v11")
    file = tmp_path / "controlnet" / "control_v11p_sd15_canny.pth"
    file.write_bytes(b"x")
    assert catalog.locate(card) == file
    assert not [own for own in catalog.cards() if own.own]


def test_own_files_appear_without_a_restart_with_their_family(tmp_path):
    catalog = Catalog(tmp_path)
    assert catalog.bases() == []
    (tmp_path / "checkpoints").mkdir()
    for width, family in ((768, "sd15"), (1024, "sd21"), (64, "")):
        save_file(base_tensors(width), tmp_path / "checkpoints" / f"My Model, {width}.safetensors")
        card = catalog.card(f"my-model-{width}")
        assert (card.kind, card.family, card.own, card.title) == ("base", family, True, f"My Model, {width}")
        assert catalog.locate(card).is_file()
    assert len(catalog.bases()) == 3
    (tmp_path / "checkpoints" / "my-model-64.ckpt").write_bytes(b"\x80\x02")
    assert catalog.card("my-model-64-2").path == "checkpoints/my-model-64.ckpt"
    (tmp_path / "checkpoints" / "notes.txt").write_text("no model")
    assert len(catalog.bases()) == 4


@pytest.mark.parametrize("suffix", [".SAFETENSORS", ".Safetensors"])
def test_a_suffix_in_capitals_is_the_same(suffix, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "controlnet").mkdir()
    save_file(base_tensors(768), tmp_path / "checkpoints" / f"mine{suffix}")
    (tmp_path / "checkpoints" / "old.CKPT").write_bytes(b"x")
    (tmp_path / "controlnet" / "control_v11p_sd15_canny.PTH").write_bytes(b"x")
    catalog = Catalog(tmp_path)
    card = catalog.card("mine")
    assert (card.kind, card.family, card.trouble, card.title) == ("base", "sd15", "", "mine")
    assert catalog.card("old").kind == "base"
    assert catalog.installed(catalog.card("sd15-canny-v11"))
    assert len([own for own in catalog.cards() if own.own]) == 2
    (tmp_path / "checkpoints" / f"cut{suffix}").write_bytes(b"\xff" * 100)
    assert catalog.card("cut").trouble


@pytest.mark.parametrize(
    "address",
    [
        "https://civitai.com/models/4384/dreamshaper",
        "civitai.com/models/4384",
        "https://github.com/lllyasviel/ControlNet",
        "https://www.modelscope.cn/models/AI-ModelScope/stable-diffusion-v1-5",
    ],
)
def test_addresses_of_other_hubs_are_refused_with_what_to_do(address):
    with pytest.raises(DownloadError, match="is not the Hugging Face hub") as caught:
        hub.describe(address)
    assert "models folder" in caught.value.hint


CONTROLNET = {
    "input_hint_block.0.weight": torch.zeros(16, 3, 3, 3),
    "zero_convs.0.0.weight": torch.zeros(4, 4, 1, 1),
    "input_blocks.0.0.weight": torch.zeros(4, 4, 3, 3),
    "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": torch.zeros(4, 768),
}


def test_controlnets_without_a_word_of_their_own_are_told_apart(tmp_path):
    """Downloaded one by one, all files are called diffusion_pytorch_model; the folder says which is which, and what it reads."""
    folders = (
        "sd-canny",
        "my_depth_v2",
        "from a friend/openpose",
        "mine/first",
        "mine/second",
        "a/canny-depth",
        "b/canny-depth",
    )
    for folder in folders:
        (tmp_path / "controlnet" / folder).mkdir(parents=True)
        save_file(CONTROLNET, tmp_path / "controlnet" / folder / "diffusion_pytorch_model.fp16.safetensors")
    save_file(CONTROLNET, tmp_path / "controlnet" / "my-canny-fp16.safetensors")
    catalog = Catalog(tmp_path)
    own = {card.title: card for card in catalog.cards() if card.own}
    assert {title: card.controls for title, card in own.items()} == {
        "sd-canny": ("canny",), "my_depth_v2": ("depth",), "openpose": ("pose",), "first": (), "second": (),
        "canny-depth (a/canny-depth/diffusion_pytorch_model.fp16.safetensors)": (),
        "canny-depth (b/canny-depth/diffusion_pytorch_model.fp16.safetensors)": (),
        "my-canny-fp16": ("canny",),
    }  # fmt: skip
    assert len({card.id for card in own.values()}) == 8
    served = {card.title for card in catalog.networks("depth", "sd15") if card.own and card.controls}
    assert served == {"my_depth_v2"}


def test_own_files_lie_in_folders_too_and_say_what_they_are(tmp_path):
    """A ControlNet among checkpoints is a ControlNet; half a model says what it lacks."""
    deep = tmp_path / "checkpoints" / "from a friend" / "2024"
    deep.mkdir(parents=True)
    hint = {"control_model.input_hint_block.0.weight": torch.zeros(1)}
    save_file(
        {CROSS.replace("model.diffusion_model", "control_model"): torch.zeros(8, 768), **hint}, deep / "a.safetensors"
    )
    save_file({CROSS: torch.zeros(8, 2048)}, deep / "b.safetensors")
    catalog = Catalog(tmp_path)
    control, large = catalog.card("a"), catalog.card("b")
    assert (control.kind, control.family, control.trouble) == ("controlnet", "sd15", "")
    assert (large.kind, large.family) == ("base", "sdxl")
    assert "without autoencoder, first text encoder and second text encoder" in large.trouble
    assert catalog.bases() == []


@pytest.mark.parametrize(
    ("name", "metadata", "predicts"),
    [
        ("noob-XL-Vpred-1.0", {}, "v_prediction"), ("mine_v_pred", {}, "v_prediction"), ("mine-v2", {}, None),
        ("mine", {"modelspec.prediction_type": "v"}, "v_prediction"),
        ("vpred-no-more", {"modelspec.prediction_type": "epsilon"}, "epsilon"),
        ("mine", {"modelspec.prediction_type": "?"}, None),
    ],
)  # fmt: skip
def test_a_model_of_velocities_without_the_mark_is_known_by_its_name_or_metadata(name, metadata, predicts, tmp_path):
    path = tmp_path / "checkpoints" / f"{name}.safetensors"
    path.parent.mkdir()
    save_file(base_tensors(768), path, metadata)
    catalog = Catalog(tmp_path)
    (card,) = [card for card in catalog.cards() if card.own]
    assert card.prediction == predicts
    assert catalog.set_prediction(card, "sample").prediction == "sample"
    assert catalog.set_prediction(card, None).prediction == predicts


def test_a_changed_file_is_looked_at_again(tmp_path):
    catalog, path = Catalog(tmp_path), tmp_path / "checkpoints" / "a.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"\xff" * 100)
    assert catalog.card("a").trouble
    save_file(base_tensors(768), path)
    assert not catalog.card("a").trouble


def test_added_cards_stay_and_get_free_ids(tmp_path):
    catalog = Catalog(tmp_path)
    card = ModelCard(id="sd15", title="Mine", kind="base", path="checkpoints/mine", hub="me/mine")
    kept = catalog.add(card)
    assert kept.id == "sd15-2"
    again = Catalog(tmp_path)
    assert again.card("sd15-2") == kept
    assert again.add(card) == kept, "the same repository twice is one card"
    assert again.added(kept)
    again.forget(kept)
    assert not again.added(kept)
    with pytest.raises(InputError):
        catalog.add(card.model_copy(update={"path": "../elsewhere"}))
    (tmp_path / "cards").mkdir(exist_ok=True)
    (tmp_path / "cards" / "bad.json").write_text("{")
    assert again.cards()


def test_damaged_own_files_do_not_break_the_list(tmp_path):
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "broken.safetensors").write_bytes(b"\xff" * 100)
    (tmp_path / "vae" / "folder").mkdir()
    (tmp_path / "vae" / "folder" / "config.json").write_text("[")
    (tmp_path / "vae" / "moved.safetensors").symlink_to(tmp_path / "elsewhere.safetensors")
    (tmp_path / "vae" / "page.ckpt").write_bytes(b"<!DOCTYPE html>")
    (tmp_path / "vae" / "packed.gguf").write_bytes(b"GGUF")
    troubles = {card.id: card.trouble for card in Catalog(tmp_path).cards() if card.own}
    assert troubles.keys() == {"broken", "folder", "page", "packed"}
    assert all(troubles.values())
    assert troubles["packed"].startswith("packed.gguf is a GGUF file")


def test_files_that_cannot_be_used_are_refused_before_they_are_queued(tmp_path):
    for folder in ("checkpoints", "loras"):
        (tmp_path / folder).mkdir()
    whole = base_tensors(768)
    save_file(whole, tmp_path / "checkpoints" / "mine.safetensors")
    part = {name: value for name, value in whole.items() if name.startswith("model.")}
    save_file(part, tmp_path / "checkpoints" / "half.safetensors")
    save_file({"lora_unet_x.oft_blocks": torch.zeros(1)}, tmp_path / "loras" / "oft.safetensors")
    for model, loras, words in (("half", (), "without autoencoder"), ("mine", (Lora(key="oft"),), "an OFT")):
        with pytest.raises(ModelError, match=words):
            fit.check(Recipe(model=model, loras=loras, width=64, height=64), Catalog(tmp_path))
    fit.check(Recipe(model="mine", width=64, height=64), Catalog(tmp_path))


def test_the_catalog_needs_no_torch():
    code = "import sys, controlnet_core.models.catalog, controlnet_core.domain.resize; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_single_file_lacks_its_words_until_somebody_brings_them(tmp_path):
    """The vocabulary has a card of its own; a folder of the same family lends its words."""
    catalog = Catalog(tmp_path)
    words = catalog.card(TOKENIZER)
    (tmp_path / "checkpoints").mkdir()
    save_file(base_tensors(768), tmp_path / "checkpoints" / "mine.safetensors")
    assert catalog.lacks(catalog.card("mine")) == words
    with pytest.raises(ModelMissing, match="vocabulary of CLIP") as caught:
        catalog.locate(words)
    assert "studio models download clip-tokenizer" in caught.value.hint
    lent = tmp_path / "checkpoints" / "folder" / "tokenizer"
    lent.mkdir(parents=True)
    (lent / "vocab.json").write_text("{}")
    (lent / "merges.txt").write_text("")
    assert catalog.locate(words) == lent
    assert catalog.lacks(catalog.card("mine")) is None
    (tmp_path / "tokenizers" / "clip").mkdir(parents=True)
    assert catalog.locate(words) == tmp_path / "tokenizers" / "clip"


def test_the_words_of_the_card_are_a_tokenizer(tmp_path, monkeypatch):
    """What the card fetches, in the form that the hub has it, is read by the loader: one vocabulary for single files."""
    from controlnet_core.models.download import fetch
    from controlnet_core.models.loading import load_tokenizer
    from tests.core.hub_server import Hub, serve

    card = shipped()[TOKENIZER]
    letters = [f"{letter}{end}" for letter in "abcdefghijklmnopqrstuvwxyz," for end in ("", "</w>")]
    tokens = [*letters, "ca", "cat</w>", "<|startoftext|>", "<|endoftext|>"]
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    files = {
        "vocab.json": json.dumps({token: number for number, token in enumerate(tokens)}).encode(),
        "merges.txt": b"#version: 0.2\nc a\nca t</w>\n",
        "tokenizer_config.json": json.dumps({**special, "pad_token": "<|endoftext|>", "model_max_length": 77}).encode(),
        "special_tokens_map.json": json.dumps({**special, "pad_token": "<|endoftext|>"}).encode(),
        "config.json": b'{"model_type": "clip", "architectures": ["CLIPModel"]}',
    }
    hub = Hub({card.hub: files})
    server = serve(hub)
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    try:
        fetch(card, tmp_path, free_min_bytes=0)
    finally:
        server.shutdown()
        server.server_close()
    tokenizer = load_tokenizer(Catalog(tmp_path).locate(card))
    ids = tokenizer("a cat", padding="max_length", max_length=77)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids[:4]) == ["<|startoftext|>", "a</w>", "cat</w>", "<|endoftext|>"]
    assert len(ids) == 77


def control_file(folder, name):
    """A ControlNet's file of SD 1.5's family."""
    tensors = {CROSS.replace("model.diffusion_model", "control_model"): torch.zeros(8, 768)}
    tensors["control_model.input_hint_block.0.weight"] = torch.zeros(1)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / f"{name}.safetensors")


def test_the_first_card_that_names_a_condition_is_its_familys_usual_one(tmp_path):
    catalog = Catalog(tmp_path)
    for control, found in (("canny", "sd15-canny-v11"), ("normal", "sd15-normal-v11"), ("tile", "sd15-tile-v11")):
        assert catalog.network(control, "sd15").id == found
    assert catalog.network("canny", "paperworld").id == "paperworld-control"
    assert catalog.network("tile", "paperworld") is None, "the embedded model never learnt it"
    assert catalog.network("nothing", "sd15") is None
    assert catalog.network("canny", "sd15", "sd15-canny-v10").id == "sd15-canny-v10"
    with pytest.raises(RecipeError, match="not a ControlNet"):
        catalog.network("canny", "sd15", "sd15")
    with pytest.raises(ModelMissing):
        catalog.network("canny", "sd15", "gone")


def test_all_networks_that_may_carry_a_condition_the_known_ones_first(tmp_path):
    catalog = Catalog(tmp_path)
    control_file(tmp_path / "controlnet", "mine")
    control_file(tmp_path / "controlnet", "control_v11p_sd15_canny_fp16")
    names = [card.id for card in catalog.networks("canny", "sd15")]
    assert names == ["sd15-canny-v11", "sd15-canny-v10", "sd15-canny-t2i", "control_v11p_sd15_canny_fp16", "mine"]
    assert "mine" in [card.id for card in catalog.networks("tile", "sd15")], "nobody has said what it reads"
    assert "mine" not in [card.id for card in catalog.networks("canny", "paperworld")]


def test_a_published_file_under_another_name_is_fed_as_the_published_one(tmp_path):
    catalog = Catalog(tmp_path)
    control_file(tmp_path / "controlnet", "control_sd15_normal_pruned")
    control_file(tmp_path / "controlnet", "control_v11e_sd15_shuffle_fp16")
    assert catalog.card("control_sd15_normal_pruned").feed == {"normal": "bgr"}
    shuffle = catalog.card("control_v11e_sd15_shuffle_fp16")
    assert shuffle.controls == ("shuffle",) and shuffle.pooled


def test_a_folders_own_card_says_what_it_reads(tmp_path):
    folder = tmp_path / "controlnet" / "mine"
    control_file(folder, "diffusion_pytorch_model")
    (folder / "config.json").write_text("{}")
    said = {
        'control = "tile"': (("tile",), {}),
        'controls = ["canny", "normal"]\nfeed = { normal = "bgr", canny = "sideways" }': (("canny", "normal"), {"normal": "bgr"}),
        'controls = 7\nfeed = "bgr"': ((), {}),
        "": ((), {}),
    }  # fmt: skip
    for text, (controls, feed) in said.items():
        (folder / "card.toml").write_text(text)
        card = Catalog(tmp_path).card("mine")
        assert (card.controls, card.feed) == (controls, feed), text
    (folder / "card.toml").write_text('control = "tile"\nfamily = "paperworld"')
    assert Catalog(tmp_path).network("tile", "paperworld").id == "mine"


def test_a_card_added_long_ago_still_says_its_condition(tmp_path):
    place = tmp_path / "cards" / "theirs.json"
    place.parent.mkdir()
    place.write_text(
        '{"id": "theirs", "title": "T", "kind": "controlnet", "family": "sd15", "path": "controlnet/t", "hub": "a/t",'
        ' "control": "canny"}'
    )
    card = Catalog(tmp_path).card("theirs")
    assert card.controls == ("canny",)
    assert ModelCard.model_validate_json(card.model_dump_json(exclude_defaults=True)) == card

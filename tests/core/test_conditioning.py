"""Prompts: weights as people write them, any length, inversions by name, skipped layers."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from controlnet_core.diffusion.conditioning import Reading, encode, encode_text, encode_tokens, parts
from controlnet_core.domain.errors import ModelError, RecipeError
from controlnet_core.models.loading import load_base


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("a house", [("a house", 1.0)]),
        ("a (red) house", [("a ", 1.0), ("red", 1.1), (" house", 1.0)]),
        ("((red))", [("red", 1.21)]),
        ("(red:1.4)", [("red", 1.4)]),
        ("(red: .5 )", [("red", 0.5)]),
        ("[red]", [("red", 1 / 1.1)]),
        ("(a (red:2) house:0.5)", [("a ", 0.5), ("red", 1.0), (" house", 0.5)]),
        (r"a \(red\) house", [("a (red) house", 1.0)]),
        (r"back\slash", [(r"back\slash", 1.0)]),
        ("sad :( and (red", [("sad :( and (red", 1.0)]),
        ("red) house]", [("red) house]", 1.0)]),
        ("(red]", [("(red]", 1.0)]),
        ("[red:1.5)", [("[red:1.5)", 1.0)]),
        ("time: 10:30", [("time: 10:30", 1.0)]),
        ("(two words:1.3), three", [("two words", 1.3), (", three", 1.0)]),
    ],
)
def test_weights_in_a_prompt(text, expected):
    found = parts(text)
    assert [words for words, _ in found] == [words for words, _ in expected]
    assert [weight for _, weight in found] == pytest.approx([weight for _, weight in expected])


@given(st.text(alphabet="ab ()[]:\\.19,", max_size=60))
def test_any_text_has_parts_and_plain_ones_stay(text):
    found = parts(text)
    assert all(words for words, _ in found)
    if not set(text) & set("()[]\\"):
        assert "".join(words for words, _ in found) == text


@pytest.fixture(scope="module")
def base(small_model):
    return load_base(small_model)


def one(base, text, **settings):
    return encode(base, [text], Reading(**settings))[0].context


@pytest.mark.parametrize("text", ["(" * 500 + "a cat" + ")" * 500, "a (dog:99999)", "(cat:-11)"])
def test_weights_that_make_no_numbers_are_refused_in_a_sentence(base, text):
    with pytest.raises(RecipeError, match="a weight of") as caught:
        one(base, text)
    assert "(word:1.3)" in caught.value.hint


@pytest.mark.parametrize(
    "text", ["[" * 500 + "a cat" + "]" * 500, "(" * 24 + "cat" + ")" * 24, "(cat:-1.5)", "(" * 500]
)
def test_whatever_weight_is_read_gives_numbers(base, text):
    assert torch.isfinite(one(base, text)).all()


def test_plain_prompts_are_what_they_always_were(base):
    for text in ("", "a red house", "a house, sea " * 12):
        assert torch.equal(one(base, text), one(base, text, weighted=False))
        tokens = base.tokenizer(text, padding="max_length", max_length=77, truncation=True, return_tensors="pt")
        assert torch.equal(encode_text(base, text).context, encode_tokens(base.text_encoder, tokens.input_ids)[0])


def test_a_weight_moves_its_tokens_alone(base):
    plain, empty = one(base, "a red house"), one(base, "")
    for weight in (0.0, 0.5, 1.5):
        moved = one(base, f"a (red:{weight}) house")
        assert torch.allclose(moved[:, 2], empty[:, 2] + weight * (plain[:, 2] - empty[:, 2]), atol=1e-6)
        rest = [at for at in range(77) if at != 2]
        assert torch.equal(moved[:, rest], plain[:, rest])
    assert torch.equal(one(base, "a (red:1.0) house"), plain)
    assert torch.equal(one(base, "a (red:9) house", weighted=False), one(base, "a (red:9) house", weighted=False))


def test_long_prompts_lose_nothing(base):
    words = ["red"] * 100 + ["tree"] * 20
    long = one(base, " ".join(words))
    assert long.shape == (1, 154, 32)
    assert torch.equal(long[:, :77], one(base, " ".join(words[:75])))
    assert torch.equal(long[:, 77:], one(base, " ".join(words[75:])))
    assert one(base, " ".join(words), weighted=False).shape == (1, 77, 32)


def test_long_prompts_part_at_a_comma_that_is_near(base):
    near = one(base, "red " * 70 + "," + "tree " * 20)
    assert torch.equal(near[:, :77], one(base, "red " * 70 + ","))
    assert torch.equal(near[:, 77:], one(base, "tree " * 20))
    far = one(base, "red ," + "tree " * 90)
    assert torch.equal(far[:, :77], one(base, "red ," + "tree " * 73))


def test_both_prompts_get_the_same_length(base):
    long, short = (one.context for one in encode(base, ["red " * 100, "sea"], Reading()))
    assert long.shape == short.shape == (1, 154, 32)
    assert torch.equal(short[:, :77], one(base, "sea"))
    assert torch.equal(short[:, 77:], one(base, ""))


def test_clip_skip_ends_one_layer_earlier(small_model):
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(3)
    base = load_base(small_model)
    config = CLIPTextConfig(**{**base.text_encoder.config.to_dict(), "num_hidden_layers": 3})
    base.text_encoder = CLIPTextModel(config).eval()
    shorter = CLIPTextModel(CLIPTextConfig(**{**config.to_dict(), "num_hidden_layers": 2})).eval()
    shorter.load_state_dict(base.text_encoder.state_dict(), strict=False)
    skipped = one(base, "a red house", clip_skip=2)
    base.text_encoder, whole = shorter, base.text_encoder
    assert torch.allclose(skipped, one(base, "a red house"), atol=1e-6)
    base.text_encoder = whole
    assert not torch.allclose(skipped, one(base, "a red house"), atol=1e-3)
    with pytest.raises(RecipeError, match="3 layers"):
        one(base, "a", clip_skip=4)


def test_inversions_are_called_by_their_keys(base):
    known = base.text_encoder.embeddings.token_embedding.weight
    count = len(known)
    house = {"my-house.v2": known[base.tokenizer.convert_tokens_to_ids(["red", "house"])].detach().clone()}
    called = one(base, "a My-House.v2 tree", embeddings=house)
    assert torch.allclose(called, one(base, "a red house tree"), atol=1e-6)
    assert torch.equal(one(base, "a tree", embeddings=house), one(base, "a tree"))
    assert torch.equal(one(base, "a my-house.v22", embeddings=house), one(base, "a my-house.v22"))
    weighted = one(base, "(my-house.v2:1.5)", embeddings=house)
    assert torch.allclose(weighted, one(base, "(red house:1.5)"), atol=1e-6)
    assert len(base.text_encoder.embeddings.token_embedding.weight) == count
    with pytest.raises(ModelError, match="another kind of model"):
        one(base, "wide", embeddings={"wide": torch.zeros(2, 5)})


def test_an_inversion_is_never_cut_in_two(base):
    vectors = {"many": torch.randn(10, 32, generator=torch.Generator().manual_seed(1))}
    long = one(base, "red " * 70 + "many", embeddings=vectors)
    assert torch.equal(long[:, :77], one(base, "red " * 70))
    assert torch.equal(long[:, 77:], one(base, "many", embeddings=vectors))

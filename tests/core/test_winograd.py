"""Convolutions the short way: equal to the direct form, taken only where it fits, and nothing else about a network changes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from controlnet_core.diffusion import winograd
from controlnet_core.diffusion.winograd import WinogradConv2d, convolved, hasten


@settings(max_examples=25)
@given(
    batch=st.integers(1, 3),
    inward=st.integers(1, 9),
    outward=st.integers(1, 9),
    down=st.integers(1, 9),
    across=st.integers(1, 9),
    tiles=st.integers(1, 40),
    channels_last=st.booleans(),
    biased=st.booleans(),
    seed=st.integers(0, 99),
)
def test_equal_to_the_direct_form(batch, inward, outward, down, across, tiles, channels_last, biased, seed):
    torch.manual_seed(seed)
    picture = torch.randn(batch, inward, 4 * down, 4 * across)
    weight, bias = torch.randn(outward, inward, 3, 3), torch.randn(outward) if biased else None
    if channels_last:
        picture, weight = (one.to(memory_format=torch.channels_last) for one in (picture, weight))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "_TILES", tiles)
        found = convolved(picture, weight, bias)
    exact = F.conv2d(picture.double(), weight.double(), None if bias is None else bias.double(), padding=1)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert (found - exact).abs().max() < 3e-5 * max(1.0, float(exact.abs().max()))


def test_as_exact_as_pictures_need():
    torch.manual_seed(0)
    picture, weight = torch.randn(1, 256, 64, 64), torch.randn(128, 256, 3, 3)
    exact = F.conv2d(picture.double(), weight.double(), padding=1)
    assert (convolved(picture, weight, None) - exact).norm() / exact.norm() < 4e-6


def test_only_what_fits_takes_the_short_way(monkeypatch):
    plain = nn.Conv2d(128, 128, 3, padding=1)
    others = [
        nn.Conv2d(128, 128, 3, stride=2, padding=1),
        nn.Conv2d(128, 128, 1),
        nn.Conv2d(128, 128, 3),
        nn.Conv2d(128, 128, 3, padding=1, groups=2),
        nn.Conv2d(128, 128, 3, padding=1, padding_mode="reflect"),
    ]
    network = nn.Sequential(plain, *others)
    names = list(network.state_dict())
    hasten(network)
    assert [type(one) is WinogradConv2d for one in network] == [True] + [False] * len(others)
    assert list(network.state_dict()) == names

    calls = []
    monkeypatch.setattr(winograd, "convolved", lambda *given: calls.append(given) or convolved(*given))
    picture = torch.randn(1, 128, 48, 48)
    with torch.inference_mode():
        plain(picture)
        assert len(calls) == 1
        for other in (picture[..., :46], picture[..., :40, :40]):  # not in whole tiles; too small to pay
            assert plain(other).shape == other.shape
        plain.to(torch.bfloat16)(picture.bfloat16())
    assert len(calls) == 1


def test_changed_weights_count_at_once():
    conv = nn.Conv2d(128, 128, 3, padding=1)
    hasten(conv)
    picture = torch.randn(1, 128, 48, 48)
    with torch.inference_mode():
        before = conv(picture)
        conv.weight.mul_(2)
        assert conv.bias is not None
        conv.bias.mul_(2)
        torch.testing.assert_close(conv(picture), 2 * before)

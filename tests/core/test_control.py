"""Parameters check what they are given."""

import math

import pytest

from controlnet_core.domain.control import Param, values
from controlnet_core.domain.errors import InputError

LOW = Param("low", "Low", 100, 1, 255)
SHARE = Param("share", "Share", 0.5, 0, 1, 0.1)
LIGHT = Param("light", "Light", False)
STYLE = Param("style", "Style", "1.0", choices=("1.0", "1.1"))


def test_defaults_complete_what_is_given():
    assert values((LOW, SHARE, LIGHT, STYLE), {"share": 1}) == {
        "low": 100,
        "share": 1.0,
        "light": False,
        "style": "1.0",
    }


def test_types_follow_the_default():
    assert values((LOW,), {"low": 7.9}) == {"low": 7} and type(LOW.check(7.0)) is int
    assert type(SHARE.check(1)) is float


@pytest.mark.parametrize(
    ("param", "value"),
    [
        (LOW, 0), (LOW, 256), (LOW, math.nan), (LOW, math.inf), (LOW, "9"), (LOW, True), (LOW, None),
        (LIGHT, 1), (LIGHT, "yes"), (STYLE, "2.0"), (STYLE, 1.0), (SHARE, -0.01), (SHARE, [1]),
    ],
)  # fmt: skip
def test_refusals_name_the_parameter(param, value):
    with pytest.raises(InputError, match=param.title):
        values((param,), {param.key: value})


def test_unknown_keys_are_refused():
    with pytest.raises(InputError, match="'high'"):
        values((LOW,), {"high": 3})

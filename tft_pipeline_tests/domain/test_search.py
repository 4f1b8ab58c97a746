import pytest
from pydantic import ValidationError

from tft_pipeline.domain.search import Knob


@pytest.mark.parametrize(
    ("knob", "match"),
    [
        ({}, "either choices, or both low and high"),
        ({"low": 1}, "either choices, or both low and high"),
        ({"choices": [1, 2], "low": 1, "high": 2}, "either choices, or both"),
        ({"choices": [1, 2], "low": 1}, "choices stand alone"),
        ({"choices": [1, 2], "log": True}, "choices stand alone"),
        ({"choices": [1]}, "at least 2"),
        ({"low": 2, "high": 2}, "low 2 >= high 2"),
        ({"low": 0.0, "high": 1.0, "log": True}, "low 0.0 <= 0 has no logarithm"),
        ({"low": "1", "high": 2}, "low"),
        ({"low": 1, "high": 2, "step": 1}, "step"),
    ],
)
def test_a_knob_that_is_not_one_kind_is_refused(knob, match):
    with pytest.raises(ValidationError, match=match):
        Knob.model_validate(knob)


def test_a_range_with_whole_ends_searches_whole_numbers_and_any_other_does_not():
    assert Knob(low=1, high=4).is_integer
    assert not Knob(low=0, high=0.5).is_integer
    assert not Knob(choices=(1, 2)).is_integer


def test_limits_are_every_choice_or_the_two_ends_in_the_type_that_is_searched():
    assert Knob(choices=("sharpe", "bce", "joint_mle")).limits() == ("sharpe", "bce", "joint_mle")
    assert Knob(low=1, high=4).limits() == (1, 4)
    mixed = Knob(low=0, high=0.5).limits()
    assert mixed == (0.0, 0.5)
    assert all(isinstance(value, float) for value in mixed)


def test_choices_keep_their_types_apart():
    assert [type(value) for value in Knob.model_validate({"choices": [True, 2, 1.5, "a"]}).choices or ()] == [
        bool,
        int,
        float,
        str,
    ]

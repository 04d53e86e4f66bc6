"""The guide's programs, run as they stand, print what the guide says they print."""

from __future__ import annotations

import pytest

from scripts import guide
from tests.helpers import assert_same_output

LONG = (
    "Machine precision",
    "A formula from data",
    "Learning without forgetting",
    "The first example of pykan",
    "Reading a network by hand",
    "Two moons",
    "A differential equation",
    "Two functions",
)


@pytest.mark.parametrize(
    "title",
    [pytest.param(t, marks=pytest.mark.long) if t in LONG else t for t in guide.stories()],
)
def test_the_output_in_the_guide(title):
    expected = guide.stories()[title].printed
    assert expected, f"{title} has no output in the guide; run scripts/guide.py --write"
    printed, drawn = guide.run_story(title)
    assert_same_output(printed, expected)
    for name in drawn:
        assert f"(guide/{name})" in guide.GUIDE.read_text() and (guide.PICTURES / name).exists()


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("exp(x2**2 + sin(pi*x1))\n", "exp(x2**2 + sin(pi*x1))"),
        ("RMSE 1.9e-04  median 3e-05", "RMSE 1.0e-04  median 5e-05"),
        ("loss 1.1e-02, 3 edges", "loss 9.0e-03, 3 edges"),
        ("loss 0.0e+00", "loss 0.0e+00"),
        ("98.9% of 1000 right", "99.8% of 1000 right"),
        ("100% right", "99.0% right"),
        ("98.8% right", "99.8% right"),
        ("importance [0.95 0.36 0.  ]  ", "importance [0.95 0.36 0.  ]"),
    ],
)
def test_output_that_is_the_same(printed, expected):
    assert_same_output(printed, expected)


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("25.0% of 1000 right", "99.8% of 1000 right"),
        ("98.7% right", "99.8% right"),
        ("99.8% of 999 right", "99.8% of 1000 right"),
        ("exp(x2**7)", "exp(x2**2)"),
        ("exp(x1**2)", "exp(x2**2)"),
        ("cos(x1)", "sin(x1)"),
        ("3.15*x1", "3.14*x1"),
        ("1.5e-05*x1", "1.0e-05*x1"),
        ("1.5e-05 x1 / 2", "1.0e-05 x1 / 3"),
        ("x1 + 1.5e-05", "x1 + 1.0e-05"),
        ("x1 - 1.5e-05", "x1 - 1.0e-05"),
        ("-1.5e-05 + x1", "-1.0e-05 + x1"),
        ("1.5e-05 + x1", "1.0e-05 + x1"),
        ("sin(1.5e-05)", "sin(1.0e-05)"),
        ("x1**1.5e-05", "x1**1.0e-05"),
        ("RMSE 2.1e-04", "RMSE 1.0e-04"),
        ("RMSE 1.0e-04", "RMSE 2.1e-04"),
        ("RMSE 1.0e-04", "RMSE 0.0e+00"),
        ("RMSE nan", "RMSE 1.0e-04"),
        ("RMSE 0.0001", "RMSE 1.0e-04"),
        ("R2 0.9456", "R2 0.9455"),
        ("5 intervals", "10 intervals"),
        ("16 edges", "15 edges"),
        ("penalty 0.03: loss 1e-02", "penalty 0.02: loss 1e-02"),
        ("edge of x1: sin", "edge of x2: sin"),
        ("loss 1e-02", "loss 1e-02\nloss 1e-02"),
        ("loss 1e-02, 5e-02", "loss 1e-02, 50%"),
        ("", "loss 1e-02"),
    ],
)
def test_output_that_is_not(printed, expected):
    with pytest.raises(AssertionError):
        assert_same_output(printed, expected)


def test_an_unknown_story_is_one_line(script):
    result = script("guide.py", "Two sons")
    assert result.returncode == 1 and "Two functions" in result.stderr
    assert len(result.stderr.splitlines()) == 1

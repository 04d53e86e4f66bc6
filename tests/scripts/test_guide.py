"""The guide's stories, run as they stand, print what the guide says they print."""

from __future__ import annotations

import re

import pytest

from scripts import guide

LONG = ("Machine precision", "A formula from data", "Learning without forgetting")
NUMBER = r"\d+(?:\.\d+)?(?:e[+-]\d+)?"
# Chaos makes of rounding, which differs by device and compiler, other errors of the same size.
FACTOR = 4


@pytest.mark.parametrize(
    "title",
    [pytest.param(t, marks=pytest.mark.long) if t in LONG else t for t in guide.stories()],
)
def test_a_story_is_true(title):
    printed, drawn = guide.told(title)
    said = guide.stories()[title].printed
    assert said, f"{title} does not say what it prints; run scripts/guide.py --write"
    assert re.sub(NUMBER, "N", printed).split() == re.sub(NUMBER, "N", said).split()
    for ours, theirs in zip(re.findall(NUMBER, printed), re.findall(NUMBER, said), strict=True):
        assert ours == theirs or 1 / FACTOR < float(ours) / float(theirs) < FACTOR
    for name in drawn:
        assert f"(guide/{name})" in guide.GUIDE.read_text() and (guide.PICTURES / name).exists()


def test_an_unknown_story_is_one_line(script):
    result = script("guide.py", "Two sons")
    assert result.returncode == 1 and "Two functions" in result.stderr
    assert len(result.stderr.splitlines()) == 1

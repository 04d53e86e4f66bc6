"""Widths for a number of parameters."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinykan import BSpline, Linear, Polynomial, UserError, widths_for
from tinykan.runs.widths import widths_text


@given(
    parameters=st.integers(10_000, 300_000),
    depth=st.integers(1, 5),
    in_features=st.integers(1, 40),
    basis=st.sampled_from([Linear(), Polynomial(2), BSpline(5, 3)]),
)
def test_widths_meet_the_budget(parameters, depth, in_features, basis):
    widths = widths_for(parameters, depth, basis, in_features, 1)
    per_edge = basis.n_functions + 2
    count = sum(o * (i * per_edge + 1) for i, o in pairwise(widths))
    assert abs(count - parameters) <= 0.02 * parameters
    assert widths[0] == in_features and widths[-1] == 1 and len(widths) == depth + 2


@pytest.mark.parametrize(
    ("parameters", "basis", "message"),
    [
        (3, BSpline(5, 3), "within 2 % of 3 parameters; the nearest, 2-1-1-1"),
        (0, Linear(), "at least 1"),
    ],
)
def test_sizes_that_cannot_be_met_are_one_line(parameters, basis, message):
    with pytest.raises(UserError, match=message) as error:
        widths_for(parameters, 2, basis, 2, 1)
    assert "\n" not in str(error.value)


def test_widths_are_printed_with_dashes():
    assert widths_text([16, 28, 1]) == "16-28-1"

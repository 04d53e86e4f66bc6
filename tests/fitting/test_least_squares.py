"""B-splines in NumPy against SciPy, and their least squares against pykan's."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers import spline_bases
from tinykan.fitting.least_squares import b_splines, fit_coefficients

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_b_splines_are_scipys(order):
    knots = np.sort(RNG.uniform(-1, 1, (2, 7 + 2 * order)), axis=1)
    x = RNG.uniform(-1.2, 1.2, (2, 200))
    for values, own, at in zip(b_splines(x, knots, order), knots, x, strict=True):
        np.testing.assert_allclose(values, spline_bases(at, own, order), atol=1e-11)


def test_the_end_and_repeated_knots():
    knots = np.array([[0.0, 0, 0, 1, 1, 2, 2, 2]])  # clamped, with a kink
    values = b_splines(np.array([[-0.1, 0, 0.5, 1, 2, 2.1]]), knots, 2)[0]
    np.testing.assert_allclose(values.sum(1), [0, 1, 1, 1, 1, 0], atol=1e-15)
    assert values[4, -1] == 1 and values[1, 0] == 1


def test_golden_coefficients(golden):
    """pykan's least squares, to what its solver (by singular values) leaves of float64."""
    data = golden("pykan_curve2coef")
    found = fit_coefficients(data["x"].T, data["y"].transpose(1, 0, 2), data["grid"], 3)
    np.testing.assert_allclose(found.transpose(0, 2, 1), data["coef"], atol=1e-12)

"""Activation functions and their derivatives against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from tinygrad import Tensor, dtypes

from tests.helpers import (
    central_difference,
    needs_float64,
)
from tinykan.activations import ACTIVATIONS


def logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


REFERENCES = {
    "identity": lambda x: x,
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x * logistic(x),
    "gelu": lambda x: x * logistic(np.sqrt(8 / np.pi) * (x + 0.044715 * x**3)),
    "sine": np.sin,
    "sine30": lambda x: np.sin(30 * x),
}


@pytest.mark.parametrize("kind", [pytest.param("float64", marks=needs_float64), "float32"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_functions_and_their_slopes(name, kind):
    x = np.random.default_rng(0).uniform(-10, 10, 5001).astype(kind)
    tensor, exact = Tensor(x, dtype=getattr(dtypes, kind)), x.astype(float)
    reference, tolerance = REFERENCES[name], 10 * np.finfo(kind).eps
    # An angle of 300 is known to half a unit in its last place only.
    tolerance *= 30 if name == "sine30" else 1
    np.testing.assert_allclose(
        ACTIVATIONS[name](tensor).numpy(), reference(exact), rtol=tolerance, atol=tolerance
    )
    slope = ACTIVATIONS[name](tensor).sum().gradient(tensor)[0].numpy()
    expected = central_difference(reference, exact)
    # A central difference is off by 2e-11 of the third derivative, which is 30^3 at most.
    error = 30 * tolerance + (1e-5 if name == "sine30" else 1e-9)
    smooth = np.abs(exact) > 1e-5
    np.testing.assert_allclose(slope[smooth], expected[smooth], rtol=tolerance, atol=error)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_functions_of_extreme_numbers(name):
    y = ACTIVATIONS[name](Tensor([-1e30, -1e4, 1e4, 1e30, float("nan")])).numpy()
    assert np.isfinite(y[1:3]).all() and np.isnan(y[4])
    if not name.startswith("sine"):  # whose angles are not known to a whole turn any more
        assert np.isfinite(y[[0, 3]]).all()

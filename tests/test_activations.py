"""Activation functions and their derivatives against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from tinygrad import Tensor, dtypes

from tests.helpers import (
    central_difference,
    needs_float64,
)
from tinykan import MLP, UserError
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
    "finer30": lambda x: np.sin(30 * (np.abs(x) + 1) * x),
    "gauss10": lambda x: np.exp(-((10 * x) ** 2) / 2),
    "wire20": lambda x: np.cos(20 * x) * np.exp(-((10 * x) ** 2)),
    "hsine30": lambda x: np.sin(30 * np.sinh(2 * x)),
}
# The largest angle of the test, known to half a unit in its last place (that of hsine30, from two
# exponentials, to one unit), and the test's range.
FAST = {"sine30": 300, "finer30": 300, "gauss10": 20, "wire20": 20, "hsine30": 600}
RANGE = {"finer30": 2.0, "gauss10": 1.0, "wire20": 1.0, "hsine30": 1.4}


@pytest.mark.parametrize("kind", [pytest.param("float64", marks=needs_float64), "float32"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_functions_and_their_slopes(name, kind):
    x = np.random.default_rng(0).uniform(-1, 1, 5001).astype(kind) * RANGE.get(name, 10)
    tensor, exact = Tensor(x, dtype=getattr(dtypes, kind)), x.astype(float)
    # An angle of 300 is known to half a unit in its last place only.
    reference, tolerance = REFERENCES[name], 10 * np.finfo(kind).eps * FAST.get(name, 10) / 10
    np.testing.assert_allclose(
        ACTIVATIONS[name](tensor).numpy(), reference(exact), rtol=tolerance, atol=tolerance
    )
    slope = ACTIVATIONS[name](tensor).sum().gradient(tensor)[0].numpy()
    expected = central_difference(reference, exact)
    if name == "finer30":  # whose gradient takes this factor for a constant
        expected = expected * (np.abs(exact) + 1) / (2 * np.abs(exact) + 1)
    # A central difference is off by 2e-11 of the third derivative, at most the cube of these rates.
    fastest = {"sine30": 30, "finer30": 150, "gauss10": 12, "wire20": 40, "hsine30": 500}
    rate = fastest.get(name, 1)
    error = max(rate, 30) * tolerance + 2e-11 * rate**3 + 1e-9
    smooth = np.abs(exact) > 1e-5
    np.testing.assert_allclose(slope[smooth], expected[smooth], rtol=tolerance, atol=error)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_functions_of_extreme_numbers(name):
    y = ACTIVATIONS[name](Tensor([-1e30, -1e4, 1e4, 1e30, float("nan")])).numpy()
    assert np.isfinite(y[1:3]).all() and np.isnan(y[4])
    if not name.startswith(("sine", "finer")):  # whose angles are not known to a whole turn
        assert np.isfinite(y[[0, 3]]).all()


def test_families_have_any_number():
    x = np.linspace(-1, 1, 21, dtype=np.float32)
    # Angles of up to 25 in float32.
    np.testing.assert_allclose(
        ACTIVATIONS["sine12.5"](Tensor(x)).numpy(), np.sin(12.5 * x.astype(float)), atol=1e-5
    )
    assert "gauss3" in ACTIVATIONS and "gauss3" not in list(ACTIVATIONS)
    for name in ("sin", "gauss", "tanh30", "sine1.2.3", "finer", "", 3):
        assert name not in ACTIVATIONS
    with pytest.raises(UserError, match="unknown activation 'tanh30'; choose from identity, tanh"):
        MLP([1, 2, 1], "tanh30")

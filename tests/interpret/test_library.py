"""The symbolic library: its forms in NumPy, SymPy and tensors agree."""

from __future__ import annotations

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st
from tinygrad import Tensor

from tests.helpers import central_difference, double, needs_float64
from tinykan.interpret.library import LIBRARY


def arguments(name: str) -> np.ndarray:
    """Numbers of all sizes where the function is defined, poles apart."""
    x = np.linspace(-1.4, 1.4, 57)
    if name in ("sqrt", "log"):
        return np.geomspace(1e-3, 1e3, 50)
    if name in ("1/x", "1/x^2"):
        return np.concatenate([-np.geomspace(1e-3, 1e3, 30), np.geomspace(1e-3, 1e3, 30)])
    if name == "arctanh":
        return np.linspace(-0.9, 0.9, 57)
    return x if name == "tan" else np.concatenate([x, 3 * x, 20 * x])


@needs_float64
@pytest.mark.parametrize("name", LIBRARY)
def test_the_forms_agree_and_the_derivative_is_that_of_differences(name):
    function, x = LIBRARY[name], arguments(name)
    expected = function.numpy(x)
    given_x = double(x)
    y = function.tensor(given_x)
    # A few roundings in float64; tan and 1 / x^2 multiply them by their steepness.
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-12, atol=1e-14)
    text = sympy.lambdify(sympy.Symbol("x"), sympy.sympify(function.sympy), "numpy")
    np.testing.assert_allclose(text(x) * np.ones_like(x), expected, rtol=1e-12, atol=1e-14)
    (slope,) = y.sum().gradient(given_x)
    h = 1e-5 * np.abs(x) + (1e-5 if x.min() < 0 and "/" not in name else 0)
    smooth = np.abs(x) > h if name == "abs" else np.ones_like(x, dtype=bool)
    differences = central_difference(function.numpy, x, h)
    # The error of central differences: h^2 f''' / 6, and rounding, 1e-16 f / h.
    np.testing.assert_allclose(slope.numpy()[smooth], differences[smooth], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", LIBRARY)
def test_float32_is_as_exact_as_float32(name):
    x = arguments(name).astype(np.float32)
    y = LIBRARY[name].tensor(Tensor(x)).numpy()
    np.testing.assert_allclose(y, LIBRARY[name].numpy(x.astype(np.float64)), rtol=4e-6, atol=2e-6)


@pytest.mark.parametrize("name", ["1/x", "1/x^2", "sqrt", "log", "arctanh"])
def test_beyond_the_domain_is_no_nan_but_nan_stays(name):
    x = Tensor([-2.0, -1e-30, 0.0, 1e-30, float("nan")])
    y = LIBRARY[name].tensor(x)
    (slope,) = y.sum().gradient(x)
    assert np.isfinite(y.numpy()).tolist() == [True] * 4 + [False]
    assert np.isfinite(slope.numpy()[:4]).all()


@pytest.mark.parametrize("name", LIBRARY)
@given(a=st.floats(0.1, 5), b=st.floats(-30, 30), sign=st.sampled_from([-1, 1]))
def test_simplest_numbers_give_the_same_function(name, a, b, sign):
    function, a = LIBRARY[name], sign * a
    x = (arguments(name) - b) / a
    simple_a, simple_b, factor, shift = function.simplest(a, b)
    simple = factor * function.numpy(simple_a * x + simple_b) + shift
    # x is exact to 1e-16 of b: so are differences from a pole at 1e-3, to 1e-11 of themselves.
    np.testing.assert_allclose(simple, function.numpy(a * x + b), rtol=1e-9, atol=1e-12)

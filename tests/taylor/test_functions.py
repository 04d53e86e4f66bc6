"""Functions with three derivatives, against SymPy and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import sympy

from tests.helpers import DENSE_BASES, double, first, needs_float64, spline_bases, uniform_knots
from tinykan import BSpline, UserError
from tinykan.activations import ACTIVATIONS, Activation
from tinykan.taylor.functions import WRITTEN_OUT, activation, basis_functions

t = sympy.Symbol("t")
_gelu = sympy.sqrt(8 / sympy.pi) * (t + sympy.Float("0.044715", 30) * t**3)
FORMULAS = {
    "identity": t,
    "tanh": sympy.tanh(t),
    "silu": t / (1 + sympy.exp(-t)),
    "sine": sympy.sin(t),
    "sine30": sympy.sin(30 * t),
    "finer30": sympy.Piecewise(
        (sympy.sin(30 * (t + t**2)), t > 0), (sympy.sin(30 * (t - t**2)), True)
    ),
    "gauss10": sympy.exp(-((10 * t) ** 2) / 2),
    "wire20": sympy.cos(20 * t) * sympy.exp(-((10 * t) ** 2)),
    "hsine30": sympy.sin(30 * sympy.sinh(2 * t)),
    "gelu": t / (1 + sympy.exp(-_gelu)),
}


def test_every_smooth_activation_is_written_out():
    assert set(FORMULAS) == set(ACTIVATIONS) - {"relu"}
    assert all(name in WRITTEN_OUT for name in FORMULAS) and set(WRITTEN_OUT.of) == set(
        ACTIVATIONS.of
    )


@needs_float64
@pytest.mark.parametrize("name", FORMULAS)
def test_activations(name):
    """To the rounding of float64 (1e-16), of terms up to 1,000 times as large as their sum, in the
    third derivative of GELU."""
    # Where those with a scale are not 0, and angles at most 300; FINER has no derivatives at 0.
    span = {"finer30": 2.0, "gauss10": 0.5, "wire20": 0.5, "hsine30": 1.4}.get(name, 6)
    x = np.linspace(-span, span, 41) + 0.01
    function = activation(name, 2)
    for order in range(4):
        exact = sympy.lambdify(t, sympy.diff(FORMULAS[name], t, order), "numpy")
        expected = np.broadcast_to(exact(x), x.shape)
        scale = max(1, np.abs(expected).max())
        np.testing.assert_allclose(
            function.at(order, double(x)).numpy(), expected, atol=1e-12 * scale
        )


@needs_float64
def test_an_activation_of_ones_own_is_differentiated(monkeypatch):
    square = Activation(lambda x: x * x * x, lambda x: 3 * (x * x))
    monkeypatch.setitem(ACTIVATIONS, "cube", square)
    x = np.linspace(-2, 2, 5)
    found = [activation("cube", 2).at(order, double(x)).numpy() for order in range(4)]
    np.testing.assert_allclose(found, [x**3, 3 * x**2, 6 * x, 6 + 0 * x], atol=1e-14)
    assert not activation("cube", 2).in_kernels


@needs_float64
@pytest.mark.parametrize(("intervals", "order"), [(1, 1), (4, 2), (5, 3), (3, 5)])
@pytest.mark.parametrize("given", [False, True])
def test_splines(intervals, order, given):
    """Inside, outside and between knots; at knots from the right, as SciPy has it."""
    knots = uniform_knots(intervals, order, -1, 2)
    if given:
        knots = np.sort(knots + np.random.default_rng(order).uniform(-0.2, 0.2, knots.shape))
    basis = BSpline(intervals, order, (-1.0, 2.0), knots=double(knots) if given else None)
    inner = (knots[:-1] + knots[1:]) / 2
    x = np.concatenate([inner, inner + 0.1, [knots[0] - 3, knots[-1] + 5, 0.123]])
    for m in range(4):
        found = basis_functions(basis, min(order, 2)).at(m, double(x[:, None])).numpy()[:, 0]
        expected = spline_bases(x, knots, order, m) if m <= order else 0 * found
        # Differences of order m of numbers rounded to 1e-16, over spacings of 0.3 and more.
        atol = 1e-13 * max(1, np.abs(expected).max()) * 10**m
        np.testing.assert_allclose(found, expected, atol=atol)


@needs_float64
def test_the_end_of_the_domain_belongs_to_the_last_interval():
    """Where second derivatives jump, those inside count, to the step of 1e-16 between them."""
    basis = BSpline(4, 2)
    values = basis_functions(basis, 2).at(2, double([[1.0], [1.0 - 1e-9], [-1.0]])).numpy()[:, 0]
    np.testing.assert_allclose(values[0], values[1], atol=1e-12)
    expected = spline_bases(np.array([-1 + 1e-9]), uniform_knots(4, 2), 2, 2)[0]
    np.testing.assert_allclose(values[2], expected, atol=1e-12)


@needs_float64
@pytest.mark.parametrize("basis", first(3, DENSE_BASES), ids=lambda b: type(b).__name__)
def test_other_bases(basis):
    """Differences of four points, off by h^4 / 30 of the fifth derivative and 1e-16 / h."""
    x, h = np.linspace(-1.2, 1.3, 7)[:, None], 1e-3
    function = basis_functions(basis, 2)

    def at(order, x):
        return function.at(order, double(x)).numpy()

    for m in (1, 2, 3):
        steps = [at(m - 1, x + n * h) for n in (-2, -1, 1, 2)]
        expected = (steps[0] - 8 * steps[1] + 8 * steps[2] - steps[3]) / (12 * h)
        scale = np.abs(expected).max() + 1
        np.testing.assert_allclose(at(m, x), expected, atol=1e-6 * scale)


def test_what_has_no_second_derivative_is_refused():
    with pytest.raises(UserError, match="relu has no second derivative"):
        activation("relu", 2)
    with pytest.raises(UserError, match="order 1 have no derivative of order 2"):
        basis_functions(BSpline(5, 1), 2)
    activation("relu", 1), basis_functions(BSpline(5, 1), 1)

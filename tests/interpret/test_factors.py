"""Products of two functions of the library as factors."""

from __future__ import annotations

import numpy as np
import pytest
import sympy

from tests.helpers import some
from tinykan import KANLayer, Network
from tinykan.basis import BSpline
from tinykan.interpret import MultiplicationLayer
from tinykan.interpret.factors import best_pair, symbolic_factors
from tinykan.interpret.formulas import formula
from tinykan.interpret.library import LIBRARY
from tinykan.interpret.symbolic import symbolic_edges
from tinykan.tasks.prediction import Predictor

from .helpers import spline_network

CURVES = {
    "a damped wave": (lambda t: 3 * np.exp(-t) * np.cos(5 * t), 0, 3, {"exp", "sin"}),
    "a growing one": (lambda t: -np.exp(0.4 * t) * np.sin(3 * t + 1), -2, 4, {"exp", "sin"}),
    "x sin x": (lambda t: (t - 2) * np.sin(2 * t), -4, 5, {"x", "sin"}),
    "a damped line": (lambda t: t * np.exp(-t), 0, 6, {"x", "exp"}),
    "sin x / x": (lambda t: np.sin(4 * t) / t, 1, 5, {"1/x", "sin"}),
    "sin x sqrt x": (lambda t: np.sin(3 * t) * np.sqrt(t), 0.1, 5, {"sqrt", "sin"}),
    "beats": (lambda t: np.sin(9 * t) * np.sin(2 * t + 0.5), -1, 2, {"sin"}),
}


@pytest.mark.parametrize("name", some(CURVES, "a damped wave, x sin x, sin x / x, beats"))
def test_products_of_two_functions_are_found_again(name):
    function, low, high, names = CURVES[name]
    x = np.random.default_rng(0).uniform(low, high, 400)
    found = best_pair(x, function(x))
    assert {edge for edge, _ in found.edges} == names
    again = np.ones_like(x)
    for edge, (a, b, c, d) in found.edges:
        again *= c * LIBRARY[edge].numpy(a * x + b) + d
    # The fit ends at changes of 1e-10 of the squared error, or of its parameters.
    assert np.mean((again - function(x)) ** 2) <= 1e-6 * function(x).var()
    assert found.r2 == pytest.approx(1 - np.mean((again - function(x)) ** 2) / function(x).var())


def test_few_points_have_no_products():
    x = np.linspace(0, 1, 8)
    assert best_pair(x, np.sin(9 * x) * x) is None


def test_a_factor_becomes_two_where_one_function_is_none():
    first = [[lambda x: 2 * x + 1, None], [None, lambda t: np.exp(-t) * np.cos(5 * t)]]
    sums = spline_network([first], [(-2, 2)])
    model = Network([*sums.layers, MultiplicationLayer([[0, 1]])])
    x = np.random.default_rng(0).uniform(-2, 2, (400, 2))
    symbolic = symbolic_factors(model, x, None)
    edges = {key: name for key, (name, _) in symbolic_edges(symbolic.layers[0]).items()}
    assert edges[0, 0] == "x" and {edges[1, 1], edges[1, 2]} == {"exp", "sin"} and len(edges) == 3
    assert symbolic.layers[1].groups == [[0, 1, 2]]
    wanted = (2 * x[:, :1] + 1) * np.exp(-x[:, 1:]) * np.cos(5 * x[:, 1:])
    # Of splines with 30 intervals, and in float32.
    np.testing.assert_allclose(Predictor(symbolic)(x), wanted, atol=0.01 * np.abs(wanted).max())
    (expression,) = formula(symbolic)
    assert expression.atoms(sympy.exp) and expression.atoms(sympy.sin)


def test_factors_that_are_functions_stay_as_they_are():
    layer = KANLayer(2, 2, BSpline(5), spline_weight=False, rng=np.random.default_rng(0))
    model = Network([layer, MultiplicationLayer([[0, 1]])])
    x = np.random.default_rng(0).uniform(-1, 1, (200, 2))
    symbolic = symbolic_factors(model, x, None)
    assert symbolic.layers[1].groups == [[0, 1]]  # of sums of two edges
    assert symbolic.layers[0].live_edges().all() and len(symbolic_edges(symbolic.layers[0])) == 4

"""Interactions of functions whose decomposition of variance is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from tests.interpret.helpers import spline_network
from tinykan import KAN, Predictor, UserError
from tinykan.interpret import interaction
from tinykan.interpret.formula_networks import from_formula

X = np.random.default_rng(0).uniform(-1, 1, (500, 3))
MANY = 40_000
# Shares of estimates from so many samples: six standard errors of the widest distribution here.
CLOSE = 0.05


def test_a_sum_has_none():
    found = interaction(lambda x: x[:, 0] ** 3 + np.sin(4 * x[:, 1]) - x[:, 2], X)[0]
    off = ~np.eye(3, dtype=bool)
    assert found[off].max() < 1e-30 and found.diagonal().min() > 0.01


def test_a_product_is_all_interaction():
    centered = X - X.mean(axis=0)
    found = interaction(lambda x: x[:, 0] * x[:, 1] + 0 * x[:, 2], centered, samples=MANY)[0]
    np.testing.assert_allclose(found, [[1, 1, 0], [1, 1, 0], [0, 0, 0]], atol=CLOSE)
    assert found[2].max() == 0
    three = interaction(lambda x: x.prod(axis=1), centered, samples=MANY)[0]
    np.testing.assert_allclose(three, np.ones((3, 3)), atol=CLOSE)


def test_ishigamis_function():
    """sin(x1) + 7 sin(x2)^2 + 0.1 x3^4 sin(x1) on (-pi, pi): Ishigami and Homma 1990."""
    a, b, pi = 7.0, 0.1, np.pi
    x = np.random.default_rng(1).uniform(-pi, pi, (20_000, 3))
    both = 8 * b**2 * pi**8 / 225
    first, second = (1 + b * pi**4 / 5) ** 2 / 2, a**2 / 8
    total = first + second + both
    found = interaction(
        lambda x: np.sin(x[:, 0]) * (1 + b * x[:, 2] ** 4) + a * np.sin(x[:, 1]) ** 2,
        x, samples=MANY,
    )[0]  # fmt: skip
    wanted = np.array([[first + both, 0, both], [0, second, 0], [both, 0, both]]) / total
    np.testing.assert_allclose(
        found, wanted, atol=0.02
    )  # smaller shares are estimated more closely
    assert max(found[0, 1], found[1, 2]) < 1e-28


def test_friedmans_function_has_one_pair():
    """10 sin(pi x1 x2) + 20 (x3 - 1/2)^2 + 10 x4 + 5 x5 on (0, 1): Friedman 1991."""
    x = np.random.default_rng(2).uniform(size=(1000, 5))
    found = interaction(
        lambda x: 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2
        + 10 * x[:, 3] + 5 * x[:, 4], x,
    )[0]  # fmt: skip
    pairs = np.argwhere(np.triu(found, 1) > 1e-20)
    assert pairs.tolist() == [[0, 1]] and 0.05 < found[0, 1] < 0.3


def test_factors_do_not_interact_on_the_scale_of_products():
    def function(x):
        return np.exp(x[:, 0]) * (2 + np.sin(x[:, 1] * x[:, 2]))

    sums, products = interaction(function, X)[0], interaction(function, X, product=True)[0]
    assert sums[0, 1] > 1e-4 and products[0, 1] < 1e-28 and products[0, 2] < 1e-28
    assert products[1, 2] > 1e-3


def test_outputs_of_a_network_are_apart():
    model = from_formula(["x1*x2 + x3", "x1 + x2*x3"])
    found = interaction(model, X)
    assert found.shape == (2, 3, 3)
    # The network is in float32: rounding of 1e-7, squared.
    assert found[0, 0, 1] > 0.1 and found[0, 0, 2] < 1e-12 and found[0, 1, 2] < 1e-12
    assert found[1, 1, 2] > 0.1 and found[1, 0, 1] < 1e-12 and found[1, 0, 2] < 1e-12
    np.testing.assert_allclose(found, interaction(Predictor(model), X))


def test_inputs_meet_where_edges_lead_to_one_node():
    first = [[np.sin, None], [np.square, None], [None, np.cos]]
    model = spline_network([first, [[np.exp], [np.tanh]]], [(-1, 1), (-2, 2)])
    found = interaction(model, X)[0]
    pairs = np.argwhere(np.triu(found, 1) > 1e-10)
    assert pairs.tolist() == [[0, 1]]


def test_a_constant_has_no_shares():
    assert interaction(lambda x: np.ones(len(x)), X).tolist() == np.zeros((1, 3, 3)).tolist()


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (lambda x: 1 / (0 * x[:, 0]), {}, "infinite or NaN at some inputs"),
        (lambda x: 0 * x[:, 0], {"product": True}, "0, infinite or NaN at some inputs"),
        (lambda x: x[:5, 0], {}, r"values of shape \(5, 1\) for 2000 rows"),
        (lambda x: x[:, 0], {"samples": 1}, "samples 1 must be a whole number at least 2"),
        (KAN([2, 1]), {}, "samples"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_what_has_no_interaction_is_one_line(function, options, message):
    with pytest.raises(UserError, match=message) as error:
        interaction(function, X, **options)
    assert "\n" not in str(error.value)

"""Constants of formulas against linear regression in NumPy, and the values that they are rounded
to."""

from __future__ import annotations

import numpy as np
import pytest
import sympy

from tinykan.interpret.affine_fit import fit_affine
from tinykan.interpret.constants import Constants, Data, covariance, round_values
from tinykan.interpret.formulas import formula
from tinykan.interpret.rounding import evaluated, mean_squared_error
from tinykan.interpret.simplification import settled, simpler

from tests.interpret.helpers import named_network, points  # isort: skip

RNG = np.random.default_rng(0)
MASS, SPEED = RNG.uniform(0.5, 5, (2, 400))
NAMES = ["mass", "speed"]


def data(y: np.ndarray, noise: float) -> Data:
    noisy = y + noise * y.std() * np.random.default_rng(1).normal(size=len(y))
    return Data(NAMES, np.c_[MASS, SPEED], noisy, 1e-15 * float(np.mean(y**2)))


def test_the_covariance_is_that_of_linear_regression():
    jacobian = RNG.normal(size=(50, 3)) @ np.array([[1, 0.9, 0], [0, 0.1, 0], [0, 0, 100.0]])
    expected = np.linalg.inv(jacobian.T @ jacobian)
    # The Jacobian's condition is about 20 after scaling, 2000 before.
    np.testing.assert_allclose(covariance(jacobian), expected, rtol=1e-9)


def test_what_others_can_make_up_for_has_a_large_standard_error():
    column = RNG.normal(size=(50, 1))
    redundant = np.diag(covariance(np.c_[column, 2 * column, RNG.normal(size=(50, 1))]))
    assert (redundant[:2] > 1e12).all() and redundant[2] < 1


def test_common_factors_of_a_fraction_become_1():
    y = (MASS + SPEED) / (1 + MASS * SPEED)
    rough = "0.00063*mass/(0.00063*mass*speed + 0.00063) + 0.001*speed/(0.001*mass*speed + 0.001)"
    found = settled(sympy.sympify(rough), data(y, 0.0))
    assert any(sympy.simplify(f - sympy.sympify("(mass+speed)/(1+mass*speed)")) == 0 for f in found)


def test_a_fit_is_linear_regression_where_the_formula_is_linear():
    sample = data(3.21 * MASS - 0.77 * SPEED, 0.1)
    constants = Constants(sympy.sympify("1.5*mass + 1.5001*speed + 0.1"), sample)
    found = constants.fit({})
    expected = np.linalg.lstsq(np.c_[MASS, SPEED, np.ones(400)], sample.y, rcond=None)
    # 2-point differences leave the minimum by the square root of float64's rounding at most.
    np.testing.assert_allclose(np.sort(found.values), np.sort(expected[0]), rtol=1e-7)
    assert found.squares == pytest.approx(float(expected[1][0]), rel=1e-12)


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.05])
def test_constants_become_round_where_the_data_allow(noise):
    rough = sympy.sympify("0.467*(mass - 0.003)**0.995*(speed + 0.081)**2.026 - 0.078")
    found = settled(rough, data(0.5 * MASS * SPEED**2, noise))
    assert "0.5*mass*speed**2" in map(str, found)


def test_constants_do_not_become_round_where_the_data_contradict():
    true = 0.5 * MASS**1.1 * SPEED**1.9
    found = settled(sympy.sympify("0.52*mass**1.08*speed**1.91"), data(true, 0.01))
    assert str(found[0]) == "0.5*mass**1.1*speed**1.9"
    constants = Constants(sympy.sympify("0.52*mass**1.08*speed**1.91"), data(true, 1e-6))
    assert constants.settle() and "1.1" in str(constants.result())


def test_multiples_of_pi_and_square_roots_are_round():
    (found,) = settled(
        sympy.sympify("6.26*(mass/9.8)**0.51"), data(2 * np.pi * np.sqrt(MASS / 9.81), 1e-4)
    )
    ratio = evaluated(found, NAMES, np.c_[MASS, SPEED]) / np.sqrt(MASS)
    assert "sqrt(mass)" in str(found)
    np.testing.assert_allclose(ratio, 2 * np.pi / np.sqrt(9.81), rtol=1e-3)  # of 2.01, rounded


def test_round_values_are_ranked():
    ranks = {float(value): rank for rank, value in reversed(list(round_values(3.1415)))}
    assert ranks[0] < ranks[1] < ranks[3] == ranks[np.pi] < ranks[3.1] < ranks[3.14]
    assert sympy.Rational(1, 3) in [value for _, value in round_values(0.3334)]


def test_formulas_become_simpler_one_part_after_another():
    sample = data(0.5 * MASS * SPEED**2 + 0.3 * MASS, 0.0)
    found = list(simpler(sympy.sympify("0.5*mass*speed**2 + 0.3*mass"), sample, lambda: False))
    assert not found[-1].free_symbols
    errors = [mean_squared_error(f, NAMES, sample.x, sample.y) for f in found]
    assert errors == sorted(errors)
    # The best line through mass * speed**2, up to the digits that BIC allows.
    ones = np.c_[MASS * SPEED**2, np.ones(400)]
    left = np.linalg.lstsq(ones, sample.y, rcond=None)[1][0] / 400
    assert errors[0] <= left * 400 ** (3 / 400)


def test_affine_parameters_are_fitted_to_float32():
    x = points()
    y = np.exp(np.sin(np.pi * x[:, :1]) + x[:, 1:] ** 2)
    model = named_network()
    for layer in model.layers:
        layer.affine = layer.affine * 1.05 + 0.02
    (expression,) = formula(fit_affine(model, x, y))
    # The parameters are stored in float32: 2^-24 each, some dozens of them in a sum.
    assert mean_squared_error(expression, ["x1", "x2"], x, y[:, 0]) < (100 * 2.0**-24) ** 2 * 4


def test_common_factors_of_quotients_are_canceled():
    rough = sympy.sympify("-2.5/(-2.5/mass - 2.5/speed)")
    found = settled(rough, data(1 / (1 / MASS + 1 / SPEED), 0.0))
    assert "1/(1/speed + 1/mass)" in map(str, found) or "1/(1/mass + 1/speed)" in map(str, found)

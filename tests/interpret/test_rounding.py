"""Printed formulas: parsed back from their text, they fit the data as well as before."""

from __future__ import annotations

import numpy as np
import pytest
import sympy

from tinykan import UserError
from tinykan.interpret.rounding import check_names, evaluated, parsed, rounded, written

X1, X2 = sympy.symbols("x1 x2")
RNG = np.random.default_rng(0)
POINTS = RNG.uniform(-1, 1, (200, 2))


@pytest.mark.parametrize("exponent", range(-12, 13))
def test_a_formula_of_any_scale_keeps_its_numbers(exponent):
    scale = 10.0**exponent
    y = scale * (3 * POINTS[:, 0] ** 2 - 0.25 * POINTS[:, 1])
    noisy = scale * (3.0000004 * X1**2 - 0.2500001 * X2 + 1e-9)
    found, error = written(noisy, ["x1", "x2"], POINTS, y, 3)
    assert error <= 1e-12 * y.var()
    ratio = found / sympy.Float(scale)
    values = sympy.lambdify([X1, X2], ratio)(*POINTS.T)
    np.testing.assert_allclose(values, y / scale, rtol=1e-6, atol=1e-9)
    assert len(sympy.Add.make_args(found)) == 2  # what is nothing beside the rest is left out


@pytest.mark.parametrize("exponent", range(-12, 13, 4))
def test_a_formula_of_inputs_of_any_scale(exponent):
    scale = 10.0**exponent
    x = scale * POINTS
    y = np.sin(np.pi * POINTS[:, 0]) + POINTS[:, 1] ** 2
    expression = sympy.sin(3.14159 / scale * X1) + (0.9999999 / scale * X2) ** 2
    found, error = written(expression, ["x1", "x2"], x, y, 3)
    assert error < 1e-10
    np.testing.assert_allclose(evaluated(found, ["x1", "x2"], x), y, atol=1e-5)


def test_numbers_have_the_digits_that_the_error_needs():
    y = 0.123456789 * POINTS[:, 0]
    found, error = written(0.123456789 * X1, ["x1", "x2"], POINTS, y, 3)
    assert error <= 1e-14 * y.var() and float(found.coeff(X1)) == pytest.approx(0.1234568, abs=1e-7)
    rough = y + RNG.normal(0, 0.05, len(y))
    found, error = written(0.123456789 * X1, ["x1", "x2"], POINTS, rough, 2)
    assert found == sympy.Float("0.12") * X1
    assert error == pytest.approx(np.mean((0.12 * POINTS[:, 0] - rough) ** 2), rel=1e-12)


def test_what_is_multiplied_out_is_written_where_it_is_no_longer():
    quotient = (X1 + X2) / (1.0 + X1 * X2)
    y = evaluated(quotient, ["x1", "x2"], POINTS)
    assert str(written(quotient, ["x1", "x2"], POINTS, y, 3)[0]) == "(x1 + x2)/(x1*x2 + 1)"
    difference = 0.25 * (X1 + X2) ** 2 - 0.25 * (X1 - X2) ** 2
    y = POINTS[:, 0] * POINTS[:, 1]
    assert written(difference, ["x1", "x2"], POINTS, y, 3)[0] == X1 * X2


def test_the_error_is_that_of_the_text():
    y = np.exp(2 * POINTS[:, 0]) / 3
    found, error = written(sympy.exp(2.00001 * X1) / 3.0, ["x1", "x2"], POINTS, y, 3)
    values = sympy.lambdify([X1, X2], parsed(str(found), ["x1", "x2"]))(*POINTS.T)
    assert error == pytest.approx(np.mean((values - y) ** 2), rel=1e-9, abs=1e-30)


def test_small_numbers_of_large_inputs_count():
    expression = 1e-6 * X1 + 1e-6
    assert rounded(expression, 3, ["x1"], np.array([[1e6], [-1e6]])) == sympy.Float("1e-6") * X1
    assert rounded(expression, 3, ["x1"], np.array([[1.0], [-1.0]])) != sympy.Float("1e-6") * X1


def test_what_is_not_real_has_no_finite_error():
    found, error = written(sympy.sqrt(X1), ["x1", "x2"], POINTS, POINTS[:, 0], 3)
    assert error == np.inf and found == sympy.sqrt(X1)


@pytest.mark.parametrize("name", ["lambda", "a b", "x-y", "", "2x", "drag (N)", "None"])
def test_names_that_cannot_be_parsed_back_are_refused(name):
    with pytest.raises(UserError, match="identifier"):
        check_names(["x1", name])


def test_sympys_own_names_are_names():
    check_names(["E", "I", "pi", "S", "N"])
    assert parsed("E**2 + pi", ["E"]).free_symbols == {sympy.Symbol("E")}

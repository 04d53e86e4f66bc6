"""Formulas as tasks, against mpmath's functions."""

from __future__ import annotations

import sys

import mpmath
import numpy as np
import pytest
from tinygrad import Tensor

from tests.tasks.helpers import Exactly, scored
from tinykan import UserError
from tinykan.runs.presets import task_from
from tinykan.tasks import Formula, FormulaTask

KNOWN = {
    "exp(sin(pi*x) + y**2)": lambda x, y: mpmath.exp(mpmath.sin(mpmath.pi * x) + y**2),
    "exp(j0(20*x) + y**2)": lambda x, y: mpmath.exp(mpmath.besselj(0, 20 * x) + y**2),
    "ellipkinc(x, y)": lambda x, y: mpmath.ellipf(x, y),
    "jvp(x, y)": lambda v, z: (mpmath.besselj(v - 1, z) - mpmath.besselj(v + 1, z)) / 2,
    "-acos(x)/(1 + y)": lambda x, y: -mpmath.acos(x) / (1 + y),
}


@pytest.mark.parametrize("text", KNOWN)
def test_values_are_those_of_another_library(text):
    x, y = np.random.default_rng(0).uniform(0.1, 0.9, (2, 20))
    expected = [float(KNOWN[text](*pair)) for pair in zip(x.tolist(), y.tolist(), strict=True)]
    np.testing.assert_allclose(Formula(text)({"x": x, "y": y}), expected, rtol=1e-12)


def test_points_are_drawn_in_the_domain_of_each_variable():
    task = FormulaTask("b - 10*a", domain=((0, 1), (5, 7)), points=300, tested=200)
    inputs, targets, tested, expected = task.data
    assert inputs.shape == (300, 2) and tested.shape == (200, 2) and task.in_features == 2
    for unit, values in ((inputs, targets), (tested, expected)):
        assert abs(unit).max() <= 1 and abs(unit).max() > 0.95
        # Of the numbers that a network in float32 sees, not of those before they were rounded.
        a, b = (unit[:, 0].astype(float) + 1) / 2, unit[:, 1].astype(float) + 6
        np.testing.assert_allclose(values[:, 0], b - 10 * a, rtol=1e-14, atol=1e-14)
    assert not np.isin(tested[:, 0], inputs[:, 0]).any()
    x, y = (t.numpy() for t in task.sampler(1000, 0)(Tensor([0])))
    np.testing.assert_array_equal(x, inputs)
    np.testing.assert_array_equal(y, targets.astype(np.float32))
    assert scored(task, Exactly(lambda x: task.evaluate(x)[:, None] + 0.5)) == pytest.approx(
        {"rmse": 0.5, "mean_error": 0.5, "max_error": 0.5}
    )
    assert task.digest == FormulaTask("b - 10*a", ((0, 1), (5, 7)), 300, 200).digest
    assert task.digest != FormulaTask("b - 10*a", ((0, 1), (5, 7)), 300, 200, seed=1).digest


def test_one_domain_is_that_of_every_variable_in_alphabetical_order():
    task = task_from("FormulaTask('x2 + x10 + 3*b', (0, 2))")
    assert task.function.variables == ["b", "x10", "x2"] and task.domains == [(0, 2)] * 3
    corners = np.eye(3, dtype=np.float32) * 2 - 1
    np.testing.assert_allclose(task.evaluate(corners), [6, 2, 2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("'1 + 2'", "has no variables"),
        ("''", "an expression such as"),
        ("3", "an expression such as"),
        ("'x.real'", "'x.real' is not allowed"),
        ("'(lambda: x)()'", "is not allowed"),
        ("'x @ x'", "'x @ x' is not allowed"),
        ("'x + True'", "'True' is not allowed"),
        ("'expp(x)'", "unknown function 'expp'; choose from exp, log"),
        ("'errstate(x)'", "unknown function 'errstate'"),
        ("'exp(x, x, x, x)'", "exp does not take 4 arguments"),
        ("'log(x)'", "is not finite everywhere"),
        ("'x + y', (1, 0)", "domain"),
        ("'x + y', 3", "domain 3 must be two finite numbers"),
        ("'x + y', ((0, 1),)", "one for each of x, y"),
        ("'x', points=0", "points 0 must be a whole number"),
        ("'x', tested=1.5", "tested 1.5 must be a whole number"),
        ("'x', seed=-1", "seed -1 must be a whole number"),
    ],
)
def test_what_is_no_formula_is_one_line(arguments, message):
    with pytest.raises(UserError) as error:
        task_from(f"FormulaTask({arguments})")
    assert message in str(error.value) and "\n" not in str(error.value)


def test_special_functions_need_an_extra_and_others_do_not(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.special", None)
    Formula("sqrt(1 + tanh(x)**2)")
    with pytest.raises(UserError, match="the function j0 needs scipy"):
        Formula("j0(x)")

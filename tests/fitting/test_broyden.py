"""Broyden's method with the whole matrix, against SciPy and what its formulas promise."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import scipy

from tinykan import KAN, BSpline, Polynomial, fit
from tinykan.fitting import broyden
from tinykan.fitting.broyden import Inverse, minimize
from tinykan.tasks import EquationTask


def run(function, gradient, start, iterations):
    values = []

    def callback(found):
        values.append(found.fun)
        assert found.fun == function(found.x)
        if len(values) == iterations:
            raise StopIteration

    found = minimize(lambda z: (function(z), gradient(z)), start, callback, 50)
    return found, values


def test_rosenbrocks_valley_is_followed_to_its_end():
    start = np.tile([-1.2, 1.0], 5)
    found, values = run(scipy.optimize.rosen, scipy.optimize.rosen_der, start, 1000)
    known = scipy.optimize.minimize(
        scipy.optimize.rosen, start, jac=scipy.optimize.rosen_der, method="BFGS"
    )
    assert not found.success  # it ends by itself, where rounding does not let it go lower
    np.testing.assert_allclose(found.x, 1, atol=1e-6)
    assert found.fun < 1e-12 and len(values) < 2 * known.nit
    assert all(after < before for before, after in pairwise(values))


def test_the_callback_ends_it():
    found, values = run(scipy.optimize.rosen, scipy.optimize.rosen_der, np.zeros(4), 3)
    assert found.success and len(values) == 3 and found.fun == values[-1]


def test_where_nothing_is_lower_it_ends_at_once():
    found, values = run(lambda z: float(z @ z), lambda z: 2 * z, np.zeros(3), 10)
    assert not found.success and not values and found.fun == 0


def test_the_estimate_maps_the_change_of_the_gradient_to_the_step():
    """The secant equation, and positive definiteness, hold for every member of Broyden's class."""
    rng = np.random.default_rng(0)
    root = rng.normal(size=(8, 8))
    hessian, inverse, point = root @ root.T + 0.1 * np.eye(8), Inverse(8), rng.normal(size=8)
    for _ in range(30):
        gradient = hessian @ point
        direction = -inverse.times(gradient)
        length = -(gradient @ direction) / (direction @ hessian @ direction)
        step = length * direction
        inverse.learn(step, hessian @ step, -length * (gradient @ step))
        np.testing.assert_allclose(inverse.times(hessian @ step), step, rtol=1e-8, atol=1e-10)
        matrix = np.stack([inverse.times(row) for row in np.eye(8)])
        np.testing.assert_allclose(matrix, matrix.T, rtol=0, atol=1e-10 * np.abs(matrix).max())
        assert np.linalg.eigvalsh(matrix).min() > 0
        point = point + step
        if np.abs(point).max() < 1e-9:
            break
    # With exact searches a quadratic function of 8 variables takes 8 steps, and some for rounding.
    assert np.abs(point).max() < 1e-9
    before = inverse.times(point)
    inverse.learn(step, -step, 1.0)  # downward curvature teaches nothing
    np.testing.assert_array_equal(inverse.times(point), before)


@pytest.mark.long
def test_the_residual_of_an_equation_falls_further_than_with_lbfgs(monkeypatch):
    task, losses = EquationTask("heat", hard_constraints=True), []
    for largest in (0, 1000):
        monkeypatch.setattr(broyden, "LARGEST", largest)
        model = KAN([2, 5, 1], Polynomial(2), activation="tanh", seed=0)
        options = {"steps": 0, "lbfgs": 150, "loss": task.loss, "progress": False}
        losses.append(fit(model, task.sampler(300, 0), **options).losses[-1])
    assert losses[1] < 0.5 * losses[0], losses


def test_splines_keep_lbfgs(monkeypatch):
    monkeypatch.setattr(broyden, "minimize", None)
    task, model = EquationTask("heat", hard_constraints=True), KAN([2, 1], BSpline(5), seed=0)
    fit(model, task.sampler(50, 0), steps=0, lbfgs=2, loss=task.loss, progress=False)


@pytest.mark.parametrize("count", [1, 2])
def test_few_parameters_are_enough(count):
    found, _ = run(
        lambda z: float(np.sum((z - 2) ** 4)), lambda z: 4 * (z - 2) ** 3, np.zeros(count), 60
    )
    np.testing.assert_allclose(found.x, 2, atol=0.01)

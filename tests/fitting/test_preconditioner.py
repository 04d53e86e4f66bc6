"""The preconditioner of L-BFGS: its inverse, its gradients, and what it is for."""

from __future__ import annotations

import numpy as np
import pytest
from tinygrad import Tensor

from tests.helpers import float64, needs_float64
from tinykan import KAN, MLP, BSpline, Chebyshev, EdgeTanh, Network, batches, fit
from tinykan.fitting.grids import knot_vectors
from tinykan.fitting.least_squares import b_splines
from tinykan.fitting.preconditioner import RIDGE, GaussNewtonPreconditioner
from tinykan.tensors import learnable

RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, (300, 2))


@pytest.fixture(autouse=True)
def doubles():
    with float64():
        yield


def numbers(model) -> np.ndarray:
    return np.concatenate([w.numpy().ravel() for w in learnable(model)])


@needs_float64
@pytest.mark.parametrize(
    "make",
    [
        lambda: KAN([2, 3, 2], BSpline(5), seed=0),
        lambda: KAN([2, 3, 1], Chebyshev(4), base=None, spline_weight=False, seed=0),
        lambda: MLP([2, 4, 1], seed=0),
        lambda: Network([EdgeTanh(2, 3), EdgeTanh(3, 1)]),
    ],
)
def test_it_maps_to_weights_and_back(make):
    model = make()
    preconditioner, weights = GaussNewtonPreconditioner(model, Tensor(X)), numbers(model)
    at = preconditioner.from_weights(weights)
    dense = isinstance(model, MLP) or isinstance(model.layers[0], EdgeTanh)
    assert (at == weights).all() == dense
    np.testing.assert_allclose(preconditioner.to_weights(at), weights, rtol=1e-7, atol=1e-9)
    # The gradient is that of a function of the preconditioned variables: here a linear one.
    slope, step = RNG.normal(size=weights.shape), RNG.normal(size=weights.shape)
    change = slope @ (preconditioner.to_weights(at + step) - preconditioner.to_weights(at))
    assert preconditioner.gradient(slope) @ step == pytest.approx(change, rel=1e-6)


@needs_float64
def test_the_curvature_is_one_where_samples_decide():
    """Of the mean squared output of a single layer; and 0 where there are no samples."""
    model = KAN([1, 1], BSpline(8), base=None, spline_weight=False, bias=False, seed=0)
    x = RNG.uniform(-1, 0, (500, 1))  # half of the grid
    preconditioner = GaussNewtonPreconditioner(model, Tensor(x))
    bases = b_splines(x.T, knot_vectors(model.layers[0].basis, 1), 3)[0]
    changes = np.stack([preconditioner.to_weights(unit) for unit in np.eye(11)], axis=1)
    curvature = changes.T @ (bases.T @ bases / len(x)) @ changes
    values = np.linalg.eigvalsh(curvature)
    assert values.max() < 1 + RIDGE and (values > 0.5).sum() >= 6 and values.min() > -1e-9


@needs_float64
def test_changes_are_continued_over_functions_that_samples_see_and_no_others():
    model = KAN([1, 1], BSpline(20), base=None, spline_weight=False, bias=False, seed=0)
    coefficients = model.layers[0].coefficients
    rng = np.random.default_rng(0)
    before = rng.normal(size=(1, 23, 1))
    coefficients.assign(Tensor(before)).realize()
    x = rng.uniform(-1, 0.505, (400, 1))
    fit(model, batches(x, np.sin(6 * x)), steps=0, lbfgs=20, progress=False)
    # The last four begin at 0.6. The one before begins at 0.5: samples see next to nothing of it,
    # and without its neighbours would make it 35 where it should be 1.
    np.testing.assert_array_equal(coefficients.numpy()[0, -4:], before[0, -4:])
    beyond = np.linspace(0.5, 0.58, 9)[:, None]
    np.testing.assert_allclose(model(Tensor(beyond)).numpy(), np.sin(6 * beyond), atol=0.02)


@needs_float64
@pytest.mark.long
def test_fine_grids_on_uneven_data_take_few_iterations():
    x = RNG.uniform(-1, 1, (600, 1)) ** 3  # most of them near 0
    y = np.sin(6 * x)
    model = KAN([1, 1], BSpline(40), base=None, spline_weight=False, bias=False, seed=0)
    history = fit(model, batches(x, y), steps=0, lbfgs=60, progress=False)
    bases = b_splines(x.T, knot_vectors(model.layers[0].basis, 1), 3)[0]
    best = np.mean((bases @ np.linalg.lstsq(bases, y, rcond=None)[0] - y) ** 2)
    assert history.losses[-1] < 2 * best < 1e-9


@needs_float64
@pytest.mark.parametrize("x", [np.full((9, 2), 0.3), np.full((9, 2), 7.0), np.zeros((1, 2))])
def test_inputs_that_say_nothing_leave_numbers_finite(x):
    model = KAN([2, 2, 1], BSpline(5), seed=0)
    preconditioner = GaussNewtonPreconditioner(model, Tensor(x))
    weights = numbers(model)
    at = preconditioner.from_weights(weights)
    assert np.isfinite(at).all() and np.isfinite(preconditioner.gradient(weights)).all()
    assert np.isfinite(preconditioner.to_weights(at)).all()


@needs_float64
def test_a_base_function_that_has_vanished_is_left_as_it_is():
    """silu(-90) is 1e-37: in a scale in which it is of size 1, its weight would be of size 1e37."""
    model = KAN([1, 1], BSpline(5), seed=0)
    x = Tensor(np.linspace(-90, -80, 50)[:, None])
    preconditioner, weights = GaussNewtonPreconditioner(model, x), numbers(model)
    moved = preconditioner.to_weights(preconditioner.from_weights(weights) + 1)
    place = [w is model.layers[0].base_weight for w in learnable(model)].index(True)
    start = sum(int(w.numel()) for w in learnable(model)[:place])
    assert moved[start] == weights[start] + 1
    np.testing.assert_allclose(moved, weights, atol=1e3)

"""Grids that move and grow: against pykan's own numbers, and whatever the inputs are."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tinygrad import Tensor

from tests.helpers import double, needs_float64, pykan_layer
from tinykan import KAN, BSpline, KANLayer, Polynomial, UserError
from tinykan.fitting.grids import (
    knots_from_samples,
    refine,
    update_grid,
)
from tinykan.fitting.least_squares import b_splines, fit_coefficients, least_squares

RNG = np.random.default_rng(0)


@needs_float64
def test_golden_grid_update(golden):
    data = golden("pykan_layer")
    names = ("grid", "coef", "scale_base", "scale_sp", "mask")
    layer = pykan_layer(*(data[f"state/{name}"] for name in names))
    change = update_grid(layer, data["x"], grid_eps=float(data["grid_eps"]), margin=0)
    np.testing.assert_allclose(layer.basis.knots.numpy(), data["grid_after_update"], atol=1e-15)
    # Where few samples decide, coefficients differ by what the ridge is.
    fitted = layer.coefficients.numpy().transpose(0, 2, 1)
    np.testing.assert_allclose(fitted, data["coef_after_update"], atol=1e-9)
    np.testing.assert_allclose(layer(double(data["x"])).numpy(), data["y_after_update"], atol=1e-10)
    assert 0 < change < 0.1  # of random curves on other knots


@needs_float64
@pytest.mark.parametrize("order", [1, 3])
def test_moved_grids_keep_what_they_can_represent(order):
    """A polynomial of the order is in the span of the splines on any knots."""
    basis = BSpline(6, order, (-2.0, 2.0), knots=double(np.linspace(-4, 4, 7 + 2 * order)))
    layer = KANLayer(1, 1, basis, base=None, spline_weight=False, bias=False)
    x = np.linspace(-1, 1.5, 300)
    cubic = (x**order - 0.5 * x)[None, :, None]
    fitted = fit_coefficients(x[None], cubic, basis.knots.numpy(), order)
    layer.coefficients = double(fitted)
    assert update_grid(layer, x[:, None]) < 1e-6
    np.testing.assert_allclose(layer(double(x[:, None])).numpy(), cubic[0], atol=1e-6)
    low, high = layer.basis.knots.numpy()[0, [order, order + 6]]
    assert (low, high) == pytest.approx((-1.025, 1.525))


NUMBERS = st.floats(-1e6, 1e6, allow_subnormal=False)


@given(
    st.lists(NUMBERS, min_size=1, max_size=6),
    st.sampled_from([1, 3, 40]),
    st.sampled_from([1e-12, 1.0, 1e12]),
    st.integers(1, 9),
    st.floats(0, 1),
)
def test_no_input_gives_nan(values, repeats, size, intervals, grid_eps):
    """Constant, two-valued, huge, tiny and repeated inputs, fewer samples than functions."""
    samples = (np.array(values * repeats) * size)[:, None]
    layer = KANLayer(1, 2, BSpline(intervals))
    change = update_grid(layer, samples, grid_eps=grid_eps)
    knots = layer.basis.knots.numpy()
    assert np.isfinite(knots).all() and (np.diff(knots) >= 0).all() and knots[0, -1] > knots[0, 0]
    assert np.isfinite(change) and np.isfinite(layer.coefficients.numpy()).all()
    y = layer(Tensor(samples.astype(np.float32))).numpy()
    assert np.isfinite(y).all()
    assert np.isfinite(update_grid(layer, samples))  # and again, from there


@pytest.mark.parametrize("domain", [(-1.0, 1.0), (0.0, 3.0)])
def test_refined_models_compute_the_same(domain):
    model = KAN([2, 3, 1], BSpline(4, 3, domain), seed=1)
    x = Tensor(RNG.uniform(*domain, (200, 2)).astype(np.float32))
    before = model.layers[0](x).numpy()
    assert refine(model, 12) < 1e-12  # its knots are among them
    assert [layer.basis for layer in model.layers] == [BSpline(12, 3, domain)] * 2
    np.testing.assert_allclose(model.layers[0](x).numpy(), before, atol=3e-6)


@needs_float64
def test_what_a_refinement_changes_is_reported():
    layer = KAN([1, 1], BSpline(5), base=None, spline_weight=False, seed=2)
    layer.layers[0].coefficients = double(layer.layers[0].coefficients.numpy())
    layer.layers[0].bias = None
    x = double(np.linspace(-1, 1, 1000)[:, None])
    before = layer(x).numpy()
    change = refine(layer, 7)
    assert change == pytest.approx(np.abs(layer(x).numpy() - before).max(), rel=0.05)
    assert change > 1e-4


def test_knots_of_ones_own_are_refined_where_they_are():
    model = KAN([2, 1], BSpline(4), seed=0)
    update_grid(model.layers[0], RNG.normal(0, 1, (500, 2)) ** 3)
    grid = model.layers[0].basis.knots.numpy()[:, 3:8]
    assert refine(model, 8) < 1e-10
    finer = model.layers[0].basis.knots.numpy()[:, 3:12]
    np.testing.assert_allclose(finer[:, ::2], grid, atol=1e-6)
    np.testing.assert_allclose(finer[:, 1::2], (grid[:, 1:] + grid[:, :-1]) / 2, atol=1e-6)


def test_without_scipy_it_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.interpolate", None)
    with pytest.raises(UserError, match=r"^refitting splines needs scipy; install it with: pip"):
        update_grid(KANLayer(1, 1), [[0.0], [1.0]])


@pytest.mark.parametrize("order", [1, 3, 5])
def test_knots_and_points_of_any_kind_are_fitted(order):
    """Repeated knots, knots within a rounding error, points outside and fewer than functions: the
    residuals are orthogonal to every function."""
    rng = np.random.default_rng(order)
    for case in range(60):
        size = 10.0 ** rng.integers(-12, 12)
        knots = np.sort(rng.uniform(-1, 1, (2, 2 * order + 9)), axis=1)
        if case % 3 == 1:
            knots = np.round(2 * knots)
        if case % 3 == 2:
            knots[:, 4:] = knots[:, 3:4] * (1 + 1e-15 * np.arange(2 * order + 5))
            knots.sort(axis=1)
        x, y = rng.uniform(-1.2, 1.2, (2, 5 + case)), rng.normal(size=(2, 5 + case, 3))
        x[:, :4] = knots[:, [0, 0, -1, -1]]
        found, left = least_squares(size * x, y, size * knots, order, np.ones(5 + case))
        bases = b_splines(size * x, size * knots, order)
        np.testing.assert_allclose(bases @ found - y, left, atol=1e-12 * (1 + np.abs(found).max()))
        norms = np.sqrt((bases**2).sum(1))[..., None]
        products = np.abs(bases.transpose(0, 2, 1) @ left) / np.where(norms > 0, norms, 1)
        # One refinement leaves the square of the ridge's relative error, 1e-14 times the condition.
        assert products.max() < 1e-7


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: update_grid(KANLayer(1, 1), [[np.nan]]), "samples must be finite"),
        (
            lambda: update_grid(KANLayer(1, 1), [[0.0, 1.0]]),
            "shape (1, 2): [n, 1] is needed",
        ),
        (lambda: update_grid(KANLayer(1, 1), np.zeros((0, 1))), "samples of shape"),
        (lambda: update_grid(KANLayer(1, 1, Polynomial(2)), [[0.0]]), "has no grid"),
        (lambda: knots_from_samples(np.ones((3, 1)), 4, 3, grid_eps=2), "grid_eps 2 must lie"),
        (lambda: knots_from_samples(np.ones((3, 1)), 4, 3, margin=-1), "margin -1 must be"),
        (lambda: refine(KAN([1, 1]), 0), "intervals 0"),
    ],
)
def test_what_cannot_be_done_is_one_line(call, message):
    with pytest.raises(UserError) as error:
        call()
    assert message in str(error.value) and "\n" not in str(error.value)

"""Splines on nodes: kernels against all functions of the basis, and against repeated runs."""

from __future__ import annotations

import numpy as np
import pytest
from tinygrad import Tensor

from tests.helpers import double, first, needs_float64, spline_bases, uniform_knots
from tinykan import BSpline
from tinykan.kernels import node_splines

RNG = np.random.default_rng(0)


def drawn(batch: int, inputs: int, rows: int, rank: int, basis: BSpline):
    """Inputs, a third of them outside of the grid and some at knots; coefficients; gradients."""
    x = RNG.uniform(-1.7, 1.7, (batch, inputs))
    x[: min(batch, 3), 0] = [-1.0, 1.0, 0.0][: min(batch, 3)]
    c = RNG.normal(size=(rows, basis.n_functions, rank))
    return x, c, RNG.normal(size=(batch, inputs, rank))


def expected(x: np.ndarray, c: np.ndarray, u: np.ndarray, basis: BSpline) -> list[np.ndarray]:
    """Values and gradients by SciPy's functions, which are 0 outside of their knots."""
    knots = uniform_knots(basis.intervals, basis.order)
    values, slopes = (spline_bases(x, knots, basis.order, m) for m in (0, 1))
    each = np.broadcast_to(c, (x.shape[1], *c.shape[1:]))
    to_c = np.einsum("bin,bir->inr", values, u)
    return [
        np.einsum("bin,inr->bir", values, each),
        np.einsum("bin,inr,bir->bi", slopes, each, u),
        to_c if len(c) > 1 else to_c.sum(axis=0, keepdims=True),
    ]


def computed(x: Tensor, c: Tensor, u: Tensor, basis: BSpline) -> list[np.ndarray]:
    y = node_splines(x, basis, c)
    if y is None:
        pytest.skip("the device has no such kernels")
    return [t.numpy() for t in (y, *(y * u).sum().gradient(x, c))]


@pytest.mark.parametrize(("intervals", "order"), first(2, [(1, 2), (50, 3), (7, 5), (200, 2)]))
@pytest.mark.parametrize(
    ("batch", "inputs", "rows", "rank"),
    [(64, 16, 16, 1), (37, 5, 5, 2), (64, 6, 1, 1), (10, 3, 1, 3), (1, 1, 1, 1)],
)
@needs_float64
def test_values_and_gradients(intervals, order, batch, inputs, rows, rank):
    """To the rounding of float64, of functions whose terms are up to 3^5 times as large."""
    basis = BSpline(intervals, order)
    arrays = drawn(batch, inputs, rows, rank, basis)
    found = computed(*map(double, arrays), basis)
    for ours, theirs in zip(found, expected(*arrays, basis), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12 * max(1, np.abs(theirs).max()))


def test_float32_and_repeated_bits():
    """Slopes of 25 times float32's rounding of x."""
    basis = BSpline(50, 3)
    arrays = [a.astype(np.float32) for a in drawn(512, 20, 20, 1, basis)]
    found, again = (computed(*map(Tensor, arrays), basis) for _ in range(2))
    for ours, theirs, same in zip(
        found, expected(*(a.astype(float) for a in arrays), basis), again, strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * max(1, np.abs(theirs).max()))
        np.testing.assert_array_equal(ours, same)


def test_what_is_not_finite_is_seen():
    basis = BSpline(5, 3)
    x = Tensor([[float("nan"), float("inf"), -float("inf"), 1e30]])
    y = node_splines(x, basis, Tensor.ones(4, 8, 1).contiguous())
    if y is None:
        pytest.skip("the device has no such kernels")
    values = y.numpy()[0, :, 0]
    assert np.isnan(values[0]) and (values[1:] == 0).all()

"""Linear, polynomial and B-spline bases against SciPy, pykan and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tinygrad import Tensor, dtypes

from tests.helpers import (
    central_difference,
    first,
    needs_float64,
    spline_bases,
    uniform_knots,
)
from tinykan import RBF, BSpline, Chebyshev, Fourier, Linear, Polynomial, UserError, Wavelet
from tinykan.variants.bases import WAVELETS

CASES = {"g5k3": 3, "g3k2": 2, "g20k3": 3, "g4k1": 1, "g6k5": 5, "g8k3_nonuniform": 3}


def away_from_knots(rng, intervals: int, order: int, count: int = 200) -> np.ndarray:
    """Points inside and outside the grid, where every derivative exists."""
    low, high = -1 - 2 * order / intervals - 0.5, 1 + 2 * order / intervals + 0.5
    x = rng.uniform(low, high, count)
    position = (x + 1) * intervals / 2
    return x[np.abs(position - np.round(position)) > 1e-3]


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("intervals", first(2, [1, 20, 5]))
@pytest.mark.parametrize("given_knots", [False, True])
def test_values_and_derivatives_match_scipy_in_float32(order, intervals, given_knots):
    x = away_from_knots(np.random.default_rng(order), intervals, order).astype(np.float32)
    knots = uniform_knots(intervals, order)
    basis = BSpline(intervals, order, knots=knots if given_knots else None)
    tensor = Tensor(x).unsqueeze(-1)
    expected = spline_bases(x.astype(np.float64), knots, order)
    np.testing.assert_allclose(basis(tensor).numpy()[:, 0], expected, atol=1e-6)
    # Slopes are as large as 1 / spacing, and so is the effect of one rounding of x.
    slopes = spline_bases(x.astype(np.float64), knots, order, derivative=1)
    np.testing.assert_allclose(
        basis.derivative(tensor).numpy()[:, 0], slopes, atol=2e-7 * intervals**2 + 1e-6
    )


@needs_float64
@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("intervals", first(2, [1, 20, 5]))
@pytest.mark.parametrize("given_knots", [False, True])
def test_values_and_derivatives_match_scipy_in_float64(order, intervals, given_knots):
    x = away_from_knots(np.random.default_rng(order), intervals, order)
    knots = uniform_knots(intervals, order)
    tensor_knots = Tensor(knots, dtype=dtypes.float64) if given_knots else None
    basis = BSpline(intervals, order, knots=tensor_knots)
    tensor = Tensor(x, dtype=dtypes.float64).unsqueeze(-1)
    expected = spline_bases(x, knots, order)
    slopes = spline_bases(x, knots, order, derivative=1)
    np.testing.assert_allclose(basis(tensor).numpy()[:, 0], expected, atol=1e-12)
    np.testing.assert_allclose(basis.derivative(tensor).numpy()[:, 0], slopes, atol=1e-12)


@needs_float64
@pytest.mark.parametrize("case", CASES)
def test_pykan_golden_bases_and_curves_in_float64(golden, case):
    data, order = golden("pykan_splines"), CASES[case]
    grid, x, coef = data[f"{case}/grid"], data[f"{case}/x"], data[f"{case}/coef"]
    intervals = grid.shape[1] - 2 * order - 1
    basis = BSpline(intervals, order, knots=Tensor(grid, dtype=dtypes.float64))
    tensor = Tensor(x, dtype=dtypes.float64)
    # pykan itself is compared at 1e-12 of the largest value.
    bases, slopes = basis(tensor).numpy(), basis.derivative(tensor).numpy()
    np.testing.assert_allclose(bases, data[f"{case}/bases"], atol=1e-12)
    curves = np.einsum("pin,ion->pio", bases, coef)
    np.testing.assert_allclose(curves, data[f"{case}/curves"], atol=1e-11)
    sums = np.einsum("pin,ion->pi", slopes, coef)
    expected = data[f"{case}/dcurves_dx"]
    np.testing.assert_allclose(sums, expected, atol=1e-11 * np.abs(expected).max())


@pytest.mark.parametrize("case", CASES)
def test_pykan_golden_bases_in_float32(golden, case):
    data, order = golden("pykan_splines"), CASES[case]
    grid, x = data[f"{case}/grid"], data[f"{case}/x"].astype(np.float32)
    basis = BSpline(grid.shape[1] - 2 * order - 1, order, knots=grid)
    expected = np.stack(
        [spline_bases(x[:, i].astype(float), grid[i], order) for i in range(x.shape[1])], axis=1
    )
    # Knots are rounded to float32 as well: an absolute error of 2^-24 over the narrowest interval.
    tolerance = 1e-6 + 2**-24 / np.diff(grid).min()
    np.testing.assert_allclose(basis(Tensor(x)).numpy(), expected, atol=tolerance)


@pytest.mark.parametrize(
    "basis",
    [
        Linear(),
        Polynomial(2),
        Polynomial(3),
        Polynomial(5),
        *[BSpline(4, k) for k in range(1, 6)],
        BSpline(4, 3, knots=np.cumsum([0.3] * 3 + [0.5, 0.2, 0.9, 0.3] + [0.2] * 4) - 1.5),
        RBF(2),
        RBF(9, (-0.5, 2.0)),
        Chebyshev(1),
        Chebyshev(7),
        Fourier(3),
        Fourier(1, 0.7),
        *[Wavelet(2, kind) for kind in WAVELETS],
    ],
    ids=repr,
)
@needs_float64
def test_gradient_is_the_derivative_of_the_value(basis):
    rng = np.random.default_rng(0)
    x = rng.uniform(-1.2, 1.2, 50)
    x = x[np.abs(x * 2 - np.round(x * 2)) > 1e-2]
    weights = rng.normal(size=basis.n_functions)

    def value(at: np.ndarray) -> np.ndarray:
        tensor = Tensor(at, dtype=dtypes.float64).unsqueeze(-1)
        return (basis(tensor).numpy()[:, 0] * weights).sum(axis=-1)

    tensor = Tensor(x, dtype=dtypes.float64).unsqueeze(-1)
    total = (basis(tensor) * Tensor(weights, dtype=dtypes.float64)).sum()
    numeric = central_difference(value, x)
    # Central differences: step^2 times a third derivative of order 10^3 at most.
    np.testing.assert_allclose(total.gradient(tensor)[0].numpy()[:, 0], numeric, atol=1e-6)


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_exact_at_knots_and_both_ends(order):
    basis, intervals = BSpline(4, order), 4
    x = np.linspace(-1, 1, intervals + 1, dtype=np.float32)
    values = basis(Tensor(x).unsqueeze(-1)).numpy()[:, 0]
    expected = spline_bases(x.astype(float), uniform_knots(intervals, order), order)
    np.testing.assert_allclose(values, expected, atol=5e-7)  # 4 roundings of values up to 1
    np.testing.assert_allclose(values.sum(axis=-1), 1, atol=1e-6)


def test_clamped_knots_hold_their_right_end():
    knots = np.array([-1, -1, -1, -1, 0, 0.5, 1, 1, 1, 1], dtype=np.float32)
    values = BSpline(3, 3, knots=knots)(Tensor([[-1.0], [1.0]])).numpy()[:, 0]
    np.testing.assert_array_equal(values, [[1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1]])


def test_each_input_has_its_own_knots():
    knots = np.stack([uniform_knots(5, 3), uniform_knots(5, 3, 0, 10)])
    values = BSpline(5, 3, knots=knots)(Tensor([[0.1, 5.5]])).numpy()[0]
    np.testing.assert_allclose(values[0], values[1], atol=1e-6)


@given(
    x=st.lists(st.floats(-1, 1, width=32), min_size=8, max_size=8),
    order=st.integers(1, 5),
    intervals=st.sampled_from([1, 3, 10]),
)
def test_partition_of_unity_and_local_support(x, order, intervals):
    values = BSpline(intervals, order)(Tensor(x).unsqueeze(-1)).numpy()[:, 0]
    np.testing.assert_allclose(values.sum(axis=-1), 1, atol=2e-6)
    assert (values >= 0).all()
    assert ((values > 0).sum(axis=-1) <= order + 1).all()


@given(
    x=st.lists(st.floats(1.03125, 2.0**100, width=32), min_size=4, max_size=4),
    order=st.integers(1, 5),
)
def test_zero_beyond_the_extended_grid(x, order):
    far = np.array(x, dtype=np.float32) + np.float32(2 * order / 5)
    for side in (far, -far):
        assert (BSpline(5, order)(Tensor(side).unsqueeze(-1)).numpy() == 0).all()


@pytest.mark.parametrize("knots", [None, uniform_knots(5, 3)], ids=["uniform", "given"])
def test_nan_stays_nan_and_infinity_is_outside(knots):
    x = Tensor([[float("nan")], [float("inf")], [float("-inf")]])
    values = BSpline(5, 3, knots=knots)(x).numpy()[:, 0]
    assert np.isnan(values[0]).all()
    assert (values[1:] == 0).all()


def test_outside_marks_what_leaves_the_domain():
    x = Tensor([[-1.1, -1.0, 0.0, 1.0, 1.1]])
    expected = [[True, False, False, False, True]]
    np.testing.assert_array_equal(BSpline(5, 3).outside(x).numpy(), expected)
    by_knots = BSpline(5, 3, knots=uniform_knots(5, 3))
    np.testing.assert_array_equal(by_knots.outside(x * 0.999).numpy(), expected)
    for basis in (RBF(3), Wavelet(2)):
        np.testing.assert_array_equal(basis.outside(x).numpy(), expected)
    for basis in (Linear(), Chebyshev(), Fourier()):
        assert not basis.outside(x).numpy().any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BSpline(0, 3), "intervals 0"),
        (lambda: BSpline(5, 6), "order 6"),
        (lambda: BSpline(5, 0), "order 0"),
        (lambda: BSpline(5, 2.5), "order 2.5"),
        (lambda: BSpline(5, 3, (1.0, -1.0)), "domain"),
        (lambda: BSpline(5, 3, (0.0, float("nan"))), "domain"),
        (lambda: BSpline(5, 3, knots=np.arange(5.0)), "need"),
        (lambda: BSpline(1, 1, knots=np.array([0.0, 2.0, 1.0, 3.0])), "must not decrease"),
        (lambda: BSpline(1, 1, knots=np.array([0.0, 1.0, np.nan, 3.0])), "finite"),
        (lambda: Polynomial(0), "degree 0"),
        (lambda: RBF(1), "centers 1 .* from 2 to 64"),
        (lambda: RBF(8, (1.0, 1.0)), "domain"),
        (lambda: Chebyshev(0), "degree 0"),
        (lambda: Fourier(33), "frequencies 33"),
        (lambda: Fourier(3, 0.0), "period 0.0"),
        (lambda: Fourier(3, float("inf")), "period inf"),
        (lambda: Wavelet(7), "levels 7"),
        (lambda: Wavelet(3, "haar"), "unknown wavelet 'haar'; choose from mexican_hat, morlet"),
        (
            lambda: BSpline(5, 3, knots=np.stack([uniform_knots(5, 3)] * 2))(Tensor.zeros(1, 3)),
            "2 inputs",
        ),
    ],
)
def test_bad_options_are_one_line(make, message):
    with pytest.raises(UserError, match=message) as error:
        make()
    assert "\n" not in str(error.value)

"""The local-support spline kernels against the plain path: values, gradients, edges, bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tinygrad import Tensor, TinyJit, dtypes

from tests.helpers import first, float64, needs_float64
from tests.kernels.helpers import (
    assert_no_second_derivative,
    assert_paths_agree,
    grouped,
    reason,
    results,
    threaded,
)
from tinykan import BSpline, KANLayer

needs_kernels = pytest.mark.skipif(not (threaded or grouped), reason=reason)
needs_threads = pytest.mark.skipif(not threaded, reason=reason)


def splines(grid: str, intervals: int, order: int, inputs: int) -> BSpline:
    """Splines on uniform knots; on random ones between -1.5 and 1.5, shared by all inputs or each
    input's own; or on knots of which some are repeated, at both ends and between."""
    if grid == "uniform":
        return BSpline(intervals, order)
    rng = np.random.default_rng(intervals)
    shape = (1 if grid == "shared" else inputs, intervals + 2 * order + 1)
    knots = np.sort(rng.uniform(-1.5, 1.5, shape), axis=1).astype(np.float32)
    if grid == "repeated":
        knots = np.round(3 * knots) / 3
        knots[:, :order], knots[:, -order:] = knots[:, order:][:, :1], knots[:, :-order][:, -1:]
    return BSpline(intervals, order, knots=knots)


def with_knots(basis: BSpline, x: np.ndarray) -> np.ndarray:
    """`x` `[batch, in]` with each input's knots in its first rows."""
    if basis.knots is not None:
        knots = np.broadcast_to(basis.knots.numpy(), (x.shape[1], basis.knots.shape[1])).T
        x[: len(knots)] = knots[: len(x)]
    return x


@needs_kernels
@pytest.mark.parametrize("order", first(2, [3, 5, 1, 2, 4]))
@pytest.mark.parametrize(
    ("grid", "base"),
    first(
        3,
        [
            ("uniform", "silu"),
            ("own", None),
            ("repeated", "silu"),
            ("shared", "silu"),
            ("own", "silu"),
            ("uniform", None),
        ],
    ),
)
def test_values_and_gradients_match_the_plain_path(order, grid, base):
    rng = np.random.default_rng(order)
    layer = KANLayer(3, 5, splines(grid, 7, order, 3), base=base, rng=rng)
    x = rng.uniform(-2.5, 2.5, (70, 3)).astype(np.float32)
    assert_paths_agree(layer, with_knots(layer.basis, x))


@needs_threads
@needs_float64
@pytest.mark.parametrize("grid", ["uniform", "own", "repeated"])
def test_values_and_gradients_in_float64(grid):
    """The plain path sums in another order: of some 10 terms in a value, and 70 in a gradient."""
    rng = np.random.default_rng(3)
    with float64():
        layer = KANLayer(3, 5, splines(grid, 7, 3, 3), rng=rng)
        x = with_knots(layer.basis, rng.uniform(-2.5, 2.5, (70, 3)))
        assert_paths_agree(layer, x, tolerance=1e-13)


@needs_threads
@needs_float64
def test_a_last_interval_that_float32_does_not_resolve():
    """Lines between knots: 1 at the last of them, and halfway to it 0.5, but for a rounding of x
    relative to the width of the interval, 2^-53 / 1e-9 = 1.1e-7."""
    with float64():
        basis = BSpline(2, 1, knots=[-1, -1, 1 - 1e-9, 1, 1])
        layer = KANLayer(1, 1, basis, base=None, bias=False, spline_weight=False)
        layer.coefficients = Tensor([[[0.0], [0.0], [1.0]]], dtype=dtypes.float64)
        y = layer(Tensor(np.array([[1 - 1e-9], [1 - 0.5e-9], [1.0]]))).numpy()
    np.testing.assert_allclose(y, [[0.0], [0.5], [1.0]], rtol=0, atol=2.5e-7)


@needs_kernels
@pytest.mark.parametrize(
    ("batch", "inputs", "outputs", "intervals"),
    first(
        3,
        [
            (1, 1, 1, 1),
            (37, 2, 3, 3),
            (70, 13, 41, 5),
            (513, 2, 67, 20),
            (1024, 1, 3, 5),
            (2, 1, 2, 2),
            (64, 3, 64, 5),
            (130, 7, 1, 5),
            (256, 4, 96, 50),
        ],
    ),
)
@pytest.mark.parametrize("grid", ["uniform", "own"])
def test_sizes_that_no_tile_divides(batch, inputs, outputs, intervals, grid):
    rng = np.random.default_rng(batch)
    basis = splines(grid, intervals, 3, inputs)
    layer = KANLayer(inputs, outputs, basis, bias=batch % 2 == 0, rng=rng)
    assert_paths_agree(layer, rng.uniform(-1.5, 1.5, (batch, inputs)).astype(np.float32))


# The last three hold knots that are all the same, and ends of either sign and 0.
ENDS = [None, np.linspace(-1.75, 1.75, 15), [-1] * 4 + [-0.5, -0.5, 0, 0.25] + [1] * 7]
ENDS += [[0.5] * 15, [-2.5] * 9 + [-1] * 6, [-1] * 4 + [-0.5] * 4 + [0] * 7]


@needs_kernels
@pytest.mark.parametrize(
    "knots",
    [k if n == 1 else pytest.param(k, marks=pytest.mark.long) for n, k in enumerate(ENDS)],
    ids=["none", "even", "ends", "same", "negative", "zero"],
)
@settings(max_examples=settings.default.max_examples // 2)  # of many numbers each
@given(
    x=st.lists(
        st.one_of(
            st.floats(-4, 4, width=32),
            st.sampled_from([-1.0, 1.0, 0.0, -0.5, 0.5, -1.75, 1.75, 2.5]),  # knots and both ends
        ),
        min_size=48,
        max_size=48,
    )
)
def test_knots_ends_and_outside(knots, x):
    layer = KANLayer(2, 4, BSpline(8, 3, knots=knots), rng=np.random.default_rng(0))
    assert_paths_agree(layer, np.array(x, dtype=np.float32).reshape(24, 2))


@needs_kernels
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30, -1e30])
@pytest.mark.parametrize("grid", ["uniform", "own", "repeated"])
def test_no_input_reads_out_of_range(bad, grid):
    basis = splines(grid, 5, 3, 2)
    layer = KANLayer(2, 4, basis, base=None, rng=np.random.default_rng(0))
    x = np.zeros((70, 2), dtype=np.float32)
    x[3, 1] = bad
    y = layer(Tensor(x)).numpy()
    assert np.isnan(y[3]).all() == np.isnan(bad)
    assert np.isfinite(np.delete(y, 3, axis=0)).all()


@needs_kernels
@pytest.mark.parametrize("grid", ["uniform", "own"])
def test_repeated_runs_give_the_same_bits(grid):
    rng = np.random.default_rng(0)
    layer = KANLayer(8, 16, splines(grid, 5, 3, 8), rng=rng)
    x = rng.uniform(-1, 1, (512, 8)).astype(np.float32)
    upstream = rng.normal(size=(512, 16)).astype(np.float32)
    first, *others = (results(layer, x, upstream, "auto") for _ in range(4))
    for other in others:
        assert all((a == b).all() for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("grid", ["uniform", "own"])
def test_an_empty_batch_is_an_empty_result(grid):
    assert KANLayer(2, 3, splines(grid, 5, 3, 2))(Tensor.zeros(0, 2)).shape == (0, 3)


def test_knots_are_read_when_the_layer_runs():
    layer = KANLayer(2, 3, splines("own", 5, 3, 2), rng=np.random.default_rng(0))
    x = Tensor(np.random.default_rng(1).uniform(-1, 1, (9, 2)).astype(np.float32)).realize()
    compiled = TinyJit(lambda x: layer(x).realize())
    for _ in range(3):
        before = compiled(x).numpy().copy()
    layer.basis.knots.assign(layer.basis.knots * 1.5 + 0.1).realize()
    after = compiled(x).numpy()
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_allclose(after, layer.reference(x).numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", ["g5k3", "g3k2", "g20k3", "g4k1", "g6k5", "g8k3_nonuniform"])
def test_pykan_golden_curves(golden, case):
    names, order = ("grid", "x", "coef", "curves"), int(case.split("k")[1][0])
    grid, x, coefficients, curves = (golden("pykan_splines")[f"{case}/{name}"] for name in names)
    inputs, outputs, functions = coefficients.shape
    basis = BSpline(functions - order, order, knots=grid)
    layer = KANLayer(inputs, outputs, basis, base=None, spline_weight=False, bias=False)
    layer.coefficients = Tensor(coefficients.transpose(0, 2, 1).astype(np.float32))
    y = layer(Tensor(x.astype(np.float32))).numpy()
    # Knots and inputs are rounded to float32, an error of 2^-24 over the narrowest interval, and
    # the slopes multiply that.
    tolerance = (1e-6 + 2**-24 / np.diff(grid).min()) * 10 * np.abs(coefficients).max()
    np.testing.assert_allclose(y, curves.sum(axis=1), atol=tolerance)


@needs_kernels
@pytest.mark.parametrize("knots", [None, np.linspace(-1.6, 1.6, 12)], ids=["uniform", "own"])
def test_second_derivatives_are_refused(knots):
    assert_no_second_derivative(KANLayer(2, 3, BSpline(5, 3, knots=knots)))

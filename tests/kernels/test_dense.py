"""The dense kernels against the plain path, and networks against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from tinygrad import Tensor

from tests.helpers import DENSE_BASES, first, float64, needs_float64, some
from tests.kernels.helpers import (
    assert_no_second_derivative,
    assert_paths_agree,
    reason,
    threaded,
)
from tinykan import MLP, KANLayer, Linear, Polynomial
from tinykan.kernels import dense

needs_dense_kernels = pytest.mark.skipif(not threaded, reason=reason)


@needs_dense_kernels
@pytest.mark.parametrize("basis", DENSE_BASES, ids=repr)
@pytest.mark.parametrize("base", ["silu", pytest.param(None, marks=pytest.mark.long)])
def test_dense_bases_match_the_plain_path(basis, base):
    rng = np.random.default_rng(0)
    layer = KANLayer(4, 5, basis, base=base, rng=rng)
    assert_paths_agree(layer, rng.uniform(-2.5, 2.5, (6, 4)).astype(np.float32))


@needs_dense_kernels
@pytest.mark.parametrize("basis", [Linear(), Polynomial(3)], ids=repr)
@pytest.mark.parametrize(
    "size", first(3, [[96, 24, 68], [37, 3, 5], [1, 4, 8], [64, 16, 32], [130, 7, 12], [6, 1, 1]])
)
def test_dense_layers_match_the_plain_path(basis, size):
    batch, inputs, outputs = size
    rng = np.random.default_rng(batch)
    layer = KANLayer(inputs, outputs, basis, base=None, spline_weight=False, rng=rng)
    assert_paths_agree(layer, rng.uniform(-1, 1, (batch, inputs)).astype(np.float32))


@needs_dense_kernels
@needs_float64
@pytest.mark.parametrize("basis", [Linear(), *DENSE_BASES], ids=repr)
def test_dense_layers_match_the_plain_path_in_float64(basis):
    """To the rounding of sums of up to 37 terms in another order."""
    rng = np.random.default_rng(1)
    with float64():
        layer = KANLayer(5, 18, basis, rng=rng)
    assert_paths_agree(layer, rng.uniform(-1, 1, (37, 5)), tolerance=1e-13)


@needs_dense_kernels
@pytest.mark.parametrize("basis", DENSE_BASES, ids=repr)
def test_second_derivatives_are_refused(basis):
    assert_no_second_derivative(KANLayer(2, 3, basis))


# Values and slopes in NumPy.
FUNCTIONS = {
    "identity": (lambda x: x, np.ones_like),
    "tanh": (np.tanh, lambda x: 1 - np.tanh(x) ** 2),
    "relu": (lambda x: np.maximum(x, 0), lambda x: (x > 0) * 1.0),
    "silu": (lambda x: x * expit(x), lambda x: expit(x) * (1 + x * expit(-x))),
    "sine": (np.sin, np.cos),
    # Of families, members of small numbers, whose angles do not grow from layer to layer.
    "sine0.5": (lambda x: np.sin(x / 2), lambda x: np.cos(x / 2) / 2),
    "finer0.3": (  # whose slope takes |x| + 1 for a constant
        lambda x: np.sin(0.3 * (abs(x) + 1) * x),
        lambda x: 0.3 * (abs(x) + 1) * np.cos(0.3 * (abs(x) + 1) * x),
    ),
    "gauss1": (lambda x: np.exp(-(x**2) / 2), lambda x: -x * np.exp(-(x**2) / 2)),
    "wire1": (
        lambda x: np.cos(x) * np.exp(-(x**2) / 4),
        lambda x: -(np.sin(x) + x / 2 * np.cos(x)) * np.exp(-(x**2) / 4),
    ),
    "hsine0.1": (
        lambda x: np.sin(0.1 * np.sinh(2 * x)),
        lambda x: 0.2 * np.cosh(2 * x) * np.cos(0.1 * np.sinh(2 * x)),
    ),
}


@pytest.mark.parametrize(
    "activation", some(FUNCTIONS, "identity, tanh, relu, silu, sine0.5, finer0.3")
)
@pytest.mark.parametrize(
    ("batch", "widths"),
    [
        (64, [3, 8, 8, 2]),
        # Columns that fill no tile are padded, and read by the next kernel without a copy.
        pytest.param(37, [2, 36, 5, 70, 1], marks=pytest.mark.long),
        (16, [36, 65, 20, 36]),
    ],
)
def test_networks_match_numpy(activation, batch, widths):
    """Values and gradients of whole networks, which the kernels of neighboring layers share."""
    rng = np.random.default_rng(0)
    model = MLP(widths, activation)
    x, upstream = (rng.normal(size=(batch, n)).astype(np.float32) for n in (widths[0], widths[-1]))
    inputs = Tensor(x).realize()
    parameters = [p for layer in model.layers for p in (layer.coefficients, layer.bias)]
    y = model(inputs)
    gradients = (y * Tensor(upstream)).sum().gradient(inputs, *parameters)
    found = [t.numpy() for t in (y, *gradients)]

    value, slope = FUNCTIONS[activation]
    weights = [layer.coefficients.numpy().astype(float)[:, 0] for layer in model.layers]
    sums, values = [], [x.astype(float)]
    for layer, w in zip(model.layers, weights, strict=True):
        sums.append(values[-1] @ w + layer.bias.numpy())
        values.append(value(sums[-1]))
    back, expected = upstream.astype(float), []
    for n in reversed(range(len(weights))):
        expected = [(values[n].T @ back)[:, None], back.sum(0), *expected]
        back = back @ weights[n].T * (slope(sums[n - 1]) if n else 1)
    # Sums of up to 70 products in float32.
    for ours, theirs in zip(found, [sums[-1], back, *expected], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).max())


@needs_dense_kernels
@pytest.mark.parametrize("columns", [(0, 36), (4, 40)])
def test_only_the_first_columns_of_an_output_are_read_in_place(columns):
    """A network's features may be any part of what a kernel computed."""
    rng = np.random.default_rng(0)
    x, w, v = (rng.normal(size=s).astype(np.float32) for s in ((16, 8), (8, 64), (36, 4)))
    part = dense.linear(Tensor(x), Tensor(w))[:, slice(*columns)]
    found = dense.linear(part, Tensor(v)).numpy()
    # Sums of 36 products in float32.
    np.testing.assert_allclose(found, (x @ w)[:, slice(*columns)] @ v, rtol=1e-5, atol=1e-4)

"""Derivatives of networks, against SciPy's splines with the chain rule in NumPy, differences in
float64, and the kernels against tensor operations."""

from __future__ import annotations

import numpy as np
import pytest
from tinygrad import Tensor

import tinykan
from tests.helpers import (
    double,
    first,
    float64,
    needs_float64,
    numeric_gradient,
    some,
    spline_bases,
    uniform_knots,
)
from tests.kernels.helpers import reason, threaded
from tinykan import KAN, MLP, BSpline, KANLayer, Network, UserError, derivatives
from tinykan.interpret.products import MultiplicationLayer
from tinykan.interpret.symbolic import SymbolicLayer
from tinykan.kernels.tinygrad_versions import cpu_threads
from tinykan.tensors import learnable, overwrite


def varied(model: Network, seed: int = 0) -> Network:
    """With coefficients that bend its functions."""
    rng = np.random.default_rng(seed)
    for tensor in learnable(model):
        overwrite(tensor, tensor.numpy() + 0.3 * rng.normal(size=tensor.shape))
    return model


def by_chain_rule(model: KAN, x: np.ndarray, v: np.ndarray) -> list[np.ndarray]:
    """Values and both derivatives along v of a network of uniform splines with SiLU."""
    value, first, second = x, np.broadcast_to(v, x.shape), np.zeros_like(x)
    for layer in model.layers:
        basis = layer.basis
        knots = uniform_knots(basis.intervals, basis.order)
        s = 1 / (1 + np.exp(-value))
        slope = s * (1 - s)
        base = [value * s, s + value * slope, slope * (2 + value * (1 - 2 * s))]
        c = layer.coefficients.numpy() * layer.spline_weight.numpy()[:, None]
        at = [
            np.einsum("bin,ino->bio", spline_bases(value, knots, basis.order, m), c)
            + base[m][..., None] * layer.base_weight.numpy()
            for m in range(3)
        ]
        second = (at[2] * first[..., None] ** 2 + at[1] * second[..., None]).sum(1)
        first = (at[1] * first[..., None]).sum(1)
        value = at[0].sum(1) + layer.bias.numpy()
    return [value, first, second]


@needs_float64
@pytest.mark.parametrize(("order", "dtype", "rtol"), [(3, np.float64, 1e-11), (3, np.float32, 1e-5),
                                                      (5, np.float32, 1e-5)])  # fmt: skip
def test_a_spline_network(order, dtype, rtol):
    """In float32 with the kernels, where there are: to about 100 roundings of each type, relative
    to the largest derivative."""
    with float64():
        exact = varied(KAN([2, 3, 2], BSpline(5, order)))
    model = exact
    if dtype == np.float32:
        model = KAN([2, 3, 2], BSpline(5, order))
        for own, other in zip(learnable(model), learnable(exact), strict=True):
            overwrite(own, other.numpy())
    x = np.random.default_rng(1).uniform(-1.2, 1.2, (9, 2)).astype(np.float32)
    along = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.6, -0.8]])
    u, first, second = derivatives(model, Tensor(x.astype(dtype)), directions=along)
    for n, v in enumerate(along):
        expected = by_chain_rule(exact, x.astype(float), v)
        for found, wanted in zip((u, first[..., n], second[..., n]), expected, strict=True):
            atol = rtol * np.abs(wanted).max()
            np.testing.assert_allclose(found.numpy(), wanted, rtol=0, atol=atol)


def _symbolic() -> Network:
    layer = KANLayer(2, 3, BSpline(4, 3), rng=np.random.default_rng(0))
    functions = [(0, 1, "sin"), (1, 2, "x^2")]
    return Network([SymbolicLayer(layer, functions), KANLayer(3, 1, rng=np.random.default_rng(1))])


def _edge_tanh() -> Network:
    rng = np.random.default_rng(0)
    return Network([tinykan.EdgeTanh(2, 3, rng=rng), tinykan.EdgeTanh(3, 1, rng=rng)])


def _products() -> Network:
    rng = np.random.default_rng(0)
    layers = [KANLayer(2, 3, BSpline(4, 3), rng=rng), MultiplicationLayer([[0, 2], [1]])]
    return Network([*layers, KANLayer(2, 1, rng=rng)])


NETWORKS = {
    "MLP": lambda: MLP([2, 4, 1]),
    "Siren": lambda: tinykan.Siren([2, 4, 1], encoding=tinykan.Scaled(2, 0.1)),
    "Chebyshev": lambda: KAN([2, 3, 1], tinykan.Chebyshev(3), base="tanh"),
    "RBF with a norm": lambda: KAN([2, 3, 1], tinykan.RBF(4, (-2.0, 2.0)), norm="layer"),
    "polynomial with tanh": lambda: KAN([2, 3, 1], tinykan.Polynomial(2), activation="tanh"),
    "an encoding": lambda: KAN([4, 3, 1], BSpline(3, 4), encoding=tinykan.NeRF(2, 1), base=None),
    "tanh on edges": _edge_tanh,
    "symbolic edges": _symbolic,
    "products": _products,
}


@needs_float64
@pytest.mark.parametrize(
    "name", some(NETWORKS, "MLP, RBF with a norm, an encoding, symbolic edges")
)
def test_other_networks(name):
    """All second derivatives, by differences in float64: off by h^2 of the fourth derivatives, and
    by 1e-16 / h^2."""
    with float64():
        model = varied(NETWORKS[name]())
    x, h = np.random.default_rng(2).uniform(-0.9, 0.9, (3, 2)), 1e-4
    u, first, second = (t.numpy() for t in derivatives(model, double(x), mixed=True))
    points = [x + h * np.array([a, b]) for a in (-1, 0, 1) for b in (-1, 0, 1)]
    values = model(double(np.concatenate(points))).numpy().reshape(3, 3, 3, -1)
    np.testing.assert_allclose(u, values[1, 1], rtol=1e-12)
    slopes = np.stack([values[2, 1] - values[0, 1], values[1, 2] - values[1, 0]], -1) / (2 * h)
    np.testing.assert_allclose(first, slopes, atol=1e-5 * np.abs(slopes).max())
    bends = [values[2, 1] + values[0, 1], values[1, 2] + values[1, 0]]
    bends = np.stack([bend - 2 * values[1, 1] for bend in bends], -1) / h**2
    mixed = (values[2, 2] - values[2, 0] - values[0, 2] + values[0, 0]) / (4 * h**2)
    scale = np.abs(bends).max() + np.abs(mixed).max()
    np.testing.assert_allclose(second[..., [0, 1], [0, 1]], bends, atol=1e-5 * scale)
    np.testing.assert_allclose(second[..., 0, 1], mixed, atol=1e-5 * scale)
    np.testing.assert_array_equal(second[..., 0, 1], second[..., 1, 0])


@needs_float64
def test_gradients_of_derivatives():
    """Of a loss of all three, with respect to every parameter, by differences in float64."""
    with float64():
        model = varied(KAN([2, 2, 1], BSpline(3, 3)))
    x = double(np.random.default_rng(3).uniform(-1, 1, (5, 2)))

    def loss() -> Tensor:
        u, first, second = derivatives(model, x)
        return (u.square().sum() + (first * second).sum() + second.square().sum()) * 0.1

    parameters = learnable(model)
    found = [g.numpy() for g in loss().gradient(*parameters)]
    for parameter, gradient in zip(parameters, found, strict=True):
        start = parameter.numpy().copy()

        def at(values: np.ndarray, parameter: Tensor = parameter) -> float:
            overwrite(parameter, values)
            return loss().item()

        positions = range(0, start.size, max(1, start.size // 3))
        expected = numeric_gradient(at, start, positions)
        overwrite(parameter, start)
        places = list(positions)
        np.testing.assert_allclose(gradient.ravel()[places], expected, rtol=1e-5, atol=1e-7)


def results(model: Network, x: np.ndarray, mode: str, **options) -> list[np.ndarray]:
    """Values, derivatives, and the gradients of a sum of them to the input and the parameters."""
    for layer in model.layers:
        layer.kernels = mode
    inputs = Tensor(x).realize()
    found = [t for t in derivatives(model, inputs, **options) if t is not None]
    rng = np.random.default_rng(4)
    factors = [Tensor(rng.normal(size=t.shape).astype(np.float32)) for t in found]
    loss = sum((t * f).sum() for t, f in zip(found, factors, strict=True))
    return [t.numpy().copy() for t in (*found, *loss.gradient(*learnable(model)))]


EDGES = np.array([[1, -1], [0.2, -0.6], [5, -9], [1.3, -2], [0, 0.6]], dtype=np.float32)


@pytest.mark.skipif(not threaded, reason=reason)
@pytest.mark.parametrize(
    ("make", "batch", "options"),
    first(
        3,
        [
            (lambda: KAN([2, 5, 3]), 70, {"mixed": True}),
            (lambda: KAN([2, 3], BSpline(3, 4), base="gelu"), 16, {"order": 1}),
            (
                lambda: KAN([2, 3], BSpline(2, 3, knots=[-2, -2, -1, -0.5, -0.5, 1, 2, 2, 2])),
                40,
                {},
            ),
            (lambda: KAN([2, 18, 1], BSpline(4, 2), base=None), 1, {}),
            (lambda: KAN([1, 2], BSpline(7, 3), base="tanh"), 33, {}),
        ],
    ),
)
def test_kernels_and_tensor_operations_agree(make, batch, options):
    """At knots, beyond the grid and far from it, too: to 50 roundings of the largest number."""
    model = varied(make())
    x = np.random.default_rng(batch).uniform(-1.2, 1.2, (batch, 2)).astype(np.float32)
    x[: len(EDGES)] = EDGES[:batch]
    x = x[:, : model.in_features]
    ours, plain = (results(model, x, mode, **options) for mode in ("auto", "reference"))
    for a, b in zip(ours, plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=6e-6 * np.abs(b).max())
    repeated = results(model, x, "auto", **options)
    assert all(np.array_equal(a, b) for a, b in zip(ours, repeated, strict=True))


@pytest.mark.skipif(not threaded, reason=reason)
def test_kernels_pass_nan_on():
    model = KAN([2, 3])
    x = np.full((cpu_threads() * 16 + 1, 2), 0.3, dtype=np.float32)
    x[3, 1] = np.nan
    u, first, second = (t.numpy() for t in derivatives(model, Tensor(x)))
    for found in (u, first, second):
        assert np.isnan(found[3]).any(-1).all() if found.ndim > 2 else np.isnan(found[3]).all()
        assert np.isfinite(np.delete(found, 3, axis=0)).all()


def test_bad_arguments_are_refused():
    model, x = KAN([2, 3]), Tensor.zeros(4, 2)
    for message, call in {
        "order 3: choose 1 or 2": lambda: derivatives(model, x, 3),
        "the last dimension must be 2": lambda: derivatives(model, Tensor.zeros(4, 3)),
        r"points \[n, in\]": lambda: derivatives(model, Tensor.zeros(2)),
        r"\[d, 2\] are needed": lambda: derivatives(model, x, directions=[[1.0]]),
        "finite": lambda: derivatives(model, x, directions=[[1.0, np.inf]]),
        "relu": lambda: derivatives(MLP([2, 3, 1], "relu"), x),
    }.items():
        with pytest.raises(UserError, match=message):
            call()

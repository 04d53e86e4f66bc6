"""Learnable functions on nodes, against NumPy, SciPy and the KANLayer that has the same edges."""

from __future__ import annotations

import numpy as np
import pytest
from tinygrad import Tensor

from tests.helpers import double, first, float64, needs_float64, spline_bases, uniform_knots
from tinykan import (
    BSpline,
    Fourier,
    KANLayer,
    Network,
    Polynomial,
    UserError,
    batches,
    derivatives,
    fit,
    load,
    parameter_count,
    save,
    summary,
)
from tinykan.tensors import learnable, like
from tinykan.variants import Functions, NodeLayer

KINDS = {
    "spline": {"basis": BSpline(6, 3), "start": "sine"},
    "cubic of rank 2": {"basis": Polynomial(3), "rank": 2},
    "shared waves": {"basis": Fourier(2), "start": "sine", "shared": True},
    "sines of nodes": {"basis": Functions("sine"), "copies": 2, "omega": 5.0},
    "staf": {"basis": Functions("sine"), "copies": 5, "shared": True, "rank": 2, "omega": 5.0},
}
X = np.random.default_rng(0).uniform(-1, 1, (20, 3)).astype(np.float32)


def layer(kind: str, out_features: int = 4, in_features: int = 3) -> NodeLayer:
    made = NodeLayer(in_features, out_features, **KINDS[kind], rng=np.random.default_rng(1))
    rng = np.random.default_rng(2)
    for tensor in learnable(made):  # as training leaves them: all different
        start = tensor.numpy()
        tensor.replace(like(tensor, start + rng.normal(0, 0.1, start.shape)))
    return made


def functions(kind: str, made: NodeLayer, x: np.ndarray) -> np.ndarray:
    """The functions that are summed on each node `[n, in, functions]`, by NumPy and SciPy."""
    if made.scales is not None:
        return np.sin(x[..., None] * made.scales.numpy()[..., 0] + made.shifts.numpy()[..., 0])
    if kind == "spline":
        return spline_bases(x, uniform_knots(6, 3), 3)
    if kind == "cubic of rank 2":
        return np.stack([x, x**2, x**3], axis=-1)
    angles = np.pi * x[..., None] * np.array([1, 2])
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)


def expected(kind: str, made: NodeLayer, x: np.ndarray) -> np.ndarray:
    coefficients = np.broadcast_to(
        made.coefficients.numpy(), (made.in_features, *made.coefficients.shape[1:])
    )
    weight = made.dense.coefficients.numpy().reshape(made.in_features, made.rank, -1)
    g = np.einsum("bin,inr->bir", functions(kind, made, x), coefficients)
    return np.einsum("bir,iro->bo", g, weight) + made.bias.numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_the_layer_is_its_formula(kind):
    made = layer(kind)
    found = made(Tensor(X)).numpy()
    # Sums of some 20 terms in float32, of angles up to 10.
    np.testing.assert_allclose(found, expected(kind, made, X.astype(float)), atol=1e-5)
    edges = made.edges(Tensor(X)).numpy().sum(axis=-2) + made.bias.numpy()
    np.testing.assert_allclose(edges, found, atol=1e-5)


@needs_float64
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_and_derivatives(kind):
    """Central differences of h = 1e-5, off by h^2 times a third derivative of some 10^3; those of
    second derivatives of h = 1e-4, by 1e-8 times a fourth of 10^4 and 1e-15 / h^2."""
    with float64():
        made = layer(kind)
        x, u = X[:5].astype(float), np.random.default_rng(3).normal(size=(5, 4))
        inputs, h = double(x), 1e-5
        parameters = learnable(made)
        y = (made(inputs) * double(u)).sum()
        gradients = [g.numpy() for g in y.gradient(inputs, *parameters)]
        for tensor, gradient in zip([inputs, *parameters], gradients, strict=True):
            values, place = tensor.numpy().copy(), np.unravel_index(1, tensor.shape)
            both = []
            for sign in (-1, 1):
                moved = values.copy()
                moved[place] += sign * h
                tensor.replace(like(tensor, moved))
                both.append((expected(kind, made, inputs.numpy()) * u).sum())
            tensor.replace(like(tensor, values))
            slope = (both[1] - both[0]) / (2 * h)
            assert gradient[place] == pytest.approx(slope, abs=1e-6, rel=1e-6)
        found, h = derivatives(Network([made]), double(x)), 1e-4
        for i in range(3):
            low, middle, high = (
                expected(kind, made, x + sign * h * np.eye(3)[i]) for sign in (-1, 0, 1)
            )
            slope, bend = (high - low) / (2 * h), (high - 2 * middle + low) / h**2
            np.testing.assert_allclose(found.first.numpy()[..., i], slope, atol=1e-5)
            np.testing.assert_allclose(found.second.numpy()[..., i], bend, atol=1e-3)


@pytest.mark.parametrize("options", [{}, {"shared": True}, {"rank": 2}])
def test_splines_without_kernels_are_the_same(monkeypatch, options):
    """As on devices that have none; in float32, with slopes of 10."""
    u = Tensor(np.random.default_rng(3).normal(size=(20, 4)).astype(np.float32))
    found = []
    for plain in (False, True):
        if plain:
            monkeypatch.setattr("tinykan.variants.node_layer.node_splines", lambda *_: None)
        made = NodeLayer(3, 4, BSpline(20), start="sine10", rng=np.random.default_rng(1), **options)
        x = Tensor(X)
        y = made(x)
        gradients = (y * u).sum().gradient(x, *learnable(made))
        found.append([t.numpy() for t in (y, *gradients)])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * max(1, np.abs(theirs).max()))


def test_derivatives_can_be_differentiated_by_frequencies():
    made = layer("staf", 1)
    found = derivatives(Network([made]), Tensor(X))
    loss = (found.second + found.first).square().mean()
    gradients = loss.gradient(made.dense.coefficients, made.scales, made.shifts)
    assert all(np.abs(g.numpy()).max() > 0 for g in gradients)


@pytest.mark.parametrize("rank", [1, 2])
def test_it_is_a_kan_layer_of_that_rank(rank):
    made = NodeLayer(3, 4, BSpline(50), rank=rank, start="sine10", rng=np.random.default_rng(1))
    start = made.coefficients.numpy()
    noise = np.random.default_rng(2).normal(0, 0.1, start.shape)
    made.coefficients = like(made.coefficients, start + noise)
    full = KANLayer(3, 4, BSpline(50), base=None, spline_weight=False, bias=False)
    product = np.einsum("inr,iro->ino", made.coefficients.numpy(), made.weight.numpy())
    full.coefficients = like(full.coefficients, product)
    # Kernels of splines and their closed form, in float32.
    found = made(Tensor(X)).numpy() - made.bias.numpy()
    np.testing.assert_allclose(found, full(Tensor(X)).numpy(), atol=1e-5)
    assert np.linalg.matrix_rank(product[0], tol=1e-5) == rank


def test_functions_start_as_an_activation():
    made = NodeLayer(3, 4, BSpline(50, 3, (-0.3, 0.3)), start="sine30")
    x = np.linspace(-0.3, 0.3, 31, dtype=np.float32)[:, None].repeat(3, axis=1)
    # A cubic spline is off by 5 / 384 (30 * 0.012)^4 at most, where it interpolates.
    nodes = made.nodes(Tensor(x)).numpy()[..., 0]
    np.testing.assert_allclose(nodes, np.sin(30 * x.astype(float)), atol=3e-4)


def test_copies_start_with_outputs_of_variance_1():
    """STAF's theorem, for angles that are spread. The mean of 2,000 nodes' squares has a
    deviation of some 2 / sqrt(2000)."""
    made = NodeLayer(2000, 1, Functions("sine"), copies=5, rng=np.random.default_rng(0))
    x = Tensor(np.random.default_rng(1).uniform(-5, 5, (50, 2000)).astype(np.float32))
    assert made.nodes(x).square().mean().item() == pytest.approx(1, abs=0.1)
    assert made.scales.min().item() >= 0 and 29 < made.scales.max().item() <= 30


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_saved(tmp_path, kind):
    model = Network([layer(kind), layer(kind, 1, 4)])
    save(model, tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(again(Tensor(X)).numpy(), model(Tensor(X)).numpy())
    assert repr(again) == repr(model) and parameter_count(again) == parameter_count(model)


@pytest.mark.parametrize("kind", ["cubic of rank 2", "staf", "sines of nodes"])
def test_nodes_can_be_removed_and_single_edges_cannot(kind):
    made = layer(kind)
    keep, every = np.array([True, False, True]), np.ones(4, dtype=bool)
    cut = made.pruned(keep, every, np.ones((3, 4), dtype=bool), np.full(4, 0.5))
    whole = made.edges(Tensor(X)).numpy()[:, keep].sum(axis=1) + made.bias.numpy() + 0.5
    np.testing.assert_allclose(cut(Tensor(X[:, keep])).numpy(), whole, atol=1e-5)
    live = np.ones((3, 4), dtype=bool)
    live[0, 1] = False
    with pytest.raises(UserError, match="single edges of a NodeLayer cannot be removed"):
        made.pruned(np.ones(3, dtype=bool), every, live, np.zeros(4))


@pytest.mark.parametrize(
    ("kind", "lbfgs"),
    first(1, [("sines of nodes", 0), ("spline", 20), ("staf", 20)]),
)
def test_it_learns_under_every_optimizer(kind, lbfgs):
    """A product of two inputs, in two layers: to a tenth of its variance at most."""
    x = np.random.default_rng(4).uniform(-1, 1, (200, 2))
    y = x[:, :1] * x[:, 1:]
    for optimizer in ("adam", "muon"):
        model = Network([layer(kind, 6, 2), layer(kind, 1, 6)])
        history = fit(
            model, batches(x, y), steps=300, lbfgs=lbfgs, learning_rate=0.03, optimizer=optimizer,
            progress=False,
        )  # fmt: skip
        assert history.losses[-1] < 0.1 * y.var()


def test_summary_counts_its_parameters():
    model = Network([layer("spline")])
    assert "NodeLayer  BSpline(intervals=6, order=3" in repr(summary(model))
    assert summary(model).total == 3 * 9 + 3 * 4 + 4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NodeLayer(2, 3, Polynomial(2), copies=3), "copies are of a basis of one function"),
        (lambda: NodeLayer(2, 3, rank=0), "rank 0 must be a whole number at least 1"),
        (lambda: NodeLayer(2, 3, start="cosh"), "unknown activation 'cosh'"),
        (lambda: NodeLayer(2, 3, BSpline(1, 1, knots=np.arange(4.0))), "on uniform knots"),
        (lambda: NodeLayer(2, 3)(Tensor.zeros(4, 3)), "the last dimension must be 2"),
    ],
)
def test_what_cannot_be_is_one_line(make, message):
    with pytest.raises(UserError, match=message):
        make()

"""Layers with symbolic edges: gradients, training, saving, attribution and grids."""

from __future__ import annotations

import numpy as np
import pytest
from tinygrad import Tensor

from tests.helpers import central_difference, double, first, needs_float64
from tests.interpret.helpers import exponential_network, named_network, points
from tinykan import (
    KAN,
    BSpline,
    KANLayer,
    UserError,
    batches,
    fit,
    load,
    save,
)
from tinykan.fitting.moving_grids import FIRST_MARGIN
from tinykan.interpret import attribution, edge_count, prune
from tinykan.interpret.symbolic import SymbolicLayer
from tinykan.interpret.symbolification import fix_symbolic


def test_inputs_of_symbolic_edges_are_on_no_grid():
    layer = SymbolicLayer(KANLayer(2, 1), [(0, 0, "x^2")])
    x = Tensor([[5.0, 0.0], [5.0, 2.0]])
    assert layer.outside(x).item() == 0.5
    assert SymbolicLayer(KANLayer(1, 1), [(0, 0, "x")]).outside(Tensor([[9.0]])).item() == 0


@needs_float64
def test_gradients_of_the_affine_numbers_are_those_of_differences():
    functions = [(0, 0, "sin"), (1, 0, "exp"), (0, 1, "sin"), (1, 2, "gaussian"), (0, 2, "0")]
    numbers = np.random.default_rng(0).uniform(0.5, 1.5, (5, 4))
    x, weights = points(7), np.random.default_rng(1).uniform(-1, 1, 3)

    def value(affine: np.ndarray) -> tuple[SymbolicLayer, Tensor]:
        layer = SymbolicLayer(KANLayer(2, 3, BSpline(3), mask=np.zeros((2, 3))), functions)
        layer.affine = double(affine)
        layer.layer.coefficients, layer.layer.bias = double(np.zeros((2, 1, 3))), double(weights)
        layer.layer.mask = double(np.zeros((2, 3)))
        return layer, (layer(double(x)) * double(weights)).square().sum()

    layer, loss = value(numbers)
    (gradient,) = loss.gradient(layer.affine)
    for seed in range(3):
        way = np.random.default_rng(seed).standard_normal((5, 4))
        slope = central_difference(lambda t, way=way: value(numbers + t * way)[1].item(), 0.0)
        # Central differences of h = 1e-5 in float64 are exact to about 1e-9.
        assert slope == pytest.approx((gradient.numpy() * way).sum(), rel=1e-6)


@pytest.mark.long
def test_training_moves_the_affine_numbers_to_the_truth():
    x = points(256)
    target = np.exp(np.sin(np.pi * x[:, :1]) + x[:, 1:] ** 2)
    model = named_network()
    model.layers[0].affine = Tensor(model.layers[0].affine.numpy() * np.float32(1.03))
    sample = batches(x, target)
    start = model.layers[0].affine.numpy()
    history = fit(model, sample, steps=150, learning_rate=5e-3, progress=False)
    assert history.losses[-1] < 1e-2 * history.losses[0]
    assert np.abs(model.layers[0].affine.numpy() - start).max() > 0.005


@pytest.mark.parametrize("all_edges", first(1, [True, False]))
def test_a_symbolic_network_is_saved_and_loaded(tmp_path, all_edges):
    model = exponential_network()
    model.layers[0].basis = BSpline(30, 3, (-1, 1), knots=np.linspace(-1.2, 1.2, 37))
    one = fix_symbolic(model, 0, 1, 0, "x^2", (1.0, 0.0, 1.0, 0.0))
    symbolic = named_network() if all_edges else one
    save(symbolic, tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    x = Tensor(points(9).astype(np.float32))
    np.testing.assert_array_equal(again(x).numpy(), symbolic(x).numpy())
    assert repr(again) == repr(symbolic)


def test_attribution_counts_symbolic_edges_and_pruning_refuses_them():
    model = fix_symbolic(KAN([2, 1], seed=0), 0, 1, 0, "x^2", (1.0, 0.0, 2.0, 0.0))
    assert edge_count(model) == 2
    x = np.random.default_rng(0).uniform(-1, 1, (500, 2))
    deviations = np.std(model.layers[0].edges(Tensor(x.astype(np.float32))).numpy(), axis=0)
    shares = attribution(model, x).edges[0]
    np.testing.assert_allclose(shares[0] / shares[1], deviations[0] / deviations[1], rtol=1e-4)
    with pytest.raises(UserError, match="prune before edges are made symbolic"):
        prune(model, x)


@pytest.mark.long
def test_grids_move_beside_symbolic_edges():
    model = fix_symbolic(KAN([2, 1], seed=0), 0, 1, 0, "x^2", (1.0, 0.0, 2.0, 0.0))
    x = np.random.default_rng(0).uniform(2, 3, (200, 2)).astype(np.float32)
    y = np.sin(3 * x[:, :1]) + x[:, 1:] ** 2
    history = fit(model, batches(x, y), steps=0, lbfgs=60, grid_updates=2, progress=False)
    assert history.losses[-1] < 1e-4  # of targets whose variance is above 2
    low = model.layers[0].layer.basis.knots.numpy()[0, 3]
    assert low == pytest.approx(x[:, 0].min() - FIRST_MARGIN * np.ptp(x[:, 0]), rel=1e-5)

"""Penalties against their formulas, and what they are for."""

from __future__ import annotations

import numpy as np
import pytest
from tinygrad import Tensor

from tests.helpers import double, needs_float64
from tinykan import KAN, BSpline, KANLayer, Network, UserError, batches, fit
from tinykan.fitting.penalties import Regularization

RNG = np.random.default_rng(0)


def spline(intervals: int = 6) -> KAN:
    return KAN([1, 1], BSpline(intervals), base=None, spline_weight=False, bias=False, seed=0)


def edges(model: KAN) -> np.ndarray:
    """The mean size of each edge of the first layer, over its inputs."""
    x = RNG.uniform(-1, 1, (500, model.in_features)).astype(np.float32)
    return np.abs(model.layers[0].edges(Tensor(x)).numpy()).mean(0)


def test_penalties_are_what_their_formulas_say():
    model = KAN([2, 3, 1], BSpline(4), seed=0)
    x = Tensor(RNG.uniform(-1, 1, (100, 2)).astype(np.float32))
    values = [*model.layer_inputs(x), model(x)]
    l1 = entropy = coefficients = differences = 0.0
    for layer, inputs in zip(model.layers, values, strict=False):
        sizes = layer.edges(inputs).numpy().std(0, ddof=1)
        sizes = sizes / (inputs.numpy().std(0, ddof=1)[:, None] + 0.1)
        l1 += sizes.sum()
        for axis in (0, 1):
            shares = sizes / (sizes.sum(axis, keepdims=True) + 1)
            entropy -= (shares * np.log2(shares + 1e-4)).sum(axis).mean()
        numbers = layer.coefficients.numpy()
        coefficients += np.abs(numbers).mean(2).sum()
        differences += np.abs(np.diff(numbers, axis=1)).mean(2).sum()
    for weights, expected in (
        ((1, 0, 0, 0), l1),
        ((0, 1, 0, 0), entropy),
        ((0, 0, 1, 0), coefficients),
        ((0, 0, 0, 1), differences),
    ):
        found = Regularization(model, 0.5, *weights)(values).item()
        assert found == pytest.approx(0.5 * expected, rel=1e-5)


@needs_float64
def test_golden_penalty_is_pykans(golden):
    data = golden("pykan_model_2_5_1")
    layers = []
    for index in range(2):
        grid, coef, scale_base, scale_sp = (
            data[f"state/act_fun.{index}.{name}"]
            for name in ("grid", "coef", "scale_base", "scale_sp")
        )
        basis = BSpline(grid.shape[1] - 7, 3, knots=double(grid))
        layer = KANLayer(*coef.shape[:2], basis, bias=False)
        layer.coefficients = double(coef.transpose(0, 2, 1))
        layer.spline_weight, layer.base_weight = double(scale_sp), double(scale_base)
        layers.append(layer)
    model = Network(layers)
    values = [*model.layer_inputs(double(data["x"])), double(data["y"])]
    # model.get_reg("edge_forward_spline_n", lamb_l1, lamb_entropy, lamb_coef, lamb_coefdiff)
    for weights, expected in (
        ((1, 0, 0, 0), 2.253887425349355),
        ((0, 1, 0, 0), 3.587597903283961),
        ((0, 0, 1, 0), 2.482033731319488),
        ((0, 0, 0, 1), 3.1290241295212047),
        ((1, 2, 0, 0), 9.429083231917279),
    ):
        found = Regularization(model, 1e-3, *weights)(values).item()
        # 1e-12 is added to variances, of 1e-3 and more.
        assert found == pytest.approx(1e-3 * expected, rel=1e-8)


def test_a_penalty_empties_the_edge_that_is_not_needed():
    x = RNG.uniform(-1, 1, (300, 2)).astype(np.float32)
    sample = batches(x, np.sin(3 * x[:, :1]))
    sizes, losses = {}, {}
    for strength in (0.0, 0.01):
        model = KAN([2, 1], BSpline(5), seed=0)
        penalty = Regularization(model, strength) if strength else None
        history = fit(model, sample, steps=200, penalty=penalty, progress=False)
        sizes[strength], losses[strength] = edges(model)[:, 0], history.losses[-1]
    assert sizes[0.01][1] < 0.02 * sizes[0.01][0] and sizes[0.01][1] < 0.5 * sizes[0.0][1]
    assert losses[0.01] < 5e-3  # without the penalty itself


def test_what_is_no_penalty_is_one_line():
    with pytest.raises(UserError, match="l1 -1 must be a number of at least 0"):
        Regularization(spline(), 0.1, l1=-1)

"""Penalties against their formulas, and what they are for."""

from __future__ import annotations

import numpy as np
import pytest
from tinygrad import Tensor

from tinykan import KAN, BSpline, UserError, batches, fit
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
        sizes = np.abs(layer.edges(inputs).numpy()).mean(0)
        shares = sizes / sizes.sum()
        l1, entropy = l1 + sizes.sum(), entropy - (shares * np.log(shares)).sum()
        numbers = layer.coefficients.numpy() * layer.spline_weight.numpy()[:, None]
        coefficients += np.abs(numbers).mean(1).sum()
        differences += np.abs(np.diff(numbers, axis=1)).mean(1).sum()
    for weights, expected in (
        ((1, 0, 0, 0), l1),
        ((0, 1, 0, 0), entropy),
        ((0, 0, 1, 0), coefficients),
        ((0, 0, 0, 1), differences),
    ):
        found = Regularization(model, 0.5, *weights)(values).item()
        assert found == pytest.approx(0.5 * expected, rel=1e-5)


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

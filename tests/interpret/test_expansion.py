"""Expanded networks compute the same, and learn more."""

from __future__ import annotations

import numpy as np
import pytest
from tinygrad import Tensor

from tests.helpers import first, float64, needs_float64, some
from tests.interpret.helpers import points
from tinykan import (
    KAN,
    BSpline,
    EdgeTanh,
    KANLayer,
    Linear,
    NeRF,
    Network,
    Polynomial,
    Predictor,
    UserError,
    batches,
    fit,
    load,
    save,
)
from tinykan.interpret import MultiplicationLayer
from tinykan.interpret.expansion import expand
from tinykan.interpret.formula_networks import from_formula
from tinykan.tensors import learnable

KNOTS = np.sort(np.random.default_rng(5).uniform(-3, 3, (3, 11)), axis=1)
MODELS = {
    "splines": lambda: KAN([2, 3, 1], seed=1),
    "no bias": lambda: KAN([2, 3, 2], BSpline(3, 2), bias=False, spline_weight=False),
    "products": lambda: KAN([2, [1, 1], 2], seed=2),
    "masked": lambda: Network(
        [KANLayer(2, 3, mask=np.eye(2, 3)), KANLayer(3, 1, BSpline(4, 3, knots=KNOTS))]
    ),
    "formula": lambda: from_formula("exp(sin(pi*x1) + x2**2)"),
    "formula with products": lambda: from_formula("sin(x1*x2) + x1"),
    "encoding": lambda: KAN([8, 3, 1], encoding=NeRF(2, 2)),
}


@needs_float64
@pytest.mark.parametrize("name", some(MODELS, "products"))
@pytest.mark.parametrize(
    ("width", "depth"),
    first(1, [([4, 3], 3), (6, None), (None, 4), ([0, 1], None)]),
)
def test_the_outputs_are_the_same(name, width, depth):
    x = points(60)
    with float64():
        model = MODELS[name]()
        wanted = Predictor(model)(x)
        larger = expand(model, width=width, depth=depth)
        # Terms of 0 in a sum of another order.
        np.testing.assert_allclose(Predictor(larger)(x), wanted, rtol=0, atol=1e-13)
    sums = [layer for layer in larger.layers if not isinstance(layer, MultiplicationLayer)]
    assert len(sums) >= (depth or 0)
    least = sum(width) if isinstance(width, list) else width or 0
    nodes = [layer.in_features for layer in sums[1:]]
    assert all(count >= least for count in nodes)


def test_widths_are_the_least():
    model = KAN([2, [3, 1], 4, 1])
    assert expand(model, width=5).widths == [2, 7, 6, 5, 1]
    assert expand(model, width=[4, 2]).widths == [2, 8, 6, 8, 6, 1]
    assert expand(model, width=2, depth=2).widths == model.widths
    assert expand(from_formula("x1*x2"), depth=2, width=3).widths == [2, 5, 4, 1]


def test_the_model_is_not_changed():
    model = KAN([2, 3, 1], seed=3)
    before = [tensor.numpy().copy() for tensor in learnable(model)]
    larger = expand(model, width=3)  # as wide already: a copy
    larger.layers[0].coefficients.assign(Tensor.zeros(2, 8, 3)).realize()
    for tensor, values in zip(learnable(model), before, strict=True):
        np.testing.assert_array_equal(tensor.numpy(), values)


@pytest.mark.long
def test_what_a_formula_lacks_is_learned(tmp_path):
    x = points(400)
    known = np.exp(np.sin(np.pi * x[:, 0]) + x[:, 1] ** 2)
    y = known + 0.5 * np.sin(3 * x[:, 0] * x[:, 1])
    model = from_formula("exp(sin(pi*x1) + x2**2)")
    save(expand(model, width=5), tmp_path / "wider.safetensors")
    larger = load(tmp_path / "wider.safetensors")
    options = {"steps": 0, "lbfgs": 150, "progress": False}
    for each in (model, larger):
        fit(each, batches(x, y), **options)
    errors = [np.mean((Predictor(each)(x)[:, 0] - y) ** 2) for each in (model, larger)]
    assert errors[0] > 0.02 and errors[1] < errors[0] / 100


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (lambda: KAN([2, 3, 1], norm="layer"), {"width": 4}, "norm 'layer' makes each node depend"),
        (lambda: Network([EdgeTanh(2, 3), EdgeTanh(3, 1)]), {"width": 4}, "cannot be expanded"),
        (lambda: KAN([2, 1], activation="tanh"), {"depth": 2}, "would pass the activation 'tanh'"),
        (lambda: KAN([2, 3, 1], activation="tanh"), {"width": [3, 1]}, "would pass the activation"),
        (lambda: KAN([2, 3, 1]), {"width": [3]}, "a number of sums, or"),
        (lambda: KAN([2, 3, 1]), {"width": -1}, "width -1 must be a whole number at least 0"),
        (lambda: KAN([2, 3, 1]), {"depth": 0}, "depth 0 must be a whole number at least 1"),
    ],
)
def test_what_cannot_be_expanded_is_one_line(model, options, message):
    with pytest.raises(UserError) as error:
        expand(model(), **options)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_nodes_may_be_added_before_an_activation():
    model = KAN([2, 3, 1], [Polynomial(2), Linear()], activation="tanh", seed=4)
    larger = expand(model, width=7)
    assert larger.widths == [2, 7, 1] and larger.activation == "tanh"
    np.testing.assert_allclose(Predictor(larger)(points(50)), Predictor(model)(points(50)), 1e-5)

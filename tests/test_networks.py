"""Networks: their layers, sizes and norms."""

from __future__ import annotations

import numpy as np
import pytest
from tinygrad import Tensor, dtypes

from tests.helpers import DENSE_BASES, needs_float64, numeric_gradient
from tinykan import (
    KAN,
    MLP,
    BSpline,
    EdgeTanh,
    Linear,
    Network,
    Polynomial,
    Sines,
    Siren,
    UserError,
    batches,
    fit,
    parameter_count,
)
from tinykan.interpret import prune
from tinykan.interpret.symbolification import auto_symbolic
from tinykan.runs.presets import ModelOptions, build
from tinykan.variants.activations import layer_norm


def built(**options) -> Network:
    return build(ModelOptions(**options), 2, 1)


def test_mlp_is_a_dense_network():
    model = MLP([2, 5, 1], activation="tanh", seed=1)
    x = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
    (w1, b1), (w2, b2) = ((la.coefficients.numpy()[:, 0], la.bias.numpy()) for la in model.layers)
    np.testing.assert_allclose(model(Tensor(x)).numpy(), np.tanh(x @ w1 + b1) @ w2 + b2, atol=1e-6)


def test_siren_keeps_the_spread_of_its_activations():
    """Theorem 1.8 of the paper: pre-activations of unit variance at every depth."""
    model = Siren([2, 256, 256, 256, 1])
    x = np.random.default_rng(0).uniform(-1, 1, (512, 2)).astype(np.float32)
    for values in model.layer_inputs(Tensor(x))[2:]:
        assert values.numpy().std() == pytest.approx(np.sqrt(0.5), rel=0.15)


@pytest.mark.parametrize(
    ("model", "count"),
    [
        (KAN([2, 5, 1], BSpline(5, 3)), 15 * (8 + 2) + 6),
        (KAN([2, 5, 1], BSpline(5, 3), base=None, spline_weight=False, bias=False), 15 * 8),
        (
            KAN([2, 5, 1], [BSpline(5, 3), Polynomial(2)], base=None, spline_weight=False),
            10 * 8 + 5 * 2 + 6,
        ),
        (MLP([2, 5, 1]), 15 + 6),
        (Network([EdgeTanh(2, 5), EdgeTanh(5, 1)]), 15 * 3 + 6),
        (KAN([16, 5, 1], encoding=Sines(2, 8)), 85 * 10 + 6),
    ],
    ids=lambda v: str(v) if isinstance(v, int) else str(v.widths),
)
def test_parameter_count(model, count):
    assert parameter_count(model) == count
    assert model(Tensor.zeros(3, model.in_features)).shape == (3, 1)


@pytest.mark.parametrize("basis", DENSE_BASES, ids=repr)
def test_a_few_steps_lower_the_loss(basis):
    x = np.linspace(-1, 1, 16, dtype=np.float32)[:, None]
    model = KAN([1, 4, 1], basis)
    sample = batches(x, np.sin(3 * x))
    losses = fit(model, sample, steps=20, learning_rate=0.02, progress=False).losses
    assert losses[-1] < 0.5 * losses[0]


def test_layer_norm_between_the_layers():
    model = KAN([2, 5, 4, 1], Linear(), base=None, activation="tanh", norm="layer")
    assert "norm='layer'" in repr(model)
    x = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
    first, *inputs, output = (v.numpy() for v in (*model.layer_inputs(Tensor(x)), model(Tensor(x))))
    np.testing.assert_array_equal(first, x)
    previous = x
    for layer, found in zip(model.layers[:-1], inputs, strict=True):
        nodes = np.tanh(layer(Tensor(previous)).numpy())
        deviation = np.sqrt(nodes.var(-1, keepdims=True) + 1e-5)
        expected = (nodes - nodes.mean(-1, keepdims=True)) / deviation
        np.testing.assert_allclose(found, expected, atol=1e-5)
        previous = found
    np.testing.assert_allclose(output, model.layers[-1](Tensor(previous)).numpy(), atol=1e-6)


@needs_float64
def test_the_gradient_of_layer_norm():
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=(5, 4)), rng.normal(size=(5, 4))
    tensor = Tensor(x, dtype=dtypes.float64)
    total = (layer_norm(tensor) * Tensor(weights, dtype=dtypes.float64)).sum()
    found = total.gradient(tensor)[0].numpy()

    def value(x: np.ndarray) -> float:
        centered = x - x.mean(-1, keepdims=True)
        spread = np.sqrt((centered**2).mean(-1, keepdims=True) + 1e-5)
        return float((weights * centered / spread).sum())

    # Central differences in float64: 1e-10 of curvature and 1e-11 of rounding.
    assert found.ravel() == pytest.approx(numeric_gradient(value, x), rel=1e-6, abs=1e-8)


def test_layer_norm_of_equal_features_and_of_one():
    x = Tensor([[3.0, 3.0, 3.0], [0.0, 0.0, 0.0]])
    y = layer_norm(x)
    assert (y.numpy() == 0).all() and np.isfinite((y * x).sum().gradient(x)[0].numpy()).all()
    np.testing.assert_array_equal(layer_norm(x[:, :1]).numpy(), [[3], [0]])
    model = KAN([1, 1, 1], norm="layer")  # whose hidden feature still carries its input
    assert np.ptp(model(Tensor([[-0.5], [0.5]])).numpy()) > 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: KAN([3]), "at least an input and an output"),
        (lambda: KAN([3, 2, 1], [BSpline(5, 3)]), "1 bases for 2 layers"),
        (lambda: KAN([2, 1])(Tensor.zeros(3, 5)), "must be 2"),
        (lambda: KAN([2, 1], "bspline"), "basis 'bspline': a Basis is needed"),
        (lambda: KAN([2, 1])(np.zeros((3, 2))), "numpy.ndarray: a Tensor is needed; Predictor"),
        (lambda: KAN([3, 1], encoding=Sines(2, 8)), "gives 16 features"),
        (lambda: MLP([2, 1], activation="swish"), "unknown activation 'swish'; choose from"),
        (lambda: KAN([2, 1], norm="batch"), "unknown norm 'batch'; choose from layer"),
        (lambda: Network(MLP([2, 3]).layers + MLP([4, 1]).layers), "takes 4"),
    ],
)
def test_bad_arguments_are_one_line(make, message):
    with pytest.raises(UserError, match=message) as error:
        make()
    assert "\n" not in str(error.value).replace("\n  ", " ")


@pytest.mark.parametrize(
    ("call", "keywords", "said"),
    [
        (KAN, {"width": [2, 1]}, "width= is widths="),
        (
            KAN,
            {"widths": [2, 1], "grid": 5, "k": 3},
            r"grid= is .*BSpline\(grid\), k= is .*order=k\)",
        ),
        (fit, {"lr": 0.1}, "lr= is learning_rate="),
        (fit, {"opt": "LBFGS", "lamb": 0.01}, r"opt= is .*lbfgs=, lamb= is penalty=.*"),
        (auto_symbolic, {"lib": ["sin"]}, "lib= is library="),
        (prune, {"node_th": 0.1}, "node_th= is node_threshold="),
    ],
)
def test_pykans_names_are_said_with_tinykans(call, keywords, said):
    with pytest.raises(UserError, match=f"^in tinykan, {said}$"):
        call(**keywords)

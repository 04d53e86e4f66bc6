"""A basis of activations, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from tinygrad import Tensor

from tests.helpers import double, needs_float64
from tinykan import KANLayer, Network, UserError, derivatives, load, save
from tinykan.variants import Functions

X = np.random.default_rng(0).uniform(-1, 1, (64, 3)).astype(np.float32)


def test_functions_are_the_activations():
    values = Functions("sine10 tanh gauss2")(Tensor(X)).numpy()
    x = X.astype(float)
    expected = np.stack([np.sin(10 * x), np.tanh(x), np.exp(-2 * x**2)], axis=-1)
    np.testing.assert_allclose(values, expected, atol=5e-6)  # angles of 10 in float32


def test_kernels_match_the_plain_path():
    """Sums of 6 terms in another order."""
    upstream = Tensor(np.random.default_rng(2).normal(size=(64, 5)).astype(np.float32))
    found = []
    for kernels in ("auto", "reference"):
        layer = KANLayer(3, 5, Functions("sine10 finer5"), base=None, kernels=kernels,
                         rng=np.random.default_rng(1))  # fmt: skip
        x = Tensor(X)
        y = layer(x)
        gradients = (y * upstream).sum().gradient(x, layer.coefficients)
        found.append([y.numpy(), *(g.numpy() for g in gradients)])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@needs_float64
def test_derivatives_are_those_of_the_activations():
    """FINER's own, too, though its gradient in training is another: differences of h = 1e-4, off by
    h^2 / 12 of the fourth derivative, 2e6, and by 4e-16 / h^2."""
    layer = KANLayer(1, 1, Functions("sine10 finer5 wire3"), base=None, bias=False)
    layer.coefficients = double(np.array([[[0.5], [0.7], [1.0]]]))
    model = Network([layer])

    def value(x: np.ndarray) -> np.ndarray:
        finer = np.sin(5 * (abs(x) + 1) * x)
        return 0.5 * np.sin(10 * x) + 0.7 * finer + np.cos(3 * x) * np.exp(-((1.5 * x) ** 2))

    x, h = np.linspace(0.1, 0.9, 9)[:, None], 1e-4
    u, first, second = (d.numpy().reshape(9, 1) for d in derivatives(model, double(x)))
    np.testing.assert_allclose(u, value(x), atol=1e-13)
    np.testing.assert_allclose(first, (value(x + h) - value(x - h)) / (2 * h), atol=1e-4)
    bend = (value(x + h) - 2 * value(x) + value(x - h)) / h**2
    np.testing.assert_allclose(second, bend, atol=5e-3)


def test_they_are_saved_by_their_names(tmp_path):
    layer = KANLayer(3, 2, Functions("sine10 sine25.5"), base=None)
    save(Network([layer]), tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    assert again.layers[0].basis == layer.basis
    np.testing.assert_array_equal(again(Tensor(X)).numpy(), layer(Tensor(X)).numpy())


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("", "functions '': 1 to 64 names are needed"),
        ("sine " * 65, "1 to 64 names"),
        ("sine10 cosh", "unknown activation 'cosh'; choose from identity"),
    ],
)
def test_bad_names_are_one_line(names, message):
    with pytest.raises(UserError, match=message):
        Functions(names)

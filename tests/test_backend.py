"""What every backend must do, in sizes that the slowest of them manages: tiny networks against
formulas in float64. `make test-backends` runs this file on each backend that the machine has."""

from __future__ import annotations

import numpy as np
import pytest
from tinygrad import Tensor

from tests.helpers import spline_bases, uniform_knots
from tinykan import KAN, MLP, BSpline, KANLayer, Polynomial, Siren, batches, fit, load, save
from tinykan.tasks.images import pixel_sampler, render
from tinykan.tasks.prediction import Predictor
from tinykan.tensors import learnable
from tinykan.training import Training

RNG = np.random.default_rng(0)
X = RNG.uniform(-1.4, 1.4, (6, 2))
UPSTREAM = RNG.normal(size=(6, 3))
TOLERANCE = 1e-5  # float32: a few dozen roundings of 6e-8 each


@pytest.fixture
def close(record_property):
    """Compares with a reference in float64, and records the difference for the table."""
    largest = [0.0]

    def compare(ours: Tensor, reference: np.ndarray) -> None:
        scale = max(1.0, float(np.abs(reference).max()))
        difference = float(np.abs(ours.numpy().astype(float) - reference).max()) / scale
        largest[0] = max(largest[0], difference)
        record_property("difference", largest[0])
        assert difference < TOLERANCE

    return compare


def silu(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    s = 1 / (1 + np.exp(-x))
    return x * s, s + x * s * (1 - s)


@pytest.mark.parametrize("kernels", ["auto", "reference"])
@pytest.mark.parametrize(
    ("intervals", "order", "given"), [(5, 3, False), (4, 1, False), (20, 2, False), (5, 3, True)]
)
def test_a_spline_layer_and_its_gradients(close, kernels, intervals, order, given):
    knots = uniform_knots(intervals, order)
    if given:  # unevenly spaced, and one interval is empty
        knots = (knots + 0.15 * np.sin(5 * knots)).astype(np.float32).astype(float)
        knots[order + 2] = knots[order + 1]
    basis = BSpline(intervals, order, knots=knots if given else None)
    layer = KANLayer(2, 3, basis, spline_weight=False, rng=RNG, kernels=kernels)
    c, w, b = (t.numpy().astype(float) for t in learnable(layer))
    x, upstream = Tensor(X.astype(np.float32)), Tensor(UPSTREAM.astype(np.float32))
    exact = X.astype(np.float32).astype(float)
    phi, slope = (spline_bases(exact, knots, order, d) for d in (0, 1))
    base, base_slope = silu(exact)
    y = layer(x)
    dx, dc, dw, db = (y * upstream).sum().gradient(x, *learnable(layer))
    close(y, np.einsum("bin,ino->bo", phi, c) + base @ w + b)
    up = upstream.numpy().astype(float)
    inner = np.einsum("bin,ino->bio", slope, c) + base_slope[..., None] * w
    close(dx, np.einsum("bio,bo->bi", inner, up))
    close(dc, np.einsum("bin,bo->ino", phi, up))
    close(dw, base.T @ up)
    close(db, up.sum(0))


@pytest.mark.parametrize("kernels", ["auto", "reference"])
@pytest.mark.parametrize(("batch", "inputs", "outputs"), [(6, 2, 3), (192, 9, 17)])
def test_a_polynomial_layer_and_its_gradients(close, kernels, batch, inputs, outputs):
    basis = Polynomial(2)
    layer = KANLayer(
        inputs, outputs, basis, base=None, spline_weight=False, rng=RNG, kernels=kernels
    )
    c, b = (t.numpy().astype(float) for t in learnable(layer))
    x = Tensor(RNG.uniform(-1.4, 1.4, (batch, inputs)).astype(np.float32))
    upstream = Tensor(RNG.normal(size=(batch, outputs)).astype(np.float32))
    exact, up = x.numpy().astype(float), upstream.numpy().astype(float)
    powers = np.stack([exact, exact**2], -1)
    y = layer(x)
    dx, dc, db = (y * upstream).sum().gradient(x, *learnable(layer))
    close(y, np.einsum("bin,ino->bo", powers, c) + b)
    slope = np.stack([np.ones_like(exact), 2 * exact], -1)
    close(dx, np.einsum("bin,ino,bo->bi", slope, c, up))
    close(dc, np.einsum("bin,bo->ino", powers, up))
    close(db, up.sum(0))


@pytest.mark.parametrize(
    ("activation", "reference"), [("tanh", np.tanh), ("sine30", lambda x: np.sin(30 * x))]
)
def test_a_dense_network(close, activation, reference):
    model = MLP([2, 4, 1], activation, seed=0)
    w1, b1, w2, b2 = (t.numpy().astype(float) for t in learnable(model))
    exact = X.astype(np.float32).astype(float)
    hidden = reference(exact @ w1[:, 0] + b1)
    close(model(Tensor(X.astype(np.float32))), hidden @ w2[:, 0] + b2)


@pytest.mark.parametrize("make", [lambda: KAN([1, 3, 1], BSpline(4, 3)), lambda: Siren([1, 4, 1])])
def test_training_lowers_the_loss_and_repeats_its_bits(make):
    x = np.linspace(-1, 1, 16, dtype=np.float32)[:, None]

    def train() -> tuple[list[float], list[np.ndarray]]:
        model = make()
        sample = batches(x, np.sin(3 * x), batch=8, seed=1)
        history = fit(model, sample, steps=6, learning_rate=1e-2, log_every=1, progress=False)
        return history.losses, [w.numpy() for w in learnable(model)]

    losses, weights = train()
    again, same = train()
    assert losses == again and all((a == b).all() for a, b in zip(weights, same, strict=True))
    assert np.isfinite(losses).all() and min(losses[3:]) < losses[0]


def test_a_resumed_training_has_the_same_bits():
    x = np.linspace(-1, 1, 16, dtype=np.float32)[:, None]
    sample = batches(x, np.sin(3 * x), batch=8, seed=1)
    options = {"steps": 8, "learning_rate": 1e-2, "log_every": 2}
    whole = KAN([1, 3, 1], BSpline(4, 3), seed=2)
    history = fit(whole, sample, progress=False, **options)
    model = KAN([1, 3, 1], BSpline(4, 3), seed=2)
    training = Training(model, sample, **options)
    next(step for step in training if step.number == 5)
    snapshot, weights = training.state(), [w.numpy() for w in learnable(model)]
    other = KAN([1, 3, 1], BSpline(4, 3), seed=3)
    for tensor, values in zip(learnable(other), weights, strict=True):
        tensor.replace(Tensor(values))
    training = Training(other, sample, resume=snapshot, **options)
    assert [step.number for step in training] == [6, 7, 8]
    resumed = training.history
    assert resumed.losses == history.losses and resumed.steps == history.steps
    for ours, theirs in zip(learnable(other), learnable(whole), strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_pixels_are_sampled_and_rendered(tmp_path):
    image = RNG.uniform(0, 1, (4, 5, 1)).astype(np.float32)
    x, y = pixel_sampler(image, 16, 0)(Tensor([3]))
    row, column = np.rint((x.numpy().T[::-1] + 1) / 2 * np.array([[3], [4]])).astype(int)
    np.testing.assert_allclose(y.numpy()[:, 0], image[row, column, 0], atol=1e-6)
    model = KAN([2, 3, 1], BSpline(4, 3))
    save(model, tmp_path / "model.safetensors")
    ours, theirs = (
        render(Predictor(m, chunk=8), 5, 4) for m in (model, load(tmp_path / "model.safetensors"))
    )
    np.testing.assert_array_equal(ours, theirs)

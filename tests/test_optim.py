"""Adam against tinygrad's, and learning-rate schedules."""

from __future__ import annotations

import numpy as np
import pytest
from tinygrad import Context, Tensor
from tinygrad.nn.optim import Adam as ReferenceAdam

from tinykan import (
    MLP,
    batches,
    fit,
)
from tinykan.kernels.tinygrad_versions import FROM_0_14
from tinykan.optim import Adam, learning_rates
from tinykan.tensors import learnable
from tinykan.training import mean_squared_error

X = np.linspace(-1, 1, 64, dtype=np.float32)[:, None]


@pytest.mark.parametrize("schedule", [pytest.param("constant", marks=pytest.mark.long), "cosine"])
def test_adam_is_tinygrads(schedule):
    ours, theirs = MLP([1, 8, 1], seed=3), MLP([1, 8, 1], seed=3)
    # Not symmetric: the biases' gradients would be rounding errors, which Adam makes whole steps.
    targets = np.sin(3 * X + 1)
    fit(ours, batches(X, targets), steps=30, learning_rate=0.02, schedule=schedule, progress=False)
    rates = learning_rates(0.02, 30, schedule)
    x, y, weights = Tensor(X), Tensor(targets), learnable(theirs)
    with Context(TRAINING=1) if FROM_0_14 else Tensor.train():
        optimizer = ReferenceAdam(weights, lr=0.02)
        for rate in rates:
            optimizer.lr.assign(Tensor([rate], dtype=optimizer.lr.dtype))
            optimizer.zero_grad()
            mean_squared_error(theirs(x), y).backward()
            optimizer.step()
    for a, b in zip(learnable(ours), weights, strict=True):
        # 30 steps of 0.02 each; the corrections are applied in another order.
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=2e-5)


def test_schedules():
    cosine = learning_rates(1.0, 100, "cosine", warmup=10)
    assert cosine[0] == pytest.approx(1 / 11) and cosine[9] == pytest.approx(10 / 11)
    assert cosine[10] == 1.0 and cosine[-1] < 1e-3 and (np.diff(cosine[10:]) < 0).all()
    assert (learning_rates(0.5, 10, "constant") == 0.5).all()


def test_weight_decay_and_clipping_are_numpys():
    """Decoupled weight decay and the norm of all gradients, in float64 on a line's two weights."""
    x, y = X[:, 0].astype(float), 3 * X[:, 0] + 1
    line = MLP([1, 1])
    weights = np.array([line.layers[0].coefficients.item(), 0.0])
    options = {"learning_rate": 0.1, "weight_decay": 0.5, "clip": 0.3}
    fit(line, batches(x, y), steps=20, progress=False, **options)
    m, v, lengths = np.zeros(2), np.zeros(2), []
    for step, rate in enumerate(learning_rates(0.1, 20), 1):
        error = weights[0] * x + weights[1] - y
        g = np.array([2 * np.mean(error * x), 2 * np.mean(error)])
        lengths.append(np.hypot(*g))
        g *= min(1, 0.3 / lengths[-1])
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        moved = rate * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
        weights = weights * (1 - 0.5 * rate) - moved
    assert max(lengths) > 0.3
    found = [line.layers[0].coefficients.item(), line.layers[0].bias.item()]
    np.testing.assert_allclose(found, weights, atol=2e-6)  # 20 steps of 0.1 in float32


def test_a_schedule_may_be_a_function():
    rates = learning_rates(2.0, 4, lambda part: 1 - part)
    np.testing.assert_allclose(rates, [2.0, 1.5, 1.0, 0.5])


@pytest.mark.parametrize("slope", [0.0, 3.0])
def test_a_gradient_may_be_a_constant(slope):
    """Which tinygrad 0.14 gives no device and no memory."""
    constant, other = (Tensor([1.0, 2.0]).realize().is_param_(True) for _ in range(2))
    adam = Adam([constant, other], np.full(2, 0.1))
    for _ in range(2):
        adam.minimize((constant * slope).sum() + other.square().sum())
    expected = [1.0, 2.0] if slope == 0 else [0.8, 1.8]
    np.testing.assert_allclose(constant.numpy(), expected, rtol=1e-6)
    assert np.all(np.abs(other.numpy()) < [1, 2])

"""Muon against its formulas in NumPy, and the singular values that it is about."""

from __future__ import annotations

import numpy as np
import pytest
from tinygrad import Tensor

from tinykan import KAN, BSpline, Training, batches, fit
from tinykan.fitting.muon import Muon, orthogonalized
from tinykan.optim import learning_rates
from tinykan.tensors import learnable, like

RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, (32, 2)).astype(np.float32)
Y = np.stack([np.sin(3 * X[:, 0]), X[:, 0] * X[:, 1]], axis=1)


def network() -> KAN:
    return KAN([2, 4, 2], BSpline(3), seed=3)


def by_svd(matrix: np.ndarray) -> np.ndarray:
    """The same polynomial of the singular values, five times, from a decomposition."""
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    s = s / np.linalg.norm(s)
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return (u * s) @ v


@pytest.mark.parametrize("shape", [(5, 5), (3, 17), (40, 6)])
def test_singular_values_come_to_about_one(shape):
    matrix = RNG.normal(size=shape)
    found = orthogonalized(Tensor(matrix.astype(np.float32))).numpy()
    # Products in float32; where singular values are small, each step makes errors 3.4 times larger.
    np.testing.assert_allclose(found, by_svd(matrix), atol=2e-4)
    values = np.linalg.svd(found, compute_uv=False)
    assert values.max() < 1.25 and values.mean() > 0.6


def test_steps_are_those_of_the_formulas():
    """Three steps with given gradients, in float64 by NumPy; tinykan's are in float32."""
    parameters = learnable(network())
    rates = learning_rates(0.01, 3)
    muon = Muon(parameters, rates, decay=0.1)
    shapes = [p.shape for p in parameters]
    values = [p.numpy().astype(float) for p in parameters]
    m, v = ([np.zeros(s) for s in shapes] for _ in range(2))
    for step, rate in enumerate(rates, 1):
        gradients = [RNG.normal(size=s) for s in shapes]
        loss = sum(
            (p * Tensor(g.astype(np.float32))).sum()
            for p, g in zip(parameters, gradients, strict=True)
        )
        muon.minimize(loss)
        for n, g in enumerate(gradients):
            values[n] *= 1 - 0.1 * rate
            if len(shapes[n]) > 1:
                m[n] = 0.95 * m[n] + g
                matrix = (g + 0.95 * m[n]).reshape(-1, shapes[n][-1])
                size = 0.2 * np.sqrt(max(matrix.shape))
                values[n] -= rate * size * by_svd(matrix).reshape(shapes[n])
            else:
                m[n], v[n] = 0.9 * m[n] + 0.1 * g, 0.999 * v[n] + 0.001 * g**2
                corrected = m[n] / (1 - 0.9**step), v[n] / (1 - 0.999**step)
                values[n] -= rate * corrected[0] / (np.sqrt(corrected[1]) + 1e-8)
    for p, expected in zip(parameters, values, strict=True):
        np.testing.assert_allclose(p.numpy(), expected, atol=1e-5)  # three steps, as above


def test_coefficients_are_matrices_from_all_functions_to_outputs():
    """One output, or one row, is a vector, which is Adam's."""
    shapes = [(3, 5, 4), (3, 4), (4,), (3, 5, 1), (1, 5)]
    muon = Muon([Tensor.zeros(*s).contiguous().realize() for s in shapes], np.ones(1))
    assert muon.matrices == [0, 1] and list(muon.elementwise) == [2, 3, 4]
    coefficients = muon.parameters[0]
    gradient = RNG.normal(size=(3, 5, 4))
    muon.minimize((Tensor.cat(*(p.flatten() for p in muon.parameters)) * 0).sum()
                  + (coefficients * Tensor(gradient.astype(np.float32))).sum())  # fmt: skip
    step = -coefficients.numpy().reshape(15, 4) / (0.2 * np.sqrt(15))
    np.testing.assert_allclose(step, by_svd(gradient.reshape(15, 4)), atol=2e-4)


def test_a_network_learns_with_it_by_its_name():
    options = {"steps": 200, "learning_rate": 0.03, "progress": False}
    losses = fit(network(), batches(X, Y), optimizer="muon", **options).losses
    assert losses[-1] < 0.02 * losses[0]


def test_a_training_resumes_with_the_same_bits():
    options = {"steps": 8, "optimizer": "muon", "log_every": 3, "progress": False}
    sample, whole, part = batches(X, Y, 8), network(), network()
    for _ in Training(whole, sample, **options):
        pass
    training = Training(part, sample, **options)
    next(step for step in training if step.number == 4)
    for _ in Training(part, sample, resume=training.state(), **options):
        pass
    for a, b in zip(learnable(part), learnable(whole), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_half_the_rate_starts_it_again():
    muon = Muon([like(Tensor.ones(3, 3), np.eye(3))], learning_rates(0.1, 4))
    muon.minimize((muon.parameters[0] * Tensor(X[:3, :1])).sum())
    before = muon.state()
    muon.slow_down(0.5)
    after = muon.state()
    assert before["m.0"].any() and not after["m.0"].any()
    np.testing.assert_allclose(after["table"][:, 2], before["table"][:, 2] / 2)

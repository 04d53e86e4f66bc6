"""Adam's kernels against Adam's formula, for parameters of many sizes in one step."""

from __future__ import annotations

import numpy as np
from tinygrad import Tensor

from tinykan.kernels import adam
from tinykan.optim import Adam

STEPS, RATE = 3, 0.01
# More than share a kernel on GPUs, and one that shares none; whole vectors of 4, and others.
SHAPES = [(n,) for n in (1, 2, 3, 4, 64, 127, 128, 129, 1000)] + [(3, 5, 7)] * 9
SHAPES.append((adam.SMALL + 4,))


def test_many_parameters_are_updated_as_each_by_itself():
    rng = np.random.default_rng(0)
    starts = [rng.normal(size=shape).astype(np.float32) for shape in SHAPES]
    slopes = [rng.normal(size=shape).astype(np.float32) for shape in SHAPES]
    parameters = [Tensor(start).realize() for start in starts]
    optimizer = Adam(parameters, np.full(STEPS, RATE))
    factors = [Tensor(slope).realize() for slope in slopes]
    for _ in range(STEPS):
        pairs = zip(parameters, factors, strict=True)
        loss = sum((p.square() / 2 * f).sum() for p, f in pairs)
        optimizer.minimize(loss)
    for parameter, start, slope in zip(parameters, starts, slopes, strict=True):
        expected = adam_in_float64(start.astype(float), slope.astype(float))
        # A step changes a value by about the rate, with a relative error of some roundings.
        np.testing.assert_allclose(parameter.numpy(), expected, rtol=1e-6, atol=1e-5 * RATE)


def adam_in_float64(x: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Kingma and Ba 2015, algorithm 1, on the sum of x^2 / 2 times `slope`."""
    m = v = np.zeros(x.shape)
    for t in range(1, STEPS + 1):
        gradient = x * slope
        m = 0.9 * m + 0.1 * gradient
        v = 0.999 * v + 0.001 * gradient**2
        x = x - RATE * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return x

"""Target functions at points where their values are known."""

from __future__ import annotations

import numpy as np
import pytest

from tinykan.tasks.target_functions import TARGET_FUNCTIONS, half_moons


def at(name: str, *points) -> list[float]:
    return TARGET_FUNCTIONS[name].evaluate(np.array(points, dtype=float)).tolist()


@pytest.mark.parametrize(
    ("name", "points", "values"),
    [
        ("zigzag", [[-1], [-0.75], [-0.5], [0], [0.125], [1]], [1, -1, 1, 1, 0, 1]),
        ("damped_sine", [[0], [-1]], [0.5, 0.5 * np.sin(-4) + 0.5]),
        ("step", [[-0.1], [0], [0.1]], [-1, 1, 1]),
        ("chirp", [[0], [np.sqrt(np.pi / 40)]], [0, 1]),
        ("five_peaks", [[0], [-0.8]], [1, 1]),
        ("product_sqrt", [[0.5, 0.25]], [0.25]),
        ("exp_sin", [[0.5, 1], [0, 0]], [np.exp(2), 1]),
        ("product", [[0.5, -0.5]], [-0.25]),
    ],
)
def test_values(name, points, values):
    np.testing.assert_allclose(at(name, *points), values, atol=1e-9)


@pytest.mark.parametrize("function", TARGET_FUNCTIONS.values(), ids=lambda f: f.name)
def test_training_sets(function):
    inputs, targets = function.training_set(seed=1)
    assert inputs.shape == (int(np.prod(function.points)), function.in_features)
    assert targets.shape == (len(inputs), 1) and np.isfinite(targets).all()
    assert inputs.min() >= -1 and inputs.max() <= 1
    assert (inputs == function.training_set(seed=1)[0]).all()


def test_zigzag_has_four_periods():
    x = np.linspace(-1, 1, 4001)[:, None]
    turns = np.diff(np.sign(np.diff(TARGET_FUNCTIONS["zigzag"].evaluate(x)))).nonzero()[0]
    assert len(turns) == 7


def test_half_moons():
    points, label = half_moons(50, noise=0.0)
    assert points.shape == (50, 2) and label.sum() == 25
    upper, lower = points[label == 0], points[label == 1]
    np.testing.assert_allclose(np.linalg.norm(upper, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(lower - [1, 0.5], axis=1), 1, atol=1e-6)
    noisy, _ = half_moons(50, noise=0.1, seed=3)
    assert 0.02 < (noisy - points).std() < 0.2

"""Samplers of arrays, and their counter-based random numbers: uniform and uncorrelated."""

from __future__ import annotations

import numpy as np
import pytest
from tinygrad import Tensor, dtypes

from tinykan import UserError, batches
from tinykan.tasks.sampling import uniform

X = np.linspace(-1, 1, 64, dtype=np.float32)[:, None]
Y = np.sin(3 * X)


def test_uniform_numbers_are_uniform_and_uncorrelated():

    u = np.stack(
        [uniform(Tensor([s], dtype=dtypes.int32), 0, (4096, 2)).numpy() for s in range(20)]
    )
    assert u.min() >= 0 and u.max() < 1
    counts, _ = np.histogram(u, bins=64, range=(0, 1))
    expected = u.size / 64
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    assert 30 < chi_squared < 110  # 63 degrees of freedom: 63 +- 4 standard deviations
    flat = u.reshape(-1, 2)
    for a, b in (
        (flat[:, 0], flat[:, 1]),
        (flat[:-1, 0], flat[1:, 0]),
        (u[0].ravel(), u[1].ravel()),
    ):
        assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(len(a))


def test_random_batches_come_from_the_data():
    sample = batches(X, Y, 32, seed=0)
    x, y = (t.numpy() for t in sample(Tensor([0], dtype=dtypes.int32)))
    assert x.shape == (32, 1) and np.isin(x, X).all() and len(np.unique(x)) > 15
    np.testing.assert_allclose(y, np.sin(3 * x), atol=1e-6)


@pytest.mark.parametrize("where", ["inputs", "targets"])
def test_nan_in_the_data_is_named(where):
    x = np.ones((8, 2), dtype=np.float32)
    bad = x.copy()
    bad[3, 1] = np.nan
    with pytest.raises(UserError, match=f"{where}.*row 3") as error:
        batches(*((bad, x) if where == "inputs" else (x, bad)))
    assert "\n" not in str(error.value)


def test_inputs_and_targets_must_be_as_many():
    with pytest.raises(UserError, match="2 inputs and 3 targets"):
        batches(X[:2], Y[:3])

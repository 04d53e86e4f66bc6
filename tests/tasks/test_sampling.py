"""Counter-based random numbers: uniform and uncorrelated."""

from __future__ import annotations

import numpy as np
from tinygrad import Tensor, dtypes

from tinykan.tasks.sampling import uniform


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

"""Points in boxes: networks see each variable of a domain scaled to [-1, 1]."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def to_box(unit: np.ndarray, domain: Sequence[tuple[float, float]]) -> np.ndarray:
    """From [-1, 1] to the ends that `domain` has for each variable, `[n, variables]` both."""
    low, high = np.array(domain, dtype=np.float64).T
    return low + (unit + 1) / 2 * (high - low)


def grid(counts: tuple[int, ...]) -> np.ndarray:
    """Evenly spaced points in [-1, 1], ends included, `[product of counts, len(counts)]`."""
    if not counts:
        return np.zeros((1, 0))
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in counts], indexing="ij")
    return np.stack([axis.ravel() for axis in axes], axis=-1)

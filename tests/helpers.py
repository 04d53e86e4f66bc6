"""Pieces that several test files share: bases, float64, and damaged files."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from tinygrad import Tensor, dtypes

import tinykan  # selects the device before any tensor is made
from tinykan import device

ROOT = Path(__file__).parents[1]

# One of each kind whose functions are all non-zero.
DENSE_BASES = [
    tinykan.Polynomial(3),
    tinykan.RBF(4),
    tinykan.Chebyshev(4),
    tinykan.Fourier(2),
    tinykan.Wavelet(2),
]

needs_float64 = pytest.mark.skipif(not device.has_float64(), reason="the device has no float64")


def double(values: object) -> Tensor:
    return Tensor(np.asarray(values, dtype=np.float64), dtype=dtypes.float64)


@contextmanager
def float64() -> Iterator[None]:
    """Models made within it are in float64."""
    before, dtypes.default_float = dtypes.default_float, dtypes.float64
    try:
        yield
    finally:
        dtypes.default_float = before


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Fails if the block hangs, even inside a decoder."""

    def late(*_: object) -> None:
        raise AssertionError(f"took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """A few bytes changed, cut out, doubled or put in, mostly near the start, where headers are."""
    changed = bytearray(content)
    for _ in range(rng.integers(1, 6)):
        where = int(len(changed) * rng.uniform() ** rng.integers(1, 5))
        length = int(rng.integers(1, 16))
        match rng.integers(5):
            case 0:
                changed[where : where + length] = rng.bytes(length)
            case 1:
                del changed[where : where + length]
            case 2:
                changed[where:where] = changed[where : where + length]
            case 3:
                changed[where : where + 4] = rng.choice(
                    [b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff"]
                )
            case 4:
                del changed[where + length :]
    return bytes(changed)

"""Samplers: the inputs and targets of each training step, as functions of the step number."""

from __future__ import annotations

import hashlib
import math

import numpy as np
from tinygrad import Tensor, dtypes

from tinykan.errors import UserError
from tinykan.training import Sampler


def batches(
    inputs: np.ndarray, targets: np.ndarray, batch: int | None = None, seed: int = 0
) -> Sampler:
    """A sampler over `inputs` `[n, in]` and `targets` `[n, out]`: all of them at every step, or
    `batch` drawn at random with replacement."""
    counts = f"{len(inputs)} inputs and {len(targets)} targets"
    if len(inputs) != len(targets) or len(inputs) == 0:
        raise UserError(f"{counts}: both must be as many, and some")
    for name, values in (("inputs", inputs), ("targets", targets)):
        for bad in np.argwhere(~np.isfinite(values))[:1]:
            value = values[tuple(bad)]
            raise UserError(f"{name} hold {value} in row {bad[0]}: numbers must be finite")
    arrays = (np.ascontiguousarray(a) for a in (inputs, targets))
    x, y = (Tensor(a, dtype=dtypes.default_float).realize() for a in arrays)
    if batch is None or batch >= len(inputs):
        return lambda step: (x, y)

    def sample(step: Tensor) -> tuple[Tensor, Tensor]:
        drawn = (uniform(step, seed, (batch,)) * len(inputs)).cast(dtypes.int32)
        row = drawn.clip(0, len(inputs) - 1).contiguous()
        return x[row], y[row]

    return sample


def uniform(step: Tensor, seed: int, shape: tuple[int, ...]) -> Tensor:
    """Uniform random numbers in [0, 1) of `shape`, float32, for `step` `[1]` (int32).

    They depend on seed, step and position alone: without a generator's state, a resumed run draws
    what an uninterrupted one would have drawn.
    """
    # Hashed, so that close seeds differ in all 32 bits.
    key = int.from_bytes(hashlib.sha256(str(seed).encode()).digest()[:4], "big")
    stream = _mix(step.cast(dtypes.uint32) ^ key)
    bits = _mix(_mix(Tensor.arange(math.prod(shape), dtype=dtypes.uint32)) ^ stream)
    return ((bits >> 8).cast(dtypes.float32) * 2.0**-24).reshape(shape)


def _mix(x: Tensor) -> Tensor:
    """A permutation of the 32-bit integers in which every input bit moves every output bit: two
    rounds of shift, xor and multiply by Wellons' constants (github.com/skeeto/hash-prospector)."""
    x = (x ^ (x >> 16)) * 0x7FEB352D
    x = (x ^ (x >> 15)) * 0x846CA68B
    return x ^ (x >> 16)

"""Samplers: the inputs and targets of each training step, as functions of the step number."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
from tinygrad import Tensor, dtypes

from tinykan.errors import check_integer
from tinykan.tasks.arrays import as_rows, as_targets, check_as_many, in_float32
from tinykan.training import Sampler


def batches(inputs: Any, targets: Any, batch: int | None = None, seed: int = 0) -> Sampler:
    """A sampler over `inputs` `[n, in]` and `targets` `[n, out]`: all of them at every step, or
    `batch` drawn at random with replacement.

    Both are arrays of any kind (tinykan.tasks.arrays). `[n]` is one column. Targets that are
    integers in one column are class labels for a network of several outputs, with a cross-entropy
    as its loss. Raises UserError for numbers that are missing or not finite, and other shapes.
    """
    x, y = as_rows(inputs), as_targets(targets)
    check_as_many(x, y)
    if batch is not None:
        check_integer("batch", batch, 1)
    count, every, values = len(x), _tensor(x, "inputs"), _tensor(y, "targets")
    if batch is None or batch >= count:
        return lambda step: (every, values)

    def sample(step: Tensor) -> tuple[Tensor, Tensor]:
        drawn = (uniform(step, seed, (batch,)) * count).cast(dtypes.int32)
        row = drawn.clip(0, count - 1).contiguous()
        return every[row], values[row]

    return sample


def _tensor(values: np.ndarray, name: str) -> Tensor:
    """Class labels in int32, other numbers in the type that models have."""
    if values.dtype.kind == "i":
        return Tensor(values.astype(np.int32)).realize()
    if dtypes.default_float != dtypes.float64:
        values = in_float32(values, name=name)
    return Tensor(values, dtype=dtypes.default_float).realize()


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

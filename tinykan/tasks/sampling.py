"""Samplers: the inputs and targets of each training step, as functions of the step number; and rows
that are kept for validation."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from tinygrad import Tensor, dtypes

from tinykan.errors import UserError, check_integer
from tinykan.tasks.arrays import as_rows, as_targets, check_as_many, in_float32
from tinykan.training import Sampler


def batches(inputs: Any, targets: Any, batch: int | None = None, seed: int = 0) -> Sampler:
    """A sampler over `inputs` `[n, in]` and `targets` `[n, out]`: all of them at every step, or
    `batch` drawn at random with replacement.

    Both are arrays of any kind (tinykan.tasks.arrays). `[n]` is one column. Targets that are
    integers in one column are class labels for a network of several outputs, with a cross-entropy
    as its loss. Of memory-mapped inputs (np.memmap), as np.load(file, mmap_mode="r") gives them,
    only the rows of a batch are read. Raises UserError for numbers that are missing or not finite,
    and other shapes.
    """
    if batch is not None:
        check_integer("batch", batch, 1)
        if isinstance(inputs, np.memmap):
            return _from_disk(inputs, targets, batch, seed)
    x, y = as_rows(inputs), as_targets(targets)
    check_as_many(x, y)
    count, every, values = len(x), as_tensor(x, "inputs"), as_tensor(y, "targets")
    if batch is None or batch >= count:
        return lambda step: (every, values)

    def sample(step: Tensor) -> tuple[Tensor, Tensor]:
        drawn = (uniform(step, seed, (batch,)) * count).cast(dtypes.int32)
        row = drawn.clip(0, count - 1).contiguous()
        return every[row], values[row]

    return sample


def _from_disk(inputs: np.ndarray, targets: np.ndarray, batch: int, seed: int) -> Sampler:
    check_as_many(inputs, targets)

    def sample(step: Tensor) -> tuple[Tensor, Tensor]:
        drawn = np.random.default_rng([seed, int(step.item())]).integers(len(inputs), size=batch)
        rows = np.sort(drawn)  # in the order of the file
        x, y = as_rows(np.asarray(inputs[rows])), as_targets(np.asarray(targets[rows]))
        return as_tensor(x, "inputs"), as_tensor(y, "targets")

    return sample


def streamed(pairs: Iterable[tuple[Any, Any]]) -> Sampler:
    """A sampler of the batches that an iterable gives, inputs `[n, in]` and targets `[n, out]`, one
    for each step; all must be of one size. It is used up by one training: L-BFGS has the last one.
    Raises UserError when it has no more, and as `batches` for what it gives."""
    left, last = iter(pairs), [-1]
    drawn: list[tuple[Tensor, Tensor]] = []

    def sample(step: Tensor) -> tuple[Tensor, Tensor]:
        number = int(step.item())
        while last[0] < number:
            pair = next(left, None)
            if pair is None:
                raise UserError(f"the data have {last[0] + 1} batches, and step {number + 1} none")
            x, y = as_rows(pair[0]), as_targets(pair[1])
            check_as_many(x, y)
            drawn[:] = [(as_tensor(x, "inputs"), as_tensor(y, "targets"))]
            last[0] += 1
        return drawn[0]

    return sample


def split(
    inputs: Any, targets: Any, share: float = 0.2, seed: int = 0
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Inputs and targets to train on, and a random `share` of the rows for `fit`'s `validation`, at
    least one of each, in their order. Raises UserError as `batches`, and for fewer than 2 rows."""
    x, y = as_rows(inputs), as_targets(targets)
    check_as_many(x, y)
    if not 0 < share < 1 or len(x) < 2:
        raise UserError(f"a share of {share!r} of {len(x)} rows: a part of 2 or more is needed")
    count = min(max(1, round(share * len(x))), len(x) - 1)
    chosen = np.zeros(len(x), dtype=bool)
    chosen[np.random.default_rng(seed).permutation(len(x))[:count]] = True
    return (x[~chosen], y[~chosen]), (x[chosen], y[chosen])


def as_tensor(values: np.ndarray, name: str) -> Tensor:
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

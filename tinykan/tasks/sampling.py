"""Random numbers that depend on nothing but a seed, the step number and a position.

No generator state: a step draws the same numbers whether or not the ones before it were run, so
that a resumed run sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

import hashlib

from tinygrad import Tensor, dtypes


def uniform(step: Tensor, seed: int, shape: tuple[int, ...]) -> Tensor:
    """Uniform numbers in [0, 1) of `shape`, float32, for `step` `[1]` (int32)."""
    count = 1
    for side in shape:
        count *= side
    # Seeds far apart, and in all 32 bits, whatever the user's seed.
    key = int.from_bytes(hashlib.sha256(str(seed).encode()).digest()[:4], "big")
    stream = _mix(step.cast(dtypes.uint32) ^ key)
    bits = _mix(_mix(Tensor.arange(count, dtype=dtypes.uint32)) ^ stream)
    return ((bits >> 8).cast(dtypes.float32) * 2.0**-24).reshape(shape)


def _mix(x: Tensor) -> Tensor:
    """A permutation of the 32-bit integers in which every input bit moves every output bit: two
    rounds of shift, xor and multiply by Wellons' constants (github.com/skeeto/hash-prospector)."""
    x = (x ^ (x >> 16)) * 0x7FEB352D
    x = (x ^ (x >> 15)) * 0x846CA68B
    return x ^ (x >> 16)

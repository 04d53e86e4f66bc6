"""Which tensors the kernels support."""

from __future__ import annotations

from tinygrad import Tensor, dtypes

from tinykan.kernels import work as kernels


def test_other_types_take_the_plain_path():
    half = Tensor.ones(4, 2, dtype=dtypes.float16)
    assert not kernels.threaded(half) and not kernels.grouped(half)

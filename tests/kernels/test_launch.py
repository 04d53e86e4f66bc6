"""Which tensors the kernels support."""

from __future__ import annotations

from tinygrad import Tensor, dtypes

from tinykan.kernels import launch


def test_other_types_take_the_plain_path():
    half = Tensor.ones(4, 2, dtype=dtypes.float16)
    assert not launch.runs_on_threads(half) and not launch.runs_on_work_groups(half)

"""Which tensors the kernels support."""

from __future__ import annotations

from tinygrad import Tensor, dtypes

from tinykan.kernels import launch


def test_other_types_take_the_plain_path():
    half = Tensor.ones(4, 2, dtype=dtypes.float16)
    assert not launch.runs_on_threads(half) and not launch.runs_on_work_groups(half)


def test_float64_runs_on_threads_alone():
    single, double = (Tensor.ones(4, 2, dtype=t) for t in (dtypes.float32, dtypes.float64))
    assert launch.runs_on_threads(double) == launch.runs_on_threads(single)
    assert not launch.runs_on_work_groups(double)

"""What tinykan changes in tinygrad 0.14, as seen from outside."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from tinygrad import Context, Tensor
from tinygrad.engine import realize

from tests.kernels.helpers import reason, threaded
from tinykan.kernels import tinygrad_versions

pytestmark = pytest.mark.skipif(not tinygrad_versions.FROM_0_14, reason="made for tinygrad 0.14")


@pytest.mark.skipif(not threaded, reason=reason)
@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_the_threads_of_a_kernel_do_all_of_its_work(threads):
    """Integers in float32: every sum is exact, whatever its order."""
    a, b = np.random.default_rng(0).integers(-9, 9, (2, 96, 96)).astype(np.float32)
    with Context(NUM_CPU_THREADS=threads):
        found = [(Tensor(a) @ Tensor(b)).relu().numpy() for _ in range(20)]
    assert all(np.array_equal(each, np.maximum(a @ b, 0)) for each in found)


def test_callers_in_several_threads_each_have_their_work_done():
    """Each part once. Kernels are left out, since tinygrad shares equal computations among threads,
    and gives one thread's result to another before it is there."""
    from tinykan.kernels.cpu_graph import run_on_threads

    done: list[list[int]] = [[] for _ in range(4)]

    def call(caller: int) -> None:
        for _ in range(50):
            run_on_threads(done[caller].append, 3)

    callers = [threading.Thread(target=call, args=[n]) for n in range(4)]
    for each in callers:
        each.start()
    for each in callers:
        each.join(60)
    assert [sorted(parts) for parts in done] == [[0] * 50 + [1] * 50 + [2] * 50] * 4


def test_kernels_are_compiled_in_the_process_that_tinykan_has_changed():
    assert realize.get_worker_pool() is None

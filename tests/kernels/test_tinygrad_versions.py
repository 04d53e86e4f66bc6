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
    """Each part once."""
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


@pytest.mark.long  # failed once, for a reason that was not found
@pytest.mark.skipif(not threaded, reason=reason)
def test_kernels_of_several_callers_run_at_the_same_time():
    x = np.random.default_rng(1).normal(size=(64, 64)).astype(np.float32)
    found, kernel = [], Tensor(x).realize()
    expected = (kernel @ kernel).numpy()

    def call():
        found.extend((kernel @ kernel).numpy() for _ in range(20))

    callers = [threading.Thread(target=call) for _ in range(4)]
    for each in callers:
        each.start()
    for each in callers:
        each.join(60)
    differences = [np.abs(each - expected).max() for each in found]
    assert len(found) == 80 and not any(differences), differences


def test_kernels_are_compiled_in_the_process_that_tinykan_has_changed():
    assert realize.get_worker_pool() is None

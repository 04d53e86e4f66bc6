"""Kernels of a compiled step that run in one native function, against tinygrad's own way."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import numpy as np
import pytest
from tinygrad import Context, Device, Tensor, TinyJit

from tests.helpers import ROOT
from tests.kernels.helpers import reason, threaded
from tinykan.kernels import native_sequence
from tinykan.kernels.llvm_compiler import LLVMLiteCompiler
from tinykan.kernels.native_sequence import Kernel, Sequence
from tinykan.kernels.tinygrad_versions import FROM_0_14

if FROM_0_14:
    from tinykan.kernels import cpu_graph
else:
    from tinygrad.runtime.ops_cpu import CPUComputeQueue

    from tinykan.kernels import cpu_queue

pytestmark = [
    pytest.mark.skipif(not threaded, reason=reason),
    pytest.mark.skipif(not native_sequence.is_available(), reason="needs llvmlite and Linux"),
]
THREADS = "NUM_CPU_THREADS" if FROM_0_14 else "CPU_COUNT"


@pytest.fixture
def runs(monkeypatch):
    """The numbers of threads of the sequences that were run, and how many times."""
    found = []
    prepare = Sequence.prepare

    def noted(self, changes):
        found.append(self.threads)
        prepare(self, changes)

    monkeypatch.setattr(Sequence, "prepare", noted)
    return found


def leave_to_tinygrad(monkeypatch):
    if FROM_0_14:
        monkeypatch.setattr(Device["CPU"], "graph", None)
    else:
        monkeypatch.setattr(CPUComputeQueue, "_submit", cpu_queue._submit)


def steps(x: np.ndarray, count: int) -> list[np.ndarray]:
    """A compiled function with state, called `count` times with different inputs: products on
    several threads, small kernels on one, and many arguments."""
    weights = [Tensor(np.eye(64, dtype=np.float32) * 0.5).realize() for _ in range(4)]
    total = Tensor.zeros(64).contiguous().realize()

    @TinyJit
    def step(x: Tensor) -> Tensor:
        y = x
        for w in weights:
            y = ((y @ w).relu() + 1).contiguous()
        parts = [(y[n] * (n + 1)).contiguous() for n in range(20)]
        Tensor.realize(*parts)
        total.assign(total + sum(parts[1:], parts[0])).realize()
        return (total * 2).realize()

    return [step(Tensor(x + n).realize()).numpy().copy() for n in range(count)]


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_results_are_tinygrads(runs, monkeypatch, threads):
    """Also with more threads than cores, which wait for one another."""
    x = np.random.default_rng(threads).normal(size=(64, 64)).astype(np.float32)
    with Context(**{THREADS: threads}):
        ours = steps(x, 6)
        used = list(runs)
        leave_to_tinygrad(monkeypatch)
        theirs = steps(x, 6)
    np.testing.assert_array_equal(ours, theirs)
    assert len(used) >= 4 and len(runs) == len(used)
    # In float64: sums of 20 rows.
    y = x.astype(float)
    for _ in range(4):
        y = np.maximum(y * 0.5, 0) + 1
    np.testing.assert_allclose(ours[0], 2 * np.arange(1, 21) @ y[:20], rtol=1e-5)


def test_a_thousand_runs_give_the_same_bits(runs):
    values = Tensor(np.arange(4096, dtype=np.float32)).realize()

    @TinyJit
    def step() -> Tensor:
        a = (values + 1).contiguous()
        b = (a.reshape(64, 64) @ a.reshape(64, 64)).contiguous()
        return (b.sum(0) - a.reshape(64, 64).sum(1)).realize()

    found = [step().numpy().tobytes() for _ in range(1000)]
    assert len(set(found)) == 1 and len(runs) > 900


def test_values_of_variables_are_those_of_the_call(runs):
    from tinygrad import UOp, Variable

    x = Tensor(np.arange(64, dtype=np.float32)).realize()

    @TinyJit
    def step(n: UOp) -> Tensor:
        y = (x * 2 + n).contiguous().realize()
        return (y - n * n).realize()

    variable = Variable("n", 1, 100)
    for n in (3, 5, 7, 90, 2):
        expected = np.arange(64, dtype=np.float32) * 2 + n - n * n
        np.testing.assert_array_equal(step(variable.bind(n)).numpy(), expected)
    assert runs


KERNEL = """
define void @append(ptr %log, i64 %value, i64 %thread) {
  %count = load i64, ptr %log
  %last = getelementptr i64, ptr %log, i64 %count
  %grown = add i64 %count, 1
  store i64 %grown, ptr %log
  %next = getelementptr i64, ptr %last, i64 1
  store i64 %value, ptr %next
  ret void
}
define void @mark(ptr %marks, i64 %value, i64 %thread) {
  %place = getelementptr i64, ptr %marks, i64 %thread
  store i64 %value, ptr %place
  ret void
}
"""


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_kernels_run_in_order_with_their_arguments(threads):
    """Kernels of one thread note their values, between kernels of all threads, which mark their
    places; arguments that change are those of each run."""
    architecture = "arm64" if os.uname().machine in ("arm64", "aarch64") else "x86_64"
    compiler = LLVMLiteCompiler([architecture, "native"])
    append, mark = (compiler.function_address(KERNEL, name) for name in ("append", "mark"))
    log, marks = (ctypes.c_int64 * 20)(), (ctypes.c_int64 * 8)()
    kernels = [
        Kernel(append, 1, [ctypes.addressof(log), 7, 0], None),
        Kernel(mark, threads, [ctypes.addressof(marks), -5, 0], 2),
        Kernel(append, 1, [ctypes.addressof(log), 8, 0], None),
        Kernel(append, 1, [ctypes.addressof(log), 9, 0], None),
    ]
    sequence = Sequence(kernels)
    assert sequence.threads == threads
    for value in (100, 2**63 - 1, -1):
        log[0] = 0
        sequence.prepare([(place, value) for place in sequence.places(2, 1)])
        run_at_once(sequence)
        assert list(log[:4]) == [3, 7, value, 9]
        assert list(marks) == [-5] * threads + [0] * (8 - threads)


def run_at_once(sequence: Sequence) -> None:
    import threading

    workers = [threading.Thread(target=sequence.run, args=[k]) for k in range(sequence.threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert not worker.is_alive()


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("150000 100000\n", 1.5), ("max 100000\n", None), ("9900000 100000\n", None), (None, None)],
)
def test_the_time_of_a_container_counts(tmp_path, quota, expected):
    if quota:
        (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
        (tmp_path / "sys/fs/cgroup/cpu.max").write_text(quota)
    every = len(os.sched_getaffinity(0))
    assert native_sequence.processors(tmp_path) == min(expected or every, every)


def test_threads_have_a_processor_each_if_there_are_as_many():
    """What runs kernels are the workers of tinygrad 0.13, or tinykan's own."""
    workers = (
        "from tinykan.kernels.cpu_graph import Worker\n"
        if FROM_0_14
        else "from tinygrad.runtime.ops_cpu import CPUWorker as Worker\n"
    )
    program = (
        "import os, threading\n"
        "from tests.kernels.test_native_sequence import np, steps\n" + workers + ""
        "steps(np.ones((64, 64), dtype=np.float32), 3)\n"
        "workers = [t for t in threading.enumerate() if isinstance(t, Worker)]\n"
        "print(os.sched_getaffinity(0), [os.sched_getaffinity(t.native_id) for t in workers])\n"
    )
    cpus = sorted(os.sched_getaffinity(0))
    for count, expected in ((len(cpus), [{cpu} for cpu in cpus]), (1, [set(cpus)])):
        environment = os.environ | {THREADS: str(count), "CACHELEVEL": "0"}
        command = [sys.executable, "-c", program]
        out = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        if len(cpus) == 2:  # kernels as small as these may use no more threads
            assert out.stdout == f"{set(cpus)} {expected}\n", out.stderr


@pytest.mark.skipif(not FROM_0_14, reason="tinygrad 0.13 has workers of its own")
def test_an_error_in_a_thread_is_raised_and_the_threads_go_on():
    def fail(number: int) -> None:
        raise ValueError(f"thread {number}")

    with pytest.raises(ValueError, match="thread 0"):
        cpu_graph.run_on_threads(fail, 3)
    numbers = []
    cpu_graph.run_on_threads(numbers.append, 3)
    assert sorted(numbers) == [0, 1, 2]

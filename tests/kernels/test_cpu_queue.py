"""Kernels of a graph that run in one native function, against tinygrad's own queue."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from tinygrad import Context, Tensor, TinyJit

from tests.helpers import ROOT
from tests.kernels.helpers import reason, threaded
from tinykan.kernels import llvm_compiler
from tinykan.kernels.tinygrad_versions import FROM_0_14

pytestmark = [
    pytest.mark.skipif(FROM_0_14, reason="tinygrad 0.14 has no queues of CPU kernels"),
    pytest.mark.skipif(not threaded, reason=reason),
    pytest.mark.skipif(not llvm_compiler.is_installed(), reason="needs llvmlite"),
]

if not FROM_0_14:
    from tinygrad.runtime.ops_cpu import CPUComputeQueue

    from tinykan.kernels import cpu_queue


@pytest.fixture
def submitted(monkeypatch):
    """What became of each queue: a sequence, or None where tinygrad ran it."""
    found = []

    def submit(queue, device):
        cpu_queue.submit(queue, device)
        found.append(queue.native)

    monkeypatch.setattr(CPUComputeQueue, "_submit", submit)
    return found


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
def test_results_are_tinygrads(submitted, monkeypatch, threads):
    """Also with more threads than cores, which wait for one another."""
    x = np.random.default_rng(threads).normal(size=(64, 64)).astype(np.float32)
    with Context(NUM_CPU_THREADS=threads) if FROM_0_14 else Context(CPU_COUNT=threads):
        ours = steps(x, 6)
        used = [s for s in submitted if s is not None]
        monkeypatch.setattr(CPUComputeQueue, "_submit", cpu_queue._submit)
        theirs = steps(x, 6)
    np.testing.assert_array_equal(ours, theirs)
    assert len(used) >= 4
    # In float64: sums of 20 rows.
    y = x.astype(float)
    for _ in range(4):
        y = np.maximum(y * 0.5, 0) + 1
    np.testing.assert_allclose(ours[0], 2 * np.arange(1, 21) @ y[:20], rtol=1e-5)


def test_a_thousand_submissions_give_the_same_bits(submitted):
    values = Tensor(np.arange(4096, dtype=np.float32)).realize()

    @TinyJit
    def step() -> Tensor:
        a = (values + 1).contiguous()
        b = (a.reshape(64, 64) @ a.reshape(64, 64)).contiguous()
        return (b.sum(0) - a.reshape(64, 64).sum(1)).realize()

    found = [step().numpy().tobytes() for _ in range(1000)]
    assert len(set(found)) == 1 and sum(s is not None for s in submitted) > 900


def test_what_is_no_sequence_of_kernels_is_left_to_tinygrad():
    class Program:
        fxn, runtimevars = staticmethod(lambda: None), {}

    def _exec(): ...
    def _signal(): ...
    def _wait(): ...
    def _timestamp(): ...

    kernel = [_exec, 1, 4, Program, 2, 100, 200]
    signal, own, foreign = (
        [_signal, 1, 2, 7, 1],
        [_wait, 1, 3, None, 7, 1],
        [_wait, 1, 3, None, 9, 1],
    )
    stamp = [_timestamp, 1, 1, 7]
    large = [_exec, 1, 2 + 33, Program, 33, *range(33)]
    for queue in ([], kernel, [*kernel, *foreign, *kernel], [*kernel, *stamp, *kernel],
                  [*kernel, *large], [*signal, *foreign]):  # fmt: skip
        assert cpu_queue.Sequence.of(queue, set()) is None
    # The place of the address for which the second kernel waits:
    changing = len(kernel) + len(signal) + 4
    assert cpu_queue.Sequence.of([*kernel, *signal, *own, *kernel], {changing}) is None


def test_commands_around_the_kernels_keep_their_order(monkeypatch):
    found = []
    original = cpu_queue.Sequence.commands

    def commands(self, queue):
        made = original(self, queue)
        names, at = [], 0
        while at < len(made):
            names.append(made[at].__name__)
            at += 3 + made[at + 2]
        found.append(names)
        return made

    monkeypatch.setattr(cpu_queue.Sequence, "commands", commands)
    steps(np.ones((64, 64), dtype=np.float32), 3)
    names = found[-1]
    assert names.count("run") == 1 and "_exec" not in names and names[-1] == "_signal"
    assert names.index("run") > names.index("_wait")


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("150000 100000\n", 1.5), ("max 100000\n", None), ("9900000 100000\n", None), (None, None)],
)
def test_the_time_of_a_container_counts(tmp_path, quota, expected):
    if quota:
        (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
        (tmp_path / "sys/fs/cgroup/cpu.max").write_text(quota)
    every = len(os.sched_getaffinity(0))
    assert cpu_queue.processors(tmp_path) == min(expected or every, every)


def test_threads_have_a_processor_each_if_there_are_as_many():
    program = (
        "import os, threading\nfrom tinygrad.runtime.ops_cpu import CPUWorker\n"
        "from tests.kernels.test_cpu_queue import np, steps\n"
        "steps(np.ones((64, 64), dtype=np.float32), 3)\n"
        "workers = [t for t in threading.enumerate() if isinstance(t, CPUWorker)]\n"
        "print(os.sched_getaffinity(0), [os.sched_getaffinity(t.native_id) for t in workers])\n"
    )
    cpus = sorted(os.sched_getaffinity(0))
    for count, expected in ((len(cpus), [{cpu} for cpu in cpus]), (1, [set(cpus)])):
        environment = os.environ | {"CPU_COUNT": str(count), "CACHELEVEL": "0"}
        command = [sys.executable, "-c", program]
        out = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        if len(cpus) == 2:  # kernels as small as these may use no more threads
            assert out.stdout == f"{set(cpus)} {expected}\n", out.stderr

"""Queues of kernels in tinygrad 0.13 that become sequences, and those that do not."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kernels.helpers import reason, threaded
from tests.kernels.test_native_sequence import steps
from tinykan.kernels import native_sequence
from tinykan.kernels.tinygrad_versions import FROM_0_14

pytestmark = [
    pytest.mark.skipif(FROM_0_14, reason="tinygrad 0.14 has no queues of CPU kernels"),
    pytest.mark.skipif(not threaded, reason=reason),
    pytest.mark.skipif(not native_sequence.is_available(), reason="needs llvmlite and Linux"),
]

if not FROM_0_14:
    from tinykan.kernels import cpu_queue


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
        assert cpu_queue.NativeQueue.of(queue, set()) is None
    # The place of the address for which the second kernel waits:
    changing = len(kernel) + len(signal) + 4
    assert cpu_queue.NativeQueue.of([*kernel, *signal, *own, *kernel], {changing}) is None


def test_commands_around_the_kernels_keep_their_order(monkeypatch):
    found = []
    original = cpu_queue.NativeQueue.commands

    def commands(self, queue):
        made = original(self, queue)
        names, at = [], 0
        while at < len(made):
            names.append(made[at].__name__)
            at += 3 + made[at + 2]
        found.append(names)
        return made

    monkeypatch.setattr(cpu_queue.NativeQueue, "commands", commands)
    steps(np.ones((64, 64), dtype=np.float32), 3)
    names = found[-1]
    assert names.count("run") == 1 and "_exec" not in names and names[-1] == "_signal"
    assert names.index("run") > names.index("_wait")

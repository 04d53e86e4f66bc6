"""Compiled steps of tinygrad 0.13 as sequences of native code: the queue of a graph's kernels,
which tinygrad gives to the worker of the CPU. What is not simply a sequence of kernels, as across
several devices, is left to tinygrad.
"""

from __future__ import annotations

import ctypes
from typing import Any

from tinygrad.runtime.ops_cpu import CPUComputeQueue

from tinykan.kernels.native_sequence import MOST_ARGUMENTS, Kernel, Sequence, is_available

_submit = CPUComputeQueue._submit


def install() -> None:
    if is_available():
        setattr(CPUComputeQueue, "_submit", submit)  # noqa: B010, a method is not assigned to


def submit(queue: Any, device: Any) -> None:
    """As `CPUComputeQueue._submit`."""
    if not hasattr(queue, "native"):
        queue.native = NativeQueue.of(queue._q, {place for place, _ in queue.q_sints})
    if queue.native is None:
        _submit(queue, device)
    else:
        device.tasks.put(queue.native.commands(queue._q))


class NativeQueue:
    """The kernels of a queue as a sequence, and the commands that come before and after them.
    `changing` are the entries of the queue, by number, that differ from one submission to the next.
    """

    def __init__(
        self, kernels: list[slice], signals: list[slice], queue: list, changing: set[int]
    ) -> None:
        self.before, self.after = slice(0, kernels[0].start), slice(kernels[-1].stop, None)
        self.signals = signals  # between kernels, given after all of them
        self._programs = [queue[kernel.start + 3] for kernel in kernels]  # their code stays
        calls = [_kernel(queue[kernel]) for kernel in kernels]
        self.sequence = Sequence(calls)
        self._changes = [
            (place, kernel.start + 5 + argument)
            for number, (kernel, call) in enumerate(zip(kernels, calls, strict=True))
            for argument in range(len(call.arguments))
            if kernel.start + 5 + argument in changing and argument != call.thread_argument
            for place in self.sequence.places(number, argument)
        ]

    @classmethod
    def of(cls, queue: list, changing: set[int]) -> NativeQueue | None:
        """The sequence in the entries of a queue, or None if there are not several kernels, or if
        they wait for anything but one another."""
        commands, start = [], 0
        while start < len(queue):
            end = start + 3 + queue[start + 2]
            commands.append((queue[start].__name__, slice(start, end)))
            start = end
        kernels = [part for kind, part in commands if kind == "_exec"]
        if len(kernels) < 2 or any(k.stop - k.start - 5 > MOST_ARGUMENTS for k in kernels):
            return None
        inside = [(k, p) for k, p in commands if kernels[0].start < p.start < kernels[-1].start]
        signals = [part for kind, part in inside if kind == "_signal"]
        waits = [part for kind, part in inside if kind == "_wait"]
        known = {queue[part.start + 3] for kind, part in commands if kind == "_signal"}
        addresses = [part.start + 4 for part in waits]
        if any(kind not in ("_exec", "_signal", "_wait") for kind, _ in inside):
            return None
        if any(place in changing or queue[place] not in known for place in addresses):
            return None
        return cls(kernels, signals, queue, changing)

    def commands(self, queue: list) -> list:
        """For the worker of a device: what comes before the kernels; the kernels, in every thread;
        and the rest."""
        self.sequence.prepare([(place, queue[entry]) for place, entry in self._changes])
        signals = [entry for part in self.signals for entry in queue[part]]
        run = [self.sequence.run, self.sequence.threads, 0]
        return [*queue[self.before], *run, *signals, *queue[self.after]]


def _kernel(command: list) -> Kernel:
    _, threads, _, program, buffers, *arguments = command
    number = program.runtimevars.get("core_id")  # of the value that is the thread's
    address = ctypes.cast(program.fxn, ctypes.c_void_p).value or 0
    return Kernel(address, threads, arguments, None if number is None else buffers + number)

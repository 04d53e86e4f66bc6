"""The kernels of a compiled step, run one after another by native code.

tinygrad 0.13 starts each kernel on the CPU from Python, in every thread, through queues and locks
that take as long as a small kernel itself: a tanh network's step was slower on two threads than on
one. Here, each thread of the device runs all kernels of a graph in one native function, which waits
for the other threads in between. What is not simply a sequence of kernels, as across several
devices, is left to tinygrad.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import functools
import os
import sys
import threading
from pathlib import Path
from typing import Any

from tinygrad import Device
from tinygrad.runtime.ops_cpu import CPUComputeQueue, CPUProgram

from tinykan.kernels.llvm_compiler import TRIPLES, LLVMLiteCompiler, is_installed

ARGUMENTS = (8, 16, 32)  # a kernel is called with as many; what it does not take, it ignores
HEADER = 6  # arrivals at barriers, threads asleep, threads, kernels, the address of syscall, spins
RECORD = 3 + ARGUMENTS[-1]  # a kernel's address, threads, number of arguments, the arguments
MASK = 2**64 - 1
SPINS = 4096  # of a thread that waits, 0.1 to 0.2 milliseconds in all, before it sleeps
PAUSE = {"x86_64": "pause", "arm64": "yield"}
FUTEX = {"x86_64": 202, "arm64": 98}  # the number of the system call, on Linux

_submit = CPUComputeQueue._submit


def install() -> None:
    """Makes CPU queues of several kernels run natively, where llvmlite can compile what runs them
    and functions may be called with more arguments than they take, each in a slot of 8 bytes."""
    if is_installed() and sys.platform == "linux":
        setattr(CPUComputeQueue, "_submit", submit)  # noqa: B010, a method is not assigned to


def submit(queue: Any, device: Any) -> None:
    """As `CPUComputeQueue._submit`."""
    if not hasattr(queue, "native"):
        queue.native = Sequence.of(queue._q, {place for place, _ in queue.q_sints})
    if queue.native is None:
        _submit(queue, device)
    else:
        device.tasks.put(queue.native.commands(queue._q))


class Sequence:
    """The kernels of a queue, and the commands that come before and after them.

    The native function reads a table, of a record for each thread and kernel. `changing` are the
    entries of the queue, by number, that differ from one submission to the next. Only one may be
    under way at a time, as tinygrad's graphs have it.
    """

    def __init__(
        self, kernels: list[slice], signals: list[slice], queue: list, changing: set[int]
    ) -> None:
        self.threads = max(queue[kernel.start + 1] for kernel in kernels)
        self.before, self.after = slice(0, kernels[0].start), slice(kernels[-1].stop, None)
        self.signals = signals  # between kernels, given after all of them
        self._programs = [queue[kernel.start + 3] for kernel in kernels]  # their code stays
        self._moves: list[tuple[int, int]] = []  # entries that change, and their places
        records = self.threads * len(kernels)
        self._table = array.array("Q", bytes(8 * (HEADER + records * RECORD)))
        spins = SPINS if self.threads <= processors() else 0
        header = [0, 0, self.threads, len(kernels), _address_of_syscall(), spins]
        self._table[:HEADER] = array.array("Q", header)
        self._address, self._function = self._table.buffer_info()[0], _native_function()
        place = HEADER
        for thread in range(self.threads):
            for kernel in kernels:
                self._fill(place, thread, kernel, queue, changing)
                place += RECORD

    def _fill(self, at: int, thread: int, kernel: slice, queue: list, changing: set[int]) -> None:
        _, used, _, program, buffers, *values = queue[kernel]
        address = ctypes.cast(program.fxn, ctypes.c_void_p).value or 0
        self._table[at : at + 3] = array.array("Q", [address, used, len(values)])
        number = program.runtimevars.get("core_id")  # of the value that is the thread's
        for k, value in enumerate(values):
            entry, place = kernel.start + 5 + k, at + 3 + k
            if number is not None and k == buffers + number:
                self._table[place] = thread
            elif entry in changing:
                self._moves.append((entry, place))
            else:
                self._table[place] = value & MASK

    @classmethod
    def of(cls, queue: list, changing: set[int]) -> Sequence | None:
        """The sequence in the entries of a queue, or None if there are not several kernels, or if
        they wait for anything but one another."""
        commands, start = [], 0
        while start < len(queue):
            end = start + 3 + queue[start + 2]
            commands.append((queue[start].__name__, slice(start, end)))
            start = end
        kernels = [part for kind, part in commands if kind == "_exec"]
        if len(kernels) < 2 or any(k.stop - k.start - 5 > ARGUMENTS[-1] for k in kernels):
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
        for entry, place in self._moves:
            self._table[place] = queue[entry] & MASK
        self._table[0] = 0
        signals = [entry for part in self.signals for entry in queue[part]]
        return [*queue[self.before], self.run, self.threads, 0, *signals, *queue[self.after]]

    def run(self, thread: int) -> None:
        if self.threads == processors() and not hasattr(_pinned, "cpu"):
            _pinned.cpu = _cpus()[thread]
            with contextlib.suppress(OSError):  # a processor that has been taken away
                os.sched_setaffinity(0, {_pinned.cpu})
        self._function(ctypes.c_uint64(self._address), ctypes.c_uint64(thread))


@functools.cache
def _cpus() -> list[int]:
    """The processors that this process may run on."""
    return sorted(os.sched_getaffinity(os.getpid()))


@functools.cache
def processors(root: Path = Path("/")) -> float:
    """How many processors' time this process may use: a container may have less than it sees."""
    available = float(len(_cpus()))
    with contextlib.suppress(OSError, ValueError):
        quota, period = (root / "sys/fs/cgroup/cpu.max").read_text().split()
        available = min(available, int(quota) / int(period))  # "max" is no quota
    return available


# The processor of a thread. If there are as many threads as processors, each has its own: else the
# system lets two that wake each other share one for a while, and they wait for one another.
_pinned = threading.local()


@functools.cache
def _address_of_syscall() -> int:
    return ctypes.cast(ctypes.CDLL(None).syscall, ctypes.c_void_p).value or 0


@functools.cache
def _native_function() -> Any:
    device: Any = Device["CPU"]
    architecture = device.renderer.target.arch.split(",")[0]
    compiler = LLVMLiteCompiler([architecture, "native"])
    program: Any = CPUProgram(device, "run_kernels", compiler.compile(_source(architecture)))
    _native_function.program = program  # type: ignore[attr-defined]  # whose memory it is in
    return program.fxn


def _source(architecture: str) -> str:
    """In LLVM IR: runs the kernels of a table (the first argument) in a thread (the second)."""
    calls = ""
    for n, count in enumerate(ARGUMENTS):
        names = [f"%a{n}_{k}" for k in range(count)]
        loads = "".join(
            f"  %p{n}_{k} = getelementptr i64, ptr %record, i64 {3 + k}\n"
            f"  {name} = load i64, ptr %p{n}_{k}\n"
            for k, name in enumerate(names)
        )
        given = ", ".join(f"i64 {name}" for name in names)
        calls += f"call{n}:\n{loads}  call void %kernel({given})\n  br label %called\n"
    (small, middle, _), futex = ARGUMENTS, FUTEX[architecture]
    return f"""
target triple = "{TRIPLES[architecture]}"
define void @run_kernels(ptr %table, i64 %thread) {{
entry:
  %asleep = getelementptr i64, ptr %table, i64 1
  %p_threads = getelementptr i64, ptr %table, i64 2
  %threads = load i64, ptr %p_threads
  %p_kernels = getelementptr i64, ptr %table, i64 3
  %kernels = load i64, ptr %p_kernels
  %p_syscall = getelementptr i64, ptr %table, i64 4
  %syscall = load ptr, ptr %p_syscall
  %p_spins = getelementptr i64, ptr %table, i64 5
  %spins = load i64, ptr %p_spins
  %own = mul i64 %thread, %kernels
  %offset = mul i64 %own, {RECORD}
  %start = add i64 %offset, {HEADER}
  %first = getelementptr i64, ptr %table, i64 %start
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %passed ]
  %distance = mul i64 %i, {RECORD}
  %record = getelementptr i64, ptr %first, i64 %distance
  %p_used = getelementptr i64, ptr %record, i64 1
  %used = load i64, ptr %p_used
  %takes_part = icmp ult i64 %thread, %used
  br i1 %takes_part, label %execute, label %called
execute:
  %kernel = load ptr, ptr %record
  %p_count = getelementptr i64, ptr %record, i64 2
  %count = load i64, ptr %p_count
  %is_small = icmp ule i64 %count, {small}
  br i1 %is_small, label %call0, label %larger
larger:
  %is_middle = icmp ule i64 %count, {middle}
  br i1 %is_middle, label %call1, label %call2
{calls}called:
  %next = add i64 %i, 1
  %all = icmp eq i64 %next, %kernels
  br i1 %all, label %done, label %arrive
arrive:
  %wanted = mul i64 %next, %threads
  %before = atomicrmw add ptr %table, i64 1 seq_cst
  %mine = add i64 %before, 1
  %last = icmp eq i64 %mine, %wanted
  br i1 %last, label %finish, label %wait
finish:
  %sleepers = load atomic i64, ptr %asleep seq_cst, align 8
  %none = icmp eq i64 %sleepers, 0
  br i1 %none, label %passed, label %wake
wake:
  %woken = call i64 %syscall(i64 {futex}, ptr %table, i64 1, i64 2147483647, i64 0, i64 0, i64 0)
  br label %passed
wait:
  %turn = phi i64 [ 0, %arrive ], [ %turned, %spin ]
  %arrived = load atomic i64, ptr %table acquire, align 8
  %ready = icmp uge i64 %arrived, %wanted
  br i1 %ready, label %passed, label %spin
spin:
  call void asm sideeffect "{PAUSE[architecture]}", ""()
  %turned = add i64 %turn, 1
  %tired = icmp uge i64 %turned, %spins
  br i1 %tired, label %sleep, label %wait
sleep:
  %others = atomicrmw add ptr %asleep, i64 1 seq_cst
  br label %check
check:
  %now = load atomic i64, ptr %table seq_cst, align 8
  %done_now = icmp uge i64 %now, %wanted
  br i1 %done_now, label %awake, label %rest
rest:
  %slept = call i64 %syscall(i64 {futex}, ptr %table, i64 0, i64 %now, i64 0, i64 0, i64 0)
  br label %check
awake:
  %fewer = atomicrmw sub ptr %asleep, i64 1 seq_cst
  br label %passed
passed:
  br label %loop
done:
  ret void
}}
"""

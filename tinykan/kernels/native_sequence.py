"""A sequence of kernels, run one after another by native code.

To start a kernel on the CPU from Python, in every thread, takes as long as a small kernel itself: a
tanh network's step was slower on two threads than on one. Here, each thread runs all kernels of a
sequence in one native function, which waits for the other threads in between. What makes sequences
of tinygrad's compiled steps is in cpu_queue.py for tinygrad 0.13, in cpu_graph.py for 0.14.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import functools
import os
import platform
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tinykan.kernels import llvm_compiler

MOST_ARGUMENTS = 32
ARGUMENTS = (8, 16, MOST_ARGUMENTS)  # a kernel is called with as many; it ignores what is too much
HEADER = 6  # arrivals at barriers, threads asleep, threads, kernels, the address of syscall, spins
RECORD = 3 + MOST_ARGUMENTS  # a kernel's address, threads, number of arguments, the arguments
MASK = 2**64 - 1
SPINS = 4096  # of a thread that waits, 0.1 to 0.2 milliseconds in all, before it sleeps
PAUSE = {"x86_64": "pause", "arm64": "yield"}
FUTEX = {"x86_64": 202, "arm64": 98}  # the number of the system call, on Linux


def is_available() -> bool:
    """Whether llvmlite can compile what runs the kernels, and functions may be called with more
    arguments than they take, each in a slot of 8 bytes."""
    return llvm_compiler.is_installed() and sys.platform == "linux"


class Kernel(NamedTuple):
    """A kernel's machine code and how it is called. Each of its threads gives its own number as the
    argument `thread_argument`, if there is one."""

    address: int
    threads: int
    arguments: list[int]
    thread_argument: int | None


class Sequence:
    """Kernels that `run` executes one after another, once `threads` threads call it at the same
    time. The native function reads a table, of a record for each thread and kernel. Only one run of
    a sequence may be under way at a time."""

    def __init__(self, kernels: list[Kernel]) -> None:
        self.threads = max(kernel.threads for kernel in kernels)
        self._count = len(kernels)
        self._table = array.array("Q", bytes(8 * (HEADER + self.threads * self._count * RECORD)))
        spins = SPINS if self.threads <= processors() else 0
        header = [0, 0, self.threads, self._count, _address_of_syscall(), spins]
        self._table[:HEADER] = array.array("Q", header)
        self._address, self._function = self._table.buffer_info()[0], _native_function()
        for number, kernel in enumerate(kernels):
            values = [kernel.address, kernel.threads, len(kernel.arguments)]
            values += [value & MASK for value in kernel.arguments]
            for thread in range(self.threads):
                place = self._place(thread, number)
                self._table[place : place + len(values)] = array.array("Q", values)
                if kernel.thread_argument is not None:
                    self._table[place + 3 + kernel.thread_argument] = thread

    def _place(self, thread: int, kernel: int) -> int:
        return HEADER + (thread * self._count + kernel) * RECORD

    def places(self, kernel: int, argument: int) -> list[int]:
        """Where `prepare` has to write an argument that changes from run to run."""
        return [self._place(thread, kernel) + 3 + argument for thread in range(self.threads)]

    def prepare(self, changes: list[tuple[int, int]]) -> None:
        """Before each run: values at some of the `places`."""
        for place, value in changes:
            self._table[place] = value & MASK
        self._table[0] = 0

    def run(self, thread: int) -> None:
        if self.threads == processors() and not hasattr(_pinned, "cpu"):
            _pinned.cpu = _cpus()[thread]
            with contextlib.suppress(OSError):  # a processor that has been taken away
                os.sched_setaffinity(0, {_pinned.cpu})
        self._function(self._address, thread)


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
def _native_function() -> Callable[[int, int], None]:
    architecture = {"amd64": "x86_64", "aarch64": "arm64"}.get(
        machine := platform.machine().lower(), machine
    )
    compiler = llvm_compiler.LLVMLiteCompiler([architecture, "native"])
    address = compiler.function_address(_source(architecture), "run_kernels")
    return ctypes.CFUNCTYPE(None, ctypes.c_uint64, ctypes.c_uint64)(address)


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

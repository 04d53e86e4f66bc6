"""Kernels on the threads of tinygrad 0.14's CPU, which knows of none: it runs the threads of a
kernel one after another, and starts each kernel of a compiled step from Python. Here the threads of
a kernel run at the same time, and a compiled step is a sequence of native code.
"""

from __future__ import annotations

import ctypes
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from tinygrad.engine.jit import GraphRunner
from tinygrad.engine.realize import get_call_arg_uops
from tinygrad.runtime.ops_cpu import CPUDevice, CPUProgram
from tinygrad.uop.ops import Ops, UOp

from tinykan.kernels.native_sequence import MOST_ARGUMENTS, Kernel, Sequence, is_available

_run_one_by_one: Any = CPUProgram.__call__
_open: Any = CPUDevice.__init__


def install() -> None:
    setattr(CPUProgram, "__call__", call)  # noqa: B010, a method is not assigned to
    if is_available():
        setattr(CPUDevice, "__init__", open_with_graphs)  # noqa: B010, as above


def open_with_graphs(device: Any, *arguments: Any) -> None:
    _open(device, *arguments)
    device.graph = CPUGraph


def call(
    program: Any, *buffers: Any, global_size: tuple = (1, 1, 1), vals: tuple = (), **options: Any
) -> float | None:
    """As `CPUProgram.__call__`: runs a kernel, and returns when it is done."""
    place = program.runtimevars.get("core_id")
    if place is None or global_size[0] == 1:
        return _run_one_by_one(program, *buffers, global_size=global_size, vals=vals, **options)
    start = time.perf_counter()
    arguments = [*(buffer.va_addr for buffer in buffers), *vals]

    def run(thread: int) -> None:
        own = [*arguments[:place], thread, *arguments[place + 1 :]]
        program.fxn(*map(ctypes.c_uint64, own))

    run_on_threads(run, global_size[0])
    return time.perf_counter() - start if options.get("wait") else None


class CPUGraph(GraphRunner):
    """The kernels of a compiled step, in the form in which tinygrad asks a device for it. As with
    kernels alone, a call returns when they are done."""

    def __init__(self, linear: UOp, input_uops: tuple[UOp, ...] = ()) -> None:
        super().__init__(linear, input_uops)
        kernels = []
        runtime: Any
        for (_, program, buffers, known), runtime in zip(self.calls, self.runtimes, strict=True):
            chosen: Any = [buffers[k] for k in program.arg.globals]
            values = [known.get(variable.expr, 0) for variable in program.arg.vars]
            arguments = [*(buffer._buf.va_addr for buffer in chosen), *values]
            place, threads = runtime.runtimevars.get("core_id"), program.arg.global_size[0]
            kernels.append(Kernel(runtime.addr, 1 if place is None else threads, arguments, place))
        self.sequence = Sequence(kernels)
        self._inputs = [
            (place, slot)
            for number, replaced in enumerate(self.uop_replace)
            for position, slot in replaced
            for argument, k in enumerate(self.calls[number][1].arg.globals)
            if k == position
            for place in self.sequence.places(number, argument)
        ]

    def __call__(
        self, input_uops: tuple[UOp, ...], var_vals: dict[str, int], wait: bool = False
    ) -> float | None:
        buffers: Any = [uop.buffer for uop in input_uops]
        changes = [(place, buffers[slot]._buf.va_addr) for place, slot in self._inputs]
        for number, variable, value in self.updated_vars(var_vals):
            argument = len(self.calls[number][1].arg.globals) + variable
            changes += [(place, value) for place in self.sequence.places(number, argument)]
        start = time.perf_counter()
        self.sequence.prepare(changes)
        run_on_threads(self.sequence.run, self.sequence.threads)
        return time.perf_counter() - start if wait else None

    @staticmethod
    def supports_uop(batch_devs: list, new_call: UOp) -> bool:
        """Whether a call is that of a kernel whose number of threads is known, with arguments that
        are buffers or inputs of the step, not parts of such."""
        if not GraphRunner.supports_uop(batch_devs, new_call):
            return False
        info, arguments = new_call.src[0].arg, get_call_arg_uops(new_call)
        count = len(info.globals) + len(info.vars)
        known = all(isinstance(size, int) for size in info.global_size)
        whole = all(not isinstance(a.device, tuple) and not _is_part_of_input(a) for a in arguments)
        return known and whole and count <= MOST_ARGUMENTS


def _is_part_of_input(argument: UOp) -> bool:
    return argument.op is not Ops.PARAM and any(u.op is Ops.PARAM for u in argument.toposort())


class Worker(threading.Thread):
    """A thread that calls the functions which it is given, with its number."""

    def __init__(self, number: int) -> None:
        super().__init__(name=f"tinykan-cpu-{number}", daemon=True)
        self.number = number
        self.given: queue.SimpleQueue[Callable[[int], None]] = queue.SimpleQueue()
        self.done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self.start()

    def run(self) -> None:
        while True:
            try:
                self.given.get()(self.number)
                self.done.put(None)
            except BaseException as error:  # raised where the function was given
                self.done.put(error)


_workers: list[Worker] = []
_busy = threading.Lock()


def run_on_threads(function: Callable[[int], None], count: int) -> None:
    """Calls `function` with each of the numbers below `count`, at the same time."""
    with _busy:
        while len(_workers) < count:
            _workers.append(Worker(len(_workers)))
        for worker in _workers[:count]:
            worker.given.put(function)
        errors = [worker.done.get() for worker in _workers[:count]]
    for error in filter(None, errors):
        raise error

"""What tinygrad gets wrong or lacks, and how tinykan works around it: one function for each fault,
with the version in which it was seen; what it lacks (a compiler from pip, a disk cache of lowered
kernels) has a file of its own. `work_around` applies all, once, before the first tensor.

Faults that are avoided by writing code differently are named where that is done: boolean tensors
in basis.py, unused kernel arguments in gpu.py.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import re
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, cast

from tinygrad import Device
from tinygrad.helpers import getenv
from tinygrad.renderer.llvmir import CPULLVMRenderer
from tinygrad.runtime import autogen
from tinygrad.runtime.graph.hcq import HCQGraph
from tinygrad.runtime.ops_cpu import CPUWorker

from tinykan.kernels import llvm_compiler, parallel_compilation, program_cache, tinygrad_versions


@functools.cache
def work_around() -> None:
    look_for_llvm_when_it_is_used()
    allow_unaligned_vectors()
    write_constants_with_a_point()
    if tinygrad_versions.FROM_0_14:
        tinygrad_versions.open_the_cpu_without_clang()
        tinygrad_versions.compile_in_this_process()
        from tinykan.kernels import cpu_graph, wide_vectors

        cpu_graph.install()
        wide_vectors.install()
    else:
        free_graphs_when_the_device_can_be_waited_for()
        discard_unfinished_compilers()
        from tinykan.kernels import cpu_queue

        cpu_queue.install()
    llvm_compiler.install()
    program_cache.install()
    parallel_compilation.install()


def look_for_llvm_when_it_is_used() -> None:
    """tinygrad looks for libLLVM in all folders of libraries, a tenth of a second long, when any
    compiler for the CPU is loaded; pip's compiler and clang do not need it."""
    name = "tinygrad.runtime.autogen.llvm"
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None or name in sys.modules:
        return
    loader = spec.loader = importlib.util.LazyLoader(spec.loader)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    setattr(autogen, "llvm", module)  # noqa: B010, a submodule, to mypy


def allow_unaligned_vectors() -> None:
    """Slices of realized tensors start anywhere in memory, but tinygrad 0.13.0 tells CPU compilers
    that each vector is aligned to its size; they rely on it, and the process dies."""
    os.environ["ALIGNED"] = "0"  # of clang's types
    cast(Any, getenv).cache_clear()

    def unaligned(source: str) -> str:
        source = source.replace(" noalias align 32 ", " noalias ")
        return re.sub(r"\b(load|store) <.*", r"\g<0>, align 1", source)

    _edit_llvm_ir(unaligned)


def write_constants_with_a_point() -> None:
    """tinygrad 0.13.0 writes the float64 constant 0.00001 as 1e-05, which is no number to LLVM."""
    _edit_llvm_ir(lambda source: re.sub(r"(?<=[ ,])(-?\d+)(e[+-]\d+)\b", r"\1.0\2", source))


def _edit_llvm_ir(edit: Callable[[str], str]) -> None:
    render = CPULLVMRenderer.render
    edited = functools.wraps(render)(lambda self, uops: edit(render(self, uops)))
    setattr(CPULLVMRenderer, "render", edited)  # noqa: B010, a method is not assigned to by name


def free_graphs_when_the_device_can_be_waited_for() -> None:
    """The compiled steps of tinygrad 0.13.0 wait for the device before they are freed, which may be
    done by the garbage collector, at any moment: in a thread that runs the CPU's kernels, which
    then waits for itself, or after kernels have been counted and before they are started. What is
    found there is freed with the next one that is found elsewhere."""
    free, left = HCQGraph.__del__, []

    def delete(self: HCQGraph) -> None:
        if isinstance(threading.current_thread(), CPUWorker) or _in_the_runtime():
            left.append(self)
            return
        free(self)
        while left:
            free(left.pop())

    setattr(HCQGraph, "__del__", delete)  # noqa: B010, as above


def _in_the_runtime() -> bool:
    """Whether a function of tinygrad's devices and queues is being called in this thread."""
    frame: FrameType | None = sys._getframe(2)
    while frame and not frame.f_globals.get("__name__", "").startswith("tinygrad.runtime."):
        frame = frame.f_back
    return frame is not None


def discard_unfinished_compilers() -> None:
    """Where there is no libLLVM, the constructor of tinygrad 0.13.0's LLVM compiler raises an
    error, which is how its absence is noticed; the object's destructor then prints a traceback."""
    compiler = tinygrad_versions.llvm_compiler_module().LLVMCompiler
    discard = compiler.__del__

    def delete(self: Any) -> None:
        if hasattr(self, "context"):
            discard(self)

    compiler.__del__ = delete


def opencl_is_a_gpu() -> bool:
    """Whether tinygrad's OpenCL device is a GPU. tinygrad 0.13.0 prefers OpenCL to its CPU device,
    even where OpenCL runs on the same CPU and is slower."""
    try:
        from tinygrad.runtime.autogen import opencl as cl

        kind = ctypes.c_uint64()
        opened: Any = Device["CL"]
        cl.clGetDeviceInfo(opened.device_id, cl.CL_DEVICE_TYPE, 8, ctypes.byref(kind), None)
        return bool(kind.value & cl.CL_DEVICE_TYPE_GPU)
    except Exception:  # no loader, no platform, no device
        return False

"""Which tinygrad device and renderer this process uses: decided once, before the first tensor."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from typing import Any, cast

import numpy as np
from tinygrad import Context, Device, Tensor
from tinygrad.helpers import DEV, SPEC, USE_TC, Target, getenv
from tinygrad.renderer.llvmir import CPULLVMRenderer
from tinygrad.runtime.graph.hcq import HCQGraph
from tinygrad.runtime.ops_cpu import CPUWorker

from tinykan.errors import UserError

# In the order of preference. OpenCL comes last and only with a real GPU behind it: an OpenCL
# implementation on the CPU (PoCL) is slower than tinygrad's own CPU device.
ACCELERATORS = ("METAL", "AMD", "NV", "CUDA", "QCOM", "CL")
CPU_RENDERERS = ("CLANGJIT", "LLVM", "X86")
# On x86, tinygrad moves 4 numbers at a time, and no compiler widens that. Its AMX option makes it
# 16, which they split into as many registers as it takes, the widest they are told to prefer; the
# tensor cores for which that option stands, Apple's, are switched off.
WIDE_VECTORS = {
    "CPU:CLANGJIT": "x86_64,native,prefer-vector-width=512,AMX",
    "CPU:LLVM": "x86_64,native,-prefer-256-bit,AMX",
}
# Only when asked for by name: WebGPU without a working driver can return garbage, and the Python
# emulator is for tests.
ON_REQUEST = ("CL", "WEBGPU", "PYTHON")


class DeviceError(UserError):
    """A device that was asked for does not exist or does not work here."""


def select(name: str | None = None) -> str:
    """Makes `name` (`"CPU"`, `"CPU:LLVM"`, `"CUDA"`, ...) the default device; gives its full name.

    Without a name the `DEV` environment variable decides; without that, the first accelerator that
    works, else the CPU with the best renderer that works. Raises DeviceError, listing the devices
    that do work, if the one asked for does not.
    """
    wanted = name.strip() if name else repr(DEV)
    candidates = list(_expand(wanted)) if wanted else list(_automatic())
    for candidate in candidates:
        if works(candidate):
            DEV.value = _widened(candidate)
            return candidate
    if not wanted:
        raise DeviceError("no tinygrad device works on this machine")
    usable = [c for c in (*_automatic(), *ON_REQUEST) if works(c)]
    raise DeviceError(
        f"device {wanted!r} is not available here; these are: {', '.join(dict.fromkeys(usable))}"
    )


def select_by_default() -> None:
    """What `select` does without a name, unless `DEV` names a device in full: that is tinygrad's to
    open, or to refuse when it is first used."""
    _free_graphs_outside_workers()
    name = repr(DEV).upper()
    if name in ("", "CPU"):
        select()
    elif name in WIDE_VECTORS:
        DEV.value = _widened(name)


@contextlib.contextmanager
def spread(tensors: Iterable[Tensor], names: Sequence[str]) -> Iterator[None]:
    """While the context is open, `tensors` have a copy on each of the devices; then they are back
    on the default one. Raises DeviceError for a device that does not work or is named twice."""
    names = tuple(Device.canonicalize(name.strip()) for name in names)
    if len(set(names)) < len(names):
        raise DeviceError(f"a device is named twice in {', '.join(names)}")
    for name in names:
        try:
            answer = (Tensor([1.0, 2.0], device=name) + 1).tolist()
        except Exception:  # as in `works`
            answer = None
        if answer != [2.0, 3.0]:
            raise DeviceError(f"device {name!r} is not available here")
    tensors = list(tensors)
    for tensor in tensors:
        tensor.replace(tensor.to(names).realize())
    try:
        yield
    finally:
        for tensor in tensors:
            tensor.replace(tensor.to(Device.DEFAULT).realize())


def describe() -> dict[str, str]:
    """The device in use, its renderer and its architecture, for the record of a run."""
    device = Device[Device.DEFAULT]
    renderer = device._renderer_name(type(device.renderer))
    return {"device": Device.DEFAULT, "renderer": renderer, "machine": platform.machine()}


def summary() -> str:
    """The device in one line, to be printed at the start of a run."""
    about = describe()
    return f"device {about['device']}, renderer {about['renderer']}, tinygrad {version('tinygrad')}"


def has_float64() -> bool:
    """Whether the device in use computes in float64."""
    return describe()["device"] not in ("METAL", "WEBGPU", "QCOM")


def _automatic() -> Iterator[str]:
    yield from (name for name in ACCELERATORS if name != "CL" or _opencl_is_a_gpu())
    yield from _expand("CPU")


def _expand(wanted: str) -> Iterator[str]:
    """`CPU` alone stands for its renderers: tinygrad's own choice is the first that can be named,
    which fails at the first kernel where its compiler is missing."""
    if wanted.upper() == "CPU":
        yield from (f"CPU:{renderer}" for renderer in CPU_RENDERERS)
    else:
        yield wanted


def _widened(name: str) -> str:
    """The target with the widest vectors, for one that names nothing but a renderer."""
    vectors = WIDE_VECTORS.get(name.upper())
    if vectors is None or platform.machine().lower() not in ("x86_64", "amd64"):
        return name
    USE_TC.value = 0
    # Its check of what it generates rejects 12 numbers stored as 8 and 4, which is no fault.
    SPEC.value = 0
    _allow_unaligned_vectors()
    return f"{name}:{vectors}"


@functools.cache
def _allow_unaligned_vectors() -> None:
    """Slices of realized tensors start anywhere in memory, but tinygrad 0.13 tells compilers that
    each vector is aligned to its size; they rely on it, and the process dies."""
    os.environ["ALIGNED"] = "0"  # of clang's types
    cast(Any, getenv).cache_clear()
    render = CPULLVMRenderer.render

    def unaligned(self: CPULLVMRenderer, uops: list) -> str:
        source = render(self, uops).replace(" noalias align 32 ", " noalias ")
        return re.sub(r"\b(load|store) <.*", r"\g<0>, align 1", source)

    setattr(CPULLVMRenderer, "render", unaligned)  # noqa: B010, a method is not assigned to by name


@functools.cache
def _free_graphs_outside_workers() -> None:
    """Garbage may be collected in a thread that runs the CPU's kernels. There, tinygrad 0.13's
    compiled steps wait for the kernels before them, which is to wait for the thread itself, for
    ever. So that thread leaves them to the next that is freed elsewhere."""
    free, left = HCQGraph.__del__, []

    def delete(self: HCQGraph) -> None:
        if isinstance(threading.current_thread(), CPUWorker):
            left.append(self)
            return
        free(self)
        while left:
            free(left.pop())

    setattr(HCQGraph, "__del__", delete)  # noqa: B010, as above


def works(candidate: str) -> bool:
    """Runs a small kernel with vector loads and stores (libLLVM before 16 compiles scalar code
    only), past the kernel cache, which would hide a missing compiler."""
    values = np.linspace(-2, 2, 64, dtype=np.float32)
    try:
        if Target.parse(candidate).device in ("", "DISK", "NPY", "NULL", "TINYFS"):
            return False
        with Context(DEV=candidate, CACHELEVEL=0):
            result = (Tensor(values, device=Device.DEFAULT) * 2 + 1).numpy()
    except Exception:  # each backend fails in its own way, and any failure means "not this one"
        return False
    return bool(np.array_equal(result, values * 2 + 1))


def _opencl_is_a_gpu() -> bool:
    import ctypes

    try:
        from tinygrad.runtime.autogen import opencl as cl

        kind = ctypes.c_uint64()
        opened: Any = Device["CL"]
        cl.clGetDeviceInfo(opened.device_id, cl.CL_DEVICE_TYPE, 8, ctypes.byref(kind), None)
        return bool(kind.value & cl.CL_DEVICE_TYPE_GPU)
    except Exception:  # no loader, no platform, no device
        return False

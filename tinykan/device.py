"""The choice of the tinygrad device and renderer, once for a process, before its first tensor."""

from __future__ import annotations

import platform
from collections.abc import Iterator

import numpy as np
from tinygrad import Context, Device, Tensor
from tinygrad.helpers import DEV, SPEC, USE_TC, Target

from tinykan.errors import UserError
from tinykan.kernels import hardware
from tinykan.kernels.tinygrad_versions import CLANG, WIDE_VECTORS
from tinykan.kernels.tinygrad_versions import cpu_threads as cpu_threads

# In order of preference; OpenCL only with a GPU, since PoCL is slower than tinygrad's CPU device.
ACCELERATORS = ("METAL", "AMD", "NV", "CUDA", "QCOM", "CL")
CPU_RENDERERS = ("LLVM", CLANG, "X86")
# Only if named: WebGPU without a working driver can return garbage; the emulator is for tests.
ON_REQUEST = ("CL", "WEBGPU", "PYTHON")


class DeviceError(UserError):
    """The device does not exist or does not work here."""


def select(name: str | None = None) -> str:
    """Makes `name` (`"CPU"`, `"CPU:LLVM"`, `"CUDA"`, ...) the default device; gives its full name.

    Without a name the environment variable `DEV` decides; without that, the first accelerator that
    works, else the CPU with the first renderer that works. Raises DeviceError, with those that do.
    """
    wanted = name.strip() if name else repr(DEV)
    for candidate in _expand(wanted) if wanted else _automatic():
        if works(candidate):
            DEV.value = _widened(candidate)
            return candidate
    if not wanted:
        raise DeviceError("no tinygrad device works here; for its CPU: pip install llvmlite")
    usable = dict.fromkeys(c for c in (*_automatic(), *ON_REQUEST) if works(c))
    raise DeviceError(f"device {wanted!r} is not available here; these are: {', '.join(usable)}")


def select_by_default() -> None:
    """As `select` without a name, but a device that `DEV` names in full is left to tinygrad, which
    opens it at its first use."""
    if (name := repr(DEV).upper()) in ("", "CPU"):
        select()
    elif name in WIDE_VECTORS:
        DEV.value = _widened(name)


def describe() -> dict[str, str]:
    """The device in use, its renderer and its architecture, for the record of a run."""
    device = Device[Device.DEFAULT]
    renderer = device._renderer_name(type(device.renderer))
    return {"device": Device.DEFAULT, "renderer": renderer, "machine": platform.machine()}


def _automatic() -> Iterator[str]:
    yield from (name for name in ACCELERATORS if hardware.may_be_present(name))
    yield from _expand("CPU")


def _expand(wanted: str) -> list[str]:
    """`CPU` alone stands for its renderers: tinygrad would take the first, and fail at the first
    kernel where the compiler is missing."""
    return [f"CPU:{r}" for r in CPU_RENDERERS] if wanted.upper() == "CPU" else [wanted]


def _widened(name: str) -> str:
    """The target with the widest vectors, for one that names nothing but a renderer."""
    vectors = WIDE_VECTORS.get(name.upper())
    if vectors is None or platform.machine().lower() not in ("x86_64", "amd64"):
        return name
    # SPEC, a check of what is generated, rejects 12 numbers stored as 8 and 4, which is no fault.
    USE_TC.value = SPEC.value = 0
    return f"{name}:{vectors}"


@hardware.remembered
def works(candidate: str) -> bool:
    """Runs a small kernel with vector loads and stores (libLLVM before 16 compiles scalar code
    only), past the cache, which would hide that a compiler is missing; pip's is tried once."""
    values = np.linspace(-2, 2, 64, dtype=np.float32)
    try:
        if Target.parse(candidate).device in ("", "DISK", "NPY", "NULL", "TINYFS"):
            return False
        with Context(DEV=candidate, CACHELEVEL=0):
            result = (Tensor(values, device=Device.DEFAULT) * 2 + 1).numpy()
    except Exception:  # each backend fails in its own way, and any failure means "not this one"
        return False
    return np.array_equal(result, values * 2 + 1)

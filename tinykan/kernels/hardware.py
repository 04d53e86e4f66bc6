"""What a machine has, from what its system lists: accelerators (to open one that is not there takes
tinygrad a tenth of a second or more, at every start), compilers that need not be tried anew, and
the length of the processor's vectors."""

from __future__ import annotations

import functools
import os
import platform
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from tinygrad.helpers import diskcache_get, diskcache_put

from tinykan.kernels.llvm_compiler import is_installed
from tinykan.kernels.program_cache import TINYGRAD
from tinykan.kernels.tinygrad_faults import opencl_is_a_gpu

# On Linux: nodes in /dev, and the vendors of PCI and of USB devices through which tinygrad drives
# each. NVIDIA's nodes are /dev/nvidia0 and others, on Tegra /dev/nvmap, /dev/nvgpu and others.
NVIDIA = (("dev/nvidia*", "dev/nvmap", "dev/nvgpu", "dev/nvhost*", "dev/dxg"), ("0x10de",), ())
SIGNS = {
    "AMD": (("dev/kfd", "dev/dxg"), ("0x1002",), ("174c", "add1")),
    "NV": NVIDIA,
    "CUDA": NVIDIA,
    "QCOM": (("dev/kgsl*",), (), ()),
}

WORKING = "tinykan_devices"  # the table of tinygrad's database


def may_be_present(name: str, system: str = sys.platform, root: Path = Path("/")) -> bool:
    """Whether the accelerator that tinygrad calls `name` is worth a try on an operating `system`
    whose files are at `root`. Devices that are named are tried without being asked for here."""
    if name == "CL":
        return _lists_opencl(system, root) and opencl_is_a_gpu()
    if name == "METAL":
        return system == "darwin"
    if os.environ.get("MOCKGPU"):
        return True
    if system != "linux":
        return name != "QCOM"
    nodes, pci, usb = SIGNS[name]
    return (
        any(True for pattern in nodes for _ in root.glob(pattern))
        or _listed(root, "sys/bus/pci/devices/*/vendor", pci)
        or _listed(root, "sys/bus/usb/devices/*/idVendor", usb)
    )


def remembered(works: Callable[[str], bool]) -> Callable[[str], bool]:
    """`works`, which tries a device by its name, but the compiler from pip once for a machine and
    its versions, if it works. Other devices may be gone the next time."""

    @functools.wraps(works)
    def known(name: str) -> bool:
        key = _key(name)
        if key and diskcache_get(WORKING, key):
            return True
        found = works(name)
        if key and found:
            diskcache_put(WORKING, key, True)
        return found

    return known


def _key(name: str) -> str | None:
    if name.upper() != "CPU:LLVM" or not is_installed():
        return None
    system = platform.node(), platform.release(), platform.machine(), platform.python_version()
    return repr((TINYGRAD, version("llvmlite"), sys.prefix, *system))


@functools.cache
def vector_floats(machine: str = platform.machine(), root: Path = Path("/")) -> int:
    """How many float32 numbers a vector of the processor holds: 4 on ARM (NEON), else 16 (AVX-512)
    or 8 (AVX2). Where the system lists no features, as macOS and Windows do not, 8."""
    if machine.lower() not in ("x86_64", "amd64"):
        return 4
    try:
        return 16 if "avx512f" in (root / "proc/cpuinfo").read_text().split() else 8
    except OSError:
        return 8


def _lists_opencl(system: str, root: Path) -> bool:
    """Whether OpenCL may have a driver: on Linux, its loader looks for their names in a folder, or
    where a variable says. Without any, the search for the loader is saved."""
    named = any(os.environ.get(name) for name in ("OCL_ICD_VENDORS", "OCL_ICD_FILENAMES"))
    return system != "linux" or named or any(root.glob("etc/OpenCL/vendors/*"))


def _listed(root: Path, pattern: str, vendors: tuple[str, ...]) -> bool:
    """Whether a file that matches `pattern` names one of the `vendors`."""
    if not vendors:
        return False
    for path in root.glob(pattern):
        try:
            if path.read_text().strip() in vendors:
                return True
        except OSError:  # a device that has just been unplugged
            continue
    return False

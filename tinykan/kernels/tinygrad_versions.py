"""What differs between tinygrad 0.13 and 0.14, which are both supported. Faults that 0.13 has are
in tinygrad_faults.py; what 0.14 gets wrong is here, with the rest of what it does differently.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

from tinygrad import helpers

FROM_0_14 = tuple(map(int, version("tinygrad").split(".")[:2])) >= (0, 14)

CLANG = "CLANG" if FROM_0_14 else "CLANGJIT"
LLVM_COMPILER = "compiler_llvm" if FROM_0_14 else "compiler_cpu"  # the module that has it

# Architectures for the widest vectors on x86. Those of tinygrad have 4 values, and no compiler
# widens them. The AMX option of 0.13 makes them 16, which compilers split into registers; Apple's
# tensor cores, which it means, are switched off.
_OPTION = "" if FROM_0_14 else ",AMX"
WIDE_VECTORS = {
    f"CPU:{CLANG}": f"x86_64,native,prefer-vector-width=512{_OPTION}",
    "CPU:LLVM": f"x86_64,native,-prefer-256-bit{_OPTION}",
}


def cpu_threads() -> int:
    """The number of threads of a CPU kernel."""
    setting: Any = getattr(helpers, "NUM_CPU_THREADS" if FROM_0_14 else "CPU_COUNT")
    return setting.value


def llvm_compiler_module() -> Any:
    """The module in which tinygrad's LLVM renderer looks for its compiler."""
    return importlib.import_module(f"tinygrad.runtime.support.{LLVM_COMPILER}")


def open_the_cpu_without_clang() -> None:
    """tinygrad 0.14 compiles four programs with clang whenever it opens the CPU, whatever renderer
    is chosen. Only queues that are off by default (HCQ2) run them."""
    if helpers.getenv("HCQ2"):
        return
    from tinygrad.runtime import ops_cpu

    nothing = SimpleNamespace(lib=b"\0" * 16, name="unused", target=helpers.Target(), signature=())
    program = SimpleNamespace(to_elf=lambda: nothing)
    setattr(ops_cpu, "do_to_program", lambda *_: program)  # noqa: B010, a function, to mypy


def compile_in_this_process() -> None:
    """tinygrad 0.14 compiles kernels in new processes, in which nothing of what tinykan changes in
    tinygrad is changed: neither the alignment of vectors nor the compiler."""
    from tinygrad.engine import realize

    setattr(realize, "get_worker_pool", lambda: None)  # noqa: B010, as above

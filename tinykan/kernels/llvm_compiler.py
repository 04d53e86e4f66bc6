"""A compiler from pip: tinygrad's LLVM IR, compiled for the CPU by the LLVM that llvmlite brings.

With llvmlite (`pip install 'tinykan[cpu]'`) the device `CPU:LLVM` needs neither clang nor a libLLVM
of the right version, and one code generator serves every machine.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import platform
from typing import Any

from tinygrad.device import Compiler
from tinygrad.runtime.support.elf import jit_loader

from tinykan.kernels.tinygrad_versions import llvm_compiler_module

TRIPLES = {"x86_64": "x86_64-none-unknown-elf", "arm64": "aarch64-none-unknown-elf"}
_engines: list[Any] = []  # which own the memory of functions
MACHINES = ("x86_64", "amd64", "arm64", "aarch64")


def is_installed() -> bool:
    """Whether llvmlite is there, and knows this machine's processor."""
    return bool(importlib.util.find_spec("llvmlite")) and platform.machine().lower() in MACHINES


def install() -> None:
    """Makes llvmlite the compiler behind tinygrad's `CPU:LLVM`, where it is installed."""
    if is_installed():
        llvm_compiler_module().CPULLVMCompiler = LLVMLiteCompiler


def version() -> str:
    """The versions of llvmlite and of its LLVM, as `0.50.0 (LLVM 22.1.0)`."""
    import llvmlite

    return f"{llvmlite.__version__} (LLVM {'.'.join(map(str, _binding().llvm_version_info))})"


class LLVMLiteCompiler(Compiler):
    """Compiles LLVM IR to machine code. `arch` is tinygrad's: architecture, processor, features."""

    def __init__(self, arch: list[str], cache_key: str | None = None) -> None:
        llvm = _binding()
        self.arch, processor, *features = arch
        names = [name if name.startswith("-") else f"+{name}" for name in features]
        if self.arch == "arm64":
            names.append("+reserve-x18")  # belongs to the system on macOS and Windows
        if processor == "native":
            processor = llvm.get_host_cpu_name()
            # What is named comes last, and so prevails.
            names.insert(0, llvm.get_host_cpu_features().flatten())
        every = ",".join(names)
        self._machine = llvm.Target.from_triple(TRIPLES[self.arch]).create_target_machine(
            cpu=processor, features=every, opt=2, reloc="pic", codemodel="default"
        )
        # Processors of one name may differ in their features, as virtual machines' do.
        digest = hashlib.sha256(every.encode()).hexdigest()[:16]
        super().__init__(f"llvmlite_{version()}_{processor}_{digest}")

    def compile_to_obj(self, source: str) -> bytes:
        """The object file for a module of LLVM IR. Raises RuntimeError if it cannot be parsed."""
        return self._machine.emit_object(self._optimized(source))

    def function_address(self, source: str, name: str) -> int:
        """Where the function `name` of a module of LLVM IR is, which then stays in memory."""
        engine = _binding().create_mcjit_compiler(self._optimized(source), self._machine)
        engine.finalize_object()
        _engines.append(engine)
        return engine.get_function_address(name)

    def _optimized(self, source: str) -> Any:
        llvm = _binding()
        module = llvm.parse_assembly(source, llvm.create_context())
        module.triple = TRIPLES[self.arch]
        module.verify()
        options: Any = llvm.create_pipeline_tuning_options(speed_level=2)
        options.loop_unrolling = options.loop_vectorization = options.slp_vectorization = True
        passes = llvm.create_pass_builder(self._machine, options)
        passes.getModulePassManager().run(module, passes)
        return module

    def compile(self, source: str) -> bytes:
        return jit_loader(self.compile_to_obj(source))


@functools.cache
def _binding() -> Any:
    """llvmlite's interface to LLVM, made ready for this machine."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.initialize_native_asmparser()
    return llvm

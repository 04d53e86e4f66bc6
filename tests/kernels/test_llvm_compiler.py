"""The compiler that llvmlite brings, against what its code computes."""

from __future__ import annotations

import platform

import numpy as np
import pytest
from tinygrad import Context, Tensor

from tinykan.kernels import llvm_compiler

pytestmark = pytest.mark.skipif(
    not llvm_compiler.is_installed(), reason="llvmlite is not installed for this processor"
)
MACHINE = platform.machine().lower()
ARCHITECTURE = {"amd64": "x86_64", "aarch64": "arm64"}.get(MACHINE, MACHINE)

PRODUCT = """
define void @product(ptr %out, ptr %a, i32 %n) {
entry:
  br label %loop
loop:
  %i = phi i32 [0, %entry], [%next, %loop]
  %from = getelementptr inbounds float, ptr %a, i32 %i
  %to = getelementptr inbounds float, ptr %out, i32 %i
  %x = load float, ptr %from, align 1
  %y = fmul float %x, 3.0
  store float %y, ptr %to, align 1
  %next = add i32 %i, 1
  %more = icmp ult i32 %next, %n
  br i1 %more, label %loop, label %done
done:
  ret void
}
"""


def test_the_object_file_is_an_elf_file_of_this_architecture():
    found = llvm_compiler.LLVMLiteCompiler([ARCHITECTURE, "native"]).compile_to_obj(PRODUCT)
    machine = int.from_bytes(found[18:20], "little")
    assert found[:4] == b"\x7fELF" and machine == {"x86_64": 62, "arm64": 183}[ARCHITECTURE]


def test_what_is_not_llvm_ir_is_an_error():
    with pytest.raises(RuntimeError, match="expected top-level entity"):
        llvm_compiler.LLVMLiteCompiler([ARCHITECTURE, "native"]).compile("int x;")


def test_code_for_another_processor_has_a_key_of_its_own():
    """So that a cache on a disk which machines share never serves one the other's code."""
    targets = ["native"], ["native", "-fma"], ["x86-64"]
    keys = {llvm_compiler.LLVMLiteCompiler(["x86_64", *target]).cachekey for target in targets}
    assert len(keys) == 3 or ARCHITECTURE != "x86_64"


def test_kernels_compute_what_numpy_does():
    x = np.random.default_rng(0).normal(size=(37, 12)).astype(np.float32)
    with Context(DEV="CPU:LLVM", CACHELEVEL=0):
        found = (Tensor(x).sin() @ Tensor(x).exp().T).numpy()
    np.testing.assert_allclose(found, np.sin(x) @ np.exp(x).T, rtol=1e-5, atol=1e-5)


def test_its_version_names_the_version_of_llvm():
    import llvmlite

    assert llvm_compiler.version().startswith(f"{llvmlite.__version__} (LLVM ")


@pytest.mark.parametrize("constant", [1e-5, 5e-6, 1e22, -1e-300, 2.5e-7, 3.0])
def test_constants_of_float64_are_read_as_they_are(constant):
    x = np.array([1.0, -2.5, 1e-5])
    with Context(DEV="CPU:LLVM"):
        found = (Tensor(x, dtype="double") * constant).numpy()
    assert np.array_equal(found, x * constant)

"""The spline kernels for devices that this machine may lack: rendered, and compiled where their
compiler is here. What they compute is tested in test_spline.py, on the device that there is."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinykan.kernels import gpu_weights

# tinygrad chooses its device once in a process. Apple's compiler is part of macOS; elsewhere the
# source is written, but not compiled.
RENDER = """
import sys, types
from tinygrad import Context, Tensor
from tinygrad.device import Compiler
if sys.argv[1] == "METAL" and sys.platform != "darwin":
    sys.modules["tinygrad.runtime.ops_metal"] = types.SimpleNamespace(MetalCompiler=Compiler)
try:
    with Context(CACHELEVEL=0):  # the kernel cache would hide that the compiler is gone
        (Tensor.empty(4096) + 1).realize()
except Exception as error:  # a compiler is missing, or too old
    print("no compiler:", error)
    sys.exit()
import numpy as np
from tinykan import BSpline, KANLayer
from tinykan.kernels import launch
from tinykan.tensors import learnable
assert launch.runs_on_work_groups(Tensor.ones(1, 1))
for batch, inputs, outputs, intervals in [(256, 16, 8, 5), (70, 3, 5, 50), (1, 1, 1, 1)]:
    x = Tensor(np.zeros((batch, inputs), dtype=np.float32)).realize()
    for knots in (None, np.arange(intervals + 7)):
        layer = KANLayer(inputs, outputs, BSpline(intervals, 3, knots=knots))
        y = layer(x)
        Tensor.realize(y, *y.square().sum().gradient(x, *learnable(layer)))
print("rendered")
"""
NO_COMPILER_NEEDED = ("NULL:METAL", "NULL:WGSL")


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("NULL:NVCC:sm_90", marks=pytest.mark.long),
        "NULL:PTX:sm_90",
        "NULL:AMDLLVM:gfx1100",
        *NO_COMPILER_NEEDED,
    ],
)
def test_the_spline_layer_is_rendered(target):
    command = [sys.executable, "-c", RENDER, target.split(":")[1]]
    # Knots are checked on the host; what this device copies there is zeros.
    environment = os.environ | {"DEV": target, "NULL_ALLOW_COPYOUT": "1"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert result.returncode == 0, result.stderr
    if result.stdout.startswith("no compiler") and target not in NO_COMPILER_NEEDED:
        pytest.skip(result.stdout.splitlines()[0])
    assert result.stdout.strip() == "rendered"


@given(
    batch=st.integers(1, 100_000),
    inputs=st.integers(1, 512),
    functions=st.integers(2, 600),
    out=st.integers(1, 512),
)
def test_slices_cover_the_batch_within_bounds(batch, inputs, functions, out):
    slices, length = gpu_weights._slices(batch, inputs, functions, out)
    assert batch <= slices * length < batch + length
    assert slices == 1 or length >= functions
    assert slices == 1 or slices * inputs * functions * out <= gpu_weights.SUMS

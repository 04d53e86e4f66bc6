"""The spline kernels for devices that this machine may lack: rendered, and compiled where their
compiler is here. What they compute is tested in test_spline.py, on the device that there is."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tinygrad import UOp, dtypes

from tests.helpers import ROOT
from tinykan import BSpline
from tinykan.activations import ACTIVATIONS
from tinykan.kernels import gpu, gpu_weights, launch
from tinykan.kernels.local_support import Functions

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


def test_a_training_step_takes_few_kernels():
    command = [sys.executable, ROOT / "scripts" / "kernels.py", "--network", "4-8-8-1"]
    environment = os.environ | {"DEV": "NULL:WGSL"}
    result = subprocess.run(
        [*command, "--batch", "256"], capture_output=True, text=True, env=environment, timeout=300
    )
    assert result.returncode == 0, result.stderr
    counts: dict[str, int] = {}
    for line in result.stdout.splitlines()[2:]:
        name, number = (cell.strip() for cell in line.split("|")[1:3])
        counts[name] = counts.get(name, 0) + int(number)
    # For three layers; the first has no gradient to its inputs.
    assert counts["spline_forward"] == 3 and counts["spline_input_gradient"] == 2
    assert counts["spline_weight_gradient"] == counts["spline_weight_sums"] == 3
    assert counts["adam"] == 1
    # The scaled coefficients of each layer, the loss and its gradient, the rate, the step's number.
    assert counts["all"] == sum(n for name, n in counts.items() if name != "all") <= 20


@given(
    batch=st.integers(1, 5000),
    inputs=st.integers(1, 300),
    out=st.integers(1, 520),
    order=st.integers(1, 5),
    intervals=st.integers(1, 40),
)
def test_shared_memory_is_what_every_device_has(batch, inputs, out, order, intervals):
    def argument(*shape: int) -> UOp:
        return UOp.placeholder(shape, dtypes.float32, 0)

    functions = Functions(BSpline(intervals, order), ACTIVATIONS["silu"])
    columns, x = launch.padded_size(out, launch.lanes_for(out, 4)), argument(batch, inputs)
    group = gpu._Group(x, (), functions, columns)
    lines = group.together * group.chunk
    # The functions of the inputs, and the parts of the gradient to them.
    layer = lines * (launch.padded_size(functions.rows, 4) + group.parts + 1)
    sums = argument(1, inputs, functions.basis.n_functions + 2, columns)
    slices = gpu_weights._Group(sums, x, (), functions, True, batch)
    width = slices.rows if slices.dense else functions.rows + 1
    weights = slices.together * (slices.chunk + 1) * launch.padded_size(width, 4)
    assert 4 * max(layer, weights) <= 16_384  # WebGPU's limit; others have 32 kB or more
    assert group.together * group.parts <= launch.GROUP
    assert slices.together * slices.parts <= launch.GROUP


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

"""The choice of device, each in a process of its own, since it is made once."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tinykan import DeviceError, device
from tinykan.kernels.tinygrad_versions import FROM_0_14
from tinykan.runs import devices


def in_a_new_process(code: str, **environment: str) -> subprocess.CompletedProcess:
    clean = {k: v for k, v in os.environ.items() if k != "DEV"}
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, capture_output=True, text=True, env=clean | environment, timeout=120
    )


REPORT = "import tinykan; from tinykan import device; print(device.select())"


def test_an_unknown_device_lists_those_that_work():
    before = device.describe()
    with pytest.raises(
        DeviceError, match=r"device 'FOO' is not available here; these are: .*\w"
    ) as error:
        device.select("FOO")
    assert "\n" not in str(error.value)
    assert device.describe() == before


@pytest.mark.parametrize("name", ["", "DISK", "NPY", "NULL", "a:b:c:d", "CPU:NOPE"])
def test_what_cannot_train_is_no_device(name):
    assert not device.works(name)


def test_the_environment_wins_over_the_automatic_choice():
    assert in_a_new_process(REPORT, DEV="PYTHON").stdout.strip() == "PYTHON"


def test_cpu_alone_gets_a_renderer_that_works():
    assert in_a_new_process(REPORT, DEV="CPU").stdout.startswith("CPU:")


@pytest.mark.parametrize("llvmlite", [True, False])
def test_without_compilers_llvmlite_or_the_x86_renderer_is_chosen(llvmlite):
    """No clang on the path and no libLLVM to load, as on a bare machine; past the kernel cache."""
    code = (
        "import ctypes.util, pathlib, sys, tinygrad.runtime.support.c as c\n"
        "find = c.DLL.findlib\n"
        "c.DLL.findlib = staticmethod(lambda nm, *a: None if nm == 'llvm' else find(nm, *a))\n"
        f"if not {llvmlite}: sys.modules['llvmlite'] = None\n"
        "import tinykan; from tinykan import device\n"
        "from tinykan.runs import devices\n"
        "from tinygrad import Tensor\n"
        "print(device.describe()['renderer'], (Tensor([1.0, 2.0]) * 3).tolist())\n"
        "devices.announce(quiet=True)"
    )
    result = in_a_new_process(code, PATH="/nonexistent", CACHELEVEL="0")
    if device.describe()["device"] == "CPU" and device.describe()["machine"] == "x86_64":
        renderer = "LLVM" if llvmlite else "X86"
        assert result.stdout.strip() == f"{renderer} [3.0, 6.0]", result.stderr
        warnings = [] if llvmlite else [devices.SLOW]
        assert [line.removeprefix("warning: ") for line in result.stderr.splitlines()] == warnings


def test_that_pips_compiler_works_is_found_out_once(tmp_path):
    """With an empty cache a kernel is run; then neither is libLLVM looked for nor the CPU opened,
    until something is computed."""
    code = (
        "import tinygrad.runtime.support.c as c\n"
        "find, names = c.DLL.findlib, []\n"
        "c.DLL.findlib = staticmethod(lambda nm, *a: names.append(nm) or find(nm, *a))\n"
        "import tinykan; from tinygrad import Device, Tensor\n"
        "print('llvm' in names, 'CPU' in Device._opened_devices, (Tensor([1.0]) * 3).item())\n"
    )
    if device.describe() != {"device": "CPU", "renderer": "LLVM", "machine": "x86_64"}:
        pytest.skip("the compiler is another")
    cache = {"CACHEDB": str(tmp_path / "cache.db"), "DEV": "CPU"}
    assert in_a_new_process(code, **cache).stdout.split() == ["False", "True", "3.0"]
    assert in_a_new_process(code, **cache).stdout.split() == ["False", "False", "3.0"]
    assert in_a_new_process(code, **cache, CACHELEVEL="0").stdout.split()[1] == "True"


def test_a_bad_device_in_the_environment_does_not_break_the_import():
    result = in_a_new_process("import tinykan; print('ok')", DEV="FOO")
    assert result.stdout.strip() == "ok", result.stderr


@pytest.mark.skipif(FROM_0_14, reason="tinygrad 0.14 has no thread that waits for CPU kernels")
def test_garbage_is_collected_in_any_thread():
    """A compiled step in a cycle, found by a collection in the thread that runs kernels."""
    code = (
        "import gc, threading, time, tinykan\n"
        "from tinygrad import Device, Tensor, TinyJit\n"
        "class Holder: pass\n"
        "def make():\n"
        "    holder = Holder()\n"
        "    holder.step = TinyJit(lambda x: (x @ x).realize().sin().sum().realize())\n"
        "    holder.itself = holder\n"
        "    for _ in range(4): holder.step(Tensor.ones(32, 32).contiguous().realize()).item()\n"
        "gc.disable(); make()\n"
        "tasks = Device['CPU'].tasks\n"
        "tasks.put([lambda thread: (time.sleep(0.5), gc.collect()), 1, 0])\n"
        "Tensor([2.0]).exp2().realize()\n"  # waits its turn
        "waiting = threading.Thread(target=tasks.join, daemon=True); waiting.start()\n"
        "waiting.join(20); print('hangs' if waiting.is_alive() else 'ok', flush=True)\n"
        "make(); gc.collect(); print(Tensor([2.0]).exp2().item(), flush=True)\n"
        "import os; os._exit(0)\n"
    )
    if device.describe()["device"] == "CPU":
        result = in_a_new_process(code)
        assert result.stdout.split() == ["ok", "4.0"], result.stderr


@pytest.mark.skipif(FROM_0_14, reason="tinygrad 0.14 does not wait for the kernels of a graph")
@pytest.mark.parametrize("kernels", ["x.exp2().realize()", "step(x)"])
def test_garbage_is_collected_in_the_middle_of_a_submission(kernels):
    """A compiled step in a cycle, found by a collection that begins after tinygrad has counted the
    next kernels and before it has started them."""
    code = (
        "import gc, tinykan\n"
        "from tinygrad import Device, Tensor, TinyJit\n"
        "class Holder: pass\n"
        "def compiled():\n"
        "    step = TinyJit(lambda x: (x @ x).realize().sin().sum().realize())\n"
        "    for _ in range(4): step(Tensor.ones(32, 32).contiguous().realize()).item()\n"
        "    return step\n"
        "gc.disable()\n"
        "holder = Holder(); holder.itself, holder.step = holder, compiled()\n"
        "step, x = compiled(), Tensor.ones(32, 32).contiguous().realize()\n"
        "del holder\n"
        "counts = type(Device['CPU']).next_timeline\n"
        "def counted(device):\n"
        "    number = counts(device)\n"
        "    print(gc.collect() > 0, flush=True)\n"
        "    return number\n"
        "type(Device['CPU']).next_timeline = counted\n"
        f"{kernels}\n"
        "type(Device['CPU']).next_timeline = counts\n"
        "Device['CPU'].synchronize(); print(x.exp2().numpy().sum(), flush=True)\n"
        "import os; os._exit(0)\n"
    )
    if device.describe()["device"] == "CPU":
        result = in_a_new_process(code)
        assert result.stdout.split()[0] == "True", result.stderr
        assert result.stdout.split()[-1] == "2048.0" and not result.stderr, result.stderr


def test_summary_is_one_line_that_names_device_and_renderer():
    about = device.describe()
    line = devices.summary()
    assert about["device"] in line and about["renderer"] in line and "\n" not in line

"""What is found on file systems as machines have them, and kernels for what is found."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from tests.helpers import first
from tests.kernels.helpers import assert_paths_agree, reason, threaded
from tinykan import BSpline, KANLayer, Linear
from tinykan.kernels import dense, hardware, spline, spline_weights
from tinykan.kernels.hardware import SIGNS, may_be_present, vector_floats

MACHINES = {
    "no accelerator": ({"sys/bus/pci/devices/0/vendor": "0x8086", "dev/null": ""}, set()),
    "NVIDIA's driver": ({"dev/nvidiactl": "", "dev/nvidia0": ""}, {"NV", "CUDA"}),
    "NVIDIA without driver": ({"sys/bus/pci/devices/1/vendor": "0x10de\n"}, {"NV", "CUDA"}),
    "Tegra": ({"dev/nvhost-gpu": ""}, {"NV", "CUDA"}),
    "Windows' Linux": ({"dev/dxg": ""}, {"NV", "CUDA", "AMD"}),
    "AMD's driver": ({"dev/kfd": ""}, {"AMD"}),
    "AMD without driver": ({"sys/bus/pci/devices/0/vendor": "0x1002\n"}, {"AMD"}),
    "AMD by USB": ({"sys/bus/usb/devices/1-1/idVendor": "add1\n"}, {"AMD"}),
    "Adreno": ({"dev/kgsl-3d0": ""}, {"QCOM"}),
}


@pytest.mark.parametrize("machine", MACHINES)
def test_what_the_system_lists_is_tried(tmp_path, monkeypatch, machine):
    monkeypatch.delenv("MOCKGPU", raising=False)
    files, expected = MACHINES[machine]
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    assert {name for name in SIGNS if may_be_present(name, "linux", tmp_path)} == expected


def test_opencl_is_tried_where_it_may_have_a_driver(tmp_path, monkeypatch):
    monkeypatch.setattr(hardware, "opencl_is_a_gpu", lambda: True)
    for name in ("OCL_ICD_VENDORS", "OCL_ICD_FILENAMES"):
        monkeypatch.delenv(name, raising=False)
    assert not may_be_present("CL", "linux", tmp_path)
    assert may_be_present("CL", "darwin", tmp_path)
    monkeypatch.setenv("OCL_ICD_VENDORS", str(tmp_path))
    assert may_be_present("CL", "linux", tmp_path)
    monkeypatch.delenv("OCL_ICD_VENDORS")
    (tmp_path / "etc/OpenCL/vendors").mkdir(parents=True)
    (tmp_path / "etc/OpenCL/vendors/nvidia.icd").write_text("libnvidia-opencl.so.1")
    assert may_be_present("CL", "linux", tmp_path)
    monkeypatch.setattr(hardware, "opencl_is_a_gpu", lambda: False)  # as PoCL
    assert not may_be_present("CL", "linux", tmp_path)


@pytest.mark.parametrize(
    ("system", "expected"),
    [("darwin", {"METAL", "AMD", "NV", "CUDA"}), ("win32", {"AMD", "NV", "CUDA"})],
)
def test_other_systems_list_nothing(tmp_path, system, expected):
    names = ("METAL", *SIGNS)
    assert {name for name in names if may_be_present(name, system, tmp_path)} == expected


def test_an_emulated_accelerator_is_tried(tmp_path, monkeypatch):
    monkeypatch.setenv("MOCKGPU", "1")
    assert may_be_present("AMD", "linux", tmp_path)


@pytest.mark.parametrize(
    ("machine", "flags", "expected"),
    [
        ("x86_64", "flags : fpu sse2 avx2 fma", 8),
        ("AMD64", "flags : fpu avx2 fma avx512f avx512vl", 16),
        ("x86_64", None, 8),
        ("aarch64", "Features : fp asimd sve", 4),
        ("arm64", None, 4),
    ],
)
def test_the_length_of_vectors(tmp_path, machine, flags, expected):
    if flags:
        (tmp_path / "proc").mkdir()
        (tmp_path / "proc" / "cpuinfo").write_text(f"model name : any\n{flags}\n")
    assert vector_floats(machine, tmp_path) == expected


@pytest.fixture
def vectors(monkeypatch):
    """Makes the kernels for vectors of another length than this processor's."""

    def choose(length):
        monkeypatch.setattr(hardware, "vector_floats", lambda: length)
        for module in (dense, spline_weights, spline):
            importlib.reload(module)

    yield choose
    monkeypatch.undo()
    for module in (dense, spline_weights, spline):
        importlib.reload(module)


@pytest.mark.skipif(not threaded, reason=reason)
@pytest.mark.parametrize("length", first(2, [4, 16, 8]))
@pytest.mark.parametrize("basis", [BSpline(5, 3), Linear()], ids=["spline", "dense"])
def test_kernels_for_vectors_of_any_length(vectors, length, basis):
    vectors(length)
    rng = np.random.default_rng(0)
    layer = KANLayer(4, 68, basis, rng=rng)
    assert_paths_agree(layer, rng.uniform(-1.2, 1.2, (70, 4)).astype(np.float32))

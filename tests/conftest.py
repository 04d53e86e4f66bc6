"""Shared by all tests: the golden values, float64 support, and running the scripts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

import tinykan  # noqa: F401  (selects the device before any tensor is made)
from tinykan import device

ROOT = Path(__file__).parents[1]

# Kernels compile at the first use of each shape, so single examples may take seconds.
settings.register_profile("tinykan", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("tinykan")


@pytest.fixture
def golden():
    """Values computed with pykan 0.2.8 in float64."""
    return lambda name: np.load(ROOT / "tests" / "golden" / f"{name}.npz")


@pytest.fixture
def script():
    """Runs a script as a user would; returns the finished process."""

    def run(name: str, *arguments: object, **options) -> subprocess.CompletedProcess:
        command = [sys.executable, str(ROOT / "scripts" / name), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)

    return run


def has_float64() -> bool:
    return device.describe()["device"] not in ("METAL", "WEBGPU", "QCOM")


needs_float64 = pytest.mark.skipif(not has_float64(), reason="the device has no float64")

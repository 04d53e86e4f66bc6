"""Fixtures of all tests: golden values, and running the scripts."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import settings

from tests.helpers import ROOT
from tinykan.kernels import parallel_compilation


def pytest_configure(config):
    """Where long tests run, properties are tried on many times as many examples. Kernels compile at
    the first use of each shape, so single examples may take seconds."""
    examples = 16 if config.option.markexpr == "not long" else 250
    settings.register_profile("tinykan", deadline=None, max_examples=examples, derandomize=True)
    settings.load_profile("tinykan")


@pytest.fixture(autouse=True, scope="session")
def processors_are_shared():
    """Where several workers test side by side, none of them compiles in several processes."""
    with pytest.MonkeyPatch.context() as patch:
        if "PYTEST_XDIST_WORKER" in os.environ:
            patch.setattr(parallel_compilation, "cpu_threads", lambda: 1)
        yield


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

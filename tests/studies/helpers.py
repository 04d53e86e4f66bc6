"""Shared by the tests of studies."""

from __future__ import annotations

import time

TINY = """
title = "A tiny study"
task = "ImageTask(size=12)"
[fixed]
parameters = 300
depth = 2
batch = 64
[search]
lr = [1e-3, 1e-2]
steps = 4
[[final]]
steps = 8
seed = [0, 1]
[[final]]
steps = 12
arms = ["tanh"]
[arms.tanh]
model = "tanh"
[arms.spline]
basis = ["BSpline(2)", "BSpline(3)"]
"""


def wait_for(condition, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.2)

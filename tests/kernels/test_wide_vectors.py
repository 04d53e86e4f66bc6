"""Vectors in memory of tinygrad 0.14's CPU: which are joined, and that values stay the same."""

from __future__ import annotations

import re

import numpy as np
import pytest
from tinygrad import Device, Tensor, helpers
from tinygrad.uop.ops import AxisType, KernelInfo, UOp

from tests.kernels.helpers import reason, threaded
from tinykan.kernels import program_cache
from tinykan.kernels.tinygrad_versions import FROM_0_14

pytestmark = [
    pytest.mark.skipif(not FROM_0_14, reason="made for tinygrad 0.14"),
    pytest.mark.skipif(not threaded, reason=reason),
]


@pytest.fixture
def sources(monkeypatch):
    """The LLVM IR of the kernels that are lowered from now on."""
    found = []
    if Device["CPU"].renderer.target.renderer != "LLVM":
        pytest.skip("reads LLVM IR")

    def lowered(ast, renderer):
        program = lower(ast, renderer)
        found.append(program.src[2].arg)
        return program

    lower = program_cache._lower_and_compile
    monkeypatch.setattr(program_cache, "_lower_and_compile", lowered)
    monkeypatch.setattr(helpers, "diskcache_get", lambda *_: None)
    return found


def copy(offset: int, length: int, shift: int = 0) -> None:
    """Runs a kernel that adds 1 to `length` neighbors at once, from an offset in each of 4 rows of
    96, and writes them `shift` further on."""

    def kernel(target: UOp, source: UOp) -> UOp:
        row, lane = UOp.range(4, 0), UOp.range(length, 1, AxisType.UPCAST)
        place = row * 96 + lane + offset
        stored = target[place + shift].store(source[place].load() + 1)
        name = f"copy_{offset}_{length}_{shift}"
        return stored.end(lane, row).sink(arg=KernelInfo(name=name, opts_to_apply=()))

    x, y = np.arange(384, dtype=np.float32), np.zeros(384, dtype=np.float32)
    found = Tensor(y).realize().custom_kernel(Tensor(x).realize(), fxn=kernel)[0].numpy()
    start = (96 * np.arange(4)[:, None] + np.arange(offset, offset + length)).ravel()
    y[start + shift] = x[start] + 1
    np.testing.assert_array_equal(found, y)


def lengths(source: str, kind: str) -> list[int]:
    """How many values each load or store of the kernel has, the least first."""
    found = re.findall(rf"\b{kind} (?:<(\d+) x )?float", source)
    return sorted(int(number or 1) for number in found)


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [
        (0, 16, [16]),
        (0, 32, [16, 16]),
        (8, 16, [8, 8]),
        (4, 16, [4, 4, 8]),
        (2, 7, [1, 2, 4]),
        (1, 3, [1, 2]),
        (0, 12, [4, 8]),
    ],
)
def test_vectors_are_as_long_as_divides_their_start(sources, offset, length, expected):
    copy(offset, length)
    assert lengths(sources[-1], "load") == expected
    assert lengths(sources[-1], "store") == expected


def test_starts_of_loads_and_stores_are_apart(sources):
    copy(0, 16, shift=4)
    assert lengths(sources[-1], "load") == [16]
    assert lengths(sources[-1], "store") == [4, 4, 8]

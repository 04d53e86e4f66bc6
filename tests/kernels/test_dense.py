"""The dense kernels against the plain path."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers import DENSE_BASES
from tests.kernels.helpers import (
    assert_no_second_derivative,
    assert_paths_agree,
    reason,
    threaded,
)
from tinykan import KANLayer, Linear, Polynomial

needs_dense_kernels = pytest.mark.skipif(not threaded, reason=reason)


@needs_dense_kernels
@pytest.mark.parametrize("basis", DENSE_BASES, ids=repr)
@pytest.mark.parametrize("base", ["silu", None])
def test_dense_bases_match_the_plain_path(basis, base):
    rng = np.random.default_rng(0)
    layer = KANLayer(4, 5, basis, base=base, rng=rng)
    assert_paths_agree(layer, rng.uniform(-2.5, 2.5, (6, 4)).astype(np.float32))


@needs_dense_kernels
@pytest.mark.parametrize("basis", [Linear(), Polynomial(3)], ids=repr)
@pytest.mark.parametrize(
    "size", [(64, 16, 32), (96, 24, 68), (130, 7, 12), (37, 3, 5), (1, 4, 8), (6, 1, 1)]
)
def test_dense_layers_match_the_plain_path(basis, size):
    batch, inputs, outputs = size
    rng = np.random.default_rng(batch)
    layer = KANLayer(inputs, outputs, basis, base=None, spline_weight=False, rng=rng)
    assert_paths_agree(layer, rng.uniform(-1, 1, (batch, inputs)).astype(np.float32))


@needs_dense_kernels
@pytest.mark.parametrize("basis", DENSE_BASES, ids=repr)
def test_second_derivatives_are_refused(basis):
    assert_no_second_derivative(KANLayer(2, 3, basis))

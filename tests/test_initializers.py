"""The spread of initial weights and of the outputs that they give."""

from __future__ import annotations

import numpy as np
import pytest
from tinygrad import Tensor

from tests.helpers import DENSE_BASES
from tinykan import BSpline, KANLayer
from tinykan.initializers import INITIALIZERS


@pytest.mark.parametrize("name", INITIALIZERS)
def test_initial_scale_follows_fan_in(name):
    draw = INITIALIZERS[name]
    few, many = (draw(np.random.default_rng(0), (n, 4, n)).std() for n in (16, 256))
    power = 1.0 if name == "siren-first" else 0.5
    assert few / many == pytest.approx(16**power, rel=0.1)


@pytest.mark.parametrize("basis", DENSE_BASES, ids=repr)
def test_the_first_output_is_about_as_large_as_the_input(basis):
    """Layers of unit variance and layers of the inputs' own are a factor of 1.7 apart."""
    x = np.random.default_rng(0).uniform(-1, 1, (64, 32)).astype(np.float32)
    y = KANLayer(32, 32, basis, rng=np.random.default_rng(1))(Tensor(x)).numpy()
    assert 0.4 < y.std() / x.std() < 2


@pytest.mark.parametrize("intervals", [3, 20, 200])
def test_splines_start_close_to_zero_on_any_grid(intervals):
    """Rough ones fold the inputs of the next layer, on fine grids most of all."""
    x = Tensor(np.linspace(-1, 1, 500, dtype=np.float32)[:, None].repeat(8, axis=1))
    layer = KANLayer(8, 4, BSpline(intervals), rng=np.random.default_rng(1))
    edges = layer.edges(x).numpy()
    layer.coefficients.assign(layer.coefficients * 0).realize()
    base = layer.edges(x).numpy()
    assert 0 < (edges - base).std() < 0.1 * base.std()

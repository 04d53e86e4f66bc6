"""Dense bases against their formulas, and at extreme inputs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import eval_chebyt
from tinygrad import Tensor, dtypes

from tests.helpers import (
    DENSE_BASES,
    needs_float64,
)
from tinykan import RBF, Chebyshev, Fourier, Wavelet
from tinykan.variants.bases import WAVELETS


def gaussians(x: np.ndarray, centers: int, low: float, high: float) -> np.ndarray:
    places = np.linspace(low, high, centers)
    return np.exp(-(((x[:, None] - places) / (places[1] - places[0])) ** 2))


def wavelets(x: np.ndarray, levels: int, mother) -> np.ndarray:
    columns = []
    for level in range(levels):
        edges = np.linspace(-1, 1, 2**level + 1)
        columns += [mother(2**level * (x - c)) for c in (edges[1:] + edges[:-1]) / 2]
    return np.stack(columns, -1)


def waves(x: np.ndarray, frequencies: int, period: float) -> np.ndarray:
    angles = 2 * np.pi / period * x[:, None] * np.arange(1, frequencies + 1)
    return np.concatenate([np.sin(angles), np.cos(angles)], -1)


FORMULAS = {
    RBF(8): lambda x: gaussians(x, 8, -1, 1),
    RBF(3, (2.0, 5.0)): lambda x: gaussians(x, 3, 2, 5),
    Chebyshev(9): lambda x: eval_chebyt(np.arange(1, 10), np.tanh(x)[:, None]),
    Fourier(6): lambda x: waves(x, 6, 2),
    Fourier(2, 2 * np.pi): lambda x: waves(x, 2, 2 * np.pi),
    Wavelet(4): lambda x: wavelets(
        x, 4, lambda u: 2 / np.sqrt(3) / np.pi**0.25 * (1 - u**2) * np.exp(-(u**2) / 2)
    ),
    Wavelet(3, "morlet"): lambda x: wavelets(x, 3, lambda u: np.cos(5 * u) * np.exp(-(u**2) / 2)),
    Wavelet(3, "dog"): lambda x: wavelets(x, 3, lambda u: -u * np.exp(-(u**2) / 2)),
}


@pytest.mark.parametrize("kind", [pytest.param("float64", marks=needs_float64), "float32"])
@pytest.mark.parametrize("basis", FORMULAS, ids=repr)
def test_dense_bases_follow_their_formulas(basis, kind):
    x = np.random.default_rng(0).uniform(-3, 3, 300).astype(kind)
    x[:4] = -1, 1, 0, 40
    values = basis(Tensor(x, dtype=getattr(dtypes, kind)).unsqueeze(-1)).numpy()[:, 0]
    expected = FORMULAS[basis](x.astype(float))
    # Arguments up to 6 pi * 40, of the 6th frequency, known to half a unit in their last place; and
    # slopes up to 9^2, of the 9th polynomial, times the rounding of tanh.
    tolerance = (400 if isinstance(basis, Fourier) else 100) * np.finfo(kind).eps
    np.testing.assert_allclose(values, expected, atol=tolerance)


@pytest.mark.parametrize("basis", [*DENSE_BASES[1:], *[Wavelet(6, k) for k in WAVELETS]], ids=repr)
def test_dense_bases_of_extreme_numbers(basis):
    x = Tensor([[1e30], [-1e30], [1e4], [-30.0], [float("nan")]])
    for values in (basis(x).numpy(), basis.derivative(x).numpy()):
        assert np.isfinite(values[:4]).all() and np.isnan(values[4]).all()
        if basis.domain:
            assert (values[:4] == 0).all()


@given(x=st.lists(st.floats(-1e6, 1e6, width=32), min_size=8, max_size=8))
def test_chebyshev_and_fourier_stay_between_minus_one_and_one(x):
    for basis in (Chebyshev(12), Fourier(6)):
        # The recurrences' roundings add up, as fast as the square of the degree.
        assert np.abs(basis(Tensor(x).unsqueeze(-1)).numpy()).max() <= 1 + 1e-5

"""Encodings against their formulas."""

from __future__ import annotations

import numpy as np
import pytest
from tinygrad import Tensor

from tinykan import Gaussian, NeRF, Raw, Scaled, Sines, UserError
from tinykan.tensors import learnable

X = np.random.default_rng(0).uniform(-1, 1, (20, 2)).astype(np.float32)


def test_octaves_are_those_of_the_slices_benchmark():
    expected = [
        np.stack([v, *(np.sin(2.0**i * np.pi * (v + 1)) for i in range(7))], axis=-1)
        for v in X.astype(np.float64).T
    ]
    features = Sines(2, 8)(Tensor(X)).numpy()
    # The highest octave multiplies v by 64 pi, and the rounding of v + 1 with it.
    np.testing.assert_allclose(features, np.concatenate(expected, axis=-1), atol=64 * np.pi * 2e-7)
    assert np.abs(features).max() <= 1


def test_nerf_encoding():
    angles = X.astype(np.float64)[:, :, None] * 2.0 ** np.arange(4) * np.pi
    expected = np.concatenate([np.sin(angles), np.cos(angles)], axis=-1).reshape(20, -1)
    np.testing.assert_allclose(NeRF(2, 4)(Tensor(X)).numpy(), expected, atol=8 * np.pi * 2e-7)


def test_scaled_coordinates_raise_the_first_frequency_of_a_siren():
    features = Scaled(2, 3.0)(Tensor(X)).numpy()
    np.testing.assert_array_equal(features, np.float32(3) * X)
    with pytest.raises(UserError, match="factor 0 must be"):
        Scaled(2, 0)


def test_gaussian_features():
    encoding = Gaussian(2, 16, scale=5.0)
    angles = 2 * np.pi * X.astype(np.float64) @ encoding.frequencies.numpy()
    expected = np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)
    np.testing.assert_allclose(encoding(Tensor(X)).numpy(), expected, atol=2e-5)
    many = Gaussian(2, 4096, scale=5.0).frequencies.numpy()
    assert many.std() == pytest.approx(5.0, rel=0.05)
    assert not learnable(encoding)


@pytest.mark.parametrize(
    "encoding",
    [Raw(2), Sines(2, 1), Sines(2, 8), Sines(1, 3), NeRF(2, 6), Gaussian(2, 8)],
    ids=repr,
)
def test_out_features(encoding):
    x = Tensor(X[:, : encoding.in_features])
    assert encoding(x).shape == (20, encoding.out_features)
    assert encoding(x.unsqueeze(0)).shape == (1, 20, encoding.out_features)


def test_bad_channels_are_one_line():
    with pytest.raises(UserError, match="0 channels"):
        Sines(2, 0)


def test_the_seeds_encoding_with_channels_for_each_coordinate():
    x = np.random.default_rng(0).uniform(-1, 1, (5, 2)).astype(np.float32)
    found = Sines(2, (1, 3))(Tensor(x)).numpy()
    a, b = x[:, 0], x[:, 1]
    expected = [a, b, np.sin(np.pi * (b + 1)), np.sin(2 * np.pi * (b + 1))]
    np.testing.assert_allclose(found, np.stack(expected, axis=-1), atol=2e-6)

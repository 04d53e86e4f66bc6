"""The spectrum of an image, against SciPy's cosine transform and waves of known frequency."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import fft

from tinykan import UserError
from tinykan.tasks import spectrum
from tinykan.tasks.spectrum import highest_frequency


def test_the_transform_is_scipys():
    image = np.random.default_rng(0).normal(size=(7, 12, 3))
    for axis in (0, 1):
        expected = fft.dct(image, type=2, axis=axis, norm="ortho")
        found = spectrum._cosine_transform(image, axis)
        np.testing.assert_allclose(found, expected, atol=1e-13)  # float64, sums of 24


def test_the_frequency_of_waves():
    """sin(a x) cos(b y): the edges' share in other frequencies is small, and so is the distance of
    one coefficient from the next, pi / 2."""
    x = np.linspace(-1, 1, 200)
    for a, b in ((0, 40), (30, 40), (60, 25)):
        image = (np.cos(a * x) * np.cos(b * x[:, None]))[..., None]
        assert highest_frequency(image, 0.5) == pytest.approx(np.hypot(a, b), abs=2)


def test_the_share_of_the_energy():
    """Of two waves, the stronger has 0.8 of the energy. Channels add up, and means do not count."""
    n = np.arange(64)
    slow, fast = (np.cos(np.pi * k * (n + 0.5) / 64) + np.zeros((64, 1)) for k in (4, 20))
    rates = [np.pi * k * 63 / 128 for k in (4, 20)]  # the cosine transform has these exactly
    image = np.stack([2 * slow + 5, fast], axis=-1)
    found = [
        highest_frequency(image.astype(np.float32), share) for share in (0.5, 0.79, 0.81, 0.98)
    ]
    assert found == pytest.approx([rates[0], rates[0], rates[1], rates[1]])


def test_one_color_has_none_and_bad_input_is_one_line():
    assert highest_frequency(np.full((8, 8, 3), 0.3, np.float32), 0.98) == 0
    for image, share, message in (
        (np.zeros((8, 8, 1)), 1.0, "share 1.0 of the energy must be between 0 and 1"),
        (np.zeros((8, 8, 1)), "x", "share 'x' of the energy must be"),
        (np.zeros((8, 1, 1)), 0.5, r"shape \(8, 1, 1\): at least 2 x 2 pixels"),
    ):
        with pytest.raises(UserError, match=message):
            highest_frequency(image, share)

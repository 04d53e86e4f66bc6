"""The spectrum of an image, from which a network's first frequency is chosen."""

from __future__ import annotations

import numpy as np

from tinykan.errors import UserError


def highest_frequency(image: np.ndarray, share: float) -> float:
    """The angular frequency below which lies that `share` (between 0 and 1) of the energy of an
    image `[height, width, channels]`, whose first and last pixels are at -1 and 1.

    The spectrum is that of the discrete cosine transform, for which opposite edges need not be
    alike: a coefficient's frequency is the length of the vector of those in x and y. The mean has
    no energy, and the channels' energies are added. 0 for an image of one color. Raises UserError
    for another share, and for less than 2 x 2 pixels.
    """
    if not (isinstance(share, int | float) and 0 < share < 1):
        raise UserError(f"share {share!r} of the energy must be between 0 and 1")
    if min(image.shape[:2]) < 2:
        raise UserError(f"an image of shape {image.shape}: at least 2 x 2 pixels are needed")
    varying = image - image.mean(axis=(0, 1), dtype=float)
    energy = (_cosine_transform(_cosine_transform(varying, 0), 1) ** 2).sum(-1)
    if energy.sum() <= 1e-12 * (image.astype(float) ** 2).sum():  # rounding
        return 0.0
    # A wave has k half periods on n pixels, which are 2 / (n - 1) apart.
    y, x = (np.pi * np.arange(n) * (n - 1) / (2 * n) for n in energy.shape)
    frequencies = np.hypot(y[:, None], x).ravel()
    order = np.argsort(frequencies, kind="stable")
    below = np.cumsum(energy.ravel()[order])
    return float(frequencies[order][np.searchsorted(below, share * below[-1])])


def _cosine_transform(image: np.ndarray, axis: int) -> np.ndarray:
    """Orthonormal, of type II, along an axis: from the Fourier transform of the values and, behind
    them, their mirror image."""
    values = np.moveaxis(image, axis, -1)
    n = values.shape[-1]
    mirrored = np.fft.rfft(np.concatenate([values, values[..., ::-1]], axis=-1))[..., :n]
    waves = (mirrored * np.exp(-0.5j * np.pi * np.arange(n) / n)).real / np.sqrt(2 * n)
    waves[..., 0] /= np.sqrt(2)
    return np.moveaxis(waves, -1, axis)

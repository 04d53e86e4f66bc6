"""How well an image was fitted. Arrays are `[height, width, channels]`, values in [-1, 1]."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from tinykan.errors import UserError

ROWS = 256  # of an image at a time: what is computed on the way takes several times its memory


def mse(prediction: np.ndarray, target: np.ndarray) -> float:
    """Mean squared error, in float64. Raises UserError for different shapes."""
    _check(prediction, target)
    total = sum(
        float(np.sum((prediction[rows].astype(np.float64) - target[rows]) ** 2))
        for rows in _bands(len(target))
    )
    return total / target.size


def psnr(prediction: np.ndarray, target: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB; the peak-to-peak range of [-1, 1] is 2."""
    error = mse(prediction, target)
    return math.inf if error == 0 else -10 * math.log10(error / 4)


def ssim(prediction: np.ndarray, target: np.ndarray) -> float:
    """Structural similarity (Wang et al. 2004), Gaussian window of sigma 1.5 and radius 5, averaged
    over pixels whose window lies inside the image, and over channels, of images scaled to [0, 1]:
    from -1 to 1, which is equality."""
    _check(prediction, target)
    if target.ndim not in (2, 3):
        raise UserError(f"images of shape {target.shape}: [height, width, channels] is needed")
    radius = min(5, (min(target.shape[:2]) - 1) // 2)
    window = np.exp(-0.5 * (np.arange(-radius, radius + 1) / 1.5) ** 2)
    window /= window.sum()

    def blur(image: np.ndarray) -> np.ndarray:
        for axis in (0, 1):
            views = np.lib.stride_tricks.sliding_window_view(image, 2 * radius + 1, axis=axis)
            image = views @ window
        return image

    def similarity(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        mean_x, mean_y = blur(x), blur(y)
        variance_x, variance_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
        covariance = blur(x * y) - mean_x * mean_y
        c1, c2 = 0.01**2, 0.03**2
        luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
        return luminance * (2 * covariance + c2) / (variance_x + variance_y + c2)

    total, count = 0.0, 0
    for rows in _bands(len(target), 2 * radius):
        pair = ((image[rows].astype(np.float64) + 1) / 2 for image in (prediction, target))
        values = similarity(*pair)
        total, count = total + float(values.sum()), count + values.size
    return total / count


def _check(prediction: np.ndarray, target: np.ndarray) -> None:
    """Integers are refused too: their range is not [-1, 1], and their differences wrap around."""
    for name, values in {"prediction": prediction, "target": target}.items():
        if not isinstance(values, np.ndarray) or values.dtype.kind != "f":
            kind = values.dtype if isinstance(values, np.ndarray) else type(values).__name__
            raise UserError(f"{name} of type {kind}: an array of floats in [-1, 1] is needed")
    if prediction.shape != target.shape or target.size == 0:
        shapes = f"a prediction of shape {prediction.shape}, a target of shape {target.shape}"
        raise UserError(f"{shapes}: both must be of one shape, and not empty")


def _bands(height: int, overlap: int = 0) -> Iterator[slice]:
    """Slices of at most ROWS rows, and as many more as neighbours are to share."""
    for start in range(0, height - overlap, ROWS):
        yield slice(start, min(start + ROWS, height - overlap) + overlap)

"""Reconstructions and their error maps, which share one color scale."""

from __future__ import annotations

import io

import numpy as np
from matplotlib import colormaps
from PIL import Image

from tinykan.studies.figures import draw_error_scale
from tinykan.studies.results import lossless

COLORS = "magma"
SIDE = 300  # CSS pixels of the longer side at most; smaller pictures are shown enlarged
QUALITY = 50  # of the WebP files of error maps


def errors(picture: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Mean absolute error of each pixel's channels, as a fraction of the full range."""
    return np.abs(picture.astype(float) - target).mean(axis=-1) / 255


def common_limit(maps: list[np.ndarray]) -> float:
    """The upper end of the color scale: the 99th percentile of all errors."""
    pooled = np.concatenate([np.zeros(1), *(error.ravel() for error in maps)])
    return max(1e-3, float(np.quantile(pooled, 0.99)))


def error_map(error: np.ndarray, limit: float) -> bytes:
    """Errors as colors, in WebP of at most SIDE pixels; those above `limit` are clipped."""
    colored = colormaps[COLORS](np.minimum(error / limit, 1))[..., :3]
    file = io.BytesIO()
    image = Image.fromarray(np.rint(colored * 255).astype(np.uint8))
    image.thumbnail((SIDE, SIDE))
    image.save(file, "WEBP", quality=QUALITY, method=6)
    return file.getvalue()


def error_scale(limit: float, size: tuple[int, int]) -> bytes:
    """The color bar of the error maps, in WebP of twice that (width, height)."""
    return lossless(draw_error_scale(limit, (2 * size[0], 2 * size[1]), COLORS))


def shown_size(pixels: np.ndarray) -> tuple[int, int]:
    """Width and height on a page: enlarged by a whole factor, or reduced to SIDE."""
    height, width = pixels.shape[:2]
    side = max(height, width)
    factor = SIDE // side if side <= SIDE else SIDE / side
    return round(width * factor), round(height * factor)

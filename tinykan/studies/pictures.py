"""Reconstructions beside their error maps, all with the same scale of errors."""

from __future__ import annotations

import base64
import binascii
import io

import numpy as np
from matplotlib import colormaps
from PIL import Image

from tinykan.errors import UserError
from tinykan.studies.figures import draw_error_scale

COLORS = "magma"
SIDE = 400  # pixels at most; larger pictures are reduced, smaller ones enlarged


def decode(picture: str, of: str) -> np.ndarray:
    """8-bit pixels `[height, width, 3]` of a PNG in base64. Raises UserError if it is none."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(picture, validate=True))) as file:
            return np.asarray(file.convert("RGB"))
    except (binascii.Error, OSError, SyntaxError, ValueError):
        raise UserError(f"the picture of {of} is not a PNG in base64") from None


def errors(picture: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Mean absolute error of each pixel's channels, as a share of the full range."""
    return np.abs(picture.astype(float) - target).mean(axis=-1) / 255


def common_limit(maps: list[np.ndarray]) -> float:
    """The error at which the color bar ends: a hundredth of all pixels lie above."""
    pooled = np.concatenate([np.zeros(1), *(error.ravel() for error in maps)])
    return max(1e-3, float(np.quantile(pooled, 0.99)))


def pair(picture: np.ndarray, error: np.ndarray | None, limit: float) -> bytes:
    """A picture beside its error map, or alone; errors above `limit` are drawn as `limit`."""
    shown = [_sized(picture)]
    if error is not None:
        colored = colormaps[COLORS](np.minimum(error / limit, 1))[..., :3]
        shown.append(_sized(np.rint(colored * 255).astype(np.uint8)))
    return _png(shown)


def target_and_scale(target: np.ndarray, limit: float) -> bytes:
    """The target beside the color bar of the error maps."""
    shown = _sized(target)
    height, width = shown.shape[:2]
    return _png([shown, draw_error_scale(limit, (width, height), COLORS)])


def _sized(pixels: np.ndarray) -> np.ndarray:
    """By whole factors, so that pixels stay what they are, or become means of what they were."""
    side = max(pixels.shape[:2])
    if side > SIDE:
        return np.asarray(Image.fromarray(pixels).reduce(-(-side // SIDE)))
    return pixels.repeat(SIDE // side, axis=0).repeat(SIDE // side, axis=1)


def _png(parts: list[np.ndarray]) -> bytes:
    gap = np.full((parts[0].shape[0], 8, 3), 255, np.uint8)
    row = [piece for part in parts for piece in (gap, part)][1:]
    file = io.BytesIO()
    Image.fromarray(np.concatenate(row, axis=1)).save(file, "PNG", optimize=True)
    return file.getvalue()

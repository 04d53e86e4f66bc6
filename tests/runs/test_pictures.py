"""The pictures of a run: sizes, proportions and captions."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tinykan.runs.figures import save_comparison
from tinykan.runs.pictures import CAPTION_HEIGHT, CAPTION_WIDTH, SIDE, save_animation

GRAY = 0.25  # of [-1, 1]; no other part of a figure has it
BYTE = round((GRAY + 1) * 127.5)


def checkered(height: int, width: int, channels: int) -> np.ndarray:
    """Black and white squares of one pixel."""
    pattern = (np.add.outer(np.arange(height), np.arange(width)) % 2) * 2.0 - 1
    return np.repeat(pattern[..., None], channels, axis=-1).astype(np.float32)


@pytest.mark.parametrize(("height", "width"), [(12, 40), (50, 9), (30, 30), (200, 300), (500, 70)])
@pytest.mark.parametrize("channels", [1, 3])
def test_an_animation_enlarges_pixels_to_squares(tmp_path, height, width, channels):
    frame = checkered(height, width, channels)
    save_animation([frame, -frame], ["step 1", "step 20   38.2 dB"], tmp_path / "a.gif")
    factor = max(1, SIDE // max(height, width))
    with Image.open(tmp_path / "a.gif") as animation:
        assert animation.n_frames == 2
        pictures = []
        for number in range(2):
            animation.seek(number)
            pictures.append(np.asarray(animation.convert("L")))
    left = max(0, (CAPTION_WIDTH - factor * width) // 2)
    for picture, values in zip(pictures, (frame, -frame), strict=True):
        assert picture.shape == (
            factor * height + CAPTION_HEIGHT,
            max(factor * width, CAPTION_WIDTH),
        )
        shown = picture[: factor * height, left : left + factor * width]
        enlarged = np.kron(values[..., 0] > 0, np.ones((factor, factor))) * 255
        np.testing.assert_array_equal(shown, enlarged)
    first, second = (picture[factor * height :] > 128 for picture in pictures)
    assert 0 < first.sum() < second.sum()
    assert not second[:, :4].any() and not second[:, -4:].any()  # nothing is cut off


@pytest.mark.parametrize(
    ("height", "width"), [(16, 160), (30, 80), (40, 60), (64, 64), (90, 30), (200, 10)]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_panels_of_a_comparison_have_the_proportions_of_the_image(
    tmp_path, height, width, channels
):
    image = np.full((height, width, channels), GRAY, dtype=np.float32)
    path = tmp_path / "comparison.png"
    save_comparison(image, image, path, "chebyshev, 123456 parameters, 38.21 dB")
    with Image.open(path) as picture:
        shown = np.asarray(picture.convert("RGB"))
    panels = (shown == BYTE).all(axis=-1)
    # The edges of letters have some pixels of that gray.
    rows, columns = (np.flatnonzero(panels.sum(axis=a) > 20) for a in (1, 0))
    stacked = width > 2 * height
    # The first panel; the second one is of the same color, below it or beside it.
    high = np.flatnonzero(np.diff(rows) > 1)[0] + 1 if stacked else len(rows)
    wide = len(columns) if stacked else np.flatnonzero(np.diff(columns) > 1)[0] + 1
    # Within a pixel at each end.
    assert abs(wide - high * width / height) <= 2 * max(1, width / height)
    assert panels.sum() == pytest.approx(2 * wide * high, rel=0.05)
    # The error is 0: the third panel is magma's first color, almost black.
    filled = panels | (shown.max(axis=-1) < 10)
    assert filled.mean() > (0.2 if max(height, width) > 5 * min(height, width) else 0.6)


@pytest.mark.parametrize("noise", [0, 1e-4, 3e-3, 0.02, 0.1, 1])
def test_the_scale_of_errors_of_any_size_is_within_the_picture(tmp_path, noise):
    rng = np.random.default_rng(0)
    image = rng.uniform(-1, 1, (40, 40, 1))
    fit = np.clip(image + noise * rng.normal(size=image.shape), -1, 1)
    save_comparison(image, fit, tmp_path / "comparison.png", "spline, 9000 parameters")
    with Image.open(tmp_path / "comparison.png") as picture:
        shown = np.asarray(picture.convert("L"))
    assert (shown[:, -4:] == 255).all() and (shown[:, -60:] < 128).any()

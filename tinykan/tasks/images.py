"""Images: sampling inside the compiled step, rendering in chunks, writing. Files are read by
`image_files`.

An image is an array `[height, width, channels]` of float32 in [-1, 1], with 1 (luminance) or 3
(RGB) channels. Coordinates are (x, y) in [-1, 1]: -1 is the center of the first column or row, 1
that of the last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tinygrad import Tensor, dtypes

from tinykan.errors import UserError, check_integer
from tinykan.tasks.image_files import MAX_PIXELS, load_image
from tinykan.tasks.image_samples import ImageError
from tinykan.tasks.sampling import uniform

__all__ = [
    "MAX_PIXELS", "ImageError", "as_image", "bicubic", "coordinates", "from_bytes", "interpolate",
    "load_image", "pixel_sampler", "render", "render_rows", "save_image", "to_bytes", "to_pillow",
]  # fmt: skip


def as_image(image: Any) -> np.ndarray:
    """An image of the user's own as `[height, width, channels]`: an array of floats of that shape,
    with 1 or 3 channels, or `[height, width]`. Raises UserError for others, integers among them,
    whose scale is not said."""
    values = np.asarray(image)
    pixels = values[..., None] if values.ndim == 2 else values
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or 0 in pixels.shape:
        shapes = "[height, width] or [height, width, 1 or 3]"
        raise UserError(f"an image of shape {values.shape}: {shapes} is needed")
    if values.dtype.kind != "f":
        raise UserError(f"an image of type {values.dtype}: floats in [-1, 1] are needed")
    return pixels


def save_image(image: np.ndarray, path: str | Path) -> None:
    """Writes `[height, width, channels]` in [-1, 1] as an 8-bit file of the kind `path` names.
    Raises UserError as `as_image`."""
    to_pillow(as_image(image)).save(path)


def to_pillow(image: np.ndarray) -> Image.Image:
    """An 8-bit Pillow image of `[height, width, channels]` in [-1, 1]."""
    return from_bytes(to_bytes(image))


def from_bytes(pixels: np.ndarray) -> Image.Image:
    """A Pillow image of 8-bit `[height, width, channels]`."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def to_bytes(values: np.ndarray) -> np.ndarray:
    """Values in [-1, 1], clipped, as 0 to 255."""
    scaled = np.nan_to_num(values)
    np.clip(scaled, -1, 1, out=scaled)
    scaled += 1
    scaled *= 127.5
    return np.rint(scaled, out=scaled).astype(np.uint8)


def pixel_sampler(
    image: np.ndarray, batch: int, seed: int, *, between: bool = False, every: int = 1
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """A function of the step number, to be called inside the compiled step, that draws `batch`
    random points with replacement: coordinates `[batch, 2]` and values `[batch, channels]`.

    The points are pixel centers, of every pixel or every second (third, ...) in x and y from the
    first; `between` draws them anywhere between these and interpolates bilinearly. Raises UserError
    as `as_image`, and for values that are not finite.
    """
    image = as_image(image)
    check_integer("batch", batch, 1)
    if min(image.shape[:2]) < 2 or not np.isfinite(image).all():
        raise UserError(f"an image of shape {image.shape}: at least 2 x 2 finite values are needed")
    whole = image.shape[1::-1]
    image = image[::every, ::every]
    height, width, channels = image.shape
    pixels = Tensor(image.astype(np.float32).reshape(-1, channels)).realize()
    extent = Tensor([width - 1.0, height - 1.0], dtype=dtypes.float32).realize()
    # In the coordinates of the whole image, whose last pixel may lie beyond the last one used.
    scale = Tensor([2 * every / (w - 1) for w in whole], dtype=dtypes.float32).realize()

    def sample(step: Tensor) -> tuple[Tensor, Tensor]:
        u = uniform(step, seed, (batch, 2))
        position = u * extent if between else (u * (extent + 1)).floor().minimum(extent)
        return position * scale - 1, interpolate(pixels, position.contiguous(), width, height)

    return sample


def interpolate(pixels: Tensor, position: Tensor, width: int, height: int) -> Tensor:
    """Bilinear interpolation of `pixels` `[height * width, channels]` at `position` `[n, 2]`,
    (x, y) in pixels from the center of the first one. Positions outside take the nearest edge."""
    corner = position.floor()
    fraction = position - corner
    x, y = corner[:, 0].cast(dtypes.int32), corner[:, 1].cast(dtypes.int32)

    def row(dx: int, dy: int) -> Tensor:
        return pixels[(y + dy).clip(0, height - 1) * width + (x + dx).clip(0, width - 1)]

    right, down = fraction[:, 0:1], fraction[:, 1:2]
    upper = row(0, 0) * (1 - right) + row(1, 0) * right
    lower = row(0, 1) * (1 - right) + row(1, 1) * right
    return upper * (1 - down) + lower * down


def bicubic(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """An image of `shape` (height, width) whose every second pixel in x and y, from the first, is
    `image`'s; the others by cubic convolution (Keys 1981, a = -1/2), edges repeated."""
    for axis, count in enumerate(shape):
        length = image.shape[axis]
        padded = np.pad(image, [(1, 2) if a == axis else (0, 0) for a in range(image.ndim)], "edge")
        a, b, c, d = (padded.take(range(k, k + length), axis) for k in range(4))
        both = np.stack([b, (9 * (b + c) - (a + d)) / 16], axis=axis + 1)
        merged = both.reshape(*image.shape[:axis], 2 * length, *image.shape[axis + 1 :])
        image = merged.take(range(count), axis)
    return image


def coordinates(width: int, height: int, start: int = 0, stop: int | None = None) -> np.ndarray:
    """(x, y) of pixels `start` to `stop`, counted row by row `[stop - start, 2]`."""
    index = np.arange(start, width * height if stop is None else stop)
    row, column = np.divmod(index, width)
    return np.stack([_axis(column, width), _axis(row, height)], axis=-1).astype(np.float32)


def render_rows(
    predict: Callable[[np.ndarray], np.ndarray], width: int, height: int, chunk: int = 65536
) -> Iterator[np.ndarray]:
    """The image of any size that `predict` gives, from `[n, 2]` coordinates to `[n, channels]`, in
    bounded memory: `chunk` consecutive pixels at a time, row by row."""
    for start in range(0, width * height, chunk):
        yield predict(coordinates(width, height, start, min(start + chunk, width * height)))


def render(predict: Callable[[np.ndarray], np.ndarray], width: int, height: int) -> np.ndarray:
    """The same as one array `[height, width, channels]`. Raises UserError for sizes that are not
    whole numbers of 1 or more."""
    check_integer("width", width, 1)
    check_integer("height", height, 1)
    return np.concatenate(list(render_rows(predict, width, height))).reshape(height, width, -1)


def _axis(index: np.ndarray, count: int) -> np.ndarray:
    return index * (2 / (count - 1)) - 1 if count > 1 else np.zeros(index.shape)

"""Images: reading any kind, sampling inside the compiled step, rendering in chunks, writing.

An image is an array `[height, width, channels]` of float32 in [-1, 1], with 1 (luminance) or 3
(RGB) channels. Coordinates are (x, y) in [-1, 1]: -1 is the center of the first column or row, 1
that of the last.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from tinygrad import Tensor, dtypes

from tinykan.errors import UserError
from tinykan.tasks.sampling import uniform

MAX_PIXELS = 2**28  # more is taken for a decompression bomb; Pillow's own limit is a third of it


class ImageError(UserError):
    """A file that cannot be read as an image, or an image that cannot be used."""


def load_image(path: str | Path, *, size: int | None = None, color: bool = False) -> np.ndarray:
    """Reads `path`: any mode and bit depth that Pillow opens, the first frame of an animation,
    turned upright by its EXIF tag, transparency laid over white.

    `size` makes the longer side that many pixels (Lanczos). Raises ImageError for what is missing,
    unreadable, truncated, smaller than 2 x 2 pixels or larger than MAX_PIXELS.
    """
    pillows_limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, MAX_PIXELS
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as file:
                file.load()
                upright = ImageOps.exif_transpose(file)
                channels = _channels(upright, color)
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{path}: too large an image ({error})") from None
    except ImageError:
        raise
    except MemoryError:
        raise ImageError(f"{path}: not enough memory for this image") from None
    except Exception as error:  # Pillow's decoders fail on broken files in every way there is
        raise ImageError(f"{path}: not a readable image ({_one_line(error)})") from None
    finally:
        Image.MAX_IMAGE_PIXELS = pillows_limit
    if size is not None:
        channels = [_resized(channel, size) for channel in channels]
    width, height = channels[0].size
    image = np.empty((height, width, len(channels)), dtype=np.float32)
    for index, channel in enumerate(channels):
        image[..., index] = np.asarray(channel)
    if min(image.shape[:2]) < 2:
        raise ImageError(
            f"{path}: {image.shape[1]} x {image.shape[0]} pixels; at least 2 x 2 are needed"
        )
    if not np.isfinite(image).all():
        raise ImageError(f"{path}: the image holds values that are not finite")
    np.clip(image, 0, 1, out=image)  # in place, as below: images may be large
    image *= 2
    image -= 1
    return image


def save_image(image: np.ndarray, path: str | Path) -> None:
    """Writes `[height, width, channels]` in [-1, 1] as an 8-bit file of the kind `path` names."""
    to_pillow(image).save(path)


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
    first; `between` draws them anywhere between these and interpolates bilinearly.
    """
    whole = image.shape[1::-1]
    image = image[::every, ::every]
    height, width, channels = image.shape
    pixels = Tensor(image.reshape(-1, channels)).realize()
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
    """The same as one array `[height, width, channels]`."""
    return np.concatenate(list(render_rows(predict, width, height))).reshape(height, width, -1)


def _channels(image: Image.Image, color: bool) -> list[Image.Image]:
    """The channels as float images with values in [0, 1]."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image).astype(np.float32)
        gray = Image.fromarray(values / np.float32(_full_scale(image.mode, values)))
        return [gray] * 3 if color else [gray]
    if image.has_transparency_data:
        image = image.convert("RGBA")
        background = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(background, image)
    image = image.convert("RGB" if color else "L") if image.mode != "L" or color else image
    return [Image.fromarray(np.divide(np.asarray(c), 255, dtype=np.float32)) for c in image.split()]


def _full_scale(mode: str, values: np.ndarray) -> float:
    """What counts as white: modes I and F do not say, so the smallest usual range that fits."""
    if mode.startswith("I;16"):
        return 65535.0
    highest = float(values.max(initial=0))
    return next((scale for scale in (1.0, 255.0, 65535.0) if highest <= scale), highest)


def _resized(channel: Image.Image, size: int) -> Image.Image:
    width, height = channel.size
    scale = size / max(width, height)
    shape = (max(1, round(width * scale)), max(1, round(height * scale)))
    return channel if shape == channel.size else channel.resize(shape, Image.Resampling.LANCZOS)


def _axis(index: np.ndarray, count: int) -> np.ndarray:
    return index * (2 / (count - 1)) - 1 if count > 1 else np.zeros(index.shape)


def _one_line(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:160]

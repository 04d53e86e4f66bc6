"""Image files: `load_image` reads any kind, of any size, in any color space and depth."""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from tinykan.errors import UserError, check_integer, warn
from tinykan.tasks.color_profiles import conversion_to_srgb
from tinykan.tasks.deep_images import ORIENTATION, PNG, TIFF, content, deep_samples, silent
from tinykan.tasks.image_samples import (
    LUMINANCE,
    ImageError,
    Samples,
    Scale,
    check_not_black,
    mirrored,
    one_line,
)

MAX_PIXELS = 2**28  # more is taken for a decompression bomb; Pillow's own limit is a third of it
# Sources of more pixels than this are reduced by boxes of whole pixels while they are read, to no
# less than 3 times the size asked for, which the filter then hardly sees.
LARGE, GAP = 2**24, 3
BAND = 2**21  # pixels that are in floating point at a time
# Pillow converts these to luminance as it always has, all others through RGB.
_DIRECT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")

Rows = Callable[[int, int], np.ndarray]  # from the first row to before the last, in [0, 1]
Pair = tuple[int, int]  # width, height
Box = tuple[float, float, float, float]  # left, top, right, bottom


def load_image(
    path: str | Path, *, size: int | None = None, color: bool = False, white: float | None = None
) -> np.ndarray:
    """Reads an image file as float32 `[height, width, channels]` in [-1, 1], with 1 channel
    (luminance, ITU-R BT.601-2) or, with `color`, 3 (RGB).

    - Files: all that Pillow opens and, with `pip install 'tinykan[images]'`, all TIFFs of gray or
      RGB. Of an animation the first frame, turned upright by its EXIF tag.
    - White: the file decides, never the largest value. Integers: the largest value of their bits
      per sample (of a PGM or PPM, its maxval); 0 is white where the photometric interpretation
      says so. Floating-point values are on [0, 1]. Values outside are clipped, with a warning of
      how many; if they are a quarter of all, or reach further than 10 times white, the file is
      refused. `white` is the value of white where the file is of another opinion, or of none.
    - Depth: 16 bits are kept in gray, and in color and with alpha in PNG, PPM, and (with the extra
      `images`) TIFF; a warning says when 8 bits are all that is read.
    - Transparency is laid over white. Other color spaces (CMYK, YCbCr, LAB, HSV) go through RGB.
    - An embedded ICC profile is applied: colors are converted to sRGB by LittleCMS, with perceptual
      intent, in 8 bits (a warning says so for deeper files). A profile that changes no color by
      more than 1 of 255, as sRGB's own, leaves the file's numbers alone, and so does one that
      cannot be used, with a warning. PNG's gAMA and cHRM are ignored.
    - `size` makes the longer side that many pixels (Lanczos). Sources of more than 2^24 pixels are
      first averaged over boxes of whole pixels, to at least 3 times that size.

    Raises ImageError for what is missing, unreadable, truncated, smaller than 2 x 2 pixels or
    larger than MAX_PIXELS, as a file or by its `size`, and for white that is not known.
    """
    if size is not None:
        check_integer("size", size, 2)
    limits = np.finfo(np.float32)
    if white is not None and not float(limits.tiny) <= white <= float(limits.max):
        raise UserError(f"white {white!r} must be a finite number above 0")
    try:
        with _limits(), _opened(path) as stream:
            image = _read(path, stream, size, color, Scale(path, white))
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{path}: too large an image ({error})") from None
    except ImageError:
        raise
    except UserError as error:
        raise ImageError(str(error)) from None
    except MemoryError:
        raise ImageError(f"{path}: not enough memory for this image") from None
    except Exception as error:  # Pillow's decoders fail on broken files in every way there is
        raise ImageError(f"{path}: not a readable image ({one_line(error)})") from None
    np.clip(image, 0, 1, out=image)  # in place, as below: images may be large
    image *= 2
    image -= 1
    return image


@contextlib.contextmanager
def _limits() -> Iterator[None]:
    """Pillow's limits on pixels and on text in a PNG, which is of no interest here, are ours."""
    before = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = 2**28
    try:
        with warnings.catch_warnings(), silent("PIL.TiffImagePlugin"):
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before[0]
        PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = before[1:]


@contextlib.contextmanager
def _opened(path: Any) -> Iterator[BinaryIO]:
    """A file, or what can be read like one, in which one can go back to the start."""
    with contextlib.nullcontext(path) if hasattr(path, "read") else Path(path).open("rb") as file:
        yield file if file.seekable() else io.BytesIO(file.read())


def _read(
    path: object, stream: BinaryIO, size: int | None, color: bool, scale: Scale
) -> np.ndarray:
    """The image in float32 `[height, width, channels]`, 0 to 1 but for what a filter overshoots."""
    file = _pillow_file(stream)
    with file or contextlib.nullcontext():
        if file:
            _target(path, file.size, size)  # before anything is decoded
        samples = deep_samples(path, stream, file, scale.white, MAX_PIXELS)
        if samples:
            check_not_black(path, samples, scale.white)
            height, width = samples.values.shape[:2]
            box = (0.0, 0.0, float(width), float(height))
            target = _target(path, (width, height), size)
            rows = _deep_rows(path, samples, color, scale)
        else:
            assert file is not None
            target, box = _decode(path, file, size)
            width, height = file.size
            rows = _shallow_rows(path, stream, file, color, scale)
        factor = 1
        if box[2] * box[3] > LARGE:
            factor = max(1, int(max(width, height) / (GAP * max(target))))
        left, top, right, bottom = (side / factor for side in box)
        image = _assembled(rows, (width, height), factor, target[0], (left, right))
        scale.finish(samples.full if samples else 255.0)
    return _resized(image, target, (0.0, top, float(target[0]), bottom))


def _pillow_file(stream: BinaryIO) -> Any:
    """The file as Pillow opens it; None for a TIFF of a kind that Pillow does not know."""
    try:
        return Image.open(stream)
    except UnidentifiedImageError:
        if content(stream, 4) not in TIFF:
            raise
        return None


def _target(path: object, original: Pair, size: int | None) -> Pair:
    """Width and height to which `size` makes an image. Raises ImageError for what is too small or
    too large."""
    width, height = original
    if size is None:
        target, made = original, ""
    elif size > MAX_PIXELS:
        raise ImageError(f"{path}: --size {size}: at most {MAX_PIXELS} pixels are allowed in all")
    else:
        scale = size / max(width, height)
        target = max(1, round(width * scale)), max(1, round(height * scale))
        made = f", which --size {size} makes {target[0]} x {target[1]}"
    if min(target) < 2:
        raise ImageError(f"{path}: {width} x {height} pixels{made}; at least 2 x 2 are needed")
    if math.prod(target) > MAX_PIXELS:
        raise ImageError(
            f"{path}: {width} x {height} pixels{made}; at most {MAX_PIXELS} pixels are allowed"
        )
    return target


def _decode(path: object, file: Any, size: int | None) -> tuple[Pair, Box]:
    """Decodes an image of Pillow's, upright. Returns the size it is to have, and the box of the
    decoded pixels that the image covers."""
    original, drafted = file.size, 1
    # Only for large JPEGs: decoded at a half, a quarter or an eighth of their size.
    if size and math.prod(original) > LARGE:
        target = _target(path, original, size)
        file.draft(None, tuple(math.ceil(GAP * side) for side in target))
        drafted = round(original[0] / file.size[0])
    file.load()
    orientation = file.getexif().get(ORIENTATION, 1)
    ImageOps.exif_transpose(file, in_place=True)
    if drafted == 1:
        return _target(path, file.size, size), (0.0, 0.0, *file.size)
    original = original[::-1] if orientation in (5, 6, 7, 8) else original
    corner, extent = [0.0, 0.0], [side / drafted for side in original]
    for axis, turned_around in enumerate(mirrored(orientation)):
        if turned_around:  # what is not whole of the last box is in front
            corner[axis] = file.size[axis] - extent[axis]
    box = (*corner, *(c + e for c, e in zip(corner, extent, strict=True)))
    return _target(path, original, size), box


def _assembled(
    rows: Rows, size: Pair, factor: int, columns: int, extent: tuple[float, float]
) -> np.ndarray:
    """The rows as one array, averaged over boxes of `factor` x `factor` pixels; of each row, what
    is between the columns of `extent`, in another number of columns.

    The filter is applied to rows and to columns in turn, so that rows can be resized as they come.
    """
    width, height = size
    image: np.ndarray | None = None
    step = max(1, BAND // (width * factor)) * factor
    for first in range(0, height, step):
        band = rows(first, min(first + step, height))
        if factor > 1:
            band = _box_means(_box_means(band, factor, axis=0), factor, axis=1)
        band = _resized(band, (columns, len(band)), (extent[0], 0.0, extent[1], float(len(band))))
        if image is None:
            image = np.empty((math.ceil(height / factor), *band.shape[1:]), dtype=np.float32)
        image[first // factor :][: len(band)] = band
    assert image is not None
    return image


def _box_means(values: np.ndarray, factor: int, axis: int) -> np.ndarray:
    """Means of `factor` values each along an axis; of the rest, in the end."""
    length = values.shape[axis]
    starts = np.arange(0, length, factor)
    counts = np.minimum(factor, length - starts)
    sums = np.add.reduceat(values, starts, axis=axis)
    return sums / np.expand_dims(counts, [a for a in range(values.ndim) if a != axis])


def _resized(image: np.ndarray, target: Pair, box: Box) -> np.ndarray:
    """What `box` covers of an image, in another size, by Lanczos's filter."""
    width, height = image.shape[1::-1]
    box = (max(0.0, box[0]), max(0.0, box[1]), min(width, box[2]), min(height, box[3]))
    if target == (width, height) and box == (0, 0, width, height):
        return image
    resized = np.empty((*target[::-1], image.shape[2]), dtype=np.float32)
    for channel in range(image.shape[2]):
        part = Image.fromarray(image[..., channel].astype(np.float32))
        resized[..., channel] = np.asarray(part.resize(target, Image.Resampling.LANCZOS, box=box))
    return resized


def _deep_rows(path: object, samples: Samples, color: bool, scale: Scale) -> Rows:
    to_srgb = conversion_to_srgb(path, samples.profile, "L" if samples.colors == 1 else "RGB")
    if to_srgb:
        warn(f"{path}: its ICC profile is applied in 8 bits; without one all bits are kept")

    def rows(top: int, bottom: int) -> np.ndarray:
        values = samples.rows(top, bottom, scale)
        if to_srgb:
            pixels = np.rint(values * 255).astype(np.uint8)
            image = to_srgb(Image.fromarray(pixels[..., 0] if samples.colors == 1 else pixels))
            values = np.divide(np.asarray(image), 255, dtype=np.float32)
        if color:
            return values if values.shape[2] == 3 else np.repeat(values, 3, axis=2)
        return values if values.shape[2] == 1 else (values @ LUMINANCE)[..., None]

    return rows


def _shallow_rows(
    path: object, stream: BinaryIO, file: Image.Image, color: bool, scale: Scale
) -> Rows:
    """Rows of an image of Pillow's with 8 bits per sample."""
    _scale_transparent_gray(stream, file)
    kind = {"1": "L", "L": "L", "LA": "L", "La": "L", "CMYK": "CMYK"}.get(file.mode, "RGB")
    profile = None if file.mode in ("1", "LAB") else file.info.get("icc_profile")
    to_srgb = conversion_to_srgb(path, profile, kind)

    def rows(top: int, bottom: int) -> np.ndarray:
        band = file.crop((0, top, file.width, bottom))
        if band.mode == "La":
            band = band.convert("LA")
        if to_srgb:
            opacity = None
            if band.has_transparency_data:
                band = band.convert("LA" if kind == "L" else "RGBA")
                opacity = band.getchannel("A")
            band = to_srgb(band.convert(kind))
            if opacity:
                band.putalpha(opacity)
        elif band.mode not in _DIRECT:
            band = band.convert("RGBA" if band.has_transparency_data else "RGB")
        if band.has_transparency_data:
            band = band.convert("RGBA")
            band = Image.alpha_composite(Image.new("RGBA", band.size, "white"), band)
        values = np.asarray(band.convert("RGB" if color else "L"))
        return scale.unit(values if color else values[..., None], 255.0)

    return rows


def _scale_transparent_gray(stream: BinaryIO, file: Image.Image) -> None:
    """Pillow scales gray of 2 and 4 bits to 8, but not the value that a PNG calls transparent."""
    header = content(stream, 26)
    key = file.info.get("transparency")
    if header[:8] == PNG and header[24] in (2, 4) and header[25] == 0 and isinstance(key, int):
        file.info["transparency"] = key * 255 // (2 ** header[24] - 1)

"""What the samples of an image file mean: which value is white, what is transparent, what is
clipped.

The file decides: bits per sample, sample format, photometric interpretation. Nothing is concluded
from the largest value.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tinykan.errors import UserError, warn

# Of red, green and blue in luminance: ITU-R BT.601-2, as in Pillow's mode L.
LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)
# Values outside [0, 1] are an overshoot, which is clipped, or another scale, which is refused. A
# resampling filter overshoots by a third at most, and lights of a rendered scene are few.
LARGEST_SHARE, FARTHEST = 0.25, 10.0


class ImageError(UserError):
    """A file that cannot be read as an image, or an image that cannot be used."""


@dataclass
class Samples:
    """The samples of an image as the file has them, and what they mean.

    `values` `[height, width, samples]` has 1 or 3 colors, an alpha channel if `alpha` is not empty
    ("straight", or "premultiplied" into the colors), and samples that mean nothing. `full` is white
    (black where `inverted`); a pixel of the colors `transparent` is not there.
    """

    values: np.ndarray
    full: float
    colors: int = 1
    alpha: str = ""
    transparent: tuple[int, ...] | None = None
    inverted: bool = False
    profile: bytes | None = None

    @property
    def floating(self) -> bool:
        return self.values.dtype.kind == "f"

    def rows(self, top: int, bottom: int, scale: Scale) -> np.ndarray:
        """Rows from `top` to before `bottom` in float32 `[rows, width, colors]`, from 0 for black
        to 1 for white, transparency laid over white."""
        values = self.values[top:bottom]
        raw = values[..., : self.colors]
        colors = raw.astype(np.float32)
        if self.inverted:
            # An explicit white of floating-point samples is the end of their scale.
            end = scale.white if scale.white and self.floating else self.full
            colors = np.float32(end) - colors
        colors = scale.unit(colors, self.full)
        if self.alpha:
            full = 1.0 if self.floating else self.full
            opacity = scale.opacity(values[..., self.colors, None], full)
            colors = colors if self.alpha == "premultiplied" else colors * opacity
            colors = (colors + (1 - opacity)).clip(0, 1)
        if self.transparent is not None:
            colors[(raw == np.array(self.transparent)).all(axis=-1)] = 1
        return colors


@dataclass
class Scale:
    """Divides samples by white and clips them to [0, 1]; counts what it clips.

    `white` is the value that is white, where a user says so; then everything outside is clipped.
    """

    path: object
    white: float | None = None
    outside: int = field(default=0, init=False)
    count: int = field(default=0, init=False)
    low: float = field(default=np.inf, init=False)
    high: float = field(default=-np.inf, init=False)

    def unit(self, values: np.ndarray, full: float) -> np.ndarray:
        """Float32 values divided by white, which is `full` if no user said otherwise, in [0, 1]."""
        values = np.divide(values, np.float32(self.white or full), dtype=np.float32)
        low, high = float(values.min(initial=np.inf)), float(values.max(initial=-np.inf))
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ImageError(f"{self.path}: the image holds values that are not finite")
        self.count += values.size
        self.low, self.high = min(self.low, low), max(self.high, high)
        if low < 0 or high > 1:
            self.outside += int(np.count_nonzero((values < 0) | (values > 1)))
            np.clip(values, 0, 1, out=values)
        return values

    def opacity(self, values: np.ndarray, full: float) -> np.ndarray:
        """Alpha, of which `full` is opaque, in float32 and [0, 1]."""
        values = np.divide(values, np.float32(full), dtype=np.float32)
        if not np.isfinite(values).all():
            raise ImageError(f"{self.path}: the image holds values that are not finite")
        return values.clip(0, 1)

    def finish(self, full: float) -> None:
        """Says how many values were clipped. Raises ImageError if they are too many or too far
        outside for [0, `full`] to have been their range, and no user said that it is."""
        if not self.outside:
            return
        white = self.white or full
        what = (
            f"{self.path}: {self.outside:,} of {self.count:,} values are outside 0 to {white:g} "
            f"(from {self.low * white:.6g} to {self.high * white:.6g})"
        )
        far = max(self.high, -self.low) > FARTHEST or self.outside > LARGEST_SHARE * self.count
        if far and self.white is None:
            raise ImageError(f"{what}: --white X says which value is white, and clips the others")
        warn(f"{what} and are clipped")


def full_scale(kind: str, bits: int) -> float:
    """White of unsigned ("u") and signed ("i") integers of that many bits, and of floating-point
    numbers ("f")."""
    return 1.0 if kind == "f" else float(2 ** (bits - (kind == "i")) - 1)


def check_not_black(path: object, samples: Samples, white: float | None) -> None:
    """Raises ImageError for integers of 32 bits and more that would all be black at full scale:
    such files hold counts or 8-bit values, of which they do not say the largest."""
    highest = float(samples.values.max(initial=0))
    if white is None and samples.full > 2**24 and 0 < highest < samples.full / 512:
        raise ImageError(
            f"{path}: the largest value is {highest:.0f}, where {samples.full:.0f} is white: "
            "--white X says which value is white"
        )


def turned(values: np.ndarray, orientation: int) -> np.ndarray:
    """A view of `[height, width, ...]`, upright by the EXIF orientation, 1 to 8."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    mirrored_x, mirrored_y = mirrored(orientation)
    return values[:: -1 if mirrored_y else 1, :: -1 if mirrored_x else 1]


def mirrored(orientation: int) -> tuple[bool, bool]:
    """Whether the EXIF orientation turns x and y around, after it has exchanged them."""
    return orientation in (2, 3, 6, 7), orientation in (3, 4, 7, 8)


def one_line(error: Exception) -> str:
    """The message of an error of another library's, in one line of bounded length."""
    return (" ".join(str(error).split()) or type(error).__name__)[:160]

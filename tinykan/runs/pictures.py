"""The pictures of a run: the animation, and whether matplotlib can draw the others."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tinykan.errors import UserError, warn
from tinykan.tasks.images import to_pillow

SIDE = 480  # pixels, of the longer side of an animation at most, unless its frames are larger
CAPTION_WIDTH, CAPTION_HEIGHT = 240, 26  # pixels


def drawing(module: str = "tinykan.runs.figures") -> ModuleType | None:
    """The module of that name, which draws; None where matplotlib is missing, which is said in one
    line: a run goes on without what it draws."""
    try:
        return importlib.import_module(module)
    except UserError as error:
        warn(f"{error}; going on without them")
        return None


def save_animation(
    frames: list[np.ndarray], captions: list[str], path: Path, seconds: float = 4.0
) -> None:
    """Renderings in the course of training, each above its caption, as a GIF that holds its last
    frame. Small ones are enlarged by a whole factor, so that every pixel is a square."""
    pictures = [
        _captioned(to_pillow(frame).convert("RGB"), caption).quantize(128)
        for frame, caption in zip(frames, captions, strict=True)
    ]
    each = int(1000 * seconds / len(pictures))
    durations = [each] * (len(pictures) - 1) + [2000]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=durations, loop=0)


def _captioned(picture: Image.Image, caption: str) -> Image.Image:
    factor = max(1, SIDE // max(picture.size))
    width, height = (factor * length for length in picture.size)
    left = max(0, (CAPTION_WIDTH - width) // 2)
    whole = Image.new("RGB", (max(width, CAPTION_WIDTH), height + CAPTION_HEIGHT))
    whole.paste(picture.resize((width, height), Image.Resampling.NEAREST), (left, 0))
    place = whole.width / 2, height + CAPTION_HEIGHT / 2
    font = ImageFont.load_default(size=16)
    ImageDraw.Draw(whole).text(place, caption, "white", font, anchor="mm")
    return whole

"""The pictures of a run: the animation, and whether matplotlib can draw the others."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image

from tinykan.errors import UserError, warn
from tinykan.tasks.images import to_pillow


def drawing(module: str = "tinykan.runs.figures") -> ModuleType | None:
    """The module of that name, which draws; None where matplotlib is missing, which is said in one
    line: a run goes on without what it draws."""
    try:
        return importlib.import_module(module)
    except UserError as error:
        warn(f"{error}; going on without them")
        return None


def save_animation(frames: list[np.ndarray], path: Path, seconds: float = 4.0) -> None:
    """Renderings in the course of training, as a GIF that holds its last frame."""
    pictures: list[Image.Image] = [
        to_pillow(frame).convert("RGB").quantize(128) for frame in frames
    ]
    each = int(1000 * seconds / len(pictures))
    durations = [each] * (len(pictures) - 1) + [2000]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=durations, loop=0)

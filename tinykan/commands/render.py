"""Renders the image in a saved model, at any size."""

from __future__ import annotations

import json
import sys
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinykan import device, load
from tinykan.errors import UserError
from tinykan.runs.command_line import option
from tinykan.tasks.images import MAX_PIXELS, from_bytes, render_rows, to_bytes
from tinykan.tasks.prediction import Predictor


@dataclass(kw_only=True)
class Config:
    """Renders the image that a model saved by fit-image holds, at any size. Memory is that of
    the 8-bit image and of one chunk of points."""

    model: str = option(MISSING, "model.safetensors of a run", positional=True)
    width: int = option(1024, "pixels", minimum=2)
    height: int | None = option(
        None, "pixels (default: by the sides of the image that was fitted)", minimum=2
    )
    chunk: int = option(65536, "points computed at a time", minimum=1)
    device: str | None = option(None, "tinygrad device (default: the best one here)")
    out: str | None = option(None, "image file (default: MODEL-WIDTHxHEIGHT.png)")


def main(config: Config) -> None:
    device.select(config.device)
    path, width = Path(config.model), config.width
    height = config.height or height_for(path, width)
    if width * height > MAX_PIXELS:
        raise UserError(f"{width} x {height} pixels: at most {MAX_PIXELS} can be rendered")
    model = load(path)
    if model.in_features != 2 or model.out_features not in (1, 3):
        raise UserError(
            f"{path} maps {model.in_features} to {model.out_features} numbers: an image's model "
            "maps 2 to 1 or 3"
        )
    pixels = np.empty((height * width, model.out_features), dtype=np.uint8)
    done = 0
    for rows in render_rows(Predictor(model, config.chunk), width, height, config.chunk):
        pixels[done : done + len(rows)] = to_bytes(rows)
        done += len(rows)
        if sys.stderr.isatty():
            print(f"\r{done / len(pixels):4.0%}", end="", file=sys.stderr, flush=True)
    out = Path(config.out or path.with_name(f"{path.stem}-{width}x{height}.png"))
    # Level 1: higher ones take many times as long, for a few percent.
    options: dict[str, Any] = {"compress_level": 1} if out.suffix.lower() == ".png" else {}
    try:
        from_bytes(pixels.reshape(height, width, -1)).save(out, **options)
    except ValueError as error:  # a kind of file that Pillow does not know
        raise UserError(f"cannot write {out}: {error}") from None
    print(f"{width} x {height} pixels in {out}")


def height_for(model: Path, width: int) -> int:
    """The height that keeps the ratio of the sides of the fitted image, which the run's
    `summary.json` beside the model records; as much as the width, and it is said, if none does."""
    record = model.with_name("summary.json")
    try:
        summary = json.loads(record.read_text(encoding="utf-8"))
        return max(2, round(width * summary["height"] / summary["width"]))
    except (OSError, ValueError, LookupError, TypeError, ArithmeticError):
        print(
            f"{record} does not record the image's sides: rendering a square; --height N changes it"
        )
        return width

"""The image that a run was fitted to, from the files in its folder."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinykan.errors import UserError, warn
from tinykan.tasks.images import load_image


@dataclass(frozen=True)
class Fitted:
    """What a run was fitted to: its `name`, the `images` `[height, width, channels]` that were
    found, none or one, and their `size` (width, height), if it is known."""

    name: str
    images: tuple[np.ndarray, ...] = ()
    size: tuple[int, int] | None = None


def fitted_image(model: Path) -> Fitted:
    """Of the run whose model is in the file `model`. Prints a warning if its image, which the
    `config.json` beside the model names, is not there any more or is another one."""
    config, summary = (_content(model.with_name(f"{n}.json")) for n in ("config", "summary"))
    name = model.parent.name if config else model.stem
    size = None
    with contextlib.suppress(LookupError, TypeError, ValueError):
        size = int(summary["width"]), int(summary["height"])
    path = config.get("image")
    if not isinstance(path, str):
        return Fitted(name, (), size)
    options = {key: config.get(key) for key in ("size", "white")}
    try:
        image = load_image(path, color=bool(config.get("color")), **options)
    except (UserError, OSError, TypeError) as error:
        warn(f"the page goes without the original: {error}")
        return Fitted(Path(path).stem, (), size)
    found = image.shape[1], image.shape[0]
    if size not in (None, found):
        warn(f"the page goes without the original: {path} has other sides than when it was fitted")
        return Fitted(Path(path).stem, (), size)
    return Fitted(Path(path).stem, (image,), found)


def _content(file: Path) -> dict:
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(file.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}

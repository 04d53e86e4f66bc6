"""Embedded ICC profiles: colors converted to sRGB by LittleCMS."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import cast

import numpy as np
from PIL import Image, ImageCms

from tinykan.errors import warn
from tinykan.tasks.image_samples import one_line


def conversion_to_srgb(
    path: object, profile: bytes | None, kind: str
) -> Callable[[Image.Image], Image.Image] | None:
    """From images of mode `kind` to RGB by an ICC profile, if there is one that changes anything.

    Warns of one that cannot be used.
    """
    if not profile:
        return None
    spaces = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
    try:
        embedded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = embedded.profile.xcolor_space.strip()
        if space != spaces[kind]:
            raise ValueError(f"it is for {space}, the image is {spaces[kind]}")
        transform = ImageCms.buildTransform(embedded, ImageCms.createProfile("sRGB"), kind, "RGB")
        if kind != "CMYK":
            ramp = np.arange(0, 256, 5, dtype=np.uint8)
            axes = np.meshgrid(*[ramp] * (1 if kind == "L" else 3), indexing="ij")
            colors = np.stack(axes, axis=-1).reshape(len(ramp), -1, len(axes))
            source = Image.fromarray(colors[..., 0] if kind == "L" else colors)
            seen = np.asarray(ImageCms.applyTransform(source, transform)).astype(int)
            if np.abs(seen - colors).max() <= 1:
                return None
    except Exception as error:  # LittleCMS's and Pillow's, as many kinds as a profile has parts
        warn(f"{path}: its ICC profile is ignored ({one_line(error)})")
        return None
    return lambda image: cast(Image.Image, ImageCms.applyTransform(image, transform))

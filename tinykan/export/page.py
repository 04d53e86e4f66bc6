"""A network's picture as one HTML file that needs neither a network nor other files."""

from __future__ import annotations

import base64
import html
import io
import json
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import numpy as np

from tinykan.errors import UserError
from tinykan.export.form import Program
from tinykan.export.javascript import javascript_source
from tinykan.export.layer_curves import layer_curves
from tinykan.export.shader import page_shader
from tinykan.export.tables import Tables
from tinykan.tasks.images import as_image, to_pillow

SCRIPTS = ("renderers.js", "enlarging.js", "curves.js", "page.js", "interaction.js")
SIDE = 256  # of the picture, where there is no original whose size is known
# Longer shaders take seconds to compile, and arrays of constants are slow to read: parameters are
# in a texture then.
MAX_CONSTANT_SHADER = 64 * 1024


def page(
    program: Program,
    title: str,
    originals: Sequence[np.ndarray] = (),
    *,
    size: tuple[int, int] | None = None,
    slices: int | None = None,
    textured: bool | None = None,
) -> str:
    """An HTML file that shows the picture of a network of 2 inputs, or of 3, of which the first is
    the slice, and 1 or 3 outputs.

    `originals` are the pictures that it was fitted to, one for each slice, `[height, width,
    channels]` in [-1, 1]; `size` is (width, height), where there are none, and `slices` how many
    the network holds. Its parameters are constants of the shader, or `textured` in a texture; by
    default the shader's size decides. Raises UserError for other networks, for slices whose number
    is not known, and for originals that do not fit the network or each other.
    """
    if program.in_features not in (2, 3) or program.out_features not in (1, 3):
        raise UserError(
            "a page shows networks of 2 or 3 inputs and 1 or 3 outputs; this one has "
            f"{program.in_features} and {program.out_features}"
        )
    if program.in_features == 2:
        slices = 0
    elif slices is None and not originals:
        raise UserError("a network of 3 inputs holds slices: the page needs to know how many")
    elif slices is None:
        slices = len(originals)
    originals = [as_image(image) for image in originals]
    _check_originals(program, originals, max(slices, 1))
    height, width = originals[0].shape[:2] if originals else (size or (SIDE, SIDE))[::-1]
    data, source = page_data(program, textured)
    data |= {
        "width": width,
        "height": height,
        "slices": slices,
        "originals": [_data_address(image) for image in originals],
        "layers": layer_curves(program),
    }
    values = {
        "title": html.escape(title),
        "lead": html.escape(_lead(program, bool(originals), slices)),
        "text": html.escape(program.text),
        "style": file_of_page("page.css"),
        "data": json.dumps(data, separators=(",", ":")).replace("</", "<\\/"),
        "network": source,
        "script": "\n".join(map(file_of_page, SCRIPTS)),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda name: values[name[1]], file_of_page("page.html"))


def page_data(program: Program, textured: bool | None) -> tuple[dict[str, Any], str]:
    """What the renderers of a page need of a network, and its JavaScript."""
    tables = Tables()
    source = javascript_source(program, tables)
    shader = page_shader(program, None)
    if textured is None:
        textured = len(shader) > MAX_CONSTANT_SHADER or "\nconst " in shader
    if textured:
        shader = page_shader(program, tables)
    data = {
        "inputs": program.in_features,
        "outputs": program.out_features,
        "shader": shader,
        "textured": textured,
        "parameters": base64.b64encode(tables.content()).decode(),
    }
    return data, source


def file_of_page(name: str) -> str:
    """The text of a file that pages consist of."""
    return (files("tinykan.export") / "templates" / name).read_text(encoding="utf-8")


def _lead(program: Program, compared: bool, slices: int) -> str:
    kind = "brightness" if program.out_features == 1 else "color"
    lead = f"A neural network that computes the {kind} at any point of a picture."
    if slices > 1:
        lead = f"A neural network that holds {slices} pictures, and computes the {kind} at any "
        lead += "point of each. It was never trained between two of them: what the slider shows "
        lead += "there is its own transition."
    lead += " It has no pixels: enlarge it far beyond the resolution it was trained at"
    if compared:
        lead += ", and compare it with the original, enlarged in two usual ways"
    return lead + "."


def _check_originals(program: Program, originals: Sequence[np.ndarray], slices: int) -> None:
    shapes = {image.shape for image in originals}
    if len(shapes) > 1:
        raise UserError(f"originals of the shapes {sorted(shapes)}: they must have the same one")
    if originals and len(originals) != slices:
        raise UserError(f"{len(originals)} originals for {slices} slices: one for each is needed")
    channels = {shape[2] for shape in shapes} - {program.out_features}
    if channels:
        raise UserError(
            f"an original of {channels.pop()} channels, and a network of {program.out_features}"
        )


def _data_address(image: np.ndarray) -> str:
    content = io.BytesIO()
    to_pillow(image).save(content, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()

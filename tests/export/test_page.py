"""The renderers of pages draw what the library computes."""

from __future__ import annotations

import base64
import json
from functools import cache

import numpy as np
import pytest

from tests.export.browser import FEW, answer_of, needs_chromium
from tests.export.networks import NETWORKS, outputs, trained
from tinykan.export import Program, lowered
from tinykan.export.expressions import X
from tinykan.export.form import Edges, Sum
from tinykan.export.page import file_of_page, page_data
from tinykan.tasks.images import to_bytes

WIDTH, HEIGHT = 23, 17
VIEW = {"width": WIDTH, "height": HEIGHT, "x": -1.2, "y": -1.1, "dx": 0.1, "dy": 0.13, "slice": 0.3}
# Rows in two parts, as the page draws them.
SCRIPT = """
const view = VIEW;
function pixelsOf(renderer) {
  const canvas = document.createElement("canvas");
  canvas.width = view.width; canvas.height = view.height;
  const context = canvas.getContext("2d");
  for (const [first, count] of [[0, 5], [5, view.height - 5]]) {
    const source = renderer.draw(view, first, count);
    context.drawImage(
      source, 0, first, view.width, count, 0, first, view.width, count);
  }
  const {data} = context.getImageData(0, 0, view.width, view.height);
  return btoa(String.fromCharCode(...data));
}
const found = {};
for (const [name, {constants, textured, source}] of Object.entries(NETWORKS)) {
  const raw = Uint8Array.from(atob(textured.parameters), c => c.charCodeAt(0));
  const parameters = new Float32Array(raw.buffer);
  const evaluator = new Function(source + "; return network;")()(parameters);
  const made = {
    constants: () => gpuRenderer(constants, parameters),
    texture: () => gpuRenderer(textured, parameters),
    JavaScript: () => plainRenderer(textured, evaluator),
  };
  found[name] = {};
  for (const [path, make] of Object.entries(made)) {
    try {
      found[name][path] = pixelsOf(make());
    } catch (error) {
      found[name][path] = `!${error.message}`;
    }
  }
}
answer(found);
"""


@cache
def case(name: str) -> tuple[Program, np.ndarray] | None:
    """The program of a network of that name and its outputs; None if it holds no image."""
    model = trained(NETWORKS[name]())
    return (lowered(model), expected_values(model)) if is_image(model) else None


def is_image(model) -> bool:
    return model.in_features in (2, 3) and model.out_features in (1, 3)


def limited(program: Program, scale: float) -> Program:
    """The program, and tanh(y / scale) of its outputs: pictures neither black nor white."""
    order = np.arange(program.out_features)
    edges = Edges((X / scale).tanh(), order, order, np.zeros((len(order), 0)))
    stage = Sum((edges,), np.zeros(len(order)))
    return Program(program.in_features, (*program.stages, stage))


def expected_values(model) -> np.ndarray:
    x = points()
    if model.in_features == 3:
        x = np.concatenate([np.full((len(x), 1), VIEW["slice"], np.float32), x], axis=1)
    return outputs(model, x)


def scale_of(values: np.ndarray) -> float:
    return float(np.abs(values).mean())


def points() -> np.ndarray:
    x = VIEW["x"] + (np.arange(WIDTH) + 0.5) * VIEW["dx"]
    y = VIEW["y"] + (np.arange(HEIGHT) + 0.5) * VIEW["dy"]
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2).astype(np.float32)


def drawn(names: list[str]) -> dict[str, dict[str, str]]:
    """Of each network that holds an image, its pixels by each path, in Base64, or after a ! why
    there are none."""
    jobs = {}
    for name in names:
        if (found := case(name)) is None:
            continue
        program, values = found
        program = limited(program, scale_of(values))
        constants, source = page_data(program, textured=False)
        textured, _ = page_data(program, textured=True)
        jobs[name] = {"constants": constants, "textured": textured, "source": source}
    script = SCRIPT.replace("VIEW", json.dumps(VIEW)).replace("NETWORKS", json.dumps(jobs))
    return answer_of(f"<script>{file_of_page('renderers.js')}</script>", script)


@needs_chromium
@pytest.mark.parametrize("names", [FEW, pytest.param([*NETWORKS], marks=pytest.mark.long)])
def test_pages_draw_what_networks_compute(names):
    problems = {}
    for name, pictures in drawn(names).items():
        _, values = case(name)
        expected = to_bytes(np.tanh(values / scale_of(values)))
        assert np.ptp(expected) > 10 or name == "no edges"
        assert set(pictures) == {"constants", "texture", "JavaScript"}
        for path, text in pictures.items():
            if text.startswith("!"):
                problems[name, path] = text
                continue
            pixels = np.frombuffer(base64.b64decode(text), np.uint8).reshape(-1, 4)
            difference = np.abs(pixels[:, :3].astype(int) - expected).max()
            if difference > 2:
                problems[name, path] = f"{difference} of 255"
    assert not problems

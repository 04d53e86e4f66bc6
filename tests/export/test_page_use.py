"""Pages as they are used: moved, zoomed, with a slider, with and without the GPU."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image
from tinygrad import Tensor

from tests.export.browser import answer_of, needs_chromium
from tests.export.networks import outputs, trained
from tests.helpers import some
from tinykan import KAN, BSpline, Siren
from tinykan.errors import UserError
from tinykan.export import lowered
from tinykan.export.layer_curves import edge_values, edges_of, layer_curves
from tinykan.export.page import page
from tinykan.tasks.images import render, to_bytes

# What is asked of a page: its pixels, once all is drawn, after a step.
USE = """
const pixels = id => {
  const {width, height} = byId(id);
  const {data} = byId(id).getContext("2d").getImageData(0, 0, width, height);
  return {width, height, pixels: Array.from(data)};
};
const frame = () => new Promise(requestAnimationFrame);
async function drawnAgain() {
  await frame();
  await frame();
  while (byId("views").ariaBusy !== "false") await frame();
}
function point(type, id, x, y) {
  const box = byId("network").getBoundingClientRect();
  byId("network").dispatchEvent(new PointerEvent(type, {
    pointerId: id, clientX: box.left + x, clientY: box.top + y, bubbles: true}));
}
HTMLCanvasElement.prototype.setPointerCapture = () => {}; // of pointers that do not exist
(async () => {
  while (byId("views").ariaBusy !== "false") await frame();
  const found = [];
  const note = () => {
    const places = {...placeOn(networkCanvas), zoom: view.zoom};
    found.push({place: places, network: pixels("network"), text: byId("zoom").textContent});
  };
  note();
  STEPS
  answer({found, all: OTHERS});
})();
"""


def used(page_: str, steps: str, others: str = "null", **options):
    # Answers go to where the page comes from.
    page_ = page_.replace("default-src 'none'", "default-src 'self'")
    return answer_of(page_, USE.replace("STEPS", steps).replace("OTHERS", others), **options)


def image_of(answer) -> np.ndarray:
    shape = answer["height"], answer["width"], 4
    return np.array(answer["pixels"]).reshape(shape)[..., :3]


def assert_seen(model, seen, size, slice_=None) -> None:
    """The network's pixels are the library's at the places that the page says it shows."""
    found, place = image_of(seen["network"]), seen["place"]
    rows, columns = (
        place[start] + (np.arange(n) + 0.5) / place["scale"]
        for start, n in (("top", found.shape[0]), ("left", found.shape[1]))
    )
    axes = 2 * columns / (size[0] - 1) - 1, 2 * rows / (size[1] - 1) - 1
    x = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
    if slice_ is not None:
        x = np.concatenate([np.full((len(x), 1), slice_), x], axis=1)
    expected = to_bytes(outputs(model, x.astype(np.float32))).reshape(*found.shape[:2], -1)
    assert np.abs(found - expected).max() <= 2


@needs_chromium
@pytest.mark.parametrize("query", some(["", "?javascript"], "?javascript"))
def test_a_picture_beside_its_original(query):
    model = trained(KAN([2, 4, 1], BSpline(6, 3), seed=3))
    size = 20, 12
    fitted = render(lambda x: outputs(model, x), *size)
    rng = np.random.default_rng(0)
    original = np.clip(fitted + rng.normal(0, 0.1, fitted.shape), -1, 1).astype(np.float32)
    steps = """
    point("pointerdown", 1, 50, 50);
    point("pointermove", 1, 70, 40);
    point("pointerup", 1, 70, 40);
    await drawnAgain();
    note();
    const box = byId("network").getBoundingClientRect();
    byId("network").dispatchEvent(new WheelEvent("wheel", {
      deltaY: -500, clientX: box.left + 30, clientY: box.top + 20, cancelable: true}));
    await drawnAgain();
    note();
    point("pointerdown", 1, 40, 40);
    point("pointerdown", 2, 60, 40);
    point("pointermove", 2, 100, 40);
    point("pointerup", 1, 40, 40);
    point("pointerup", 2, 100, 40);
    await drawnAgain();
    note();
    byId("network").dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight", bubbles: true}));
    await drawnAgain();
    note();
    const before = pixels("layer-0");
    point("pointermove", 3, 30, 30);
    const dots = pixels("layer-0");
    document.dispatchEvent(new KeyboardEvent("keydown", {key: "0"}));
    await drawnAgain();
    note();
    zoomBy(1e9);
    await drawnAgain();
    note();
    showWhole();
    // So that pixels of the screen are halves of those of the original.
    for (const canvas of canvases) [canvas.width, canvas.height] = [40, 24];
    redraw();
    await drawnAgain();
    """
    others = """{nearest: pixels("nearest"), bicubic: pixels("bicubic"), error: pixels("error"),
      renderer: byId("network-note").textContent, psnr: byId("error-note").textContent,
      before, dots, wide: document.documentElement.scrollWidth > innerWidth}"""
    answer = used(page(lowered(model), "A test", [original]), steps, others, query=query)
    found, others = answer["found"], answer["all"]
    assert others["renderer"] == ("in JavaScript" if query else "on the GPU")
    assert not others["wide"]
    for seen in found:
        assert_seen(model, seen, size)
    start, moved, turned, pinched, keyed, again, deepest = (seen["place"] for seen in found)
    assert start == again
    assert start["left"] == pytest.approx(-0.5)
    assert start["top"] == pytest.approx(-0.5, abs=0.05)  # heights are whole pixels
    assert moved["left"] == pytest.approx(start["left"] - 20 / start["scale"])
    assert moved["top"] == pytest.approx(start["top"] + 10 / start["scale"])
    assert turned["zoom"] == pytest.approx(np.e)
    # What was under the pointer, or between the fingers, is where it was; with them it moved on.
    # (Events of wheels have whole pixels.)
    assert _at(turned, 30, 20) == pytest.approx(_at(moved, 30, 20), abs=1 / moved["scale"])
    assert pinched["zoom"] == pytest.approx(3 * np.e)
    assert keyed["left"] > pinched["left"]
    assert keyed["top"] == pinched["top"]
    assert deepest["zoom"] > 1e3
    assert "20 of the original's pixels across" in found[0]["text"]
    assert not np.array_equal(image_of(others["before"]), image_of(others["dots"]))
    pixels = to_bytes(original)[..., 0].astype(int)
    assert np.array_equal(image_of(others["nearest"])[..., 0], np.kron(pixels, np.ones((2, 2))))
    # Pillow's cubic is the same, but for edges.
    expected = Image.fromarray(pixels.astype(np.float32)).resize((40, 24), Image.Resampling.BICUBIC)
    inner = np.clip(np.asarray(expected)[4:-4, 4:-4], 0, 255)
    assert np.abs(image_of(others["bicubic"])[4:-4, 4:-4, 0] - inner).max() <= 1
    errors = to_bytes(fitted)[..., 0].astype(int) - pixels
    expected = np.clip(127.5 + 4 * errors, 0, 255)
    # A level of the picture that is rounded otherwise is four of this one.
    assert np.abs(image_of(others["error"])[::2, ::2, 0] - expected).max() <= 8.5
    psnr = 10 * np.log10(255**2 / np.mean(errors**2.0))
    shown = float(re.search(r"PSNR (.*) dB", others["psnr"])[1])
    assert shown == pytest.approx(psnr, abs=0.2)


def _at(place, x: float, y: float) -> tuple[float, float]:
    return place["left"] + x / place["scale"], place["top"] + y / place["scale"]


@needs_chromium
def test_slices_and_what_lies_between():
    model = trained(Siren([3, 8, 3]))
    steps = """
    byId("slice").value = "1.5";
    byId("slice").dispatchEvent(new Event("input"));
    await drawnAgain();
    note();
    """
    others = """{hidden: byId("nearest").offsetParent === null, max: byId("slice").max,
      shown: byId("slice-value").textContent}"""
    text = page(lowered(model), "Slices", slices=4, size=(16, 16))
    answer = used(text, steps, others)
    assert answer["all"] == {"hidden": True, "max": "3", "shown": "1.5"}
    first, between = answer["found"]
    assert_seen(model, first, (16, 16), -1.0)
    assert_seen(model, between, (16, 16), -0.25)


def test_a_page_needs_nothing_else():
    text = page(lowered(Siren([2, 4, 1])), "<A & B>", [np.zeros((4, 4, 1), np.float32)])
    assert "<title>&lt;A &amp; B&gt;</title>" in text
    assert "default-src 'none'" in text
    assert not re.search(r"https?://|<link|src=\"|@import", text)
    assert "{{" not in text


@pytest.mark.parametrize(
    ("widths", "shapes", "options", "message"),
    [
        ([1, 1], [], {}, "2 or 3 inputs and 1 or 3 outputs; this one has 1 and 1"),
        ([2, 2], [], {}, "this one has 2 and 2"),
        ([2, 1], [(4, 4, 3)], {}, "an original of 3 channels, and a network of 1"),
        ([2, 1], [(4, 4, 1)] * 2, {}, "2 originals for 1 slices"),
        ([3, 1], [], {}, "the page needs to know how many"),
        ([3, 1], [(4, 4, 1)] * 2, {"slices": 3}, "2 originals for 3 slices"),
        ([3, 1], [(4, 4, 1), (4, 5, 1)], {}, "they must have the same one"),
    ],
)
def test_what_is_refused(widths, shapes, options, message):
    with pytest.raises(UserError, match=message):
        page(lowered(Siren(widths)), "A test", [np.zeros(s) for s in shapes], **options)


def test_functions_of_layers_are_those_of_the_network():
    model = trained(KAN([2, 3, 1], BSpline(5, 3), seed=2))
    program, layer = lowered(model), model.layers[0]
    x = np.random.default_rng(1).uniform(-1.5, 1.5, (50, 2)).astype(np.float32)
    np.testing.assert_allclose(
        edge_values(program.stages[0], x), layer.edges(Tensor(x)).numpy(), atol=1e-5
    )
    assert edges_of(program.stages[0], 2) == [(i, o) for i in range(2) for o in range(3)]
    assert [len(found["edges"]) for found in layer_curves(program)] == [6, 3]


def test_dense_layers_and_large_networks_have_no_functions_to_draw():
    assert layer_curves(lowered(Siren([2, 8, 1]))) == []
    assert layer_curves(lowered(KAN([2, 140, 1]))) == []

"""What a diagram shows, read back from its pixels: curves are red, and everything else is grey."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from tinygrad import Tensor

from tests.helpers import first
from tests.interpret.helpers import named_network
from tinykan import KAN, Chebyshev, KANLayer, Network, Polynomial, Sines, UserError
from tinykan.interpret import edge_count, prune
from tinykan.interpret.diagram import diagram, save_diagram


def samples(width: int = 2) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (64, width)).astype(np.float32)


def polynomials(coefficients: list) -> Network:
    """One layer of these coefficients `[in, powers, out]`."""
    values = np.array(coefficients, dtype=np.float32)
    inputs, powers, outputs = values.shape
    layer = KANLayer(inputs, outputs, Polynomial(powers), base=None, spline_weight=False)
    layer.coefficients = Tensor(values)
    return Network([layer])


def drawn(path: Path, model: Network, **options) -> np.ndarray:
    """The diagram's pixels, `[height, width, 3]`."""
    save_diagram(model, samples(model.in_features), path, **options)
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def curves(pixels: np.ndarray) -> list[tuple[slice, slice, np.ndarray]]:
    """The connected red parts: their rows, their columns, and which of these pixels."""
    red = pixels[..., 0] - pixels[..., 1] > 10
    parts, _ = ndimage.label(red, np.ones((3, 3)))
    boxes = ndimage.find_objects(parts)
    return [(*box, parts[box] == number) for number, box in enumerate(boxes, 1)]


@pytest.mark.parametrize(
    "widths", first(2, [[2, 5, 1], [4, 8, 8, 2], [2, 1, 1], [1, 4, 1]]), ids=str
)
def test_every_edge_is_a_curve_of_its_own(tmp_path, widths):
    model = KAN(widths, Chebyshev(4))
    pixels = drawn(tmp_path / "a.png", model)
    found = curves(pixels)
    assert len(found) == edge_count(model)
    occupied = np.zeros(pixels.shape[:2], dtype=bool)
    for rows, columns, _ in found:
        width, height = columns.stop - columns.start, rows.stop - rows.start
        assert width > 45 and height > 40
        # The frame of the panel stands off by a tenth of its width.
        panel = tuple(
            slice(part.start - width // 10, part.stop + width // 10) for part in (rows, columns)
        )
        assert not occupied[panel].any()
        occupied[panel] = True


def test_a_curve_is_the_function_over_the_range_of_its_input(tmp_path):
    model = polynomials([[[0.3], [1.0], [-1.6]]])
    ((rows, columns, shape),) = curves(drawn(tmp_path / "a.png", model))
    x = np.linspace(samples(1).min(), samples(1).max(), shape.shape[1])
    y = 0.3 * x + x**2 - 1.6 * x**3
    heights = [-np.flatnonzero(column).mean() for column in shape.T]
    # A thick line is wide where it is steep, and goes beyond its ends.
    inner = slice(8, -8)
    assert np.corrcoef(heights[inner], y[inner])[0, 1] > 0.998
    assert np.ptp(y) > 0 and abs(rows.stop - rows.start - (columns.stop - columns.start)) < 12


def test_an_important_edge_is_darker(tmp_path):
    pixels = drawn(tmp_path / "a.png", polynomials([[[1.0], [0.2]], [[0.0], [0.3]]]))
    left, right = sorted(curves(pixels), key=lambda part: part[1].start)
    strong, weak = (pixels[part[:2]][..., 1].min() for part in (left, right))
    assert strong < 90 and 140 < weak < 240
    middle = (left[1].stop + right[1].start) // 2
    dark = [(half.sum(axis=-1) < 250).sum() for half in (pixels[:, :middle], pixels[:, middle:])]
    assert dark[0] > 2 * dark[1]  # frame and line, beside the dots and names


def test_removed_edges_are_not_drawn(tmp_path):
    model = KAN([2, 5, 1], Chebyshev(3))
    pruned = prune(model, samples(), node_threshold=0.2, edge_threshold=0.2)
    assert 0 < edge_count(pruned) < edge_count(model)
    assert len(curves(drawn(tmp_path / "a.png", pruned))) == edge_count(pruned)
    nothing = Network([KANLayer(2, 1, mask=np.zeros((2, 1)))])
    assert curves(drawn(tmp_path / "b.png", nothing)) == []


def test_a_constant_edge_is_a_level_line(tmp_path):
    ((rows, columns, _),) = curves(drawn(tmp_path / "a.png", polynomials([[[0.0]]])))
    assert rows.stop - rows.start < 15 < columns.stop - columns.start


def test_names_and_title_are_written_and_are_not_markup(tmp_path):
    model = KAN([2, 1], Chebyshev(3))
    plain = drawn(tmp_path / "a.png", model)
    named = drawn(
        tmp_path / "b.png",
        model,
        input_names=["$\\frac{1$", "pressure_2 $"],
        output_names=["a very long name"],
        title="two\nlines, and $5",
    )
    assert named.shape[0] > plain.shape[0]
    long = ["the temperature of the water at the inlet", "b"]
    upright = drawn(tmp_path / "c.png", model, input_names=long)
    assert upright.shape[1] == plain.shape[1] and upright.shape[0] > plain.shape[0] + 300


def test_what_stands_on_the_nodes_is_written(tmp_path):
    plain, noted = (
        drawn(tmp_path / f"{activation}.png", KAN([2, 2, 1], Chebyshev(3), activation=activation))
        for activation in ("identity", "tanh")
    )
    assert noted.shape[1] > plain.shape[1]


def test_encoded_features_are_the_inputs(tmp_path):
    model = KAN([4, 2], Chebyshev(3), encoding=Sines(2, 2))
    found = curves(drawn(tmp_path / "a.png", model, input_names=list("abcd")))
    assert len(found) == 8


def test_diagrams_are_vector_graphics_too(tmp_path):
    for name, start in (("a.svg", b"<?xml"), ("a.pdf", b"%PDF")):
        save_diagram(KAN([2, 1]), samples(), tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(start)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "a.jpg"}, r".*a\.jpg: a diagram is a file of \.png, \.svg, \.pdf"),
        ({"path": "missing/a.png"}, r".*a\.png: cannot be written \(No such file or directory\)"),
        ({"input_names": ["a"]}, r"input names \['a'\]: 2 are needed, one for each"),
        ({"input_names": "ab"}, "input names 'ab': 2 are needed, one for each"),
        ({"output_names": ["a", "b"]}, r"output names \['a', 'b'\]: 1 are needed, one for each"),
        (
            {"x": np.full((4, 2), np.nan)},
            "samples hold nan in row 0, column 0: numbers must be finite, "
            "and within the range of float32",
        ),
        ({"x": samples(3)}, r"samples of shape \(64, 3\): the last dimension must be 2"),
        (
            {"model": KAN([2, 150, 1], Polynomial(1))},
            "a diagram of 450 edges, or nodes side by side: 400 can be drawn",
        ),
    ],
)
def test_what_cannot_be_drawn_is_one_line(tmp_path, options, message):
    arguments = {"model": KAN([2, 3, 1]), "x": samples(), "path": "a.png", **options}
    arguments["path"] = tmp_path / arguments["path"]
    with pytest.raises(UserError, match=f"^{message}$"):
        save_diagram(**arguments)
    assert list(tmp_path.iterdir()) == []


def test_symbolic_edges_have_the_names_of_their_functions():
    figure = diagram(named_network(), samples(), input_names=["a", "b"])
    texts = {text.get_text(): text.get_position() for text in figure.axes[0].texts}
    assert {"sin", "x^2", "exp"} < set(texts)
    # Inputs are below, in their order, and their edges' panels above them in the same order.
    assert texts["sin"][0] < texts["x^2"][0] and texts["a"][0] < texts["b"][0]
    assert texts["a"][1] < texts["sin"][1] < texts["exp"][1]

"""Network diagrams: a dot for each node, and on each edge a plot of the function that it learned
(needs matplotlib, of the `demo` extra)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tinygrad import Tensor

from tinykan.errors import UserError, need
from tinykan.interpret.attribution import attribution, checked_samples
from tinykan.interpret.diagram_layout import Band, Layout
from tinykan.interpret.products import MultiplicationLayer
from tinykan.interpret.pruning import edge_count
from tinykan.interpret.symbolic import symbolic_edges
from tinykan.layers import Layer
from tinykan.networks import Network
from tinykan.tensors import learnable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def _matplotlib(module: str) -> Any:
    return need(f"matplotlib.{module}", extra="demo", purpose="drawing diagrams")


collections, patches = _matplotlib("collections"), _matplotlib("patches")
to_rgba, new_figure = _matplotlib("colors").to_rgba, _matplotlib("figure").Figure
FigureCanvasAgg = _matplotlib("backends.backend_agg").FigureCanvasAgg

MAX_EDGES = 400
CURVE_POINTS, LINE_POINTS = 96, 64
SUFFIXES = (".png", ".svg", ".pdf")
INK, CURVE, QUIET = "#333333", "#d1495b", "#777777"
MIN_OPACITY = 0.15  # of an edge that contributes nothing


def save_diagram(
    model: Network,
    x: np.ndarray,
    path: str | Path,
    *,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    title: str | None = None,
) -> None:
    """Draws `diagram` into a .png, .svg or .pdf. Raises UserError as it does, and for a file that
    cannot be written."""
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{path}: a diagram is a file of {', '.join(SUFFIXES)}")
    figure = diagram(model, x, input_names=input_names, output_names=output_names, title=title)
    try:
        figure.savefig(path, bbox_inches="tight", pad_inches=0.15)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from None


def diagram(
    model: Network,
    x: np.ndarray,
    *,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """A figure of `model` as the KAN paper draws it (arXiv:2404.19756, fig. 2.4).

    Inputs are at the bottom, outputs at the top. Each panel plots the function of an edge, scaled
    to its minimum and maximum, over the range of its input on the samples `x` `[n, in_features]`.
    Its opacity shows its attribution score relative to the largest of its layer. Symbolic edges
    have the names of their functions; pruned ones are omitted. Products are marked with ×, and
    their factors lead to them without panels, as in KAN 2.0 (arXiv:2408.10205). With an encoding,
    inputs are encoded features. The activation and the norm are written beside the hidden nodes.

    Raises UserError as `attribution` does, for more than 400 edges or nodes in a row, and a wrong
    number of names.
    """
    nodes = [model.layers[0].in_features, *(layer.out_features for layer in model.layers)]
    if (count := max(edge_count(model), *nodes)) > MAX_EDGES:
        raise UserError(
            f"a diagram of {count} edges, or nodes side by side: {MAX_EDGES} can be drawn"
        )
    ends = _checked("input", input_names, nodes[0]), _checked("output", output_names, nodes[-1])
    edges = [np.argwhere(layer.live_edges()) for layer in model.layers]
    products = {n: la for n, la in enumerate(model.layers) if isinstance(la, MultiplicationLayer)}
    layout = Layout(nodes, edges, products)
    figure: Figure = new_figure(figsize=(layout.width, layout.height), dpi=layout.dpi)
    axis = figure.add_axes((0, 0, 1, 1), xlim=(0, layout.width), ylim=(0, layout.height))
    axis.set_axis_off()
    scores = attribution(model, x).edges
    values = [v.numpy() for v in model.layer_inputs(checked_samples(model, x))]
    for number, (layer, pairs) in enumerate(zip(model.layers, edges, strict=True)):
        chosen = tuple(pairs.T)
        score = scores[number][chosen]
        opacity = MIN_OPACITY + (1 - MIN_OPACITY) * (score / max(score.max(initial=0), 1e-12))
        if isinstance(layer, MultiplicationLayer):
            _draw_factors(axis, layout, number, layer.groups, opacity)
            continue
        _draw_edges(axis, layout, number, _curves(layer, values[number])[chosen], opacity)
        names = {edge: name for edge, (name, _) in symbolic_edges(layer).items()}
        _name_edges(axis, layout.bands[number], pairs, names)
    _draw_nodes(axis, layout, model)
    _write_names(axis, layout, ends, "x" if model.encoding is None else "f", title)
    FigureCanvasAgg(figure)
    return figure


def _curves(layer: Layer, values: np.ndarray) -> np.ndarray:
    """Every edge's function over the range of `values` `[n, in]`, scaled to [-1, 1], or 0 if it is
    constant up to rounding: `[in, out, CURVE_POINTS]`."""
    x = np.linspace(values.min(axis=0), values.max(axis=0), CURVE_POINTS).astype(values.dtype)
    curves = layer.edges(Tensor(x).to(learnable(layer)[0].device)).numpy().astype(np.float64)
    low, high = curves.min(axis=0), curves.max(axis=0)
    varies = high - low > 1e-5 * np.abs(curves).max(axis=0)
    scaled = (2 * curves - low - high) / np.where(varies, high - low, 1.0)
    return np.moveaxis(np.where(varies, scaled, 0.0), 0, -1)


def _draw_edges(
    axis: Axes, layout: Layout, number: int, curves: np.ndarray, opacity: np.ndarray
) -> None:
    """Draws the edges of layer `number`, with `curves` `[n, CURVE_POINTS]` and `opacity` `[n]`, in
    order of increasing opacity."""
    band = layout.bands[number]
    side, ticks = band.side, np.linspace(-0.38, 0.38, CURVE_POINTS)
    lines, panels, drawn, inks, reds = [], [], [], [], []
    for index in np.argsort(opacity, kind="stable"):
        start, end = layout.edges[number][index]
        x, y = band.centers[index]
        below, above = layout.nodes[number][start], layout.nodes[number + 1][end]
        lines.append(np.concatenate([_bend(below, (x, band.low)), [(x, y)]]))
        lines.append(np.concatenate([_bend(above, (x, band.high)), [(x, y)]]))
        inks.append(to_rgba(INK, opacity[index]))
        reds.append(to_rgba(CURVE, opacity[index]))
        corner = (x - 0.46 * side, y - 0.46 * side)
        rounded = f"round,pad=0,rounding_size={0.08 * side}"
        panels.append(patches.FancyBboxPatch(corner, 0.92 * side, 0.92 * side, boxstyle=rounded))
        drawn.append(np.stack([x + side * ticks, y + 0.36 * side * curves[index]], axis=-1))
    thickness = float(np.clip(2.2 * side, 0.9, 1.6))
    axis.add_collection(
        collections.LineCollection(
            lines, colors=np.repeat(inks, 2, axis=0), linewidths=thickness, zorder=1
        )
    )
    axis.add_collection(
        collections.PatchCollection(
            panels, facecolors="white", edgecolors=inks, linewidths=0.7 * thickness, zorder=2
        )
    )
    axis.add_collection(
        collections.LineCollection(
            drawn, colors=reds, linewidths=1.2 * thickness, capstyle="round", zorder=3
        )
    )


def _draw_factors(
    axis: Axes,
    layout: Layout,
    number: int,
    groups: Sequence[Sequence[int]],
    opacity: np.ndarray,
) -> None:
    """Draws a line from each factor to its product in layer `number`, and a × beside products."""
    starts, ends = layout.nodes[number], layout.nodes[number + 1]
    pairs = layout.edges[number].tolist()
    lines = [_bend(starts[i], ends[o]) for i, o in pairs]
    inks = [to_rgba(INK, value) for value in opacity]
    axis.add_collection(collections.LineCollection(lines, colors=inks, linewidths=1.6, zorder=1))
    for (x, y), group in zip(ends, groups, strict=True):
        if len(group) > 1:
            place = x + layout.dot, y - 0.2 * layout.dot
            axis.text(*place, "×", size=0.9 * layout.text, color=INK, va="center", zorder=4)


def _name_edges(
    axis: Axes, band: Band, pairs: np.ndarray, names: dict[tuple[int, int], str]
) -> None:
    """Writes the names of edges above their panels, beside the lines."""
    for (i, o), (x, y) in zip(pairs.tolist(), band.centers, strict=True):
        if (i, o) in names:
            place = x + 0.08 * band.side, y + 0.5 * band.side, names[i, o]
            axis.text(*place, size=12 * band.side, color=QUIET, va="bottom", zorder=4)


def _bend(node: Sequence[float], panel: Sequence[float]) -> np.ndarray:
    """A Bezier curve `[LINE_POINTS, 2]` that leaves `node` at an angle, so that lines fan out, and
    arrives vertically, so that it passes between the panels of a lower row."""
    (x0, y0), (x1, y1) = node, panel
    controls = [(x0, y0), (x0 + 0.3 * (x1 - x0), y0 + 0.3 * (y1 - y0)), (x1, (y0 + y1) / 2), panel]
    t = np.linspace(0, 1, LINE_POINTS)[:, None]
    weights = np.concatenate([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], axis=1)
    return weights @ np.array(controls)


def _draw_nodes(axis: Axes, layout: Layout, model: Network) -> None:
    dots = np.concatenate(layout.nodes)
    axis.scatter(dots[:, 0], dots[:, 1], s=(72 * layout.dot) ** 2, color=INK, lw=0, zorder=4)
    kinds = [model.activation] if model.activation != "identity" else []
    kinds += [f"{model.norm} norm"] if model.norm else []
    for level in layout.nodes[1:-1]:
        place = (layout.width, level[0, 1])
        axis.text(*place, ", ".join(kinds), size=0.75 * layout.text, color=QUIET, va="center")


def _write_names(
    axis: Axes,
    layout: Layout,
    names: tuple[Sequence[str] | None, Sequence[str] | None],
    letter: str,
    title: str | None,
) -> None:
    """Draws the names of inputs below and of outputs above, rotated where space is too small."""
    tall = 0.0
    for given, level, sign, symbol in (
        (names[0], layout.nodes[0], -1, letter),
        (names[1], layout.nodes[-1], 1, "y"),
    ):
        count = len(level)
        shown = given or (
            [f"${symbol}_{{{i}}}$" for i in range(1, count + 1)] if count > 1 else [f"${symbol}$"]
        )
        longest = max(map(len, shown)) if given else 2
        length = 0.62 * longest * layout.text / 72
        upright = length > 0.9 * layout.width / count
        tall = length if upright else 1.2 * layout.text / 72
        for (x, y), name in zip(level, shown, strict=True):
            axis.text(
                x,
                y + sign * (layout.dot / 2 + 0.06),
                name,
                size=layout.text,
                color=INK,
                ha="center",
                va="bottom" if sign > 0 else "top",
                rotation=90 if upright else 0,
                parse_math=given is None,
            )
    if title:
        axis.text(
            layout.width / 2,
            layout.height + tall + 0.2,
            title,
            size=1.1 * layout.text,
            color=INK,
            ha="center",
            va="bottom",
            parse_math=False,
        )


def _checked(kind: str, names: Sequence[str] | None, count: int) -> list[str] | None:
    if names is None:
        return None
    if isinstance(names, str) or len(names) != count:
        raise UserError(f"{kind} names {names!r}: {count} are needed, one for each")
    return [str(name) for name in names]

"""Figures, drawn with matplotlib (the `demo` extra)."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill

import numpy as np
from tinygrad import Tensor

from tinykan.errors import need
from tinykan.networks import Network
from tinykan.tasks.classes import Confusion
from tinykan.tasks.images import to_pillow
from tinykan.tasks.target_functions import TargetFunction
from tinykan.training import History

need("matplotlib.figure", extra="demo", purpose="drawing figures")
from matplotlib.axes import Axes  # noqa: E402  (need says what to do)
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.collections import LineCollection  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.ticker import PercentFormatter  # noqa: E402

DATA, FIT, FAINT = "#333333", "#d1495b", "#c8c8c8"


SHOWN = 2048  # pixels, of the longer side of an image in a figure
PANEL = 4.2  # inches, the side of a panel for a square image; others have its area
LONGEST, NARROWEST = 12.0, 1.9  # inches: the longer side of a panel, and the space for its title


def save_comparison(original: np.ndarray, fit: np.ndarray, path: Path, title: str) -> None:
    """The original, the fit and the map of absolute errors with its scale, side by side, or one
    above the other if they are wide; of images larger than SHOWN pixels every second one, or every
    third, and so on."""
    height, width = original.shape[:2]
    every = -(-max(height, width) // SHOWN)
    original, fit = original[::every, ::every], fit[::every, ::every]
    error = np.abs(fit - original).mean(axis=-1) / 2
    wide, high = PANEL * np.sqrt([width / height, height / width])
    wide, high = np.array([wide, high]) * min(1.0, LONGEST / max(wide, high))
    slot, stacked = max(wide, NARROWEST), width > 2 * height
    names = [f"original, {width} x {height}", title, f"absolute error, mean {error.mean():.2%}"]
    # 10 points: 13 characters to an inch. A space that is not broken keeps the number and its unit.
    names = [fill(name.replace(" dB", "\N{NO-BREAK SPACE}dB"), int(13 * slot)) for name in names]
    heading = 0.12 + 0.17 * max(1 + name.count("\n") for name in names)
    columns, rows = (1, 3) if stacked else (3, 1)
    # In inches: margins of 0.1 between the panels, and the scale on the right with its label.
    size = np.array([columns * (slot + 0.1) + 1.2, rows * (high + heading) + 0.1])
    figure = Figure(figsize=tuple(size))

    def axis_at(left: float, bottom: float, across: float, up: float) -> Axes:
        return figure.add_axes(tuple(np.array([left, bottom, across, up]) / np.tile(size, 2)))

    for number, name in enumerate(names):
        row, column = (number, 0) if stacked else (0, number)
        left = 0.1 + column * (slot + 0.1) + (slot - wide) / 2
        bottom = size[1] - (row + 1) * (high + heading)
        axis = axis_at(left, bottom, wide, high)
        axis.set_title(name, fontsize=10)
        axis.set_axis_off()
        if number < 2:
            pixels = np.asarray(to_pillow((original, fit)[number]))
            axis.imshow(
                pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect="auto"
            )
    limit = max(1e-3, float(np.quantile(error, 0.995)))
    shown = axis.imshow(
        error, cmap="magma", vmin=0, vmax=limit, interpolation="nearest", aspect="auto"
    )
    bar = figure.colorbar(shown, cax=axis_at(left + wide + 0.1, bottom, 0.15, high))
    bar.formatter = PercentFormatter(1.0)
    bar.set_label("of the full range", fontsize=9)
    _save(figure, path)


def save_loss(history: History, path: Path, title: str) -> None:
    """Loss against steps, logarithmic."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    axis.semilogy(history.steps, history.losses, color=FIT, linewidth=1.4)
    axis.set(xlabel="step", ylabel="loss (mean squared error of the batch)", title=title)
    axis.grid(True, which="both", color=FAINT, linewidth=0.4)
    _save(figure, path)


def save_solution(
    panels: dict[str, np.ndarray],
    domain: tuple[tuple[float, float], ...],
    path: Path,
    title: str,
) -> None:
    """Functions of two variables by name, `[first variable, second variable]` on the box `domain`,
    side by side, each with its scale."""
    figure = Figure(figsize=(4 * len(panels), 3.8), layout="constrained")
    extent = (*domain[0], *domain[1])
    for axis, (name, values) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        shown = axis.imshow(values.T, origin="lower", extent=extent, aspect="auto", cmap="viridis")
        axis.set_title(name, fontsize=10)
        figure.colorbar(shown, ax=axis)
    figure.suptitle(title)
    _save(figure, path)


def confusion_figure(found: Confusion, title: str | None = None) -> Figure:
    """A confusion matrix as a figure, to be shown or saved: each cell has its count and, as its
    color and in percent, the share of its row, the rows of its true class; the names on the left
    have the number of these."""
    count, longest = len(found.names), max(map(len, found.names))
    turned = longest > 8  # names under columns, which then would touch one another
    cell, text = 0.62, 0.09 * longest
    wide, high = cell * count + text + 1.9, cell * count + 1.2 + (text if turned else 0)
    figure = Figure(figsize=(max(wide, 4.0), high), layout="constrained")
    axis, shares = figure.subplots(), np.nan_to_num(found.shares)
    shown = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(found.counts):
        if value:
            share = shares[row, column]
            exact = f"{share:.0%}" if 0.005 <= share <= 0.995 or share == 1 else f"{share:.1%}"
            color = "white" if share > 0.5 else DATA
            axis.text(
                column, row, f"{value}\n{exact}", ha="center", va="center", fontsize=8, color=color
            )
    totals = found.counts.sum(axis=1)
    rows = [f"{name} ({n})" for name, n in zip(found.names, totals, strict=True)]
    axis.set_xticks(range(count), found.names, rotation=90 if turned else 0)
    axis.set_yticks(range(count), rows)
    axis.set(xlabel="predicted", ylabel="true (rows)")
    axis.set_title(title or f"accuracy {found.accuracy:.1%}", fontsize=10)
    axis.tick_params(length=0)
    bar = figure.colorbar(shown, ax=axis, fraction=0.05)
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1))
    bar.set_label("share of the true class", fontsize=9)
    FigureCanvasAgg(figure)
    return figure


def save_function_fit(
    function: TargetFunction,
    x: np.ndarray,
    target: np.ndarray,
    fit: np.ndarray,
    path: Path,
    title: str,
) -> None:
    """Target and prediction at `x` `[n, in]` in the function's own units: curves in 1D; in 2D,
    where `x` is a square grid, the two surfaces and their difference."""
    if function.in_features == 1:
        figure = Figure(figsize=(8, 4.5), layout="constrained")
        axis = figure.subplots()
        axis.plot(
            x[:, 0],
            target,
            color=DATA,
            linewidth=3,
            alpha=0.35,
            label=f"target: {function.formula}",
        )
        axis.plot(x[:, 0], fit, color=FIT, linewidth=1.3, label="fit")
        axis.set(xlabel="x", ylabel="y", title=title)
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2, frameon=False)
        axis.grid(True, color=FAINT, linewidth=0.4)
    else:
        side = round(len(x) ** 0.5)
        figure = Figure(figsize=(13, 4.2), layout="constrained")
        (low1, high1), (low2, high2) = function.domain
        panels = (
            (target, f"target: {function.formula}"),
            (fit, title),
            (fit - target, "fit - target"),
        )
        for axis, (values, name) in zip(figure.subplots(1, 3), panels, strict=True):
            difference = values is panels[2][0]
            limit = max(float(np.abs(values).max()), 1e-9)
            scale = (
                {"cmap": "RdBu", "vmin": -limit, "vmax": limit}
                if difference
                else {"cmap": "viridis", "vmin": target.min(), "vmax": target.max()}
            )
            surface = values.reshape(side, side).T
            shown = axis.imshow(
                surface, origin="lower", extent=(low1, high1, low2, high2), aspect="auto", **scale
            )
            axis.set(xlabel="x1", ylabel="x2")
            axis.set_title(name, fontsize=10)
            figure.colorbar(shown, ax=axis)
    _save(figure, path)


def save_edges(model: Network, inputs: np.ndarray, path: Path, points: int = 64) -> None:
    """Every edge function of every layer over the range that its input takes on `inputs`
    `[n, in_features]`: a panel for each layer, a column for each input, a row for each output; the
    stronger an edge, the darker."""
    ranges = [
        (v.min(axis=0), v.max(axis=0))
        for v in (t.numpy() for t in model.layer_inputs(Tensor(inputs)))
    ]
    columns = [layer.in_features + 1.5 for layer in model.layers]
    rows = max(layer.out_features for layer in model.layers)
    cell = np.clip(12 / max(sum(columns), rows), 0.16, 0.8)  # inches
    figure = Figure(
        figsize=(max(5.0, cell * sum(columns)), max(2.5, cell * rows + 1.2)), layout="constrained"
    )
    axes = figure.subplots(1, len(columns), squeeze=False, width_ratios=columns)[0]
    for number, (axis, layer, (low, high)) in enumerate(
        zip(axes, model.layers, ranges, strict=True), 1
    ):
        x = np.linspace(low, high, points).astype(np.float32)
        curves = layer.edges(Tensor(x)).numpy()  # [points, in, out]
        curves = curves - curves.mean(axis=0)
        strength = curves.std(axis=0)
        peak = np.abs(curves).max(axis=0)
        ticks = np.linspace(-0.42, 0.42, points)
        lines, colors = [], []
        for i in range(layer.in_features):
            for o in range(layer.out_features):
                drawn = 0.42 * curves[:, i, o] / max(peak[i, o], 1e-12)
                lines.append(np.stack([i + ticks, o + drawn], axis=-1))
                colors.append(
                    (0.1, 0.1, 0.3, 0.12 + 0.88 * strength[i, o] / max(strength.max(), 1e-12))
                )
        axis.add_collection(LineCollection(lines, colors=colors, linewidths=1.0))
        axis.set(
            xlim=(-0.6, layer.in_features - 0.4),
            ylim=(-0.6, layer.out_features - 0.4),
            xlabel="input",
            ylabel="output",
        )
        axis.set_aspect("equal")
        axis.set_title(f"layer {number}", fontsize=10)
        axis.set_xticks(_ticks(layer.in_features))
        axis.set_yticks(_ticks(layer.out_features))
        axis.set_xticks(np.arange(layer.in_features + 1) - 0.5, minor=True)
        axis.set_yticks(np.arange(layer.out_features + 1) - 0.5, minor=True)
        axis.grid(True, which="minor", color=FAINT, linewidth=0.4)
        axis.tick_params(which="minor", length=0)
    _save(figure, path)


def _ticks(count: int) -> np.ndarray:
    return np.arange(0, count, max(1, -(-count // 10)))


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=110)

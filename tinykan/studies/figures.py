"""The charts of a report, in WebP with two pixels for each CSS pixel. An arm has the same color,
line and marker in all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from tinykan.errors import need
from tinykan.studies.results import lossless
from tinykan.studies.statistics import Condition, Group, StudyResults, deviation
from tinykan.studies.tables import Unit

matplotlib = need("matplotlib", extra="study", purpose="a report")
from matplotlib.axes import Axes  # noqa: E402  (need explains how to install it)
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.lines import Line2D  # noqa: E402
from matplotlib.ticker import (  # noqa: E402
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
)

# Paul Tol's "muted" scheme, which is safe for color blindness, without its palest color, and black.
COLORS = (
    *("#332288", "#CC6677", "#117733", "#88CCEE", "#882255", "#44AA99", "#999933", "#AA4499"),
    "#000000",
)
LINES = ("-", "--", "-.", ":")
MARKERS = "osD^vPXp<>"
INK, SOFT, LINK, FAINT = "#1c1d21", "#5c606b", "#b4b8c2", "#dcdee3"
SHADES = 128  # colors of a chart
WIDTH = 5.4  # inches; the text is legible on a telephone
LEGEND = 66  # characters in a row of the legend
EARLY = 0.03  # fraction of training whose losses may leave the figure: they are a hundred times
# those at the end, which the figure is about
SETTINGS: Any = {
    "font.family": "DejaVu Sans",  # part of matplotlib
    "font.size": 10,
    "axes.edgecolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
}


@dataclass(frozen=True)
class Look:
    """Color, line and marker of an arm. Their cycles are such that 36 arms differ."""

    number: int

    @property
    def color(self) -> str:
        return COLORS[self.number % len(COLORS)]

    @property
    def line(self) -> str:
        return LINES[self.number % len(LINES)]

    @property
    def marker(self) -> str:
        return MARKERS[self.number % len(MARKERS)]


def looks(study: StudyResults) -> dict[str, Look]:
    return {arm: Look(number) for number, arm in enumerate(study.arms)}


def draw_scores(study: StudyResults, ranking: list[Group]) -> bytes:
    """A row for each arm, with a dot for each seed and a bar at the mean; arms that tie with the
    best are shaded."""
    best, look = ranking[0], looks(study)
    with matplotlib.rc_context(SETTINGS):
        figure, axis = _canvas(1.1 + 0.33 * len(ranking))
        for row, group in enumerate(ranking):
            values, style = group.values(study.score), look[group.arm]
            axis.plot(
                values,
                [row] * len(values),
                style.marker,
                color=style.color,
                markersize=6.5,
                alpha=0.75,
                markeredgewidth=0,
            )
            axis.plot([group.mean(study.score)] * 2, [row - 0.33, row + 0.33], color=INK, lw=1.6)
            if study.standing(group, best) == "tied":
                axis.axhspan(row - 0.5, row + 0.5, color="#e8eef6", lw=0, zorder=0)
        axis.axhspan(-0.5, 0.5, color="#e8eef6", lw=0, zorder=0)
        _draw_baseline(study, axis)
        axis.set_yticks(range(len(ranking)), [_literal(group.arm) for group in ranking])
        axis.set_ylim(len(ranking) - 0.5, -0.5)
        axis.tick_params(axis="y", length=0)
        _scale_scores(axis, "x", study, ranking)
        axis.grid(True, axis="x", color=FAINT, lw=0.7)
        return _webp(figure)


def draw_cost(study: StudyResults, groups: list[Group], cost: str) -> bytes:
    """Mean score against the "seconds" of training or the "parameters", a point for each
    arm and condition with its deviation, and the Pareto front. Points of one arm that differ in
    that cost's condition only are joined."""
    look = looks(study)

    def price(group: Group) -> float:
        return group.seconds if cost == "seconds" else group.parameters

    def joined(condition: Condition) -> int:
        return condition.budget if cost == "seconds" else condition.steps

    points = sorted(groups, key=lambda g: (price(g), study.order(g.mean(study.score))))
    prices = [price(group) for group in points]
    means = [group.mean(study.score) for group in points]
    arms = [arm for arm in study.arms if any(group.arm == arm for group in points)]
    with matplotlib.rc_context(SETTINGS):
        figure, axis = _canvas(4.2 + 0.2 * -(-len(arms) // 3))
        for series in dict.fromkeys((g.arm, joined(g.condition)) for g in points):
            own = [i for i, g in enumerate(points) if (g.arm, joined(g.condition)) == series]
            style = look[series[0]]
            axis.errorbar(
                [prices[i] for i in own],
                [means[i] for i in own],
                [deviation(points[i].values(study.score)) or 0.0 for i in own],
                fmt=style.marker + "-",
                color=style.color,
                markersize=7,
                elinewidth=1.2,
                lw=0.5,
            )
        front = [
            i
            for i, mean in enumerate(means)
            if all(study.better(mean, earlier) for earlier in means[:i])
        ]
        _scale(axis, "x", max(prices) > 3 * min(prices) > 0)
        _scale_scores(axis, "y", study, groups)
        right = axis.get_xlim()[1]
        axis.plot(
            [*(prices[i] for i in front), right],
            [*(means[i] for i in front), means[front[-1]]],
            color=SOFT,
            lw=5,
            alpha=0.25,
            drawstyle="steps-post",
            zorder=0,
            solid_joinstyle="miter",
        )
        axis.set_xlim(right=right)
        axis.set(xlabel="seconds of training" if cost == "seconds" else "parameters")
        axis.grid(True, color=FAINT, lw=0.7)
        handles = [
            Line2D([], [], color=look[a].color, marker=look[a].marker, ls="", label=_literal(a))
            for a in arms
        ]
        columns = max(1, min(3, LEGEND // (4 + max(map(len, arms), default=0))))
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)
        return _webp(figure)


def draw_curves(study: StudyResults, ranking: list[Group], against: str) -> bytes:
    """The training loss against "steps" or "seconds": the mean over the seeds, and a band from the
    least to the greatest."""
    look, ends, highest = looks(study), [], []
    with matplotlib.rc_context(SETTINGS):
        figure, axis = _canvas(max(4.4, 0.9 + 0.19 * len(ranking)))
        for group in ranking:
            curves = [np.array(c.curve, float) for c in group.complete if c.curve]
            if not curves:
                continue
            style, steps = look[group.arm], curves[0][:, 0]
            # Seeds may have ended at different steps, and took different times.
            losses = np.array([np.interp(steps, c[:, 0], c[:, 1]) for c in curves])
            seconds = np.mean([np.interp(steps, c[:, 0], c[:, 2]) for c in curves], axis=0)
            x, mean = steps if against == "steps" else seconds, losses.mean(axis=0)
            axis.fill_between(
                x, losses.min(axis=0), losses.max(axis=0), color=style.color, alpha=0.15, lw=0
            )
            axis.plot(x, mean, style.line, color=style.color, lw=1.4)
            ends.append((float(x[-1]), float(mean[-1]), group.arm))
            highest.append(np.nanmax(mean[steps >= EARLY * steps[-1]]))
        axis.set_yscale("log")
        axis.set_ylim(top=1.5 * max(highest))
        axis.set(xlabel="step" if against == "steps" else "seconds of training")
        axis.set_ylabel("training loss")
        axis.set_xlim(0, max(x for x, *_ in ends))
        axis.grid(True, color=FAINT, lw=0.7)
        _label_ends(axis, ends, look)
        return _webp(figure)


def _label_ends(axis: Axes, ends: list[tuple[float, float, str]], look: dict[str, Look]) -> None:
    """Labels of the lines in the right margin, in the order of the lines' ends, which they are
    joined to, without overlaps."""
    to_axes = axis.transScale + axis.transLimits
    places: list[tuple[float, float, str]] = []
    for *point, arm in ends:
        x, y = to_axes.transform(point)
        places.append((float(x), float(y), arm))
    places.sort(key=lambda place: place[1])
    heights = [height for _, height, _ in places]
    gap = min(0.048, 1 / max(1, len(ends) - 1))
    for i in range(1, len(heights)):
        heights[i] = max(heights[i], heights[i - 1] + gap)
    for i in reversed(range(len(heights))):
        heights[i] = min(heights[i], 1 - gap * (len(heights) - 1 - i))
    for (x, y, arm), height in zip(places, heights, strict=True):
        style = look[arm]
        free: Any = {"transform": axis.transAxes, "clip_on": False}
        mark: Any = {"color": style.color, "marker": style.marker, "ms": 4.5, **free}
        axis.plot([x, 1.03], [y, height], color=LINK, lw=0.7, zorder=0, **free)
        axis.plot([x], [y], **mark)
        axis.plot([1.04, 1.08, 1.12], [height] * 3, style.line, lw=1.4, markevery=[1], **mark)
        axis.annotate(
            _literal(arm), (1.14, height), xycoords="axes fraction", va="center", fontsize=9
        )


def draw_error_scale(limit: float, size: tuple[int, int], colors: str) -> np.ndarray:
    """The color bar of error maps, as pixels `[height, width, 3]` for `size` (width, height)."""
    points = min(9.0, 7 * size[0] / 256)  # font size: the longest line fits
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(size[0] / 200, size[1] / 200))
        figure.set_facecolor("white")
        axis = figure.add_axes((0.16, 0.64, 0.68, 0.14))
        ramp = np.linspace(0, 1, 256)[None]
        axis.imshow(ramp, cmap=colors, aspect="auto", extent=(0, limit, 0, 1))
        axis.set_xticks([0, limit], ["0", f"≥ {limit:.1%}"], fontsize=points)
        axis.set(yticks=[])
        axis.set_xlabel("absolute error,\nfraction of the full range", fontsize=points)
        canvas = FigureCanvasAgg(figure)
        figure.dpi = 200
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _canvas(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def _draw_baseline(study: StudyResults, axis: Axes) -> None:
    baseline = study.results.baseline
    if baseline and study.score in baseline.scores:
        axis.axvline(baseline.scores[study.score], color=SOFT, ls="--", lw=1.2)
        axis.annotate(
            _literal(baseline.label),
            (baseline.scores[study.score], 1),
            (0, 3),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="center",
            fontsize=9,
            color=SOFT,
        )


def _scale_scores(axis: Axes, which: str, study: StudyResults, groups: list[Group]) -> None:
    """Labels an axis with the score and its power of ten, as the tables have it. Positive errors
    get a logarithmic scale. To be called when all is drawn."""
    values = [value for group in groups for value in group.values(study.score)]
    best = min((group.mean(study.score) for group in groups), key=study.order)
    unit = Unit(study.score, best)
    getattr(axis, f"set_{which}label")(unit.label)
    _scale(axis, which, study.lower_is_better and min(values) > 0, unit.exponent)


def _scale(axis: Axes, which: str, logarithmic: bool, exponent: int = 0) -> None:
    """Labels a scale in units of ten to the `exponent`. A logarithmic one has labels at 1, 2 and 5
    times the powers of ten, at the powers alone if it spans more than two, and at equal differences
    if it spans less than a factor of five. To be called when all is drawn."""
    scale = getattr(axis, f"{which}axis")
    if logarithmic:
        getattr(axis, f"set_{which}scale")("log")
        low, high = getattr(axis, f"get_{which}lim")()
        if high < 5 * low:
            scale.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        else:
            scale.set_major_locator(LogLocator(subs=(1,) if high > 100 * low else (1, 2, 5)))
        scale.set_minor_formatter(NullFormatter())
    if logarithmic or exponent:
        scale.set_major_formatter(FuncFormatter(lambda v, _: f"{v * 10.0**-exponent:,.10g}"))


def _literal(text: str) -> str:
    """Text that matplotlib does not read as mathematics."""
    return text.replace("$", r"\$")


def _webp(figure: Figure) -> bytes:
    canvas = FigureCanvasAgg(figure)
    figure.dpi = 192
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())
    # Lossless compression of few colors keeps letters sharp in a third of the bytes.
    few = image.quantize(SHADES, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    return lossless(np.asarray(few.convert("RGB")))

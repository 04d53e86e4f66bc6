"""The summary of a network: a table of its layers, and in a notebook a small diagram above it."""

from __future__ import annotations

from html import escape
from itertools import count, product

import numpy as np

from tinykan.interpret.products import MultiplicationLayer
from tinykan.layers import Layer
from tinykan.networks import Network, parameter_count
from tinykan.tensors import learnable

COLUMNS = ("layer", "functions on its edges", "in → out", "edges", "parameters")
WORDS = 2  # columns, aligned on the left; those of numbers are aligned on the right
MAX_ROWS = 20  # of layers; the layers between the first and the last ones share a row
MAX_NODES, MAX_LEVELS = 8, 9  # of the diagram, in which dots stand for the others
WIDE, HIGH, MARGIN = 72, 12, 16  # CSS pixels: between levels, between nodes, around them


def summary(model: Network) -> Summary:
    """A table of the layers of `model`, to be printed, or shown as the value of a notebook's cell,
    as `model` itself is there.

    Each row has the kind of a layer, the functions on its edges, its numbers of inputs and outputs,
    of its edges (of a pruned layer, how many are left) and of its parameters, those of pruned edges
    included. The total is `parameter_count(model)`.
    """
    return Summary(model)


class Summary:
    """What `summary` returns: text for `print`, HTML for notebooks."""

    def __init__(self, model: Network) -> None:
        nodes = [model.activation] if model.activation != "identity" else []
        nodes += [f"{model.norm} norm"] if model.norm else []
        between = f", {' and '.join(nodes)} between layers" if nodes else ""
        self.title, self.total = f"{type(model).__name__}{between}", parameter_count(model)
        self.rows: list[tuple[str, ...]] = []
        if (encoding := model.encoding) is not None:
            sizes = f"{encoding.in_features} → {encoding.out_features}"
            self.rows.append(("encoding", repr(encoding), sizes, "", _parameters(encoding)))
        half = MAX_ROWS // 2
        hidden = model.layers[half:-half] if len(model.layers) > MAX_ROWS else []
        self._widths, self._live = model.widths, [layer.live_edges() for layer in model.layers]
        for number, (layer, live) in enumerate(zip(model.layers, self._live, strict=True)):
            if not hidden or not half <= number < len(model.layers) - half:
                self.rows.append(_row(layer, live))
            elif number == half:
                more = f"{len(hidden)} more layers"
                self.rows.append((more, "", "", "", _parameters(*hidden)))

    def __repr__(self) -> str:
        lines = [COLUMNS, *self.rows, self._last]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        header, *rows, total = (
            "  ".join(
                cell.ljust(width) if place < WORDS else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
            for line in lines
        )
        rule = "─" * len(header)
        return "\n".join([self.title, rule, header, rule, *rows, rule, total])

    def _repr_html_(self) -> str:
        """What Jupyter and its relatives show. The colors are those of the page, light or dark."""
        head, last = _table_row("th", COLUMNS), _table_row("th", self._last)
        body = "".join(_table_row("td", row) for row in self.rows)
        return (
            f"<div>{escape(self.title)}</div>{_diagram(self._widths, self._live)}"
            f'<table style="color:inherit"><thead>{head}</thead>'
            f"<tbody>{body}</tbody><tfoot>{last}</tfoot></table>"
        )

    @property
    def _last(self) -> tuple[str, ...]:
        return ("total", "", "", "", f"{self.total:,}")


# Notebooks look for this method; the core has no wings.
Network._repr_html_ = lambda model: summary(model)._repr_html_()  # type: ignore[attr-defined]


def _row(layer: Layer, live: np.ndarray) -> tuple[str, ...]:
    named = list(dict.fromkeys(name for *_, name in getattr(layer, "functions", ())))
    on_basis = layer.on_basis or layer
    if on_basis.live_edges().any() or not named:
        named += [repr(basis)] if (basis := getattr(on_basis, "basis", None)) else []
        named += [base] if (base := getattr(on_basis, "base", None)) else []
    if isinstance(layer, MultiplicationLayer):
        named = ["product"]
    left = int(live.sum())
    edges = f"{left:,}" if left == live.size else f"{left:,} of {live.size:,}"
    sizes = f"{layer.in_features} → {layer.out_features}"
    return type(layer).__name__, " + ".join(named), sizes, edges, _parameters(layer)


def _parameters(*parts: object) -> str:
    return f"{sum(int(p.numel()) for part in parts for p in learnable(part)):,}"


def _table_row(tag: str, cells: tuple[str, ...]) -> str:
    aligned = ["left"] * WORDS + ["right"] * (len(cells) - WORDS)
    return "<tr>{}</tr>".format(
        "".join(
            f'<{tag} style="text-align:{side};white-space:nowrap">{escape(cell)}</{tag}>'
            for side, cell in zip(aligned, cells, strict=True)
        )
    )


def _diagram(widths: list[int], live: list[np.ndarray]) -> str:
    """The nodes, and the `live` edges between them, from left to right as SVG."""
    columns = _abbreviated(len(widths), MAX_LEVELS)
    middle = HIGH * min(max(widths), MAX_NODES + 1) / 2 + MARGIN / 2
    width, height = WIDE * (len(columns) - 1) + 2 * MARGIN, 2 * middle + MARGIN
    paths, marks = [], []
    before: list[tuple[int, float]] = []
    for x, level in zip(count(MARGIN, WIDE), columns, strict=False):
        if level is None:
            marks.append(_label(x, middle + 4, "⋯"))
            before = []
            continue
        rows = _abbreviated(widths[level], MAX_NODES)
        first = middle - HIGH * (len(rows) - 1) / 2
        places = [(node, y) for node, y in zip(rows, count(first, HIGH), strict=False)]
        nodes = [(node, y) for node, y in places if node is not None]
        marks += [_label(x, y + 4, "⋮") for node, y in places if node is None]
        marks += [f'<circle cx="{x}" cy="{y:g}" r="3"/>' for _, y in nodes]
        marks.append(_label(x, height - 4, f"{widths[level]:,}"))
        paths += [
            f"M{x - WIDE} {y0:g}L{x} {y1:g}"
            for (i, y0), (o, y1) in product(before, nodes)
            if live[level - 1][i, o]
        ]
        before = nodes
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="the network\'s nodes" '
        f'width="{width}" height="{height:g}" viewBox="0 0 {width} {height:g}" '
        f'style="max-width:100%" fill="currentColor" font-size="11" text-anchor="middle">'
        f'<path d="{"".join(paths)}" stroke="currentColor" stroke-opacity="0.35"/>'
        f"{''.join(marks)}</svg>"
    )


def _label(x: float, y: float, text: str) -> str:
    return f'<text x="{x:g}" y="{y:g}">{text}</text>'


def _abbreviated(size: int, most: int) -> list[int | None]:
    """0 .. size - 1, or `most` of them with None in the middle for the others."""
    if size <= most:
        return list(range(size))
    half = most // 2
    return [*range(most - half), None, *range(size - half, size)]

"""Where the nodes and panels of a network's diagram are."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

MAX_PANEL = 0.8  # inches, the side of a panel
ONE_ROW = 16  # panels; of more, every second one may be placed higher, to be larger


class Layout:
    """The positions of everything, in inches, for the number of `nodes` in each level, and for
    `edges[k]` `[n, 2]`, pairs of an input and an output, between two levels; those of `products`
    have no panels."""

    def __init__(
        self, nodes: list[int], edges: list[np.ndarray], products: Collection[int] = ()
    ) -> None:
        most = max([1, *(len(pairs) for k, pairs in enumerate(edges) if k not in products)])
        least = float(np.clip(9 / most, 0.36, MAX_PANEL))  # the side of the smallest panels
        across = max(1.6, most * least * (1.3 if most <= ONE_ROW else 0.72), 0.5 * max(nodes))
        margin = 0.15 * least  # half of the space between panels
        self.edges, self.width = edges, across + 2 * margin
        self.text = float(np.clip(8 + 0.55 * self.width, 10, 20))  # points
        self.dot = self.text / 140  # diameter
        self.dpi = min(200.0, 20_000 / self.width)

        def columns(count: int) -> np.ndarray:
            return margin + (np.arange(count) + 0.5) * across / max(count, 1)

        level = self.dot / 2
        self.nodes = [_placed(columns(nodes[0]), level)]
        self.bands: dict[int, Band] = {}
        for k, (count, pairs) in enumerate(zip(nodes[1:], edges, strict=True)):
            above = columns(count)
            starts, ends = self.nodes[-1][pairs[:, 0], 0], above[pairs[:, 1]]
            if k in products:
                level += _fan(ends - starts)
            else:
                panels = columns(len(pairs))
                self.bands[k] = Band.of(panels, across, least, level + _fan(panels - starts))
                level = self.bands[k].high + _fan(panels - ends)
            self.nodes.append(_placed(above, level))
        self.height = level + self.dot / 2


@dataclass(frozen=True)
class Band:
    """The panels of a layer: their side, their centers `[n, 2]`, and the heights of their lower and
    upper ends."""

    side: float
    centers: np.ndarray
    low: float
    high: float

    @classmethod
    def of(cls, columns: np.ndarray, across: float, least: float, low: float) -> Band:
        """Panels in `columns`, of side `least` or more, above `low` on a width of `across`."""
        count = len(columns)
        pitch = across / max(count, 1)
        rows = 1 if count <= ONE_ROW or pitch > 1.3 * least else 2
        side = max(least, min(MAX_PANEL, pitch / (1.3 if rows == 1 else 0.72)))
        heights = low + side * (0.5 + 1.25 * (np.arange(count) % rows))
        return cls(side, _placed(columns, heights), low, low + side * (1.25 * rows - 0.25))


def _placed(across: np.ndarray, up: np.ndarray | float) -> np.ndarray:
    return np.stack([across, np.broadcast_to(up, across.shape)], axis=-1)


def _fan(distances: np.ndarray) -> float:
    """The height for lines that span the horizontal `distances`: with less, those to distant panels
    would be almost level."""
    return float(min(0.4 + 0.16 * np.abs(distances).max(initial=1.0), 6.0))

"""The arrays of a network in the layouts that shaders and pages read, in rows of four numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinykan.export.form import Edges, Splines


def blocks(count: int) -> int:
    """How many vectors of four numbers hold `count`."""
    return -(-count // 4)


def padded(values: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """The array with zeros at the ends of `axes`, to lengths that are multiples of four."""
    return np.pad(values, [(0, -n % 4 if k in axes else 0) for k, n in enumerate(values.shape)])


class Tables:
    """Arrays one after another. Where an array is placed twice, it is there once."""

    def __init__(self) -> None:
        self._places: dict[bytes, int] = {}
        self._length = 0

    def place(self, values: np.ndarray) -> int:
        """Where the array begins, in vectors. Its last axis has a multiple of four numbers."""
        content = values.astype("<f4").tobytes()
        if content not in self._places:
            self._places[content] = self._length
            self._length += len(content) // 16
        return self._places[content]

    def content(self) -> bytes:
        """Everything, as little-endian float32."""
        return b"".join(self._places)


@dataclass(frozen=True)
class Cells:
    """The cells of splines on knots that are not uniform, each a row of vectors: its left end, one
    over its width, and what x is at least if it lies in this cell or beyond it; then its pieces.

    Cell 0 is left of all knots, and the last one right of them. `rows` `[1 or in, cells + 2,
    1 + (order + 1) vectors, 4]`, where `vectors` of 1 or 2 hold the coefficients of a piece.
    """

    rows: np.ndarray
    vectors: int


def cells_of(term: Splines) -> Cells:
    """The cells of splines that have knots."""
    knots = np.asarray(term.knots)
    inputs = max(len(knots), len(term.pieces))
    knots = np.broadcast_to(knots, (inputs, knots.shape[1])).astype(np.float32)
    functions, order = term.weights.shape[1], term.order
    pieces = np.broadcast_to(term.pieces, (inputs, term.cells, order + 1, order + 1))
    function = np.arange(term.cells)[:, None] - order + np.arange(order + 1)
    pieces = pieces * ((function >= 0) & (function < functions))[..., None]
    pieces = np.pad(pieces, [(0, 0), (1, 1), (0, 0), (0, -(order + 1) % 4)])
    vectors = pieces.shape[-1] // 4
    widths = np.diff(knots, axis=1)
    ends = np.zeros((inputs, term.cells + 2, 1, 4), np.float32)
    ends[:, 1:, 0, 0] = knots
    ends[:, 1:-1, 0, 1] = np.where(widths > 0, 1 / np.where(widths > 0, widths, 1), 0)
    # The last cell that is not empty has its right end, too: beyond it is what is larger.
    beyond = np.nextafter(knots, np.float32(np.inf))
    ends[:, 1:, 0, 2] = np.where(knots == knots[:, -1:], beyond, knots)
    rows = np.concatenate([ends, pieces.reshape(*pieces.shape[:2], -1, 4)], axis=2)
    return Cells(rows, vectors)


@dataclass(frozen=True)
class Pack:
    """Up to four edges that end in the same four nodes: `sources` `[4]`, -1 where there is no edge,
    the index of the block of `target` nodes, and `parameters` `[parameters, 4]`."""

    sources: np.ndarray
    target: int
    parameters: np.ndarray


def packs_of(term: Edges) -> list[Pack]:
    """All edges; the first ones of all nodes, the second ones, and so on."""
    seen: dict[int, int] = {}
    groups: dict[tuple[int, int], list[int]] = {}
    for edge, target in enumerate(term.targets.tolist()):
        seen[target] = turn = seen.get(target, -1) + 1
        groups.setdefault((turn, target // 4), []).append(edge)
    found = []
    for (_, block), edges in groups.items():
        sources = np.full(4, -1)
        # Where there is no edge the parameters are another's, with which the function is defined.
        parameters = np.repeat(term.parameters[edges[:1]].T, 4, axis=1)
        for edge in edges:
            lane = term.targets[edge] % 4
            sources[lane] = term.sources[edge]
            parameters[:, lane] = term.parameters[edge]
        found.append(Pack(sources, block, parameters))
    return found


def rows_of(packs: list[Pack]) -> np.ndarray:
    """Packs as rows of vectors: sources, the target's block, and each of the parameters
    `[packs, 2 + parameters, 4]`."""
    rows = [np.vstack([p.sources, np.full(4, p.target), p.parameters]) for p in packs]
    return np.array(rows)


def is_elementwise(term: Edges, width: int) -> bool:
    """Whether it is one function, with the same parameters, of every node of a vector of `width`
    nodes that the next one has, too."""
    order = np.arange(width)
    same = np.array_equal(term.sources, order) and np.array_equal(term.targets, order)
    return same and bool((term.parameters == term.parameters[:1]).all())

"""The form of a trained network from which every export format is written.

A `Program` is a list of stages, each of which makes a vector from the one before. A stage is a sum
of terms, a normalization, or products of features, and there are three kinds of terms:

    Combination   the same few functions of every input, times weights: dense layers, and bases
                  whose functions are non-zero everywhere
    Splines       a basis of B-splines, of which order + 1 are non-zero at any point
    Edges         one function with parameters of its own on single edges: activations and
                  encodings, symbolic edges, EdgeTanh

All numbers are float64 arrays of the values that the network has. `evaluate` computes a program in
NumPy and is the definition of what it means.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tinykan.errors import UserError
from tinykan.export.expressions import Expression, in_order


@dataclass(frozen=True, eq=False)
class Combination:
    """y[o] += sum_i sum_n weights[i, n, o] functions[n](x[i]); `weights` `[in, n, out]`."""

    functions: tuple[Expression, ...]
    weights: np.ndarray


@dataclass(frozen=True, eq=False)
class Splines:
    """y[o] += sum_i sum_n weights[i, n, o] B_n(x[i]); `weights` `[in, functions, out]`.

    The knots of an input bound `cells` = functions + order cells. In cell c, with t from 0 at its
    left end to 1 at its right end, and r = 0 .. order,

        B_{c - order + r} = sum_p pieces[input, c, r, p] t^p

    for those of 0 <= c - order + r < functions, and the others are 0. Outside all cells every
    function is 0. Where the axis `input` or `cell` of `pieces` `[1 or in, 1 or cells, order + 1,
    order + 1]` has length 1, it is the same for all.

    Without `knots`, cells are uniform: with u = (x - center) / spacing + phase, c = floor(u) +
    first and t = u - floor(u); `phase` is 0 or 1/2. Computed in this order float32 loses least.

    Else `knots` are `[1 or in, cells + 1]`, non-decreasing, and c is the cell with
    knots[c] <= x < knots[c + 1]; the last cell that is not empty has its right end, too.
    """

    weights: np.ndarray
    pieces: np.ndarray
    center: float = 0.0
    spacing: float = 1.0
    phase: float = 0.0
    first: int = 0
    knots: np.ndarray | None = None

    @property
    def order(self) -> int:
        return self.pieces.shape[-1] - 1

    @property
    def cells(self) -> int:
        return self.weights.shape[1] + self.order


@dataclass(frozen=True, eq=False)
class Edges:
    """y[targets[k]] += function(x[sources[k]]; parameters[k]) for every edge k.

    `function` is an expression of x and of the parameters `[edges, parameters]`; `sources` and
    `targets` are integers `[edges]`.
    """

    function: Expression
    sources: np.ndarray
    targets: np.ndarray
    parameters: np.ndarray


@dataclass(frozen=True, eq=False)
class Sum:
    """y = bias + the sum of the terms; `bias` is `[out]`."""

    terms: tuple[Combination | Splines | Edges, ...]
    bias: np.ndarray

    @property
    def out_features(self) -> int:
        return len(self.bias)


@dataclass(frozen=True, eq=False)
class Normalize:
    """y = (x - mean) / sqrt(variance + epsilon), both over the `out_features` features."""

    out_features: int
    epsilon: float


@dataclass(frozen=True, eq=False)
class Multiply:
    """y[o] = bias[o] + the product of x[i] for i in groups[o], at least one; `bias` is `[out]`."""

    groups: tuple[tuple[int, ...], ...]
    bias: np.ndarray

    @property
    def out_features(self) -> int:
        return len(self.groups)


Stage = Sum | Normalize | Multiply


@dataclass(frozen=True, eq=False)
class Program:
    """A network of `in_features` inputs, at least one stage. `text` describes it to people, in one
    line for each of its layers."""

    in_features: int
    stages: tuple[Stage, ...]
    text: str = ""

    @property
    def out_features(self) -> int:
        return self.stages[-1].out_features

    @property
    def widths(self) -> list[int]:
        """The length of the vector before the first stage, and after each."""
        return [self.in_features, *(stage.out_features for stage in self.stages)]


def evaluate(program: Program, x: np.ndarray) -> np.ndarray:
    """`[n, in]` to `[n, out]` in float64. Raises UserError for another shape."""
    values = np.asarray(x, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != program.in_features:
        raise UserError(f"inputs of shape {values.shape}: [n, {program.in_features}] is needed")
    with np.errstate(all="ignore"):  # infinities are values, too
        for stage in program.stages:
            if isinstance(stage, Normalize):
                spread = np.sqrt(values.var(axis=1, keepdims=True) + stage.epsilon)
                values = (values - values.mean(axis=1, keepdims=True)) / spread
            elif isinstance(stage, Multiply):
                products = [values[:, list(group)].prod(axis=1) for group in stage.groups]
                values = np.stack(products, axis=1) + stage.bias
            else:
                before, values = values, np.tile(stage.bias, (len(values), 1))
                for term in stage.terms:
                    _add(term, before, values)
    return values


def _add(term: Combination | Splines | Edges, x: np.ndarray, y: np.ndarray) -> None:
    if isinstance(term, Edges):
        (found,) = computed([term.function], x[:, term.sources], term.parameters.T)
        np.add.at(y.T, term.targets, found.T)
        return
    if isinstance(term, Splines):
        phi = spline_values(term, x)
    else:
        phi = np.stack(computed(term.functions, x, ()), axis=-1)
    y += np.einsum("bin,ino->bo", phi, term.weights, optimize=True)


def spline_values(term: Splines, x: np.ndarray) -> np.ndarray:
    """All functions at `x` `[n, in]`, `[n, in, functions]`; NaN at NaN."""
    cells, order, functions = term.cells, term.order, term.weights.shape[1]
    if term.knots is None:
        u = (x - term.center) / term.spacing + term.phase
        cell, t = np.floor(u) + term.first, u - np.floor(u)
    else:
        knots = np.broadcast_to(term.knots, (x.shape[1], cells + 1))
        last = (knots < knots[:, -1:]).sum(axis=1) - 1  # the last cell that is not empty
        cell = (x[..., None] >= knots).sum(axis=-1) - 1.0
        cell = np.where(x == knots[:, -1], last, cell)
        inside = np.clip(cell, 0, cells - 1).astype(int)
        left, right = (knots[np.arange(x.shape[1]), inside + k] for k in (0, 1))
        t = (x - left) / (right - left)
    outside = ~((cell >= 0) & (cell < cells))
    cell = np.where(outside, 0, cell).astype(int)
    which = np.minimum(np.arange(x.shape[1]), len(term.pieces) - 1)
    piece = term.pieces[which, np.minimum(cell, term.pieces.shape[1] - 1)]  # [n, in, r, p]
    powers = np.where(outside, 0, t)[..., None] ** np.arange(order + 1)
    local = np.einsum("birp,bip->bir", piece, powers) * ~outside[..., None]
    found = np.zeros((*x.shape, functions + 2 * order))
    index = cell[..., None] + np.arange(order + 1)
    np.put_along_axis(found, index, local, axis=-1)
    return np.where(np.isnan(x)[..., None], np.nan, found[..., order : order + functions])


OPERATIONS: dict[str, Callable[..., np.ndarray]] = {
    "maximum": np.maximum, "minimum": np.minimum, "add": np.add, "subtract": np.subtract,
    "multiply": np.multiply, "divide": np.divide, "less": np.less, "negate": np.negative,
    "floor": np.floor, "abs": np.abs, "sqrt": np.sqrt, "exp": np.exp, "log": np.log,
    "sin": np.sin, "cos": np.cos, "tanh": np.tanh, "where": np.where,
}  # fmt: skip


def computed(
    functions: Sequence[Expression], x: np.ndarray, parameters: Sequence[np.ndarray] | np.ndarray
) -> list[np.ndarray]:
    """The values of `functions` at `x`; the arrays `parameters` are of its shape, or broadcast."""
    found: dict[Expression, np.ndarray] = {}
    for node in in_order(functions):
        match node.op:
            case "x":
                found[node] = x
            case "constant":
                found[node] = np.full(x.shape, node.value)
            case "parameter":
                found[node] = np.broadcast_to(parameters[int(node.value)], x.shape)
            case op:
                found[node] = OPERATIONS[op](*(found[o] for o in node.operands))
    return [found[function] for function in functions]

"""Symbolification of products: where no function of the library is the curve of a factor, a product
of two is tried (needs SciPy, of the `interpret` extra)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np

from tinykan.basis import Linear
from tinykan.errors import need
from tinykan.interpret.candidates import (
    FIT_SAMPLES,
    GRID_SAMPLES,
    STARTS,
    Search,
    penalized,
    search_space,
    thinned,
)
from tinykan.interpret.curves import layer_curves, samples_of
from tinykan.interpret.library import LIBRARY
from tinykan.interpret.products import MultiplicationLayer
from tinykan.interpret.symbolic import Affine, SymbolicLayer, nonzero_edges, symbolic_edges
from tinykan.interpret.symbolification import auto_symbolic
from tinykan.layers import KANLayer, Layer
from tinykan.networks import Network
from tinykan.tensors import like

optimize = need("scipy.optimize", extra="interpret", purpose="fitting symbolic functions")

# Functions whose products are tried: of two powers, or of exp and exp, they are no others.
POWERS, FACTORS = ["x", "x^2", "1/x", "sqrt"], ["exp", "sin", "gaussian", "tanh"]
GOOD = 0.9999  # the R^2 of one function from which on no products are tried


@dataclass(frozen=True)
class Pair:
    """The fit of c f(a x + b) g(a' x + b') to a curve: two edges, whose constants d are 0 and of
    which the second has c = 1, and the coefficient of determination `r2`."""

    edges: tuple[tuple[str, Affine], tuple[str, Affine]]
    r2: float

    @property
    def score(self) -> float:
        """To be compared with that of a Candidate."""
        return penalized(sum(LIBRARY[name].complexity for name, _ in self.edges), self.r2)


def best_pair(x: np.ndarray, y: np.ndarray) -> Pair | None:
    """The product of two functions of LIBRARY, one of which at least is of FACTORS, that fits `y`
    `[n]` at `x` `[n]` best, or None where these have less than 9 different values."""
    order = np.argsort(x, kind="stable")
    x, y = x[order].astype(np.float64), y[order].astype(np.float64)
    if (different := len(np.unique(x))) < 9:
        return None
    middle, half = (x[0] + x[-1]) / 2, (x[-1] - x[0]) / 2
    z, unit = (x - middle) / half, y / (y.std() or 1.0)
    names = [*POWERS, *FACTORS]
    spaces = {name: search_space("shift" if name == "x" else LIBRARY[name].search, different)
              for name in names}  # fmt: skip
    found = []
    for pair in combinations_with_replacement(names, 2):
        if pair[1] in POWERS or pair == ("exp", "exp"):
            continue
        functions = [LIBRARY[name].numpy for name in pair]
        (a, b), (e, f), c, r2 = _fitted(functions, [spaces[name] for name in pair], z, unit)
        first = a / half, b - a * middle / half, c * float(y.std()), 0.0
        second = e / half, f - e * middle / half, 1.0, 0.0
        found.append(Pair(((pair[0], first), (pair[1], second)), r2))
    return min(found, key=lambda each: each.score)


def _fitted(
    functions: list[Callable[[np.ndarray], np.ndarray]],
    spaces: list[Search],
    z: np.ndarray,
    y: np.ndarray,
) -> tuple[tuple[float, float], tuple[float, float], float, float]:
    """a and b of either function, the factor c, and R^2 of the best product, for z from -1 to 1."""
    cut = spaces[0].starts.shape[1]

    def values(theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        product = np.ones(len(x))
        parts = theta[:cut], theta[cut:]
        with np.errstate(all="ignore"):
            for function, space, part in zip(functions, spaces, parts, strict=True):
                a, b = space.parameters(part)
                product = product * function(a * x + b)
        return np.where(np.isfinite(product), product, 0.0)

    def residuals(theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        product = values(theta, x)
        return y - product * (product @ y) / max(product @ product, 1e-300)

    few, many = thinned(len(z), GRID_SAMPLES), thinned(len(z), FIT_SAMPLES)
    low, high = (np.concatenate([list(getattr(s, end)) for s in spaces]) for end in ("low", "high"))
    fits = [
        optimize.least_squares(
            residuals, np.clip(start, low, high), bounds=(low, high), args=(z[many], y[many]),
            x_scale="jac", ftol=1e-10, xtol=1e-10, gtol=1e-10, max_nfev=60,
        )
        for start in _starts(functions, spaces, z[few], y[few])
    ]  # fmt: skip
    best = min(fits, key=lambda fit: fit.cost).x
    left = residuals(best, z, y)
    product = values(best, z)
    c = float(product @ y) / max(float(product @ product), 1e-300)
    one, two = spaces[0].parameters(best[:cut]), spaces[1].parameters(best[cut:])
    r2 = 1 - float(np.square(left).sum() / np.square(y - y.mean()).sum())
    return (float(one[0]), float(one[1])), (float(two[0]), float(two[1])), c, r2


def _starts(
    functions: list[Callable[[np.ndarray], np.ndarray]],
    spaces: list[Search],
    z: np.ndarray,
    y: np.ndarray,
) -> list[np.ndarray]:
    """The points of the grid of both search spaces whose products, times a factor, explain most of
    `y` at `z`."""
    tables = []
    for function, space in zip(functions, spaces, strict=True):
        a, b = space.parameters(space.starts)
        with np.errstate(all="ignore"):
            table = function(a[:, None] * z + b[:, None])
        table = np.where(np.isfinite(table).all(axis=1, keepdims=True), table, 0.0)
        tables.append(table / np.maximum(np.abs(table).max(axis=1, keepdims=True), 1e-300))
    one, two = tables
    power = np.square(one) @ np.square(two).T
    explained = np.square((one * y) @ two.T) / np.maximum(power, 1e-300)
    places = np.argsort(explained, axis=None)[::-1][:STARTS]
    pairs = zip(*np.unravel_index(places, explained.shape), strict=True)
    return [np.concatenate([spaces[0].starts[i], spaces[1].starts[j]]) for i, j in pairs]


def symbolic_factors(model: Network, x: np.ndarray, library: list[str] | None) -> Network:
    """A copy of a network of a KANLayer and a MultiplicationLayer, every edge of which is replaced
    by its best candidate of `library` at samples `x` `[n, in_features]`; a factor that depends on
    one input alone, and is no single function, by a product of two where that scores better."""
    symbolic, choices = auto_symbolic(model, x, library=library)
    inputs, values = layer_curves(model, samples_of(model, x), 0)
    layer, products = symbolic.layers[0], symbolic.layers[1]
    assert isinstance(products, MultiplicationLayer)
    live = nonzero_edges(layer)
    pairs: dict[int, tuple[int, Pair]] = {}
    for o in np.flatnonzero(live.sum(axis=0) == 1).tolist():
        i = int(np.flatnonzero(live[:, o])[0])
        best = next((choice.best for choice in choices if (choice.i, choice.o) == (i, o)), None)
        if best is None or best.r2 >= GOOD:
            continue
        bias = 0.0 if layer.bias is None else float(layer.bias.numpy()[o])
        pair = best_pair(inputs[:, i], values[:, i, o] + bias)
        if pair is not None and pair.score < best.score:
            pairs[o] = i, pair
    return _with_pairs(layer, products, pairs) if pairs else symbolic


def _with_pairs(
    layer: Layer, products: MultiplicationLayer, pairs: dict[int, tuple[int, Pair]]
) -> Network:
    """The network in which these nodes `o` of a layer whose edges are all symbolic are products of
    two functions of an input: two nodes."""
    bias = np.zeros(layer.out_features) if layer.bias is None else layer.bias.numpy()
    edges = {key: edge for key, edge in symbolic_edges(layer).items() if key[1] not in pairs}
    groups, count = [list(group) for group in products.groups], layer.out_features
    for o, (i, pair) in pairs.items():
        edges[i, o], edges[i, count] = pair.edges
        next(group for group in groups if o in group).append(count)
        count += 1
    bias = np.where([o in pairs for o in range(count)], 0.0, np.pad(bias, (0, len(pairs))))
    mask = np.zeros((layer.in_features, count))
    inner = KANLayer(*mask.shape, Linear(), base=None, spline_weight=False, mask=mask)
    inner.bias = like(products.bias, bias)
    functions = [(i, o, name) for (i, o), (name, _) in edges.items()]
    affine = np.array([affine for _, affine in edges.values()])
    multiplied = MultiplicationLayer(groups)
    multiplied.bias = like(products.bias, products.bias.numpy())
    return Network([SymbolicLayer(inner, functions, affine), multiplied])

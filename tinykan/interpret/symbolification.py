"""Symbolification (KAN paper, arXiv:2404.19756, sec. 2.5.1): replaces edges of a trained network by
functions of the symbolic library, one by one or all at once (needs SciPy, of the `interpret`
extra).

    network, chosen = auto_symbolic(model, x)
    fit(network, batches(x, y), steps=300, learning_rate=1e-3)  # of the affine parameters
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tinykan.errors import UserError, check_integer, lookup, other_names
from tinykan.interpret.candidates import Candidate, candidates, fit_function
from tinykan.interpret.curves import check_edge, layer_curves, samples_of
from tinykan.interpret.library import LIBRARY
from tinykan.interpret.products import MultiplicationLayer
from tinykan.interpret.symbolic import (
    Affine,
    SymbolicLayer,
    copied,
    nonzero_edges,
    symbolic_edges,
    with_mask,
)
from tinykan.layers import KANLayer, Layer
from tinykan.networks import Network


@dataclass(frozen=True)
class Choice:
    """What `auto_symbolic` chose for the edge from input `i` to output `o` of a layer: the `best`
    candidate. It replaces the edge if `fixed`; otherwise none was good enough."""

    layer: int
    i: int
    o: int
    best: Candidate
    fixed: bool


def suggest_symbolic(
    model: Network,
    x: np.ndarray,
    layer: int,
    i: int,
    o: int,
    *,
    library: Sequence[str] | None = None,
    top: int = 5,
) -> list[Candidate]:
    """The `top` functions that fit the edge from input `i` to output `o` of `model.layers[layer]`
    best, over its inputs at samples `x` `[n, in_features]` of the network's inputs.

    They are ranked by Candidate.score, which penalizes complexity. `library` names those of LIBRARY
    to try. Raises UserError for an edge that does not exist, and if its inputs have too few
    different values.
    """
    check_integer("top", top, 1)
    check_edge(model, layer, i, o)
    inputs, values = layer_curves(model, samples_of(model, x), layer)
    return candidates(inputs[:, i], values[:, i, o], library)[:top]


def fix_symbolic(
    model: Network,
    layer: int,
    i: int,
    o: int,
    name: str,
    affine: Affine | None = None,
    x: np.ndarray | None = None,
) -> Network:
    """A copy of the network in which the edge from input `i` to output `o` of `model.layers[layer]`
    is c f(a x + b) + d, where f is `name` of LIBRARY and `affine` = (a, b, c, d). Without `affine`,
    these are fitted at samples `x` `[n, in_features]` of the network's inputs. Raises UserError for
    an edge that does not exist, and for a function that cannot be fitted to it."""
    lookup("function", name, LIBRARY)
    check_edge(model, layer, i, o)
    if affine is None:
        if x is None:
            raise UserError("to fix an edge, give its affine parameters (a, b, c, d), or samples x")
        inputs, values = layer_curves(model, samples_of(model, x), layer)
        fitted = fit_function(name, inputs[:, i], values[:, i, o])
        if fitted is None:
            raise UserError(
                f"{name} cannot be fitted to edge {i} -> {o} of layer {layer} at "
                f"{len(np.unique(inputs[:, i]))} different inputs"
            )
        affine = fitted.affine
    elif np.shape(affine) != (4,) or not np.isfinite(affine).all():
        raise UserError(f"affine parameters {affine}: four finite numbers (a, b, c, d) are needed")
    layers: list[Layer] = [copied(part) for part in model.layers]
    layers[layer] = _fixed(model.layers[layer], {(i, o): (name, affine)})
    return Network(layers, model.activation, model.encoding, model.norm)


@other_names(lib="library=", r2_threshold="minimum_r2=")
def auto_symbolic(
    model: Network,
    x: np.ndarray,
    *,
    library: Sequence[str] | None = None,
    minimum_r2: float = 0.0,
) -> tuple[Network, list[Choice]]:
    """A copy of the network in which every edge is replaced by its best candidate with an R^2 of at
    least `minimum_r2`, and the choice for each edge. Edges without such a candidate stay as they
    are; masked edges, those of weight 0, and factors of products are skipped. `library` names those
    of LIBRARY to try.

    Layers are replaced in order, each for its inputs from the replaced layers before it at samples
    `x` `[n, in_features]`, so that these are in the domain of its functions.
    """
    network, chosen = model, []
    samples = samples_of(model, x)
    for index, layer in enumerate(model.layers):
        if isinstance(layer, MultiplicationLayer):
            continue
        inputs, values = layer_curves(network, samples, index)
        live, symbolic, edges = nonzero_edges(layer), symbolic_edges(layer), {}
        for i, o in np.argwhere(live).tolist():
            if (i, o) in symbolic:
                continue
            found = candidates(inputs[:, i], values[:, i, o], library)
            good = [candidate for candidate in found if candidate.r2 >= minimum_r2]
            if found:
                chosen.append(Choice(index, i, o, (good or found)[0], bool(good)))
            if good:
                edges[i, o] = (good[0].name, good[0].affine)
        layers: list[Layer] = [copied(part) for part in network.layers]
        if isinstance(layer, KANLayer):
            layer = with_mask(layer, live)
        layers[index] = _fixed(layer, edges) if edges else layer
        network = Network(layers, model.activation, model.encoding, model.norm)
    return network, chosen


def straightened(model: Network, x: np.ndarray, *, minimum_r2: float = 0.999) -> Network:
    """`model` with a line for every symbolic edge that is nearly linear, with an R^2 of at least
    `minimum_r2` at samples `x` `[n, in_features]` of the network's inputs: for example a parabola
    far from its vertex, whose parameters are large, cancel each other, and train slowly."""
    samples = samples_of(model, x)
    for index, layer in enumerate(model.layers):
        inputs, values = layer_curves(model, samples, index)
        for (i, o), (name, _) in symbolic_edges(layer).items():
            line = fit_function("x", inputs[:, i], values[:, i, o])
            if name != "x" and line is not None and line.r2 >= minimum_r2:
                model = fix_symbolic(model, index, i, o, "x", line.affine)
    return model


def _fixed(layer: Layer, edges: Mapping[tuple[int, int], tuple[str, Affine]]) -> SymbolicLayer:
    """`layer` with these edges symbolic, in addition to those that already are."""
    inner = layer.on_basis
    if inner is None:
        raise UserError(f"{layer!r}: only the edges of a KANLayer can be made symbolic")
    edges = symbolic_edges(layer) | dict(edges)
    functions = [(i, o, name) for (i, o), (name, _) in edges.items()]
    return SymbolicLayer(inner, functions, np.array([affine for _, affine in edges.values()]))

"""Pruning: a smaller network without the edges and nodes that contribute little."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tinykan.errors import UserError, check_integer, other_names
from tinykan.interpret.attribution import EdgeStatistics, backpropagated, edge_statistics
from tinykan.interpret.products import MultiplicationLayer
from tinykan.networks import Network


@other_names(node_th="node_threshold=", edge_th="edge_threshold=")
def prune(
    model: Network, x: np.ndarray, *, node_threshold: float = 1e-2, edge_threshold: float = 3e-2
) -> Network:
    """A smaller network without the hidden nodes and edges whose attribution score over `x`
    `[n, in]` is below the thresholds (0 or more; pykan's defaults). `model` is not changed.

    Nodes are judged as in KAN 2.0 (arXiv:2408.10205), by one score, where the first paper
    (arXiv:2404.19756, sec. 2.5.1) requires a strong edge on either side. Both remove the same
    nodes: one that hardly varies and one that is hardly used both have outgoing edges of low score.
    Nodes are cut out of the arrays; edges become 0 in their layer's mask. Nodes that are left
    without edges on one side are removed too, unless `node_threshold` is 0. Inputs, outputs, and
    one node of every hidden layer remain. A product is removed with all its factors; of those that
    are kept, a factor without edges is a constant. Networks with a norm keep all nodes, as it makes
    each depend on the others.

    The mean over `x` of what is removed is added to the bias of the layer, which is created if
    there is none, so that outputs change only by the variation of the removed parts. The default
    thresholds suit narrow networks. The wider a layer, the smaller each score; and as fractions add
    up to more than 1, scores grow towards the inputs: inspect the attribution of wide and deep
    networks first.

    Raises UserError as `attribution` does, for thresholds that are not numbers of 0 or more, and
    for symbolic edges.
    """
    for name, value in (("node_threshold", node_threshold), ("edge_threshold", edge_threshold)):
        if not isinstance(value, (int, float)) or not 0 <= value < math.inf:
            raise UserError(f"{name} {value!r} must be a number of 0 or more")
    statistics = edge_statistics(model, x)
    scores = backpropagated(statistics, np.ones(model.out_features))
    before = [layer.live_edges() for layer in model.layers]
    live = [b & (s >= edge_threshold) for b, s in zip(before, scores.edges, strict=True)]
    products = _products(model)
    live = [products[k].copy() if k in products else edges for k, edges in enumerate(live)]
    kept = [np.ones(len(nodes), dtype=bool) for nodes in scores.nodes]
    if node_threshold > 0 and model.norm is None:
        _remove_nodes(kept, live, scores.nodes, node_threshold, products)
    return _pruned(model, statistics, kept, live)


def remove(
    model: Network,
    x: np.ndarray,
    *,
    nodes: Sequence[tuple[int, int]] = (),
    edges: Sequence[tuple[int, int, int]] = (),
) -> Network:
    """A smaller network without the given `nodes` (k, i), input i of `model.layers[k]`, and `edges`
    (k, i, o), from input i to output o of `model.layers[k]`. Without a node (0, i), the network no
    longer takes input i. A product, a node after a MultiplicationLayer, goes with its factors, and
    none of several factors without it. As by `prune`, the mean over `x` `[n, in]` of what is
    removed is added to biases, and `model` is not changed.

    Raises UserError for nodes and edges that are not there, if a layer would have no inputs left,
    for hidden nodes of a network with a norm, inputs of one with an encoding, and symbolic edges.
    """
    statistics = edge_statistics(model, x)
    live = [layer.live_edges() for layer in model.layers]
    kept = [np.ones(len(edges), dtype=bool) for edges in live]
    kept.append(np.ones(model.out_features, dtype=bool))
    for k, i in nodes:
        check_integer("layer", k, 0, len(model.layers) - 1)
        check_integer(f"input of layer {k}", i, 0, len(kept[k]) - 1)
        if (model.encoding is not None and k == 0) or (model.norm is not None and k):
            raise UserError(f"node {(k, i)}: an encoding or a norm makes others depend on it")
        kept[k][i] = False
    for k, product in _products(model).items():
        alone = product.sum(axis=0) == 1
        if k + 2 < len(kept):
            kept[k + 1] &= kept[k] @ product | ~alone
        kept[k] &= _factors(product, kept[k + 1])
    for k, nodes_of in enumerate(kept):
        if not nodes_of.any():
            raise UserError(f"layer {k} would have no inputs left")
    for k, i, o in edges:
        check_integer("layer", k, 0, len(model.layers) - 1)
        check_integer(f"input of layer {k}", i, 0, len(live[k]) - 1)
        check_integer(f"output of layer {k}", o, 0, live[k].shape[1] - 1)
        if not live[k][i, o]:
            raise UserError(f"edge {(k, i, o)} is not there: it is masked or pruned")
        live[k][i, o] = False
    for k, edges_of in enumerate(live):
        edges_of &= kept[k][:, None] & kept[k + 1]
    return _pruned(model, statistics, kept, live)


def _pruned(
    model: Network,
    statistics: Sequence[EdgeStatistics],
    kept: Sequence[np.ndarray],
    live: Sequence[np.ndarray],
) -> Network:
    """`model` with the nodes that are `kept` and the edges that are `live`, and the means of the
    others in its biases."""
    layers = []
    for k, layer in enumerate(model.layers):
        shift = (statistics[k].mean * (layer.live_edges() & ~live[k])).sum(axis=0)
        layers.append(layer.pruned(kept[k], kept[k + 1], live[k], shift))
    return Network(layers, model.activation, model.encoding, model.norm)


def edge_count(model: Network) -> int:
    """The number of live edges of all layers: those that are neither masked nor pruned."""
    return sum(int(layer.live_edges().sum()) for layer in model.layers)


def _remove_nodes(
    kept: list[np.ndarray],
    live: list[np.ndarray],
    scores: Sequence[np.ndarray],
    threshold: float,
    products: dict[int, np.ndarray],
) -> None:
    """Removes hidden nodes of low score from `kept`, and their edges from `live`; then nodes that
    no longer have incoming or outgoing edges. `products` are the edges of layers that multiply: a
    product goes with all its factors, of which some may be constants."""
    hidden = range(1, len(kept) - 1)
    for k in reversed(hidden):
        kept[k] = scores[k] >= threshold
        kept[k][scores[k].argmax()] = True
        if k in products:
            kept[k] = _factors(products[k], kept[k + 1])
    for k in hidden:
        live[k - 1] &= kept[k - 1][:, None] & kept[k]
        kept[k] &= live[k - 1].any(axis=0)
        if k in products:  # a factor without edges is a constant
            kept[k] = _factors(products[k], kept[k] @ products[k])
    for k in reversed(hidden):
        live[k] &= kept[k][:, None] & kept[k + 1]
        kept[k] &= live[k].any(axis=1)
        live[k - 1] &= kept[k]
    # Where no path is left from inputs to outputs only biases matter, but layers need a node.
    for k in reversed(hidden):
        kept[k][scores[k].argmax()] |= not kept[k].any()
        if k in products:
            kept[k] = _factors(products[k], kept[k + 1])
            live[k] = products[k] & kept[k + 1]


def _products(model: Network) -> dict[int, np.ndarray]:
    """The edges `[in, out]` of the layers that multiply, by the numbers of these layers."""
    return {
        k: layer.live_edges()
        for k, layer in enumerate(model.layers)
        if isinstance(layer, MultiplicationLayer)
    }


def _factors(product: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Which inputs `[in]` are factors of the outputs `kept` `[out]` of a layer that multiplies."""
    return np.asarray(product[:, kept].any(axis=1))

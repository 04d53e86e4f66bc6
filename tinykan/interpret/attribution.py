"""What the edges and nodes of a network contribute to its outputs, and the smaller network without
those that contribute little."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tinygrad import Tensor

from tinykan.errors import UserError
from tinykan.networks import Network
from tinykan.tensors import learnable


@dataclass(frozen=True, eq=False)
class Attribution:
    """Scores, 0 or more: `edges[k]` `[in, out]` of layer k, and `nodes[k]` `[in]` of the features
    that it takes; `nodes[-1]` are the network's outputs."""

    edges: tuple[np.ndarray, ...]
    nodes: tuple[np.ndarray, ...]


def attribution(
    model: Network, x: np.ndarray, *, output_scores: np.ndarray | None = None
) -> Attribution:
    """How much each edge and node of `model` varies its outputs over the samples `x` `[n, in]`.

    From the outputs backwards (KAN 2.0, arXiv:2408.10205, sec. 4.1): an edge has the share
    std(edge) / std(sum) in the score of the node that sums it, and a node the sum of the scores of
    the edges that read it. Outputs begin with `output_scores` `[out]`, by default 1 each; pykan's
    scores are means over the outputs, these divided by their number.

    Shares add up to 1 or more, as the parts of a sum may cancel. What varies by no more than
    rounding has score 0. Neglected is what stands between a node's sum and the edges that read it:
    an activation may flatten the variation that the score follows, and a norm makes each feature
    depend on its neighbours. With an encoding, nodes[0] are the encoded features. Takes memory for
    n * in * out numbers of the largest layer: some thousand samples are enough.

    Raises UserError unless `x` is 2 or more rows of finite numbers, on which the network is finite.
    """
    return _attribution(_observe(model, x), _output_scores(model, output_scores))


def prune(
    model: Network, x: np.ndarray, *, node_threshold: float = 1e-2, edge_threshold: float = 3e-2
) -> Network:
    """A smaller network without the hidden nodes and the edges whose attribution over `x` `[n, in]`
    is below the thresholds (0 or more; pykan's defaults). `model` is left as it is.

    The rule for nodes is KAN 2.0's. It holds a node against one number where the first paper
    (arXiv:2404.19756, sec. 2.5.1) asks for a strong edge on either side of it, and finds the same
    nodes: one that hardly varies, and one that is hardly read, both have outgoing edges of low
    score. Nodes are cut out of the arrays; edges become 0 in their layer's mask. Nodes that this
    leaves without edges on one side go too, unless `node_threshold` is 0. Inputs, outputs, and one
    node of every hidden layer stay. Networks with a norm keep all nodes, as it ties each to the
    others.

    The mean over `x` of what is removed goes to the bias of the next layer, which is made if there
    is none: outputs change by the variation of the removed parts alone. The defaults suit narrow
    networks. The wider a layer the smaller each share, and as shares add up to more than 1, scores
    grow towards the inputs: for wide and deep networks look at the attribution first.

    Raises UserError as `attribution` does, for thresholds that are no numbers of 0 or more, and for
    symbolic edges.
    """
    for name, value in (("node_threshold", node_threshold), ("edge_threshold", edge_threshold)):
        if not isinstance(value, (int, float)) or not 0 <= value < math.inf:
            raise UserError(f"{name} {value!r} must be a number of 0 or more")
    seen = _observe(model, x)
    scores = _attribution(seen, np.ones(model.out_features))
    before = [layer.live_edges() for layer in model.layers]
    live = [b & (s >= edge_threshold) for b, s in zip(before, scores.edges, strict=True)]
    kept = [np.ones(len(nodes), dtype=bool) for nodes in scores.nodes]
    if node_threshold > 0 and model.norm is None:
        _remove_nodes(kept, live, scores.nodes, node_threshold)
    layers = [
        layer.pruned(kept[k], kept[k + 1], live[k], (seen[k].mean * (before[k] & ~live[k])).sum(0))
        for k, layer in enumerate(model.layers)
    ]
    return Network(layers, model.activation, model.encoding, model.norm)


def edge_count(model: Network) -> int:
    """The number of edges that are there: a measure of what `prune` removed."""
    return sum(int(layer.live_edges().sum()) for layer in model.layers)


def checked_samples(model: Network, x: np.ndarray) -> Tensor:
    """`x` `[n, in]` in the type and on the device of the model's weights, or a UserError."""
    try:
        values = np.asarray(x, dtype=np.float64)
    except (TypeError, ValueError):
        raise UserError(f"samples of type {type(x).__name__} must be an array of numbers") from None
    if values.ndim != 2 or values.shape[1] != model.in_features or len(values) < 2:
        raise UserError(
            f"samples of shape {values.shape} must be [n, {model.in_features}], n at least 2"
        )
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        raise UserError(f"samples hold {values[tuple(bad[0])]} in row {bad[0][0]}: not finite")
    weight = learnable(model)[0]
    return Tensor(values, dtype=weight.dtype).to(weight.device).realize()


@dataclass(frozen=True, eq=False)
class _Seen:
    """What a layer did on the samples: its edges' means and deviations `[in, out]`, and the
    deviations of their sums `[out]`."""

    mean: np.ndarray
    deviation: np.ndarray
    sum_deviation: np.ndarray


def _observe(model: Network, x: np.ndarray) -> list[_Seen]:
    seen = []
    for number, (layer, values) in enumerate(
        zip(model.layers, model.layer_inputs(checked_samples(model, x)), strict=True), 1
    ):
        edges = layer.edges(values).numpy()  # [n, in, out]
        size = np.abs(edges).max(axis=0).astype(np.float64)
        if not np.isfinite(size).all():
            raise UserError(f"layer {number} is not finite on these samples: nothing to attribute")
        rounding = 4 * np.finfo(edges.dtype).eps
        sums = edges.sum(axis=1, dtype=np.float64)
        deviation, sum_deviation = edges.std(axis=0, dtype=np.float64), sums.std(axis=0)
        seen.append(
            _Seen(
                edges.mean(axis=0, dtype=np.float64),
                np.where(deviation > rounding * size, deviation, 0.0),
                np.where(sum_deviation > rounding * size.sum(axis=0), sum_deviation, 0.0),
            )
        )
    return seen


def _output_scores(model: Network, given: np.ndarray | None) -> np.ndarray:
    if given is None:
        return np.ones(model.out_features)
    scores = np.asarray(given, dtype=np.float64)
    if scores.shape != (model.out_features,) or not (np.isfinite(scores) & (scores >= 0)).all():
        raise UserError(f"output scores must be {model.out_features} numbers of 0 or more")
    return scores


def _attribution(seen: Sequence[_Seen], output_scores: np.ndarray) -> Attribution:
    edges: list[np.ndarray] = []
    nodes = [output_scores]
    for layer in reversed(seen):
        varies = layer.sum_deviation > 0
        share = np.where(varies, layer.deviation / np.where(varies, layer.sum_deviation, 1.0), 0.0)
        edges.append(share * nodes[-1])
        nodes.append(edges[-1].sum(axis=1))
    return Attribution(tuple(reversed(edges)), tuple(reversed(nodes)))


def _remove_nodes(
    kept: list[np.ndarray],
    live: list[np.ndarray],
    scores: Sequence[np.ndarray],
    threshold: float,
) -> None:
    """Strikes hidden nodes of low score out of `kept`, and their edges out of `live`; then nodes
    that vary no more, and nodes that are read no more."""
    hidden = range(1, len(kept) - 1)
    for k in hidden:
        kept[k] = scores[k] >= threshold
        kept[k][scores[k].argmax()] = True
    for k in hidden:
        live[k - 1] &= kept[k - 1][:, None] & kept[k]
        kept[k] &= live[k - 1].any(axis=0)
    for k in reversed(hidden):
        live[k] &= kept[k][:, None] & kept[k + 1]
        kept[k] &= live[k].any(axis=1)
        live[k - 1] &= kept[k]
    # A path that broke leaves nothing but the bias of the outputs, and layers need some node.
    for k in hidden:
        kept[k][scores[k].argmax()] |= not kept[k].any()

"""Attribution: how much the edges and nodes of a network contribute to its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tinygrad import Tensor

from tinykan.errors import UserError
from tinykan.interpret.products import MultiplicationLayer
from tinykan.networks import Network
from tinykan.tasks.arrays import as_rows
from tinykan.tensors import learnable


@dataclass(frozen=True, eq=False)
class Attribution:
    """Scores of 0 or more: `edges[k]` `[in, out]` are those of the edges of layer k, `nodes[k]`
    `[in]` those of its inputs, and `nodes[-1]` those of the network's outputs."""

    edges: tuple[np.ndarray, ...]
    nodes: tuple[np.ndarray, ...]


def attribution(
    model: Network, x: np.ndarray, *, output_scores: np.ndarray | None = None
) -> Attribution:
    """Attribution scores of all edges and nodes of `model`, over the samples `x` `[n, in]`.

    Scores are propagated backwards from the outputs (KAN 2.0, arXiv:2408.10205, sec. 4.1): an edge
    receives the fraction std(edge) / std(sum) of the score of the node that it leads to, and a node
    the sum of the scores of its outgoing edges. Outputs start with `output_scores` `[out]`, by
    default 1 each; pykan's scores are means over the outputs: these, divided by their number. Each
    factor of a MultiplicationLayer that varies receives the whole score of its product.

    The fractions of a node add up to 1 or more, as the terms of a sum may cancel. Edges and nodes
    that vary by no more than rounding have score 0. Activations and norms between a node's sum and
    its outgoing edges are neglected: an activation may flatten the variation on which the score is
    based, and a norm makes each feature depend on the others. With an encoding, nodes[0] are the
    encoded features. Memory is needed for n * in * out values of the largest layer: a few thousand
    samples are enough.

    Raises UserError unless `x` has 2 or more rows of finite numbers, and the network is finite on
    them.
    """
    return backpropagated(edge_statistics(model, x), _output_scores(model, output_scores))


def checked_samples(model: Network, x: np.ndarray) -> Tensor:
    """`x` `[n, in]` in the type and on the device of the model's weights, or a UserError."""
    values = as_rows(x, model.in_features, name="samples")
    if len(values) < 2:
        raise UserError(f"samples of shape {values.shape}: at least 2 rows are needed")
    weight = learnable(model)[0]
    return Tensor(values, dtype=weight.dtype).to(weight.device).realize()


@dataclass(frozen=True, eq=False)
class EdgeStatistics:
    """The means and standard deviations `[in, out]` of a layer's edges over samples, and the
    standard deviations `[out]` of their sums."""

    mean: np.ndarray
    deviation: np.ndarray
    sum_deviation: np.ndarray


def edge_statistics(model: Network, x: np.ndarray) -> list[EdgeStatistics]:
    """The statistics of each layer at samples `x` `[n, in]` of the network's inputs."""
    statistics = []
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
        deviation = np.where(deviation > rounding * size, deviation, 0.0)
        sum_deviation = np.where(sum_deviation > rounding * size.sum(axis=0), sum_deviation, 0.0)
        if isinstance(layer, MultiplicationLayer):
            deviation = np.where(deviation > 0, 1.0, 0.0)
            sum_deviation = deviation.max(axis=0)
        mean = edges.mean(axis=0, dtype=np.float64)
        statistics.append(EdgeStatistics(mean, deviation, sum_deviation))
    return statistics


def _output_scores(model: Network, given: np.ndarray | None) -> np.ndarray:
    if given is None:
        return np.ones(model.out_features)
    scores = np.asarray(given, dtype=np.float64)
    if scores.shape != (model.out_features,) or not (np.isfinite(scores) & (scores >= 0)).all():
        raise UserError(f"output scores must be {model.out_features} numbers of 0 or more")
    return scores


def backpropagated(statistics: Sequence[EdgeStatistics], output_scores: np.ndarray) -> Attribution:
    """The scores that follow from those of the outputs `[out]`."""
    edges: list[np.ndarray] = []
    nodes = [output_scores]
    for layer in reversed(statistics):
        varies, total = layer.sum_deviation > 0, layer.sum_deviation
        fraction = np.where(varies, layer.deviation / np.where(varies, total, 1.0), 0.0)
        edges.append(fraction * nodes[-1])
        nodes.append(edges[-1].sum(axis=1))
    return Attribution(tuple(reversed(edges)), tuple(reversed(nodes)))

"""The curves that a network's edges compute, and the ranges of their inputs."""

from __future__ import annotations

import numpy as np
from tinygrad import Tensor

from tinykan.errors import UserError, check_integer
from tinykan.interpret.symbolic import nonzero_edges
from tinykan.networks import Network
from tinykan.tasks.arrays import as_rows
from tinykan.tensors import learnable

MAX_SAMPLES = 4096  # of the rows of x


def edge_curve(
    model: Network, x: np.ndarray, layer: int, i: int, o: int
) -> tuple[np.ndarray, np.ndarray]:
    """The inputs `[n]`, in ascending order, and the values `[n]` of the edge from input `i` to
    output `o` of `model.layers[layer]`, at samples `x` `[n, in_features]` of the network's inputs
    (at most 4,096 of them). Raises UserError for an edge that does not exist."""
    check_edge(model, layer, i, o)
    inputs, values = layer_curves(model, samples_of(model, x), layer)
    order = np.argsort(inputs[:, i], kind="stable")
    return inputs[order, i], values[order, i, o]


def input_ranges(model: Network, x: np.ndarray) -> list[np.ndarray]:
    """The lowest and the highest value `[in, 2]` of each input of every layer, at samples `x`
    `[n, in_features]` of the network's inputs."""
    inputs = _layer_inputs(model, as_rows(x, model.in_features, name="samples"))
    arrays = [values.numpy() for values in inputs]
    return [np.stack([a.min(axis=0), a.max(axis=0)], axis=-1) for a in arrays]


def check_edge(model: Network, layer: int, i: int, o: int) -> None:
    """Raises UserError if there is no such edge."""
    check_integer("layer", layer, 0, len(model.layers) - 1)
    check_integer("input", i, 0, model.layers[layer].in_features - 1)
    check_integer("output", o, 0, model.layers[layer].out_features - 1)
    if not nonzero_edges(model.layers[layer])[i, o]:
        raise UserError(f"edge {i} -> {o} of layer {layer} is not there: it is masked or 0")


def samples_of(model: Network, x: np.ndarray) -> np.ndarray:
    """At most 4,096 of the rows `x`, from all over them."""
    x = as_rows(x, model.in_features, name="samples")
    return x[:: -(-len(x) // MAX_SAMPLES)]


def layer_curves(model: Network, x: np.ndarray, layer: int) -> tuple[np.ndarray, np.ndarray]:
    """The inputs `[n, in]` of a layer at samples `x`, and its edges' values `[n, in, out]`."""
    inputs = _layer_inputs(model, x)[layer]
    values = model.layers[layer].edges(inputs).numpy()
    if not np.isfinite(values).all():
        raise UserError(f"the edges of layer {layer} are not finite at the samples")
    return inputs.numpy(), values


def _layer_inputs(model: Network, x: np.ndarray) -> list[Tensor]:
    weight = learnable(model)[0]
    return model.layer_inputs(Tensor(x, dtype=weight.dtype).to(weight.device))

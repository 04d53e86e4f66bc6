"""Nonlinear least squares for the affine parameters of networks whose edges are all symbolic
(needs SciPy, of the `interpret` extra)."""

from __future__ import annotations

import numpy as np

from tinykan.errors import UserError
from tinykan.interpret.constants import least_squares
from tinykan.interpret.library import LIBRARY
from tinykan.interpret.symbolic import SymbolicLayer, copied, nonzero_edges, symbolic_edges
from tinykan.layers import Layer
from tinykan.networks import Network
from tinykan.tensors import like


def fit_affine(model: Network, x: np.ndarray, y: np.ndarray) -> Network:
    """A copy of `model` whose affine parameters are a minimum of the mean squared error at inputs
    `x` `[n, in]` and targets `y` `[n, out]`, each output's relative to its variance: the same,
    where the functions are not finite. Raises UserError for an edge that is not symbolic, and an
    activation between layers."""
    symbolic = [symbolic_edges(layer) for layer in model.layers]
    for index, (layer, edges) in enumerate(zip(model.layers, symbolic, strict=True)):
        for i, o in np.argwhere(nonzero_edges(layer)).tolist():
            if (i, o) not in edges:
                raise UserError(f"edge {i} -> {o} of layer {index} is not symbolic")
    if model.activation != "identity" or model.encoding is not None or model.norm is not None:
        raise UserError("affine parameters are fitted for networks of symbolic edges alone")
    sizes, scale = [len(edges) for edges in symbolic], y.std(axis=0)
    start = np.array([affine for edges in symbolic for _, affine in edges.values()]).reshape(-1, 4)
    ends, biases = np.cumsum(sizes), [_bias(layer) for layer in model.layers]

    def residuals(values: np.ndarray) -> np.ndarray:
        nodes, rows = x, values.reshape(-1, 4)
        for bias, edges, end in zip(biases, symbolic, ends, strict=True):
            sums = np.tile(bias, (len(x), 1))
            own = rows[end - len(edges) : end]
            for ((i, o), (name, _)), (a, b, c, d) in zip(edges.items(), own, strict=True):
                sums[:, o] += c * LIBRARY[name].numpy(a * nodes[:, i] + b) + d
            nodes = sums
        return ((nodes - y) / scale).ravel()

    found = least_squares(residuals, start.ravel())
    rows = start if found is None else found.values.reshape(-1, 4)
    layers: list[Layer] = []
    for layer, end, count in zip(model.layers, ends, sizes, strict=True):
        twin = copied(layer)
        if isinstance(twin, SymbolicLayer):
            twin.affine = like(twin.affine, rows[end - count : end])
        layers.append(twin)
    return Network(layers)


def _bias(layer: Layer) -> np.ndarray:
    bias = None if layer.on_basis is None else layer.on_basis.bias
    values = np.zeros(layer.out_features) if bias is None else bias.numpy()
    return values.astype(np.float64)

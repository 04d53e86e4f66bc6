"""Nonlinear least squares for the affine parameters of networks whose edges are all symbolic
(needs SciPy, of the `interpret` extra)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tinykan.errors import UserError
from tinykan.interpret.constants import least_squares
from tinykan.interpret.library import LIBRARY
from tinykan.interpret.products import MultiplicationLayer
from tinykan.interpret.symbolic import SymbolicLayer, copied, nonzero_edges, symbolic_edges
from tinykan.layers import Layer
from tinykan.networks import Network
from tinykan.tensors import like


def fit_affine(model: Network, x: np.ndarray, y: np.ndarray) -> Network:
    """A copy of `model` with affine parameters of its edges, and biases of products, that minimize
    the mean squared error at inputs `x` `[n, in]` and targets `y` `[n, out]`, each output's
    relative to its variance: the same, where the functions are not finite. Raises UserError for an
    edge that is not symbolic, and an activation between layers."""
    for index, layer in enumerate(model.layers):
        edges = symbolic_edges(layer)
        for i, o in np.argwhere(nonzero_edges(layer)).tolist():
            if (i, o) not in edges and not isinstance(layer, MultiplicationLayer):
                raise UserError(f"edge {i} -> {o} of layer {index} is not symbolic")
    if model.activation != "identity" or model.encoding is not None or model.norm is not None:
        raise UserError("affine parameters are fitted for networks of symbolic edges alone")
    parts, scale = [_part(layer) for layer in model.layers], y.std(axis=0)
    ends = np.cumsum([len(start) for start, _ in parts])

    def residuals(values: np.ndarray) -> np.ndarray:
        nodes = x
        for (start, function), end in zip(parts, ends, strict=True):
            nodes = function(values[end - len(start) : end], nodes)
        return ((nodes - y) / scale).ravel()

    start = np.concatenate([start for start, _ in parts])
    found = least_squares(residuals, start)
    values = start if found is None else found.values
    layers: list[Layer] = []
    for layer, (own, _), end in zip(model.layers, parts, ends, strict=True):
        twin = copied(layer)
        if isinstance(twin, SymbolicLayer):
            twin.affine = like(twin.affine, values[end - len(own) : end].reshape(-1, 4))
        elif isinstance(twin, MultiplicationLayer):
            twin.bias = like(twin.bias, values[end - len(own) : end])
        layers.append(twin)
    return Network(layers)


Part = tuple[np.ndarray, Callable[[np.ndarray, np.ndarray], np.ndarray]]


def _part(layer: Layer) -> Part:
    """The parameters `[k]` of a layer that are fitted, and its outputs `[n, out]` as a function of
    these and of its inputs `[n, in]`."""
    if isinstance(layer, MultiplicationLayer):
        groups = layer.groups

        def products(values: np.ndarray, nodes: np.ndarray) -> np.ndarray:
            return np.stack([nodes[:, group].prod(axis=1) for group in groups], axis=-1) + values

        return layer.bias.numpy().astype(np.float64), products
    edges, bias = symbolic_edges(layer), _bias(layer)

    def sums(values: np.ndarray, nodes: np.ndarray) -> np.ndarray:
        total, rows = np.tile(bias, (len(nodes), 1)), values.reshape(-1, 4)
        for ((i, o), (name, _)), (a, b, c, d) in zip(edges.items(), rows, strict=True):
            total[:, o] += c * LIBRARY[name].numpy(a * nodes[:, i] + b) + d
        return total

    return np.array([affine for _, affine in edges.values()]).ravel(), sums


def _bias(layer: Layer) -> np.ndarray:
    bias = None if layer.on_basis is None else layer.on_basis.bias
    values = np.zeros(layer.out_features) if bias is None else bias.numpy()
    return values.astype(np.float64)

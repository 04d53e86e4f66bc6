"""Coordinates in which a network's loss is about equally curved in every direction, for L-BFGS.

The loss's curvature in the coefficients of an edge is, to Gauss and Newton, the sum over samples of
`s^2 phi phi^T`, with the basis functions `phi` there and the output's sensitivity `s` to the edge's
node. If that sum is `L L^T`, the coefficients are `L^-T z` with coordinates `z` in which it is 1.
Coefficients that few samples decide on are tied to their neighbours, so that changes are continued
smoothly at the edges of the data. Those that no sample decides on stay what they are: what was
learned there from other data is not forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from tinygrad import Tensor

from tinykan.activations import ACTIVATIONS
from tinykan.basis import BSpline
from tinykan.fitting.grids import kan_layers, knots_of
from tinykan.fitting.least_squares import b_splines
from tinykan.networks import Network
from tinykan.tensors import learnable

SAMPLES = 4096  # at most, from which the curvature is taken
# In units of the mean curvature of a spline's coefficients: of their differences of order `order` +
# 1, which are 0 for polynomials; and of other bases' coefficients, against sums without an inverse.
ROUGHNESS, RIDGE = 1e-3, 1e-10


class Coordinates:
    """The coordinates of the learnable numbers of `model`, side by side in one vector, for inputs
    like `x` `[n, in]`. Only layers with several functions on an edge have such coordinates: on
    dense ones they are no better than the weights themselves."""

    def __init__(self, model: Network, x: Tensor) -> None:
        factors = dict(_factors(model, x[:: -(-len(x) // SAMPLES)].contiguous()))
        self._parts, start = [], 0
        for weight in learnable(model):
            end = start + int(weight.numel())
            if id(weight) in factors:
                self._parts.append((slice(start, end), factors[id(weight)]))
            start = end

    def of(self, weights: np.ndarray) -> np.ndarray:
        """The coordinates of the weights."""
        return self._changed(weights, lambda factor, c: np.linalg.solve(factor.swapaxes(1, 2), c))

    def weights(self, coordinates: np.ndarray) -> np.ndarray:
        """The weights at the coordinates."""
        return self._changed(coordinates, lambda factor, z: factor.swapaxes(1, 2) @ z)

    def gradient(self, gradient: np.ndarray) -> np.ndarray:
        """The gradient to the coordinates, from that to the weights."""
        return self._changed(gradient, lambda factor, g: factor @ g)

    def _changed(self, vector: np.ndarray, change: Callable) -> np.ndarray:
        changed = vector.copy()
        for part, factor in self._parts:
            rows = vector[part].reshape(len(factor), factor.shape[1], -1)
            changed[part] = change(factor, rows).ravel()
        return changed


def _factors(model: Network, x: Tensor) -> Iterator[tuple[int, np.ndarray]]:
    """For each tensor `[in, n, out]`, by its id, the inverses `[in, n, n]` of the factors `L`."""
    inputs, weights = _at_samples(model, x)
    for number, layer in kan_layers(model):
        values, weight, basis = inputs[number], weights[number], layer.basis
        if basis.n_functions == 1:
            continue
        if isinstance(basis, BSpline):
            knots = knots_of(basis, layer.in_features)
            # One input at a time, for these are large.
            pairs = zip(values.T, knots, strict=True)
            grams = [_gram(b_splines(v[None], k[None], basis.order)[0], weight) for v, k in pairs]
            steps = np.diff(np.eye(basis.n_functions), basis.order + 1, axis=0)
        else:
            phi = basis(Tensor(values, dtype=x.dtype)).numpy().astype(np.float64)
            grams = [_gram(phi[:, i], weight) for i in range(layer.in_features)]
            steps = np.zeros((0, basis.n_functions))
        yield id(layer.coefficients), np.stack([_inverse(gram, steps) for gram in grams])
        none = np.zeros((0, 1))
        if layer.base is not None and layer.base_weight is not None:
            base = ACTIVATIONS[layer.base](Tensor(values, dtype=x.dtype)).numpy().astype(np.float64)
            grams = [_gram(base[:, i : i + 1], weight) for i in range(layer.in_features)]
            yield id(layer.base_weight), np.stack([_inverse(gram, none) for gram in grams])
        if layer.bias is not None:
            yield id(layer.bias), _inverse(_gram(np.ones((len(weight), 1)), weight), none)[None]


def _at_samples(model: Network, x: Tensor) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The inputs `[n, in]` of each layer, and the mean squared sensitivity `[n]` of the network's
    output to what one of the layer's nodes gives to the next."""
    inputs = model.layer_inputs(x)
    output = model.layers[-1](inputs[-1])
    # The squares of sums with random signs are, on average, the sums of squares.
    signs = np.random.default_rng(0).choice([-1.0, 1.0], output.shape)
    total = (output * Tensor(signs, dtype=output.dtype)).sum()
    slopes = total.gradient(*inputs[1:]) if len(inputs) > 1 else []
    Tensor.realize(*inputs, *slopes)
    squares = [(s.numpy().astype(np.float64) ** 2).mean(1) for s in slopes]
    return [v.numpy().astype(np.float64) for v in inputs], [*squares, np.ones(len(x))]


def _gram(functions: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The mean over samples of the products of `functions` `[n, functions]`."""
    return functions.T @ (weight[:, None] * functions) / len(functions)


def _inverse(gram: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """The inverse of the factor of `gram`, with the prior that `steps` `[m, functions]` of the
    coefficients are small. Functions that are 0 at all samples stay what they are."""
    power = np.diag(gram)
    mean, seen = power.mean(), power > 0
    if not (np.isfinite(gram).all() and mean > 0):
        return np.eye(len(gram))
    steps = steps[(steps[:, ~seen] == 0).all(1)]
    prior = ROUGHNESS * steps.T @ steps + np.diag(np.where(seen, RIDGE, 1.0))
    return np.linalg.inv(np.linalg.cholesky(gram + mean * prior))

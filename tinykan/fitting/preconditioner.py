"""Gauss-Newton preconditioner for L-BFGS.

The Gauss-Newton approximation of the loss's Hessian in the coefficients of an edge is the mean over
samples of `s^2 phi phi^T`, where `phi` are the basis functions and `s` is the sensitivity of the
output to the edge's node. With its Cholesky factorization `L L^T`, L-BFGS minimizes over `z = L^T
coefficients`, in which that Hessian is the identity. A prior on differences of neighboring
coefficients continues changes smoothly over functions that few samples see. Coefficients of
functions that are 0 at all samples keep their values: what other data taught them is not forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from tinygrad import Tensor

from tinykan.activations import ACTIVATIONS
from tinykan.basis import BSpline
from tinykan.fitting.grids import kan_layers, knot_vectors
from tinykan.fitting.least_squares import b_splines
from tinykan.networks import Network
from tinykan.tensors import learnable

MAX_SAMPLES = 4096  # from which the Hessian is estimated
# Relative to the mean diagonal of an edge's Hessian: the weight of the squared differences of order
# `order` + 1 of a spline's coefficients, which are 0 for polynomials; and of the squared
# coefficients, so that every Hessian has a factorization.
ROUGHNESS, RIDGE = 1e-3, 1e-10
# Relative to the mean weight of the samples: a base function that is smaller at all of them, as
# silu is far below 0, is taken to be 0. The weight beside it could grow without limit.
UNSEEN = 1e-14


class GaussNewtonPreconditioner:
    """Maps the parameters of `model`, concatenated to one vector, to preconditioned variables `z`,
    with the Hessian at inputs `x` `[n, in]`. Layers with one function on an edge are left as they
    are: dense layers did not gain from it. Without inputs, all parameters are."""

    def __init__(self, model: Network, x: Tensor | None) -> None:
        inverses: dict[int, np.ndarray] = {}
        if x is not None:
            inverses |= _inverse_factors(model, x[:: -(-len(x) // MAX_SAMPLES)].contiguous())
        self._parts, start = [], 0
        for weight in learnable(model):
            end = start + int(weight.numel())
            if id(weight) in inverses:
                self._parts.append((slice(start, end), inverses[id(weight)]))
            start = end

    def from_weights(self, weights: np.ndarray) -> np.ndarray:
        """`z` from the weights."""
        return self._mapped(weights, lambda inverse, w: np.linalg.solve(inverse.swapaxes(1, 2), w))

    def to_weights(self, z: np.ndarray) -> np.ndarray:
        """The weights from `z`."""
        return self._mapped(z, lambda inverse, part: inverse.swapaxes(1, 2) @ part)

    def gradient(self, gradient: np.ndarray) -> np.ndarray:
        """The gradient with respect to `z`, from that with respect to the weights."""
        return self._mapped(gradient, lambda inverse, g: inverse @ g)

    def _mapped(self, vector: np.ndarray, linear_map: Callable) -> np.ndarray:
        mapped = vector.copy()
        for part, inverse in self._parts:
            rows = vector[part].reshape(len(inverse), inverse.shape[1], -1)
            mapped[part] = linear_map(inverse, rows).ravel()
        return mapped


def _inverse_factors(model: Network, x: Tensor) -> Iterator[tuple[int, np.ndarray]]:
    """For each tensor `[in, n, out]`, by its id, the inverses `[in, n, n]` of the factors `L`."""
    inputs, weights = _inputs_and_sensitivities(model, x)
    for index, layer in kan_layers(model):
        values, weight, basis = inputs[index], weights[index], layer.basis
        if basis.n_functions == 1:
            continue
        if isinstance(basis, BSpline):
            knots = knot_vectors(basis, layer.in_features)
            # One input at a time, as the values of a basis take much memory.
            pairs = zip(values.T, knots, strict=True)
            bases = (b_splines(v[None], k[None], basis.order)[0] for v, k in pairs)
            hessians = [_hessian(phi, weight) for phi in bases]
            differences = np.diff(np.eye(basis.n_functions), basis.order + 1, axis=0)
        else:
            phi = basis(Tensor(values, dtype=x.dtype)).numpy().astype(np.float64)
            hessians = [_hessian(phi[:, i], weight) for i in range(layer.in_features)]
            differences = np.zeros((0, basis.n_functions))
        yield (
            id(layer.coefficients),
            np.stack([_inverse(h, differences) for h in hessians]),
        )
        none = np.zeros((0, 1))
        if layer.base is not None and layer.base_weight is not None:
            base = ACTIVATIONS[layer.base](Tensor(values, dtype=x.dtype)).numpy().astype(np.float64)
            hessians = [_hessian(base[:, i : i + 1], weight) for i in range(layer.in_features)]
            least = UNSEEN * weight.mean()
            seen = [np.where(h < least, 0.0, h) for h in hessians]
            yield id(layer.base_weight), np.stack([_inverse(h, none) for h in seen])
        if layer.bias is not None:
            yield id(layer.bias), _inverse(_hessian(np.ones((len(weight), 1)), weight), none)[None]


def _inputs_and_sensitivities(
    model: Network, x: Tensor
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The inputs `[n, in]` of each layer, and the mean squared sensitivity `[n]` of the network's
    outputs to the layer's nodes."""
    inputs = model.layer_inputs(x)
    output = model.layers[-1](inputs[-1])
    # The square of a sum with random signs is, in expectation, the sum of squares (Hutchinson).
    signs = np.random.default_rng(0).choice([-1.0, 1.0], output.shape)
    total = (output * Tensor(signs, dtype=output.dtype)).sum()
    slopes = total.gradient(*inputs[1:]) if len(inputs) > 1 else []
    Tensor.realize(*inputs, *slopes)
    squares = [(s.numpy().astype(np.float64) ** 2).mean(1) for s in slopes]
    return [v.numpy().astype(np.float64) for v in inputs], [*squares, np.ones(len(x))]


def _hessian(functions: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The mean over samples of the weighted products of `functions` `[n, functions]`."""
    return functions.T @ (weight[:, None] * functions) / len(functions)


def _inverse(hessian: np.ndarray, differences: np.ndarray) -> np.ndarray:
    """The inverse of the Cholesky factor of `hessian`, with a prior that the `differences`
    `[m, functions]` of the coefficients are small. Functions that are 0 at all samples are left
    out."""
    diagonal = np.diag(hessian)
    mean, seen = diagonal.mean(), diagonal > 0
    if not (np.isfinite(hessian).all() and mean > 0):
        return np.eye(len(hessian))
    differences = differences[(differences[:, ~seen] == 0).all(1)]
    prior = ROUGHNESS * differences.T @ differences + np.diag(np.where(seen, RIDGE, 1.0))
    return np.linalg.inv(np.linalg.cholesky(hessian + mean * prior))

"""From a trained network to the form that export formats are written from."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import groupby
from typing import Any

import numpy as np
from tinygrad import Tensor

from tinykan.activations import ACTIVATIONS
from tinykan.basis import Basis, BSpline, DenseBasis, Linear
from tinykan.errors import UserError
from tinykan.export.expressions import Expression, X, parameter, traced
from tinykan.export.form import (
    Combination,
    Edges,
    Multiply,
    Normalize,
    Program,
    Splines,
    Stage,
    Sum,
)
from tinykan.interpret.library import LIBRARY
from tinykan.interpret.products import MultiplicationLayer
from tinykan.interpret.symbolic import SymbolicLayer, symbolic_edges
from tinykan.layers import KANLayer, Layer
from tinykan.networks import Encoding, Network
from tinykan.tasks.standardization import Units
from tinykan.variants import EdgeTanh, Gaussian, NeRF, NodeLayer, Raw, Scaled, Sines

Term = Combination | Splines | Edges


def lowered(model: Network) -> Program:
    """The program of a network. Raises UserError for parts of one's own whose formula is not known
    here, and for parameters that are not finite."""
    stages: list[Stage] = []
    if model.encoding is not None:
        stages += _encoding(model.encoding)
    activation = traced(f"activation {model.activation!r}", ACTIVATIONS[model.activation].value)[0]
    for index, layer in enumerate(model.layers):
        if index > 0:
            width = layer.in_features
            if activation is not X:
                stages.append(_on_each(width, activation))
            if model.norm is not None and model.norm != "layer":
                raise UserError(f"norm {model.norm!r} cannot be exported, only 'layer'")
            if model.norm == "layer" and width > 1:
                stages.append(Normalize(width, 1e-5))
        stages += _nodes(layer) if isinstance(layer, NodeLayer) else [_layer(layer)]
    _check_finite(stages)
    return Program(model.in_features, tuple(stages), _text(model))


def _text(model: Network) -> str:
    encoding = [] if model.encoding is None else [repr(model.encoding)]
    options = f"activation={model.activation!r}, norm={model.norm!r}"
    return "\n".join([*encoding, *map(repr, model.layers), options])


def _layer(layer: Layer) -> Sum | Multiply:
    found = layer.bias
    bias = np.zeros(layer.out_features) if found is None else _array(found)
    if isinstance(layer, MultiplicationLayer):
        return Multiply(tuple(map(tuple, layer.groups)), bias)
    if isinstance(layer, SymbolicLayer):
        return Sum((*_layer_terms(layer.layer), *_symbolic(layer)), bias)
    if isinstance(layer, EdgeTanh):
        return Sum((_edge_tanh(layer),), bias)
    if isinstance(layer, KANLayer):
        return Sum(_layer_terms(layer), bias)
    raise UserError(f"a layer of the type {type(layer).__name__} cannot be exported")


def _layer_terms(layer: KANLayer) -> tuple[Term, ...]:
    terms = [_on_basis(layer.basis, _array(layer.scaled_coefficients()))]
    if layer.base is not None and layer.base_weight is not None:
        base = traced(f"base function {layer.base!r}", ACTIVATIONS[layer.base].value)
        weight = _array(layer.base_weight)
        if layer.mask is not None:
            weight = weight * layer.mask.numpy()
        terms.append(Combination(base, weight[:, None]))
    return tuple(term for term in terms if term.weights.any())


def _on_basis(basis: Basis, weights: np.ndarray) -> Combination | Splines:
    if isinstance(basis, BSpline):
        return _splines(basis, weights)
    if isinstance(basis, Linear):
        return Combination((X,), weights)
    if isinstance(basis, DenseBasis):
        return Combination(traced(f"basis {basis!r}", basis.values), weights)
    raise UserError(f"basis {basis!r} cannot be exported: it is no DenseBasis, and no BSpline")


def _splines(basis: BSpline, weights: np.ndarray) -> Splines:
    order, intervals = basis.order, basis.intervals
    if basis.knots is not None:
        knots = _array(basis.knots)
        return Splines(weights, _pieces(knots, order), knots=knots)
    low, high = basis.domain
    return Splines(
        weights,
        _pieces(np.arange(2.0 * order + 2)[None], order)[:, order : order + 1],
        center=(low + high) / 2,
        spacing=(high - low) / intervals,
        # The knots are whole numbers of spacings from the middle, or half-integers.
        phase=intervals % 2 / 2,
        first=order + intervals // 2,
    )


def _pieces(knots: np.ndarray, order: int) -> np.ndarray:
    """Polynomials of the B-splines on `knots` `[rows, cells + 1]` in every cell, of t from 0 to 1,
    `[rows, cells, order + 1, order + 1]` as `Splines` has them, by the recursion of Cox and
    de Boor. In empty cells they are 0."""
    rows, cells = knots.shape[0], knots.shape[1] - 1
    left, width = knots[:, :-1], np.diff(knots, axis=1)
    current = np.zeros((rows, cells, order + 1, order + 1))
    current[:, :, order, 0] = width > 0  # of order 0: B_c = 1 in cell c
    index = np.arange(cells)
    for p in range(1, order + 1):
        before, current = current, np.zeros_like(current)
        for r in range(order - p, order + 1):
            n = index - order + r  # the function, whose knots are n .. n + p + 1
            known = (n >= 0) & (n + p + 1 <= cells)
            start = np.clip(n, 0, cells)
            stop = np.clip(n + p + 1, 0, cells)
            # (x - t_n) / (t_{n+p} - t_n) B_n and (t_{n+p+1} - x) / (t_{n+p+1} - t_{n+1}) B_{n+1}
            rising = _reciprocal(knots[:, stop - 1] - knots[:, start]) * known
            falling = _reciprocal(knots[:, stop] - knots[:, np.clip(n + 1, 0, cells)]) * known
            own = before[:, :, r]
            following = before[:, :, r + 1] if r < order else np.zeros_like(own)
            current[:, :, r] = _times(own, (left - knots[:, start]) * rising, width * rising)
            current[:, :, r] += _times(
                following, (knots[:, stop] - left) * falling, -width * falling
            )
    return current


def _times(polynomial: np.ndarray, constant: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Coefficients `[..., powers]` times (constant + slope t)."""
    raised = np.concatenate([np.zeros_like(polynomial[..., :1]), polynomial[..., :-1]], axis=-1)
    return polynomial * constant[..., None] + raised * slope[..., None]


def _reciprocal(width: np.ndarray) -> np.ndarray:
    return np.where(width > 0, 1 / np.where(width > 0, width, 1), 0)


def _edge_tanh(layer: EdgeTanh) -> Edges:
    """w tanh(sum_n c_n x^n) on every edge; the parameters are w, c_1, c_2, ..."""
    powers = traced(f"basis {layer.basis!r}", layer.basis.values)
    inner = sum((parameter(n) * p for n, p in enumerate(powers[1:], 2)), parameter(1) * powers[0])
    sources, targets = np.divmod(
        np.arange(layer.in_features * layer.out_features), layer.out_features
    )
    values = np.concatenate([_array(layer.weight)[:, None], _array(layer.coefficients)], axis=1)
    rows = values.transpose(0, 2, 1).reshape(len(sources), -1)
    return Edges(parameter(0) * inner.tanh(), sources, targets, rows)


def _nodes(layer: NodeLayer) -> list[Sum]:
    """The nodes' functions multiplied out, as those of a KANLayer; copies with scales and shifts of
    their own are a stage before it, with one feature for each function."""
    coefficients, weight = _array(layer.coefficients), _array(layer.weight)
    bias = np.zeros(layer.out_features) if layer.bias is None else _array(layer.bias)
    product = np.einsum("inr,iro->ino", np.broadcast_to(
        coefficients, (layer.in_features, *coefficients.shape[1:])), weight)  # fmt: skip
    if layer.scales is None or layer.shifts is None:
        return [Sum((_on_basis(layer.basis, product),), bias)]
    size = (layer.in_features, layer.copies)
    pairs = [np.broadcast_to(_array(t)[..., 0], size).ravel() for t in (layer.scales, layer.shifts)]
    sources, order = np.repeat(np.arange(size[0]), size[1]), np.arange(size[0] * size[1])
    inner = parameter(0) * X + parameter(1)
    moved = _features([(inner, sources, order, np.stack(pairs, axis=1))])
    return [moved, Sum((_on_basis(layer.basis, product.reshape(-1, 1, layer.out_features)),), bias)]


def _symbolic(layer: SymbolicLayer) -> list[Edges]:
    """c f(a x + b) + d; the parameters are a, b, c, d."""
    terms = []
    for name, group in groupby(symbolic_edges(layer).items(), key=lambda edge: edge[1][0]):
        edges = list(group)
        value: Any = LIBRARY[name].tensor

        def affine(x: Expression, value: Any = value) -> Expression:
            inner = value.value(parameter(0) * x + parameter(1))
            return parameter(2) * inner + parameter(3)

        function = traced(f"function {name!r}", affine)[0]
        sources, targets = (np.array([pair[k] for pair, _ in edges]) for k in (0, 1))
        terms.append(Edges(function, sources, targets, np.array([a for _, (_, a) in edges])))
    return terms


def _encoding(encoding: Encoding) -> list[Sum]:
    kind = ENCODERS.get(type(encoding))
    if kind is None:
        raise UserError(f"encoding {encoding!r} cannot be exported")
    return kind(encoding)


def _scaled(encoding: Scaled) -> list[Sum]:
    count = encoding.in_features
    factors = np.full((count, 1), encoding.factor)
    return [_features([(parameter(0) * X, np.arange(count), np.arange(count), factors)])]


def _units(encoding: Units) -> list[Sum]:
    order, rows = np.arange(encoding.in_features), np.array([encoding.shift, encoding.scale]).T
    return [_features([((X - parameter(0)) / parameter(1), order, order, rows)])]


def _sines(encoding: Sines) -> list[Sum]:
    counts = encoding.channels
    counts = counts if isinstance(counts, tuple) else (counts,) * encoding.in_features
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    inputs = np.arange(encoding.in_features)
    waves = [(i, s + 1 + k, k) for i, (s, n) in enumerate(zip(starts, counts, strict=True))
             for k in range(n - 1)]  # fmt: skip
    sources, targets, octaves = np.array(waves, dtype=int).reshape(-1, 3).T
    rates = 2.0 ** octaves[:, None] * math.pi
    wave = ((X + 1) * parameter(0)).sin()
    plain = np.zeros((len(inputs), 0))
    return [_features([(X, inputs, starts, plain), (wave, sources, targets, rates)])]


def _nerf(encoding: NeRF) -> list[Sum]:
    n = encoding.octaves
    sources, octaves = np.divmod(np.arange(encoding.in_features * n), n)
    targets, rates = sources * 2 * n + octaves, 2.0 ** octaves[:, None] * math.pi
    angle = X * parameter(0)
    waves = (angle.sin(), sources, targets, rates), (angle.cos(), sources, targets + n, rates)
    return [_features(list(waves))]


def _gaussian(encoding: Gaussian) -> list[Sum]:
    n, none = encoding.features, np.zeros((encoding.features, 0))
    projected = Combination((X,), _array(encoding.frequencies)[:, None])
    angle, order = 2 * math.pi * X, np.arange(n)
    waves = _features([(angle.sin(), order, order, none), (angle.cos(), order, order + n, none)])
    return [Sum((projected,), np.zeros(n)), waves]


ENCODERS: dict[type, Callable[[Any], list[Sum]]] = {
    Raw: lambda encoding: [],
    Scaled: _scaled,
    Units: _units,
    Sines: _sines,
    NeRF: _nerf,
    Gaussian: _gaussian,
}


def _features(groups: list[tuple[Expression, np.ndarray, np.ndarray, np.ndarray]]) -> Sum:
    """A stage whose every feature is one function of one input."""
    terms = tuple(Edges(*group) for group in groups if len(group[1]))
    return Sum(terms, np.zeros(sum(len(term.targets) for term in terms)))


def _on_each(width: int, function: Expression) -> Sum:
    order = np.arange(width)
    return _features([(function, order, order, np.zeros((width, 0)))])


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.numpy().astype(np.float64)


def _check_finite(stages: list[Stage]) -> None:
    for stage in stages:
        if isinstance(stage, Normalize):
            continue
        terms = stage.terms if isinstance(stage, Sum) else ()
        parts = [t.parameters if isinstance(t, Edges) else t.weights for t in terms]
        if not all(np.isfinite(part).all() for part in [stage.bias, *parts]):
            raise UserError("the network has parameters that are not finite: it cannot be exported")

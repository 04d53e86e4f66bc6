"""Networks with more room that compute the same: wider and deeper ones, to be trained further."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tinykan.basis import Basis, BSpline
from tinykan.errors import UserError, check_integer
from tinykan.interpret.products import MultiplicationLayer, sums_and_products
from tinykan.interpret.symbolic import SymbolicLayer, copied
from tinykan.layers import KANLayer, Layer
from tinykan.networks import Network
from tinykan.tensors import like


def expand(
    model: Network,
    *,
    width: int | Sequence[int] | None = None,
    depth: int | None = None,
    basis: Basis | None = None,
    seed: int = 0,
) -> Network:
    """A network that computes what `model` does, with at least `width` sums, or [sums, products] of
    two sums each, in every hidden layer, and at least `depth` layers, products not counted.

    Layers are added at the end, with an edge x from each node to itself. Nodes are added behind the
    others of their layer: their incoming edges are drawn as those of a new network, with `seed`,
    and their outgoing edges are 0 and learn first. New edges are on the basis of their layer, or in
    symbolic layers on `basis`, by default BSpline(): its domain is where symbolic edges lead,
    unless grids move (`grid_updates` of `fit`). `model` is not changed.

    Raises UserError for networks with a norm, with layers that are not of edges on a basis,
    symbolic edges or products, and to add layers or the first products of a layer with a node
    activation, which these would pass too.

    >>> from tinykan import KAN
    >>> expand(KAN([2, 3, 1]), width=5, depth=3).widths
    [2, 5, 5, 1]
    """
    sums, products = sums_and_products(0 if width is None else width)
    check_integer("depth", 1 if depth is None else depth, 1)
    if model.norm is not None:
        raise UserError(f"norm {model.norm!r} makes each node depend on the others: no room")
    rng, basis = np.random.default_rng(seed), basis or BSpline()
    rows: list[tuple[Layer, MultiplicationLayer | None]] = []
    for layer in model.layers:
        if isinstance(layer, MultiplicationLayer) and rows and rows[-1][1] is None:
            rows[-1] = rows[-1][0], layer
        elif isinstance(layer, KANLayer | SymbolicLayer):
            rows.append((layer, None))
        else:
            raise UserError(f"{layer!r} cannot be expanded")
    changed = len(rows) < (depth or 0)
    while len(rows) < (depth or 0):
        rows.append((_identity(model.out_features, rows[0][0], basis), None))
    layers: list[Layer] = []
    more_inputs = 0
    for number, (layer, multiplied) in enumerate(rows):
        groups = [[o] for o in range(layer.out_features)]
        groups = groups if multiplied is None else [list(group) for group in multiplied.groups]
        several = sum(len(group) > 1 for group in groups)
        last = number == len(rows) - 1
        more_sums = 0 if last else max(0, sums - (len(groups) - several))
        more_products = 0 if last else max(0, products - several)
        more = more_sums + 2 * more_products
        layers.append(_widened(layer, more_inputs, more, basis, rng))
        if multiplied is not None or more_products:
            changed |= multiplied is None
            start = layer.out_features
            groups += [[start + k] for k in range(more_sums)]
            groups += [[o, o + 1] for o in range(start + more_sums, start + more, 2)]
            layers.append(grown := MultiplicationLayer(groups))
            if multiplied is not None:
                bias = multiplied.bias.numpy()
                grown.bias = like(multiplied.bias, np.pad(bias, (0, more_sums + more_products)))
        more_inputs = more_sums + more_products
    if changed and model.activation != "identity":
        raise UserError(f"new layers or products would pass the activation {model.activation!r}")
    return Network(layers, model.activation, model.encoding)


def _identity(size: int, model: Layer, basis: Basis) -> SymbolicLayer:
    """Edges x from each node to itself, and edges on the basis that are 0 between the others."""
    splines, reference = KANLayer(size, size, basis, spline_weight=False), _on_basis(model)
    for name in ("coefficients", "base_weight", "bias"):
        values = np.zeros(getattr(splines, name).shape)
        setattr(splines, name, like(reference.coefficients, values))
    return SymbolicLayer(splines, [(k, k, "x") for k in range(size)])


def _on_basis(layer: Layer) -> KANLayer:
    inner = layer.on_basis
    assert inner is not None
    return inner


def _widened(
    layer: Layer, inputs: int, outputs: int, basis: Basis, rng: np.random.Generator
) -> Layer:
    """A copy with so many more inputs, whose edges to the present outputs are 0, and outputs."""
    if not inputs and not outputs:
        return copied(layer)
    old = _on_basis(layer)
    i, o = layer.in_features, layer.out_features
    empty = not old.live_edges().any()  # then the basis of a symbolic layer serves for nothing
    new = KANLayer(
        i + inputs,
        o + outputs,
        basis if empty else _with_more_knots(old.basis, inputs),
        base="silu" if empty else old.base,
        spline_weight=False if empty else old.spline_weight is not None,
        bias=old.bias is not None,
        kernels=old.kernels,
        rng=rng,
    )
    mask = np.ones((i + inputs, o + outputs))
    mask[:i, :o] = old.live_edges()
    for name in ("coefficients", "spline_weight", "base_weight", "bias"):
        drawn, present = getattr(new, name), getattr(old, name)
        if drawn is None:
            continue
        values = drawn.numpy().copy()
        if name == "bias":
            values[:o], values[o:] = present.numpy(), 0.0
        else:
            if name != "spline_weight":
                values[i:, ..., :o] = 0.0
            values[:i, ..., :o] = 0.0 if empty else present.numpy()
        setattr(new, name, like(old.coefficients, values))
    if not mask.all():
        new.mask = like(old.coefficients, mask).is_param_(False)
    if isinstance(layer, SymbolicLayer):
        return SymbolicLayer(new, layer.functions, layer.affine.numpy())
    return new


def _with_more_knots(basis: Basis, count: int) -> Basis:
    """The basis with the mean of the present inputs' knots for so many more."""
    knots = basis.knots if isinstance(basis, BSpline) else None
    if knots is None or len(knots) == 1 or not count:
        return basis
    values = knots.numpy()
    rows = np.concatenate([values, np.tile(values.mean(axis=0), (count, 1))])
    return dataclasses.replace(basis, knots=like(knots, rows))  # type: ignore[type-var]

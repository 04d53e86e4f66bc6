"""Derivatives of networks with respect to their inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from tinygrad import Tensor

from tinykan.errors import UserError
from tinykan.kernels import edge_weights, layer_derivatives
from tinykan.layers import KANLayer, Layer, check_input
from tinykan.networks import NORMS, Network
from tinykan.taylor.functions import activation, basis_functions
from tinykan.taylor.jets import Jet, elementwise, linear, pushforward


class Derivatives(NamedTuple):
    """`values` `[n, out]`; `first` `[n, out, d]`, along d directions; and `second` `[n, out, d]`,
    twice along each, or `[n, out, d, d]` with mixed derivatives; None if only the first were asked
    for."""

    values: Tensor
    first: Tensor
    second: Tensor | None


def derivatives(
    model: Network,
    x: Tensor,
    order: int = 2,
    *,
    directions: np.ndarray | Sequence[Sequence[float]] | None = None,
    mixed: bool = False,
) -> Derivatives:
    """The values of `model` at `x` `[n, in]` with its derivatives with respect to `x`: first ones
    and, with `order` 2, second ones, along each input or along `directions` `[d, in]`. `mixed` adds
    the second derivatives along two different ones. All can be differentiated with respect to the
    parameters.

    They are carried forward through the network with its values (Taylor mode): for a layer
    y = sum_i phi_i(x_i), y' = sum_i phi_i' x_i' and y'' = sum_i phi_i'' x_i'^2 + phi_i' x_i''.
    Raises UserError where a function of the network has no such derivative.

    >>> from tinykan import KAN
    >>> u, first, second = derivatives(KAN([2, 5, 1]), Tensor.zeros(10, 2))
    >>> u.shape, first.shape, second.shape
    ((10, 1), (10, 1, 2), (10, 1, 2))
    """
    check_input(model, x)
    if order not in (1, 2):
        raise UserError(f"derivatives of order {order!r}: choose 1 or 2")
    if x.ndim != 2:
        raise UserError(f"input of shape {x.shape}: derivatives are of points [n, in]")
    along = _directions(directions, model.in_features)
    count = len(along)
    pairs = [(a, b) for a in range(count) for b in range(a, count if mixed else a + 1)]
    found = through(model, _inputs(x, along, pairs if order == 2 else []))
    second = found.second
    if second is not None and mixed:
        number = {pair: n for n, pair in enumerate(pairs)}
        every = [number[min(a, b), max(a, b)] for a in range(count) for b in range(count)]
        second = Tensor.stack(*(second[n] for n in every), dim=-1)
        second = second.reshape(*second.shape[:-1], count, count)
    elif second is not None:
        second = second.permute(1, 2, 0)
    return Derivatives(found.value, found.first.permute(1, 2, 0), second)


def derivatives_of_function(function: Callable[[Tensor], Tensor], x: Tensor) -> Derivatives:
    """The values `[n, out]` of a function of tensor operations at `x` `[n, in]`, with its first and
    second derivatives along each input. Slower than those of networks."""
    count = int(x.shape[1])
    jet = pushforward(function, _inputs(x, np.eye(count), [(a, a) for a in range(count)]))
    assert jet.second is not None
    return Derivatives(jet.value, jet.first.permute(1, 2, 0), jet.second.permute(1, 2, 0))


def _inputs(x: Tensor, along: np.ndarray, pairs: list[tuple[int, int]]) -> Jet:
    """`x` `[n, in]` itself, as it changes along the directions `along` `[d, in]`."""
    constant = Tensor(along, dtype=x.dtype).to(x.device).unsqueeze(1).expand(len(along), *x.shape)
    if not pairs:
        return Jet(x, constant)
    none = constant[:1].const_like(0.0).expand(len(pairs), *x.shape)
    return Jet(x, constant, none, tuple(pairs))


def through(model: Network, jet: Jet) -> Jet:
    """What a network makes of values and derivatives."""
    if model.encoding is not None:
        jet = pushforward(model.encoding, jet)
    for number, layer in enumerate(model.layers):
        jet = layer_jet(layer, jet)
        if number + 1 < len(model.layers):
            if model.activation != "identity":
                jet = elementwise(jet, activation(model.activation, jet.order))
            if model.norm is not None:
                jet = pushforward(NORMS[model.norm], jet)
    return jet


def layer_jet(layer: Layer, jet: Jet) -> Jet:
    if not isinstance(layer, KANLayer):
        if isinstance(dense := getattr(layer, "dense", None), KANLayer):
            return layer_jet(dense, _nodes_jet(layer, jet))
        if layer.on_basis is None:
            return pushforward(layer, jet)
        bias = 0.0 if layer.bias is None else layer.bias
        # Its splines may have kernels, which cannot be differentiated twice; its edges have none.
        return pushforward(lambda x: layer.edges(x).sum(-2) + bias, jet)
    base = None if layer.base is None else activation(layer.base, jet.order)
    functions = basis_functions(layer.basis, jet.order)
    parts = layer.scaled_coefficients(), layer.masked_base_weight()
    if layer.kernels == "auto" and (base is None or base.in_kernels):
        at = base and base.at
        found = layer_derivatives(jet.stacked(), jet.pairs, layer.basis, at, *parts, layer.bias)
        if found is not None:
            return jet.like(found)
    stacked = elementwise(jet, functions).stacked()
    if base is not None:
        stacked = stacked.cat(elementwise(jet, base).stacked().unsqueeze(-1), dim=-1)
    flat = jet.like(stacked.flatten(-2).contiguous())
    return linear(flat, edge_weights(*parts).flatten(0, 1).contiguous(), layer.bias)


def _nodes_jet(layer: Any, jet: Jet) -> Jet:
    """What the functions of the nodes before a dense layer make of values and derivatives."""
    shape = jet.value.shape
    inner = jet.like(layer.arguments(jet.stacked(), affine=False))
    inner = replace(inner, value=layer.arguments(jet.value))
    functions = elementwise(inner, basis_functions(layer.basis, jet.order)).stacked()
    functions = functions.reshape(functions.shape[0], *shape, -1)
    return jet.like(layer.combined(functions).flatten(-2).contiguous())


def _directions(given: np.ndarray | Sequence[Sequence[float]] | None, inputs: int) -> np.ndarray:
    if given is None:
        return np.eye(inputs)
    along = np.asarray(given, dtype=float)
    if along.ndim != 2 or along.shape[1] != inputs or not len(along):
        raise UserError(f"directions of shape {along.shape}: [d, {inputs}] are needed")
    if not np.isfinite(along).all():
        raise UserError("directions must be finite")
    return along

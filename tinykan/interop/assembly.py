"""Layers and networks from the arrays of a state_dict: what the importers share."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import numpy as np

from tinykan.basis import BSpline
from tinykan.errors import UserError
from tinykan.interop.state_files import State, short
from tinykan.layers import KANLayer, Layer
from tinykan.networks import Network
from tinykan.tensors import parameter


def network(state: State, prefix: str, layers: Callable[[int], list[Layer]]) -> Network:
    """The network of `layers(0)`, `layers(1)`, ..., for as long as names of arrays begin with
    `prefix`, formatted with the number. Raises UserError if arrays are left over."""
    found: list[Layer] = []
    for number in count():
        found += layers(number)
        if not any(name.startswith(prefix.format(number + 1)) for name in state):
            break
    if state:
        raise UserError(f"unknown {short(min(state))}: of another version, or another model")
    return Network(found)


def spline_layer(
    grid: np.ndarray,
    coefficients: np.ndarray,
    *,
    base: str | None,
    base_weight: np.ndarray,
    spline_weight: np.ndarray | None,
    bias: np.ndarray | None = None,
    mask: np.ndarray | None = None,
) -> KANLayer:
    """A layer from its `grid` `[in, knots]`, `coefficients` `[in, n, out]`, weights and mask
    `[in, out]`, and bias `[out]`. Raises UserError for orders above 5 and repeated knots."""
    i, functions, o = coefficients.shape
    order = grid.shape[1] - 1 - functions
    intervals = functions - order
    if not (1 <= order <= 5 and intervals >= 1):
        raise UserError(
            f"{grid.shape[1]} knots for {functions} functions make splines of order {order} on "
            f"{intervals} intervals; orders 1 to 5 are supported"
        )
    if not (np.diff(grid) > 0).all():
        raise UserError("knots that do not increase, on which neither library has B-splines")
    domain = (float(grid[:, order].min()), float(grid[:, order + intervals].max()))
    basis = BSpline(intervals, order, domain, knots=parameter(grid))
    layer = KANLayer(i, o, basis, base=base, spline_weight=False, bias=False, mask=mask)
    layer.coefficients = parameter(coefficients)
    layer.spline_weight = None if spline_weight is None else parameter(spline_weight)
    layer.base_weight = None if base is None else parameter(base_weight)
    layer.bias = None if bias is None else parameter(bias)
    return layer


def take(state: State, name: str, *shape: int | None) -> np.ndarray:
    """Removes an array from `state` and returns it. None in `shape` stands for any size. Raises
    UserError if it is missing or has another shape."""
    if name not in state:
        raise UserError(f"it has no {name}: of another version, or another model")
    array = state.pop(name)
    fits = len(shape) == array.ndim
    if not (fits and all(n in (None, m) for n, m in zip(shape, array.shape, strict=True))):
        expected = ", ".join("any" if n is None else str(n) for n in shape)
        raise UserError(f"{name} has shape {array.shape}; it should have ({expected})")
    return array

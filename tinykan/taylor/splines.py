"""Derivatives of all B-splines of a basis, as tensor operations."""

from __future__ import annotations

import numpy as np
from tinygrad import Tensor

from tinykan.basis import BSpline, recursion


def spline_derivative(basis: BSpline, x: Tensor, order: int) -> Tensor:
    """The derivative of that order of every function `[..., in, n_functions]` at `x` `[..., in]`:
    splines of a lower order, of which differences are taken (de Boor, A Practical Guide to Splines,
    ch. X). At a knot it is that of the interval to the right, but at the end of the domain that of
    the last interval."""
    degree = basis.order
    if order > degree:
        return x.unsqueeze(-1).expand(*x.shape, basis.n_functions).const_like(0.0)
    knots = basis.knots_like(x) if basis.knots is not None else _uniform_knots(basis, x)
    end = knots[:, degree + basis.intervals]
    x = (x == end).where(x - _ulp(x) * (end.abs() + knots[:, degree].abs()), x)
    values = recursion(x, knots, degree - order)
    for p in range(degree - order + 1, degree + 1):
        width = knots[:, p:] - knots[:, :-p]
        terms = values * (width > 0).where((width > 0).where(width, 1.0).reciprocal(), 0.0)
        values = p * (terms[..., :-1] - terms[..., 1:])
    return values


def _uniform_knots(basis: BSpline, x: Tensor) -> Tensor:
    low, high = basis.domain
    places = np.arange(-basis.order, basis.intervals + basis.order + 1) / basis.intervals
    knots = low + (high - low) * places
    return Tensor(knots.tolist(), dtype=x.dtype).to(x.device).unsqueeze(0)


def _ulp(x: Tensor) -> float:
    return 2.0**-52 if x.dtype.itemsize == 8 else 2.0**-23

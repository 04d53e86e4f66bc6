"""B-splines in NumPy and float64, on any knots, and their coefficients through given points."""

from __future__ import annotations

import numpy as np

RIDGE = 1e-14  # for functions that are zero wherever one looks: knots that coincide


def b_splines(x: np.ndarray, knots: np.ndarray, order: int) -> np.ndarray:
    """The B-splines `[in, n, functions]` on `knots` `[in, knots]` at `x` `[in, n]`. The last
    interval that is not empty holds its right end."""
    return _dense(*_not_zero(x, knots, order), knots.shape[1])


def _dense(first: np.ndarray, local: np.ndarray, knots: int) -> np.ndarray:
    """All B-splines on so many knots, from what `_not_zero` gives."""
    order = local.shape[2] - 1
    values = np.zeros((*first.shape, knots - 1 + order))
    np.put_along_axis(values, first[..., None] + np.arange(order + 1), local, axis=2)
    return values[..., order : knots - 1]


def _not_zero(x: np.ndarray, knots: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Of the B-splines at `x` `[in, n]`, with `order` more on the left, the number `[in, n]` of the
    first that is not zero, and the values `[in, n, order + 1]` of it and those after it: on each
    interval the recursion of Cox and de Boor gives `order` + 1."""
    first = np.zeros(x.shape, dtype=int)
    values = np.zeros((*x.shape, order + 1))
    for i, (at, own) in enumerate(zip(x, knots, strict=True)):
        end = np.flatnonzero(np.diff(own) > 0)
        interval = np.searchsorted(own, at, side="right") - 1
        if len(end):
            interval[at == own[-1]] = end[-1]
        inside = np.flatnonzero((interval >= 0) & (interval < len(own) - 1))
        first[i, inside] = interval[inside]
        values[i, inside] = _local(at[inside], own, order, interval[inside])
    return first, values


def _local(x: np.ndarray, knots: np.ndarray, order: int, interval: np.ndarray) -> np.ndarray:
    """The values `[n, order + 1]` at `x` in intervals of `knots`, of the functions that begin
    `order` to 0 intervals before."""
    padded = np.pad(knots, order, mode="edge")
    near = padded[interval[:, None] + np.arange(1, 2 * order + 1)]  # `order` knots on either side
    values = np.ones((len(x), order + 1))
    for p in range(1, order + 1):
        left, right = near[:, order - p : order], near[:, order : order + p]
        width = right - left
        terms = values[:, :p] / np.where(width > 0, width, 1.0)
        values[:, 1 : p + 1] = (x[:, None] - left) * terms
        values[:, 0] = 0
        values[:, :p] += (right - x[:, None]) * terms
    return values


def fit_coefficients(
    x: np.ndarray, y: np.ndarray, knots: np.ndarray, order: int, weights: np.ndarray | None = None
) -> np.ndarray:
    """The coefficients `[in, functions, out]` of splines on `knots` `[in, knots]` through `y`
    `[in, n, out]` at `x` `[in, n]`: least squares with a ridge, which gives 0 to functions that no
    point decides on. `weights` `[n]` are of the squared errors."""
    return least_squares(x, y, knots, order, np.ones(x.shape[1]) if weights is None else weights)[0]


def least_squares(
    x: np.ndarray, y: np.ndarray, knots: np.ndarray, order: int, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What `fit_coefficients` gives, and the errors `[in, n, out]` that are left."""
    first, local = _not_zero(x, knots, order)
    bases = _dense(first, local, knots.shape[1])
    products = _products(first, local, bases.shape[2], weights)
    targets = bases.transpose(0, 2, 1) @ (weights[:, None] * y)
    # To unit diagonal: functions that few points or small weights decide on count like others.
    size = np.sqrt(products[..., 0])
    scale = np.where(size > 0, 1 / np.where(size > 0, size, 1.0), 0.0)
    count = scale.shape[1]
    for n in range(order + 1):  # of functions n apart
        products[:, : count - n, n] *= scale[:, : count - n] * scale[:, n:]
    ridged = products.copy()
    ridged[..., 0] += RIDGE
    wanted = scale[..., None] * targets
    found = _solved(ridged, wanted)
    # Once more, for what rounding and the ridge left over.
    found = scale[..., None] * (found + _solved(ridged, wanted - _times(products, found)))
    return found, bases @ found - y


def _products(
    first: np.ndarray, local: np.ndarray, functions: int, weights: np.ndarray
) -> np.ndarray:
    """Sums `[in, functions, order + 1]` over the points of the product of each function with itself
    and with those after it: with all others it is 0."""
    inputs, order = len(first), local.shape[2] - 1
    padded = functions + 2 * order
    products = np.zeros((inputs, padded, order + 1))
    row = first + padded * np.arange(inputs)[:, None]
    for a in range(order + 1):
        for b in range(a, order + 1):
            terms = weights * local[..., a] * local[..., b]
            sums = np.bincount((row + a).ravel(), terms.ravel(), inputs * padded)
            products[..., b - a] += sums.reshape(inputs, padded)
    return products[:, order : order + functions]


def _solved(products: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The solution `[in, n, out]` of the symmetric equations whose diagonals to the right of the
    main one are `products` `[in, n, order + 1]`: elimination without pivots, for they are positive,
    and for all inputs at once."""
    rows, found = products.copy(), targets.copy()
    count, width = rows.shape[1:]
    for j in range(count):
        for n in range(1, min(width, count - j)):
            factor = rows[:, j, n] / rows[:, j, 0]
            rows[:, j + n, : width - n] -= factor[:, None] * rows[:, j, n:]
            found[:, j + n] -= factor[:, None] * found[:, j]
    for j in reversed(range(count)):
        for n in range(1, min(width, count - j)):
            found[:, j] -= rows[:, j, n, None] * found[:, j + n]
        found[:, j] /= rows[:, j, :1]
    return found


def _times(products: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """What these equations make of `vectors` `[in, n, out]`."""
    result = products[..., :1] * vectors
    for n in range(1, products.shape[2]):
        beside = products[:, : products.shape[1] - n, n, None]
        result[:, :-n] += beside * vectors[:, n:]
        result[:, n:] += beside * vectors[:, :-n]
    return result

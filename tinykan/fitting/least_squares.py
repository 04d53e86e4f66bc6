"""Least-squares fits of spline coefficients on any knots, by SciPy, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinykan.errors import need

RIDGE = 1e-14  # on a unit diagonal: for functions that are 0 at all points, as on repeated knots


def b_splines(x: np.ndarray, knots: np.ndarray, order: int) -> np.ndarray:
    """The B-splines `[in, n, functions]` on `knots` `[in, knots]` at `x` `[in, n]`, 0 outside the
    knots. The last non-empty interval includes its right end."""
    first, values = _nonzero_splines(x, knots, order)
    padded = np.zeros((*x.shape, knots.shape[1] - 1 + order))
    np.put_along_axis(padded, first[..., None] + np.arange(order + 1), values, axis=2)
    return padded[..., order : knots.shape[1] - 1]


def spline_values(x: np.ndarray, knots: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """The splines `[in, n, out]` on `knots` `[in, knots]` with `coefficients` `[in, functions,
    out]` at `x` `[in, n]`."""
    order = knots.shape[1] - 1 - coefficients.shape[1]
    padded = np.pad(coefficients, ((0, 0), (order, order), (0, 0)))
    values = _design_matrix(x, knots, order) @ padded.reshape(-1, padded.shape[2])
    return values.reshape(*x.shape, -1)


def fit_coefficients(
    x: np.ndarray, y: np.ndarray, knots: np.ndarray, order: int, weights: np.ndarray | None = None
) -> np.ndarray:
    """The coefficients `[in, functions, out]` of splines on `knots` `[in, knots]` through `y`
    `[in, n, out]` at `x` `[in, n]`: least squares with a ridge, which gives 0 to functions that are
    0 at all points. `weights` `[n]` are those of the squared errors."""
    return least_squares(x, y, knots, order, np.ones(x.shape[1]) if weights is None else weights)[0]


def least_squares(
    x: np.ndarray, y: np.ndarray, knots: np.ndarray, order: int, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What `fit_coefficients` returns, and the residuals `[in, n, out]`."""
    linalg = _scipy("linalg")
    design, targets = _design_matrix(x, knots, order), y.reshape(-1, y.shape[2])
    weighted = _scipy("sparse").diags_array(np.tile(weights, len(x))) @ design
    gram, count = weighted.T @ design, design.shape[1]
    # To unit diagonal: functions that few points or small weights determine count like others.
    size = np.sqrt(gram.diagonal())
    scale = np.where(size > 0, 1 / np.where(size > 0, size, 1.0), 0.0)
    banded = np.zeros((order + 1, count))
    for n in range(order + 1):  # functions n apart; those more than `order` apart do not overlap
        banded[n, : count - n] = gram.diagonal(-n) * scale[: count - n] * scale[n:]
    banded[0] += RIDGE
    factor, scale = (linalg.cholesky_banded(banded, lower=True), True), scale[:, None]
    moments = scale * (weighted.T @ targets)
    found = linalg.cho_solve_banded(factor, moments)
    # One step of iterative refinement, for what rounding and the ridge left over.
    left = moments - scale * (gram @ (scale * found))
    found = scale * (found + linalg.cho_solve_banded(factor, left))
    coefficients = found.reshape(len(x), -1, y.shape[2])[:, order : knots.shape[1] - 1]
    return coefficients, (design @ found - targets).reshape(y.shape)


def _design_matrix(x: np.ndarray, knots: np.ndarray, order: int) -> Any:
    """The B-splines at all points of all inputs: a sparse matrix with a block for each input, with
    `order` more columns, of zeros, on either side of its functions."""
    first, values = _nonzero_splines(x, knots, order)
    functions, width = first[..., None] + np.arange(order + 1), knots.shape[1] - 1 + order
    values = np.where((functions >= order) & (functions < width - order), values, 0.0)
    columns = functions + width * np.arange(len(x))[:, None, None]
    row_starts = np.arange(0, values.size + 1, order + 1)
    return _scipy("sparse").csr_array(
        (values.ravel(), columns.ravel(), row_starts), shape=(x.size, width * len(x))
    )


def _nonzero_splines(x: np.ndarray, knots: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray]:
    """The values `[in, n, order + 1]` of the B-splines that are not 0 at `x` `[in, n]`, and the
    number `[in, n]` of the first of them, counted with `order` more functions on the left.

    SciPy evaluates splines between knots `order` and `-1 - order`. Here it is between the first and
    the last: their multiplicity is made `order + 1`, which leaves all functions inside as they are.
    """
    design_matrix = _scipy("interpolate").BSpline.design_matrix
    first, values = np.zeros(x.shape, dtype=int), np.zeros((*x.shape, order + 1))
    for i, (points, row) in enumerate(zip(x, knots, strict=True)):
        low, high = row[0], row[-1]
        inside = np.flatnonzero((points >= low) & (points <= high))
        if low == high or not len(inside):
            continue
        inner = row[(row > low) & (row < high)]
        clamped = np.concatenate([[low] * (order + 1), inner, [high] * (order + 1)])
        found = design_matrix(points[inside], clamped, order)
        values[i, inside] = found.data.reshape(-1, order + 1)
        # A knot at the left end that is there once makes the first clamped function number 0.
        first[i, inside] = found.indices[:: order + 1] + int((row == low).sum()) - 1
    return first, values


def _scipy(module: str) -> Any:
    return need(f"scipy.{module}", extra="lbfgs", purpose="refitting splines")

"""Grid updates and grid extension: knots from samples, finer knots, and coefficients refitted to
them by least squares. Computed in float64 on the host, whatever the model's type."""

from __future__ import annotations

from typing import Any

import numpy as np
from tinygrad import Tensor

from tinykan.basis import BSpline
from tinykan.errors import UserError, check_integer
from tinykan.fitting.least_squares import least_squares, spline_values
from tinykan.layers import KANLayer
from tinykan.networks import Network
from tinykan.tensors import like, overwrite

MIN_WIDTH = 1e-6  # of an input's range, relative to its magnitude (or 1): below it is constant
# Weight of points of the earlier function all over the grid: they determine it where there are no
# samples, and vanish in rounding where there are.
PRIOR_WEIGHT = 1e-10
MAX_REFIT_SAMPLES = 512  # from which coefficients are refitted; knots are placed by all samples
MIN_GRID_POINTS = 48  # at which the change of a function is measured


def knots_from_samples(
    samples: Any,
    intervals: int,
    order: int,
    *,
    grid_eps: float = 0.02,
    margin: float = 0.0,
) -> np.ndarray:
    """Complete knot vectors `[in, intervals + 2 order + 1]` for `samples` `[n, in]`.

    The grid of each input spans the range of its samples and a `margin` (0 or more, a fraction of
    the range) on either side. Its knots are a mean of uniform ones, weighted by `grid_eps` (0 to
    1), and of ones with equally many samples in each interval (KAN paper, arXiv:2404.19756, sec.
    2.4; PyKAN's `update_grid_from_samples`). It is extended by `order` intervals of mean width. A
    constant input gets a grid of width 1 around it.

    Raises UserError if the samples are not finite, or an option is out of its range.
    """
    samples = _checked_samples(samples)
    check_grid_eps(grid_eps)
    if not margin >= 0:
        raise UserError(f"margin {margin} must be at least 0")
    ordered = np.sort(samples, axis=0)
    beyond = margin * (ordered[-1] - ordered[0])
    low, high = ordered[0] - beyond, ordered[-1] + beyond
    rows = [int(len(samples) / intervals * i) for i in range(intervals)] + [-1]
    uniform = low + np.linspace(0, 1, intervals + 1)[:, None] * (high - low)
    adaptive = ordered[rows]
    adaptive[0], adaptive[-1] = low, high
    grid = grid_eps * uniform + (1 - grid_eps) * adaptive
    narrow = high - low <= MIN_WIDTH * np.maximum(1, np.abs(low))
    around = (low + high) / 2 + np.linspace(-0.5, 0.5, intervals + 1)[:, None] * np.maximum(
        1, 2 * MIN_WIDTH * np.abs(low)
    )
    return extended_knots(np.where(narrow, around, grid).T, order)


def check_grid_eps(grid_eps: float) -> None:
    """Raises UserError for a value out of its range."""
    if not 0 <= grid_eps <= 1:
        raise UserError(f"grid_eps {grid_eps} must lie between 0, adaptive, and 1, uniform")


def extended_knots(grid: np.ndarray, order: int) -> np.ndarray:
    """`grid` `[in, intervals + 1]` with `order` more knots on each side, spaced by the mean width
    of its intervals."""
    width = (grid[:, -1:] - grid[:, :1]) / (grid.shape[1] - 1)
    steps = width * np.arange(1, order + 1)
    return np.concatenate([grid[:, :1] - steps[:, ::-1], grid, grid[:, -1:] + steps], axis=1)


def knot_vectors(basis: BSpline, in_features: int) -> np.ndarray:
    """The complete knot vectors `[in, knots]` of a layer's basis, in float64."""
    if basis.knots is not None:
        knots = basis.knots.numpy().astype(np.float64)
        return np.broadcast_to(knots, (in_features, knots.shape[1]))
    grid = np.linspace(*basis.domain, basis.intervals + 1)[None]
    return np.broadcast_to(
        extended_knots(grid, basis.order), (in_features, len(grid[0]) + 2 * basis.order)
    )


def update_grid(
    layer: KANLayer,
    samples: Any,
    *,
    grid_eps: float = 0.02,
    margin: float = 0.01,
) -> float:
    """Moves the grid of `layer` to the range of `samples` `[n, in]` of its inputs, with as many
    intervals as before, and refits its coefficients so that its edges keep their functions there.
    `grid_eps` and `margin` are those of `knots_from_samples`. Returns the largest change of an
    edge's spline at the samples.

    Explicit knots of the right shape are updated in place, so that compiled steps go on using them.
    Raises UserError for samples that are not finite numbers `[n, in]`, and a layer without a grid.
    """
    basis = splines_of(layer)
    samples = _checked_samples(samples, layer.in_features)
    knots = knots_from_samples(
        samples, basis.intervals, basis.order, grid_eps=grid_eps, margin=margin
    )
    return refit(layer, knots, basis.intervals, samples)


def refine(model: Network, intervals: int) -> float:
    """Grid extension (KAN paper, arXiv:2404.19756, sec. 2.4): gives every spline layer `intervals`
    intervals on the same domain and refits its coefficients. Returns the largest change of any
    edge's spline on its domain: rounding, if the new intervals subdivide the old ones.

    New knots interpolate the old ones, and so keep their density. The layers get new tensors: train
    the model by another call of `fit`. Raises UserError unless `intervals` is 1 or more.
    """
    check_integer("intervals", intervals, 1)
    worst = 0.0
    for _, layer in spline_layers(model):
        basis = splines_of(layer)
        if intervals == basis.intervals:
            continue
        old = knot_vectors(basis, layer.in_features)
        grid = old[:, basis.order : basis.order + basis.intervals + 1]
        at = np.linspace(0, basis.intervals, intervals + 1)
        finer = np.stack([np.interp(at, np.arange(basis.intervals + 1), row) for row in grid])
        worst = max(worst, refit(layer, extended_knots(finer, basis.order), intervals, None))
    return worst


def spline_layers(model: Network) -> list[tuple[int, KANLayer]]:
    """The index and the layer of those on B-splines."""
    return [each for each in kan_layers(model) if isinstance(each[1].basis, BSpline)]


def kan_layers(model: Network) -> list[tuple[int, KANLayer]]:
    """The index and the KANLayer of those that are one or contain one."""
    inner = enumerate(layer.on_basis for layer in model.layers)
    return [(index, layer) for index, layer in inner if layer is not None]


def refit(layer: KANLayer, knots: np.ndarray, intervals: int, samples: np.ndarray | None) -> float:
    """Refits the splines of `layer` on other `knots`. Returns the largest change of one, at the
    samples or, without any, on the domain."""
    basis = splines_of(layer)
    order, old = basis.order, knot_vectors(basis, layer.in_features)
    coefficients = layer.coefficients.numpy().astype(np.float64)
    x = _grid_points(knots[:, order : order + intervals + 1], order)
    weights = np.ones(x.shape[1])
    if samples is not None:
        samples = samples[:: max(1, len(samples) // MAX_REFIT_SAMPLES)]
        x = np.concatenate([samples.T, x], axis=1)
        weights = np.concatenate([np.ones(len(samples)), PRIOR_WEIGHT * weights])
    elif basis.knots is None:
        # All inputs have the same grid: their splines are fitted as outputs of one.
        x, old, knots = x[:1], old[:1], knots[:1]
        coefficients = coefficients.transpose(1, 0, 2).reshape(1, basis.n_functions, -1)
    y = spline_values(x, old, coefficients)
    refitted, residuals = least_squares(x, y, knots, order, weights)
    change = float(np.abs(residuals)[:, weights == 1].max())
    if len(refitted) < layer.in_features:
        shape = (-1, layer.in_features, layer.out_features)
        refitted = refitted[0].reshape(shape).transpose(1, 0, 2)
    _replace_splines(layer, refitted, knots, intervals)
    return change


def _replace_splines(
    layer: KANLayer, coefficients: np.ndarray, knots: np.ndarray, intervals: int
) -> None:
    basis = splines_of(layer)
    if basis.knots is not None and basis.knots.shape == knots.shape:
        overwrite(basis.knots, knots)
        overwrite(layer.coefficients, coefficients)
        return
    # Refined uniform grids stay uniform: they are evaluated in closed form.
    uniform = basis.knots is None and intervals != basis.intervals
    layer.coefficients = like(layer.coefficients, coefficients)
    layer.basis = (
        BSpline(intervals, basis.order, basis.domain)
        if uniform
        else with_knots(layer, knots, intervals)
    )


def with_knots(layer: KANLayer, knots: np.ndarray, intervals: int) -> BSpline:
    basis = splines_of(layer)
    own = like(layer.coefficients, knots)
    return BSpline(intervals, basis.order, basis.domain, knots=own)


def _grid_points(grid: np.ndarray, order: int) -> np.ndarray:
    """Points `[in, n]` on each row of `grid` `[in, intervals + 1]` that determine all splines of
    `order` on it: equally many in each interval, more than there are splines, knots among them."""
    intervals = grid.shape[1] - 1
    each = max(3, -(-MIN_GRID_POINTS // intervals), 2 + -(-2 * order // intervals))
    at = np.linspace(0, intervals, each * intervals + 1)
    return np.stack([np.interp(at, np.arange(intervals + 1), row) for row in grid])


def _checked_samples(samples: Any, in_features: int | None = None) -> np.ndarray:
    """Samples `[n, in_features]` in float64, from an array or a Tensor, or a UserError."""
    try:
        values = samples.numpy() if isinstance(samples, Tensor) else np.asarray(samples)
        real = np.isrealobj(values) and values.dtype.kind not in "SU"
        values = values.astype(np.float64) if real else values
    except (TypeError, ValueError):  # ragged lists, and objects that are no numbers
        real = False
    if not real:
        raise UserError("samples: an array of real numbers is needed")
    needed = f"[n, {in_features or 'in'}]"
    if values.ndim != 2 or 0 in values.shape or in_features not in (None, values.shape[1]):
        raise UserError(f"samples of shape {values.shape}: {needed} is needed, some of them")
    if not np.isfinite(values).all():
        raise UserError("samples must be finite numbers")
    return values


def splines_of(layer: KANLayer) -> BSpline:
    """The basis of a layer that has a grid; raises UserError for others."""
    if not isinstance(layer, KANLayer) or not isinstance(layer.basis, BSpline):
        raise UserError(f"{layer!r} has no grid: only layers on BSpline have one")
    return layer.basis

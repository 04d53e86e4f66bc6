"""Grids that move and grow: knots from samples, finer knots, and coefficients for them that keep
every edge's function. In NumPy and float64, whatever the model's type: it is done now and then."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tinygrad import Tensor, TinyJit

from tinykan.basis import BSpline
from tinykan.errors import UserError, check_integer
from tinykan.fitting.least_squares import b_splines, least_squares
from tinykan.layers import KANLayer
from tinykan.networks import Network
from tinykan.tensors import like, overwrite

NARROWEST = 1e-6  # width of a grid, in units of its place (or of 1): narrower inputs are a constant
# The weight, beside samples, of points of the earlier function all over the grid: they decide where
# there are no samples, and are lost in rounding where there are.
PRIOR = 1e-10
# Adaptive knots alone follow every accident of the samples: exp(sin(pi x) + y^2) with 50 intervals
# comes to an error of 6e-6, half uniform ones to 2e-6.
MOVED_EPS = 0.5
MOVED_BY = 2048  # samples, at most, by which grids are moved during training
REFITTED_BY = 512  # of many samples, by which coefficients are refitted; knots are from all
FEW = 48  # points on a grid, at least, from which it is known how much a function has changed


def knots_from_samples(
    samples: np.ndarray,
    intervals: int,
    order: int,
    *,
    grid_eps: float = 0.02,
    margin: float = 0.0,
) -> np.ndarray:
    """Complete knot vectors `[in, intervals + 2 order + 1]` for `samples` `[n, in]`: on the range
    of each input, `grid_eps` uniform and the rest with as many samples in each interval (KAN paper,
    arXiv:2404.19756, sec. 2.4; PyKAN's `update_grid_from_samples`), extended by `order` intervals
    of mean width. The grid ends `margin` of that range beyond it. An input that is constant gets a
    grid of width 1 around it.

    Raises UserError if the samples are not finite.
    """
    samples = _checked_samples(samples)
    if not 0 <= grid_eps <= 1:
        raise UserError(f"grid_eps {grid_eps} must lie between 0, adaptive, and 1, uniform")
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
    narrow = high - low <= NARROWEST * np.maximum(1, np.abs(low))
    around = (low + high) / 2 + np.linspace(-0.5, 0.5, intervals + 1)[:, None] * np.maximum(
        1, 2 * NARROWEST * np.abs(low)
    )
    return extended(np.where(narrow, around, grid).T, order)


def extended(grid: np.ndarray, order: int) -> np.ndarray:
    """`grid` `[in, intervals + 1]` with `order` more knots on each side, one mean width apart."""
    width = (grid[:, -1:] - grid[:, :1]) / (grid.shape[1] - 1)
    steps = width * np.arange(1, order + 1)
    return np.concatenate([grid[:, :1] - steps[:, ::-1], grid, grid[:, -1:] + steps], axis=1)


def knots_of(basis: BSpline, in_features: int) -> np.ndarray:
    """The complete knot vectors `[in, knots]` of a layer's basis, in float64."""
    if basis.knots is not None:
        knots = basis.knots.numpy().astype(np.float64)
        return np.broadcast_to(knots, (in_features, knots.shape[1]))
    grid = np.linspace(*basis.domain, basis.intervals + 1)[None]
    return np.broadcast_to(
        extended(grid, basis.order), (in_features, len(grid[0]) + 2 * basis.order)
    )


def update_grid(
    layer: KANLayer,
    samples: np.ndarray | Tensor,
    *,
    grid_eps: float = 0.02,
    margin: float = 0.01,
) -> float:
    """Moves the grid of `layer` to where `samples` `[n, in]` of its inputs are, with as many
    intervals as before, and refits its coefficients, so that its edges keep their functions there.
    Returns the largest change of an edge's spline at the samples.

    Knots that the basis owns already are changed in their place, so that a compiled step goes on
    using them.
    """
    samples, basis = _checked_samples(samples), _splines(layer)
    if samples.shape[1] != layer.in_features:
        raise UserError(f"samples of {samples.shape[1]} inputs for a layer of {layer.in_features}")
    knots = knots_from_samples(
        samples, basis.intervals, basis.order, grid_eps=grid_eps, margin=margin
    )
    return _take_over(layer, knots, basis.intervals, samples)


def own_knots(model: Network) -> None:
    """Gives each spline layer knots for each of its inputs, where they are: nothing changes, but
    that `update_grid` can move them in their place."""
    for _, layer in spline_layers(model):
        basis = _splines(layer)
        if basis.knots is None or basis.knots.shape[0] != layer.in_features:
            layer.basis = _on_knots(layer, knots_of(basis, layer.in_features), basis.intervals)


def grid_mover(model: Network) -> Callable[[Tensor], None]:
    """A function that moves the grids of `model`, which owns its knots, to where its layers' inputs
    are for inputs `x` `[n, in]` of the network: the first layer first, others depend on it."""

    @TinyJit
    def layer_inputs(x: Tensor) -> list[Tensor]:
        # Copies: what a compiled function returns must not be what it was given.
        return [values.clone().realize() for values in model.layer_inputs(x)]

    def move(x: Tensor) -> None:
        few = x[:: -(-len(x) // MOVED_BY)].contiguous().realize()
        for number, layer in spline_layers(model):
            update_grid(layer, layer_inputs(few)[number], grid_eps=MOVED_EPS)

    return move


def refine(model: Network, intervals: int) -> float:
    """Gives every spline layer `intervals` intervals where it has another number, on the same
    domain, and refits its coefficients (grid extension, KAN paper, sec. 2.4). Returns the largest
    change of any edge's spline on its domain: rounding if the new intervals divide the old ones.

    Knots follow those that were: their density stays what it is. The model's tensors are new ones:
    train it by another call of `fit`.
    """
    check_integer("intervals", intervals, 1)
    worst = 0.0
    for _, layer in spline_layers(model):
        basis = _splines(layer)
        if intervals == basis.intervals:
            continue
        old = knots_of(basis, layer.in_features)
        grid = old[:, basis.order : basis.order + basis.intervals + 1]
        at = np.linspace(0, basis.intervals, intervals + 1)
        finer = np.stack([np.interp(at, np.arange(basis.intervals + 1), row) for row in grid])
        worst = max(worst, _take_over(layer, extended(finer, basis.order), intervals, None))
    return worst


def spline_layers(model: Network) -> list[tuple[int, KANLayer]]:
    """The layers that have a grid, by number."""
    return [each for each in kan_layers(model) if isinstance(each[1].basis, BSpline)]


def kan_layers(model: Network) -> list[tuple[int, KANLayer]]:
    """Those on a basis, by number; of a layer around another one, the one within."""
    inner = enumerate(layer.on_basis for layer in model.layers)
    return [(number, layer) for number, layer in inner if layer is not None]


def _take_over(
    layer: KANLayer, knots: np.ndarray, intervals: int, samples: np.ndarray | None
) -> float:
    """Puts the splines of `layer` on other `knots`; the largest change of one, at the samples or,
    without any, on the domain."""
    basis = _splines(layer)
    order, old = basis.order, knots_of(basis, layer.in_features)
    coefficients = layer.coefficients.numpy().astype(np.float64)
    x = _spread(knots[:, order : order + intervals + 1], order)
    weights = np.ones(x.shape[1])
    if samples is not None:
        samples = samples[:: max(1, len(samples) // REFITTED_BY)]
        x = np.concatenate([samples.T, x], axis=1)
        weights = np.concatenate([np.ones(len(samples)), PRIOR * weights])
    elif basis.knots is None:
        # All inputs have the same grid: theirs are outputs of one.
        x, old, knots = x[:1], old[:1], knots[:1]
        coefficients = coefficients.transpose(1, 0, 2).reshape(1, basis.n_functions, -1)
    y = b_splines(x, old, order) @ coefficients
    fresh, errors = least_squares(x, y, knots, order, weights)
    change = float(np.abs(errors)[:, weights == 1].max())
    if len(fresh) < layer.in_features:
        fresh = fresh[0].reshape(-1, layer.in_features, layer.out_features).transpose(1, 0, 2)
    _install(layer, fresh, knots, intervals)
    return change


def _install(layer: KANLayer, coefficients: np.ndarray, knots: np.ndarray, intervals: int) -> None:
    basis = _splines(layer)
    if basis.knots is not None and basis.knots.shape == knots.shape:
        overwrite(basis.knots, knots)
        overwrite(layer.coefficients, coefficients)
        return
    # Refined uniform grids stay uniform, and are evaluated in closed form.
    uniform = basis.knots is None and intervals != basis.intervals
    layer.coefficients = like(layer.coefficients, coefficients)
    layer.basis = (
        BSpline(intervals, basis.order, basis.domain)
        if uniform
        else _on_knots(layer, knots, intervals)
    )


def _on_knots(layer: KANLayer, knots: np.ndarray, intervals: int) -> BSpline:
    basis = _splines(layer)
    own = like(layer.coefficients, knots)
    return BSpline(intervals, basis.order, basis.domain, knots=own)


def _spread(grid: np.ndarray, order: int) -> np.ndarray:
    """Points over each row of `grid` `[in, intervals + 1]` that decide on all functions of `order`:
    more than there are, as many on each interval, knots among them."""
    intervals = grid.shape[1] - 1
    each = max(3, -(-FEW // intervals), 2 + -(-2 * order // intervals))
    at = np.linspace(0, intervals, each * intervals + 1)
    return np.stack([np.interp(at, np.arange(intervals + 1), row) for row in grid])


def _checked_samples(samples: np.ndarray | Tensor) -> np.ndarray:
    values = samples.numpy() if isinstance(samples, Tensor) else np.asarray(samples)
    values = values.astype(np.float64)
    if values.ndim != 2 or len(values) == 0:
        raise UserError(f"samples of shape {values.shape}: [n, in], some of them, are needed")
    if not np.isfinite(values).all():
        raise UserError("samples must be finite numbers")
    return values


def _splines(layer: KANLayer) -> BSpline:
    """The basis of a layer that has a grid."""
    if not isinstance(layer, KANLayer) or not isinstance(layer.basis, BSpline):
        raise UserError(f"{layer!r} has no grid: only layers on BSpline have one")
    return layer.basis

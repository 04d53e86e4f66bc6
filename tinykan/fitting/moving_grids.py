"""Grids that follow their inputs during training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tinygrad import Tensor, TinyJit

from tinykan.errors import warn
from tinykan.fitting.grids import (
    knot_vectors,
    knots_from_samples,
    refit,
    spline_layers,
    splines_of,
    with_knots,
)
from tinykan.layers import KANLayer
from tinykan.networks import Network
from tinykan.optim import Adam
from tinykan.tensors import overwrite

Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # as tinykan.training's
MAX_SAMPLES = 2048  # of a batch, to which grids move
LEFT = 0.01  # the share of an input's samples outside its grid above which that moves
USED = 0.5  # the part of a hidden layer's grid that is in use, below which L-BFGS narrows it
# Of the range of the samples, on either side. The network's inputs stay where they are; those of
# other layers do not: with 0.05, L-BFGS on exp(sin(pi x) + y^2) ends in bad minima for one seed of
# four, with 0.5 it loses a digit at fine grids.
FIRST_MARGIN, MARGIN = 0.01, 0.2
# Of grids under L-BFGS, by default: the error of [2,1,1] on exp(J0(20 x1) + x2^2) is then 0.6 of
# that with fixed grids, and others' 0.5 to 1.6.
GRID_UPDATES = 5
HIGHER = 1.01  # times the loss before: beyond rounding and the noise of a refit
OUTSIDE_LIMIT = 0.05  # the share of the first layer's inputs above which the user should know,
HIDDEN_LIMIT = 0.5  # and of other layers': with a fifth outside, grids that move gain nothing


class GridMover:
    """Moves the grids of a network in training to its inputs, where these have left them.

    A grid moves if more than LEFT of the samples of an input lie outside: to knots on their range
    and a margin, with the same number of intervals, the coefficients refitted by least squares. The
    knots are uniform for `grid_eps` 1, and have equally many samples between them for 0, as in
    `knots_from_samples`; these (PyKAN's, with 0.02) follow every accident of the samples, and with
    them a network of 10,000 parameters lost 2 dB on an image, or diverged. A layer goes back if the
    loss is higher after its move.

    `objective(x, y)` is that of tinykan.training; with `whole` it is of all rows of a batch, whose
    order may mean something, else of MAX_SAMPLES of them. Moments of `adam` are carried over.
    Without it, grids of hidden layers of which less than USED is in use move too; under Adam, whose
    steps are of one size for all coefficients, narrow grids make steep functions and training
    unstable. The grid of the network's inputs never narrows: what it knew of the rest would be
    lost. The layers have `own_knots`, updated in place, so that compiled steps go on using them.
    """

    def __init__(
        self, model: Network, objective: Objective, adam: Adam | None = None, grid_eps: float = 1.0,
        whole: bool = False,
    ) -> None:  # fmt: skip
        self.model, self.adam, self.grid_eps, self.whole = model, adam, grid_eps, whole
        own_knots(model)

        @TinyJit
        def evaluate(x: Tensor, y: Tensor) -> list[Tensor]:
            # Copies: a compiled function must not return its own inputs.
            values = objective(x, y)[0].detach(), *model.layer_inputs(x)
            copies = [value.clone() for value in values]
            Tensor.realize(*copies)
            return copies

        self._evaluate = evaluate

    def __call__(self, x: Tensor, y: Tensor) -> bool:
        """Moves grids for a batch of inputs `x` `[n, in]` and targets `y` of the network, from the
        first layer to the last, as the inputs of each depend on those before. Returns whether one
        has moved."""
        moved, (loss, *inputs) = False, self._evaluated(x, y)
        for index, layer in spline_layers(self.model):
            if (knots := self._better_knots(index, layer, inputs[index])) is None:
                continue
            old, coefficients = (t.numpy().copy() for t in (_own(layer), layer.coefficients))
            refit(layer, knots, splines_of(layer).intervals, inputs[index])
            after, *changed = self._evaluated(x, y)
            if after <= HIGHER * loss:
                self._carry_moments_over(layer, old)
                moved, loss, inputs = True, after, changed
            else:
                overwrite(_own(layer), old)
                overwrite(layer.coefficients, coefficients)
        return moved

    def wanted(self, x: Tensor, y: Tensor) -> bool:
        """Whether there is a grid that its inputs have left."""
        _, *inputs = self._evaluated(x, y)
        layers = spline_layers(self.model)
        return any(self._better_knots(n, layer, inputs[n]) is not None for n, layer in layers)

    def _evaluated(self, x: Tensor, y: Tensor) -> list[Any]:
        """The loss, and the inputs of every layer, of part of the batch."""
        every = 1 if self.whole else -(-len(x) // MAX_SAMPLES)
        part = [t[::every].contiguous().realize() for t in (x, y)]
        loss, *inputs = (t.numpy().astype(np.float64) for t in self._evaluate(*part))
        return [float(loss), *inputs]

    def _better_knots(self, index: int, layer: KANLayer, samples: np.ndarray) -> np.ndarray | None:
        """The knots `[in, knots]` of a layer, others for the inputs that have left their grids,
        for samples `[n, in]` of them; None if there are no such inputs."""
        basis, own = splines_of(layer), _own(layer).numpy().astype(np.float64)
        low, high = own[:, basis.order], own[:, basis.order + basis.intervals]
        outside = ((samples < low) | (samples > high)).mean(axis=0)
        moves = outside > LEFT
        if index and self.adam is None:
            moves |= np.ptp(samples, axis=0) < USED * (high - low)
        margin = MARGIN if index else FIRST_MARGIN
        knots = knots_from_samples(
            samples, basis.intervals, basis.order, grid_eps=self.grid_eps, margin=margin
        )
        # A constant input stays on the grid that it was given.
        moves &= np.abs(knots - own).max(axis=1) > MARGIN * (high - low) / basis.intervals
        return np.where(moves[:, None], knots, own) if moves.any() else None

    def _carry_moments_over(self, layer: KANLayer, old: np.ndarray) -> None:
        """Moments of the gradient of the layer's coefficients, from its `old` knots: interpolated
        between the centers of functions, in proportion to their widths, as gradients are."""
        if self.adam is None:
            return
        order, new = splines_of(layer).order, _own(layer).numpy()
        places = [n for n, p in enumerate(self.adam.parameters) if p is layer.coefficients]
        factor = np.ptp(new, axis=1) / np.ptp(old, axis=1)
        pairs = [(m, 1) for m in self.adam.m], [(v, 2) for v in self.adam.v]
        for moments, power in [each[n] for each in pairs for n in places if each]:
            values = moments.numpy().copy()
            for i, pair in enumerate(zip(_centers(new, order), _centers(old, order), strict=True)):
                columns = [np.interp(*pair, column) for column in values[i].T]
                values[i] = factor[i] ** power * np.stack(columns, axis=-1)
            overwrite(moments, values)


def grid_moves(
    training: Any, steps: int, count: int, adam: Adam | None = None
) -> tuple[list[int], Any]:
    """After which of `steps`, `count` of them and all in the first half, the grids of a
    tinykan.training.Training may move, and what moves them; None for a `count` of 0."""
    if not count:
        return [], None
    moves = sorted({steps * n // (2 * count) for n in range(count)})
    options = adam, training.grid_eps, training.sees_model
    return moves, GridMover(training.model, training.objective, *options)


def warn_of_inputs_outside(shares: list[float], moving: bool) -> bool:
    """Warns, and returns True, if more inputs of a layer are outside its grid than should be: the
    first of the `shares`, one for each layer, above its limit. `moving` is whether grids move."""
    for layer, share in enumerate(shares, 1):
        if share > (OUTSIDE_LIMIT if layer == 1 else HIDDEN_LIMIT):
            where = f"{share:.0%} of the inputs of layer {layer} are outside its grid"
            moves = "" if moving else "let grids move (grid_updates=5), "
            scale = "scale them (tinykan.Standardized)" if layer == 1 else "normalize them"
            warn(f"{where}, where splines end; {moves}{scale} or widen the domain")
            return True
    return False


def own_knots(model: Network) -> None:
    """Gives each spline layer explicit knots for each of its inputs, where they already are: its
    outputs stay the same, and its knots can then be updated in place."""
    for _, layer in spline_layers(model):
        basis = splines_of(layer)
        if basis.knots is None or basis.knots.shape[0] != layer.in_features:
            layer.basis = with_knots(layer, knot_vectors(basis, layer.in_features), basis.intervals)


def _own(layer: KANLayer) -> Tensor:
    knots = splines_of(layer).knots
    assert knots is not None
    return knots


def _centers(knots: np.ndarray, order: int) -> np.ndarray:
    """The means of each function's inner knots `[in, functions]`."""
    inner = [knots[:, k : k - order - 1] for k in range(1, order + 1)]
    return np.stack(inner).mean(axis=0)

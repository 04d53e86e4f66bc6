"""The full-batch phase of a training: L-BFGS on one sample, interrupted where grids move."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from tinygrad import Tensor, dtypes

from tinykan.fitting.grids import spline_layers
from tinykan.fitting.lbfgs import LBFGS, float64
from tinykan.fitting.moving_grids import GRID_UPDATES, grid_moves, own_knots
from tinykan.tensors import learnable


def full_batch(training: Any, stop: Callable[[Any], bool | None]) -> None:
    """Runs the `training.lbfgs` iterations of a tinykan.training.Training, which calls this; after
    each iteration `stop(step)` ends them by returning True."""
    bases = [(layer, layer.basis) for _, layer in spline_layers(training.model)]
    by_default = 0 if training.sees_model else GRID_UPDATES
    updates = by_default if training.grid_updates is None else training.grid_updates
    updates = updates if bases else 0
    if updates:  # knots of their own must be there before all change their type
        own_knots(training.model)
        training.guard.watch(training.model, training.done)
    with float64(training.model):
        phase = FullBatch(training, stop, updates)
        phase.run()
    if not phase.moved:
        for layer, basis in bases:  # evaluated in closed form, if it is uniform
            layer.basis = basis
    if training.progress and training.done < training.total and not phase.stopped:
        iterations = training.done - training.steps
        print(f"L-BFGS found no lower loss after {iterations} iterations", file=sys.stderr)


class FullBatch:
    """The phase of one `training`, its model in the type that it is refined in, on knots of its own
    if there are `updates` of grids."""

    def __init__(self, training: Any, stop: Callable[[Any], bool | None], updates: int) -> None:
        self.training, self.stop, self.stopped, self.moved = training, stop, False, False
        training.start_clock()
        dtype, points = learnable(training.model)[0].dtype, training.points(training.steps)
        points = [t.cast(dtype) if dtypes.is_float(t.dtype) else t for t in points]  # not labels
        self.batch: list[Tensor] = [t.contiguous().realize() for t in points]
        self.moves, self.mover = grid_moves(training, training.lbfgs, updates)
        self.optimizer = LBFGS(
            training.model,
            training.objective,
            *self.batch,
            precondition=training.of_outputs,
            # The second derivatives of splines have kinks, which mislead an estimate that lasts.
            whole=training.sees_model and not spline_layers(training.model),
        )
        training.guard.check(training.done, self.optimizer.report()[0])

    def run(self) -> None:
        left, self.moving = self.training.lbfgs, self.mover is not None
        while left > 0 and not self.stopped:
            if self.moving:
                self.moved |= self.mover(*self.batch)
            self.moving = False
            left -= self.optimizer.run(left, self.after)
            if not self.moving:  # L-BFGS found no lower loss, or is done
                return

    def after(self, report: list[float]) -> bool:
        """Records an iteration; whether L-BFGS ends here, as it must where the grids move."""
        training = self.training
        step = training.finished(training.done + 1, lambda: report)
        with training.clock_stopped(step):
            self.stopped = bool(self.stop(step))
        due = training.done - training.steps in self.moves
        self.moving = due and self.mover.wanted(*self.batch)
        return self.stopped or self.moving

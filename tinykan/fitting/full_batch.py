"""The full-batch phase of a training: L-BFGS on one sample, interrupted where grids move."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from tinygrad import Tensor

from tinykan.fitting.lbfgs import LBFGS, float64
from tinykan.tensors import learnable


def full_batch(training: Any, stop: Callable[[Any], bool | None]) -> None:
    """Runs the `training.lbfgs` iterations of a tinykan.training.Training, which calls this; after
    each iteration `stop(step)` ends them by returning True."""
    with float64(training.model):
        phase = FullBatch(training, stop)
        phase.run()
    if training.progress and training.done < training.total and not phase.stopped:
        iterations = training.done - training.steps
        print(f"L-BFGS found no lower loss after {iterations} iterations", file=sys.stderr)


class FullBatch:
    """The phase of one `training`, its model in the type that it is refined in."""

    def __init__(self, training: Any, stop: Callable[[Any], bool | None]) -> None:
        self.training, self.stop, self.stopped, self.moving = training, stop, False, False
        training.start_clock()
        dtype, points = learnable(training.model)[0].dtype, training.points(training.steps)
        self.batch: list[Tensor] = [t.cast(dtype).contiguous().realize() for t in points]
        self.optimizer = LBFGS(training.model, training.objective, *self.batch)
        training.guard.check(training.done, self.optimizer.report()[0])
        self.moves, self.mover = training.grid_moves(training.lbfgs)

    def run(self) -> None:
        if self.mover:
            self.mover(*self.batch)
        left = self.training.lbfgs
        while left > 0 and not self.stopped:
            self.moving = False
            left -= self.optimizer.run(left, self.after)
            if not self.moving:  # L-BFGS found no lower loss, or is done
                return
            self.mover(*self.batch)

    def after(self, report: list[float]) -> bool:
        """Records an iteration; whether L-BFGS ends here, as it must where the grids move."""
        training = self.training
        step = training.finished(training.done + 1, lambda: report)
        with training.clock_stopped(step):
            self.stopped = bool(self.stop(step))
        due = training.done - training.steps in self.moves
        self.moving = due and self.mover.wanted(*self.batch)
        return self.stopped or self.moving

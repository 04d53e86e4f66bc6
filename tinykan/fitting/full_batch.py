"""The full-batch phase of a training: L-BFGS on one sample, between grid updates."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from tinykan.fitting.lbfgs import LBFGS, float64
from tinykan.tensors import learnable


def full_batch(training: Any, stop: Callable[[Any], bool | None]) -> None:
    """Runs the `training.lbfgs` iterations of a tinykan.training.Training, which calls this; after
    each iteration `stop(step)` ends them by returning True."""
    stopped = False
    training.start_clock()
    with float64(training.model):
        dtype = learnable(training.model)[0].dtype
        x, y = (t.cast(dtype).contiguous().realize() for t in training.points(training.steps))
        optimizer = LBFGS(training.model, training.objective, x, y)
        training.guard.check(training.done, optimizer.report()[0])
        moves, move_grids = training.grid_moves(training.lbfgs)

        def after(iteration: int, report: list[float]) -> bool:
            nonlocal stopped
            step = training.finished(training.done + 1, lambda: report)
            with training.clock_stopped(step):
                stopped = bool(stop(step))
            return stopped

        for begin, end in pairwise([*(moves or [0]), training.lbfgs]):
            if moves:
                move_grids(x)
            optimizer.run(end - begin, after)
            if stopped:
                return
    if training.progress and training.done < training.total:
        iterations = training.done - training.steps
        print(f"L-BFGS found no lower loss after {iterations} iterations", file=sys.stderr)

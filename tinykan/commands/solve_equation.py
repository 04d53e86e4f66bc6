"""Solves a differential equation with a network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tinygrad import Tensor

from tinykan import device
from tinykan.networks import parameter_count
from tinykan.runs import devices
from tinykan.runs.command_line import option
from tinykan.runs.options import Options, refine_option
from tinykan.runs.pictures import drawing
from tinykan.runs.presets import network_for
from tinykan.runs.run import Run, summary_line
from tinykan.runs.stages import grids_from, scores_before
from tinykan.runs.widths import widths_text
from tinykan.tasks.equations import EquationTask
from tinykan.tasks.prediction import Predictor
from tinykan.tasks.ready_equations import EQUATIONS


@dataclass(kw_only=True)
class Config(Options):
    """Solves a differential equation with a network, and draws the solution, its reference, its
    error and its residual."""

    equation: str = option("poisson", "the equation", choices=EQUATIONS)
    resample: bool = option(False, "draw interior points anew at each step, instead of a grid")
    candidates: int = option(
        1, "with --resample: of so many points the one with the largest residual", minimum=1
    )
    attention: bool = option(
        False, "weigh each point of the grid by its residual in the steps so far"
    )
    hard_constraints: bool = option(
        False, "solve by an ansatz that has the values on the sides, whatever the network is"
    )
    parameters: int = option(57, "number of parameters, met within 2 %%", minimum=1)
    depth: int = option(1, "hidden layers", minimum=1)
    steps: int = option(500, "training steps of Adam", minimum=0)
    refine: str | None = refine_option()


def main(config: Config) -> None:
    device.select(config.device)
    say = (lambda *_: None) if config.quiet else print
    devices.announce(config.quiet)
    task = EquationTask(
        config.equation,
        config.resample,
        config.hard_constraints,
        config.candidates,
        config.attention,
    )
    model = network_for(task, config, config.seed)
    grids = grids_from(config.refine, model)
    out = Run.open(f"runs/{config.equation}-{config.model}", config, task, model)
    scores_shown = ("mse", "relative_l2", "max_error")
    if out.finished:
        print(summary_line(out.finished, scores_shown, out.folder))
        return
    on_sides = f" and {len(task.boundary)} on the sides" if len(task.boundary) else ""
    say(
        f"{config.model} network {widths_text(model.widths)}, {parameter_count(model)} parameters, "
        f"on {len(task.interior)} interior points{on_sides}: "
        f"{task.problem.formula}"
    )
    figures = drawing()
    history, problem = out.train(grids=grids)
    if grids:
        say(scores_before(grids, out.grid_scores, scores_shown))
    fitted = task.fitted(Predictor(model, min(config.batch, len(task.points))))
    unit = Tensor(task.points.astype(np.float32)).realize()
    residual = task.problem.residuals(model, unit, task.hard_constraints).numpy().astype(float)
    scores = {**task.scores(fitted), "residual_rms": float(np.sqrt(np.mean(residual**2)))}
    title = f"{config.model}, {parameter_count(model)} parameters, MSE {scores['mse']:.2e}"
    if figures:
        panels = {
            "solution": fitted,
            "reference": task.target,
            "error": fitted - task.target,
            "residual": residual,
        }
        side = (101, 101)
        square = {name: values.reshape(side) for name, values in panels.items()}
        figures.save_solution(square, task.problem.domain, out.folder / "solution.png", title)
        figures.save_loss(history, out.folder / "loss.png", title)
    summary = out.finish(history, scores, problem)
    print(summary_line(summary, scores_shown, out.folder))

"""Fits a function of one or two variables with a network."""

from __future__ import annotations

from dataclasses import dataclass

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
from tinykan.tasks.prediction import Predictor
from tinykan.tasks.target_functions import TARGET_FUNCTIONS
from tinykan.tasks.task import FunctionTask


@dataclass(kw_only=True)
class Config(Options):
    """Fits a function of one or two variables with a network, and draws every edge it learned."""

    function: str = option("zigzag", "the target", choices=TARGET_FUNCTIONS)
    parameters: int = option(1000, "number of parameters, met within 2 %%", minimum=1)
    depth: int = option(2, "hidden layers", minimum=1)
    steps: int = option(2000, "training steps of Adam", minimum=0)
    batch: int = option(1024, "points in a step; all of them if there are fewer", minimum=1)
    refine: str | None = refine_option()


def main(config: Config) -> None:
    device.select(config.device)
    say = (lambda *_: None) if config.quiet else print
    devices.announce(config.quiet)
    task = FunctionTask(config.function, config.seed)
    if config.model == "spline" and task.in_features == 1:
        config.basis = config.basis or "BSpline(20)"  # functions of one variable have details
    model = network_for(task, config, config.seed)
    grids = grids_from(config.refine, model)
    out = Run.open(f"runs/{config.function}-{config.model}", config, task, model)
    scores_shown = ("rmse", "mse", "max_error")
    if out.finished:
        print(summary_line(out.finished, scores_shown, out.folder))
        return
    inputs = task.data[0]
    say(
        f"{config.model} network {widths_text(model.widths)}, {parameter_count(model)} parameters, "
        f"on {len(inputs)} points of {task.function.formula}"
    )
    figures = drawing()
    history, problem = out.train(grids=grids)
    if grids:
        say(scores_before(grids, out.grid_scores, scores_shown))
    chunk = min(config.batch, len(inputs))  # the shapes of training: kernels are shared
    fitted = task.fitted(Predictor(model, chunk))
    scores = task.scores(fitted)
    title = f"{config.model}, {parameter_count(model)} parameters, RMSE {scores['rmse']:.2e}"
    if figures:
        x, path = task.function.to_box(task.points), out.folder / "fit.png"
        figures.save_function_fit(task.function, x, task.target, fitted, path, title)
        figures.save_edges(model, inputs, out.folder / "activations.png")
        figures.save_loss(history, out.folder / "loss.png", title)
    summary = out.finish(history, scores, problem)
    print(summary_line(summary, scores_shown, out.folder))

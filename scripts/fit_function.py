"""Fits a function of one or two variables with a network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinykan import BSpline, batches, device, plotting
from tinykan.cli import option, run
from tinykan.encoding import ENCODINGS
from tinykan.experiment import Run, TrainingOptions, summary_line
from tinykan.functions import FUNCTIONS
from tinykan.models import MODELS, build
from tinykan.networks import Predictor, parameter_count


@dataclass(kw_only=True)
class Config(TrainingOptions):
    """Fits a function of one or two variables with a network, and draws every edge it learned."""

    function: str = option("zigzag", "the target", choices=FUNCTIONS)
    model: str = option("spline", "kind of network", choices=MODELS)
    parameters: int = option(1000, "learnable numbers, met within 2 %%", minimum=1)
    depth: int = option(2, "hidden layers", minimum=1)
    intervals: int | None = option(
        None,
        "intervals of the spline model's grid (default: 20 for one variable, 5 for two)",
        minimum=1,
    )
    order: int = option(3, "order of its splines, 1 to 5", minimum=1)
    encoding: str = option("none", "of the variables", choices=ENCODINGS)
    steps: int = option(2000, "training steps", minimum=1)
    batch: int = option(1024, "points in a step; all of them if there are fewer", minimum=1)


def main(config: Config) -> None:
    device.select(config.device)
    say = (lambda *_: None) if config.quiet else print
    say(device.summary())
    function = FUNCTIONS[config.function]
    kind = MODELS[config.model]
    encoding = ENCODINGS[config.encoding](function.in_features)
    intervals = config.intervals or (20 if function.in_features == 1 else 5)
    basis = BSpline(intervals, config.order) if config.model == "spline" else None
    model = build(
        config.model,
        function.in_features,
        1,
        config.parameters,
        config.depth,
        encoding=encoding,
        basis=basis,
        seed=config.seed,
    )
    inputs, targets = function.training_set(config.seed)
    folder = config.out or f"runs/{config.function}-{config.model}"
    out = Run(folder, config, inputs, targets)
    scores_shown = ("rmse", "mse", "max_error")
    if out.finished:
        print(summary_line(out.finished, scores_shown, out.folder))
        return
    say(
        f"{config.model} network {model.shape}, {parameter_count(model)} parameters, "
        f"on {len(inputs)} points of {function.formula}"
    )
    history, problem = out.train(
        model,
        batches(inputs, targets, config.batch, config.seed),
        learning_rate=kind.learning_rate if config.lr is None else config.lr,
    )
    # Scored on a grid much finer than the training set, in the units of the function.
    grid = function.grid(*((2001,) if function.in_features == 1 else (101, 101)))
    x = function.to_box(grid)
    target, fitted = function.evaluate(x), Predictor(model, chunk=2048)(grid)[:, 0].astype(float)
    error = fitted - target
    scores = {
        "rmse": float(np.sqrt(np.mean(error**2))),
        "mse": float(np.mean(error**2)),
        "max_error": float(np.abs(error).max()),
    }
    title = f"{config.model}, {parameter_count(model)} parameters, RMSE {scores['rmse']:.2e}"
    plotting.save_function_fit(function, x, target, fitted, out.folder / "fit.png", title)
    plotting.save_edges(model, inputs, out.folder / "activations.png")
    plotting.save_loss(history, out.folder / "loss.png", title)
    summary = out.finish(model, history, scores, problem)
    if problem:
        raise problem
    print(summary_line(summary, scores_shown, out.folder))


if __name__ == "__main__":
    run(main, Config)

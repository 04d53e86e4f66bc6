"""Tables of functions that KANs and MLPs of equally many parameters are fitted to, beside published
errors: special functions, and dimensionless formulas from Feynman's lectures."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from math import pi
from typing import Any

import numpy as np

from tinykan import KAN, BSpline, Network, device, fit
from tinykan.errors import lookup, need
from tinykan.networks import parameter_count
from tinykan.runs.command_line import device_option, option, run
from tinykan.runs.presets import MODELS, ModelOptions, network_for
from tinykan.tasks import FormulaTask, Predictor

UNIT, SIGNED, POSITIVE, TURN = (0.0, 1.0), (-1.0, 1.0), (0.5, 2.0), (0.0, 2 * pi)


@dataclass(frozen=True)
class Known:
    """A formula of variables in these domains, in alphabetical order (one pair: of all), and the
    errors that were published for a KAN and for an MLP."""

    formula: str
    domain: tuple[Any, ...]
    kan: float
    mlp: float


@dataclass(frozen=True)
class Functions:
    """A table: its functions, the `score` that was published, the KAN's hidden nodes and intervals,
    and the MLPs, by their model and hidden layers."""

    functions: dict[str, Known]
    score: str
    hidden: tuple[int, ...]
    intervals: int
    mlps: tuple[tuple[str, int], ...]


SPECIAL = {
    "ellipkinc": Known("ellipkinc(x, y)", UNIT, 7.781e-5, 1.529e-3),
    "ellipeinc": Known("ellipeinc(x, y)", UNIT, 5.913e-5, 9.460e-4),
    "lpmv, m = 0": Known("lpmv(0, x, y)", UNIT, 1.709e-4, 1.825e-3),
    "lpmv, m = 1": Known("lpmv(1, x, y)", UNIT, 4.818e-4, 3.547e-3),
    "sph_harm, m = 0, n = 1": Known("sqrt(3/(4*pi))*cos(y) + 0*x", UNIT, 1.155e-5, 4.365e-4),
    "sph_harm, m = 0, n = 2": Known(
        "sqrt(5/pi)/4*(3*cos(y)**2 - 1) + 0*x", UNIT, 3.675e-5, 1.536e-3
    ),
}
FEYNMAN = {
    "I.6.2": Known(
        "exp(-t**2/(2*s**2))/sqrt(2*pi*s**2)", (POSITIVE, SIGNED), 4.60e-5, 1.45e-4
    ),
    "I.6.2b": Known(
        "exp(-(t - u)**2/(2*s**2))/sqrt(2*pi*s**2)",
        (POSITIVE, (-1.5, 1.5), (-1.5, 1.5)), 1.25e-3, 7.40e-4,
    ),
    "I.9.18": Known(
        "a/((b - 1)**2 + (c - d)**2 + (e - f)**2)",
        (SIGNED, (-1, 0), (-1, -0.5), (0.5, 1), (-1, -0.5), (0.5, 1)), 6.56e-3, 1.59e-3,
    ),
    "I.12.11": Known("1 + a*sin(t)", (SIGNED, TURN), 9.13e-4, 6.71e-4),
    "I.13.12": Known("a*(1/b - 1)", (UNIT, POSITIVE), 2.72e-3, 1.42e-3),
    "I.15.3x": Known("(1 - a)/sqrt(1 - b**2)", (SIGNED, (-0.9, 0.9)), 1.14e-3, 8.54e-4),
    "I.16.6": Known("(a + b)/(1 + a*b)", (-0.9, 0.9), 1.53e-3, 6.20e-4),
    "I.18.4": Known("(1 + a*b)/(1 + a)", (POSITIVE, SIGNED), 1.32e-3, 3.68e-4),
    "I.26.2": Known("asin(n*sin(t))", ((0, 0.99), TURN), 8.63e-4, 1.24e-3),
    "I.27.6": Known("1/(1 + a*b)", POSITIVE, 2.14e-4, 2.46e-4),
    "I.29.16": Known("sqrt(1 + a**2 - 2*a*cos(t - u))", (SIGNED, TURN, TURN), 3.20e-3, 4.64e-3),
    "I.30.3": Known(
        "sin(n*t/2)**2/sin(t/2)**2", ((0, 4), (0.4 * pi, 1.6 * pi)), 1.11e-2, 1.50e-2
    ),
    "I.30.5": Known("asin(a/n)", (SIGNED, (1.1, 1.5)), 6.92e-5, 9.45e-5),
    "I.37.4": Known("1 + a + 2*sqrt(a)*cos(d)", ((0.1, 1), TURN), 3.41e-4, 5.67e-4),
    "I.40.1": Known("n*exp(-a)", (SIGNED, UNIT), 3.12e-4, 3.99e-4),
    "I.44.4": Known("n*log(a)", (POSITIVE, UNIT), 1.10e-4, 3.99e-4),
    "I.50.26": Known("cos(a) + b*cos(a)**2", (TURN, UNIT), 4.90e-4, 1.53e-3),
    "II.2.42": Known("(a - 1)*b", UNIT, 1.22e-3, 1.81e-4),
    "II.6.15a": Known("c*sqrt(a**2 + b**2)/(4*pi)", UNIT, 1.35e-3, 5.92e-4),
    "II.11.7": Known("n*(1 + a*cos(t))", (SIGNED, UNIT, TURN), 5.03e-3, 5.92e-4),
    "II.11.27": Known("a*n/(1 - a*n/3)", ((0, 2), UNIT), 1.43e-5, 7.18e-5),
    "II.35.18": Known("n/(exp(a) + exp(-a))", (SIGNED, UNIT), 7.71e-5, 7.92e-5),
    "II.36.38": Known("a + b*c", UNIT, 3.03e-3, 2.15e-3),
    "II.38.3": Known("a/b", (UNIT, POSITIVE), 6.43e-4, 5.26e-4),
    "III.9.52": Known(
        "a*sin((b - c)/2)**2/((b - c)/2)**2", (UNIT, TURN, TURN), 2.11e-2, 9.07e-4
    ),
    "III.10.19": Known("sqrt(1 + a**2 + b**2)", UNIT, 8.16e-4, 1.67e-4),
    "III.17.37": Known("b*(1 + a*cos(t))", (UNIT, UNIT, TURN), 4.12e-4, 6.80e-4),
}  # fmt: skip
TABLES = {
    "special": Functions(SPECIAL, "mean_error", (5,), 20, (("tanh", 1), ("relu", 1), ("tanh", 2))),
    "feynman": Functions(FEYNMAN, "rmse", (5, 2), 5, (("tanh", 2),)),
}


@dataclass
class Config:
    """Fits the functions of a table, of 1,000 random points each, with a KAN and with MLPs of as
    many parameters, all by Adam and then L-BFGS. Prints, as a Markdown table, the error at 1,000
    other points, mean and standard deviation over the seeds, beside published ones; of the MLPs the
    best. Needs SciPy."""

    table: str = option(MISSING, "the table", choices=TABLES, positional=True)
    steps: int = option(1000, "steps of Adam", minimum=0)
    lbfgs: int = option(500, "iterations of L-BFGS", minimum=0)
    seeds: int = option(3, "seeds of the weights, from 0 on", minimum=1)
    only: str | None = option(None, "some of the functions, by semicolons")
    device: str | None = device_option()


def main(config: Config) -> None:
    need("scipy", extra="lbfgs", purpose="L-BFGS")
    functions = TABLES[config.table].functions
    names = list(functions) if config.only is None else config.only.split("; ")
    for name in names:
        lookup("function", name, functions)
    device.select(config.device)
    print("| function | KAN | published | best MLP | published | which MLP | parameters | s |")
    print("|---|---|---|---|---|---|---|---|")
    for name in names:
        print(row(name, config), flush=True)


def row(name: str, config: Config) -> str:
    """A row of the table."""
    table = TABLES[config.table]
    known = table.functions[name]
    task = FormulaTask(known.formula, known.domain)
    widths = [task.in_features, *table.hidden, 1]
    basis = BSpline(table.intervals)
    errors: dict[str, list[float]] = {}
    seconds: dict[str, float] = {}

    def kan(seed: int) -> Network:
        return KAN(widths, basis, spline_weight=False, seed=seed)

    parameters = parameter_count(kan(0))
    errors["KAN"], seconds["KAN"] = measured(task, "spline", kan, table.score, config)
    for model, depth in table.mlps:
        options = ModelOptions(model=model, depth=depth, parameters=parameters)
        which = f"{model}, {depth} layer{'s' * (depth > 1)}"

        def mlp(seed: int, options: ModelOptions = options) -> Network:
            return network_for(task, options, seed)

        errors[which], seconds[which] = measured(task, model, mlp, table.score, config)
    best = min((which for which in errors if which != "KAN"), key=lambda w: np.mean(errors[w]))
    cells = [name, spread(errors["KAN"]), f"{known.kan:.1e}", spread(errors[best])]
    cells += [f"{known.mlp:.1e}", best, str(parameters)]
    cells += [f"{seconds['KAN']:.1f}, {seconds[best]:.1f}"]
    return f"| {' | '.join(cells)} |"


def measured(
    task: FormulaTask, model: str, make: Any, score: str, config: Config
) -> tuple[list[float], float]:
    """The score of the networks that `make` gives for each seed, trained at the rate that suits the
    `model`, and the median of the seconds of training, without compilation."""
    errors, seconds = [], []
    for seed in range(config.seeds):
        network = make(seed)
        history = fit(
            network, task.sampler(task.points, seed), steps=config.steps,
            learning_rate=MODELS[model].learning_rate, lbfgs=config.lbfgs, progress=False,
        )  # fmt: skip
        seconds.append(history.train_seconds)
        errors.append(task.scores(task.fitted(Predictor(network)))[score])
    return errors, float(np.median(seconds))


def spread(errors: list[float]) -> str:
    """Mean and standard deviation."""
    mean = f"{np.mean(errors):.1e}"
    return mean if len(errors) == 1 else f"{mean} ± {np.std(errors, ddof=1):.0e}"


if __name__ == "__main__":
    run(main, Config)

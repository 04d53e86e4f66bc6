"""Counts the known formulas that `recover` finds in tables, with and without noise."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinykan import device
from tinykan.errors import UserError, lookup, need
from tinykan.runs.command_line import device_option, option, run

ROWS = 500
# Fresh rows without noise, and how closely, relative to the deviation of the targets, the formula
# must agree there with one of the known form: that of the same digits, for other constants.
FRESH, SAME_FORM = 200, 1e-7
# Of a constant: standard errors with noise, and without any a relative error.
STANDARD_ERRORS, RELATIVE = 4.0, 1e-3


@dataclass(frozen=True)
class Known:
    """A `formula` of variables in `ranges`, from which they are drawn uniformly, and of constants
    c1, c2, ... with these `values`."""

    formula: str
    ranges: dict[str, tuple[float, float]]
    values: tuple[float, ...] = ()


KNOWN = {
    "kinetic energy": Known(
        "c1*mass*velocity**2", {"mass": (0.5, 5), "velocity": (0.5, 5)}, (0.5,)
    ),
    "ideal gas": Known(
        "c1*amount*temperature/volume",
        {"amount": (0.5, 3), "temperature": (250, 400), "volume": (1, 5)},
        (8.314,),
    ),
    "lens": Known("c1/(1/object + 1/image)", {"object": (1, 5), "image": (1, 5)}, (1.0,)),
    "gravitation": Known(
        "c1*m1*m2/r**2", {"m1": (1, 5), "m2": (1, 5), "r": (1, 4)}, (6.674,)
    ),
    "pendulum": Known(
        "c1*sqrt(length/gravity)", {"length": (0.2, 3), "gravity": (1.5, 25)}, (2 * np.pi,)
    ),
    "damped oscillation": Known(
        "amp*exp(-c1*t)*cos(c2*t)", {"amp": (0.5, 2), "t": (0, 3)}, (1.0, 5.0)
    ),
    "relativistic addition": Known("(u + v)/(1 + u*v)", {"u": (-0.9, 0.9), "v": (-0.9, 0.9)}),
    "distance": Known(
        "sqrt(x**2 + y**2 + z**2)", {"x": (-2, 2), "y": (-2, 2), "z": (-2, 2)}
    ),
    "Gaussian": Known(
        "c1*exp(-c2*(x/width)**2)/width",
        {"x": (-3, 3), "width": (0.5, 2)},
        (1 / np.sqrt(2 * np.pi), 0.5),
    ),
    "exp_sin": Known("exp(sin(c1*x) + y**2)", {"x": (-1, 1), "y": (-1, 1)}, (np.pi,)),
}  # fmt: skip


@dataclass
class Config:
    """Searches for ten known formulas in tables of 500 rows, whose inputs are drawn uniformly, and
    to whose targets noise of a share of their standard deviation is added. Prints, as a Markdown
    table, how many of the seeds (of table and search) give a formula of the known form, for any
    constants, that are within 4 standard errors of the known ones (without noise: within a
    thousandth), the median of the seconds of processor time, and the formula of the first seed.
    Needs SciPy and SymPy."""

    noise: str = option("0,0.01", "shares of noise, by commas")
    seeds: int = option(3, "seeds of each formula, from --first on", minimum=1)
    first: int = option(0, "the first seed", minimum=0)
    only: str | None = option(None, f"some of the formulas, by commas: {', '.join(KNOWN)}")
    time_limit: float | None = option(None, "seconds of a search at most", minimum=1)
    log: bool = option(False, "print the stages of each search")
    device: str | None = device_option()


def main(config: Config) -> None:
    need("sympy", extra="interpret", purpose="recovering formulas")
    names = list(KNOWN) if config.only is None else config.only.split(",")
    for name in names:
        lookup("formula", name, KNOWN)
    try:
        shares = [float(share) for share in config.noise.split(",")]
    except ValueError:
        raise UserError(f"noise {config.noise!r}: numbers by commas are needed") from None
    device.select(config.device)
    print("| formula | noise | found | s | with the first seed |")
    print("|---|---|---|---|---|")
    for name in names:
        for noise in shares:
            print(row(name, noise, config), flush=True)


def row(name: str, noise: float, config: Config) -> str:
    """A row of the table."""
    from tinykan.interpret.recovery import recover

    known, formulas, correct, seconds = KNOWN[name], list[str](), 0, list[float]()
    for seed in range(config.first, config.first + config.seeds):
        x, y, deviation = table(known, noise, seed)
        start = time.process_time()
        found = recover(
            x, y, seed=seed, input_names=list(known.ranges), time_limit=config.time_limit,
            log=print if config.log else lambda line: None,
        )  # fmt: skip
        seconds.append(time.process_time() - start)
        formulas.append(str(found.formula[0]))
        correct += is_known(found.formula[0], known, x, deviation)
    cells = [name, f"{100 * noise:g} %", f"{correct} of {config.seeds}"]
    return f"| {' | '.join(cells)} | {np.median(seconds):.0f} | `{formulas[0]}` |"


def table(known: Known, noise: float, seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Inputs `[n, in]`, targets `[n]`, and the standard deviation of their noise."""
    rng = np.random.default_rng(seed)
    x = inputs(known, ROWS, rng)
    y = evaluated(known, known.values, x)
    deviation = noise * float(y.std())
    return x, y + deviation * rng.normal(size=ROWS), deviation


def inputs(known: Known, count: int, rng: np.random.Generator) -> np.ndarray:
    low, high = np.array(list(known.ranges.values()), dtype=float).T
    return rng.uniform(low, high, (count, len(low)))


def evaluated(known: Known, values: Any, x: np.ndarray) -> np.ndarray:
    """The known formula, with these constants, at inputs `[n, in]`."""
    import sympy

    constants = sympy.symbols([f"c{n + 1}" for n in range(len(known.values))])
    variables = sympy.symbols(list(known.ranges))
    function = sympy.lambdify([*constants, *variables], sympy.sympify(known.formula), "numpy")
    return np.asarray(function(*values, *x.T))


def is_known(expression: Any, known: Known, x: np.ndarray, deviation: float) -> bool:
    """Whether an expression is of the known form, with constants that the noise of this standard
    `deviation` in targets at `x` `[n, in]` allows."""
    import sympy
    from scipy.optimize import least_squares

    fresh = inputs(known, FRESH, np.random.default_rng(12345))
    symbols = sympy.symbols(list(known.ranges))
    with np.errstate(all="ignore"):
        wanted = np.asarray(sympy.lambdify(symbols, expression, "numpy")(*fresh.T))
    if wanted.shape != (FRESH,) or np.iscomplexobj(wanted) or not np.isfinite(wanted).all():
        return False
    true, allowed = np.array(known.values), np.zeros(0)
    values = true
    if len(true):
        values = least_squares(
            lambda values: evaluated(known, values, fresh) - wanted, true,
            x_scale=np.abs(true), xtol=1e-15, ftol=1e-15, gtol=1e-15,
        ).x  # fmt: skip
        steps = [np.where(np.arange(len(true)) == k, 1e-6 * true, 0) for k in range(len(true))]
        columns = [
            (evaluated(known, true + h, x) - evaluated(known, true - h, x)) / (2 * h.sum())
            for h in steps
        ]
        jacobian = np.stack(columns, axis=-1)
        errors = deviation * np.sqrt(np.diag(np.linalg.inv(jacobian.T @ jacobian)))
        allowed = np.maximum(STANDARD_ERRORS * errors, RELATIVE * np.abs(true))
    wrong = np.sqrt(np.mean(np.square(evaluated(known, values, fresh) - wanted)))
    same = wrong <= SAME_FORM * evaluated(known, true, fresh).std()
    return bool(same and (np.abs(values - true) <= allowed).all())


if __name__ == "__main__":
    run(main, Config)

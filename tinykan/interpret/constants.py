"""The constants of formulas: fitted by nonlinear least squares, and replaced by round values where
the data do not contradict (needs SciPy and SymPy, of the `interpret` extra)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tinykan.errors import need

if TYPE_CHECKING:
    import sympy
else:
    sympy = need("sympy", extra="interpret", purpose="writing formulas")
optimize = need("scipy.optimize", extra="interpret", purpose="fitting formulas")

ITERATIONS = 100
PROPOSED = 3.0  # standard errors of a constant, within which a round value is tried
LARGEST, QUARTERS = 20, 8  # whole numbers, and multiples of pi/2, up to here are round
SINGULAR = 1e-9  # of the largest singular value of the scaled Jacobian: redundant constants


@dataclass(frozen=True)
class Data:
    """Inputs `x` `[n, in]` of these `names`, targets `y` `[n]`, and the mean squared error
    `rounding` of numbers in float32, below which all formulas are equally good."""

    names: Sequence[str]
    x: np.ndarray
    y: np.ndarray
    rounding: float

    @property
    def symbols(self) -> list[sympy.Symbol]:
        return [sympy.Symbol(name) for name in self.names]


@dataclass(frozen=True)
class Fit:
    """Values `[k]` of constants, the sum of squared residuals, and the Jacobian `[n, k]`."""

    values: np.ndarray
    squares: float
    jacobian: np.ndarray


def least_squares(residuals: Callable[[np.ndarray], np.ndarray], start: np.ndarray) -> Fit | None:
    """The minimum of the sum of squared `residuals(values)` `[n]` that is reached from `start`
    `[k]`, or None if they are not finite there."""
    with np.errstate(all="ignore"):
        first = residuals(start)
        if not np.isfinite(first).all():
            return None
        if len(start) == 0:
            return Fit(start, float(first @ first), np.zeros((len(first), 0)))
        try:
            found = optimize.least_squares(
                residuals, start, x_scale="jac", ftol=1e-15, xtol=1e-15, gtol=1e-15,
                max_nfev=ITERATIONS,
            )  # fmt: skip
        except (ValueError, np.linalg.LinAlgError):  # not finite beside a value
            return None
    return Fit(found.x, 2 * float(found.cost), found.jac)


class Constants:
    """The numbers of an `expression` that are no integers or fractions, as parameters to be fitted
    to `data`; some of them may be fixed."""

    def __init__(self, expression: sympy.Expr, data: Data) -> None:
        self.data, self.parameters = data, list[sympy.Dummy]()
        values: list[float] = []

        def freed(part: sympy.Expr) -> sympy.Expr:
            if part.is_Float:
                self.parameters.append(sympy.Dummy(real=True))
                values.append(float(part))
                return self.parameters[-1]
            return part.func(*map(freed, part.args)) if part.args else part

        self.expression = freed(expression)
        self.values = np.array(values)
        self.fixed: dict[int, sympy.Expr] = {}
        self._function = sympy.lambdify(
            [self.parameters, data.symbols], self.expression, ["scipy", "numpy"], cse=True
        )

    def fit(self, fixed: dict[int, sympy.Expr], start: np.ndarray | None = None) -> Fit | None:
        """Of the constants that are not `fixed` to values, from their present values or those of
        `start` `[all]`."""
        whole = (self.values if start is None else start).copy()
        free = [k for k in range(len(whole)) if k not in fixed]
        for k, value in fixed.items():
            whole[k] = float(value)
        columns, y = self.data.x.T, self.data.y

        def residuals(values: np.ndarray) -> np.ndarray:
            whole[free] = values
            return np.asarray(self._function(whole, columns) - y)

        return least_squares(residuals, whole[free])

    def settle(self, stop: Callable[[], bool] = lambda: False) -> bool:
        """Fits the constants, then fixes one after another to the roundest value within 3 standard
        errors, for as long as Schwarz's criterion (BIC) allows: the others are fitted again, and n
        log(mean squared residual) may rise by log(n). Returns whether that is possible at all."""
        current, rejected = self.fit({}), set()
        if current is None:
            return False
        self._keep(current)
        while True:
            for k, value, start in self._proposals(current):
                if stop():
                    return True
                if (k, value) in rejected:
                    continue
                fixed = self.fixed | {k: value}
                trial = self.fit(fixed, start) or self.fit(fixed)
                if trial is not None and self._allowed(trial.squares, current.squares):
                    self.fixed[k], current = value, trial
                    self._keep(trial)
                    break
                rejected.add((k, value))
            else:
                return True

    def result(self) -> sympy.Expr:
        """The expression with the fitted and fixed values."""
        values = {
            parameter: self.fixed.get(k, sympy.Float(float(self.values[k])))
            for k, parameter in enumerate(self.parameters)
        }
        return self.expression.xreplace(values)

    def _keep(self, fit: Fit) -> None:
        free = [k for k in range(len(self.values)) if k not in self.fixed]
        self.values[free] = fit.values
        for k, value in self.fixed.items():
            self.values[k] = float(value)

    def _allowed(self, after: float, before: float) -> bool:
        count, floor = len(self.data.y), len(self.data.y) * self.data.rounding
        # Without noise a fit may stop short of the minimum by more than its rounding.
        return count * math.log((after + floor) / (before + floor)) <= math.log(count)

    def _proposals(self, fit: Fit) -> Iterator[tuple[int, sympy.Expr, np.ndarray]]:
        """Constants, values to fix them to, and what all are then expected to be: the roundest
        first, of those the surest."""
        free = [k for k in range(len(self.values)) if k not in self.fixed]
        count = len(self.data.y)
        variance = fit.squares / max(count - len(free), 1) + self.data.rounding
        covariances = variance * covariance(fit.jacobian)
        errors = np.sqrt(np.diag(covariances))
        found = []
        for k, value in enumerate(fit.values):
            for rank, round_value in round_values(float(value)):
                distance = abs(float(round_value) - value)
                if distance <= PROPOSED * errors[k]:
                    found.append((rank, distance / max(errors[k], 1e-300), k, round_value))
        for _, _, k, round_value in sorted(found, key=lambda entry: entry[:3]):
            start = self.values.copy()
            change = float(round_value) - fit.values[k]
            start[free] = fit.values + covariances[:, k] / max(covariances[k, k], 1e-300) * change
            yield free[k], round_value, start


def covariance(jacobian: np.ndarray) -> np.ndarray:
    """Of fitted constants `[k, k]`, for residuals of variance 1, from the Jacobian `[n, k]`: large
    for constants that others can make up for."""
    size = np.linalg.norm(jacobian, axis=0)
    size = np.where(size > 0, size, 1e-100)
    _, singular, right = np.linalg.svd(jacobian / size, full_matrices=False)
    inverse = right.T / np.maximum(singular, SINGULAR * singular[:1]) / size[:, None]
    return np.asarray(inverse @ inverse.T)


def round_values(value: float) -> Iterator[tuple[int, sympy.Expr]]:
    """Round values near `value`, each with its rank, 0 for the roundest: 0; 1 and -1; whole
    numbers, pi/2, pi and 2 pi; halves; numbers of one digit; of two, and other multiples of pi/2;
    thirds; numbers of three digits."""
    yield 0, sympy.Integer(0)
    yield 1, sympy.Integer(1 if value > 0 else -1)
    for rank, parts in ((2, 1), (3, 2), (6, 3)):
        if 0 < abs(round(parts * value)) <= LARGEST * parts:
            yield rank, sympy.Rational(round(parts * value), parts)
    quarters = round(value / (math.pi / 2))
    if 0 < abs(quarters) <= QUARTERS:
        yield 2 if abs(quarters) in (1, 2, 4) else 5, quarters * sympy.pi / 2
    for digits, rank in ((1, 4), (2, 5), (3, 7)):
        short = f"{value:.{digits - 1}e}"
        whole = float(short) == int(float(short))
        yield rank, sympy.Integer(int(float(short))) if whole else sympy.Float(short)

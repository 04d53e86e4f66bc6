"""Formulas compared by complexity and held-out error (needs SciPy and SymPy, of the `interpret`
extra)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tinykan.errors import need

spatial = need("scipy.spatial", extra="interpret", purpose="recovering formulas")
if TYPE_CHECKING:
    import sympy
else:
    sympy = need("sympy", extra="interpret", purpose="writing formulas")

# Standard errors of the mean difference of squared errors over the held-out rows: a formula whose
# error is higher by no more than that is as good as the best formula, or as the network.
WITHIN, AS_GOOD = 1.0, 2.0
# The correlation of residuals between nearest neighbors, about the share of their variance that is
# a smooth function of the inputs, from which on they are not taken for noise; and its standard
# errors, of which it must be as many, too.
CORRELATED, SURE = 0.25, 4.0


@dataclass(frozen=True)
class Row:
    """A formula `expression` as it is printed, its `complexity`, and its mean squared `error` on
    the rows that were held out."""

    complexity: int
    error: float
    expression: sympy.Expr
    squares: np.ndarray  # the squared error in each of those rows


def complexity(expression: sympy.Expr) -> int:
    """The number of nodes of the expression's tree, as PySR counts them: variables, constants, and
    operators, of which a sum or product of n terms has n - 1. Squares and square roots are
    functions of one variable. Signs and reciprocals that are written as differences and quotients
    are not counted a second time."""
    arguments = expression.args
    if expression.is_Mul and arguments[0] == -1:
        return complexity(sympy.Mul(*arguments[1:]))
    if expression.is_Pow and arguments[1] == -1:
        return 1 + complexity(arguments[0])
    if expression.is_Pow and arguments[1] in (2, sympy.Rational(1, 2)):  # functions, as sin is
        return 1 + complexity(arguments[0])
    if not arguments or expression.is_number:
        return 1
    if not (expression.is_Add or expression.is_Mul):
        return 1 + sum(map(complexity, arguments))
    sizes = [complexity(a) for a in arguments if not a.is_number]
    sizes += [1] if len(sizes) < len(arguments) else []  # 2 pi is one constant
    return len(sizes) - 1 + sum(sizes)


def pareto_front(rows: Sequence[Row]) -> list[Row]:
    """Those of `rows` with a lower error than all that are as simple or simpler, the simplest
    first."""
    front: list[Row] = []
    for row in sorted(rows, key=lambda row: (row.complexity, row.error)):
        if np.isfinite(row.error) and (not front or row.error < front[-1].error):
            front.append(row)
    return front


def no_worse(squares: np.ndarray, others: np.ndarray, errors: float, rounding: float = 0.0) -> bool:
    """Whether the mean of `squares` `[n]`, the squared errors of one model, is above that of
    `others` `[n]`, of another model on the same rows, by no more than that many standard `errors`
    of the mean difference, or than `rounding`."""
    difference = squares - others
    margin = errors * difference.std(ddof=1) / np.sqrt(len(difference))
    return bool(difference.mean() <= max(margin, rounding))


def simplest(front: Sequence[Row], rounding: float) -> Row:
    """The simplest formula of a front that is no worse than its best, within one standard error or
    `rounding`, a mean squared error that is nothing but rounding."""
    best = front[-1]
    return next(row for row in front if no_worse(row.squares, best.squares, WITHIN, rounding))


def is_noise(x: np.ndarray, residuals: np.ndarray) -> bool:
    """Whether a smooth function of `x` `[n, in]` explains less than a quarter of the variance of
    `residuals` `[n]`, by their correlation between nearest neighbors."""
    _, neighbors = spatial.cKDTree(x).query(x, k=2)
    centered = residuals - residuals.mean()
    correlation = (centered * centered[neighbors[:, 1]]).mean() / max(centered.var(), 1e-300)
    return bool(correlation <= max(CORRELATED, SURE / np.sqrt(len(x))))


def as_table(front: Sequence[Row]) -> str:
    """The formulas of a front as text, a line for each."""
    texts = [sympy.sstr(row.expression, full_prec=False) for row in front]
    pairs = zip(front, texts, strict=True)
    lines = [f"{row.complexity:10d}  {row.error:14.3e}  {text}" for row, text in pairs]
    return "\n".join(["complexity  held-out error  formula", *lines])

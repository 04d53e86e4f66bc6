"""Formula recovery: a network is trained to be sparse, pruned for as long as it fits, and made
symbolic; of the formulas that follow, the simplest is taken that fits rows which were held out
(needs SciPy and SymPy, of the `interpret` extra)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinykan.errors import UserError, check_integer
from tinykan.interpret.formulas import sympy
from tinykan.interpret.pareto import Row, as_table
from tinykan.interpret.rounding import check_names, mean_squared_error, parsed, variable_names
from tinykan.interpret.search import EXACT, HELD_OUT, SHORT, Search
from tinykan.interpret.sparse_networks import FITS, Clock
from tinykan.networks import Network
from tinykan.tasks.arrays import as_rows, check_as_many

FAR = 8  # times half the range: numbers whose middle is farther from 0 are shifted


@dataclass(frozen=True)
class Recovered:
    """A formula for each output, and the networks that it was derived from. These are trained on
    inputs less `input_shift` `[in]`, divided by `input_scale`, and on targets less `target_shift`
    `[out]`, divided by `target_scale`. For data of size 1 shifts are 0 and scales 1."""

    formula: list[sympy.Expr]
    errors: list[float]  # the mean squared error of each formula as it is printed, over all rows
    exact: bool  # whether these are below 1e-8 of the variances of their targets
    fits: bool  # whether each is exact, or as good as `reduced` on the rows held out
    tables: list[list[Row]]  # for each output, the best formula of each complexity
    network_errors: list[float]  # of the best spline network, over the rows held out
    held_out: np.ndarray  # which rows these are, Boolean `[n]`
    trained: Network
    reduced: Network
    symbolic: Network
    input_shift: np.ndarray
    input_scale: np.ndarray
    target_shift: np.ndarray
    target_scale: np.ndarray

    @property
    def loss(self) -> float:
        """The mean squared error of all formulas."""
        return float(np.mean(self.errors))

    def table(self, output: int = 0) -> str:
        """The best formulas of an output, by complexity and held-out error, as text."""
        return as_table(self.tables[output])


def recover(
    x: Any,
    y: Any,
    *,
    hidden: int = 5,
    seed: int = 0,
    input_names: Sequence[str] | None = None,
    digits: int = 3,
    time_limit: float | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> Recovered:
    """Searches for formulas of `x` `[n, in]` for `y` `[n, out]`, arrays of any kind, 10 rows at
    least, by the procedure of the KAN paper (arXiv:2404.19756, sec. 2.5): a network is trained with
    a sparsity penalty, pruned, and made symbolic, and the affine parameters are fitted. Networks
    are tried in this order, until a formula that is not long is as good as its network:

    - one layer of `hidden` nodes, whose edges are made symbolic all at once; if it leaves more than
      a thousandth of the variance, the next comes first;
    - multiplication nodes (KAN 2.0, arXiv:2408.10205, sec. 2): products of 2 to `in` factors, each
      a sum of functions of one input, where a function may be a product of two of the library;
    - the first again, whose edges are made symbolic one by one; and two layers of `hidden` nodes,
      in the same ways.

    A fifth of the rows, drawn at random, is held out, and judges networks and formulas. Constants
    become round where BIC allows. Of the formulas on the front of complexity and held-out error,
    the simplest is returned whose held-out error is within one standard error of the lowest; it
    `fits` if it is `exact`, or if its held-out error exceeds that of the best spline network by no
    more than two standard errors (of the mean difference of squared errors, in both cases).

    Data of any scale are brought to size 1; formulas are in the units of the data. Numbers that are
    not round have `digits` significant digits, and more where fewer would raise the error by more
    than 1 %. `log` receives a line after each stage. After `time_limit` seconds training ends, and
    the best formula so far is returned; one is always completed.

    Returns the formulas found, whether they fit or not. Raises UserError for constant inputs or
    targets, and if no network explains half of the variance.
    """
    x, y = as_rows(x), as_rows(y, name="targets")
    check_as_many(x, y)
    check_integer("hidden", hidden, 1)
    if time_limit is not None and not 0 < time_limit < math.inf:
        raise UserError(f"time_limit {time_limit!r} must be a number of seconds above 0")
    names = variable_names(input_names, x.shape[1])
    check_names(names)
    scaling = *_shift_and_scale(x, "input"), *_shift_and_scale(y, "target")
    if len(x) < 2 * HELD_OUT:
        raise UserError(f"{len(x)} rows: at least {2 * HELD_OUT} are needed, some are held out")
    search = Search(x, y, names, seed, digits, scaling, Clock(time_limit), log)
    sums = search.sums([hidden])
    if sums.misfit <= FITS:
        search.derive_at_once(sums)
    for factors in range(min(2, x.shape[1]), x.shape[1] + 1):
        if not search.over(SHORT):
            search.products(factors)
    if sums.misfit > FITS and not (search.found() and search.over(SHORT)):
        search.derive_at_once(sums)
    if not search.over():
        search.derive_one_by_one(sums)
    if not search.over():
        deep = search.sums([hidden, hidden])
        search.derive_at_once(deep)
        search.derive_one_by_one(deep)
    if search.network is None or search.symbolic is None:
        misfit = math.inf if search.network is None else search.network.misfit
        raise UserError(
            f"{hidden} hidden nodes do not fit: the mean squared error is {misfit:.2g} of the "
            "targets' variance"
        )
    formulas = [row.expression for row in search.chosen()]
    errors = [
        mean_squared_error(parsed(str(each), names), names, x, target)
        for each, target in zip(formulas, y.T, strict=True)
    ]
    return Recovered(
        formulas,
        errors,
        all(error < EXACT * v for error, v in zip(errors, y.var(axis=0), strict=True)),
        search.fits(),
        search.tables(),
        search.squares.mean(axis=0).tolist(),
        search.samples.held,
        search.network.trained,
        search.network.reduced,
        search.symbolic[1],
        *scaling,
    )


def _shift_and_scale(values: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """For each column, what to subtract and then to divide by, so that numbers are of size 1.

    The scale is a power of 2, and the shift 0 unless numbers differ little from each other: exact
    numbers stay exact, and those of size 1 as they are."""
    low, high = values.min(axis=0), values.max(axis=0)
    if (low == high).any():
        column = int(np.argmax(low == high))
        which = f"the {kind}s" if len(low) == 1 else f"{kind}s in column {column + 1} of {len(low)}"
        raise UserError(f"{which} are constant: there is nothing to find")
    half, middle = high / 2 - low / 2, high / 2 + low / 2
    scale = 2.0 ** np.round(np.log2(half))
    return np.where(np.abs(middle) > FAR * half, scale * np.round(middle / scale), 0.0), scale

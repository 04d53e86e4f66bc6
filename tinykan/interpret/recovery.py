"""Formula recovery: a network is trained to be sparse, pruned for as long as it fits, and made
symbolic (needs SciPy and SymPy, of the `interpret` extra)."""

from __future__ import annotations

import contextlib
import io
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinykan.basis import BSpline
from tinykan.errors import UserError, check_integer
from tinykan.fitting.penalties import Regularization
from tinykan.interpret.attribution import attribution
from tinykan.interpret.formulas import formula, number, sympy
from tinykan.interpret.pruning import edge_count, prune
from tinykan.interpret.rounding import check_names, variable_names, written
from tinykan.interpret.symbolic import symbolic_edges
from tinykan.interpret.symbolification import auto_symbolic, fix_symbolic, straightened
from tinykan.networks import KAN, Network
from tinykan.tasks.arrays import as_rows, check_as_many, in_float32
from tinykan.tasks.fit import fit
from tinykan.tasks.prediction import Predictor
from tinykan.tasks.sampling import batches
from tinykan.training import History, Sampler

# Penalties relative to the targets' standard deviation, from the strongest on: the first under
# which the network fits is used.
STRENGTHS = (0.03, 0.01, 0.003, 0.001)
# Mean squared errors relative to the targets' variance, of the output that fits worst.
FITS = 1e-3  # at which splines fit
EXACT = 1e-8  # at which a formula is exact
FAR = 8  # times half the range: numbers whose middle is farther from 0 are shifted
# Libraries from the simplest on: the first with a formula that fits gives the result.
LIBRARIES: tuple[list[str] | None, ...] = (
    ["x", "x^2"],
    ["x", "x^2", "x^3", "sqrt", "exp", "log", "sin"],
    None,
)


@dataclass(frozen=True)
class Recovered:
    """A formula for each output, and the networks that it was derived from. These are trained on
    inputs less `input_shift` `[in]`, divided by `input_scale`, and on targets less `target_shift`
    `[out]`, divided by `target_scale`. For data of size 1 shifts are 0 and scales 1."""

    formula: list[sympy.Expr]
    errors: list[float]  # the mean squared error of each formula as it is printed
    exact: bool  # whether these are below 1e-8 of the variances of their targets
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


def recover(
    x: Any,
    y: Any,
    *,
    hidden: int = 5,
    seed: int = 0,
    input_names: Sequence[str] | None = None,
    digits: int = 3,
    log: Callable[[str], None] = lambda line: None,
) -> Recovered:
    """Searches for formulas of `x` `[n, in]` for `y` `[n, out]`, arrays of any kind, with a network
    of one layer of `hidden` nodes, by the procedure of the KAN paper (arXiv:2404.19756, sec. 2.5):
    training with a sparsity penalty, pruning, symbolification, and training of the affine
    parameters. For that, data of any scale are brought to size 1; formulas are in the units of the
    data. Their numbers have `digits` significant digits, and more where fewer would raise the error
    by more than 1 %. `log` receives a line after each stage.

    Returns the best formulas found, whether `exact` or not. Raises UserError for constant inputs or
    targets, and if the network does not fit even with splines.
    """
    x, y = as_rows(x), as_rows(y, name="targets")
    check_as_many(x, y)
    check_integer("hidden", hidden, 1)
    count = x.shape[1]
    names = variable_names(input_names, count)
    check_names(names)
    (input_shift, input_scale), (target_shift, target_scale) = (
        _shift_and_scale(values, kind) for values, kind in ((x, "input"), (y, "target"))
    )
    inputs = in_float32((x - input_shift) / input_scale, name="inputs")
    targets = in_float32((y - target_shift) / target_scale, name="targets")
    variances, sample = targets.astype(float).var(axis=0), batches(inputs, targets)

    def misfit(network: Network) -> float:
        """The largest mean squared error of an output, relative to its variance."""
        errors = np.square(Predictor(network)(inputs) - targets).mean(axis=0)
        return float((errors / variances).max())

    for strength in STRENGTHS:
        trained = KAN([count, hidden, y.shape[1]], BSpline(5), spline_weight=False, seed=seed)
        penalty = Regularization(trained, strength * float(np.sqrt(variances.mean())))
        history = _trained(
            trained,
            sample,
            steps=1000,
            learning_rate=0.02,
            grid_updates=5,
            penalty=penalty,
        )
        reduced = prune(trained, inputs, node_threshold=0.03, edge_threshold=0.03)
        _refit(reduced, sample)
        loss = misfit(reduced)
        log(
            f"trained with penalty {strength:g}: loss {history.losses[-1]:.1e}, "
            f"{edge_count(reduced)} of {edge_count(trained)} edges left, then {loss:.1e}"
        )
        if loss < FITS:
            break
    else:
        raise UserError(
            f"{hidden} hidden nodes do not fit: the mean squared error is {loss:.2g} of the "
            "targets' variance"
        )
    reduced = _reduce(reduced, inputs, sample, misfit, log)
    best: tuple[float, Network] | None = None
    # All edges at once, which is fast; or one by one, while the others adapt to each change.
    for at_once, library in itertools.product((True, False), LIBRARIES):
        if at_once:
            symbolic, _ = auto_symbolic(reduced, inputs, library=library)
        else:
            symbolic = _one_by_one(reduced, inputs, sample, library)
        fitted = _fitted(symbolic, sample, misfit)
        if fitted >= EXACT:
            symbolic = straightened(symbolic, inputs)
            fitted = _fitted(symbolic, sample, misfit)
        edges = (edge for layer in symbolic.layers for edge in symbolic_edges(layer).values())
        kinds = [kind for kind, _ in edges]
        log(f"edges {', '.join(kinds)}{'' if at_once else ', one by one'}: loss {fitted:.1e}")
        if best is None or fitted < best[0]:
            best = fitted, symbolic
        if fitted < EXACT:
            break
    assert best is not None
    symbolic, found = best[1], []
    own = {
        sympy.Symbol(name): (sympy.Symbol(name) - number(shift)) / number(scale)
        for name, shift, scale in zip(names, input_shift, input_scale, strict=True)
    }
    for each, target, shift, scale in zip(
        formula(symbolic, input_names=names), y.T, target_shift, target_scale, strict=True
    ):
        whole = number(scale) * each.xreplace(own) + number(shift)
        found.append(written(whole, names, x, target, digits))
    formulas, errors = [f for f, _ in found], [error for _, error in found]
    exact = all(error < EXACT * v for error, v in zip(errors, y.var(axis=0), strict=True))
    scaling = input_shift, input_scale, target_shift, target_scale
    return Recovered(formulas, errors, exact, trained, reduced, symbolic, *scaling)


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


def _reduce(
    model: Network,
    x: np.ndarray,
    sample: Sampler,
    misfit: Callable[[Network], float],
    log: Callable[[str], None],
) -> Network:
    """`model` with hidden nodes removed, the least important first, for as long as it then fits, or
    no worse than before."""
    loss = misfit(model)
    while min(layer.out_features for layer in model.layers[:-1]) > 1:
        least = min(float(nodes.min()) for nodes in attribution(model, x).nodes[1:-1])
        smaller = prune(model, x, node_threshold=np.nextafter(least, np.inf), edge_threshold=0)
        _refit(smaller, sample)
        fitted = misfit(smaller)
        kept = fitted <= max(3 * loss, FITS)
        verdict = "goes on" if kept else "does not fit"
        log(f"{'-'.join(map(str, smaller.widths))}: loss {fitted:.1e}, {verdict}")
        if not kept:
            break
        model, loss = smaller, fitted
    return model


def _one_by_one(
    model: Network, x: np.ndarray, sample: Sampler, library: list[str] | None
) -> Network:
    """Replaces the edge with the best fit first; the remaining splines then adapt to it."""
    while True:
        _, choices = auto_symbolic(model, x, library=library, minimum_r2=math.inf)  # suggestions
        if not choices:
            return model
        surest = max(choices, key=lambda choice: choice.best.r2)
        name, affine = surest.best.name, surest.best.affine
        model = fix_symbolic(model, surest.layer, surest.i, surest.o, name, affine)
        _refit(model, sample)


def _refit(model: Network, sample: Sampler) -> None:
    _trained(model, sample, steps=0, lbfgs=150, grid_updates=5)


def _fitted(model: Network, sample: Sampler, misfit: Callable[[Network], float]) -> float:
    """The misfit after training the parameters of symbolic edges."""
    _trained(model, sample, steps=0, lbfgs=500)
    return misfit(model)


def _trained(model: Network, sample: Sampler, **options: Any) -> History:
    """Without warnings of inputs outside the grid: what fails to fit is found from its misfit."""
    with contextlib.redirect_stderr(io.StringIO()):
        return fit(model, sample, progress=False, **options)

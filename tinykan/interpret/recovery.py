"""Formula recovery: a network is trained to be sparse, pruned for as long as it fits, and made
symbolic (needs SciPy and SymPy, of the `interpret` extra)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tinykan.basis import BSpline
from tinykan.errors import UserError
from tinykan.fitting.penalties import Regularization
from tinykan.interpret.attribution import attribution
from tinykan.interpret.formulas import expanded, formula
from tinykan.interpret.pruning import edge_count, prune
from tinykan.interpret.symbolic import symbolic_edges
from tinykan.interpret.symbolification import auto_symbolic, fix_symbolic, straightened
from tinykan.networks import KAN, Network
from tinykan.tasks.sampling import batches
from tinykan.training import Sampler, fit

if TYPE_CHECKING:
    import sympy

# Penalties relative to the targets' standard deviation, from the strongest on: the first under
# which the network fits is used.
STRENGTHS = (0.03, 0.01, 0.003, 0.001)
FITS = 1e-3  # a loss at which splines fit, relative to the targets' variance
EXACT = 1e-8  # and one at which a formula is exact
# Libraries from the simplest on: the first with a formula that fits gives the result.
LIBRARIES: tuple[list[str] | None, ...] = (
    ["x", "x^2"],
    ["x", "x^2", "x^3", "sqrt", "exp", "log", "sin"],
    None,
)


@dataclass(frozen=True)
class Recovered:
    """A formula for each output, and the networks that it was derived from."""

    formula: list[sympy.Expr]
    loss: float  # mean squared error of the symbolic network
    exact: bool  # whether that is below 1e-8 of the targets' variance
    trained: Network
    reduced: Network
    symbolic: Network


def recover(
    x: np.ndarray,
    y: np.ndarray,
    *,
    hidden: int = 5,
    seed: int = 0,
    input_names: Sequence[str] | None = None,
    digits: int = 3,
    log: Callable[[str], None] = lambda line: None,
) -> Recovered:
    """Searches for formulas of `x` `[n, in]` for `y` `[n, out]` with a network of one layer of
    `hidden` nodes, by the procedure of the KAN paper (arXiv:2404.19756, sec. 2.5): training with a
    sparsity penalty, pruning, symbolification, and training of the affine parameters. `log`
    receives a line after each stage.

    Returns the best formulas found, whether `exact` or not. Raises UserError for constant targets,
    and if the network does not fit even with splines.
    """
    sample, deviation = batches(x, y), float(np.std(y))
    if deviation == 0:
        raise UserError("the targets are constant: there is nothing to find")
    variance = deviation**2
    for strength in STRENGTHS:
        trained = KAN([x.shape[1], hidden, y.shape[1]], BSpline(5), spline_weight=False, seed=seed)
        penalty = Regularization(trained, strength * deviation)
        history = fit(
            trained,
            sample,
            steps=1000,
            learning_rate=0.02,
            grid_updates=5,
            penalty=penalty,
            progress=False,
        )
        reduced = prune(trained, x, node_threshold=0.03, edge_threshold=0.03)
        loss = _refit(reduced, sample)
        log(
            f"trained with penalty {strength:g}: loss {history.losses[-1]:.1e}, "
            f"{edge_count(reduced)} of {edge_count(trained)} edges left, then {loss:.1e}"
        )
        if loss < FITS * variance:
            break
    else:
        raise UserError(
            f"{hidden} hidden nodes do not fit: loss {loss:.2g} of a variance of {variance:.2g}"
        )
    reduced = _reduce(reduced, x, sample, loss, FITS * variance, log)
    best: tuple[float, Network] | None = None
    # All edges at once, which is fast; or one by one, while the others adapt to each change.
    for at_once, library in itertools.product((True, False), LIBRARIES):
        if at_once:
            symbolic, _ = auto_symbolic(reduced, x, library=library)
        else:
            symbolic = _one_by_one(reduced, x, sample, library)
        fitted = _fitted(symbolic, sample)
        if fitted >= EXACT * variance:
            symbolic = straightened(symbolic, x)
            fitted = _fitted(symbolic, sample)
        edges = (edge for layer in symbolic.layers for edge in symbolic_edges(layer).values())
        names = [name for name, _ in edges]
        log(f"edges {', '.join(names)}{'' if at_once else ', one by one'}: loss {fitted:.1e}")
        if best is None or fitted < best[0]:
            best = fitted, symbolic
        if fitted < EXACT * variance:
            break
    assert best is not None
    loss, symbolic = best
    found = [expanded(each, digits) for each in formula(symbolic, input_names=input_names)]
    return Recovered(found, loss, loss < EXACT * variance, trained, reduced, symbolic)


def _reduce(
    model: Network,
    x: np.ndarray,
    sample: Sampler,
    loss: float,
    enough: float,
    log: Callable[[str], None],
) -> Network:
    """`model` with hidden nodes removed, the least important first, for as long as it then fits as
    well as before, with `loss`, or well `enough`."""
    while min(layer.out_features for layer in model.layers[:-1]) > 1:
        least = min(float(nodes.min()) for nodes in attribution(model, x).nodes[1:-1])
        smaller = prune(model, x, node_threshold=np.nextafter(least, np.inf), edge_threshold=0)
        fitted = _refit(smaller, sample)
        kept = fitted <= max(3 * loss, enough)
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


def _refit(model: Network, sample: Sampler) -> float:
    return fit(model, sample, steps=0, lbfgs=150, grid_updates=5, progress=False).losses[-1]


def _fitted(model: Network, sample: Sampler) -> float:
    """The loss after training the parameters of symbolic edges."""
    return fit(model, sample, steps=0, lbfgs=500, progress=False).losses[-1]

"""Interactions: which inputs of a function must meet in a node, as no sum of functions of one input
each computes it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np

from tinykan.errors import UserError, check_integer
from tinykan.networks import Network
from tinykan.tasks.arrays import as_rows
from tinykan.tasks.prediction import Predictor


def interaction(
    model: Network | Callable[[np.ndarray], np.ndarray],
    x: np.ndarray,
    *,
    product: bool = False,
    samples: int = 2000,
    seed: int = 0,
) -> np.ndarray:
    """The strength of the interaction of each pair of inputs `[out, in, in]`: the share of the
    variance that is left without all terms that depend on both, from 0 to 1.

    It is 0 for inputs i and j, up to rounding, where the function is g + h, g without i and h
    without j, and else they must meet: in a node of a hidden layer that has edges from both, or in
    a product. With `product`, it is 0 where the function is g times h: of log|f|, for functions
    without zeros. On the diagonal is the share of all terms with that input, its total Sobol index.

    `model` is a network, or a function of arrays `[n, in]` that returns `[n, out]` or `[n]`. Inputs
    are drawn independently, each from its column of `x` `[rows, in]`, even where these depend on
    each other. Shares are estimated from so many `samples`, with a relative error of about
    2 / sqrt(samples) (superset importance: Liu and Owen, JASA 101 (2006) 712).

    Raises UserError for values that are not finite, and with `product` for a function that is 0.
    """
    check_integer("samples", samples, 2)
    function: Callable[[np.ndarray], Any] = (
        Predictor(model) if isinstance(model, Network) else model
    )
    x = as_rows(x, model.in_features if isinstance(model, Network) else None, name="samples")
    rng = np.random.default_rng(seed)
    one, other = (np.stack([rng.choice(c, samples) for c in x.T], axis=1) for _ in range(2))

    def values(*changed: int) -> np.ndarray:
        mixed = one.copy()
        mixed[:, changed] = other[:, changed]
        found = np.asarray(function(mixed), dtype=np.float64)
        found = found[:, None] if found.ndim == 1 else found
        if found.ndim != 2 or len(found) != samples:
            raise UserError(f"values of shape {found.shape} for {samples} rows of inputs")
        if product:
            with np.errstate(divide="ignore"):
                found = np.log(np.abs(found))
        if not np.isfinite(found).all():
            kind = "0, infinite or NaN" if product else "infinite or NaN"
            raise UserError(f"the function is {kind} at some inputs: no interaction to measure")
        return found

    inputs = x.shape[1]
    start, single = values(), [values(i) for i in range(inputs)]
    variance = start.var(axis=0)
    result = np.zeros((start.shape[1], inputs, inputs))
    for i in range(inputs):
        result[:, i, i] = np.square(single[i] - start).mean(axis=0) / 2
    for i, j in combinations(range(inputs), 2):
        mixed = values(i, j) - single[i] - single[j] + start
        result[:, i, j] = result[:, j, i] = np.square(mixed).mean(axis=0) / 4
    return result / np.where(variance > 0, variance, 1.0)[:, None, None]

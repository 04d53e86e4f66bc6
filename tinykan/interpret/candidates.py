"""Fits of the functions of the library to a sampled curve (needs SciPy, of the `interpret` extra).

In c f(a x + b) + d, the parameters c and d follow from a and b by linear least squares. Only a and
b are searched for, first on a grid, then by nonlinear least squares from its best points (variable
projection: Golub and Pereyra 1973). Where one of them is redundant, as in (a x + b)^2, the search
has one dimension.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tinykan.errors import UserError, lookup, need
from tinykan.interpret.library import LIBRARY
from tinykan.interpret.symbolic import Affine

optimize = need("scipy.optimize", extra="interpret", purpose="fitting symbolic functions")

GRID_SAMPLES, FIT_SAMPLES = 200, 2000  # points of a curve, at most, on the grid and in a fit
STARTS = 4  # best points of the grid from which fits start
# Among good fits, one more unit of complexity must divide 1 - R^2 by 8: trained edges are not
# exactly the line or parabola that they approximate. Below 10^-6 all are equally good.
BITS, EQUALLY_GOOD = 3, 1e-6
BAD = 5  # among bad fits, one more unit must explain another fifth of the variance
CONSTANT = 1e-6  # a curve is constant if its range is below this fraction of its magnitude


@dataclass(frozen=True)
class Candidate:
    """A fit of c f(a x + b) + d to a curve: the function's `name` in LIBRARY, `affine` = (a, b, c,
    d), and the coefficient of determination `r2`, 1 - (mean squared error) / variance."""

    name: str
    affine: Affine
    r2: float

    @property
    def complexity(self) -> int:
        return LIBRARY[self.name].complexity

    @property
    def score(self) -> float:
        """Lower is better: the complexity plus a penalty on the unexplained variance."""
        return penalized(self.complexity, self.r2)


def penalized(complexity: int, r2: float) -> float:
    """The score of a fit by functions of that complexity."""
    unexplained = 1 - min(r2, 1.0)
    return complexity + math.log2(unexplained + EQUALLY_GOOD) / BITS + BAD * unexplained


@dataclass(frozen=True)
class Search:
    """A search space for a and b, for x from -1 to 1: grid points `starts` `[m, k]` and bounds
    `[k]` of k variables, from which `parameters` computes a and b."""

    starts: np.ndarray
    low: Sequence[float] | np.ndarray
    high: Sequence[float] | np.ndarray
    parameters: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def candidates(
    x: np.ndarray, y: np.ndarray, library: Sequence[str] | None = None
) -> list[Candidate]:
    """Fits of the functions of `library` (default: all of LIBRARY) that are defined at all of `x`
    `[n]` to `y` `[n]`, the best first.

    A constant curve has one candidate, 0, and a curve at two different x a line. Functions with as
    many parameters as there are different x, or more, are left out. Raises UserError for different
    y at one x alone, and for a name that is not in LIBRARY.
    """
    names = list(LIBRARY) if library is None else list(library)
    for name in names:
        lookup("function", name, LIBRARY)
    if is_constant(y):
        return [Candidate("0", (1.0, 0.0, 1.0, float(np.mean(y))), 1.0)]
    different = len(np.unique(x))
    if different == 1:
        raise UserError("different values at a single input: no function has them")
    if different == 2:  # of a column of yes and no, every function is a line
        c, d, residual = _projected(x.astype(np.float64), y.astype(np.float64))
        r2 = 1 - float(np.square(residual).sum() / np.square(y - y.mean()).sum())
        return [Candidate("x", (1.0, 0.0, float(c), float(d)), r2)]
    fits = [fit_function(name, x, y) for name in names if name != "0"]
    return sorted((fit for fit in fits if fit is not None), key=lambda fit: fit.score)


def is_constant(y: np.ndarray) -> bool:
    return bool(np.ptp(y) <= CONSTANT * np.abs(y).max())


def fit_function(name: str, x: np.ndarray, y: np.ndarray) -> Candidate | None:
    """The fit of one function of LIBRARY to `y` `[n]` at `x` `[n]`, or None if it is not defined
    there, or has too many parameters for so few points."""
    function = lookup("function", name, LIBRARY)
    order = np.argsort(x, kind="stable")
    x, y = x[order].astype(np.float64), y[order].astype(np.float64)
    middle, half = (x[0] + x[-1]) / 2, (x[-1] - x[0]) / 2
    if name == "0":
        return Candidate("0", (1.0, 0.0, 1.0, float(y.mean())), float(is_constant(y)))
    different = len(np.unique(x))
    search = search_space(function.search, different)
    if different < 2 or len(search.low) + 2 >= different:
        return None
    few, many = thinned(len(x), GRID_SAMPLES), thinned(len(x), FIT_SAMPLES)
    z = (x - middle) / half
    unit = (y - y.mean()) / (y.std() or 1.0)
    a, b = _searched(function.numpy, search, (z[few], unit[few]), (z[many], unit[many]))
    a, b, _, _ = function.simplest(a / half, b - a * middle / half)
    with np.errstate(all="ignore"):
        values = function.numpy(a * x + b)
        c, d, residual = _projected(values, y)
        r2 = 1 - float(np.square(residual).sum() / (np.square(y - y.mean()).sum() or 1.0))
    if not all(map(math.isfinite, (float(c), float(d), r2))):
        return None
    return Candidate(name, (float(a), float(b), float(c), float(d)), r2)


def _searched(
    f: Callable[[np.ndarray], np.ndarray],
    search: Search,
    few: tuple[np.ndarray, np.ndarray],
    many: tuple[np.ndarray, np.ndarray],
) -> tuple[float, float]:
    """The best a and b: on the grid, by `few` samples (z, y), then by fits to `many`."""

    def residuals(theta: np.ndarray, samples: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        a, b = search.parameters(theta)
        with np.errstate(all="ignore"):
            left = _projected(f(a[..., None] * samples[0] + b[..., None]), samples[1])[2]
        # The worst that can still be squared without overflow.
        return np.where(np.isfinite(left), left, 1e100)

    errors = np.square(residuals(search.starts, few)).sum(-1)
    best, lowest = search.starts[errors.argmin()], np.inf
    for start in search.starts[np.argsort(errors)[:STARTS]] if len(search.low) else ():
        fit = optimize.least_squares(
            residuals, start, bounds=(search.low, search.high), args=(many,),
            x_scale="jac", ftol=1e-12, xtol=1e-12, gtol=1e-12, max_nfev=60,
        )  # fmt: skip
        if fit.cost < lowest:
            best, lowest = fit.x, fit.cost
        if lowest <= 1e-12 * len(many[1]):
            break
    a, b = search.parameters(best)
    return float(a), float(b)


def _projected(values: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """c, d and the residual `[..., n]` of the least-squares fit of c * values + d to y `[n]`."""
    centered, wanted = values - values.mean(-1, keepdims=True), y - y.mean()
    power = np.square(centered).sum(-1)
    c = (centered * wanted).sum(-1) / np.where(power > 0, power, 1.0)
    return c, y.mean() - c * values.mean(-1), wanted - c[..., None] * centered


def thinned(n: int, most: int) -> np.ndarray:
    """Indices of at most `most` of `n` sorted samples, with both ends."""
    return np.arange(n) if n <= most else np.linspace(0, n - 1, most).round().astype(int)


def search_space(kind: str, different: int) -> Search:
    """The search space of the functions of a kind, for `different` values of x. Regions in which f
    is nearly a line or a parabola are excluded: c f and d would be large and cancel each other."""
    spread = np.sinh(np.linspace(-3, 3, 40)) / np.sinh(3)  # from -1 to 1, denser around 0
    match kind:
        case "nothing":
            return Search(np.zeros((1, 0)), (), (), lambda t: (t.sum(-1) + 1, t.sum(-1)))
        case "shift":
            return _single(10 * spread, lambda t: (np.ones_like(t), t))
        case "kink":
            return _single(np.linspace(-0.99, 0.99, 40), lambda t: (np.ones_like(t), t))
        case "rate":
            return _single(20 * spread, lambda t: (t + np.copysign(0.1, t), np.zeros_like(t)))
        # 1 - w x with |w| < 1 is positive at all samples, and the closer |w| is to 1, the closer it
        # comes to 0. A root or a logarithm may start at a sample; a pole must keep a distance.
        case "edge" | "pole":
            end = 8.0 if kind == "edge" else 4.5
            return _single(
                np.linspace(-end, end, 40),
                lambda t: (-np.tanh(t + np.copysign(0.1, t)), np.ones_like(t)),
            )
        case "place":  # slope and center
            starts = _pairs(np.linspace(math.log(0.2), math.log(50), 18), np.linspace(-2, 2, 25))
            return Search(
                starts,
                starts.min(0),
                starts.max(0),
                lambda t: (np.exp(t[..., 0]), -np.exp(t[..., 0]) * t[..., 1]),
            )
        case "any":  # slopes of either sign, as nothing is known of the function
            slopes = np.geomspace(0.2, 50, 14)
            starts = _pairs(np.concatenate([-slopes[::-1], slopes]), np.linspace(-2, 2, 17))
            bounds = starts.min(0), starts.max(0)
            return Search(starts, *bounds, lambda t: (t[..., 0], -t[..., 0] * t[..., 1]))
        case "wave":  # at most one half wave for every four samples
            highest = max(0.4, min(40.0, math.pi / 8 * different))
            starts = _pairs(np.arange(0.3, highest, 0.4), np.arange(6) * math.pi / 6)
            bounds = (0.2, -2 * math.pi), (highest, 2 * math.pi)
            return Search(starts, *bounds, lambda t: (t[..., 0], t[..., 1]))
        case "branch":  # the width of its part between two poles, and its distance to either
            end = math.pi / 2 - 0.01
            starts = _pairs(np.linspace(0.2, end, 16), np.linspace(-1, 1, 16))
            return Search(
                starts,
                starts.min(0),
                starts.max(0),
                lambda t: (t[..., 0], (end - t[..., 0]) * t[..., 1]),
            )
        case "interval":  # the width of its part of (-1, 1), and its distance to either end
            end = 1 - 1e-4
            starts = _pairs(np.linspace(0.2, end, 16), np.linspace(-1, 1, 15))
            return Search(
                starts,
                starts.min(0),
                starts.max(0),
                lambda t: (t[..., 0], (end - t[..., 0]) * t[..., 1]),
            )
    raise ValueError(f"no search {kind!r}")


def _single(
    starts: np.ndarray, parameters: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
) -> Search:
    return Search(starts[:, None], starts[:1], starts[-1:], lambda t: parameters(t[..., 0]))


def _pairs(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.stack(np.meshgrid(first, second, indexing="ij"), axis=-1).reshape(-1, 2)

"""A quasi-Newton method that keeps the whole matrix: self-scaled Broyden."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from tinykan.errors import need

optimize = need("scipy.optimize", extra="lbfgs", purpose="L-BFGS")
blas = need("scipy.linalg.blas", extra="lbfgs", purpose="L-BFGS")

LARGEST = 3_000  # parameters, whose matrix has 72 MB, and takes some 20 ms in an iteration


def minimize(
    value: Callable[[np.ndarray], tuple[float, np.ndarray]],
    start: np.ndarray,
    callback: Callable[[Any], None],
    evaluations: int,
) -> Any:
    """Minimizes `value`, which gives a number and its gradient `[n]`, from `start` `[n]`, until a
    line search finds no lower value, or until `callback`, which gets an OptimizeResult after each
    iteration, raises StopIteration. A line search has so many `evaluations` at most. Returns an
    OptimizeResult, its `success` that the callback ended it.

    The inverse of the Hessian is estimated from all steps so far, by the member of Broyden's class
    and the factor that Al-Baali proposed (Computational Optimization and Applications 9, 1998).
    Residuals of differential equations fall by orders of magnitude further with it than with the 20
    steps of L-BFGS (Urban, Stefanou and Pons, Journal of Computational Physics 523, 2025)."""
    known: dict[bytes, tuple[float, np.ndarray]] = {}

    def at(z: np.ndarray) -> tuple[float, np.ndarray]:
        key = z.tobytes()
        if key not in known:
            while len(known) > 3:  # a line search goes back to one of its last points
                del known[next(iter(known))]
            known[key] = value(z)
        return known[key]

    x, (f, g) = start, at(start)
    inverse = Inverse(len(x))
    # So that the first step has the length 1, as in SciPy.
    before = f + float(np.linalg.norm(g)) / 2
    while True:
        direction = -inverse.times(g)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a search that fails is no news
            length, *_ = optimize.line_search(
                lambda z: at(z)[0], lambda z: at(z)[1], x, direction, g, f, before,
                maxiter=evaluations,
            )  # fmt: skip
        if length is None or not at(x + length * direction)[0] < f:
            return optimize.OptimizeResult(x=x, fun=f, success=False)
        step = length * direction
        x, before = x + step, f
        f, gradient = at(x)
        inverse.learn(step, gradient - g, -length * (g @ step))
        g = gradient
        try:
            callback(optimize.OptimizeResult(x=x, fun=f))
        except StopIteration:
            return optimize.OptimizeResult(x=x, fun=f, success=True)


class Inverse:
    """An estimate of the inverse of the Hessian, `[n, n]`, which begins as the identity."""

    def __init__(self, count: int) -> None:
        self._lower = np.eye(count, order="F")  # its lower triangle; the other one is not used
        self._new = True

    def times(self, vector: np.ndarray) -> np.ndarray:
        return blas.dsymv(1.0, self._lower, vector, lower=1)

    def learn(self, s: np.ndarray, y: np.ndarray, sbs: float) -> None:
        """Takes up that the gradient changed by `y` along the step `s`; `sbs` is the product of `s`
        with the Hessian as it was estimated, twice. Nothing without upward curvature."""
        ys = float(y @ s)
        if not ys > 0:
            return
        if self._new:  # in the units of the problem
            scale = ys / float(y @ y)
            self._lower *= scale
            sbs, self._new = float(s @ s) / scale, False
        hy = self.times(y)
        yhy = float(y @ hy)
        b, h = sbs / ys, yhy / ys
        a = max(b * h - 1, 1e-12)  # 0 for a step that brings nothing new
        narrow = min(1.0, h * (1 - math.sqrt(a / (1 + a))))
        theta = max((narrow - 1) / a, min(1 / narrow, (1 - b) / b))
        sigma = 1 + theta * a
        spread = min(1.0, 1 / b) * sigma ** (-1 / max(len(s) - 1, 1))
        factor = min(spread, sigma) if theta <= 0 else spread * min(1.0, 1 / theta)
        v = math.sqrt(yhy) * (s / ys - hy / yhy)
        self._add(-1 / yhy, hy)
        self._add((1 - theta) / sigma, v)
        self._lower /= factor
        self._add(1 / ys, s)

    def _add(self, factor: float, vector: np.ndarray) -> None:
        """`factor` times the product of `vector` with itself, in place."""
        self._lower = blas.dsyr(factor, vector, lower=1, a=self._lower, overwrite_a=1)

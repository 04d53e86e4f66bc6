"""Shared by the tests of interpret."""

from __future__ import annotations

import numpy as np
from tinygrad import Tensor

from tinykan import (
    KAN,
    BSpline,
    KANLayer,
    Network,
)
from tinykan.interpret.symbolification import fix_symbolic


def spline_network(edges: list[list[list]], domains: list[tuple[float, float]]) -> Network:
    """A network of splines whose coefficients are the least squares fit of the functions
    `edges[layer][i][o]`, with 30 intervals on each domain; None is a masked edge."""
    layers = []
    for functions, (low, high) in zip(edges, domains, strict=True):
        mask = np.array([[f is not None for f in row] for row in functions])
        basis = BSpline(30, 3, (low, high))
        layer = KANLayer(*mask.shape, basis, base=None, spline_weight=False, mask=mask)
        x = np.linspace(low, high, 400)
        phi = basis(Tensor(x[:, None].astype(np.float32))).numpy()[:, 0].astype(np.float64)
        values = np.stack([[f(x) if f else 0 * x for f in row] for row in functions])
        flat = values.reshape(-1, len(x)).T
        fitted = np.linalg.lstsq(phi, flat, rcond=None)[0].reshape(-1, *mask.shape)
        layer.coefficients = Tensor(fitted.transpose(1, 0, 2).astype(np.float32)).realize()
        layers.append(layer)
    return Network(layers)


def exponential_network() -> Network:
    """exp(sin(pi x1) + x2^2), the first example of the KAN paper's."""
    first = [[lambda x: np.sin(np.pi * x)], [lambda x: x**2]]
    return spline_network([first, [[np.exp]]], [(-1, 1), (-1.2, 2.2)])


def named_network() -> Network:
    """The same example with functions instead of splines."""
    model = KAN([2, 1, 1], BSpline(3, 2))
    model = fix_symbolic(model, 0, 0, 0, "sin", (np.pi, 0.0, 1.0, 0.0))
    model = fix_symbolic(model, 0, 1, 0, "x^2", (1.0, 0.0, 1.0, 0.0))
    return fix_symbolic(model, 1, 0, 0, "exp", (1.0, 0.0, 1.0, 0.0))


def points(n: int = 1000) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (n, 2))

"""Solutions of equations that have no closed form, computed to well below what networks reach."""

from __future__ import annotations

import functools
import math

import numpy as np

NODES = 100  # of Gauss and Hermite's quadrature
MODES, STEPS = 511, 1000  # sines in x, and steps in time from 0 to 1


def burgers(points: np.ndarray) -> np.ndarray:
    """u at `points` `[n, 2]`, (x, t) with -1 <= x <= 1 and t >= 0: `[n]`, of

        u_t + u u_x = (0.01 / pi) u_xx,   u(x, 0) = -sin(pi x),   u(-1, t) = u(1, t) = 0

    to 1e-8 for t <= 1. The transformation of Cole and Hopf makes it the heat equation, whose
    solution is an integral over the start (Cole, Quarterly of Applied Mathematics 9, 1951).
    """
    viscosity = 0.01 / math.pi
    z, weights = np.polynomial.hermite.hermgauss(NODES)
    x, t = points[:, :1], points[:, 1:]
    start = x - 2 * np.sqrt(viscosity * t) * z
    exponent = -np.cos(math.pi * start) / (2 * math.pi * viscosity)
    density = weights * np.exp(exponent - exponent.max(axis=1, keepdims=True))
    return -(density * np.sin(math.pi * start)).sum(axis=1) / density.sum(axis=1)


def allen_cahn(points: np.ndarray) -> np.ndarray:
    """u at `points` `[n, 2]`, (x, t) in [-1, 1] and [0, 1]: `[n]`, of

        u_t = 0.0001 u_xx + 5 (u - u^3),   u(x, 0) = x^2 cos(pi x),   u(-1, t) = u(1, t) = -1

    to 1e-5, by the sines of u + 1 and, between steps in time, straight lines.
    """
    table = _allen_cahn_modes()
    step = np.clip(points[:, 1] * STEPS, 0, STEPS)
    before = np.minimum(step.astype(int), STEPS - 1)
    part = (step - before)[:, None]
    modes = (1 - part) * table[before] + part * table[before + 1]
    return np.einsum("nk,nk->n", modes, _sines(points[:, 0])) - 1


@functools.cache
def _allen_cahn_modes() -> np.ndarray:
    """The coefficients of the sines of u + 1 at each step in time, `[STEPS + 1, MODES]`: half a
    step of diffusion, a step of the reaction, each of them exact, and another half (Strang)."""
    x = -1 + 2 * np.arange(1, MODES + 1) / (MODES + 1)
    to_values = _sines(x)
    to_modes = to_values.T * (2 / (MODES + 1))
    rates = (np.arange(1, MODES + 1) * math.pi / 2) ** 2
    half, grown = np.exp(-0.0001 * rates / STEPS / 2), math.exp(-10 / STEPS)
    modes = to_modes @ (x**2 * np.cos(math.pi * x) + 1)
    table = [modes]
    for _ in range(STEPS):
        u = to_values @ (half * modes) - 1
        u = u / np.sqrt(u**2 + (1 - u**2) * grown)
        modes = half * (to_modes @ (u + 1))
        table.append(modes)
    return np.array(table)


def _sines(x: np.ndarray) -> np.ndarray:
    """sin(k pi (x + 1) / 2) for k = 1 ... MODES: `[n, MODES]`."""
    return np.sin(np.arange(1, MODES + 1) * (math.pi / 2) * (x[:, None] + 1))

"""Equations that are ready to be solved."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from tinygrad import Tensor

from tinykan.tasks.equation import Equation, Unknown
from tinykan.tasks.reference_solutions import allen_cahn, burgers


def _sines(a: float, b: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda x: np.sin(a * math.pi * x[:, 0]) * np.sin(b * math.pi * x[:, 1])


def _poisson(x: list[Tensor], u: Unknown) -> Tensor:
    source = -2 * math.pi**2 * (math.pi * x[0]).sin() * (math.pi * x[1]).sin()
    return u.second[0] + u.second[1] - source


def _helmholtz(x: list[Tensor], u: Unknown) -> Tensor:
    source = (1 - 17 * math.pi**2) * (math.pi * x[0]).sin() * (4 * math.pi * x[1]).sin()
    return u.second[0] + u.second[1] + u.value - source


def _heat(x: list[Tensor], u: Unknown) -> Tensor:
    return u.first[1] - 0.1 * u.second[0]


def _burgers(x: list[Tensor], u: Unknown) -> Tensor:
    return u.first[1] + u.value * u.first[0] - 0.01 / math.pi * u.second[0]


def _allen_cahn(x: list[Tensor], u: Unknown) -> Tensor:
    return u.first[1] - 0.0001 * u.second[0] - 5 * (u.value - u.value * u.value * u.value)


def _from_start(start: Callable[[Tensor], Tensor]) -> Callable[[list[Tensor]], Any]:
    """The ansatz for walls at -1 and 1 that stay as `start`, of x, has them at t = 0."""
    return lambda x: (start(x[0]), x[1] * (1 - x[0] * x[0]))


def _zero_on_all_sides(x: list[Tensor]) -> tuple[Tensor, Tensor]:
    factor = (1 - x[0] * x[0]) * (1 - x[1] * x[1])
    return factor.const_like(0.0), factor


SQUARE, ALL_SIDES = ((-1.0, 1.0), (-1.0, 1.0)), ((0, -1), (0, 1), (1, -1), (1, 1))
IN_TIME, START_AND_WALLS = ((-1.0, 1.0), (0.0, 1.0)), ((0, -1), (0, 1), (1, -1))
EQUATIONS = {
    equation.name: equation
    for equation in (
        Equation(
            "poisson",
            "u_xx + u_yy = -2 pi^2 sin(pi x) sin(pi y)",
            _poisson,
            _sines(1, 1),
            SQUARE,
            ALL_SIDES,
            (51, 51),
            weight=0.01,
            ansatz=_zero_on_all_sides,
        ),
        Equation(
            "helmholtz",
            "u_xx + u_yy + u = (1 - 17 pi^2) sin(pi x) sin(4 pi y)",
            _helmholtz,
            _sines(1, 4),
            SQUARE,
            ALL_SIDES,
            (51, 51),
            weight=0.001,
            ansatz=_zero_on_all_sides,
        ),
        Equation(
            "heat",
            "u_t = 0.1 u_xx, u(x, 0) = sin(pi x)",
            _heat,
            lambda x: np.sin(math.pi * x[:, 0]) * np.exp(-0.1 * math.pi**2 * x[:, 1]),
            IN_TIME,
            START_AND_WALLS,
            (51, 51),
            ansatz=_from_start(lambda x: (math.pi * x).sin()),
        ),
        Equation(
            "burgers",
            "u_t + u u_x = (0.01 / pi) u_xx, u(x, 0) = -sin(pi x)",
            _burgers,
            burgers,
            IN_TIME,
            START_AND_WALLS,
            (101, 51),
            ansatz=_from_start(lambda x: -(math.pi * x).sin()),
        ),
        Equation(
            "allen-cahn",
            "u_t = 0.0001 u_xx + 5 (u - u^3), u(x, 0) = x^2 cos(pi x)",
            _allen_cahn,
            allen_cahn,
            IN_TIME,
            START_AND_WALLS,
            (101, 51),
            ansatz=_from_start(lambda x: x * x * (math.pi * x).cos()),
        ),
    )
}

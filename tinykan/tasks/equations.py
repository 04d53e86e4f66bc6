"""Differential equations as tasks: a network is trained on the residual in the interior of a box
and on the values on its sides."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from tinygrad import Tensor

from tinykan.errors import UserError, check_integer, lookup
from tinykan.networks import Network
from tinykan.tasks.reference_solutions import allen_cahn, burgers
from tinykan.tasks.sampling import as_tensor, uniform
from tinykan.tasks.task import Prediction, Task
from tinykan.taylor import derivatives
from tinykan.training import Sampler

Side = tuple[int, int]  # the variable, and -1 for its lower end or 1 for its upper end


class Unknown(NamedTuple):
    """A solution at n points: its `value` `[n]`, and its `first` and `second` derivatives along
    each variable, lists of `[n]`, in the units of the domain."""

    value: Tensor
    first: list[Tensor]
    second: list[Tensor]


@dataclass(frozen=True)
class Equation:
    """An equation for one function u of several variables on the box `domain`.

    `residual(x, u)` takes the variables, a list of `[n]`, and the Unknown; it gives `[n]`, which
    is 0 for a solution. `solution` takes `[n, variables]` and gives `[n]`: it is the reference, and
    the source of the values on `sides`. `points` are the numbers of grid points in the interior
    along each variable, `per_side` that along each variable of a side. `weight` multiplies the mean
    squared residual; the mean squared error on the sides has weight 1. Raises UserError for a
    domain without extent and for sides that it does not have.

    >>> Equation(
    ...     "decay", "u' = -u", lambda x, u: u.first[0] + u.value,
    ...     lambda x: np.exp(-x[:, 0]), domain=((0.0, 2.0),), sides=((0, -1),), points=(20,),
    ... ).in_features
    1
    """

    name: str
    formula: str
    residual: Callable[[list[Tensor], Unknown], Tensor]
    solution: Callable[[np.ndarray], np.ndarray]
    domain: tuple[tuple[float, float], ...]
    sides: tuple[Side, ...]
    points: tuple[int, ...]
    per_side: int = 51
    weight: float = 1.0

    def __post_init__(self) -> None:
        for low, high in self.domain:
            if not -math.inf < low < high < math.inf:
                raise UserError(f"domain ({low}, {high}): finite ends in rising order are needed")
        if len(self.points) != len(self.domain):
            raise UserError(f"points {self.points}: one number for each variable is needed")
        for count in (*self.points, self.per_side):
            check_integer("points", count, 2)
        for variable, end in self.sides:
            if variable not in range(len(self.domain)) or end not in (-1, 1):
                raise UserError(
                    f"side ({variable}, {end}): a variable from 0 to {len(self.domain) - 1}, and "
                    "-1 or 1, are needed"
                )
        if not self.sides:
            raise UserError(f"{self.name}: a side with known values is needed")

    @property
    def in_features(self) -> int:
        return len(self.domain)

    def to_box(self, unit: np.ndarray) -> np.ndarray:
        """From [-1, 1] to the domain, `[n, variables]` both."""
        low, high = np.array(self.domain).T
        return low + (unit + 1) / 2 * (high - low)

    def side(self, variable: int, end: int) -> np.ndarray:
        """Points of a side in [-1, 1], `[n, variables]`."""
        unit = _grid((self.per_side,) * (self.in_features - 1))
        return np.insert(unit, variable, end, axis=1)

    def residuals(self, model: Network, unit: Tensor) -> Tensor:
        """The residual `[n]` of a network at points `[n, variables]` in [-1, 1], which it takes."""
        found = derivatives(model, unit)
        assert found.second is not None
        columns = range(self.in_features)
        scale = [2 / (high - low) for low, high in self.domain]
        x = [(unit[:, i] + 1) / scale[i] + self.domain[i][0] for i in columns]
        first = [found.first[:, 0, i] * scale[i] for i in columns]
        second = [found.second[:, 0, i] * scale[i] ** 2 for i in columns]
        return self.residual(x, Unknown(found.values[:, 0], first, second))


@dataclass(frozen=True)
class EquationTask(Task):
    """A ready equation by its name, or an Equation. Its interior points are those of a grid or,
    with `resample`, as many that are drawn anew at each step."""

    equation: str | Equation = "poisson"
    resample: bool = False
    out_features = 1
    score = "mse"
    encoding = "none"

    def __post_init__(self) -> None:
        self.problem  # noqa: B018  (an unknown name is found before training)

    @property
    def problem(self) -> Equation:
        if isinstance(self.equation, Equation):
            return self.equation
        return lookup("equation", self.equation, EQUATIONS)

    @property
    def in_features(self) -> int:  # type: ignore[override]
        return self.problem.in_features

    @cached_property
    def interior(self) -> np.ndarray:
        """The grid of interior points, `[n, in_features]` in [-1, 1]."""
        return _grid(self.problem.points)

    @cached_property
    def boundary(self) -> np.ndarray:
        """The points on the sides, `[n, in_features]` in [-1, 1]."""
        return np.concatenate([self.problem.side(*side) for side in self.problem.sides])

    @property
    def known(self) -> np.ndarray:
        """The values on the sides, `[n, 1]`."""
        return self.problem.solution(self.problem.to_box(self.boundary))[:, None]

    @property
    def data(self) -> list[np.ndarray]:
        return [self.interior, self.boundary, self.known]

    def sampler(self, batch: int, seed: int) -> Sampler:
        """Interior points, `batch` of them if there are more, before all points on the sides."""
        count = min(batch, len(self.interior))
        sides, known = as_tensor(self.boundary, "inputs"), as_tensor(self.known, "targets")
        interior = as_tensor(self.interior, "inputs")
        y = Tensor.zeros(count, 1, dtype=known.dtype).cat(known).contiguous().realize()
        if not self.resample and count == len(self.interior):
            x = interior.cat(sides).contiguous().realize()
            return lambda step: (x, y)

        def sample(step: Tensor) -> tuple[Tensor, Tensor]:
            if self.resample:
                drawn = uniform(step, seed, (count, self.in_features)) * 2 - 1
            else:
                row = (uniform(step, seed, (count,)) * len(self.interior)).cast("int32")
                drawn = interior[row.clip(0, len(self.interior) - 1).contiguous()]
            return drawn.cast(sides.dtype).cat(sides).contiguous(), y

        return sample

    def loss(self, model: Network, x: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        """The weighted mean squared residual, and the mean squared error on the sides."""
        count = len(x) - len(self.boundary)
        residual = self.problem.residuals(model, x[:count].contiguous())
        error = model(x[count:].contiguous()) - y[count:]
        return self.problem.weight * residual.square().mean() + error.square().mean()

    @cached_property
    def points(self) -> np.ndarray:
        """The points at which it is scored, `[n, in_features]` in [-1, 1]."""
        return _grid((101,) * self.in_features)

    @property
    def target(self) -> np.ndarray:
        """The reference, `[n]`."""
        return self.problem.solution(self.problem.to_box(self.points))

    def fitted(self, predict: Prediction) -> np.ndarray:
        return predict(self.points)[:, 0].astype(float)

    def scores(self, fitted: np.ndarray) -> dict[str, float]:
        error, target = fitted - self.target, self.target
        return {
            "mse": float(np.mean(error**2)),
            "relative_l2": float(np.linalg.norm(error) / np.linalg.norm(target)),
            "max_error": float(np.abs(error).max()),
        }


def _grid(counts: tuple[int, ...]) -> np.ndarray:
    """Evenly spaced points in [-1, 1], ends included, `[product of counts, len(counts)]`."""
    if not counts:
        return np.zeros((1, 0))
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in counts], indexing="ij")
    return np.stack([axis.ravel() for axis in axes], axis=-1)


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
        ),
        Equation(
            "heat",
            "u_t = 0.1 u_xx, u(x, 0) = sin(pi x)",
            _heat,
            lambda x: np.sin(math.pi * x[:, 0]) * np.exp(-0.1 * math.pi**2 * x[:, 1]),
            IN_TIME,
            START_AND_WALLS,
            (51, 51),
        ),
        Equation(
            "burgers",
            "u_t + u u_x = (0.01 / pi) u_xx, u(x, 0) = -sin(pi x)",
            _burgers,
            burgers,
            IN_TIME,
            START_AND_WALLS,
            (101, 51),
        ),
        Equation(
            "allen-cahn",
            "u_t = 0.0001 u_xx + 5 (u - u^3), u(x, 0) = x^2 cos(pi x)",
            _allen_cahn,
            allen_cahn,
            IN_TIME,
            START_AND_WALLS,
            (101, 51),
        ),
    )
}

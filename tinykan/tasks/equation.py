"""A differential equation on a box: its residual, the values on its sides, and networks as its
unknown."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from tinygrad import Tensor

from tinykan.errors import UserError, check_integer
from tinykan.networks import Network
from tinykan.tasks.boxes import grid, to_box
from tinykan.taylor import derivatives
from tinykan.taylor.networks import derivatives_of_function

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
    squared residual; the mean squared error on the sides has weight 1.

    `ansatz(x)`, of the variables, gives an offset and a factor `[n]`: with hard constraints u is
    the offset plus the factor times the network, which has the values on the sides whatever the
    network computes. Raises UserError for a domain without extent and for sides that it does not
    have.

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
    ansatz: Callable[[list[Tensor]], tuple[Tensor, Tensor]] | None = None

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
        return to_box(unit, self.domain)

    def side(self, variable: int, end: int) -> np.ndarray:
        """Points of a side in [-1, 1], `[n, variables]`."""
        unit = grid((self.per_side,) * (self.in_features - 1))
        return np.insert(unit, variable, end, axis=1)

    def variables(self, unit: Tensor) -> list[Tensor]:
        """The variables, each `[n]` in the units of the domain, at points in [-1, 1]."""
        return [
            low + (unit[:, i] + 1) / 2 * (high - low) for i, (low, high) in enumerate(self.domain)
        ]

    def offset_and_factor(self, unit: Tensor) -> Tensor:
        """Those of the ansatz `[n, 2]` at points in [-1, 1]. Raises UserError if there is none, and
        if it gives anything but two tensors `[n]`."""
        if self.ansatz is None:
            raise UserError(f"{self.name}: hard constraints need an ansatz")
        found = tuple(self.ansatz(self.variables(unit)))
        if [getattr(part, "shape", None) for part in found] != [(len(unit),)] * 2 or any(
            not isinstance(part, Tensor) for part in found
        ):
            raise UserError(f"{self.name}: an ansatz gives an offset and a factor, Tensors of [n]")
        return Tensor.stack(*found, dim=-1)

    def residuals(self, model: Network, unit: Tensor, hard_constraints: bool = False) -> Tensor:
        """The residual `[n]` of a network at points `[n, variables]` in [-1, 1], which it takes."""
        return self.residual(self.variables(unit), self.unknown(model, unit, hard_constraints))

    def unknown(self, model: Network, unit: Tensor, hard_constraints: bool = False) -> Unknown:
        """u and its derivatives at points `[n, variables]` in [-1, 1], which the network takes."""
        found = derivatives(model, unit)
        assert found.second is not None
        value, first, second = found.values, found.first[:, 0], found.second[:, 0]
        if hard_constraints:
            known = derivatives_of_function(self.offset_and_factor, unit)
            assert known.second is not None
            offset, factor = known.values[:, :1], known.values[:, 1:]
            second = (
                known.second[:, 0]
                + known.second[:, 1] * value
                + 2 * known.first[:, 1] * first
                + factor * second
            )
            first = known.first[:, 0] + known.first[:, 1] * value + factor * first
            value = offset + factor * value
        scale = [2 / (high - low) for low, high in self.domain]
        return Unknown(
            value[:, 0],
            [first[:, i] * scale[i] for i in range(self.in_features)],
            [second[:, i] * scale[i] ** 2 for i in range(self.in_features)],
        )

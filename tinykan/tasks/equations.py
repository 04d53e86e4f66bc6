"""Differential equations as tasks: a network is trained on the residual in the interior of a box
and on the values on its sides."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from tinygrad import Tensor, dtypes

from tinykan.errors import UserError, check_integer, lookup
from tinykan.networks import Network
from tinykan.tasks.attention import ResidualAttention, Weighed
from tinykan.tasks.boxes import grid
from tinykan.tasks.equation import Equation
from tinykan.tasks.ready_equations import EQUATIONS
from tinykan.tasks.sampling import as_tensor, uniform
from tinykan.tasks.task import Prediction, Task
from tinykan.training import Loss, Sampler


@dataclass(frozen=True)
class EquationTask(Task):
    """A ready equation by its name, or an Equation. Its interior points are those of a grid or,
    with `resample`, as many that are drawn anew at each step: each is the one of so many
    `candidates` at which the squared residual is largest. With `attention` each point of the grid
    has a weight that follows its residual (ResidualAttention). With `hard_constraints` the network
    is a part of the equation's ansatz, which has the values on the sides by construction; these are
    then not trained on. Raises UserError for an unknown name, for hard constraints without an
    ansatz, for several candidates without `resample`, and for attention with it."""

    equation: str | Equation = "poisson"
    resample: bool = False
    hard_constraints: bool = False
    candidates: int = 1
    attention: bool = False
    out_features = 1
    score = "mse"
    encoding = "none"

    def __post_init__(self) -> None:
        check_integer("candidates", self.candidates, 1)
        if self.candidates > 1 and not self.resample:
            raise UserError(f"candidates {self.candidates} need resample: a grid has no others")
        if self.attention and self.resample:
            raise UserError("attention is for the points of a grid: resample draws others")
        problem = self.problem  # an unknown name is found before training
        if self.hard_constraints:
            problem.offset_and_factor(Tensor.zeros(1, problem.in_features))

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
        return grid(self.problem.points)

    @cached_property
    def boundary(self) -> np.ndarray:
        """The points on the sides that are trained on, `[n, in_features]` in [-1, 1]."""
        if self.hard_constraints:
            return np.zeros((0, self.in_features))
        return np.concatenate([self.problem.side(*side) for side in self.problem.sides])

    @property
    def known(self) -> np.ndarray:
        """The values on the sides, `[n, 1]`."""
        return self.problem.solution(self.problem.to_box(self.boundary))[:, None]

    @property
    def data(self) -> list[np.ndarray]:
        return [self.interior, self.boundary, self.known]

    def sampler(self, batch: int, seed: int) -> Sampler:
        """Interior points, `batch` of them if there are more, before all points on the sides; of
        candidates, so many times as many. Raises UserError if there are more with attention, for
        which each must be there at each step."""
        if self.attention and batch < len(self.interior):
            raise UserError(f"batch {batch}: attention needs all {len(self.interior)} points")
        count = min(batch, len(self.interior)) * self.candidates
        interior = as_tensor(self.interior, "inputs")
        none = Tensor.zeros(count, 1, dtype=interior.dtype)
        sides = known = None
        if len(self.boundary):
            sides, known = as_tensor(self.boundary, "inputs"), as_tensor(self.known, "targets")
        y = _joined(none, known).realize()
        if not self.resample and count == len(self.interior):
            x = _joined(interior, sides).realize()
            return lambda step: (x, y)

        def sample(step: Tensor) -> tuple[Tensor, Tensor]:
            if self.resample:
                drawn = uniform(step, seed, (count, self.in_features)) * 2 - 1
            else:
                row = (uniform(step, seed, (count,)) * len(self.interior)).cast("int32")
                drawn = interior[row.clip(0, len(self.interior) - 1).contiguous()]
            return _joined(drawn.cast(interior.dtype), sides), y

        return sample

    @property
    def loss(self) -> Loss:
        """The weighted mean squared residual, and the mean squared error on the sides. With
        attention, a new one each time, whose weights are at their start."""
        return ResidualAttention(self._loss, len(self.interior)) if self.attention else self._loss

    def _loss(
        self, model: Network, x: Tensor, y: Tensor, weighed: Weighed = lambda residual: residual
    ) -> Tensor:
        count = len(x) - len(self.boundary)
        inside = x[:count].contiguous()
        if self.candidates > 1:
            inside = self._worst(model, inside)
        residual = weighed(self.problem.residuals(model, inside, self.hard_constraints))
        value = self.problem.weight * residual.square().mean()
        if count == len(x):
            return value
        return value + (model(x[count:].contiguous()) - y[count:]).square().mean()

    def _worst(self, model: Network, unit: Tensor) -> Tensor:
        """Of each group of candidates the one with the largest squared residual."""
        found = self.problem.residuals(model, unit, self.hard_constraints).detach().square()
        groups = found.reshape(self.candidates, -1, 1).contiguous()
        points = unit.reshape(self.candidates, -1, self.in_features)
        worst, largest = points[0], groups[0]
        for n in range(1, self.candidates):
            larger = groups[n] > largest
            worst, largest = larger.where(points[n], worst), larger.where(groups[n], largest)
        return worst.contiguous()

    @cached_property
    def points(self) -> np.ndarray:
        """The points at which it is scored, `[n, in_features]` in [-1, 1]."""
        return grid((101,) * self.in_features)

    @property
    def target(self) -> np.ndarray:
        """The reference, `[n]`."""
        return self.problem.solution(self.problem.to_box(self.points))

    def fitted(self, predict: Prediction) -> np.ndarray:
        found = predict(self.points)[:, 0].astype(float)
        if not self.hard_constraints:
            return found
        unit = Tensor(self.points, dtype=dtypes.float64, device="CPU")
        offset, factor = self.problem.offset_and_factor(unit).numpy().T.astype(float)
        return offset + factor * found

    def scores(self, fitted: np.ndarray) -> dict[str, float]:
        error, target = fitted - self.target, self.target
        return {
            "mse": float(np.mean(error**2)),
            "relative_l2": float(np.linalg.norm(error) / np.linalg.norm(target)),
            "max_error": float(np.abs(error).max()),
        }


def _joined(first: Tensor, second: Tensor | None) -> Tensor:
    return (first if second is None else first.cat(second)).contiguous()

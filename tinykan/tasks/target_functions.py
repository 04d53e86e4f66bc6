"""Target functions of one or two variables, and small data sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tinykan.tasks.boxes import grid, to_box


@dataclass(frozen=True)
class TargetFunction:
    """A target of one or two variables on a box, and how many points it is trained on.

    `evaluate` takes `[n, in_features]` in the box and gives `[n]`. Networks see the box scaled to
    [-1, 1] in every variable.
    """

    name: str
    formula: str
    evaluate: Callable[[np.ndarray], np.ndarray]
    domain: tuple[tuple[float, float], ...] = ((-1.0, 1.0),)
    points: tuple[int, ...] = (1024,)  # an evenly spaced grid; a single number in 2D: random points

    @property
    def in_features(self) -> int:
        return len(self.domain)

    def to_box(self, unit: np.ndarray) -> np.ndarray:
        """From [-1, 1] to the box, `[n, in_features]` both."""
        return to_box(unit, self.domain)

    def grid(self, *counts: int) -> np.ndarray:
        """Evenly spaced points in [-1, 1], ends included, `[product of counts, in_features]`."""
        return grid(counts)

    def training_set(self, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Inputs `[n, in_features]`, scaled to [-1, 1], and targets `[n, 1]`, float32."""
        if len(self.points) == self.in_features:
            unit = self.grid(*self.points)
        else:
            unit = np.random.default_rng(seed).uniform(-1, 1, (self.points[0], self.in_features))
        return unit.astype(np.float32), self.evaluate(self.to_box(unit))[:, None].astype(np.float32)


def _zigzag(x: np.ndarray) -> np.ndarray:
    phase = (2 * (x[:, 0] + 1)) % 1
    return 4 * np.abs(phase - 0.5) - 1


def _five_peaks(x: np.ndarray) -> np.ndarray:
    centers = np.linspace(-0.8, 0.8, 5)
    return np.exp(-((x - centers) ** 2) / (2 * 0.05**2)).sum(axis=1)


SQUARE = ((-1.0, 1.0), (-1.0, 1.0))
TARGET_FUNCTIONS = {
    function.name: function
    for function in (
        TargetFunction("zigzag", "a triangle wave of 4 periods", _zigzag),
        TargetFunction(
            "damped_sine",
            "0.5 sin(4x) exp(-(x+1)) + 0.5",
            lambda x: 0.5 * np.sin(4 * x[:, 0]) * np.exp(-(x[:, 0] + 1)) + 0.5,
            points=(50,),
        ),
        TargetFunction("step", "-1 below 0, 1 above", lambda x: np.where(x[:, 0] < 0, -1.0, 1.0)),
        TargetFunction("chirp", "sin(20 x^2)", lambda x: np.sin(20 * x[:, 0] ** 2)),
        TargetFunction("five_peaks", "five narrow Gaussians", _five_peaks),
        TargetFunction(
            "product_sqrt",
            "x1 sqrt(x2)",
            lambda x: x[:, 0] * np.sqrt(x[:, 1]),
            domain=((0.0, 0.8), (0.0, 1.0)),
            points=(8, 10),
        ),
        TargetFunction(
            "exp_sin",
            "exp(sin(pi x1) + x2^2)",
            lambda x: np.exp(np.sin(np.pi * x[:, 0]) + x[:, 1] ** 2),
            domain=SQUARE,
            points=(1000,),
        ),
        TargetFunction(
            "product", "x1 x2", lambda x: x[:, 0] * x[:, 1], domain=SQUARE, points=(1000,)
        ),
    )
}


def half_moons(
    count: int = 1000, noise: float = 0.1, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Two interleaved half circles: points `[count, 2]` and classes `[count]`, 0 or 1."""
    rng = np.random.default_rng(seed)
    upper = count // 2
    angle = np.concatenate([np.linspace(0, np.pi, upper), np.linspace(0, np.pi, count - upper)])
    label = np.repeat([0, 1], [upper, count - upper])
    x = np.where(label == 0, np.cos(angle), 1 - np.cos(angle))
    y = np.where(label == 0, np.sin(angle), 0.5 - np.sin(angle))
    points = np.stack([x, y], axis=-1) + rng.normal(0, noise, (count, 2))
    return points.astype(np.float32), label

"""Shared by the tests of tasks."""

from __future__ import annotations

import numpy as np


class Exactly:
    """A predictor that knows the answer."""

    def __init__(self, answer):
        self.answer, self.chunk = answer, 1 << 20

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self.answer(x)


def scored(task, predict) -> dict[str, float]:
    return task.scores(task.fitted(predict))

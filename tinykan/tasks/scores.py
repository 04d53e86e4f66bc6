"""Scores of predictions on numbers and on class labels, by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tinykan.errors import UserError


def _errors(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Prediction less target, of one shape `[n, out]`, in float64."""
    target = target[:, None] if target.ndim == 1 else target
    if prediction.shape != target.shape:
        shapes = f"predictions of shape {prediction.shape}, targets of shape {target.shape}"
        raise UserError(f"{shapes}: of the metrics, class labels have accuracy alone")
    return prediction.astype(np.float64) - target


def mean_squared(prediction: np.ndarray, target: np.ndarray) -> float:
    return float(np.mean(_errors(prediction, target) ** 2))


def r2(prediction: np.ndarray, target: np.ndarray) -> float:
    """1 less the mean squared error in units of each output's variance, averaged over outputs; of
    an output that is constant, 1 if it is met and 0 if not, as scikit-learn has it."""
    errors = (_errors(prediction, target) ** 2).mean(axis=0)
    variances = target.astype(np.float64).reshape(len(target), -1).var(axis=0)
    constant = variances == 0
    shares = np.where(constant, errors > 0, errors / np.where(constant, 1, variances))
    return float(1 - shares.mean())


def accuracy(prediction: np.ndarray, target: np.ndarray) -> float:
    """The share of rows whose largest output is the one that the label `[n]` numbers."""
    if target.ndim != 1 or prediction.shape[1] < 2:
        shapes = f"predictions of shape {prediction.shape}, targets of shape {target.shape}"
        raise UserError(f"{shapes}: accuracy needs class labels [n], and an output for each class")
    return float(np.mean(prediction.argmax(axis=1) == target))


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "mse": mean_squared,
    "rmse": lambda prediction, target: mean_squared(prediction, target) ** 0.5,
    "mae": lambda prediction, target: float(np.abs(_errors(prediction, target)).mean()),
    "max_error": lambda prediction, target: float(np.abs(_errors(prediction, target)).max()),
    "r2": r2,
    "accuracy": accuracy,
}

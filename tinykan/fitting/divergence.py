"""What notices that a training has diverged, and brings the last good weights back."""

from __future__ import annotations

import math

import numpy as np
from tinygrad.nn.state import get_parameters

from tinykan.errors import DivergenceError
from tinykan.networks import Network
from tinykan.tensors import overwrite

EXPLODED = 1e3  # times the first loss and the targets' variance: no run that gets there comes back


class DivergenceGuard:
    """Keeps the last weights known to be good: a loss vouches for the weights before its step, so
    that weights are good once the next logged loss shows it."""

    def __init__(self, model: Network, scale: float) -> None:
        self.start(model, scale)

    def start(self, model: Network, scale: float) -> None:
        """A training of `model` begins, on targets whose variance is `scale`."""
        # Targets that are all equal say nothing of how large a loss may be.
        self.first_loss, self.scale = math.inf, scale if scale > 1e-12 else 1.0
        self.watch(model, 0)

    def watch(self, model: Network, step: int) -> None:
        """From here on it keeps the weights that `model` has now, after `step`, and later ones."""
        # With the knots, which may move, and without which coefficients mean nothing.
        self.weights = get_parameters(model)
        self.good = self.latest = step, self._copy()

    def check(self, step: int, loss: float) -> None:
        """Raises DivergenceError, with the good weights restored, if `loss` of `step` is bad."""
        copy, (good_step, good) = self._copy(), self.good
        finite = math.isfinite(loss) and all(np.isfinite(values).all() for values in copy)
        if not finite or loss > EXPLODED * max(self.first_loss, self.scale):
            for weight, values in zip(self.weights, good, strict=True):
                overwrite(weight, values)
            self.latest = self.good
            problem = f"training diverged by step {step} (loss {loss:.3g})"
            kept = f"the weights of step {good_step} are kept; try a lower learning rate"
            raise DivergenceError(f"{problem}; {kept}")
        self.first_loss = loss if step == 1 else self.first_loss
        self.good, self.latest = self.latest, (step, copy)

    def arrays(self) -> dict[str, np.ndarray]:
        kept = {"good": self.good[1], "latest": self.latest[1]}
        return {f"{name}.{i}": v for name, arrays in kept.items() for i, v in enumerate(arrays)}

    def record(self) -> list[float]:
        return [self.first_loss, self.good[0], self.latest[0]]

    def restore(self, arrays: dict[str, np.ndarray], record: list[float]) -> None:
        count = range(len(self.weights))
        self.first_loss, (good_step, latest_step) = record[0], map(int, record[1:])
        self.good = good_step, [arrays[f"good.{i}"] for i in count]
        self.latest = latest_step, [arrays[f"latest.{i}"] for i in count]

    def _copy(self) -> list[np.ndarray]:
        return [weight.numpy().copy() for weight in self.weights]

"""Adam, and the learning rate of each step."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from tinygrad import Tensor, dtypes

from tinykan.errors import UserError, check_integer, lookup
from tinykan.kernels import adam as adam_kernels
from tinykan.tensors import overwrite


def learning_rates(
    peak: float, steps: int, schedule: str = "cosine", warmup: int = 0
) -> np.ndarray:
    """The rate of each step `[steps]`: a linear warm-up over the first `warmup` steps, then
    constant, or half a cosine down to 0 (Loshchilov and Hutter 2017, without restarts)."""
    shape = lookup("schedule", schedule, SCHEDULES)
    if not (math.isfinite(peak) and peak > 0):
        raise UserError(f"learning rate {peak} must be a positive number")
    check_integer("warmup", warmup, 0)
    if warmup >= max(steps, 1):
        raise UserError(
            f"a warm-up of {warmup} steps must be shorter than the {steps} steps of the run"
        )
    step = np.arange(steps)
    rates = peak * shape((step - warmup) / max(steps - warmup, 1))
    return np.where(step < warmup, peak * (step + 1) / (warmup + 1), rates)


SCHEDULES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "constant": np.ones_like,
    "cosine": lambda part: 0.5 * (1 + np.cos(np.pi * part)),
}


class Adam:
    """Adam (Kingma and Ba 2015) with one rate for each step, known in advance.

    Bias corrections are folded into a table of step sizes made on the host in float64, so that the
    compiled step has no powers to compute and its only state is the two moments and the step.
    """

    def __init__(
        self,
        parameters: list[Tensor],
        rates: np.ndarray,
        *,
        b1: float = 0.9,
        b2: float = 0.999,
        eps: float = 1e-8,
    ) -> None:
        self.parameters, self.b1, self.b2 = parameters, b1, b2
        count = np.arange(1, len(rates) + 1, dtype=np.float64)
        correction = np.sqrt(1 - b2**count)
        table = np.stack([rates * correction / (1 - b1**count), eps * correction], axis=-1)
        self.table = Tensor(table, dtype=dtypes.float32).realize()
        self.step = Tensor([0], dtype=dtypes.int32).realize()
        self.m, self.v = ([_zeros_like(p) for p in parameters] for _ in range(2))

    def minimize(self, loss: Tensor, *others: Tensor) -> None:
        """Lowers `loss` by one step, and realises `others` before it."""
        gradients = [g.contiguous() for g in loss.gradient(*self.parameters)]
        rate = self.table[self.step].flatten().contiguous().to(self.parameters[0].device)
        Tensor.realize(*others, rate, *gradients)
        updated = [self.step.assign(self.step + 1)]
        for p, m, v, g in zip(self.parameters, self.m, self.v, gradients, strict=True):
            if adam_kernels.serves(p):
                updated += adam_kernels.adam_step(p, m, v, g, rate, self.b1, self.b2)
                continue
            m.assign(self.b1 * m + (1 - self.b1) * g)
            v.assign(self.b2 * v + (1 - self.b2) * g * g)
            p.assign(p.detach() - (rate[0] * m / (v.sqrt() + rate[1])).cast(p.dtype))
            updated += [p, m, v]
        Tensor.realize(*updated)

    @property
    def _changing(self) -> dict[str, Tensor]:
        """All that changes from step to step, but for the parameters."""
        moments = {f"m.{i}": m for i, m in enumerate(self.m)}
        moments |= {f"v.{i}": v for i, v in enumerate(self.v)}
        return {**moments, "step": self.step, "table": self.table}

    def state(self) -> dict[str, np.ndarray]:
        """What `restore` takes to go on from this step."""
        return {name: tensor.numpy() for name, tensor in self._changing.items()}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        for name, tensor in self._changing.items():
            overwrite(tensor, state[name])

    def slow_down(self, factor: float) -> None:
        """Multiplies the rates of all further steps, and forgets the moments."""
        overwrite(self.table, self.table.numpy() * np.array([factor, 1], dtype=np.float32))
        for tensor in (*self.m, *self.v):
            overwrite(tensor, np.zeros(tensor.shape))


def _zeros_like(p: Tensor) -> Tensor:
    return Tensor.zeros(*p.shape, dtype=p.dtype).contiguous().realize().to(p.device).realize()

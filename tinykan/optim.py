"""Adam, and the learning rate of each step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from tinygrad import Tensor, dtypes

from tinykan.errors import UserError, check_integer, lookup
from tinykan.kernels import adam as adam_kernels
from tinykan.tensors import like, overwrite

Schedule = Callable[[np.ndarray], np.ndarray]  # parts of a training, 0 to 1, to shares of the rate


def learning_rates(
    peak: float, steps: int, schedule: str | Schedule = "cosine", warmup: int = 0
) -> np.ndarray:
    """The rate of each step `[steps]`: a linear warm-up over the first `warmup` steps, then a
    function, or one of SCHEDULES: constant, or half a cosine (Loshchilov and Hutter 2017)."""
    shape = schedule if callable(schedule) else lookup("schedule", schedule, SCHEDULES)
    if not (math.isfinite(peak) and peak > 0):
        raise UserError(f"learning rate {peak} must be a positive number")
    check_integer("warmup", warmup, 0)
    if warmup >= max(steps, 1):
        raise UserError(f"a warm-up of {warmup} steps must be shorter than the {steps} of the run")
    step = np.arange(steps)
    rates = peak * shape((step - warmup) / max(steps - warmup, 1))
    return np.where(step < warmup, peak * (step + 1) / (warmup + 1), rates)


SCHEDULES: dict[str, Schedule] = {
    "constant": np.ones_like,
    "cosine": lambda part: 0.5 * (1 + np.cos(np.pi * part)),
}


class Adam:
    """Adam (Kingma and Ba 2015) with one rate for each step, known in advance: a table of step
    sizes, made in float64, holds the bias corrections, so that the compiled step has no powers.
    `decay` is decoupled weight decay (Loshchilov and Hutter 2019); `clip` is the largest Euclidean
    norm of all gradients together, which longer ones are scaled to."""

    b1, b2, eps = 0.9, 0.999, 1e-8

    def __init__(
        self, parameters: list[Tensor], rates: np.ndarray, decay: float = 0.0,
        clip: float | None = None,
    ) -> None:  # fmt: skip
        if not 0 <= decay < math.inf or (clip is not None and not 0 < clip < math.inf):
            raise UserError(f"weight decay {decay} must be 0 or more, clip {clip} above 0 or None")
        self.parameters, self.decay, self.clip, b1, b2 = parameters, decay, clip, self.b1, self.b2
        count = np.arange(1, len(rates) + 1, dtype=np.float64)
        correction = np.sqrt(1 - b2**count)
        columns = [rates * correction / (1 - b1**count), self.eps * correction]
        table = np.stack(columns + ([rates] if decay else []), axis=-1)
        self.table = Tensor(table, dtype=dtypes.float32).realize()
        self.step = Tensor([0], dtype=dtypes.int32).realize()
        self.elementwise: Sequence[int] = range(len(parameters))  # whose steps are Adam's
        self.m, self.v = ([like(p, np.zeros(p.shape)) for p in parameters] for _ in range(2))

    def minimize(self, loss: Tensor, *others: Tensor) -> None:
        """Takes one step to lower `loss`, and realizes `others` before it."""
        every = zip(loss.gradient(*self.parameters), self.parameters, strict=True)
        # Constants have no device in tinygrad 0.14, and contiguous() gives them no memory.
        gradients = [g.contiguous() if g.device else g.clone().to(p.device) for g, p in every]
        if self.clip is not None:
            length = Tensor.cat(*(g.square().sum().reshape(1) for g in gradients)).sum().sqrt()
            gradients = [g * (self.clip / length.maximum(self.clip)) for g in gradients]
        rate = self.table[self.step].flatten().contiguous().to(self.parameters[0].device)
        Tensor.realize(*others, rate, *gradients)
        Tensor.realize(self.step.assign(self.step + 1), *self._updated(gradients, rate))

    def _updated(self, gradients: list[Tensor], rate: Tensor) -> list[Tensor]:
        """The parameters and the moments after a step at a `rate`, a row of the table."""
        for p in self.parameters if self.decay else []:
            p.assign(p.detach() * (1 - self.decay * rate[2]).cast(p.dtype)).realize()
        every = list(zip(self.parameters, self.m, self.v, gradients, strict=True))
        every = [every[n] for n in self.elementwise]
        fast = [update for update in every if adam_kernels.supports(update[0])]
        updated = adam_kernels.adam_step(fast, rate, self.b1, self.b2)
        for p, m, v, g in (u for u in every if not adam_kernels.supports(u[0])):
            m.assign(self.b1 * m + (1 - self.b1) * g)
            v.assign(self.b2 * v + (1 - self.b2) * g * g)
            p.assign(p.detach() - (rate[0] * m / (v.sqrt() + rate[1])).cast(p.dtype))
            updated += [p, m, v]
        return updated

    @property
    def _changing(self) -> dict[str, Tensor]:
        """The state from step to step, without the parameters."""
        moments = {f"{n}.{i}": t for n in "mv" for i, t in enumerate(getattr(self, n))}
        return {**moments, "step": self.step, "table": self.table}

    def state(self) -> dict[str, np.ndarray]:
        return {name: tensor.numpy() for name, tensor in self._changing.items()}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        for name, tensor in self._changing.items():
            overwrite(tensor, state[name])

    def slow_down(self, factor: float) -> None:
        """Multiplies the rates of all further steps, and forgets the moments."""
        overwrite(self.table, self.table.numpy() * [factor, 1, factor][: self.table.shape[1]])
        for tensor in (*self.m, *self.v):
            overwrite(tensor, np.zeros(tensor.shape))

"""The training loop: one compiled step, read back only when it is logged."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from tinygrad import Context, Device, Tensor, TinyJit, dtypes

from tinykan import kernels
from tinykan.errors import UserError, lookup
from tinykan.layers import learnable
from tinykan.networks import Network
from tinykan.sampling import uniform

Sampler = Callable[[Tensor], tuple[Tensor, Tensor]]

EXPLODED = 1e3  # times the first loss: no run that gets there comes back
OUTSIDE_SAMPLES = 512
OUTSIDE_LIMIT = 0.05  # share of a layer's inputs outside its grid above which the user should know


class DivergenceError(UserError):
    """The loss or the weights became infinite or NaN, or the loss exploded."""


@dataclass
class History:
    """What `fit` saw: one entry of `steps`, `losses` (that step's batch) and `seconds` for each
    time it looked. `compile_seconds` is that of the first two steps, which compile and record."""

    steps: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    outside: list[float] = field(default_factory=list)  # share of inputs outside the grid, by layer
    compile_seconds: float = 0.0
    train_seconds: float = 0.0
    first_step_seconds: float = 0.0  # from the start of `fit` to the end of the first step


def mean_squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    return (prediction - target).square().mean()


def learning_rates(
    peak: float, steps: int, schedule: str = "cosine", warmup: int = 0
) -> np.ndarray:
    """The rate of each step `[steps]`: a linear warm-up over the first `warmup` steps, then
    constant, or half a cosine down to 0 (Loshchilov and Hutter 2017, without restarts)."""
    shape = lookup("schedule", schedule, SCHEDULES)
    if not (math.isfinite(peak) and peak > 0):
        raise UserError(f"learning rate {peak} must be a positive number")
    if not 0 <= warmup < max(steps, 1):
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
        self.m = [Tensor.zeros(*p.shape, dtype=p.dtype).contiguous().realize() for p in parameters]
        self.v = [Tensor.zeros(*p.shape, dtype=p.dtype).contiguous().realize() for p in parameters]

    def minimise(self, loss: Tensor, *others: Tensor) -> None:
        """Lowers `loss` by one step, and realises `others` before it."""
        gradients = [g.contiguous() for g in loss.gradient(*self.parameters)]
        rate = self.table[self.step].flatten().contiguous()
        Tensor.realize(*others, rate, *gradients)
        updated = [self.step.assign(self.step + 1)]
        for p, m, v, g in zip(self.parameters, self.m, self.v, gradients, strict=True):
            if kernels.supported(p):
                updated += kernels.adam_step(p, m, v, g, rate, self.b1, self.b2)
                continue
            m.assign(self.b1 * m + (1 - self.b1) * g)
            v.assign(self.b2 * v + (1 - self.b2) * g * g)
            p.assign(p.detach() - (rate[0] * m / (v.sqrt() + rate[1])).cast(p.dtype))
            updated += [p, m, v]
        Tensor.realize(*updated)


def batches(
    inputs: np.ndarray, targets: np.ndarray, batch: int | None = None, seed: int = 0
) -> Sampler:
    """A sampler over `inputs` `[n, in]` and `targets` `[n, out]`: all of them at every step, or
    `batch` drawn at random with replacement."""
    if len(inputs) != len(targets) or len(inputs) == 0:
        raise UserError(
            f"{len(inputs)} inputs and {len(targets)} targets: both must be as many, and some"
        )
    x, y = (
        Tensor(np.ascontiguousarray(a), dtype=dtypes.default_float).realize()
        for a in (inputs, targets)
    )
    if batch is None or batch >= len(inputs):
        return lambda step: (x, y)

    def sample(step: Tensor) -> tuple[Tensor, Tensor]:
        row = (
            (uniform(step, seed, (batch,)) * len(inputs))
            .cast(dtypes.int32)
            .clip(0, len(inputs) - 1)
        )
        row = row.contiguous()
        return x[row], y[row]

    return sample


def training_step(
    model: Network,
    sample: Sampler,
    optimiser: Adam,
    loss: Callable[[Tensor, Tensor], Tensor] = mean_squared_error,
) -> Callable[[], Tensor]:
    """A function that takes one step, to be compiled as a whole: sample, model, loss, gradients and
    update. It returns the loss, and for each layer the share of its inputs outside the grid."""

    def step() -> Tensor:
        # Unsplit, tinygrad turns indexing by a computed index into a plain load.
        with Context(SPLIT_REDUCEOP=0):
            x, y = (t.contiguous() for t in sample(optimiser.step))
            Tensor.realize(x, y)
        values = model.trace(x)
        value = loss(values[-1], y)
        # A few samples are enough to know whether inputs stay on the grid: from the whole batch,
        # for data may come sorted.
        few = [v.detach()[:: max(1, len(x) // OUTSIDE_SAMPLES)] for v in values]
        outside = [layer.outside(v) for layer, v in zip(model.layers, few, strict=False)]
        report = Tensor.stack(value.detach(), *outside).cast(dtypes.float32)
        optimiser.minimise(value, report)
        return report

    return step


def fit(
    model: Network,
    sample: Sampler,
    *,
    steps: int = 1000,
    learning_rate: float = 1e-2,
    schedule: str = "cosine",
    warmup: int = 0,
    loss: Callable[[Tensor, Tensor], Tensor] = mean_squared_error,
    log_every: int | None = None,
    on_log: Callable[[int, History], None] | None = None,
    progress: bool = True,
) -> History:
    """Trains `model` in place with Adam, and returns the history.

    `sample(step)` gives inputs and targets for the step number `[1]`; it, the model, the loss, the
    gradients and the update are compiled into one step. Every `log_every` steps (about 100 times a
    run by default) the loss is read back and `on_log(steps done, history)` is called, whose time is
    not counted.

    Raises DivergenceError if the loss or the weights are no longer finite, or the loss exceeds
    1,000 times its first value; `model` then has the last weights known to be good.
    """
    if steps < 1:
        raise UserError(f"{steps} steps: at least 1 is needed")
    weights = learnable(model)
    Tensor.realize(*weights)
    adam = Adam(weights, learning_rates(learning_rate, steps, schedule, warmup))

    train = TinyJit(training_step(model, sample, adam, loss))
    guard, history, bar = _Guard(weights), History(), _Progress(steps, progress)
    log_every = log_every or max(1, steps // 100)
    start = time.perf_counter()
    for step in range(1, steps + 1):
        report = train()
        if step <= 2:
            Device[Device.DEFAULT].synchronize()
            history.compile_seconds = time.perf_counter() - start
            history.first_step_seconds = history.first_step_seconds or history.compile_seconds
        if step == 1 or step % log_every == 0 or step == steps:
            current, *history.outside = report.numpy().tolist()
            history.train_seconds = time.perf_counter() - start - history.compile_seconds
            guard.check(step, current)
            history.steps.append(step)
            history.losses.append(current)
            history.seconds.append(history.compile_seconds + history.train_seconds)
            bar.show(step, current, history.train_seconds, history.outside)
            paused = time.perf_counter()
            if on_log:
                on_log(step, history)
            start += time.perf_counter() - paused
    bar.close()
    return history


class _Guard:
    """Keeps the last weights known to be good, and stops a run that has lost its way.

    A loss vouches for the weights before its step, not for those after it: weights are good once
    the next loss that is read shows it.
    """

    def __init__(self, weights: list[Tensor]) -> None:
        self.weights, self.first_loss = weights, math.inf
        self.good_step, self.good = self.latest_step, self.latest = 0, self._copy()

    def check(self, step: int, loss: float) -> None:
        """Raises DivergenceError, with the good weights restored, if `loss` of `step` is bad."""
        copy = self._copy()
        finite = math.isfinite(loss) and all(np.isfinite(values).all() for values in copy)
        if not finite or loss > EXPLODED * max(self.first_loss, 1e-12):
            for weight, values in zip(self.weights, self.good, strict=True):
                weight.assign(Tensor(values, dtype=weight.dtype)).realize()
            raise DivergenceError(
                f"training diverged by step {step} (loss {loss:.3g}); the weights of step "
                f"{self.good_step} are kept; try a lower learning rate"
            )
        self.first_loss = loss if step == 1 else self.first_loss
        self.good_step, self.good = self.latest_step, self.latest
        self.latest_step, self.latest = step, copy

    def _copy(self) -> list[np.ndarray]:
        return [weight.numpy().copy() for weight in self.weights]


class _Progress:
    """One line on standard error: redrawn on a terminal, else printed ten times a run."""

    def __init__(self, steps: int, enabled: bool) -> None:
        self.steps, self.enabled, self.live = steps, enabled, sys.stderr.isatty()
        self.printed, self.warned, self.drawn = 0, False, False

    def show(self, step: int, loss: float, seconds: float, outside: list[float]) -> None:
        worst = max(range(len(outside)), key=outside.__getitem__)
        if outside[worst] > OUTSIDE_LIMIT and not self.warned:
            self.warned = True
            self.close()
            print(
                f"warning: {outside[worst]:.0%} of the inputs of layer {worst + 1} are outside its "
                "grid, where splines end; widen the domain or scale the inputs",
                file=sys.stderr,
            )
        if not self.enabled:
            return
        rate = (step - 2) / seconds if step > 2 and seconds > 0 else 0.0
        left = (
            f"{int((self.steps - step) / rate) // 60}:{int((self.steps - step) / rate) % 60:02d}"
            if rate
            else "-:--"
        )
        line = f"step {step}/{self.steps}  loss {loss:.6f}  {rate:.1f} steps/s  {left} left"
        if self.live:
            filled = 20 * step // self.steps
            print(
                f"\r[{'=' * filled}{' ' * (20 - filled)}] {line}  ",
                end="",
                file=sys.stderr,
                flush=True,
            )
            self.drawn = True
        elif step == 1 or step * 10 // self.steps > self.printed:
            self.printed = step * 10 // self.steps
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        if self.drawn:
            print(file=sys.stderr)
            self.drawn = False

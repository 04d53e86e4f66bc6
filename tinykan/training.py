"""The training loop: one compiled step, read back only when it is logged."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from tinygrad import Context, Device, Tensor, TinyJit, dtypes
from tinygrad.nn.state import get_parameters

from tinykan.errors import UserError, check_integer
from tinykan.grid import grid_mover, own_knots
from tinykan.layers import learnable
from tinykan.networks import Network
from tinykan.optimiser import Adam, learning_rates, overwrite
from tinykan.sampling import uniform

Sampler = Callable[[Tensor], tuple[Tensor, Tensor]]
Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

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


@dataclass(frozen=True)
class Snapshot:
    """What `fit` needs, beside the weights, to go on after `step` as if it had never stopped."""

    step: int
    arrays: dict[str, np.ndarray]  # of the optimiser, and the weights last known to be good
    record: dict[str, Any]  # the history and the rest, as JSON


def mean_squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    return (prediction - target).square().mean()


def batches(
    inputs: np.ndarray, targets: np.ndarray, batch: int | None = None, seed: int = 0
) -> Sampler:
    """A sampler over `inputs` `[n, in]` and `targets` `[n, out]`: all of them at every step, or
    `batch` drawn at random with replacement."""
    if len(inputs) != len(targets) or len(inputs) == 0:
        raise UserError(
            f"{len(inputs)} inputs and {len(targets)} targets: both must be as many, and some"
        )
    for name, values in (("inputs", inputs), ("targets", targets)):
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            value = values[tuple(bad[0])]
            raise UserError(f"{name} hold {value} in row {bad[0][0]}: numbers must be finite")
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
    model: Network, sample: Sampler, optimiser: Adam, objective: Objective
) -> Callable[[], Tensor]:
    """A function that takes one step, to be compiled as a whole: sample, objective, gradients and
    update. It returns what the objective reports."""

    def step() -> Tensor:
        x, y = _drawn(sample, optimiser.step)
        devices = optimiser.parameters[0].device
        if isinstance(devices, tuple):
            if len(x) % len(devices):
                raise UserError(
                    f"a batch of {len(x)} points cannot be shared equally by {len(devices)} devices"
                )
            x, y = (t.shard(devices, axis=0).realize() for t in (x, y))
        value, report = objective(x, y)
        optimiser.minimise(value, report)
        return report

    return step


def objective_of(
    model: Network,
    loss: Callable[[Tensor, Tensor], Tensor] = mean_squared_error,
    penalty: Callable[[list[Tensor]], Tensor] | None = None,
) -> Objective:
    """What is minimised: the loss, and the penalty, of the model's inputs and targets. And a report
    `[1 + layers]`: the loss without the penalty, and for each layer the share of its inputs outside
    the grid."""

    def objective(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        values = model.trace(x)
        value = loss(values[-1], y)
        # A few samples are enough to know whether inputs stay on the grid: from the whole batch,
        # for data may come sorted.
        every = 1 if isinstance(x.device, tuple) else max(1, len(x) // OUTSIDE_SAMPLES)
        few = [v.detach()[::every] for v in values]
        outside = [layer.outside(v) for layer, v in zip(model.layers, few, strict=False)]
        report = Tensor.stack(value.detach(), *outside)
        return value if penalty is None else value + penalty(values), report

    return objective


def _drawn(sample: Sampler, step: Tensor) -> list[Tensor]:
    # Unsplit, tinygrad turns indexing by a computed index into a plain load.
    with Context(SPLIT_REDUCEOP=0):
        drawn = [t.contiguous() for t in sample(step)]
        Tensor.realize(*drawn)
    return drawn


def fit(
    model: Network,
    sample: Sampler,
    *,
    steps: int = 1000,
    learning_rate: float = 1e-2,
    schedule: str = "cosine",
    warmup: int = 0,
    lbfgs: int = 0,
    grid_updates: int = 0,
    loss: Callable[[Tensor, Tensor], Tensor] = mean_squared_error,
    penalty: Callable[[list[Tensor]], Tensor] | None = None,
    log_every: int | None = None,
    on_log: Callable[[int, History], None] | None = None,
    on_step: Callable[[int, Callable[[], Snapshot] | None], bool] | None = None,
    resume: Snapshot | None = None,
    halvings: int = 0,
    progress: bool = True,
) -> History:
    """Trains `model` in place with `steps` of Adam, then `lbfgs` iterations of L-BFGS, and returns
    the history.

    `sample(step)` gives inputs and targets for the step number `[1]`; it, the model, the loss, the
    gradients and the update are compiled into one step. L-BFGS has one sample, the last, at every
    iteration, and works in float64 where the device has it; when no lower loss is found any more,
    it ends before its time.

    The grids of spline layers are moved to where their inputs are `grid_updates` times in the first
    half of the steps, and as often in that of the iterations (PyKAN's update_grid_from_samples).

    `penalty`, of the inputs of every layer and the output `[n, features]`, is added to the loss
    that is minimised, not to that which is reported.

    Every `log_every` steps (about 100 times a run by default) the loss is read back and
    `on_log(steps done, history)` is called, whose time is not counted.

    After every step `on_step(steps done, snapshot)` is called; it ends the training by returning
    True. `snapshot()` is what `resume` takes, together with a model that has the weights of that
    moment: the steps that follow have the same bits as if the training had gone on. L-BFGS gives
    None: it is repeated from its beginning.

    Raises DivergenceError if the loss or the weights are no longer finite, or the loss exceeds
    1,000 times its first value; `model` then has the last weights known to be good. Before that,
    `halvings` times, it goes on from those with half the learning rate.

    A model whose tensors are on several devices (`device.spread`) is trained on all of them, each
    with an equal part of every batch; the result is that of one device, to rounding.
    """
    check_integer("lbfgs", lbfgs, 0)
    check_integer("steps", steps, 0 if lbfgs else 1)
    check_integer("grid_updates", grid_updates, 0)
    log_every = max(1, (steps + lbfgs) // 100) if log_every is None else log_every
    check_integer("log_every", log_every, 1)
    weights = learnable(model)
    if (lbfgs or grid_updates) and isinstance(weights[0].device, tuple):
        raise UserError("L-BFGS and grid updates run on one device, not on several")
    if grid_updates:
        own_knots(model)
    Tensor.realize(*weights)
    adam = Adam(weights, learning_rates(learning_rate, steps, schedule, warmup))
    objective = objective_of(model, loss, penalty)
    watch = _Watch(model, steps + lbfgs, log_every, on_log, progress)
    done = 0
    if resume:
        adam.restore(resume.arrays)
        watch.restore(resume)
        done, halvings = resume.step, resume.record["halvings"]

    def snapshot() -> Snapshot:
        arrays = adam.state() | watch.guard.arrays()
        return Snapshot(step, arrays, {**watch.record(), "halvings": halvings})

    def points(step: int) -> list[Tensor]:
        return _drawn(sample, Tensor([step], dtype=dtypes.int32).realize())

    train = TinyJit(training_step(model, sample, adam, objective))
    move_grids, moves = grid_mover(model), _in_first_half(steps, grid_updates)
    watch.start(done)
    for step in range(done + 1, steps + 1):
        if step - 1 in moves:
            move_grids(points(step - 1)[0])
        report = train()
        watch.stepped(step)
        if watch.due(step) or step == steps:
            try:
                watch.look(step, report.numpy().tolist())
            except DivergenceError as error:
                if halvings == 0:
                    raise
                halvings -= 1
                adam.slow_down(0.5)
                watch.bar.note(f"{error}; going on from there with half the rate")
                continue
        if on_step and on_step(step, snapshot):
            break
    else:
        if lbfgs:
            _full_batch(model, points(steps), objective, lbfgs, grid_updates, watch, on_step)
    watch.bar.close()
    return watch.history


def _full_batch(
    model: Network,
    drawn: list[Tensor],
    objective: Objective,
    iterations: int,
    grid_updates: int,
    watch: _Watch,
    on_step: Callable[[int, None], bool] | None,
) -> None:
    """The part of `fit` after Adam."""
    from tinykan.lbfgs import LBFGS, float64  # an extra

    before, stopped = watch.total - iterations, False
    watch.start(before)
    with float64(model):
        x, y = (t.cast(learnable(model)[0].dtype).contiguous().realize() for t in drawn)
        optimiser = LBFGS(model, lambda: objective(x, y))
        watch.guard.check(before, optimiser.report()[0])
        move_grids, done = grid_mover(model), 0

        def after(iteration: int, report: list[float]) -> bool:
            nonlocal stopped
            step = before + done + iteration
            watch.stepped(step)
            if watch.due(step):
                watch.look(step, report)
            stopped = bool(on_step and on_step(step, None))
            return stopped

        moves = _in_first_half(iterations, grid_updates)
        for begin, end in pairwise([*(moves or [0]), iterations]):
            if moves:
                move_grids(x)
            done += optimiser.run(end - begin, after)
            if stopped:
                return
    if done < iterations:
        watch.bar.note(f"L-BFGS found no lower loss after {done} iterations", "")


def _in_first_half(steps: int, times: int) -> list[int]:
    """After which of `steps`, from none to half of them, to do something as many `times`."""
    return sorted({steps * n // (2 * times) for n in range(times)})


class _Watch:
    """What looks on while a model is trained: history, guard, clock and progress."""

    def __init__(
        self,
        model: Network,
        total: int,
        log_every: int,
        on_log: Callable[[int, History], None] | None,
        progress: bool,
    ) -> None:
        self.total, self.log_every, self.on_log = total, log_every, on_log
        self.history, self.guard = History(), _Guard(model)
        self.bar = _Progress(total, progress)

    def start(self, done: int) -> None:
        """The clock, with `done` steps behind."""
        self._done, self.bar.done = done, done
        self._earlier = self.history.compile_seconds, self.history.train_seconds
        self._start, self._compiling = time.perf_counter(), 0.0

    def stepped(self, step: int) -> None:
        """The first two steps are compiled and recorded: their time is counted apart."""
        if step > self._done + 2:
            return
        Device[Device.DEFAULT].synchronize()
        self._compiling = time.perf_counter() - self._start
        self.history.compile_seconds = self._earlier[0] + self._compiling
        self.history.first_step_seconds = self.history.first_step_seconds or self._compiling

    def due(self, step: int) -> bool:
        return step == 1 or step % self.log_every == 0 or step == self.total

    def look(self, step: int, report: list[float]) -> None:
        """Takes down the loss; raises DivergenceError if the guard does."""
        history, (current, *outside) = self.history, report
        training = time.perf_counter() - self._start - self._compiling
        history.train_seconds, history.outside = self._earlier[1] + training, outside
        self.guard.check(step, current)
        history.steps.append(step)
        history.losses.append(current)
        history.seconds.append(history.compile_seconds + history.train_seconds)
        self.bar.show(step, current, training, outside)
        paused = time.perf_counter()
        if self.on_log:
            self.on_log(step, history)
        self._start += time.perf_counter() - paused

    def record(self) -> dict[str, Any]:
        return {"history": asdict(self.history), "guard": self.guard.record()}

    def restore(self, resume: Snapshot) -> None:
        self.guard.restore(resume.arrays, resume.record["guard"])
        self.history = History(**resume.record["history"])


class _Guard:
    """Keeps the last weights known to be good, and stops a run that has lost its way.

    A loss vouches for the weights before its step, not for those after it: weights are good once
    the next loss that is read shows it.
    """

    def __init__(self, model: Network) -> None:
        # With the knots, which may move, and without which coefficients say nothing.
        self.weights, self.first_loss = get_parameters(model), math.inf
        self.good_step, self.good = self.latest_step, self.latest = 0, self._copy()

    def check(self, step: int, loss: float) -> None:
        """Raises DivergenceError, with the good weights restored, if `loss` of `step` is bad."""
        copy = self._copy()
        finite = math.isfinite(loss) and all(np.isfinite(values).all() for values in copy)
        if not finite or loss > EXPLODED * max(self.first_loss, 1e-12):
            for weight, values in zip(self.weights, self.good, strict=True):
                overwrite(weight, values)
            self.latest_step, self.latest = self.good_step, self.good
            raise DivergenceError(
                f"training diverged by step {step} (loss {loss:.3g}); the weights of step "
                f"{self.good_step} are kept; try a lower learning rate"
            )
        self.first_loss = loss if step == 1 else self.first_loss
        self.good_step, self.good = self.latest_step, self.latest
        self.latest_step, self.latest = step, copy

    def arrays(self) -> dict[str, np.ndarray]:
        good = {f"good.{i}": values for i, values in enumerate(self.good)}
        return good | {f"latest.{i}": values for i, values in enumerate(self.latest)}

    def record(self) -> list[float]:
        return [self.first_loss, self.good_step, self.latest_step]

    def restore(self, arrays: dict[str, np.ndarray], record: list[float]) -> None:
        self.first_loss, (self.good_step, self.latest_step) = record[0], map(int, record[1:])
        count = range(len(self.weights))
        self.good = [arrays[f"good.{i}"] for i in count]
        self.latest = [arrays[f"latest.{i}"] for i in count]

    def _copy(self) -> list[np.ndarray]:
        return [weight.numpy().copy() for weight in self.weights]


class _Progress:
    """One line on standard error: redrawn on a terminal, else printed ten times a run."""

    def __init__(self, steps: int, enabled: bool) -> None:
        self.done, self.steps = 0, steps
        self.enabled, self.live = enabled, sys.stderr.isatty()
        self.printed, self.warned, self.drawn = 0, False, False

    def show(self, step: int, loss: float, seconds: float, outside: list[float]) -> None:
        if not self.enabled:
            return
        worst = max(range(len(outside)), key=outside.__getitem__)
        if outside[worst] > OUTSIDE_LIMIT and not self.warned:
            self.warned = True
            self.note(
                f"{outside[worst]:.0%} of the inputs of layer {worst + 1} are outside its "
                "grid, where splines end; widen the domain or scale the inputs"
            )
        counted = step - self.done - 2
        rate = counted / seconds if counted > 0 and seconds > 0 else 0.0
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
        elif step == self.done + 1 or step * 10 // self.steps > self.printed:
            self.printed = step * 10 // self.steps
            print(line, file=sys.stderr, flush=True)

    def note(self, line: str, kind: str = "warning: ") -> None:
        self.close()
        if kind or self.enabled:
            print(kind + line, file=sys.stderr)

    def close(self) -> None:
        if self.drawn:
            print(file=sys.stderr)
            self.drawn = False

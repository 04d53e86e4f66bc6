"""The training loop: one compiled step, read back only when it is logged."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from tinygrad import Context, Tensor, TinyJit, dtypes

from tinykan.errors import UserError, check_integer
from tinykan.fitting.grids import grid_mover, own_knots
from tinykan.layers import learnable
from tinykan.monitor import DivergenceError, History, Monitor, Snapshot
from tinykan.networks import Network
from tinykan.optim import Adam, learning_rates
from tinykan.tasks.sampling import uniform

Sampler = Callable[[Tensor], tuple[Tensor, Tensor]]
Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

OUTSIDE_SAMPLES = 512


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
    model: Network, sample: Sampler, optimizer: Adam, objective: Objective
) -> Callable[[], Tensor]:
    """A function that takes one step, to be compiled as a whole: sample, objective, gradients and
    update. It returns what the objective reports."""

    def step() -> Tensor:
        x, y = _drawn(sample, optimizer.step)
        devices = optimizer.parameters[0].device
        if isinstance(devices, tuple):
            if len(x) % len(devices):
                raise UserError(
                    f"a batch of {len(x)} points cannot be shared equally by {len(devices)} devices"
                )
            x, y = (t.shard(devices, axis=0).realize() for t in (x, y))
        value, report = objective(x, y)
        optimizer.minimize(value, report)
        return report

    return step


def objective_of(
    model: Network,
    loss: Callable[[Tensor, Tensor], Tensor] = mean_squared_error,
    penalty: Callable[[list[Tensor]], Tensor] | None = None,
) -> Objective:
    """What is minimized: the loss, and the penalty, of the model's inputs and targets. And a report
    `[1 + layers]`: the loss without the penalty, and for each layer the share of its inputs outside
    the grid."""

    def objective(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        inputs = model.layer_inputs(x)
        values = [*inputs, model.layers[-1](inputs[-1])]
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
    that is minimized, not to that which is reported.

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
    monitor = Monitor(model, steps + lbfgs, log_every, on_log, progress)
    done = 0
    if resume:
        adam.restore(resume.arrays)
        monitor.restore(resume)
        done, halvings = resume.step, resume.record["halvings"]

    def snapshot() -> Snapshot:
        arrays = adam.state() | monitor.guard.arrays()
        return Snapshot(step, arrays, {**monitor.record(), "halvings": halvings})

    def points(step: int) -> list[Tensor]:
        return _drawn(sample, Tensor([step], dtype=dtypes.int32).realize())

    train = TinyJit(training_step(model, sample, adam, objective))
    move_grids, moves = grid_mover(model), _in_first_half(steps, grid_updates)
    monitor.start(done)
    for step in range(done + 1, steps + 1):
        if step - 1 in moves:
            move_grids(points(step - 1)[0])
        report = train()
        monitor.stepped(step)
        if monitor.due(step) or step == steps:
            try:
                monitor.look(step, report.numpy().tolist())
            except DivergenceError as error:
                if halvings == 0:
                    raise
                halvings -= 1
                adam.slow_down(0.5)
                monitor.bar.warn(f"{error}; going on from there with half the rate")
                continue
        if on_step and on_step(step, snapshot):
            break
    else:
        if lbfgs:
            _full_batch(model, points(steps), objective, lbfgs, grid_updates, monitor, on_step)
    monitor.bar.close()
    return monitor.history


def _full_batch(
    model: Network,
    drawn: list[Tensor],
    objective: Objective,
    iterations: int,
    grid_updates: int,
    monitor: Monitor,
    on_step: Callable[[int, None], bool] | None,
) -> None:
    """The part of `fit` after Adam."""
    from tinykan.fitting.lbfgs import LBFGS, float64  # an extra

    before, stopped = monitor.total - iterations, False
    monitor.start(before)
    with float64(model):
        x, y = (t.cast(learnable(model)[0].dtype).contiguous().realize() for t in drawn)
        optimizer = LBFGS(model, objective, x, y)
        monitor.guard.check(before, optimizer.report()[0])
        move_grids, done = grid_mover(model), 0

        def after(iteration: int, report: list[float]) -> bool:
            nonlocal stopped
            step = before + done + iteration
            monitor.stepped(step)
            if monitor.due(step):
                monitor.look(step, report)
            stopped = bool(on_step and on_step(step, None))
            return stopped

        moves = _in_first_half(iterations, grid_updates)
        for begin, end in pairwise([*(moves or [0]), iterations]):
            if moves:
                move_grids(x)
            done += optimizer.run(end - begin, after)
            if stopped:
                return
    if done < iterations:
        monitor.bar.note(f"L-BFGS found no lower loss after {done} iterations")


def _in_first_half(steps: int, times: int) -> list[int]:
    """After which of `steps`, from none to half of them, to do something as many `times`."""
    return sorted({steps * n // (2 * times) for n in range(times)})

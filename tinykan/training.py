"""Training: a compiled step of sampling, loss, gradients and update, and the loop around it."""

from __future__ import annotations

import contextlib
import inspect
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from tinygrad import Context, Device, Tensor, TinyJit, dtypes
from tinygrad.helpers import GlobalCounters, tqdm

from tinykan.errors import DivergenceError, UserError, check_integer, warn
from tinykan.networks import Network
from tinykan.optim import Adam, Schedule, learning_rates
from tinykan.tensors import learnable, overwrite

Sampler = Callable[[Tensor], tuple[Tensor, Tensor]]
Loss = Callable[..., Tensor]  # of predictions and targets, or of the model, inputs and targets
Penalty = Callable[[list[Tensor]], Tensor]
Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
Factory = Callable[[list[Tensor]], Any] | str  # of a tinygrad.nn.optim.Optimizer; or a name
OUTSIDE_SAMPLES = 512  # of a batch, from which the share of inputs outside the grid is taken


@dataclass
class History:
    """The course of a training: `steps`, `losses` (of the step's batch) and `seconds`, an entry for
    each logged step. The first two steps, which compile, take `compile_seconds`."""

    steps: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    outside: list[float] = field(default_factory=list)  # share of inputs outside the grid, by layer
    validation: list[float] = field(default_factory=list)  # losses, and metrics by name
    metrics: dict[str, list[float]] = field(default_factory=dict)
    ended_by: str = ""  # what ended the training before its last step
    compile_seconds: float = 0.0
    train_seconds: float = 0.0
    first_step_seconds: float = 0.0


@dataclass(frozen=True)
class Step:
    """A finished step. `loss` is None unless the step is logged."""

    number: int
    loss: float | None = None


# The arrays of the optimizer and the guard, and a record of the rest, as JSON.
State = tuple[dict[str, np.ndarray], dict[str, Any]]


def mean_squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    if prediction.shape != target.shape:
        shapes = f"predictions of shape {prediction.shape}, targets of shape {target.shape}"
        raise UserError(f"{shapes}: class labels need a loss of their own, a cross-entropy")
    return (prediction - target).square().mean()


def sees_model(loss: Loss) -> bool:
    """Whether `loss` takes three arguments (without defaults): the model, inputs and targets."""
    if not callable(loss):
        raise UserError(f"loss {loss!r}: a function of predictions and targets is needed")
    parameters = inspect.signature(loss).parameters.values()
    return sum(p.default is p.empty and p.kind < p.VAR_POSITIONAL for p in parameters) == 3


def objective_of(
    model: Network, loss: Loss = mean_squared_error, penalty: Penalty | None = None
) -> Objective:
    """The loss plus the penalty, and a report `[1 + layers]` of the loss alone and of each layer's
    share of inputs outside its grid, as a function of the model's inputs and targets."""
    whole = sees_model(loss)

    def objective(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        inputs = model.layer_inputs(x)
        prediction = model.layers[-1](inputs[-1])
        value = loss(model, x, y) if whole else loss(prediction, targets_for(prediction, y))
        # From all over the batch: data may be sorted. Split over devices it cannot be thinned.
        every = 1 if isinstance(x.device, tuple) else max(1, len(x) // OUTSIDE_SAMPLES)
        pairs = zip(model.layers, inputs, strict=True)
        outside = [layer.outside(v.detach()[::every]) for layer, v in pairs]
        report = Tensor.stack(value.detach(), *outside)
        return value if penalty is None else value + penalty([*inputs, prediction]), report

    return objective


def training_step(sample: Sampler, optimizer: Adam, objective: Objective) -> Callable[[], Tensor]:
    """A function that takes a step, compiled as a whole, and returns the objective's report."""

    def step() -> Tensor:
        x, y = _drawn(sample, optimizer.step)
        devices = optimizer.parameters[0].device
        if isinstance(devices, tuple):
            if len(x) % len(devices):
                raise UserError(f"a batch of {len(x)} cannot be split among {len(devices)} devices")
            x, y = (t.shard(devices, axis=0).realize() for t in (x, y))
        value, report = objective(x, y)
        optimizer.minimize(value, report)
        return report

    return step


class Training:
    """Trains `model` in place: iterate over its `steps` of Adam, then `refine` it by `lbfgs`
    iterations of L-BFGS.

    `sample(step)` gives inputs and targets for the step number `[1]`; it, the model, the loss, the
    gradients and the update are compiled into one step; a sampler that draws by other means, as
    with NumPy, is called before each step instead. The rate is `learning_rate` (default: 0.01),
    after `warmup` steps by a `schedule` (tinykan.optim). A step shrinks parameters by the rate
    times `weight_decay`, and gradients whose norm in all is above `clip` to that norm.

    `optimizer` is "muon" (tinykan.fitting.Muon), or takes the parameters and returns an optimizer
    of tinygrad's: `tinygrad.nn.optim.SGD` with `learning_rate`, or with options and a rate of its
    own `lambda parameters: SGD(parameters, lr=0.02)` (tinykan.fitting.adapted).

    L-BFGS has one sample, the last, at every iteration, and float64 where the device has it; it
    ends early if it finds no lower loss. `grid_updates` times (default: 0 under Adam, 5 under
    L-BFGS) in the first half of the steps, and again of the iterations, grids that their inputs
    have left move (tinykan.fitting.GridMover), to uniform knots (`grid_eps` 1) or quantiles (0).

    `loss` is a function of predictions and targets, or, if it takes three arguments, of the model,
    the inputs and the targets; `grid_updates` then default to 0, and L-BFGS has no preconditioner,
    since both know values, not derivatives; without splines, up to 3,000 parameters are refined by
    Broyden's method instead. A loss that has one for the steps of Adam, `stepping`, may change
    tensors there, which it has by name in `kept`. `penalty`, of the inputs of every layer and the
    outputs `[n, out]`, is added to what is minimized, not to the loss that is reported; with it,
    too, L-BFGS has no preconditioner. Every `log_every` steps (by default about 100 times in all)
    the loss is read back and recorded in `history`; what the caller does with a logged step is not
    counted in the seconds. `progress` shows a bar on terminals and in notebooks.

    `state()`, after a step of Adam, is what `resume` takes: with a model that has the weights of
    that step, the training continues with the same bits. L-BFGS is repeated from its beginning.

    Raises DivergenceError, with the last good weights in `model`, if the loss or the weights are no
    longer finite, or the loss exceeds 1,000 times both its first value and the targets' variance;
    before that it continues from those weights with half the learning rate, `halvings` times. A
    model on several devices (tinykan.runs.devices) gives each an equal part of every batch.
    """

    def __init__(
        self, model: Network, sample: Sampler, *, steps: int = 1000,
        learning_rate: float | None = None, schedule: str | Schedule = "cosine", warmup: int = 0,
        weight_decay: float = 0.0, clip: float | None = None, optimizer: Factory | None = None,
        lbfgs: int = 0, grid_updates: int | None = None, grid_eps: float = 1.0,
        loss: Loss = mean_squared_error, penalty: Penalty | None = None, halvings: int = 0,
        log_every: int | None = None, progress: bool = True, resume: State | None = None,
    ) -> None:  # fmt: skip
        check_integer("lbfgs", lbfgs, 0)
        check_integer("steps", steps, 0 if lbfgs else 1)
        check_integer("grid_updates", 0 if grid_updates is None else grid_updates, 0)
        self.total = steps + lbfgs
        self.log_every = max(1, self.total // 100) if log_every is None else log_every
        check_integer("log_every", self.log_every, 1)
        if grid_eps != 1:
            from tinykan.fitting.grids import check_grid_eps

            check_grid_eps(grid_eps)
        if lbfgs:
            import tinykan.fitting.full_batch  # noqa: F401  (without SciPy, an error before any work)
        weights = learnable(model)
        if (lbfgs or grid_updates) and isinstance(weights[0].device, tuple):
            raise UserError("L-BFGS and grid updates run on one device, not on several")
        Tensor.realize(*weights)
        self.model, self.sample, self.steps, self.lbfgs = model, sample, steps, lbfgs
        self.grid_updates, self.grid_eps, self.halvings = grid_updates, grid_eps, halvings
        self.objective, self.sees_model = objective_of(model, loss, penalty), sees_model(loss)
        self.stepping = objective_of(model, getattr(loss, "stepping", loss), penalty)
        self.kept: dict[str, Tensor] = getattr(loss, "kept", {})
        self.of_outputs = not (self.sees_model or penalty)
        rate = 1e-2 if learning_rate is None else learning_rate
        rates = learning_rates(rate, steps, schedule, warmup)
        make: Callable[..., Adam] = Adam
        if optimizer:
            from tinykan.fitting.optimizers import adapted  # a wing, which only this option needs

            make = adapted(optimizer, rate, learning_rate)
        self.adam = make(weights, rates, decay=weight_decay, clip=clip)
        self.moves: list[int] = []
        self.move_grids: Any = None
        if grid_updates:
            from tinykan.fitting import grid_moves  # a wing, which only this option needs

            self.moves, self.move_grids = grid_moves(self, steps, grid_updates, self.adam)
        from tinykan.fitting.divergence import DivergenceGuard  # a wing, which knows no training

        variance = self.points(0)[1].numpy().astype(np.float64).var(axis=0).max()
        self.done, self.history, self.guard = 0, History(), DivergenceGuard(model, float(variance))
        if resume:
            arrays, record = resume
            self.adam.restore(arrays)
            self.guard.restore(arrays, record["guard"])
            for name, tensor in self.kept.items():
                overwrite(tensor, arrays[name])
            self.history = History(**record["history"])
            self.done, self.halvings = record["step"], record["halvings"]
        first = [] if _depends_on_step_alone(sample) else self.points(self.done)
        batch = [t.clone().realize() for t in first]  # a slice is a view, which cannot be filled
        given = (lambda step: (batch[0], batch[1])) if batch else sample
        step = training_step(given, self.adam, self.stepping)
        self.batch, self.take_step = batch, TinyJit(step)
        self.progress, self.warned = progress, False
        hidden = not (progress and (sys.stderr.isatty() or "ipykernel" in sys.modules))
        self.bar: tqdm[None] = tqdm(total=self.total, unit="step", disable=hidden)

    def __iter__(self) -> Iterator[Step]:
        """The steps of Adam that are left."""
        self.start_clock()
        for number in range(self.done + 1, self.steps + 1):
            if number - 1 in self.moves:
                self.move_grids(*self.points(number - 1))
            for kept, drawn in zip(self.batch, self.batch and self.points(number - 1), strict=True):
                if kept.shape != drawn.shape:
                    raise UserError(f"batches of shapes {kept.shape} and {drawn.shape} differ")
                kept.assign(drawn).realize()
            report = self.take_step()
            try:
                step = self.finished(number, lambda: report.numpy().tolist())  # noqa: B023
            except DivergenceError as error:
                if self.halvings == 0:
                    raise
                self.halvings -= 1
                self.adam.slow_down(0.5)
                warn(f"{error}; continuing from there with half the rate")
                continue
            with self.clock_stopped(step):
                yield step

    def refine(self, stop: Callable[[Step], bool | None] = lambda step: None) -> None:
        """The iterations of L-BFGS, which SciPy runs: `stop(step)` is called after each, and ends
        them by returning True."""
        if self.lbfgs:
            from tinykan.fitting.full_batch import full_batch  # a wing, and an extra

            full_batch(self, stop)
        self.bar.update(close=True)

    def state(self) -> State:
        """The state after the last step of Adam, without the weights."""
        record: dict[str, Any] = {"step": self.done, "halvings": self.halvings}
        record |= {"history": asdict(self.history), "guard": self.guard.record()}
        kept = {name: tensor.numpy() for name, tensor in self.kept.items()}
        return self.adam.state() | self.guard.arrays() | kept, record

    def points(self, step: int) -> list[Tensor]:
        """The inputs and targets of a step, outside the compiled one."""
        return _drawn(self.sample, Tensor([step], dtype=dtypes.int32).realize())

    def start_clock(self) -> None:
        self._first, self._compiling, self._start = self.done, 0.0, time.perf_counter()
        self._earlier = self.history.compile_seconds, self.history.train_seconds

    @contextlib.contextmanager
    def clock_stopped(self, step: Step) -> Iterator[None]:
        """Around what the caller does with a step, if that is logged; else the device computes."""
        paused = time.perf_counter()
        yield
        if step.loss is not None:
            self._start += time.perf_counter() - paused

    def finished(self, number: int, report: Callable[[], list[float]]) -> Step:
        """Records a step, with its `report` if it is logged. Raises DivergenceError if the guard
        does."""
        self.done, history = number, self.history
        if number <= self._first + 2:
            Device[Device.DEFAULT].synchronize()
            self._compiling = time.perf_counter() - self._start
            history.compile_seconds = self._earlier[0] + self._compiling
            history.first_step_seconds = history.first_step_seconds or self._compiling
        if number not in (1, self.steps, self.total) and number % self.log_every:
            return Step(number)
        loss, *history.outside = report()
        trained = time.perf_counter() - self._start - self._compiling
        history.train_seconds = self._earlier[1] + trained
        self.guard.check(number, loss)
        history.steps.append(number)
        history.losses.append(loss)
        history.seconds.append(history.compile_seconds + history.train_seconds)
        self._show(number, loss)
        return Step(number, loss)

    def _show(self, number: int, loss: float) -> None:
        self.bar.set_description(f"loss {loss:.6f}")
        self.bar.update(number - self.bar.n)
        if not self.warned and any(self.history.outside):
            from tinykan.fitting.moving_grids import warn_of_inputs_outside

            self.warned = warn_of_inputs_outside(self.history.outside, bool(self.grid_updates))


def targets_for(prediction: Tensor, y: Tensor) -> Tensor:
    """Targets `[n, out]`, or class labels `[n]` if they are integers and there are several outputs.
    Raises UserError for other shapes than the prediction's."""
    if y.ndim == 1 and prediction.shape == (*y.shape, 1):
        y = y.unsqueeze(-1)
    if y.shape == prediction.shape:
        return y.cast(prediction.dtype)
    if y.shape == prediction.shape[:-1] and dtypes.is_int(y.dtype):
        return y
    raise UserError(f"targets of shape {y.shape} for predictions of shape {prediction.shape}")


def _depends_on_step_alone(sample: Sampler) -> bool:
    """Whether each call of `sample` is the same computation, from the step and fixed memory, which
    can be compiled. Others would repeat the numbers that they drew, with NumPy for example."""
    step, before = Tensor([0], dtype=dtypes.int32).contiguous(), GlobalCounters.kernel_count
    calls = zip(sample(step), sample(step), strict=True)
    return all(a.uop is b.uop for a, b in calls) and GlobalCounters.kernel_count == before


def _drawn(sample: Sampler, step: Tensor) -> list[Tensor]:
    # Unsplit, tinygrad turns indexing by a computed index into a plain load.
    with Context(SPLIT_REDUCEOP=0):
        drawn = [t.contiguous() for t in sample(step)]
        Tensor.realize(*drawn)
    return drawn

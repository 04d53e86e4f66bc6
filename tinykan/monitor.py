"""What looks on while a model is trained: the history, the clock, the line of progress, and the
guard, which stops a run that has lost its way."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from tinygrad import Device
from tinygrad.nn.state import get_parameters

from tinykan.errors import UserError
from tinykan.networks import Network
from tinykan.optim import overwrite

EXPLODED = 1e3  # times the first loss: no run that gets there comes back
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
    arrays: dict[str, np.ndarray]  # of the optimizer, and the weights last known to be good
    record: dict[str, Any]  # the history and the rest, as JSON


class Monitor:
    """All of it, for one call of `fit`."""

    def __init__(
        self,
        model: Network,
        total: int,
        log_every: int,
        on_log: Callable[[int, History], None] | None,
        progress: bool,
    ) -> None:
        self.total, self.log_every, self.on_log = total, log_every, on_log
        self.history, self.guard = History(), Guard(model)
        self.bar = Progress(total, progress)

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


class Guard:
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


class Progress:
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
            self.warn(
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

    def note(self, line: str) -> None:
        if self.enabled:
            self._print(line)

    def warn(self, line: str) -> None:
        """Whether progress is shown or not."""
        self._print(f"warning: {line}")

    def _print(self, line: str) -> None:
        self.close()
        print(line, file=sys.stderr)

    def close(self) -> None:
        if self.drawn:
            print(file=sys.stderr)
            self.drawn = False

"""Full-batch L-BFGS, by SciPy, on a compiled loss and gradient (the `lbfgs` extra)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from tinygrad import Tensor, TinyJit, dtypes
from tinygrad.nn.state import get_state_dict

from tinykan import device
from tinykan.errors import UserError
from tinykan.fitting.preconditioner import Coordinates
from tinykan.networks import Network
from tinykan.tensors import learnable

try:
    from scipy.optimize import OptimizeResult, minimize
except ImportError:
    raise UserError("L-BFGS needs SciPy; install it with: pip install 'tinykan[lbfgs]'") from None

MEMORY = 20  # pairs of steps and gradients from which the curvature is estimated
LINE_SEARCH = 50  # evaluations in one iteration at most
ROUNDING = 1e-12  # a loss that is lower by this part of it is not lower
CALLBACK = 99  # the status of a search that its callback ended


class LBFGS:
    """Minimizes the first of what `objective(x, y)` returns, a function of the learnable tensors of
    `model`, for its inputs `x` `[n, in]` and targets `y`; the second are numbers to report. All is
    done in the model's type."""

    def __init__(
        self,
        model: Network,
        objective: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
        x: Tensor,
        y: Tensor,
    ) -> None:
        self.model, self.inputs = model, x
        self.weights = learnable(model)
        sizes = [int(weight.numel()) for weight in self.weights]
        self._ends = np.cumsum(sizes).tolist()
        self._starts = [end - size for end, size in zip(self._ends, sizes, strict=True)]

        def evaluate(flat: Tensor) -> Tensor:
            Tensor.realize(*self._assigned(flat))
            value, report = objective(x, y)
            gradients = [g.flatten() for g in value.gradient(*self.weights)]
            numbers = [value.detach().reshape(1), report.flatten(), *gradients]
            return Tensor.cat(*(n.cast(value.dtype) for n in numbers)).realize()

        self._evaluate = TinyJit(evaluate)

    def report(self) -> list[float]:
        """At the weights of this moment."""
        return self._at(self._flat())[1 : -self._ends[-1]].tolist()

    def run(self, iterations: int, after: Callable[[int, list[float]], bool]) -> int:
        """At most `iterations`, after each of which `after(its number, the report)` is called,
        which ends them by returning True. They end, too, when no line search finds a lower loss: as
        low as rounding lets it be. Returns their number; the model then has the best weights."""
        reports: dict[bytes, list[float]] = {}
        done, latest = 0, 0.0

        def value(at: np.ndarray) -> tuple[float, np.ndarray]:
            nonlocal latest
            numbers = self._at(coordinates.weights(at))
            report, gradient = numbers[1 : -len(at)], coordinates.gradient(numbers[-len(at) :])
            if not np.isfinite(numbers).all():
                # Clearly worse, and no more: a huge number would send the search all the way back.
                return 2 * abs(latest) + 1, np.zeros_like(gradient)
            latest = float(numbers[0])
            reports[at.tobytes()] = report.tolist()
            return latest, gradient

        def ended(intermediate_result: OptimizeResult) -> None:
            nonlocal done
            done += 1
            report = reports[intermediate_result.x.tobytes()]
            reports.clear()
            if after(done, report) or done == iterations:
                raise StopIteration

        # One search that fails may be due to what was remembered: the next begins without memory.
        failures, lowest = 0, np.inf
        while done < iterations and failures < 2:
            coordinates = Coordinates(self.model, self.inputs)
            found = minimize(
                value,
                coordinates.of(self._flat()),
                jac=True,
                method="L-BFGS-B",
                callback=ended,
                options={
                    "maxiter": iterations - done,
                    "maxfun": LINE_SEARCH * (iterations + 1),
                    "maxcor": MEMORY,
                    "maxls": LINE_SEARCH,
                    "ftol": 0.0,
                    "gtol": 0.0,
                },
            )
            Tensor.realize(*self._assigned(self._tensor(coordinates.weights(found.x))))
            failures = 0 if found.fun < lowest - ROUNDING * abs(found.fun) else failures + 1
            lowest = min(lowest, found.fun)
            if found.status == CALLBACK:
                break
        return done

    def _flat(self) -> np.ndarray:
        return np.concatenate([w.numpy().astype(np.float64).ravel() for w in self.weights])

    def _at(self, flat: np.ndarray) -> np.ndarray:
        """The loss, the report and the gradient."""
        return self._evaluate(self._tensor(flat)).numpy().astype(np.float64)

    def _tensor(self, flat: np.ndarray) -> Tensor:
        return Tensor(flat, dtype=self.weights[0].dtype).realize()

    def _assigned(self, flat: Tensor) -> list[Tensor]:
        """The weights with the numbers of `flat`, not yet realized."""
        parts = zip(self.weights, self._starts, self._ends, strict=True)
        return [weight.assign(flat[a:b].reshape(weight.shape)) for weight, a, b in parts]


@contextmanager
def float64(model: Network) -> Iterator[None]:
    """Within it, `model` is in float64 where its device has that; then in its own type again. A
    line search compares losses that differ in their last places."""
    if not device.has_float64():
        yield
        return
    tensors = [t for t in get_state_dict(model).values() if dtypes.is_float(t.dtype)]
    types = [tensor.dtype for tensor in tensors]
    for tensor in tensors:
        tensor.replace(tensor.cast(dtypes.float64).contiguous().realize())
    try:
        yield
    finally:
        for tensor, dtype in zip(tensors, types, strict=True):
            tensor.replace(tensor.cast(dtype).contiguous().realize())

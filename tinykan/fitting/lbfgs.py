"""Full-batch L-BFGS by SciPy, on a compiled loss and gradient (the `lbfgs` extra)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from tinygrad import Device, Tensor, TinyJit, dtypes
from tinygrad.dtype import DType
from tinygrad.nn.state import get_state_dict

from tinykan.errors import need
from tinykan.fitting import broyden
from tinykan.fitting.preconditioner import GaussNewtonPreconditioner
from tinykan.networks import Network
from tinykan.tensors import learnable

optimize = need("scipy.optimize", extra="lbfgs", purpose="L-BFGS")

MEMORY = 20  # pairs of steps and gradients from which the curvature is estimated
LINE_SEARCH = 50  # evaluations in one iteration at most
ROUNDING = 1e-12  # a relative decrease of the loss below this is none
CALLBACK = 99  # SciPy's status of a minimization that its callback ended


def _lbfgs(
    value: Callable[[np.ndarray], tuple[float, np.ndarray]],
    start: np.ndarray,
    callback: Callable[[Any], None],
    evaluations: int,
) -> Any:
    """As tinykan.fitting.broyden.minimize, by SciPy's L-BFGS."""
    limits = {
        "maxiter": np.iinfo(np.int32).max,
        "maxfun": np.iinfo(np.int32).max,
        "ftol": 0.0,
        "gtol": 0.0,
    }
    found = optimize.minimize(
        value,
        start,
        jac=True,
        method="L-BFGS-B",
        callback=callback,
        options={**limits, "maxcor": MEMORY, "maxls": evaluations},
    )
    found.success = found.status == CALLBACK
    return found


class LBFGS:
    """Minimizes `objective(x, y)` over the parameters of `model`, for its inputs `x` `[n, in]` and
    targets `y`, in the model's type. The objective returns the value to minimize, and values to
    report. The preconditioner is that of a mean squared error of the outputs: without
    `precondition`, as for the residual of an equation or with a penalty that asks for sparsity, the
    parameters are left as they are. With `whole` a network of few enough parameters (`LARGEST` of
    tinykan.fitting.broyden) is trained by Broyden's method with the whole matrix instead."""

    def __init__(
        self,
        model: Network,
        objective: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
        x: Tensor,
        y: Tensor,
        *,
        precondition: bool = True,
        whole: bool = False,
    ) -> None:
        self.model, self.inputs = model, x if precondition else None
        self.weights = learnable(model)
        sizes = [int(weight.numel()) for weight in self.weights]
        self._minimize = broyden.minimize if whole and sum(sizes) <= broyden.LARGEST else _lbfgs
        self._ends = np.cumsum(sizes).tolist()
        self._starts = [end - size for end, size in zip(self._ends, sizes, strict=True)]

        def evaluate(flat: Tensor) -> list[Tensor]:
            Tensor.realize(*self._assigned(flat))
            value, report = objective(x, y)
            results = [value.detach(), report, *value.gradient(*self.weights)]
            # Not in one tensor: to concatenate takes a long time to compile.
            results = [result.contiguous() for result in results]
            Tensor.realize(*results)
            return results

        self._evaluate = TinyJit(evaluate)

    def report(self) -> list[float]:
        """The objective's report at the current weights."""
        return self._evaluated(self._flat())[1].tolist()

    def run(self, iterations: int, after: Callable[[list[float]], bool]) -> int:
        """At most `iterations`, after each of which `after(report)` is called; it ends them
        by returning True. They also end when no line search finds a lower loss, which is then as
        low as rounding permits. Returns the number of iterations; the model has the best weights.
        """
        reports: dict[bytes, list[float]] = {}
        done, latest = 0, 0.0

        def value(z: np.ndarray) -> tuple[float, np.ndarray]:
            nonlocal latest
            found = self._evaluated(preconditioner.to_weights(z))
            if not all(np.isfinite(values).all() for values in found):
                # Only somewhat worse: a huge value would shorten the step of the search to nothing.
                return 2 * abs(latest) + 1, np.zeros_like(z)
            latest = float(found[0])
            reports[z.tobytes()] = found[1].tolist()
            return latest, preconditioner.gradient(found[2])

        def iterated(intermediate_result: Any) -> None:  # SciPy looks for this name
            nonlocal done
            done += 1
            report = reports[intermediate_result.x.tobytes()]
            reports.clear()
            if after(report) or done == iterations:
                raise StopIteration

        # The estimated curvature may make a line search fail: it is tried once more without.
        failures, lowest = 0, np.inf
        while done < iterations and failures < 2:
            preconditioner = GaussNewtonPreconditioner(self.model, self.inputs)
            start = preconditioner.from_weights(self._flat())
            found = self._minimize(value, start, iterated, LINE_SEARCH)
            Tensor.realize(*self._assigned(self._tensor(preconditioner.to_weights(found.x))))
            failures = 0 if found.fun < lowest - ROUNDING * abs(found.fun) else failures + 1
            lowest = min(lowest, found.fun)
            if found.success:  # the callback ended it
                break
        return done

    def _flat(self) -> np.ndarray:
        return np.concatenate([w.numpy().astype(np.float64).ravel() for w in self.weights])

    def _evaluated(self, flat: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The loss, the report and the gradient."""
        results = self._evaluate(self._tensor(flat))
        value, report, *gradients = (result.numpy().astype(np.float64) for result in results)
        return value, report, np.concatenate([gradient.ravel() for gradient in gradients])

    def _tensor(self, flat: np.ndarray) -> Tensor:
        return Tensor(flat, dtype=self.weights[0].dtype).realize()

    def _assigned(self, flat: Tensor) -> list[Tensor]:
        """The weights, assigned the values of `flat` but not yet realized."""
        parts = zip(self.weights, self._starts, self._ends, strict=True)
        return [weight.assign(flat[a:b].reshape(weight.shape)) for weight, a, b in parts]


def has_float64() -> bool:
    """Whether the device in use computes in float64."""
    return Device.DEFAULT.split(":")[0] not in ("METAL", "WEBGPU", "QCOM")


@contextmanager
def float64(model: Network) -> Iterator[None]:
    """A context in which `model` is in float64, if its device supports that; it then returns to its
    own type. A line search compares losses that differ in their last digits."""
    if not has_float64():
        yield
        return
    tensors = [t for t in get_state_dict(model).values() if dtypes.is_float(t.dtype)]
    types = [tensor.dtype for tensor in tensors]

    def convert(tensor: Tensor, dtype: DType) -> None:  # by NumPy, which compiles nothing
        tensor.replace(Tensor(tensor.numpy(), dtype=dtype, device=tensor.device).realize())

    for tensor in tensors:
        convert(tensor, dtypes.float64)
    try:
        yield
    finally:
        for tensor, dtype in zip(tensors, types, strict=True):
            convert(tensor, dtype)

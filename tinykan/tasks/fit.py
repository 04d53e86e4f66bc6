"""`fit`: a whole training in one call, with validation, early stopping, metrics and callbacks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tinygrad import Tensor
from tinygrad.nn.state import get_parameters

from tinykan.errors import UserError, check_integer, lookup, other_names
from tinykan.networks import Network
from tinykan.tasks.arrays import as_rows, as_targets, check_as_many
from tinykan.tasks.prediction import Predictor
from tinykan.tasks.sampling import as_tensor
from tinykan.tasks.scores import METRICS
from tinykan.tensors import overwrite
from tinykan.training import (
    History,
    Loss,
    Penalty,
    Sampler,
    Step,
    Training,
    mean_squared_error,
    targets_for,
)

Callback = Callable[[Step], bool | None]
CHUNK = 4096  # rows of validation data that are computed at a time, at most


@other_names(lr="learning_rate=", opt="steps= (Adam), lbfgs=", lamb="penalty=Regularization(...)")
def fit(
    model: Network, sample: Sampler, *, steps: int = 1000, learning_rate: float = 1e-2,
    schedule: str | Callable[[np.ndarray], np.ndarray] = "cosine", warmup: int = 0,
    weight_decay: float = 0.0, clip: float | None = None, lbfgs: int = 0,
    grid_updates: int | None = None, loss: Loss = mean_squared_error,
    penalty: Penalty | None = None, halvings: int = 0, validation: tuple[Any, Any] | None = None,
    metrics: Sequence[str] = (), patience: int | None = None, stop_at: float | None = None,
    callbacks: Sequence[Callback] = (), log_every: int | None = None, progress: bool = True,
) -> History:  # fmt: skip
    """Trains `model` in place; returns the history. `Training` explains the arguments that are not
    named here, and the errors.

    `validation` is inputs and targets (arrays of any kind) that the network is not trained on: at
    every logged step their loss, and those of METRICS that `metrics` names, are recorded in the
    history. With `patience`, training ends after that many logged steps in turn without a lower
    validation loss, and the weights of the lowest one are restored, also if it ends by itself.

    `stop_at` ends the training at a logged loss that is as low: the validation's, where there is
    one. Each of `callbacks` is called with every step, whose `loss` is None unless it is logged,
    and ends the training by returning True. What ended it early is `history.ended_by`.

    >>> from tinykan import KAN, batches
    >>> x = np.linspace(-1, 1, 60)
    >>> fit(KAN([1, 1]), batches(x, x**2), steps=2, progress=False).steps
    [1, 2]
    """
    watched = None
    if validation is None and (patience is not None or metrics):
        raise UserError("patience and metrics need validation=(inputs, targets)")
    if validation is not None:
        watched = Validation(model, *validation, loss=loss, metrics=metrics, patience=patience)
    if stop_at is not None and not 0 < stop_at < math.inf:
        raise UserError(f"stop_at {stop_at!r} must be a positive number, a loss")
    training = Training(
        model, sample, steps=steps, learning_rate=learning_rate, schedule=schedule, warmup=warmup,
        weight_decay=weight_decay, clip=clip, lbfgs=lbfgs, grid_updates=grid_updates, loss=loss,
        penalty=penalty, halvings=halvings, log_every=log_every, progress=progress,
    )  # fmt: skip
    history = training.history

    def ends(step: Step) -> bool:
        lowest = step.loss
        if watched and step.loss is not None:
            lowest = watched(step)
            history.validation.append(lowest)
            for name, value in watched.scores.items():
                history.metrics.setdefault(name, []).append(value)
        if lowest is not None and stop_at is not None and lowest <= stop_at:
            history.ended_by = f"stop_at={stop_at:g} at step {step.number}"
        elif watched and watched.exhausted:
            history.ended_by = f"patience={patience} at step {step.number}"
        for callback in callbacks:  # all of them, whatever the others return
            if callback(step):
                history.ended_by = history.ended_by or f"a callback at step {step.number}"
        return bool(history.ended_by)

    for step in training:
        if ends(step):
            break
    else:
        training.refine(ends)
    training.bar.update(close=True)
    if watched and patience is not None:
        watched.restore()
    return history


class Validation:
    """Scores of `model` on data that it is not trained on, and its best weights.

    Call it with a step: it returns the `loss` there; `scores` are the `metrics`. `exhausted` tells
    whether the loss has not fallen for `patience` calls; `restore` puts the weights (and knots) of
    the lowest loss, in `best_step`, back into the model. Raises UserError for other shapes than the
    model's, unknown metrics, and metrics that the targets do not have.
    """

    def __init__(
        self,
        model: Network,
        inputs: Any,
        targets: Any,
        *,
        loss: Loss = mean_squared_error,
        metrics: Sequence[str] = (),
        patience: int | None = None,
    ) -> None:
        if patience is not None:
            check_integer("patience", patience, 1)
        if isinstance(metrics, str):
            raise UserError(
                f"metrics {metrics!r}: a list of names is needed, such as [{metrics!r}]"
            )
        self.x = as_rows(inputs, model.in_features, name="validation inputs")
        self.y = as_targets(targets, name="validation targets")
        check_as_many(self.x, self.y)
        self.model, self.loss, self.patience = model, loss, patience
        self.metrics = {name: lookup("metric", name, METRICS) for name in metrics}
        self.predict = Predictor(model, chunk=min(len(self.x), CHUNK))
        self.scores: dict[str, float] = {}
        self.best_loss, self.best_step, self._since = math.inf, 0, 0
        self._weights = get_parameters(model)
        self._best = self._copy()
        self()

    def __call__(self, step: Step | None = None) -> float:
        predicted = self.predict(self.x)
        output = Tensor(predicted)
        value = float(self.loss(output, targets_for(output, as_tensor(self.y, "targets"))).item())
        self.scores = {name: score(predicted, self.y) for name, score in self.metrics.items()}
        if step is None:
            return value
        self._since += 1
        if value < self.best_loss:
            self.best_loss, self.best_step, self._since = value, step.number, 0
            self._best = self._copy() if self.patience is not None else []
        return value

    @property
    def exhausted(self) -> bool:
        return self.patience is not None and self._since >= self.patience

    def restore(self) -> None:
        for tensor, values in zip(self._weights, self._best, strict=True):
            overwrite(tensor, values)

    def _copy(self) -> list[np.ndarray]:
        return [tensor.numpy().copy() for tensor in self._weights]

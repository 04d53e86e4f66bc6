"""`fit`: a whole training in one call, with validation, early stopping, metrics and callbacks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tinygrad import Tensor
from tinygrad.nn.state import get_parameters

from tinykan.errors import UserError, check_integer, lookup, other_names
from tinykan.layers import Layer
from tinykan.networks import Network
from tinykan.tasks.arrays import as_rows, as_targets, check_as_many
from tinykan.tasks.prediction import Compiled, Predictor
from tinykan.tasks.sampling import as_tensor
from tinykan.tasks.scores import METRICS
from tinykan.tensors import overwrite
from tinykan.training import (
    Factory,
    History,
    Loss,
    Penalty,
    Sampler,
    Step,
    Training,
    mean_squared_error,
    sees_model,
    targets_for,
)

Callback = Callable[[Step], bool | None]
CHUNK = 4096  # rows of validation data that are computed at a time, at most


@other_names(lr="learning_rate=", opt="optimizer= or lbfgs=", lamb="penalty=Regularization(...)")
def fit(
    model: Network, sample: Sampler, *, steps: int = 1000, learning_rate: float | None = None,
    schedule: str | Callable[[np.ndarray], np.ndarray] = "cosine", warmup: int = 0,
    weight_decay: float = 0.0, clip: float | None = None, optimizer: Factory | None = None,
    lbfgs: int = 0, grid_updates: int | None = None, grid_eps: float = 1.0,
    loss: Loss = mean_squared_error, penalty: Penalty | None = None, halvings: int = 0,
    validation: tuple[Any, Any] | None = None,
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
    if validation is None and (patience is not None or metrics):
        raise UserError("patience and metrics need validation=(inputs, targets)")
    best = None if patience is None else BestWeights(model, patience)
    watched = validation and Validation(model, *validation, loss=loss, metrics=metrics)
    if stop_at is not None and not 0 < stop_at < math.inf:
        raise UserError(f"stop_at {stop_at!r} must be a positive number, a loss")
    training = Training(
        model, sample, steps=steps, learning_rate=learning_rate, schedule=schedule, warmup=warmup,
        weight_decay=weight_decay, clip=clip, optimizer=optimizer, lbfgs=lbfgs,
        grid_updates=grid_updates, grid_eps=grid_eps, loss=loss, penalty=penalty,
        halvings=halvings, log_every=log_every, progress=progress,
    )  # fmt: skip
    history = training.history

    def ends(step: Step) -> bool:
        reached = step.loss
        if watched and step.loss is not None:
            reached = watched()
            history.validation.append(reached)
            for name, value in watched.scores.items():
                history.metrics.setdefault(name, []).append(value)
            if best:
                best.add(reached)
        if reached is not None and stop_at is not None and reached <= stop_at:
            history.ended_by = f"stop_at={stop_at:g} at step {step.number}"
        elif best and best.exhausted:
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
    if best:
        best.restore()
    return history


class BestWeights:
    """The weights (and knots) of `model` at the lowest of the losses added so far: those it has now
    until one is added. `exhausted` tells whether the last `patience` losses were no lower."""

    def __init__(self, model: Network, patience: int) -> None:
        check_integer("patience", patience, 1)
        self.model, self.patience, self.lowest, self._since = model, patience, math.inf, 0
        self._best = self._copy()

    def add(self, loss: float) -> None:
        """Takes the present weights for the best ones, if `loss` is the lowest."""
        self._since += 1
        if loss < self.lowest:
            self.lowest, self._since, self._best = loss, 0, self._copy()

    @property
    def exhausted(self) -> bool:
        return self._since >= self.patience

    def restore(self) -> None:
        # Layers whose grids have moved since have other knots, which are other tensors.
        for layer, attributes, tensors in self._best:
            vars(layer).update(attributes)
            for tensor, values in tensors:
                overwrite(tensor, values)

    def _copy(self) -> list[tuple[Layer, dict[str, Any], list[tuple[Tensor, np.ndarray]]]]:
        def values(layer: Layer) -> list[tuple[Tensor, np.ndarray]]:
            return [(tensor, tensor.numpy().copy()) for tensor in get_parameters(layer)]

        return [(layer, dict(vars(layer)), values(layer)) for layer in self.model.layers]


class Validation:
    """The loss of `model` on data that it is not trained on, and other scores.

    A call returns the loss of the present weights; `scores` are then their `metrics`. Raises
    UserError for other shapes than the model's, unknown metrics, and metrics that the targets do
    not have.
    """

    def __init__(
        self,
        model: Network,
        inputs: Any,
        targets: Any,
        *,
        loss: Loss = mean_squared_error,
        metrics: Sequence[str] = (),
    ) -> None:
        if isinstance(metrics, str):
            raise UserError(
                f"metrics {metrics!r}: a list of names is needed, such as [{metrics!r}]"
            )
        self.x = as_rows(inputs, model.in_features, name="validation inputs")
        self.y = as_targets(targets, name="validation targets")
        check_as_many(self.x, self.y)
        self.loss = loss
        self.of_model: Compiled | None = None
        if sees_model(loss):
            self.of_model = Compiled(model, lambda x, y: loss(model, x, y))
        self.metrics = {name: lookup("metric", name, METRICS) for name in metrics}
        self.predict = Predictor(model, chunk=min(len(self.x), CHUNK))
        self.scores: dict[str, float] = {}
        self()

    def __call__(self) -> float:
        if self.metrics or not self.of_model:
            predicted = self.predict(self.x)
            self.scores = {name: score(predicted, self.y) for name, score in self.metrics.items()}
        if self.of_model:
            return float(self.of_model(self.x, self.y))
        output, targets = Tensor(predicted), as_tensor(self.y, "targets")
        return float(self.loss(output, targets_for(output, targets)).item())

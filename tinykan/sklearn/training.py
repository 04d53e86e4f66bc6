"""The training of estimators: weighted batches, weight decay and early stopping."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from tinygrad import Tensor, dtypes

from tinykan.networks import Network
from tinykan.tasks.fit import BestWeights
from tinykan.tasks.prediction import Predictor
from tinykan.tensors import learnable
from tinykan.training import History, Loss, Penalty, Sampler, Training

EVALUATIONS = 50  # of the held-out rows in a training
HALVINGS = 5  # of the learning rate, before a training that diverges is given up
CHUNK = 1024  # rows of a prediction: tables are small


@dataclass
class HeldOut:
    """Rows that are not trained on, standardized, with the `loss` of each `[n]` for the outputs and
    targets: training stops after `patience` evaluations without a lower mean, and the weights with
    the lowest are kept."""

    x: np.ndarray
    y: np.ndarray
    weights: np.ndarray
    loss: Callable[[np.ndarray, np.ndarray], np.ndarray]
    patience: int
    losses: list[float] = field(default_factory=list)

    def evaluate(self, predict: Predictor) -> float:
        """The mean loss, which it records."""
        losses = self.loss(predict(self.x), self.y)
        self.losses.append(float(np.average(losses, weights=self.weights)))
        return self.losses[-1]


def train(
    model: Network,
    sample: Sampler,
    *,
    steps: int,
    learning_rate: float,
    loss: Loss,
    penalty: Penalty,
    held_out: HeldOut | None,
    progress: bool,
) -> tuple[History, int]:
    """Trains `model` in place, until `held_out`, if given, has no lower loss; returns the history
    and the number of steps."""
    training = Training(
        model, sample, steps=steps, learning_rate=learning_rate, loss=loss, penalty=penalty,
        halvings=HALVINGS, log_every=max(1, steps // EVALUATIONS), progress=progress,
    )  # fmt: skip
    training.warned = True  # grids that move, which it would advise, are no matter of estimators
    predict = Predictor(model, CHUNK)
    best = BestWeights(model, held_out.patience) if held_out else None
    for step in training:
        if held_out is None or best is None or step.loss is None:
            continue
        best.add(held_out.evaluate(predict))
        if best.exhausted:
            break
    training.refine()  # which only closes the bar, as there is no L-BFGS
    if best:
        best.restore()
    return training.history, training.done


def weight_decay(model: Network, strength: float) -> Penalty:
    """`strength` / 2 times the sum of the squares of all parameters but biases."""
    weights = [weight for weight in learnable(model) if weight.ndim > 1]
    zero = Tensor.zeros(1).to(weights[0].device).sum()
    return lambda values: sum((w.square().sum() for w in weights), zero) * (strength / 2)


def weighted_batches(
    x: np.ndarray, y: np.ndarray, weights: np.ndarray, *, batch: int, steps: int, seed: int
) -> Sampler:
    """A sampler of `steps` batches in which rows of `x` `[n, in]` and `y` `[n, out]` or `[n]`
    (class labels) occur in proportion to their `weights` `[n]`, as many times as that says, but for
    rounding. Integer weights draw the rows that repeated rows would.

    A batch has one row from each of `batch` parts of equal weight. In rows that are sorted by their
    targets these are hence as evenly distributed in each batch as in all.
    """
    parts = np.arange(batch) + np.random.default_rng(seed).random((steps, batch))
    ends = np.cumsum(weights)
    rows = np.searchsorted(ends, parts * (ends[-1] / batch), side="right").clip(0, len(x) - 1)
    # Padded, so that tables of similar lengths, as in cross-validation, share compiled kernels.
    padding = (1 << (len(x) - 1).bit_length()) - len(x)
    inputs, targets = (
        np.concatenate([values, np.zeros((padding, *values.shape[1:]), values.dtype)])
        for values in (x, y)
    )
    number = dtypes.int32 if y.dtype.kind == "i" else dtypes.default_float
    drawn = Tensor(rows.astype(np.int32)).realize()
    every = Tensor(inputs, dtype=dtypes.default_float).realize()
    all_targets = Tensor(targets, dtype=number).realize()

    def sample(step: Tensor) -> tuple[Tensor, Tensor]:
        row = drawn[step].flatten().contiguous()
        return every[row], all_targets[row]

    return sample

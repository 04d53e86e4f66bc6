"""The training of estimators: weighted batches, weight decay and early stopping; and a compiled
step that serves them again, as in cross-validation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from tinygrad import Device, Tensor, dtypes
from tinygrad.helpers import DEV, tqdm
from tinygrad.nn.state import get_parameters, get_state_dict

from tinykan.networks import Network
from tinykan.tasks.fit import BestWeights
from tinykan.tasks.prediction import Predictor
from tinykan.tensors import learnable, like, overwrite
from tinykan.training import History, Loss, Penalty, Training

EVALUATIONS = 50  # of the held-out rows in a training
HALVINGS = 5  # of the learning rate, before a training that diverges is given up
CHUNK = 1024  # rows of a prediction: tables are small
KEPT = 8  # trainings whose compiled steps are kept,
LARGEST = 2**22  # if their tables have no more numbers than that


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


@dataclass
class Options:
    """In what the trainings of estimators differ: the `steps` of Adam, the highest `learning_rate`,
    the `loss`, and whether a bar shows the `progress`."""

    steps: int
    learning_rate: float
    loss: Loss
    progress: bool


class WeightedBatches:
    """A sampler of `steps` batches in which rows of `x` `[n, in]` and `y` `[n, out]` or `[n]`
    (class labels) occur in proportion to their `weights` `[n]`, as many times as that says, but for
    rounding. Integer weights draw the rows that repeated rows would.

    A batch has one row from each of `batch` parts of equal weight. In rows that are sorted by their
    targets these are hence as evenly distributed in each batch as in all.
    """

    def __init__(
        self,
        x: np.ndarray,
        y: np.ndarray,
        weights: np.ndarray,
        *,
        batch: int,
        steps: int,
        seed: int,
    ) -> None:
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
        self.rows = Tensor(rows.astype(np.int32)).realize()
        self.inputs = Tensor(inputs, dtype=dtypes.default_float).realize()
        self.targets = Tensor(targets, dtype=number).realize()
        # By which a training tells that it diverges, of the first batch as in tinykan.training.
        self.variance = float(y[rows[0]].var(axis=0).max())

    def __call__(self, step: Tensor) -> tuple[Tensor, Tensor]:
        row = self.rows[step].flatten().contiguous()
        return self.inputs[row], self.targets[row]

    @property
    def tensors(self) -> list[Tensor]:
        return [self.rows, self.inputs, self.targets]


def train(
    make: Callable[[], Network],
    sample: WeightedBatches,
    options: Options,
    *,
    decay: float,
    held_out: HeldOut | None,
) -> tuple[Network, History, int]:
    """Trains the network that `make` returns, until `held_out`, if given, has no lower loss: gives
    it, the history and the number of steps. `decay` / 2 times the sum of the squares of all
    parameters but biases is added to the loss."""
    model = make()
    tensors = [*get_state_dict(model).items(), *enumerate(sample.tensors)]
    shapes = [(name, tensor.shape, tensor.dtype) for name, tensor in tensors]
    key = repr((model, shapes, options, Device.DEFAULT, DEV.value, dtypes.default_float))
    # Out of the table while it is in use: what an error interrupts is not used again.
    repeatable = _kept.pop(key, None) or Repeatable(make(), sample, options)
    history, steps = repeatable.run(model, sample, decay, held_out)
    if sum(int(tensor.numel()) for tensor in sample.tensors) <= LARGEST:
        _kept[key] = repeatable
    for oldest in list(_kept)[:-KEPT]:
        _kept.pop(oldest, None)
    return model, history, steps


class Repeatable:
    """A training that can be done again: other networks of the same shapes, on other tables, take
    the place of `model` and `sample` in their memory, to which the compiled step is bound."""

    def __init__(self, model: Network, sample: WeightedBatches, options: Options) -> None:
        self.model, self.sample = model, sample
        self.decay = Tensor([0.0]).to(learnable(model)[0].device).realize()
        steps = options.steps
        self.training = Training(
            model, sample, steps=steps, learning_rate=options.learning_rate, loss=options.loss,
            penalty=weight_decay(model, self.decay), log_every=max(1, steps // EVALUATIONS),
            progress=options.progress,
        )  # fmt: skip
        self.training.warned = True  # grids that move, which it would advise, are not theirs
        self.start = self.training.adam.state()
        self.predict = Predictor(model, CHUNK)

    def run(
        self, model: Network, sample: WeightedBatches, decay: float, held_out: HeldOut | None
    ) -> tuple[History, int]:
        """Trains `model`, on `sample`; gives the history and the number of steps."""
        training, tensors = self.training, get_parameters(self.model)
        given = [*get_parameters(model), *sample.tensors]
        for tensor, values in zip([*tensors, *self.sample.tensors], given, strict=True):
            overwrite(tensor, values.numpy())
        overwrite(self.decay, np.array([decay]))
        training.adam.restore(self.start)
        training.guard.start(self.model, sample.variance)
        training.done, training.halvings, training.history = 0, HALVINGS, History()
        training.bar = tqdm(total=training.total, unit="step", disable=training.bar.disable)
        best = BestWeights(self.model, held_out.patience) if held_out else None
        for step in training:
            if held_out is None or best is None or step.loss is None:
                continue
            best.add(held_out.evaluate(self.predict))
            if best.exhausted:
                break
        training.refine()  # which only closes the bar, as there is no L-BFGS
        if best:
            best.restore()
        for tensor, trained in zip(get_parameters(model), tensors, strict=True):
            tensor.replace(like(trained, trained.numpy()))
        return training.history, training.done


_kept: dict[str, Repeatable] = {}


def weight_decay(model: Network, strength: Tensor) -> Penalty:
    """`strength` / 2 times the sum of the squares of all parameters but biases."""
    weights = [weight for weight in learnable(model) if weight.ndim > 1]
    zero = Tensor.zeros(1).to(weights[0].device).sum()
    return lambda values: sum((w.square().sum() for w in weights), zero) * (strength.sum() / 2)

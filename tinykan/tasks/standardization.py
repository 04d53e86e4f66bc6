"""Data of any scale: networks are trained on standardized numbers, and give those of the data."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from tinygrad import Tensor, dtypes

from tinykan.errors import UserError
from tinykan.layers import KANLayer, copy_between
from tinykan.networks import Encoding, Network
from tinykan.tasks.arrays import as_rows, check_as_many
from tinykan.tasks.prediction import Predictor
from tinykan.tasks.sampling import batches
from tinykan.tensors import like
from tinykan.training import Sampler

COARSE = 1e-4  # of the spread of a column: rounding above it is refused


@dataclass(frozen=True)
class Units(Encoding):
    """The inputs less `shift`, divided by `scale`, one number of each for every input."""

    shift: tuple[float, ...]
    scale: tuple[float, ...]

    @property
    def in_features(self) -> int:  # type: ignore[override]
        return len(self.shift)

    @property
    def out_features(self) -> int:
        return len(self.shift)

    def __call__(self, x: Tensor) -> Tensor:
        shift, scale = (Tensor(v, dtype=x.dtype, device=x.device) for v in (self.shift, self.scale))
        return (x - shift) / scale


class Standardized:
    """Inputs `x` `[n, in]` and targets `y` `[n, out]`, arrays of any kind (tinykan.tasks.arrays)
    and scale, as networks train on them best: inputs between -1 and 1, the grid of splines, and
    targets of mean 0 and variance 1, in each column. Columns that are constant become 0. A row
    counts as often as its entry in `weights` `[n]` says, more than 0; by default all count once.

        data = Standardized(x, y)
        history = fit(model, data.batches(), validation=data.standardized(other_x, other_y))
        data.predictor(model)(x)  # in the units of y
        save(data.in_units(model), "model.safetensors")

    Losses of that training are in units of the targets' variances `data.target_scale ** 2`. Raises
    UserError for arrays that do not fit, as `batches` does.
    """

    def __init__(self, x: Any, y: Any, weights: Any = None) -> None:
        x, y = as_rows(x), as_rows(y, name="targets")
        check_as_many(x, y)
        weights = _checked_weights(weights, len(x))
        low, high = x.min(axis=0), x.max(axis=0)
        self.input_shift, half = low / 2 + high / 2, high / 2 - low / 2
        self.target_shift = y[0] + np.average(y - y[0], axis=0, weights=weights)
        largest = np.abs(y - self.target_shift).max(axis=0)
        # Relative to the largest: squares of tiny or huge numbers are no numbers.
        relative = (y - self.target_shift) / np.where(largest > 0, largest, 1)
        spread = np.sqrt(np.average(np.square(relative), axis=0, weights=weights))
        self.input_scale = np.where(half > 0, half, 1)
        self.target_scale = np.where(largest > 0, largest * spread, 1)
        self.inputs, self.targets = self.standardized(x, y)

    def batches(self, batch: int | None = None, seed: int = 0) -> Sampler:
        """The sampler of tinykan.batches over the standardized numbers."""
        return batches(self.inputs, self.targets, batch, seed)

    def standardized(self, x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        """Other inputs and targets of the same kind, on the scale of these, for `validation`."""
        inputs = as_rows(x, len(self.input_scale))
        targets = as_rows(y, len(self.target_scale), name="targets")
        check_as_many(inputs, targets)
        return (
            (inputs - self.input_shift) / self.input_scale,
            (targets - self.target_shift) / self.target_scale,
        )

    def predictor(self, model: Network) -> PredictorInUnits:
        """A trained network as a function of arrays, from and to the units of the data."""
        return PredictorInUnits(self, Predictor(model))

    def in_units(self, model: Network) -> Network:
        """A copy of a trained network that takes and gives numbers in the units of the data, in its
        own type, for saved files. Its first part is a `Units`, its last layer is scaled. Raises
        UserError for a network with an encoding, or whose last layer is no KANLayer, and for data
        whose numbers are too close to each other for the network's type."""
        last = model.layers[-1]
        if model.encoding is not None or not isinstance(last, KANLayer):
            raise UserError("only networks without an encoding that end in a KANLayer have units")
        self._check_precision(last.coefficients)
        units = Units(tuple(map(float, self.input_shift)), tuple(map(float, self.input_scale)))
        scaled = copy.copy(last)
        for name in ("coefficients", "base_weight", "bias"):
            if (tensor := getattr(last, name)) is not None:
                setattr(scaled, name, like(tensor, tensor.numpy() * self.target_scale))
        kept = np.ones(last.in_features, bool), np.ones(last.out_features, bool)
        scaled = copy_between(scaled, *kept, self.target_shift)
        return Network([*model.layers[:-1], scaled], model.activation, units, model.norm)

    def _check_precision(self, weights: Tensor) -> None:
        """Raises UserError if the type of `weights` rounds a column to less than COARSE of it."""
        rounding = 2.0 ** -(dtypes.finfo(weights.dtype)[1] + 1)
        for kind, values, shift, scale in (
            ("inputs", self.inputs, self.input_shift, self.input_scale),
            ("targets", self.targets, self.target_shift, self.target_scale),
        ):
            varies = np.ptp(values, axis=0) > 0
            coarsest = int(np.argmax(np.where(varies, np.abs(shift) / scale, 0)))
            if not varies[coarsest]:
                continue
            center, spread = shift[coarsest], scale[coarsest]
            if rounding * abs(center) > COARSE * spread:
                where = f"the {kind} in column {coarsest} vary by {spread:.3g} around {center:.8g}"
                remedy = "use predictor(model), or subtract a constant"
                raise UserError(
                    f"{where}, too little for {8 * weights.dtype.itemsize} bits: {remedy}"
                )


class PredictorInUnits:
    """`Standardized.predictor`: computed in the units of the data, in float64."""

    def __init__(self, data: Standardized, predict: Predictor) -> None:
        self.data, self.predict, self.in_features = data, predict, predict.in_features

    def __call__(self, x: Any) -> np.ndarray:
        """`[n, in]` to `[n, out]`, as `Predictor`."""
        data = self.data
        rows = as_rows(x, self.in_features)
        fitted = self.predict((rows - data.input_shift) / data.input_scale)
        return fitted * data.target_scale + data.target_shift


def _checked_weights(weights: Any, count: int) -> np.ndarray | None:
    if weights is None:
        return None
    column = as_rows(weights, 1, name="weights")[:, 0]
    if len(column) != count or not (column > 0).all():
        least = f"the least is {column.min():.3g}"
        raise UserError(f"{len(column)} weights, of which {least}: {count} above 0 are needed")
    return column

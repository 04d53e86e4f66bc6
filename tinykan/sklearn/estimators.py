"""The estimators: regression, with any number of targets, and classification."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d, validate_data
from tinygrad import Tensor

from tinykan.errors import UserError
from tinykan.sklearn.base import KANEstimator
from tinykan.tasks.standardization import Standardized
from tinykan.training import mean_squared_error

PARAMETERS = """
    Parameters
    ----------
    hidden : the width of the hidden layer, or a list of widths; [] is an additive model. A width
        [3, 2] in that list is three sums and two products, as in tinykan.KAN.
    basis : of the functions on the edges, or a list of one for each layer; BSpline(3) by default.
        Inputs are between -1 and 1.
    parameters : a number of parameters, met within 2 %, from which the widths follow; of `hidden`,
        only the number of layers then counts.
    steps : of Adam; by default 100, or 40 passes over the data if these are more.
    batch : rows in a step.
    learning_rate : at the first step, from where it falls to 0 along half a cosine.
    alpha : strength of the weight decay: alpha / (2 * total weight of the rows) times the sum of
        the squares of the parameters is added to the loss.
    early_stopping : whether a part of the rows is held out, training stops when the loss on them
        does not fall, and the weights with the lowest are kept.
    validation_fraction : of the rows, held out for early stopping; of each class alike.
    n_iter_no_change : evaluations of the held-out rows, 50 in a full training, without a lower
        loss, after which training stops.
    random_state : of the start, the batches and the held-out rows: the default gives the same
        network for the same data each time; None another one. It has scikit-learn's name because
        ensembles, for example, set it in their members.
    device : a tinygrad device to fit on, such as CPU or CUDA; by default the one in use.
    progress : whether a bar is shown on terminals and in notebooks.

    Attributes
    ----------
    model_ : the tinykan.Network, on standardized inputs: less `input_shift_`, divided by
        `input_scale_`, and limited to the range of the training data, -1 to 1.
    history_ : the tinykan.History of the training.
    n_iter_ : steps that were taken.
    validation_losses_ : the loss on the held-out rows at each evaluation; None without them.
    n_features_in_, feature_names_in_ : as everywhere in scikit-learn.
"""


class KANRegressor(RegressorMixin, KANEstimator):
    __doc__ = f"""A Kolmogorov-Arnold network for regression, trained to a small squared error.

    Inputs and targets are standardized for the network; predictions are in the units of the data.
    Inputs outside the range of the training data count as its nearest end, and a column that was
    constant there is ignored. Neither the scale of a column nor the order of the rows makes a
    difference. A fitted estimator keeps up to 1,000 rows, for `formula`, `plot` and `prune`.
{PARAMETERS}    target_shift_, target_scale_ : of the targets, for each.

    >>> x = np.random.default_rng(0).uniform(-1, 1, (200, 2))
    >>> y = np.exp(x[:, 0]) + np.sin(3 * x[:, 1])
    >>> bool(KANRegressor(alpha=0.1).fit(x, y).score(x, y) > 0.99)
    True
    """

    _loss = staticmethod(mean_squared_error)

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> KANRegressor:
        """Fits `X` `[n, in]` to `y`, `[n]` or `[n, out]`: arrays or tables of finite numbers.

        A row of `sample_weight` `[n]`, 0 or more, counts that many times: whole numbers do what
        repeated rows do. Raises ValueError for other arrays and for parameters out of range.
        """
        x, y = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        self._columns = y.shape[1:]
        targets = y.reshape(len(y), -1).astype(np.float64)
        return self._fit(x, targets, sample_weight, targets.shape[1])

    def predict(self, X: Any) -> np.ndarray:
        """`X` `[n, in]` to targets of the shape that `fit` saw."""
        return self._values(self._outputs(X))

    def _values(self, outputs: np.ndarray) -> np.ndarray:
        y = outputs * self.target_scale_ + self.target_shift_
        return y.reshape(len(y), *self._columns)

    @staticmethod
    def _losses(outputs: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.square(outputs - y).mean(axis=1)

    def _described(self, rows: np.ndarray) -> np.ndarray:
        return self._row_targets.reshape(len(rows), *self._columns)

    def _set_units(self, data: Standardized, y: np.ndarray) -> np.ndarray:
        super()._set_units(data, y)
        self.target_shift_, self.target_scale_ = data.target_shift, data.target_scale
        return data.targets

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class KANClassifier(ClassifierMixin, KANEstimator):
    __doc__ = f"""A Kolmogorov-Arnold network for classification, trained to a small cross-entropy.

    Classes are whatever NumPy can sort: numbers, texts or booleans. Inputs are standardized for the
    network; those outside the range of the training data count as its nearest end, and a column
    that was constant there is ignored. Neither the scale of a column nor the order of the rows
    makes a difference. A fitted estimator keeps up to 1,000 rows, for `formula`, `plot` and
    `prune`.
{PARAMETERS}    classes_ : sorted; the network has an output for each.

    >>> x = np.random.default_rng(0).uniform(-1, 1, (200, 2))
    >>> y = np.where(x[:, 0] ** 2 + x[:, 1] ** 2 < 0.5, "in", "out")
    >>> bool(KANClassifier().fit(x, y).score(x, y) > 0.95)
    True
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> KANClassifier:
        """Fits `X` `[n, in]`, an array or table of finite numbers, to the classes `y` `[n]`.

        A row of `sample_weight` `[n]`, 0 or more, counts that many times: whole numbers do what
        repeated rows do. Raises ValueError for other arrays, fewer than two classes, and parameters
        out of range.
        """
        x, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, labels = np.unique(column_or_1d(y, warn=True), return_inverse=True)
        if len(self.classes_) < 2:
            raise UserError(
                f"y holds one class, {self.classes_.tolist()[0]!r}: at least two are needed"
            )
        return self._fit(x, labels.astype(np.int64), sample_weight, len(self.classes_))

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class `[n]` of each row of `X` `[n, in]`."""
        chosen = self._outputs(X).argmax(axis=1)
        return self.classes_[chosen]

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probabilities `[n, classes]` of `classes_`, in their order."""
        return np.exp(_log_softmax(self._outputs(X)))

    def decision_function(self, X: Any) -> np.ndarray:
        """Of two classes, the logarithm `[n]` of the odds of the second; of more, the logarithm
        `[n, classes]` of the probability of each, less the mean over the classes."""
        return self._values(self._outputs(X))

    def _values(self, outputs: np.ndarray) -> np.ndarray:
        if outputs.shape[1] == 2:
            return outputs[:, 1] - outputs[:, 0]
        return outputs - outputs.mean(axis=1, keepdims=True)

    @staticmethod
    def _loss(outputs: Tensor, labels: Tensor) -> Tensor:
        return outputs.sparse_categorical_crossentropy(labels)

    @staticmethod
    def _losses(outputs: np.ndarray, y: np.ndarray) -> np.ndarray:
        return -_log_softmax(outputs.astype(np.float64))[np.arange(len(y)), y]

    def _output_names(self) -> list[str]:
        return list(map(str, self.classes_))


def _log_softmax(outputs: np.ndarray) -> np.ndarray:
    shifted = outputs - outputs.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))

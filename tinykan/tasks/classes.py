"""Which classes a classifier confuses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinykan.errors import UserError
from tinykan.tasks.arrays import check_as_many


@dataclass(frozen=True)
class Confusion:
    """The confusion matrix `counts` `[classes, classes]` of a classifier: how many rows of the
    class of each row of the matrix were taken for the class of each column. `names` are those of
    the classes, in this order. Printed, it is a table with the accuracy of each class."""

    counts: np.ndarray
    names: list[str]

    @property
    def shares(self) -> np.ndarray:
        """`counts` as shares of their rows, 0 to 1; NaN for a class that has no rows."""
        totals = self.counts.sum(axis=1, keepdims=True)
        return np.divide(
            self.counts, totals, out=np.full(self.counts.shape, np.nan), where=totals > 0
        )

    @property
    def class_accuracies(self) -> np.ndarray:
        """The share of the rows of each class that were recognized, its recall `[classes]`."""
        return self.shares.diagonal().copy()

    @property
    def accuracy(self) -> float:
        """The share of all rows whose class was recognized."""
        return float(self.counts.trace() / self.counts.sum())

    def __str__(self) -> str:
        heads = [*self.names, "rows", "accuracy"]
        lines = [
            [name, *map(str, row), str(row.sum()), "-" if np.isnan(share) else f"{share:.1%}"]
            for name, row, share in zip(self.names, self.counts, self.class_accuracies, strict=True)
        ]
        total = ["all", *map(str, self.counts.sum(axis=0)), str(self.counts.sum())]
        cells = [["true \\ predicted", *heads], *lines, [*total, f"{self.accuracy:.1%}"]]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        return "\n".join(
            "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
            for row in cells
        )


def confusion(predicted: Any, true: Any, names: Sequence[str] | None = None) -> Confusion:
    """The confusion matrix of predictions for the classes `true` `[n]`.

    `predicted` is classes `[n]` of the same kind, as KANClassifier.predict gives them, or a
    network's outputs `[n, classes]`, the largest of which is chosen, for `true` numbered from 0.
    Classes are in sorted order, and `names` replaces them; of classes numbered from 0 it may also
    name some that do not occur. Raises UserError for other shapes, another number of names, and
    labels without an output.

    >>> print(confusion([0, 1, 1, 1], [0, 0, 1, 1], ["cat", "dog"]))
    true \\ predicted  cat  dog  rows  accuracy
    cat                 1    1     2     50.0%
    dog                 0    2     2    100.0%
    all                 1    3     4     75.0%
    """
    found, truth = np.asarray(predicted), np.asarray(true)
    truth = truth[:, 0] if truth.ndim == 2 and truth.shape[1] == 1 else truth
    if truth.ndim != 1 or found.ndim not in (1, 2) or len(truth) == 0:
        shapes = f"predictions of shape {found.shape} for classes of shape {truth.shape}"
        raise UserError(f"{shapes}: classes are [n], predictions [n] or outputs [n, classes]")
    check_as_many(found, truth)
    outputs = found.shape[1] if found.ndim == 2 else 0
    found = found.argmax(axis=1) if outputs else found
    values = np.concatenate([found, truth])
    numbered = values.dtype.kind in "iu" and values.min() >= 0
    count = outputs or (len(names) if names is not None and numbered else 0)
    if outputs and not (numbered and values.max() < outputs):
        wrong = next(v for v in truth.tolist() if v not in range(outputs))
        raise UserError(f"class {wrong!r} for {outputs} outputs: 0 to {outputs - 1} are needed")
    classes = np.arange(count) if count and values.max() < count else np.unique(values)
    labels = [str(c) for c in classes.tolist()] if names is None else list(map(str, names))
    if len(labels) != len(classes):
        raise UserError(f"{len(labels)} names for {len(classes)} classes: one for each is needed")
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(counts, (np.searchsorted(classes, truth), np.searchsorted(classes, found)), 1)
    return Confusion(counts, labels)

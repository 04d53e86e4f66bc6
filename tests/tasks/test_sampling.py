"""Samplers of arrays, and their counter-based random numbers: uniform and uncorrelated."""

from __future__ import annotations

import numpy as np
import pytest
from tinygrad import Tensor, dtypes

from tinykan import KAN, UserError, batches, fit
from tinykan.tasks.sampling import uniform

X = np.linspace(-1, 1, 64, dtype=np.float32)[:, None]
Y = np.sin(3 * X)


def test_uniform_numbers_are_uniform_and_uncorrelated():

    u = np.stack(
        [uniform(Tensor([s], dtype=dtypes.int32), 0, (4096, 2)).numpy() for s in range(20)]
    )
    assert u.min() >= 0 and u.max() < 1
    counts, _ = np.histogram(u, bins=64, range=(0, 1))
    expected = u.size / 64
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    assert 30 < chi_squared < 110  # 63 degrees of freedom: 63 +- 4 standard deviations
    flat = u.reshape(-1, 2)
    for a, b in (
        (flat[:, 0], flat[:, 1]),
        (flat[:-1, 0], flat[1:, 0]),
        (u[0].ravel(), u[1].ravel()),
    ):
        assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(len(a))


def test_random_batches_come_from_the_data():
    sample = batches(X, Y, 32, seed=0)
    x, y = (t.numpy() for t in sample(Tensor([0], dtype=dtypes.int32)))
    assert x.shape == (32, 1) and np.isin(x, X).all() and len(np.unique(x)) > 15
    np.testing.assert_allclose(y, np.sin(3 * x), atol=1e-6)


@pytest.mark.parametrize("where", ["inputs", "targets"])
def test_nan_in_the_data_is_named(where):
    x = np.ones((8, 2), dtype=np.float32)
    bad = x.copy()
    bad[3, 1] = np.nan
    with pytest.raises(UserError, match=f"{where}.*row 3") as error:
        batches(*((bad, x) if where == "inputs" else (x, bad)))
    assert "\n" not in str(error.value)


def test_inputs_and_targets_must_be_as_many():
    with pytest.raises(UserError, match="2 inputs and 3 targets"):
        batches(X[:2], Y[:3])


@pytest.mark.parametrize("batch", [None, 16])
def test_a_column_is_the_same_in_one_dimension_and_in_two(batch):
    losses = []
    for inputs, targets in ((X, Y), (X[:, 0], Y[:, 0]), (X[:, 0].tolist(), Y[:, 0].tolist())):
        model = KAN([1, 2, 1], seed=0)
        losses.append(fit(model, batches(inputs, targets, batch), steps=40, progress=False).losses)
    assert losses[0] == losses[1] == losses[2]
    assert losses[0][-1] < 0.5 * Y.var()  # not the mean alone, which broadcasting would fit


def test_labels_are_for_cross_entropies_and_numbers_for_one_output():
    labels = (X[:, 0] > 0.2).astype(int)
    for loss in (Tensor.sparse_categorical_crossentropy, Tensor.cross_entropy):
        model = KAN([1, 2], seed=0)
        fit(model, batches(X, labels), steps=80, learning_rate=0.1, loss=loss, progress=False)
        assert (model(Tensor(X)).numpy().argmax(1) == labels).mean() > 0.9
    one, other = KAN([1, 1], seed=0), KAN([1, 1], seed=0)
    first = fit(one, batches(X, labels), steps=10, progress=False).losses
    assert first == fit(other, batches(X, labels.astype(float)), steps=10, progress=False).losses


@pytest.mark.parametrize(
    ("outputs", "targets", "message"),
    [
        (2, Y[:, 0], r"targets of shape \(64, 1\) for predictions of shape \(64, 2\)"),
        (1, np.c_[Y, Y], r"targets of shape \(64, 2\) for predictions of shape \(64, 1\)"),
        (2, np.arange(64), "class labels need a loss of their own"),
    ],
)
def test_predictions_and_targets_of_different_shapes_never_meet(outputs, targets, message):
    with pytest.raises(UserError, match=message):
        fit(KAN([1, outputs]), batches(X, targets), steps=2, progress=False)


def test_a_batch_of_nothing_is_refused():
    with pytest.raises(UserError, match="batch 0"):
        batches(X, Y, batch=0)

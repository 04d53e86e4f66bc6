"""Samplers of arrays, and their counter-based random numbers: uniform and uncorrelated."""

from __future__ import annotations

import numpy as np
import pytest
from tinygrad import Tensor, dtypes

from tinykan import KAN, UserError, batches, fit, split
from tinykan.tasks.sampling import streamed, uniform

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


def test_only_a_batch_is_read_of_memory_mapped_data(tmp_path):
    np.save(tmp_path / "x.npy", np.concatenate([X, X + 2]))
    np.save(tmp_path / "y.npy", np.concatenate([Y, np.full_like(Y, np.nan)]))
    x, y = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in "xy")
    sample, other = (batches(x[:64], y[:64], 16, seed=s) for s in (0, 1))
    first, again, second, others = (
        [t.numpy() for t in s(Tensor([n], dtype=dtypes.int32))]
        for s, n in ((sample, 0), (sample, 0), (sample, 1), (other, 0))
    )
    assert first[0].shape == (16, 1) and np.isin(first[0], X).all()
    np.testing.assert_allclose(first[1], np.sin(3 * first[0]), atol=1e-6)  # of float32
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first[0], second[0]) and not np.array_equal(first[0], others[0])
    history = fit(KAN([1, 3, 1], seed=0), sample, steps=60, progress=False)
    assert history.losses[-1] < 0.2 * Y.var()
    with pytest.raises(UserError, match="hold nan in row"):  # among the rows that were drawn
        fit(KAN([1, 1]), batches(x, y, 64), steps=2, progress=False)


def test_streamed_batches_are_those_of_the_iterable():
    def parts():
        for n in range(5):
            yield X[n * 10 : n * 10 + 10], Y[n * 10 : n * 10 + 10]

    sample = streamed(parts())
    for n in range(5):
        for _ in range(2):  # a step that is asked for again has the same batch
            x, y = sample(Tensor([n], dtype=dtypes.int32))
            np.testing.assert_array_equal(x.numpy(), X[n * 10 : n * 10 + 10])
            np.testing.assert_allclose(y.numpy(), Y[n * 10 : n * 10 + 10], atol=1e-7)
    with pytest.raises(UserError, match="the data have 5 batches, and step 6 none"):
        sample(Tensor([5], dtype=dtypes.int32))
    streamed_history, plain = (
        fit(KAN([1, 3, 1], seed=0), s, steps=5, log_every=1, progress=False)
        for s in (streamed(parts()), lambda step: batches(*list(parts())[step.item()])(step))
    )
    assert streamed_history.losses == plain.losses


def test_a_split_has_every_row_once():
    for rows, share, held in ((10, 0.2, 2), (10, 0.01, 1), (2, 0.9, 1), (7, 0.5, 4)):
        x, labels = np.arange(2.0 * rows).reshape(rows, 2), np.arange(rows)
        (tx, ty), (vx, vy) = split(x, labels, share)
        assert len(vx) == held and ty.dtype == vy.dtype == np.int64
        np.testing.assert_array_equal(np.sort(np.r_[ty, vy]), labels)
        np.testing.assert_array_equal(np.r_[tx, vx][:, 0], 2.0 * np.r_[ty, vy])
    assert not np.array_equal(split(X, Y, seed=0)[1][0], split(X, Y, seed=1)[1][0])
    for share in (0, 1, 1.5, -0.1):
        with pytest.raises(UserError, match="a share of"):
            split(X, Y, share)

"""Tasks: what networks are trained on, and how they are scored."""

from __future__ import annotations

import numpy as np
import pytest
from tinygrad import Tensor

from tests.tasks.helpers import Exactly, scored
from tinykan import KAN, Predictor
from tinykan.runs.presets import task_from
from tinykan.tasks import metrics
from tinykan.tasks.task import FunctionTask, ImageTask


def test_held_out_pixels_are_never_trained_on():
    task = ImageTask(size=33, held_out=True)
    x, y = (t.numpy() for t in task.sampler(4096, 0)(Tensor([0])))
    position = (x + 1) * 16
    np.testing.assert_allclose(position, np.rint(position), atol=1e-4)
    column, row = np.rint(position).astype(int).T
    assert not (row % 2).any() and not (column % 2).any()
    assert set(row) == set(column) == set(range(0, 33, 2))
    np.testing.assert_allclose(y, task.image[row, column], atol=1e-6)

    def wrong_where_seen(x):
        place = np.rint((x + 1) * 16).astype(int)
        exact = task.image[place[:, 1], place[:, 0]]
        return np.where(((place % 2) == 0).all(axis=1)[:, None], 7.0, exact)

    assert scored(task, Exactly(wrong_where_seen))["mse"] == 0
    assert 15 < task.baseline["psnr"] < 40


def test_scores_of_a_function_are_in_its_own_units():
    task = FunctionTask("product_sqrt")
    fitted = task.fitted(Predictor(KAN([2, 1]), chunk=1024))
    scores, x = task.scores(fitted), task.function.to_box(task.points)
    np.testing.assert_allclose(task.target, x[:, 0] * np.sqrt(x[:, 1]))
    exact = scored(
        task, Exactly(lambda g: task.function.evaluate(task.function.to_box(g))[:, None])
    )
    assert exact["rmse"] < 1e-12 < scores["rmse"]
    assert scores["rmse"] ** 2 == pytest.approx(scores["mse"]) and len(fitted) == 101 * 101


def test_a_task_is_told_by_its_data():
    assert ImageTask(size=16).digest == ImageTask(size=16).digest != ImageTask(size=17).digest
    assert FunctionTask("product", 0).digest != FunctionTask("product", 1).digest
    assert task_from("ImageTask(size=16)").digest == ImageTask(size=16).digest
    assert metrics.mse(task_from("image-256").image, ImageTask(size=256).image) == 0

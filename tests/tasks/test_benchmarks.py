"""Benchmark tasks by name, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import map_coordinates
from tinygrad import Tensor

from tests.tasks.helpers import Exactly, scored
from tinykan import Sines, UserError
from tinykan.runs.presets import ModelOptions, encoding_for, network_for, task_from
from tinykan.tasks.task import CAMERA


def camera() -> np.ndarray:
    return np.asarray(Image.open(CAMERA).convert("L")) / 127.5 - 1


def bilinear(x: np.ndarray, corners: tuple) -> np.ndarray:
    """The benchmark's definition: (slice, x, y), -1 the first column's center, 1 the last's."""
    number = np.rint((x[:, 0].astype(float) + 1) * 4).astype(int)
    origin = np.array(corners)[number]
    row, column = origin[:, 0] + (x[:, 2] + 1) * 31.5, origin[:, 1] + (x[:, 1] + 1) * 31.5
    return map_coordinates(camera(), [row, column], order=1)[:, None]


def test_slices_are_those_of_the_benchmark():
    task = task_from("slices")
    x, y = (t.numpy() for t in task.sampler(4096, 3)(Tensor([7])))
    np.testing.assert_allclose(y, bilinear(x, task.corners), atol=2e-5)
    assert set(np.unique(x[:, 0])) == {2 * s / 8 - 1 for s in range(8)}
    assert abs(x[:, 1:].mean(axis=0)).max() < 0.05 and x[:, 1:].min() < -0.99 < 0.99 < x.max()
    scores = scored(task, Exactly(lambda x: bilinear(x, task.corners)))
    assert scores["mse"] < 1e-10
    # A known error on every point, in the units of the benchmark.
    assert scored(task, Exactly(lambda x: bilinear(x, task.corners) + 0.1))["mse"] == pytest.approx(
        0.01, rel=1e-4
    )
    assert task.picture(task.target).shape == (200, 400, 1)
    for name in ("octaves", "seed"):  # the second is in files of earlier versions
        assert encoding_for(task, name) == Sines(3, (3, 8, 8))
    assert encoding_for(task, "octaves(4)") == Sines(3, 4)
    assert network_for(task, ModelOptions(), 0).layers[0].in_features == 19
    assert network_for(task, ModelOptions(model="siren"), 0).layers[0].in_features == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("P9", "unknown task 'P9'; choose from"),
        ("FunctionTask('foo')", "unknown function 'foo'"),
        ("ImageTask('no.png')", "no.png: no such file"),
        ("ImageTask(__import__('os'))", "unknown task"),
        ("SlicesTask(corners=((600, 0),))", "has no 64 pixels from 600, 0"),
        ("ImageTask(1, 2, 3, 4, 5, 6, 7)", "positional arguments"),
    ],
)
def test_bad_tasks_are_one_line(text, message):
    with pytest.raises(UserError, match=message.replace("(", r"\(")) as error:
        task_from(text)
    assert "\n" not in str(error.value)

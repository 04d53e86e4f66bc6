"""What networks are trained on, against the definitions of the protocols."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import map_coordinates
from tinygrad import Tensor

from tinykan import KAN, Predictor, Sines, UserError
from tinykan.runs.presets import ModelOptions
from tinykan.tasks import metrics
from tinykan.tasks.benchmarks import task_from
from tinykan.tasks.images import bicubic
from tinykan.tasks.task import CAMERA, FunctionTask, ImageTask


class Exactly:
    """A predictor that knows the answer."""

    def __init__(self, answer):
        self.answer, self.chunk = answer, 1 << 20

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self.answer(x)


def scored(task, predict) -> dict[str, float]:
    return task.scores(task.fitted(predict))


def camera() -> np.ndarray:
    return np.asarray(Image.open(CAMERA).convert("L")) / 127.5 - 1


def bilinear(x: np.ndarray, corners: tuple) -> np.ndarray:
    """P1 by its definition: (slice, x, y), -1 the first column's center and 1 the last's."""
    number = np.rint((x[:, 0].astype(float) + 1) * 4).astype(int)
    origin = np.array(corners)[number]
    row, column = origin[:, 0] + (x[:, 2] + 1) * 31.5, origin[:, 1] + (x[:, 1] + 1) * 31.5
    return map_coordinates(camera(), [row, column], order=1)[:, None]


def test_slices_are_those_of_protocol_1():
    task = task_from("P1")
    x, y = (t.numpy() for t in task.sampler(4096, 3)(Tensor([7])))
    np.testing.assert_allclose(y, bilinear(x, task.corners), atol=2e-5)
    assert set(np.unique(x[:, 0])) == {2 * s / 8 - 1 for s in range(8)}
    assert abs(x[:, 1:].mean(axis=0)).max() < 0.05 and x[:, 1:].min() < -0.99 < 0.99 < x.max()
    scores = scored(task, Exactly(lambda x: bilinear(x, task.corners)))
    assert scores["mse"] < 1e-10
    # A known error on every point, in the units of the protocol.
    assert scored(task, Exactly(lambda x: bilinear(x, task.corners) + 0.1))["mse"] == pytest.approx(
        0.01, rel=1e-4
    )
    assert task.picture(task.target).shape == (200, 400, 1)
    assert task.encoding_from("seed") == Sines(3, (3, 8, 8))
    assert task.network(ModelOptions(), 0).layers[0].in_features == 19
    assert task.network(ModelOptions(model="siren"), 0).layers[0].in_features == 3


def test_the_seeds_encoding_with_channels_for_each_coordinate():
    x = np.random.default_rng(0).uniform(-1, 1, (5, 2)).astype(np.float32)
    found = Sines(2, (1, 3))(Tensor(x)).numpy()
    a, b = x[:, 0], x[:, 1]
    expected = [a, b, np.sin(np.pi * (b + 1)), np.sin(2 * np.pi * (b + 1))]
    np.testing.assert_allclose(found, np.stack(expected, axis=-1), atol=2e-6)


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


@pytest.mark.parametrize("shape", [(9, 13), (10, 14)])
def test_bicubic_enlargement_is_exact_on_quadratics(shape):
    """Keys 1981, sec. IV: third-order convergence, so inside the image, squares are met."""
    y, x = np.meshgrid(*map(np.arange, shape), indexing="ij")
    image = (0.3 * x**2 - 0.1 * x * y + 0.2 * y**2 + x - y)[..., None].astype(float)
    enlarged = bicubic(image[::2, ::2], shape)
    assert enlarged.shape == image.shape
    np.testing.assert_allclose(enlarged[2:-4, 2:-4], image[2:-4, 2:-4], atol=1e-12)
    np.testing.assert_array_equal(enlarged[::2, ::2], image[::2, ::2])


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
    assert metrics.mse(task_from("P2").image, ImageTask(size=256).image) == 0


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

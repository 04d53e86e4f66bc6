"""The image regression on a folder of images: what is trained, and what is scored."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from tinygrad import Tensor, dtypes

from tinykan import UserError
from tinykan.runs.presets import task_from
from tinykan.studies.study import Study
from tinykan.studies.worker import run_cell
from tinykan.tasks.image_folders import FourierFeaturesTask, PixelsBetweenTask
from tinykan.tasks.images import bicubic
from tinykan.tasks.task import ImageTask


@pytest.fixture
def folder(tmp_path):
    """Three images of random colors, and a file that is none."""
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for name in ("b", "a", "c"):
        pixels = rng.integers(0, 256, (8, 10, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{name}.png")
    (tmp_path / "images" / "notes.txt").write_text("no image")
    return tmp_path / "images"


def step(number: int) -> Tensor:
    return Tensor([number], dtype=dtypes.int32)


def pixels(path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(float) / 127.5 - 1


def test_every_second_pixel_is_trained_on_at_each_step(folder):
    task = PixelsBetweenTask(str(folder / "a.png"))
    x, y = task.sampler(4096, 0)(step(0))
    image = pixels(folder / "a.png")
    np.testing.assert_allclose(y.numpy(), image[::2, ::2].reshape(-1, 3), atol=1e-6)  # float32
    across, down = np.meshgrid(2 * np.arange(0, 10, 2) / 9 - 1, 2 * np.arange(0, 8, 2) / 7 - 1)
    expected = np.stack([across, down], axis=-1).reshape(-1, 2)
    np.testing.assert_allclose(x.numpy(), expected, atol=1e-6)
    # A smaller batch is drawn from the same.
    x, y = (t.numpy() for t in task.sampler(7, 0)(step(3)))
    assert x.shape == (7, 2)
    for point, value in zip(x, y, strict=True):
        column, row = np.rint((point + 1) / 2 * [9, 7]).astype(int)
        assert column % 2 == row % 2 == 0
        np.testing.assert_allclose(value, image[row, column], atol=1e-6)


@pytest.mark.parametrize("sigmoid", [True, False])
def test_the_loss_is_of_values_after_the_sigmoid(folder, sigmoid):
    task = PixelsBetweenTask(str(folder / "a.png"), sigmoid=sigmoid)
    rng = np.random.default_rng(1)
    z, y = rng.normal(size=(20, 3)), rng.uniform(-1, 1, (20, 3))
    value = 2 / (1 + np.exp(-z)) - 1 if sigmoid else z
    found = task.loss(Tensor(z.astype(np.float32)), Tensor(y.astype(np.float32))).item()
    assert found == pytest.approx(((value - y) ** 2).mean(), rel=1e-5)  # float32
    fitted = task.fitted(lambda x: np.concatenate([x, x[:, :1]], axis=1))
    corner = np.array([-1.0, -1.0, -1.0])
    np.testing.assert_allclose(
        fitted[0, 0], 2 / (1 + np.exp(-corner)) - 1 if sigmoid else corner, atol=1e-6
    )


def test_scores_are_of_the_pixels_between(folder):
    task, image = PixelsBetweenTask(str(folder / "a.png")), pixels(folder / "a.png")
    fitted = image + np.random.default_rng(2).normal(0, 0.1, image.shape)
    error = ((fitted - image) / 2) ** 2  # on [0, 1]
    between = np.ones((8, 10), dtype=bool)
    between[::2, ::2] = False
    scores = task.scores(fitted.astype(np.float32))
    for name, part in (
        ("psnr", error[between]),
        ("psnr_all", error),
        ("psnr_diagonal", error[1::2, 1::2]),
    ):
        assert scores[name] == pytest.approx(-10 * np.log10(part.mean()), abs=1e-4)  # float32


def test_a_seed_chooses_the_image(folder):
    task = FourierFeaturesTask(str(folder))
    names = [task.part(seed).path for seed in range(4)]
    assert names == [str(folder / f"{name}.png") for name in "abca"]
    np.testing.assert_allclose(task.part(1).image, pixels(folder / "b.png"), atol=1e-6)
    assert task.part(0).image.shape == task.target.shape == (8, 10, 3)
    small = FourierFeaturesTask(str(folder), size=5)
    assert small.part(2).image.shape == (4, 5, 3) and small.digest != task.digest


def test_the_first_images_alone_can_be_taken(folder):
    two = FourierFeaturesTask(str(folder), count=2)
    assert [two.part(seed).path for seed in range(3)] == [
        str(folder / f"{name}.png") for name in "aba"
    ]
    mean = np.mean([two.part(seed).baseline["psnr"] for seed in range(2)])
    assert two.baseline["psnr"] == pytest.approx(mean)
    with pytest.raises(UserError, match="count 4 must be a whole number from 1 to 3"):
        FourierFeaturesTask(str(folder), count=4)


def test_bicubic_is_averaged_over_the_images(folder):
    every = []
    for name in "abc":
        image = ImageTask(str(folder / f"{name}.png"), color=True).image
        between = np.ones((8, 10), dtype=bool)
        between[::2, ::2] = False
        error = (bicubic(image[::2, ::2], (8, 10)) - image)[between].astype(float) / 2
        every.append(-10 * np.log10((error**2).mean()))
    baseline = FourierFeaturesTask(str(folder)).baseline
    assert baseline["psnr"] == pytest.approx(np.mean(every), abs=1e-4)  # float32


STUDY = """
task = "FourierFeaturesTask('images')"
[fixed]
parameters = 200
depth = 1
encoding = "gaussian(8)"
lr = 1e-3
[[final]]
steps = 4
seed = [0, 1]
[arms.relu]
model = "relu"
[arms.muon]
model = "relu"
optimizer = "muon"
"""


def test_a_study_fits_each_image_in_turn(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.toml").write_text(STUDY)
    study = Study(tmp_path / "study.toml")
    cells = study.cells(lambda cell: None)
    assert len(cells) == study.planned == 4
    for cell in cells:
        run_cell(study, cell, tmp_path / "runs" / cell.key)
        config = json.loads((tmp_path / "runs" / cell.key / "config.json").read_text())
        assert f"{'ab'[cell.config['seed']]}.png" in config["task"]
        assert cell.config["optimizer"] in (None, config["optimizer"])
        assert config["optimizer"] == ("muon" if cell.arm == "muon" else "adam")


@pytest.mark.parametrize(
    ("path", "message"),
    [("nowhere", "nowhere: No such file or directory; a folder"), (".", "no image is in")],
)
def test_bad_folders_are_one_line(tmp_path, monkeypatch, path, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        task_from(f"FourierFeaturesTask({path!r})")

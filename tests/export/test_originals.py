"""The image of a run is found again."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tinykan.export.originals import fitted_image
from tinykan.tasks.images import load_image, save_image


@pytest.fixture
def run(tmp_path):
    rng = np.random.default_rng(0)
    save_image(rng.uniform(-1, 1, (12, 20, 3)).astype(np.float32), tmp_path / "cat.png")
    config = {"image": str(tmp_path / "cat.png"), "size": 10, "color": True, "white": None}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "summary.json").write_text(json.dumps({"width": 10, "height": 6}))
    return tmp_path


def test_the_image_of_a_run(run, capsys):
    found = fitted_image(run / "model.safetensors")
    assert (found.name, found.size) == ("cat", (10, 6))
    expected = load_image(run / "cat.png", size=10, color=True)
    assert np.array_equal(found.images[0], expected)
    assert capsys.readouterr().err == ""


def test_an_image_that_is_gone_or_another_one(run, capsys):
    save_image(np.zeros((20, 20), np.float32), run / "cat.png")
    found = fitted_image(run / "model.safetensors")
    assert (found.name, found.images, found.size) == ("cat", (), (10, 6))
    assert "has other sides than when it was fitted" in capsys.readouterr().err
    (run / "cat.png").unlink()
    assert fitted_image(run / "model.safetensors").images == ()
    assert capsys.readouterr().err.startswith("warning: the page goes without the original: ")


def test_a_model_without_a_run(tmp_path):
    found = fitted_image(tmp_path / "cat.safetensors")
    assert (found.name, found.images, found.size) == ("cat", (), None)


def test_a_run_of_something_else(run):
    (run / "config.json").write_text(json.dumps({"function": "zigzag"}))
    found = fitted_image(run / "model.safetensors")
    assert (found.name, found.images, found.size) == (run.name, (), (10, 6))

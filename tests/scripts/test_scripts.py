"""The scripts themselves, on a tiny budget, as a user would run them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers import ROOT, first, some
from tinykan import KAN, MLP, BSpline, Predictor, load, load_image, render, save
from tinykan.runs.presets import MODELS
from tinykan.tasks import metrics

CAMERA = ROOT / "images" / "camera.png"
TINY = ["--size", 24, "--steps", 12, "--batch", 256, "--parameters", 800, "--depth", 2]


def test_fit_image_writes_everything_and_the_model_alone_repeats_it(script, tmp_path):
    out = tmp_path / "run"
    result = script("fit_image.py", CAMERA, *TINY, "--encoding", "none", "--out", out)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[0].startswith("device ")
    assert result.stdout.splitlines()[-1].startswith("psnr ")
    names = {
        "config.json",
        "metrics.jsonl",
        "model.safetensors",
        "summary.json",
        "reconstruction.png",
        "comparison.png",
        "loss.png",
        "progress.gif",
    }
    assert {p.name for p in out.iterdir()} == names
    summary = json.loads((out / "summary.json").read_text())
    keys = (
        "psnr ssim mse parameters steps compile_seconds train_seconds device renderer versions seed"
    )
    assert {*keys.split(), "config"} <= summary.keys()
    assert summary["config"] == json.loads((out / "config.json").read_text())
    assert abs(summary["parameters"] - 800) <= 16 and summary["steps"] == 12
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 12 and rows[-1]["loss"] < rows[0]["loss"]

    image = load_image(CAMERA, size=24)
    fitted = render(Predictor(load(out / "model.safetensors"), chunk=256), 24, 24)
    with Image.open(out / "reconstruction.png") as picture:
        shown = np.asarray(picture)[..., None] / 127.5 - 1
    assert metrics.psnr(shown, image) == pytest.approx(summary["psnr"], abs=1e-5)
    assert np.abs(fitted - shown).max() < 1 / 255 + 1e-5  # half of 2 / 255
    with Image.open(out / "reconstruction.png") as picture:
        assert picture.size == (24, 24)
    with Image.open(out / "progress.gif") as animation:
        assert animation.n_frames > 5  # of 12 steps, each logged


@pytest.mark.parametrize("model", some(MODELS, "quadratic"))
def test_every_model_fits_an_image_in_color(script, tmp_path, model):
    options = ["--model", model, "--color", "--quiet", "--encoding", "nerf", "--parameters", 2000]
    result = script("fit_image.py", CAMERA, *TINY, *options, "--out", tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stderr == "" or result.stderr.startswith("warning: ")
    assert len(result.stdout.splitlines()) == 1


@pytest.mark.parametrize(
    "function", ["zigzag", pytest.param("product_sqrt", marks=pytest.mark.long)]
)
def test_fit_function_draws_fit_and_edges(script, tmp_path, function):
    options = ["--function", function, "--steps", 12, "--basis", "BSpline(5)", "--parameters", 400]
    result = script("fit_function.py", *options, "--out", tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1].startswith("rmse ")
    for name in ("fit.png", "activations.png", "loss.png"):
        with Image.open(tmp_path / name) as picture:
            assert np.asarray(picture.convert("L")).std() > 1


def bad_image(tmp_path, kind: str):
    path = tmp_path / "bad.png"
    if kind == "text":
        path.write_text("no image")
    elif kind == "truncated":
        path.write_bytes(CAMERA.read_bytes()[:5000])
    elif kind == "dot":
        Image.new("L", (1, 1)).save(path)
    return path


@pytest.mark.parametrize("kind", ["missing", "text", "truncated", "dot"])
def test_bad_images_end_in_one_line(script, tmp_path, kind):
    result = script("fit_image.py", bad_image(tmp_path, kind), "--out", tmp_path / "out")
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1 and "bad.png" in result.stderr


@pytest.mark.parametrize(
    ("options", "status", "message"),
    first(
        6,
        [
            (["--parameters", 3], 1, "within 2 % of 3 parameters"),
            (["--steps", -1], 2, "argument --steps: -1 is below the least allowed, 0"),
            (["--lr", "nan"], 2, "nan"),
            (["--device", "FOO"], 1, "device 'FOO' is not available here; these are:"),
            (["--steps", "5", "--warmup", "9"], 1, "warm-up of 9 steps"),
            (["--size", 3_000_000_000], 1, "--size 3000000000: at most 268435456 pixels"),
            (["--steps", "many"], 2, "'many' is not a whole number"),
            (["--model", "foo"], 2, "invalid choice: 'foo'"),
            (["--lr", "0"], 1, "learning rate 0.0"),
            (["--seed", "-3"], 2, "-3"),
            (["--basis", "BSpline(5, 9)"], 1, "order 9 must be a whole number from 1 to 5"),
            (["--nonsense"], 2, "--nonsense"),
            (["--white", "0"], 1, "white 0.0 must be a finite number above 0"),
        ],
    ),
)
def test_bad_arguments_end_in_one_line(script, tmp_path, options, status, message):
    result = script("fit_image.py", CAMERA, "--size", 16, "--out", tmp_path / "out", *options)
    assert result.returncode == status, result.stderr
    assert len(result.stderr.splitlines()) == 1 and message in result.stderr


@pytest.mark.parametrize("kind", ["a file is in the way", "read-only"])
def test_a_folder_that_cannot_be_written_ends_in_one_line(script, tmp_path, kind):
    place = tmp_path / "place"
    if kind == "read-only":
        if os.geteuid() == 0:
            place = "/proc/tinykan"  # root may write anywhere but there
        else:
            place.mkdir(mode=0o555)
            place = place / "out"
    else:
        place.write_text("taken")
    result = script("fit_image.py", CAMERA, *TINY, "--out", place)
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1 and "cannot write to" in result.stderr


def test_divergence_keeps_what_was_reached_and_fails(script, tmp_path):
    options = ["--model", "relu", "--lr", 1e30, "--schedule", "constant"]
    result = script("fit_image.py", CAMERA, *TINY, *options, "--out", tmp_path, "--quiet")
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1 and "diverged by step" in result.stderr
    assert (tmp_path / "comparison.png").exists() and load(tmp_path / "model.safetensors")


def test_help_names_every_option_and_its_default(script):
    text = script("fit_image.py", "--help").stdout
    for flag in ("--model", "--parameters", "--size", "--color", "--encoding", "--device", "--out"):
        assert flag in text
    assert "(default: 10000)" in text


def test_a_model_is_rendered_at_any_size(script, tmp_path):
    save(KAN([2, 3, 3], BSpline(4, 3), seed=0), tmp_path / "model.safetensors")
    size = ["--width", 33, "--height", 21, "--chunk", 100]
    result = script("render.py", tmp_path / "model.safetensors", *size)
    assert result.returncode == 0, result.stderr
    model = load(tmp_path / "model.safetensors")
    with Image.open(tmp_path / "model-33x21.png") as picture:
        assert picture.size == (33, 21) and picture.mode == "RGB"
        drawn = np.asarray(picture).astype(float)
    expected = (np.clip(render(Predictor(model, 700), 33, 21), -1, 1) + 1) * 127.5
    assert np.abs(drawn - expected).max() <= 0.5 + 1e-3

    result = script("render.py", tmp_path / "model.safetensors", "--width", 10**6)
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    result = script("render.py", tmp_path / "model.safetensors", "--out", tmp_path / "a.nothing")
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    save(KAN([1, 1]), tmp_path / "curve.safetensors")
    result = script("render.py", tmp_path / "curve.safetensors")
    assert result.returncode == 1 and "maps 1 to 1" in result.stderr


@pytest.mark.long
def test_a_render_keeps_the_ratio_of_the_images_sides(script, tmp_path):
    Image.linear_gradient("L").resize((32, 21)).save(tmp_path / "image.png")
    result = script("fit_image.py", tmp_path / "image.png", *TINY[2:], "--out", tmp_path)
    assert result.returncode == 0, result.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["width"], summary["height"]) == (32, 21)
    model = tmp_path / "model.safetensors"
    for options, size in ((("--width", 128), (128, 84)), (("--width", 64, "--height", 9), (64, 9))):
        result = script("render.py", model, *options)
        assert result.returncode == 0 and len(result.stdout.splitlines()) == 1, result.stderr
        with Image.open(tmp_path / f"model-{size[0]}x{size[1]}.png") as picture:
            assert picture.size == size
    for text in ("", "[]", "{}", '{"width": 0, "height": 2}'):
        (tmp_path / "summary.json").write_text(text)
        result = script("render.py", model, "--width", 16)
        assert result.returncode == 0, result.stderr
        assert "does not record the image's sides: rendering a square" in result.stdout
        assert (tmp_path / "model-16x16.png").exists()


@pytest.mark.long
def test_white_is_an_option(script, tmp_path):
    Image.fromarray(np.linspace(0, 255, 64, dtype=np.float32).reshape(8, 8)).save(
        tmp_path / "f.tif"
    )
    options = [tmp_path / "f.tif", "--steps", 1, "--parameters", 307, "--depth", 1]
    options += ["--model", "tanh", "--out", tmp_path / "out"]
    result = script("fit_image.py", *options)
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    assert "63 of 64 values are outside 0 to 1 (from 0 to 255): --white X" in result.stderr
    result = script("fit_image.py", *options, "--white", 255)
    assert result.returncode == 0 and not result.stderr


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to read memory from")
def test_a_render_of_a_quarter_gigapixel_stays_under_a_gibibyte(tmp_path):
    save(MLP([2, 16, 1]), tmp_path / "model.safetensors")
    code = (
        "import re, runpy, sys; sys.argv[0] = 'render.py'\n"
        "try: runpy.run_path(sys.argv.pop(1), run_name='__main__')\n"
        "except SystemExit as end: assert not end.code\n"
        # Not getrusage, which counts the tests' own process before this one took its place.
        "print(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1])"
    )
    command = [sys.executable, "-c", code, str(ROOT / "scripts" / "render.py")]
    command += [str(tmp_path / "model.safetensors"), "--width", "16384"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert int(result.stdout.split()[-1]) < 2**20, result.stderr


@pytest.mark.long
def test_estimators_are_compared_on_tables(script):
    result = script("tables.py", "--only", "iris,wine", "--folds", 2)
    assert result.returncode == 0 and not result.stderr, result.stderr
    heading, _, iris, wine = (line.split("|")[1:-1] for line in result.stdout.splitlines())
    assert len(heading) == len(iris) == len(wine) and iris[0] == " iris "
    # As those of the MLPs in docs/tables.md; of three classes, chance gives 0.4 at most.
    assert all(float(row[3].split("±")[0]) > 0.9 for row in (iris, wine))
    result = script("tables.py", "--only", "irises")
    assert result.returncode == 1 and "unknown table 'irises'; choose from" in result.stderr


def test_solve_equation_solves_poisson(script, tmp_path):
    options = ["--parameters", 57, "--steps", 100, "--lbfgs", 50, "--quiet", "--out", tmp_path]
    result = script("solve_equation.py", *options)
    assert result.returncode == 0, result.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    # What PyKAN's paper has for this network and these points, with L-BFGS alone; 7.9e-5 here.
    assert summary["mse"] < 3.11e-3 and summary["parameters"] == 57
    assert (tmp_path / "solution.png").exists()


def test_solve_equation_refuses_an_unknown_equation(script):
    result = script("solve_equation.py", "--equation", "poison")
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1 and "poisson" in result.stderr

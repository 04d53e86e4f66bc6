"""The scripts where optional packages are not installed: what can go on does, and the rest is one
line before any work."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from PIL import Image

from tests.helpers import ROOT, first, some
from tinykan import load

# Python imports it when it starts. Finders answer as if the packages were not there.
SITE = """
import os
from importlib.machinery import PathFinder

found = PathFinder.find_spec
gone = os.environ["GONE"].split(",")
is_gone = lambda name: name.split(".")[0] in gone
PathFinder.find_spec = lambda name, *rest: None if is_gone(name) else found(name, *rest)
"""
EXTRAS = "matplotlib,filelock,optuna,sqlalchemy,jinja2,markupsafe,psycopg,scipy,sympy,torch"
EXTRAS += ",pytest,sklearn,nbclient"
CAMERA = ROOT / "images" / "camera.png"
TINY = ["--size", 16, "--model", "tanh", "--parameters", 200, "--depth", 2, "--batch", 64]


@pytest.fixture
def without(script, tmp_path):
    """Runs a script where the packages of that text are missing, in a folder of its own."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITE)

    def run(gone: str, name: str, *arguments: object):
        paths = [str(tmp_path / "site"), str(ROOT), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "GONE": gone}
        return script(name, *arguments, env=environment, cwd=tmp_path)

    return run


def test_a_plain_install_fits_an_image_and_writes_a_model(without, tmp_path):
    result = without(EXTRAS, "fit_image.py", CAMERA, *TINY, "--steps", 5, "--out", "run")
    assert result.returncode == 0, result.stderr
    (said,) = (line for line in result.stderr.splitlines() if "matplotlib" in line)
    assert said.startswith("warning: ") and "pip install matplotlib" in said
    files = {path.name for path in (tmp_path / "run").iterdir()}
    written = {"config.json", "metrics.jsonl", "summary.json", "model.safetensors"}
    assert files == written | {"reconstruction.png", "progress.gif"}
    with Image.open(tmp_path / "run" / "reconstruction.png") as picture:
        assert picture.size == (16, 16)
    assert load(tmp_path / "run" / "model.safetensors").in_features == 2
    result = without(EXTRAS, "render.py", "run/model.safetensors", "--width", 8)
    assert result.returncode == 0, result.stderr


@pytest.mark.long
def test_a_plain_install_fits_a_function(without, tmp_path):
    options = ["--model", "tanh", "--parameters", 100, "--steps", 5]
    result = without(EXTRAS, "fit_function.py", *options)
    assert result.returncode == 0 and result.stderr.count("\n") == 1, result.stderr
    summary = json.loads((tmp_path / "runs" / "zigzag-tanh" / "summary.json").read_text())
    assert summary["steps"] == 5


@pytest.mark.parametrize(
    ("gone", "command", "package"),
    first(
        7,
        [
            ("scipy", ["fit_image.py", CAMERA, *TINY, "--steps", 5, "--lbfgs", 2], "scipy"),
            ("sympy", ["recover_formula.py"], "sympy"),
            ("optuna", ["ablate.py", "tiny.toml"], "optuna"),
            (
                "psycopg",
                ["ablate.py", "tiny.toml", "--storage", "postgresql+psycopg://h/x"],
                "psycopg",
            ),
            ("matplotlib", ["report.py", "study"], "matplotlib"),
            ("pytest", ["backends.py"], "pytest"),
            ("sklearn", ["tables.py"], "scikit-learn"),
            ("scipy", ["fit_image.py", CAMERA, *TINY, "--steps", 5, "--grid-updates", 2], "scipy"),
            ("scipy", ["fit_function.py", "--lbfgs", 2], "scipy"),
            ("scipy", ["recover_formula.py"], "scipy"),
            ("sympy", ["formulas.py"], "sympy"),
            ("scipy", ["function_tables.py", "special"], "scipy"),
            ("sqlalchemy", ["ablate.py", "tiny.toml"], "sqlalchemy"),
            ("jinja2", ["ablate.py", "tiny.toml"], "jinja2"),
            ("matplotlib", ["ablate.py", "tiny.toml"], "matplotlib"),
            ("jinja2", ["report.py", "study"], "jinja2"),
            ("torch", ["equal_footing.py"], "torch"),
            ("torch", ["double_backward.py"], "torch"),
            ("sympy", ["guide.py", "Machine precision"], "sympy"),
            ("nbclient", ["notebooks.py", "image"], "nbclient"),
        ],
    ),
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_a_missing_extra_is_one_line_before_any_work(without, tmp_path, gone, command, package):
    shutil.copy(ROOT / "docs" / "studies" / "grid.toml", tmp_path / "tiny.toml")
    (tmp_path / "study").mkdir()
    result = without(gone, *command)
    assert result.returncode == 1, result.stderr
    assert result.stderr.count("\n") == 1 and f" {package}" in result.stderr, result.stderr
    assert f"pip install '{package}" in result.stderr or f"pip install {package}" in result.stderr
    left = {path.name for path in tmp_path.rglob("*")}
    assert not left & {"metrics.jsonl", "checkpoint.safetensors", "summary.json"}


@pytest.mark.parametrize(
    "name",
    some(
        ["ablate", "backends", "bench", "double_backward", "equal_footing", "fit_function"]
        + ["fit_image", "formulas", "guide", "notebooks", "recover_formula", "report"]
        + ["solve_equation", "function_tables", "jaxkan_equations", "tables"],
        "ablate, backends, fit_image, recover_formula, report, tables",
    ),
)
def test_help_needs_no_extra(without, name):
    result = without(EXTRAS, f"{name}.py", "--help")
    assert result.returncode == 0 and "--help" in result.stdout, result.stderr


def test_without_jaxkan_its_script_is_one_line(without):
    result = without("jaxkan", "jaxkan_equations.py", "--steps", 1)
    assert result.returncode == 1 and result.stderr.count("\n") == 1, result.stderr
    assert "scripts/rivals.sh" in result.stderr


@pytest.mark.long
def test_a_benchmark_goes_on_without_its_figure(without, tmp_path):
    options = ["--only", "tinykan tanh", "--grids", "2,3", "--batches", 8, "--networks", "2-2-1"]
    result = without("matplotlib", "bench.py", *options, "--rounds", 1, "--out", "bench")
    assert result.returncode == 0 and result.stderr.count("\n") == 1, result.stderr
    assert "pip install matplotlib" in result.stderr
    assert {path.name for path in (tmp_path / "bench").iterdir()} == {"bench.json", "bench.md"}
    rows = json.loads((tmp_path / "bench" / "bench.json").read_text())["results"]
    assert len(rows) == 2 and all(row["ms"] > 0 and row["forward_ms"] > 0 for row in rows)

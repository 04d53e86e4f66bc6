"""Formulas from data, by the script as a user runs it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tinykan import UserError, load
from tinykan.interpret import edge_count
from tinykan.interpret.recovery import recover
from tinykan.tasks.target_functions import TARGET_FUNCTIONS

X = np.random.default_rng(0).uniform(-1, 1, (500, 2))


def write(path, targets, names="mass,speed,energy", inputs=2):
    np.savetxt(path, np.c_[X[:, :inputs], targets], delimiter=",", header=names, comments="")


def test_a_formula_of_one_variable_is_found(script, tmp_path):
    write(tmp_path / "data.csv", 2 * X[:, 0] ** 2 - 1, "time,height", inputs=1)
    result = script(
        "recover_formula.py", "--data", tmp_path / "data.csv", "--hidden", 1, "--out", tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1].startswith("2*time**2 - 1  mse")


@pytest.mark.long
def test_a_formula_is_found_in_a_file(script, tmp_path):
    write(tmp_path / "data.csv", np.exp(np.sin(np.pi * X[:, 0]) + X[:, 1] ** 2))
    out = tmp_path / "out"
    result = script("recover_formula.py", "--data", tmp_path / "data.csv", "--out", out)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1].startswith("exp(speed**2 + sin(pi*mass))  mse")
    summary = json.loads((out / "summary.json").read_text())
    assert summary["formula"] == ["exp(speed**2 + sin(pi*mass))"] and summary["exact"]
    assert summary["mse"] < 1e-8 and summary["config"]["seed"] == 0 and summary["versions"]
    networks = {
        name: load(out / f"{name}.safetensors") for name in ("trained", "reduced", "symbolic")
    }
    assert edge_count(networks["trained"]) == 15 and edge_count(networks["symbolic"]) == 3
    for name in networks:
        assert (out / f"{name}.png").stat().st_size > 5000


@pytest.mark.long
def test_what_has_no_formula_here_ends_with_what_fits_best(script, tmp_path):
    write(tmp_path / "data.csv", np.sin(9 * X[:, 0]) * np.abs(X[:, 1] - 0.3))
    result = script(
        "recover_formula.py", "--data", tmp_path / "data.csv", "--hidden", 1, "--out", tmp_path
    )
    assert result.returncode == 1 and len(result.stderr.splitlines()) == 1
    assert "1 hidden nodes do not fit" in result.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,c\n1,2\n", "row 2 has 2 values for 3 columns"),
        ("a,b,c\n1,2,x\n", "'x' in row 2, column 'c' is not a number"),
        ("a\n1\n2\n", "one column"),
        ("a,b\n1,2\n2,2\n", "the target b is 2 in every row"),
        ("a,b\n1,nan\n1,2\n", "a value is missing"),
    ],
)
def test_what_is_no_data_is_one_line(script, tmp_path, text, message):
    (tmp_path / "data.csv").write_text(text)
    result = script("recover_formula.py", "--data", tmp_path / "data.csv", "--out", tmp_path)
    assert result.returncode == 1 and len(result.stderr.splitlines()) == 1
    assert message in result.stderr


def test_constant_targets_have_no_formula():
    with pytest.raises(UserError, match="the targets are constant"):
        recover(X, np.ones((500, 1)))


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "known"), [("product", "x1*x2"), ("exp_sin", "exp(x2**2 + sin(pi*x1))")]
)
def test_known_formulas_are_recovered(name, known):
    found = [recover(*TARGET_FUNCTIONS[name].training_set(seed), seed=seed) for seed in range(10)]
    assert sum(str(f.formula[0]) == known for f in found) >= 8

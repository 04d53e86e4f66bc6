"""Formulas from data, by the script as a user runs it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tinykan import UserError, load
from tinykan.interpret import edge_count
from tinykan.interpret.recovery import recover
from tinykan.interpret.rounding import evaluated, parsed
from tinykan.tasks.target_functions import TARGET_FUNCTIONS

X = np.random.default_rng(0).uniform(-1, 1, (500, 2))


def write(path, targets, names="mass,speed,energy", inputs=2):
    np.savetxt(path, np.c_[X[:, :inputs], targets], delimiter=",", header=names, comments="")


def test_a_formula_of_one_variable_is_found(script, tmp_path):
    write(tmp_path / "data.csv", 4e-4 * X[:, 0] ** 2 - 2e-4, "time,height", inputs=1)
    result = script(
        "recover_formula.py", "--data", tmp_path / "data.csv", "--hidden", 1, "--out", tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1].startswith("0.0004*time**2 - 0.0002  mse")


@pytest.mark.long
@pytest.mark.parametrize(("scale", "shift"), [(4e-4, 0.0), (1e9, 1e10)])
def test_targets_of_any_scale_are_recovered(scale, shift):
    x = X[:200, :1]
    y = scale * x[:, 0] ** 2 + shift
    found = recover(x[:, 0], y, hidden=1)
    assert found.exact and found.errors[0] <= 1e-8 * y.var()
    expression = parsed(str(found.formula[0]), ["x1"])
    np.testing.assert_allclose(evaluated(expression, ["x1"], x), y, atol=1e-4 * scale)
    if not shift:
        assert str(found.formula[0]) == "0.0004*x1**2"


@pytest.mark.long
def test_outputs_of_different_scales_are_judged_one_by_one():
    y = np.c_[1000 * X[:, 0] ** 2, 0.1 * np.sin(3 * X[:, 1])]
    found = recover(X, y, hidden=2)
    assert found.exact
    for expression, target, error in zip(found.formula, y.T, found.errors, strict=True):
        values = evaluated(parsed(str(expression), ["x1", "x2"]), ["x1", "x2"], X)
        assert error == pytest.approx(np.mean((values - target) ** 2), rel=1e-6, abs=1e-30)
        assert error < 1e-8 * target.var()


@pytest.mark.long
def test_inputs_of_any_scale_are_recovered():
    speed = np.random.default_rng(1).uniform(0, 200, 300)
    found = recover(speed, 0.0123 * speed**2, hidden=1, input_names=["v"])
    assert found.exact and str(found.formula[0]) == "0.0123*v**2"


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
        ("a\n1\n2\n", "one column; at least 2"),
        ("a,b\n1,2\n1,2\n", "the target b is 2 in every row"),
        ("a,b\n1,nan\n1,2\n", "a value is missing"),
    ],
)
def test_what_is_no_data_is_one_line(script, tmp_path, text, message):
    (tmp_path / "data.csv").write_text(text)
    result = script("recover_formula.py", "--data", tmp_path / "data.csv", "--out", tmp_path)
    assert result.returncode == 1 and len(result.stderr.splitlines()) == 1
    assert message in result.stderr


@pytest.mark.parametrize(
    ("x", "y", "options", "message"),
    [
        (X, np.ones((500, 1)), {}, "the targets are constant"),
        (X, np.c_[X[:, :1], np.ones(500)], {}, "targets in column 2 of 2 are constant"),
        (np.c_[X[:, :1], np.ones(500)], X[:, 0], {}, "inputs in column 2 of 2 are constant"),
        (X, X[:400, 0], {}, "500 inputs and 400 targets"),
        (X, X[:, 0], {"input_names": ["a"]}, "2 different ones"),
        (X, X[:, 0], {"input_names": ["a", "lambda"]}, "input name 'lambda'"),
        (X, X[:, 0], {"hidden": 0}, "hidden 0"),
        (X, [[np.nan]] * 500, {}, "targets hold nan in row 0"),
    ],
)
def test_what_has_no_formula_is_one_line(x, y, options, message):
    with pytest.raises(UserError, match=message) as error:
        recover(x, y, **options)
    assert "\n" not in str(error.value)


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "known"), [("product", "x1*x2"), ("exp_sin", "exp(x2**2 + sin(pi*x1))")]
)
def test_known_formulas_are_recovered(name, known):
    found = [recover(*TARGET_FUNCTIONS[name].training_set(seed), seed=seed) for seed in range(10)]
    assert sum(str(f.formula[0]) == known for f in found) >= 8

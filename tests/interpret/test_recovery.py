"""Formulas from data, by the script as a user runs it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from scripts.formulas import KNOWN, is_known, table
from tests.helpers import first
from tinykan import KAN, BSpline, Predictor, UserError, batches, fit, load
from tinykan.fitting.penalties import Regularization
from tinykan.interpret import edge_count, prune
from tinykan.interpret.formulas import formula
from tinykan.interpret.recovery import recover
from tinykan.interpret.rounding import evaluated, parsed
from tinykan.interpret.symbolification import auto_symbolic
from tinykan.tasks.target_functions import TARGET_FUNCTIONS

X = np.random.default_rng(0).uniform(-1, 1, (500, 2))

# As docs/formulas.md says, of the seeds 0.
NOT_FOUND = {("Gaussian", 0.0), ("Gaussian", 0.01), ("ideal gas", 0.01)}


def write(path, targets, names="mass,speed,energy", inputs=2):
    np.savetxt(path, np.c_[X[:, :inputs], targets], delimiter=",", header=names, comments="")


@pytest.mark.long
def test_a_formula_of_one_variable_is_found_in_noise(script, tmp_path):
    noise = 1e-6 * np.random.default_rng(1).normal(size=500)  # a hundredth of the deviation
    y = 4e-4 * X[:, 0] ** 2 - 2e-4 + noise
    write(tmp_path / "data.csv", y, "time,height", inputs=1)
    result = script(
        "recover_formula.py", "--data", tmp_path / "data.csv", "--hidden", 1, "--out", tmp_path
    )
    assert result.returncode == 0 and not result.stderr
    _, header, *rows, splines, last = result.stdout.splitlines()
    assert header.split() == ["complexity", "held-out", "error", "formula"]
    assert last.startswith("0.0004*time**2 - 0.0002  mse")
    summary = json.loads((tmp_path / "summary.json").read_text())
    held = summary["held_out"]
    assert len(held) == 100 and summary["fits"] and not summary["exact"]
    # The table's numbers, again from the formulas that it prints.
    for row in rows:
        _, error, text = row.split(maxsplit=2)
        values = evaluated(parsed(text, ["time"]), ["time"], X[held, :1])
        assert np.mean((values - y[held]) ** 2) == pytest.approx(float(error), rel=1e-3)
    model, networks = load(tmp_path / "reduced.safetensors"), summary["networks"]
    inputs = (X[held, :1] - networks["input_shift"]) / networks["input_scale"]
    outputs = Predictor(model)(inputs) * networks["target_scale"] + networks["target_shift"]
    error = float(np.mean((outputs[:, 0] - y[held]) ** 2))
    assert error == pytest.approx(float(splines.split()[1]), rel=1e-3)


@pytest.mark.long
@pytest.mark.parametrize("noise", [0.01, 0.1])
def test_a_formula_of_two_variables_is_found_in_noise(noise):
    rng = np.random.default_rng(0)
    mass, velocity = rng.uniform(0.5, 5, (2, 500))
    y = 0.5 * mass * velocity**2
    noisy = y + noise * y.std() * rng.normal(size=500)
    found = recover(np.c_[mass, velocity], noisy, input_names=["mass", "velocity"])
    assert str(found.formula[0]) == "0.5*mass*velocity**2" and found.fits and not found.exact
    # All of what is left is the noise that was added.
    assert found.errors[0] == pytest.approx(np.mean((noisy - y) ** 2), rel=1e-9)
    complexities = [row.complexity for row in found.tables[0]]
    errors = [row.error for row in found.tables[0]]
    assert complexities == sorted(complexities) and errors == sorted(errors, reverse=True)
    assert len(found.held_out) == 500 and found.held_out.sum() == 100


@pytest.mark.long
def test_a_search_that_is_out_of_time_gives_what_it_has():
    lines: list[str] = []
    found = recover(X[:, 0], X[:, 0] ** 2, hidden=1, time_limit=1e-3, log=lines.append)
    assert np.isfinite(found.errors[0]) and len(found.tables[0]) >= 1
    # One network, trained for one step, instead of four and those with fewer nodes.
    assert sum("penalty" in line for line in lines) == 1


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "noise"),
    [(name, noise) for name in KNOWN for noise in (0.0, 0.01) if (name, noise) not in NOT_FOUND],
)
def test_known_formulas_of_tables_are_found(name, noise):
    x, y, deviation = table(KNOWN[name], noise, 0)
    found = recover(x, y, input_names=list(KNOWN[name].ranges))
    assert is_known(found.formula[0], KNOWN[name], x, deviation), found.table()
    assert found.fits and found.exact == (noise == 0)


@pytest.mark.long
def test_relativistic_addition_is_found():
    u, v = np.random.default_rng(0).uniform(-0.9, 0.9, (2, 500))
    found = recover(np.c_[u, v], (u + v) / (1 + u * v), input_names=["u", "v"])
    assert found.exact and str(found.formula[0]) == "tanh(atanh(u) + atanh(v))"


@pytest.mark.long
def test_a_formula_that_is_worse_than_the_network_has_status_1(script, tmp_path):
    y = np.sin(9 * X[:, 0] ** 3) + np.abs(X[:, 0] - 0.3) + np.exp(-np.square(20 * X[:, 0] + 9))
    write(tmp_path / "data.csv", y, "time,height", inputs=1)
    result = script(
        "recover_formula.py", "--data", tmp_path / "data.csv", "--hidden", 3, "--out", tmp_path,
        "--quiet", "--time-limit", 120,
    )  # fmt: skip
    assert result.returncode == 1 and len(result.stderr.splitlines()) == 1
    assert "the spline network is better than this formula" in result.stderr
    assert not json.loads((tmp_path / "summary.json").read_text())["fits"]


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
    write(tmp_path / "data.csv", np.sin(40 * X[:, 0] * X[:, 1]))
    result = script(
        "recover_formula.py", "--data", tmp_path / "data.csv", "--hidden", 1, "--out", tmp_path
    )
    assert result.returncode == 1 and len(result.stderr.splitlines()) == 1
    assert "1 hidden nodes do not fit" in result.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    first(
        2,
        [
            ("a,b,c\n1,2\n", "row 2 has 2 values for 3 columns"),
            ("a,b\n1,2\n1,2\n", "the target b is 2 in every row"),
            ("a,b,c\n1,2,x\n", "'x' in row 2, column 'c' is not a number"),
            ("a\n1\n2\n", "one column; at least 2"),
            ("a,b\n1,nan\n1,2\n", "a value is missing"),
        ],
    ),
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
        (X, X[:, 0], {"time_limit": 0}, "time_limit 0 must be a number of seconds above 0"),
        (X[:9], X[:9, 0], {}, "9 rows: at least 10 are needed"),
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


@pytest.mark.long
def test_pykans_first_example_gives_its_formula_with_pykans_numbers():
    found = []
    for seed in range(4):
        sample = batches(*TARGET_FUNCTIONS["exp_sin"].training_set(seed))
        x = TARGET_FUNCTIONS["exp_sin"].training_set(seed)[0]
        model = KAN([2, 5, 1], BSpline(5, 3), seed=seed)
        options = {"grid_updates": 5, "progress": False}
        penalty = Regularization(model, 0.001)
        fit(model, sample, steps=4000, learning_rate=0.1, penalty=penalty, **options)
        small = prune(model, x)
        fit(small, sample, steps=0, lbfgs=50, **options)
        symbolic, _ = auto_symbolic(small, x)
        fit(symbolic, sample, steps=0, lbfgs=50, progress=False)
        found.append(str(formula(symbolic, digits=3)[0]))
    assert found.count("exp(x2**2 + sin(pi*x1))") >= 3, found

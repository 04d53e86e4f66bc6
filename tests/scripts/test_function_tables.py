"""The script that compares KANs and MLPs on special functions and on Feynman's formulas."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from scripts import function_tables
from scripts.function_tables import FEYNMAN, SPECIAL, TABLES, Config, row
from tinykan.tasks import Formula, FormulaTask

EXPECTED = {
    "lpmv, m = 0": lambda x, y: special.lpmv(0, x, y),
    "sph_harm, m = 0, n = 1": lambda x, y: special.sph_harm_y(1, 0, y, x).real,
    "sph_harm, m = 0, n = 2": lambda x, y: special.sph_harm_y(2, 0, y, x).real,
    "lpmv, m = 1": lambda x, y: special.lpmv(1, x, y),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_formulas_are_the_named_functions(name):
    x, y = np.random.default_rng(0).uniform(0.05, 1, (2, 50))
    found = Formula(SPECIAL[name].formula)({"x": x, "y": y})
    np.testing.assert_allclose(found, EXPECTED[name](x, y), rtol=1e-10)


def test_all_are_finite_on_their_domains():
    assert len(FEYNMAN) == 27
    for known in [*SPECIAL.values(), *FEYNMAN.values()]:
        task = FormulaTask(known.formula, known.domain)
        assert task.in_features >= 2 and np.ptp(task.target) > 0


def test_a_row_has_the_score_that_was_published_and_the_best_mlp(monkeypatch):
    asked = []

    def known(task, model, make, score, config):
        network = make(0)
        asked.append((model, network.widths, score))
        if model == "spline":
            return [1e-4, 3e-4], 7.44
        return [1e-3 * len(network.layers)] * 2, 1.0 * len(network.layers)

    monkeypatch.setattr(function_tables, "measured", known)
    cells = ["I.6.2b", "2.0e-04 ± 1e-04", "1.3e-03", "3.0e-03 ± 0e+00", "7.4e-04"]
    cells += ["tanh, 2 layers", "251", "7.4, 3.0"]
    assert row("I.6.2b", Config(table="feynman", seeds=2)) == f"| {' | '.join(cells)} |"
    # 27 edges of 8 functions and silu, and 8 biases; 248 weights and biases, within 2 % of that.
    assert asked == [("spline", [3, 5, 2, 1], "rmse"), ("tanh", [3, 13, 13, 1], "rmse")]
    asked.clear()
    cells = row("ellipkinc", Config(table="special", seeds=2)).split(" | ")
    assert cells[5] == "tanh, 1 layer"
    assert [(model, len(widths), score) for model, widths, score in asked] == [
        ("spline", 3, "mean_error"), ("tanh", 3, "mean_error"), ("relu", 3, "mean_error"),
        ("tanh", 4, "mean_error"),
    ]  # fmt: skip


@pytest.mark.long
def test_errors_are_measured():
    config = Config(table="special", steps=30, lbfgs=30, seeds=2)
    cells = row("lpmv, m = 0", config).split(" | ")
    kan, mlp = (float(cell.split(" ± ")[0]) for cell in (cells[1], cells[3]))
    target = FormulaTask(SPECIAL["lpmv, m = 0"].formula, (0, 1)).target
    constant = np.abs(target - np.median(target)).mean()
    assert 1e-6 < kan < constant / 10 and 1e-6 < mlp < constant / 3
    assert cells[5] in {f"{m}, {n} layer{'s' * (n > 1)}" for m, n in TABLES["special"].mlps}


def test_what_is_no_function_is_one_line(script):
    result = script("function_tables.py", "special", "--only", "gamma")
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    assert "unknown function 'gamma'; choose from ellipkinc" in result.stderr

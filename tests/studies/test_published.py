"""Studies whose splines are refined, and published numbers beside theirs."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tinykan import Predictor, UserError, load
from tinykan.runs.run import MODEL, SUMMARY
from tinykan.studies.grid_tables import scientific
from tinykan.studies.queue import Queue
from tinykan.studies.report import build_report
from tinykan.studies.results import read_results, write_results
from tinykan.studies.study import Study
from tinykan.studies.worker import results, work

REFINED = """
task = "FormulaTask('sin(3*x)', points=50, tested=40)"
[fixed]
depth = 1
steps = 0
lbfgs = 6
[[final]]
seed = [0, 1]
[arms.spline]
parameters = 16
basis = "BSpline(3)"
refine = "5,9"
[arms.tanh]
model = "tanh"
parameters = 13
[published]
source = "A paper, table 2: test RMSE, one seed"
[published.values]
tanh = 0.25
spline = {3 = 0.5, 9 = 2e-3}
"""


@pytest.fixture(scope="module")
def worked(tmp_path_factory):
    """A study that was run, and the folder with the folders of its cells."""
    folder = tmp_path_factory.mktemp("refined")
    (folder / "refined.toml").write_text(REFINED)
    study = Study(folder / "refined.toml")
    queue = Queue(f"sqlite:///{folder / 'study.db'}", study.name)
    said: list[str] = []
    work(study, queue, folder / "cells", said.append)
    assert len(said) == 4 and " min left for the known cells" in said[0]
    write_results(results(study, queue, "the command"), folder / "refined")
    return study, folder


def test_a_cell_has_the_scores_of_each_grid(worked):
    study, folder = worked
    found = read_results(folder / "refined")
    for cell in found.cells:
        assert cell.state == "complete"
        summary = json.loads((folder / "cells" / cell.key / SUMMARY).read_text())
        model = load(folder / "cells" / cell.key / MODEL)
        if cell.arm == "tanh":
            assert cell.grids is None
            continue
        assert [grid["intervals"] for grid in cell.grids] == [3, 5, 9]
        assert (
            [grid["parameters"] for grid in cell.grids]
            == [16, 20, 28]
            == [2 * (n + 3 + 1) + 2 for n in (3, 5, 9)]
        )
        assert cell.parameters == 28 and cell.curve[-1][0] == 18
        assert [layer.basis.intervals for layer in model.layers] == [9, 9]
        rmse = [grid["rmse"] for grid in cell.grids]
        assert rmse[:2] == [before["rmse"] for before in summary["grids"]]
        assert rmse[2] == cell.scores["rmse"] == cell.score
        # The last scores are those of the model that was saved.
        again = study.task.scores(study.task.fitted(Predictor(model)))
        assert again["rmse"] == pytest.approx(cell.score, rel=1e-3)


def test_the_report_has_them_beside_published_numbers(worked):
    found = read_results(worked[1] / "refined")
    report = build_report(found)
    assert report.published.columns == [
        "arm", "condition", "intervals", "parameters", "seeds", "rmse", "median", "published",
        "median / published",
    ]  # fmt: skip
    rows = {(row[0], row[2]): row for row in report.published.rows}
    assert list(rows) == [("spline", "3"), ("spline", "5"), ("spline", "9"), ("tanh", "–")]
    for (arm, intervals), known in {("spline", "9"): 2e-3, ("tanh", "–"): 0.25}.items():
        values = [cell.score for cell in found.cells if cell.arm == arm]
        mean = sum(values) / 2
        spread = abs(values[0] - values[1]) / 2**0.5
        assert rows[arm, intervals][1].startswith("6 iterations of L-BFGS")
        assert rows[arm, intervals][3:] == [
            "28" if arm == "spline" else "13",
            "2",
            f"{mean:.2e} ± {spread:.0e}",
            f"{mean:.2e}",  # of two
            f"{known:.2e}",
            f"{mean / known:.2g} ×",
        ]
    assert rows["spline", "5"][-2:] == ["–", "–"]
    # Of three seeds, the median is that of the middle one, whatever the others are.
    spline = [cell for cell in found.cells if cell.arm == "spline"]
    far = replace(spline[0], grids=[{**grid, "rmse": 9.0} for grid in spline[0].grids])
    low = min(cell.grids[2]["rmse"] for cell in spline)
    three = build_report(replace(found, cells=[*spline, far]))
    middle = max(cell.grids[2]["rmse"] for cell in spline)
    assert low < middle and three.published.rows[2][-3:] == [
        f"{middle:.2e}", "2.00e-03", f"{middle / 2e-3:.2g} ×"
    ]  # fmt: skip
    for text in (report.markdown(), report.html()):
        assert "Published numbers" in text and "A paper, table 2" in text
        assert "16 to 28" in text  # of parameters
    assert report.scores and report.curves and report.costs


def test_a_study_with_neither_has_no_such_table(worked):
    found = read_results(worked[1] / "refined")
    plain = replace(
        found, published=None, cells=[replace(cell, grids=None) for cell in found.cells]
    )
    report = build_report(plain)
    assert report.published is None and "Grid by grid" not in report.markdown()
    refined = build_report(replace(found, published=None))
    assert "Grid by grid" in refined.markdown() and "published" not in refined.published.columns
    assert [row[0] for row in refined.published.rows] == ["spline"] * 3


def test_scientific_numbers():
    assert scientific([]) == "–"
    assert scientific([1.234e-5]) == "1.23e-05"
    assert scientific([1e-5, 3e-5]) == "2.00e-05 ± 1e-05"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('refine = "5,9"', 'refine = "5,4"', "numbers that rise from 3 are needed"),
        ('model = "tanh"', 'model = "tanh"\nrefine = "5"', "the network has no splines"),
        ("tanh = 0.25", "tahn = 0.25", "published: no arm 'tahn'; choose from spline, tanh"),
        ("tanh = 0.25", 'tanh = "0.25"', "published: 'tanh': '0.25' is not a number"),
        ("tanh = 0.25", "tanh = true", "published: 'tanh': True is not a number"),
        ("tanh = 0.25", "tanh = {3 = 1}", "'tanh' is on no grid of 3 intervals"),
        ("9 = 2e-3", "8 = 2e-3", "'spline' is on no grid of 8 intervals, but [3, 5, 9]"),
        ("9 = 2e-3", "9 = nan", "nan is not a number"),
        ("source =", 'score = "psnr"\nsource =', "choose from rmse, mean_error, max_error"),
        ("source =", "sauce =", "published: unknown entry 'sauce'"),
        ('source = "A', 'score = "rmse"\n#', "published: source is missing"),
        ("[published.values]", "[published.value]", "unknown entry 'value'"),
    ],
)
def test_mistakes_are_reported_before_training(study, old, new, message):
    assert REFINED.count(old) == 1
    with pytest.raises(UserError) as error:
        study(REFINED.replace(old, new))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_steps_to_try_out_a_study_count_for_both_optimizers(study):
    cells = study(REFINED, steps=4).cells(lambda cell: 1.0)
    assert {(cell.config["steps"], cell.config["lbfgs"]) for cell in cells} == {(0, 4)}
    assert {cell.arm: cell.steps for cell in cells} == {"spline": 12, "tanh": 4}

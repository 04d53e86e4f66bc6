"""Reports of studies: their numbers against ones computed by hand, and that the HTML is sound."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import sys
from dataclasses import asdict, replace
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from tests.helpers import ROOT
from tinykan import UserError
from tinykan.studies import figures, pictures
from tinykan.studies.report import Report, build_report, write_report
from tinykan.studies.results import cell_from, decode, read_results, results_from, write_results
from tinykan.studies.statistics import Condition, StudyResults, pooled_deviation

HOSTILE = 'b<i>&"$x_1$|*'
VOID = {"meta", "img", "br"}


def png(pixels: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


TARGET = np.arange(64).reshape(8, 8) * 3


def cell(arm: str, mse: float | None, seed: int = 0, **changes) -> dict:
    """A complete final cell, or one that failed if it has no score."""
    done = mse is not None
    config = {"model": arm, "lr": 0.01, "schedule": "cosine", "batch": 4096, "seed": seed}
    config |= {"steps": 2000, "parameters": 10000, **changes.pop("config", {})}
    return {
        "key": f"{arm[0]}{seed}{config['lr']}{config['steps']}{config['parameters']}",
        "arm": arm,
        "phase": "final",
        "tried": False,
        "chosen": False,
        "state": "complete" if done else "failed",
        "reason": None if done else f"{arm} diverged",
        "attempts": 1,
        "config": config,
        "shape": "2-8-1",
        "parameters": 9900,
        "scores": {"mse": mse, "psnr": -10 * np.log10(mse / 4)} if mse else None,
        "compile_seconds": 4.0,
        "train_seconds": 10.0 + seed if done else None,
        "curve": [[1, 0.5, 0.1], [1000, 0.01, 5.0], [2000, mse, 10.0]] if done else [],
        "device": "CPU",
        "renderer": "CLANGJIT",
        "versions": {"tinygrad": "0.13.0"},
        "host_cores": 2,
        "picture": None,
        **changes,
    }


def study(cells: list[dict], **changes) -> dict:
    return {
        "format": 1,
        "name": "test",
        "title": "Is a & b <better>?",
        "question": "A question with <tags> & signs.",
        "notes": "",
        "protocol": "slices",
        "command": "python scripts/ablate.py studies/test.toml",
        "study_file": "name = '<test>'  # ``` in it",
        "score": "mse",
        "lower_is_better": True,
        "scores_shown": ["mse", "psnr"],
        "baseline": None,
        "target_picture": None,
        "cells": cells,
        "planned": len(cells),
        "seconds": 600.0,
        **changes,
    }


def searched(arm: str, scores: dict[float, float | None], chosen: float = 0.01) -> list[dict]:
    return [tried(arm, mse, rate == chosen, lr=rate) for rate, mse in scores.items()]


def tried(arm: str, mse: float | None, chosen: bool, **config) -> dict:
    role = {"phase": "search", "tried": True, "chosen": chosen}
    return cell(arm, mse, **role, config={"steps": 500, **config})


@pytest.fixture
def results() -> dict:
    """a: 2, 3 and 4; b: 3, 4 and 8.3 (times 1e-4); c: 9 and 11, d: failed."""
    cells = [
        *searched("a", {0.001: 3e-3, 0.01: 2e-3, 0.1: None}),
        *searched(HOSTILE, {0.01: 2e-3, 0.1: 4e-3}),
        *(cell(HOSTILE, mse, seed) for seed, mse in enumerate((3e-4, 4e-4, 8.3e-4))),
        *(cell("a", mse, seed) for seed, mse in enumerate((2e-4, 3e-4, 4e-4))),
        *(cell("c", mse, seed) for seed, mse in enumerate((9e-4, 11e-4))),
        cell("d", None),
        cell("a", 1e-4, config={"steps": 4000}),
        cell("c", 2e-4, config={"steps": 4000}),
        cell("a", 7e-4, config={"parameters": 5000}),
    ]
    cells[5]["picture"] = png(TARGET + 30)
    cells[8]["picture"] = png(TARGET + 6)
    return study(cells, planned=20, target_picture=png(TARGET))


class Reader(HTMLParser):
    """Tags that are opened and closed in order; rows of tables; attributes; text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.attributes: list[tuple[str, str, str]] = []
        self.headings: list[int] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.attributes += [(tag, name, value or "") for name, value in attributes]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.caption, self.rows = "", []
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        elif re.fullmatch(r"h\d", tag):
            self.headings.append(int(tag[1]))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "table":
            self.tables[self.caption] = self.rows

    def handle_data(self, data):
        if {"td", "th"} & {*self.open}:
            self.rows[-1][-1] += data
        elif "caption" in self.open:
            self.caption += data


@cache
def _built(results: str) -> Report:
    return build_report(results_from(json.loads(results)))


def built(results: dict) -> Report:
    """Cached, since the figures take seconds."""
    return _built(json.dumps(results))


def table(results: dict, caption: str) -> list[dict[str, str]]:
    tables = Reader(built(results).html()).tables
    columns, *rows = next(rows for name, rows in tables.items() if caption in name)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def test_the_ranking_has_mean_deviation_and_ties(results):
    rows = table(results, "2,000 steps, 10,000 parameters")
    assert [row["arm"] for row in rows] == ["a", HOSTILE, "c", "d"]
    # Deviations with n - 1: of 2, 3, 4 it is 1; of 3, 4, 8.3 it is sqrt(15.86 / 2).
    scores = [row["mse, ×10⁻⁴"] for row in rows]
    assert scores == ["3.00 ± 1.00", "5.10 ± 2.82", "10.00 (9.00, 11.00)", "–"]
    # 5.1 - 3 against sqrt((2 + 15.86) / 4) = 2.11 just ties; 10 - 3 against sqrt(4 / 3) does not.
    assert [row["to the best"] for row in rows] == ["best", "1.70 × ≈", "3.33 ×", "–"]
    assert [row["seeds"] for row in rows] == ["3", "3", "2", "0 of 1"]
    assert [row["learning rates tried"] for row in rows] == ["3", "2", "–", "–"]
    assert rows[0]["parameters"] == "9,900 (−1.0 %)"
    assert rows[0]["seconds"] == "11.0" and rows[0]["learning rate, schedule"] == "0.01, cosine"
    psnr = -10 * np.log10(np.array([2e-4, 3e-4, 4e-4]) / 4)
    assert rows[0]["psnr"] == f"{psnr.mean():.2f} ± {psnr.std(ddof=1):.2f}"


def test_arms_are_compared_within_a_condition_only(results):
    found = StudyResults(results_from(results))
    arms = {condition: [g.arm for g in groups] for condition, groups in found.scored.items()}
    assert arms == {
        Condition(4000, 10000): ["a", "c"],
        Condition(2000, 10000): ["a", HOSTILE, "c"],
        Condition(2000, 5000): ["a"],
    }
    assert list(arms) == sorted(arms, key=lambda c: (-c.steps, -c.budget))
    # One seed each: twice the error, but nobody knows how much of it is chance.
    rows = table(results, "4,000 steps, 10,000 parameters")
    assert [row["to the best"] for row in rows] == ["best", "2.00 × ?"]
    assert "With one seed each the spread is unknown" in built(results).html()


def test_a_tie_is_no_win_and_a_win_is_one():
    def sentence(*groups: tuple[float, ...]) -> str:
        cells = [
            cell("ab"[i], mse, seed)
            for i, group in enumerate(groups)
            for seed, mse in enumerate(group)
        ]
        return built(study(cells)).markdown().split("## Verdict\n\n")[1].splitlines()[0]

    assert sentence((2e-4, 4e-4), (3.5e-4, 4.5e-4)) == (
        "Lowest mse: **a**, (3.00 (2.00, 4.00)) ×10⁻⁴, 2 seeds. "
        "No clear winner: b lies within one pooled standard deviation of it."
    )
    assert sentence((6e-4, 6.2e-4), (2e-4, 2.1e-4)).endswith(
        "Every other arm is behind by more than one pooled standard deviation; the next is a "
        "(2.98 ×)."
    )
    assert sentence((1e-4, 2e-4)).endswith("No other arm has a score yet.")


def test_pooled_deviation():
    assert pooled_deviation([1.0, 3.0], [10.0]) == pytest.approx(2**0.5)
    assert pooled_deviation([1.0, 3.0], [0.0, 4.0]) == pytest.approx(5**0.5)
    assert pooled_deviation([1.0], [2.0]) is None


def test_higher_scores_come_first_if_they_are_better():
    cells = [cell("low", 4e-3), cell("high", 4e-4)]
    rows = table(study(cells, score="psnr", lower_is_better=False), "the highest first")
    assert [(r["arm"], r["psnr"], r["to the best"]) for r in rows] == [
        ("high", "40.00", "best"),
        ("low", "30.00", "−10.00 ?"),
    ]


def test_the_baseline_has_its_place():
    cells = [cell("a", 1e-4), cell("b", 9e-4)]
    baseline = {"label": "bicubic", "scores": {"mse": 5e-4}}
    rows = table(study(cells, baseline=baseline), "the lowest first")
    assert [row["arm"] for row in rows] == ["a", "bicubic (baseline)", "b"]
    baseline["scores"] = {"psnr": 24.1}  # without the deciding score: after all others
    rows = table(study(cells, baseline=baseline), "the lowest first")
    assert [row["arm"] for row in rows] == ["a", "b", "bicubic (baseline)"]
    assert rows[2]["psnr"] == "24.10" and rows[2]["mse, ×10⁻⁴"] == "–"


def test_the_search_shows_every_rate_and_its_limits(results):
    rows = table(results, "after 500 steps, seed 0")
    assert rows == [
        {"arm": "a", "0.001": "3.00", "0.01": "2.00", "0.1": "failed"},
        {"arm": HOSTILE, "0.001": "", "0.01": "2.00", "0.1": "4.00"},
    ]
    html = built(results).html()
    assert html.count("<td><strong>2.00</strong></td>") == 2  # the chosen ones
    assert "beyond which a better one may lie: b&lt;i&gt;" in html  # 0.01 is its lowest
    assert "The effort differs: an arm&#39;s search took from 0 to 3 runs" in html


def test_a_search_over_more_than_the_rate_has_a_row_for_each():
    cells = [
        tried("a", mse, schedule == "cosine", schedule=schedule)
        for schedule, mse in (("cosine", 2e-3), ("constant", 3e-3))
    ]
    html = built(study([*cells, cell("a", 1e-4)])).html()
    rows = next(t for name, t in Reader(html).tables.items() if "after 500 steps" in name)[1:]
    assert rows == [["a (schedule cosine)", "2.00"], ["a (schedule constant)", "3.00"]]
    assert "<strong>2.00</strong>" in html and "<strong>3.00</strong>" not in html


def test_searches_of_two_lengths_are_rows_of_their_own(results):
    own = [tried("a", mse, lr == 0.1, lr=lr, steps=4000) for lr, mse in ((0.01, 9e-4), (0.1, 8e-4))]
    rows = table(results | {"cells": [*results["cells"], *own]}, "after 500 or 4,000 steps")
    assert [(row["arm"], row["0.01"], row["0.1"]) for row in rows] == [
        ("a (steps 500)", "20.00", "failed"),
        ("a (steps 4000)", "9.00", "8.00"),
        (f"{HOSTILE} (steps 500)", "20.00", "40.00"),
    ]


def test_what_is_not_done_is_said(results):
    nameless = cell("e", 1e-9)
    nameless["scores"]["mse"] = None  # how JSON writes a number that is not finite
    results["cells"] += [nameless, cell("f", None, state="running", reason=None)]
    rows = table(results, "Runs without a score")
    assert [(row["arm"], row["reason"]) for row in rows] == [
        ("a", "a diverged"),
        ("d", "d diverged"),
        ("e", "its mse is not a finite number"),
    ]
    text = built(results).markdown()
    assert "20 runs, 15 complete, 3 failed, 1 running, 1 waiting; 10.0 minutes" in text
    assert "The study is not finished" in text
    assert "The study is not finished" not in built(study([cell("a", 1e-4)])).html()


def test_every_number_can_be_traced(results):
    rows = table(results, "Every run")
    assert [row["key"] for row in rows] == [c["key"] for c in results["cells"]]
    assert rows[6] | {"lr": "0.01", "steps": "2000", "seed": "1", "mse": "0.0004"} == rows[6]
    common = {row["name"]: row["value"] for row in table(results, "The same in all runs")}
    assert common == {
        "schedule": "cosine",
        "batch": "4096",
        "device": "CPU",
        "renderer": "CLANGJIT",
        "cores": "2",
        "tinygrad version": "0.13.0",
    }
    results["cells"][0]["versions"] = {"tinygrad": "0.13.1"}
    assert table(results, "Every run")[0]["tinygrad version"] == "0.13.1"


def test_the_html_is_sound_and_needs_nothing_else(results):
    html = built(results).html()
    page = Reader(html)
    steps = [after - before for before, after in pairwise([0, *page.headings])]
    assert max(steps) == 1  # no level is left out
    tags = {tag for tag, *_ in page.attributes} | set(re.findall(r"<(\w+)", html))
    assert not tags & {"script", "link", "iframe", "object", "i"}  # i is in the hostile name
    for tag, name, value in page.attributes:
        if name in ("src", "href"):
            assert (tag, value[:23]) == ("img", "data:image/webp;base64,")
        assert name != "alt" or len(value) > 20
    assert not re.search(r"url\(|@import", html)
    assert html.count("<img") == html.count(" alt=") > 8
    assert html.count("<th ") == len(re.findall('<th scope="(?:row|col)"', html))
    assert "Is a &amp; b &lt;better&gt;?" in html and "name = &#39;&lt;test&gt;" in html


@pytest.mark.parametrize(
    ("low", "high", "exponent", "shown"),
    [
        (4.4e-5, 6.4e-5, -5, ["4.5", "5", "5.5", "6"]),
        (4e-5, 3e-4, -5, ["5", "10", "20"]),
        (0.03, 4e3, -2, ["10", "100", "1,000", "10,000", "100,000"]),
    ],
)
def test_the_scale_of_errors_is_in_the_units_of_the_tables(low, high, exponent, shown):
    """With labels that are apart from each other, however close the errors are."""
    figure, axis = figures._canvas(1.5)
    axis.plot([low, high], [0, 1])
    axis.set_xlim(low, high)
    figures._scale(axis, "x", True, exponent)
    figure.canvas.draw()
    labels = [(label.get_text(), label.get_window_extent()) for label in axis.get_xticklabels()]
    extent = axis.get_window_extent()
    inside = [
        (text, box) for text, box in labels if extent.x0 - 9 < box.x0 and box.x1 < extent.x1 + 9
    ]
    assert [text for text, _ in inside] == shown
    assert all(one.x1 < other.x0 for (_, one), (_, other) in pairwise(inside))


def test_notes_are_markdown_and_nothing_more():
    notes = "One **two** `a<b`\nand [three](https://example.org/?a=1&b=2).\n\n- *four*\n- <b>\n\n"
    notes += "[five](javascript:alert)"
    html = built(study([], notes=notes)).html()
    assert "<p>One <strong>two</strong> <code>a&lt;b</code>\nand <a href=" in html
    assert "<p>[five](javascript:alert)</p>" in html
    assert 'href="https://example.org/?a=1&amp;b=2">three</a>' in html
    assert "<li><em>four</em></li>\n<li>&lt;b&gt;</li>" in html
    assert notes in built(study([], notes=notes)).markdown()


def test_markdown_escapes_and_names_images_that_exist(results, tmp_path):
    write_report(results_from(results), tmp_path / "new")
    text = (tmp_path / "new" / "README.md").read_text()
    assert text.startswith("# Is a \\& b \\<better\\>?\n")
    assert r"| b\<i\>\&" in text and r"\|\* |" in text
    assert "````\nname = '<test>'  # ``` in it\n````" in text
    named = re.findall(r'^<img src="([\w-]+\.webp)" width="\d+" alt="[^"<>]{20,}">$', text, re.M)
    assert len(named) == text.count("<img") > 8
    files = {path.name for path in (tmp_path / "new").iterdir()}
    assert files == {*named, "README.md", "report.html"}
    for name in named:
        assert decode((tmp_path / "new" / name).read_bytes()).std() > 1
    for row in re.findall(r"^\| .*", text, re.MULTILINE):
        assert row.endswith(" |")


def test_the_same_results_give_the_same_bytes(results, tmp_path):
    for folder in ("one", "two"):
        write_report(results_from(json.loads(json.dumps(results))), tmp_path / folder)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_error_maps_share_a_scale_and_captions_have_numbers(results):
    html = built(results).html()
    assert f"mean error {6 / 255:.2%}" in html and f"mean error {30 / 255:.2%}" in html
    error = pictures.errors(np.stack([TARGET + 6] * 3, axis=-1), np.stack([TARGET] * 3, axis=-1))
    assert error == pytest.approx(6 / 255)
    assert pictures.common_limit([error, 5 * error]) == pytest.approx(30 / 255)
    dark, bright = (decode(pictures.error_map(error, limit)) for limit in (1.0, 6 / 255))
    assert dark.shape == bright.shape == (8, 8, 3)
    assert 0 < dark.max() < 40 and bright.mean() > 200  # the two ends of the scale
    assert pictures.shown_size(TARGET) == (296, 296)  # 37 times as large
    assert pictures.shown_size(np.zeros((300, 600))) == (300, 150)
    other = study([cell("a", 1e-4, picture=png(np.zeros((4, 4))))], target_picture=png(TARGET))
    assert "mean error" not in built(other).html()  # the sizes differ


@pytest.mark.parametrize(
    "cells", [[], [cell("a", None)], [cell("a", None, state="waiting", device=None)]]
)
def test_a_study_that_has_barely_begun_is_reported(cells, tmp_path):
    cells = [c | {"config": c["config"] | {"lr": None}} for c in cells]
    write_report(results_from(study(cells, planned=5)), tmp_path)
    assert "No final run is complete yet." in (tmp_path / "README.md").read_text()
    assert Reader((tmp_path / "report.html").read_text())


def broken(change) -> dict:
    results = study([cell("a", 1e-4)])
    change(results)
    return results


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.update(format=2), "no study results of format 1, but 2"),
        (lambda r: r.pop("title"), "the study has title None; it must be str"),
        (lambda r: r["cells"][0].pop("arm"), "cell 0 has arm None"),
        (lambda r: r["cells"][0]["config"].update(steps="many"), "has steps 'many'"),
        (lambda r: r["cells"][0].update(state="odd"), "'odd'; allowed are search or final, and"),
        (lambda r: r["cells"][0].update(train_seconds=None), "which is complete, has train_sec"),
        (lambda r: r["cells"][0].update(curve=[[1, 2]]), r"\[1, 2\] on its curve is not"),
        (lambda r: r["cells"][0].update(picture="AAAA"), "not a PNG in base64"),
        (lambda r: r.update(target_picture="é"), "picture of the target is not a PNG"),
        (lambda r: r.update(target_picture="a.webp"), "picture of the target is no image .*a.webp"),
        (lambda r: r.update(target_picture="../a.webp"), "not a file beside results.json"),
        (lambda r: r.update(baseline={"label": "b"}), "the baseline has scores None"),
        (lambda r: r["cells"].append(7), "cell 1 is 7, not a table"),
    ],
)
def test_invalid_results_are_reported_in_one_line(change, message, tmp_path):
    with pytest.raises(UserError, match=message) as caught:
        write_report(results_from(broken(change), tmp_path), tmp_path / "out")
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_results_are_written_compactly_and_read_again(results, tmp_path):
    results["cells"][5]["curve"] = [[i, 1 / 3, i / 7] for i in range(1, 1001)]
    results["cells"][0]["curve"] = results["cells"][5]["curve"]
    results["cells"][0]["clock"] = results["cells"][5]["clock"] = "training"
    before = results_from(results)
    write_results(before, tmp_path)
    content = json.loads((tmp_path / "results.json").read_text())
    assert (tmp_path / "results.json").read_text().count("\n") == 1
    assert content["target_picture"] == "target.webp"
    pictures_there = {c["picture"] for c in content["cells"]} - {None} | {"target.webp"}
    assert {path.name for path in tmp_path.iterdir()} == {"results.json", *pictures_there}
    assert len(pictures_there) == 3
    after = read_results(tmp_path)
    assert (decode(after.target_picture) == TARGET[..., None]).all()
    assert (decode(after.cells[5].picture) == TARGET[..., None] + 30).all()
    searched, final = after.cells[0].curve, after.cells[5].curve
    assert (len(searched), len(final)) == (21, 101)
    for curve in (searched, final):
        assert curve[0] == [1, 0.33333, 0.14286] and curve[-1] == [1000, 0.33333, 142.86]
    # All else is as it was, and so is what is written again.
    for a, b in zip(before.cells, after.cells, strict=True):
        assert replace(a, curve=None) == replace(b, curve=None)
    assert replace(before, cells=[]) == replace(after, cells=[])
    write_results(after, tmp_path / "again")
    for path in tmp_path.glob("*.*"):
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def test_seconds_are_of_training_in_curves_scores_and_costs(results):
    """In files of earlier versions those of curves and milestones had the compilation in them."""
    cell = results["cells"][5]
    cell |= {"compile_seconds": 4.0, "train_seconds": 2.5}
    cell["curve"] = [[1, 0.5, 3.0], [2, 0.4, 4.0], [10, 0.1, 6.5]]
    cell["scores"] = {**cell["scores"], "seconds_to_30_db": 5.25}
    read = results_from(results).cells[5]
    assert read.curve == [[1, 0.5, 0.0], [2, 0.4, 0.0], [10, 0.1, 2.5]]
    assert read.curve[-1][2] == read.train_seconds and read.clock == "training"
    assert read.scores["seconds_to_30_db"] == 1.25
    again = cell_from({**asdict(read), "picture": None}, "the cell")
    assert again.curve == read.curve and again.scores == read.scores


@pytest.mark.parametrize(
    "path", sorted((ROOT / "docs" / "studies").glob("*/results.json")), ids=str
)
def test_committed_results_can_be_read(path):
    folder = path.parent
    results = read_results(folder)
    assert results.planned == len(results.cells) and results.name == folder.name
    assert results.study_file == folder.with_suffix(".toml").read_text()
    assert len(StudyResults(results).failed) == 0
    assert (results.target_picture is None) == results.protocol.startswith(
        ("FormulaTask", "EquationTask")
    )
    for cell in results.cells:  # rounded to 5 digits, and to hundredths
        assert cell.curve[-1][2] == pytest.approx(
            cell.train_seconds, abs=0.01 + 1e-4 * cell.seconds
        )


@pytest.mark.parametrize("missing", ["jinja2", "matplotlib"])
def test_a_missing_extra_is_named_when_a_report_is_asked_for(missing):
    program = (
        f"import sys\nsys.modules[{missing!r}] = sys.modules['optuna'] = None\n"
        "import tinykan.studies\ntry:\n    import tinykan.studies.report\n"
        "except tinykan.UserError as error:\n    print(error)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    install = f"install it with: pip install {missing} (tinykan's extra 'study' has it)"
    assert result.stdout == f"a report needs {missing}; {install}\n", result.stderr


def test_the_script(script, results, tmp_path):
    result = script("report.py", tmp_path)
    assert result.returncode == 1 and "results.json: No such file" in result.stderr
    for content in ("{", "[1]", "\N{NO-BREAK SPACE}"):
        (tmp_path / "results.json").write_text(content)
        result = script("report.py", tmp_path)
        assert result.returncode == 1 and len(result.stderr.splitlines()) == 1
        assert "results.json" in result.stderr
    (tmp_path / "results.json").write_text(json.dumps(results))
    result = script("report.py", tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{tmp_path / 'report.html'} and {tmp_path / 'README.md'}\n"
    assert (tmp_path / "report.html").read_text() == built(results).html()
    assert "the folder with results.json" in script("report.py", "--help").stdout


def test_a_report_leaves_no_images_of_the_one_before(results, tmp_path):
    (tmp_path / "mine.png").write_bytes(b"")
    write_report(results_from(results), tmp_path)
    before = {path.name for path in tmp_path.iterdir()}
    for entry in results["cells"]:
        entry["arm"] = entry["arm"].replace("c", "renamed")
    results["cells"][8]["picture"] = None
    write_report(results_from(results), tmp_path)
    after = {path.name for path in tmp_path.iterdir()}
    gone = before - after
    assert {name.split("-")[0] for name in gone} == {"picture", "errors"} and len(gone) == 2
    names = set(re.findall(r'src="([\w-]+\.webp)"', (tmp_path / "README.md").read_text()))
    assert after == names | {"mine.png", "README.md", "report.html"}


@pytest.mark.long
def test_images_of_the_former_format_are_deleted_and_pictures_of_the_results_kept(
    results, tmp_path
):
    for name in ("scores-1.png", "picture-x.webp"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "README.md").write_text("![a](scores-1.png)\n<img src=\"picture-x.webp\" alt='b'>")
    results["cells"][0]["picture"] = png(TARGET)  # of a search: no report shows it
    write_results(results_from(results), tmp_path)
    write_report(read_results(tmp_path), tmp_path)
    write_report(read_results(tmp_path), tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert not names & {"scores-1.png", "picture-x.webp"}
    assert read_results(tmp_path).cells[0].picture_file in names

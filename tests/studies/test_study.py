"""Studies: the cells that their files expand to."""

from __future__ import annotations

import numpy as np
import pytest
from tinygrad.nn.state import get_parameters

from tests.helpers import ROOT, limited, mutated
from tests.studies.helpers import TINY
from tinykan import UserError
from tinykan.runs.command_line import checked
from tinykan.runs.models import MODELS
from tinykan.runs.presets import network_for, task_from
from tinykan.studies.cell import RESULTS_VERSION, Cell, CellOptions
from tinykan.studies.results import read_results
from tinykan.studies.study import Study, expand
from tinykan.tasks.benchmarks import BENCHMARKS
from tinykan.training import Training


def test_the_search_comes_first_and_its_best_goes_on(study):
    tiny = study()
    search = tiny.cells(lambda cell: None)
    assert [(c.arm, c.phase, c.config["lr"]) for c in search] == [
        (arm, "search", lr)
        for arm in ("tanh", "spline, basis BSpline(2)", "spline, basis BSpline(3)")
        for lr in (1e-3, 1e-2)
    ]
    assert tiny.planned == 6 + 3 * 2 + 1
    # The higher PSNR wins; an arm whose search is not over waits.
    scores = {c.key: 20.0 - c.config["lr"] for c in search[:4]}
    finals = tiny.cells(lambda cell: scores.get(cell.key))[6:]
    assert [(c.arm, c.config["steps"], c.config["seed"], c.config["lr"]) for c in finals] == [
        ("tanh", 8, 0, 1e-3),
        ("spline, basis BSpline(2)", 8, 0, 1e-3),
        ("tanh", 8, 1, 1e-3),
        ("spline, basis BSpline(2)", 8, 1, 1e-3),
        ("tanh", 12, 0, 1e-3),
    ]
    scores[search[0].key] = float("nan")  # it failed
    assert tiny.cells(lambda cell: scores.get(cell.key))[6].config["lr"] == 1e-2
    scores[search[1].key] = float("nan")
    assert {c.arm for c in tiny.cells(lambda cell: scores.get(cell.key))[6:]} == {
        "spline, basis BSpline(2)"
    }


def test_a_final_may_search_for_itself_at_its_own_length(study):
    """Its first seed may be one of those that were tried: one run in two roles."""
    long = "steps = 12\nseed = [0, 5]\nsearch = {lr = [1e-3, 1e-1], seed = 5}"
    tiny = study(TINY.replace("steps = 12", long))
    scores = {c.key: c.config["lr"] for c in tiny.cells(lambda cell: None)}
    cells = tiny.cells(lambda cell: scores.get(cell.key))
    of_tanh = [c for c in cells if c.arm == "tanh"]
    assert [
        (c.config["steps"], c.config["seed"], c.config["lr"], c.phase, c.tried, c.chosen)
        for c in of_tanh
    ] == [
        (4, 0, 1e-3, "search", True, False),
        (4, 0, 1e-2, "search", True, True),
        (8, 0, 1e-2, "final", False, False),
        (8, 1, 1e-2, "final", False, False),
        (12, 5, 1e-3, "search", True, False),
        (12, 5, 1e-1, "final", True, True),
        (12, 0, 1e-1, "final", False, False),
    ]
    assert tiny.planned == len(cells) == 6 + 3 * 2 + 2 + 1


def test_keys_tell_configurations_and_data_apart(study):
    tiny = study()
    keys = [cell.key for cell in tiny.cells(lambda cell: 1.0)]
    assert len(set(keys)) == len(keys) == 13
    assert [c.key for c in study().cells(lambda cell: 1.0)] == keys
    renamed = study(TINY.replace("arms.tanh", "arms.mlp").replace('["tanh"]', '["mlp"]'))
    assert [c.key for c in renamed.cells(lambda cell: 1.0)] == keys
    other = study(TINY.replace("size=12", "size=13"))
    assert not {c.key for c in other.cells(lambda cell: 1.0)} & set(keys)
    short = study(steps=4)
    assert {c.config["steps"] for c in short.cells(lambda cell: 1.0)} == {4}
    assert short.name == "tiny-4-steps"


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("activation", 133),
        ("held-out", 42),
        ("image", 80),
        ("image-muon", 88),
        ("slices", 124),
        ("slices-muon", 124),
        ("variants", 198),
        ("depth", 130),
    ],
)
def test_keys_of_committed_results_stay(name, count):
    """Databases and folders of those runs stay valid. (The study of grids is older than this form
    of keys.)"""
    folder = ROOT / "docs" / "studies" / name
    if not (folder / "results.json").exists():
        pytest.skip("a source distribution has no results")
    results = read_results(folder)
    digest = task_from(results.protocol).digest
    version = results.version or 1
    cells = [Cell(c.arm, c.phase, c.config, digest, version=version) for c in results.cells]
    assert [cell.key for cell in cells] == [c.key for c in results.cells]
    assert len(cells) == count
    assert {c.config["task"] for c in cells} == {results.protocol} <= set(BENCHMARKS)


def test_keys_do_not_change_with_the_names_of_options():
    config = {"task": "slices", "model": "tanh", "lr": 0.01, "encoding": "octaves"}
    former = {**config, "task": "P1", "encoding": "seed"}
    keys = {Cell("a", "final", c, "0123", version=1).key for c in (config, former)}
    assert keys == {"d73e65eb8b017e0e"}


def test_code_that_computes_other_numbers_has_other_keys():
    cells = [Cell("a", "final", {"task": "slices"}, "0123", version=v) for v in (1, 2, 3)]
    assert len({cell.key for cell in cells}) == 3
    assert Cell("a", "final", {"task": "slices"}, "0123").version == RESULTS_VERSION


# The version of the results, and what belongs to it: the means of the absolute parameters that
# networks of 2,000 parameters start with, and losses in the fifth step. Where a change of code
# moves one of these numbers, RESULTS_VERSION is raised with it.
VERSION = 2
STARTS = {
    "tanh": 0.166671,
    "relu": 0.103858,
    "siren": 0.0224573,
    "h-siren": 0.0224573,
    "finer": 0.0244751,
    "gauss": 0.103936,
    "wire": 0.103936,
    "quadratic": 0.143414,
    "cubic": 0.13087,
    "sine-quadratic": 0.0200493,
    "siren-kan": 0.0200493,
    "spline-sines": 0.175237,
    "sines-kan": 0.0152569,
    "fkan": 0.0897009,
    "sl2a": 0.10532,
    "staf": 0.138278,
    "node-sines": 1.89768,
    "node-spline": 0.496931,
    "shared-spline": 0.0556362,
    "node-cubic": 0.189901,
    "spline": 0.0203029,
    "rbf": 0.128245,
    "chebyshev": 0.152037,
    "fourier": 0.0282884,
    "wavelet": 0.150975,
    "edge-tanh": 0.573349,
}
LOSSES = {("tanh", "adam"): 0.488486, ("siren", "muon"): 0.380022}


def cell_options(**options) -> CellOptions:
    return checked(CellOptions, {"parameters": 2000, "steps": 100, "quiet": True, **options})


def test_networks_start_as_those_of_this_version_of_the_results():
    assert RESULTS_VERSION == VERSION and STARTS.keys() == MODELS.keys()
    task = task_from("image-128")
    for model, expected in STARTS.items():
        network = network_for(task, cell_options(model=model), 0)
        started = np.concatenate([p.numpy().ravel() for p in get_parameters(network)])
        assert np.abs(started).mean() == pytest.approx(expected, rel=1e-5), model  # its digits


def test_the_optimizer_of_the_model_by_default_or_by_name_is_the_same_run():
    def key(model, **options):
        return Cell("a", "final", {"task": "slices", "model": model, **options}, "0123").key

    for model in ("siren", "spline-sines"):
        own, other = sorted(("adam", "muon"), key=lambda name: name != MODELS[model].optimizer)
        assert key(model) == key(model, optimizer=None) == key(model, optimizer=own)
        assert key(model) != key(model, optimizer=other)


@pytest.mark.parametrize(("model", "optimizer"), LOSSES)
def test_training_is_that_of_this_version_of_the_results(model, optimizer):
    options = cell_options(model=model, optimizer=optimizer, lr=1e-3, batch=64)
    task = task_from("image-128")
    steps = Training(
        network_for(task, options, 0),
        task.sampler(options.batch, 0),
        steps=options.steps,
        learning_rate=options.rate,
        optimizer=optimizer,
        log_every=1,
        progress=False,
    )
    fifth = next(step.loss for step in steps if step.number == 5)
    # Compilers order float32 sums differently, by which five steps differ in less than 1e-5.
    assert fifth == pytest.approx(LOSSES[model, optimizer], rel=1e-4)


def test_moving_grids_by_default_are_another_run_under_lbfgs_only():
    def key(**options):
        return Cell("a", "final", {"task": "slices", "lr": 0.01, **options}, "0123").key

    assert key() == key(grid_updates=0) == key(grid_updates=None) != key(grid_updates=5)
    keys = {key(lbfgs=10, grid_updates=updates) for updates in (None, 0, 5)}
    assert len(keys) == 3


def test_factors_and_ranges():
    assert expand({"a": [1, 2], "b": 3, "c": ["x", "y"]}, "") == [
        {"a": a, "b": 3, "c": c} for a in (1, 2) for c in ("x", "y")
    ]
    table = {
        "draws": 200,
        "lr": {"low": 1e-4, "high": 1e-1, "log": True},
        "n": {"low": 1, "high": 4},
    }
    drawn = expand(table, "arm")
    assert drawn == expand(table, "arm") != expand(table, "other")
    rates = sorted(d["lr"] for d in drawn)
    assert rates[0] >= 1e-4 and rates[-1] <= 1e-1 and 1e-3 < rates[100] < 1e-2
    assert {d["n"] for d in drawn} == {1, 2, 3, 4}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("title =", "titel =", "unknown entry 'titel' of the study; choose from title"),
        ("[fixed]", "[fixed", "not a readable study"),
        ('task = "ImageTask(size=12)"', "", "task is missing"),
        ("size=12", "sise=12", "unexpected keyword argument 'sise'"),
        ('model = "tanh"', 'model = "tan"', "tanh: model 'tan': choose from tanh"),
        ('model = "tanh"', "widht = 3", "tanh: unknown option 'widht'; choose from model"),
        ("depth = 2", "depth = 0", "depth 0 is below the least allowed, 1"),
        ("batch = 64", "batch = 6.5", "batch 6.5 is not a whole number"),
        ('arms = ["tanh"]', 'arms = ["tan"]', "final names arm 'tan'; choose from tanh, spline"),
        ("lr = [1e-3, 1e-2]", "lr = {low = 1, high = 2}", "say how many to draw"),
        ("lr = [1e-3, 1e-2]", "draws = 2\nlr = {low = 2, high = 1}", "lr: a range is {low = 1e-4"),
        ("[arms.tanh]", "[arm.tanh]", "unknown entry 'arm'"),
        ("[fixed]", 'score = "dB"\n[fixed]', "score 'dB': choose from psnr, ssim, mse"),
        ('arms = ["tanh"]', "search = 3", "search is a table: [search]"),
    ],
)
def test_what_cannot_be_a_study_is_one_line(study, old, new, message):
    with pytest.raises(UserError) as error:
        study(TINY.replace(old, new))
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("count", [100, pytest.param(10_000, marks=pytest.mark.long)])
def test_damaged_files_are_read_or_refused_in_one_line(study, count):
    committed = sorted((ROOT / "docs" / "studies").glob("*.toml"))
    contents = [TINY, *(path.read_text() for path in committed)]
    path, rng, refused = study().path, np.random.default_rng(0), 0
    for _ in range(count):
        changed = mutated(contents[rng.integers(len(contents))].encode(), rng)
        path.write_bytes(changed)
        try:
            with limited(5):
                Study(path).cells(lambda cell: None)
        except UserError as error:
            assert "\n" not in str(error)
            refused += 1
    assert 0 < refused < count

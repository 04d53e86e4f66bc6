"""What a run's record says, and which runs are the same."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace

import numpy as np
import pytest
from tinygrad.nn.state import get_parameters

from tinykan import UserError
from tinykan.runs.options import Options
from tinykan.runs.presets import MODELS, network_for
from tinykan.runs.records import comparable, resolved
from tinykan.runs.run import Run
from tinykan.tasks.task import FunctionTask, ImageTask

SMALL = {"parameters": 2000, "depth": 2}
TASK = ImageTask(size=12)


def record(options: Options, task=TASK) -> dict:
    return resolved(options, task, network_for(task, options, options.seed))


@pytest.mark.parametrize("model", MODELS)
def test_the_record_names_what_the_defaults_were_and_gives_the_same_network(model):
    options = Options(model=model, **SMALL)
    found = record(options)
    assert None not in found.values()
    assert found["lr"] == MODELS[model].learning_rate
    assert found["optimizer"] == MODELS[model].optimizer
    assert {"basis", "base", "activation", "norm", "encoding"} <= found.keys()
    first = network_for(TASK, options, 3)
    names = {field.name for field in fields(Options)}
    again = replace(options, **{k: v for k, v in found.items() if k in names})
    second = network_for(TASK, again, 3)
    assert found["widths"] == second.widths == first.widths
    assert first.encoding == second.encoding and first.norm == second.norm
    for ours, theirs in zip(get_parameters(first), get_parameters(second), strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {},
            {
                "basis": "BSpline(intervals=5, order=3, domain=(-1.0, 1.0))",
                "base": "silu",
                "activation": "identity",
                "norm": "none",
                "encoding": "octaves(channels=8)",
                "lr": 1e-2,
            },
        ),
        ({"lr": 0.5, "base": "none"}, {"lr": 0.5, "base": "none"}),
        ({"model": "siren"}, {"basis": "Linear()", "encoding": "none", "activation": "sine30"}),
        ({"encoding": "gaussian(9)"}, {"encoding": "gaussian(features=9, scale=5.0, seed=0)"}),
        ({"encoding": "scaled"}, {"encoding": "scaled(factor=3.0)"}),
        ({"basis": "Linear, Fourier(2), Linear"}, {"basis": "Linear(), Fourier(frequencies=2, "}),
    ],
)
def test_resolved_options(options, expected):
    found = record(Options(**SMALL, **options))
    for name, value in expected.items():
        assert found[name] == value or str(found[name]).startswith(str(value))


def test_a_chosen_frequency_is_in_the_record():
    """A run is resumed, and its model rendered, without the choice being made again."""
    options = Options(**SMALL, model="siren", encoding="auto")
    found, model = record(options), network_for(TASK, options, 0)
    assert found["encoding"] == f"scaled(factor={model.encoding.factor})"
    again = replace(options, encoding=found["encoding"])
    assert record(again) == found
    assert comparable(found, options, TASK) == comparable(found, again, TASK)


def test_a_record_of_an_earlier_version_is_of_the_same_run():
    """It left options at their defaults open, and had neither widths nor the newest options."""
    options = Options(**SMALL, lr=None)
    earlier = asdict(options)
    del earlier["overwrite"], earlier["halvings"]
    assert earlier["lr"] is None and earlier["basis"] is None
    ours = {**record(options), "task": repr(TASK), "device": "CPU", "out": "runs/a"}
    assert comparable(earlier, options, TASK) == comparable(ours, options, TASK)
    for other in ({"lr": 0.5}, {"basis": "BSpline(6)"}, {"norm": "layer"}, {"seed": 1}):
        changed = {**earlier, **other}
        assert comparable(changed, options, TASK) != comparable(ours, options, TASK)


def finished(folder, options: Options, task=TASK) -> Run:
    """A run without its training: its folder has a summary."""
    run = Run.open(folder, options, task, network_for(task, options, 0))
    summary = {"finished": True, "config": run.config, "data": run.data, "of": str(run.folder)}
    (run.folder / "summary.json").write_text(json.dumps(summary))
    run._files.release()
    return run


def test_runs_of_other_options_or_data_get_other_folders(tmp_path):
    default, options = tmp_path / "camera-spline", Options(**SMALL)
    assert finished(default, options).folder == default
    assert finished(default, options).folder == default  # the same again
    other = replace(options, lr=0.5)
    assert finished(default, other).folder == tmp_path / "camera-spline-2"
    assert finished(default, options, ImageTask(size=13)).folder == tmp_path / "camera-spline-3"
    assert finished(default, other).folder == tmp_path / "camera-spline-2"
    assert finished(default, replace(options, overwrite=True)).folder == default
    # A run to be resumed is found among them.
    found = Run.open(default, replace(other, resume=True), TASK, network_for(TASK, other, 0))
    assert found.finished and found.finished["of"] == str(tmp_path / "camera-spline-2")
    unknown = replace(options, steps=7, resume=True)
    with pytest.raises(UserError, match="of another configuration: steps was 1000 and is 7"):
        Run.open(default, unknown, TASK, network_for(TASK, unknown, 0))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "camera-spline",
        "camera-spline-2",
        "camera-spline-3",
    ]


def test_a_named_folder_with_the_results_of_other_options_is_refused(tmp_path):
    options = Options(**SMALL, out=str(tmp_path / "run"))
    folder = finished("unused", options).folder
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    other = replace(options, lr=0.5)
    with pytest.raises(
        UserError, match=r"lr was 0.01 and is 0.5; .* --out, or --overwrite"
    ) as error:
        finished("unused", other)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="about other data"):
        finished("unused", options, ImageTask(size=13))
    with pytest.raises(UserError, match="configuration"):
        finished("unused", options, FunctionTask("zigzag"))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    finished("unused", replace(other, overwrite=True))
    assert json.loads((folder / "config.json").read_text())["lr"] == 0.5
    with pytest.raises(UserError, match="choose one"):
        finished("unused", replace(other, overwrite=True, resume=True))


def test_a_folder_in_use_by_other_options_is_passed_over(tmp_path):
    options = Options(**SMALL)
    model = network_for(TASK, options, 0)
    first = Run.open(tmp_path / "run", options, TASK, model)
    with pytest.raises(UserError, match="in use by another run"):
        Run.open(tmp_path / "run", options, TASK, model)
    second = Run.open(tmp_path / "run", replace(options, lr=0.5), TASK, model)
    assert (first.folder.name, second.folder.name) == ("run", "run-2")


def test_the_files_hold_what_was_done(script, tmp_path):
    command = ["fit_image.py", "photo.png", "--model", "tanh", "--parameters", 200, "--depth", 2]
    command += ["--steps", 3, "--batch", 64]
    (tmp_path / "photo.png").write_bytes(picture())
    for lr in ((), ("--lr", 0.02), ()):
        result = script(*command, *lr, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
    folders = {path.name for path in (tmp_path / "runs").iterdir()}
    assert folders == {"photo-tanh", "photo-tanh-2"}
    rates = []
    for name in sorted(folders):
        config = json.loads((tmp_path / "runs" / name / "config.json").read_text())
        summary = json.loads((tmp_path / "runs" / name / "summary.json").read_text())
        assert None not in config.values() and None not in summary["config"].values()
        assert summary["config"] == config and config["data"] == summary["data"]
        assert config["image"] == "photo.png" and config["size"] == 12
        assert config["encoding"] == "octaves(channels=8)" and config["activation"] == "tanh"
        assert config["device"] == summary["device"] and config["out"] == f"runs/{name}"
        rates.append(config["lr"])
        lines = (tmp_path / "runs" / name / "metrics.jsonl").read_text().splitlines()
        last = json.loads(lines[-1])["seconds"]
        assert last == pytest.approx(summary["train_seconds"], abs=2e-3)  # of rounding
    assert rates == [5e-3, 0.02]


def picture() -> bytes:
    import io

    from PIL import Image

    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()

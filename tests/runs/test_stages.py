"""Runs whose splines are refined: trained on each grid, scored before each refinement, and resumed
with the same bits from wherever they were interrupted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tinygrad import Tensor, dtypes

from tinykan import MLP, UserError, load
from tinykan.commands.solve_equation import Config
from tinykan.runs.presets import network_for
from tinykan.runs.run import Run
from tinykan.runs.stages import Stages, grids_from
from tinykan.tasks import EquationTask
from tinykan.training import Step, Training

GRIDS = [6, 8]
TASK = EquationTask("heat", resample=True)
OPTIONS = Config(
    parameters=51, basis="BSpline(4)", steps=3, lbfgs=4, batch=40, checkpoint_every="1", quiet=True
)


class Killed(Exception):
    pass


def trained(
    folder: Path, options: Config, end: int = 0, task: EquationTask = TASK, grids: Any = GRIDS
) -> dict[str, object] | None:
    """What a run leaves in its folder, or None if it was killed at the step `end`."""
    model = network_for(task, options, 0)
    out = Run(folder, options, task, model)

    def look(step: Step) -> None:
        if step.number == end:
            out._files.release()  # as the end of the process does
            raise Killed

    try:
        history, problem = out.train(look=look, grids=grids, log_every=1)
    except Killed:
        return None
    summary = out.finish(history, {}, problem)
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    logged = [(line["step"], line["loss"]) for line in lines]
    assert logged == list(zip(history.steps, history.losses, strict=True))
    return {
        "model": (folder / "model.safetensors").read_bytes(),
        "losses": logged,
        "grids": summary.get("grids"),
    }


@pytest.mark.long
@pytest.mark.parametrize(
    ("steps", "ends"),
    # Within Adam's steps or L-BFGS's iterations on each grid.
    [(0, (7,)), (3, (2, 6, 8, 13, 19)), (0, (1, 3, 5, 10))],
)
def test_a_run_is_resumed_on_any_grid_with_the_same_bits(tmp_path, steps, ends):
    options = replace(OPTIONS, steps=steps, grid_updates=1)
    whole = trained(tmp_path / "whole", options)
    stage = steps + 4
    assert [number for number, _ in whole["losses"]] == list(range(1, 3 * stage + 1))
    assert [found["parameters"] for found in whole["grids"]] == [51, 63]
    refined = load(tmp_path / "whole" / "model.safetensors")
    assert [layer.basis.intervals for layer in refined.layers] == [8, 8]
    for end in ends:
        folder = tmp_path / f"killed-at-{end}"
        assert trained(folder, options, end) is None
        assert trained(folder, replace(options, resume=True)) == whole


@pytest.mark.long
def test_the_steps_of_the_sampler_go_on_from_one_grid_to_the_next():
    model, sample = network_for(TASK, OPTIONS, 0), TASK.sampler(40, 0)

    def train(sample, state):
        return Training(model, sample, steps=3, loss=TASK.loss, progress=False)

    first_points = []
    for training in Stages(model, [6], sample, train, dict):
        first_points.append(training.points(0)[0].numpy())
        assert len(list(training)) == 3
    for points, step in zip(first_points, (0, 3), strict=True):
        expected = sample(Tensor([step], dtype=dtypes.int32))[0].numpy()
        np.testing.assert_array_equal(points, expected)
    assert not np.array_equal(*first_points)


@pytest.mark.parametrize("text", ["", "x", "4", "8,8", "8,6", "-3", "6.5"])
def test_grids_that_do_not_rise_are_refused_in_one_line(text):
    model = network_for(TASK, OPTIONS, 0)
    with pytest.raises(UserError, match="refine") as caught:
        grids_from(text, model)
    assert "\n" not in str(caught.value)


def test_grids_of_a_network_without_splines_are_refused():
    assert grids_from(None, MLP([2, 1])) == []
    with pytest.raises(UserError, match="no splines"):
        grids_from("6", MLP([2, 1]))


def test_the_command_prints_and_records_the_scores_of_each_grid(script, tmp_path):
    options = ["--equation", "heat", "--parameters", 51, "--basis", "BSpline(4)", "--refine", "6"]
    options += ["--steps", 2, "--lbfgs", 2, "--out", tmp_path]
    result = script("solve_equation.py", *options)
    assert result.returncode == 0, result.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    (found,) = summary["grids"]
    assert found["parameters"] == 51
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("before 6 intervals")]
    assert f"mse {found['mse']:.4g}" in line and "parameters 51" in line
    assert summary["parameters"] == 63 and summary["steps"] == 8

"""Residual-based attention: the weights of points, under Adam, under L-BFGS and when resumed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tinygrad import Tensor, dtypes

from tests.runs.test_stages import trained
from tinykan import KAN, BSpline
from tinykan.commands.solve_equation import Config
from tinykan.errors import UserError
from tinykan.tasks import EQUATIONS, EquationTask
from tinykan.training import Training

SMALL = replace(EQUATIONS["heat"], points=(9, 7), per_side=5)
TASK = EquationTask(SMALL, attention=True)


def training(steps, lbfgs=0, task=TASK):
    model = KAN([2, 3, 1], BSpline(4), seed=0)
    options = {"steps": steps, "lbfgs": lbfgs, "loss": task.loss, "log_every": 1}
    return Training(model, task.sampler(100, 0), progress=False, **options)


def test_weights_follow_the_residuals_step_by_step():
    run, weights = training(steps=4), np.ones(63)
    (x, y), losses = run.points(0), []

    def residual():
        found = SMALL.residuals(run.model, x[:63].contiguous()).numpy().astype(float)
        on_sides = run.model(x[63:].contiguous()).numpy() - y[63:].numpy()
        return found, np.mean(on_sides**2)

    before, on_sides = residual()
    for step in run:
        weights = 0.999 * weights + 0.01 * np.abs(before) / np.abs(before).max()
        # Four steps in float32, each of which rounds a few times.
        np.testing.assert_allclose(run.kept["attention"].numpy(), weights, rtol=1e-6)
        losses.append(np.mean((weights * before) ** 2) + on_sides)
        assert step.loss == pytest.approx(losses[-1], rel=1e-5)
        before, on_sides = residual()
    assert len(losses) == 4 and np.ptp(weights) > 0.02


def test_lbfgs_takes_the_weights_as_they_stand():
    run = training(steps=3, lbfgs=5)
    for _ in run:
        pass
    weights = run.kept["attention"].numpy()
    run.refine()
    np.testing.assert_array_equal(run.kept["attention"].numpy(), weights)
    x, y = run.points(0)
    r = SMALL.residuals(run.model, x[:63].contiguous()).numpy()
    on_sides = run.model(x[63:].contiguous()).numpy() - y[63:].numpy()
    expected = np.mean((weights * r) ** 2) + np.mean(on_sides**2)
    assert run.history.losses[-1] == pytest.approx(expected, rel=1e-4)  # of the model in float32
    assert run.history.losses[-1] < run.history.losses[3]


def test_residuals_that_are_all_zero_leave_weights_finite():
    nothing = replace(SMALL, residual=lambda x, u: u.value * 0.0)
    run = training(steps=2, task=EquationTask(nothing, attention=True))
    for _ in run:
        pass
    np.testing.assert_allclose(run.kept["attention"].numpy(), 0.999**2, rtol=1e-6)


@pytest.mark.long
def test_a_run_with_attention_is_resumed_with_the_same_bits(tmp_path):
    options = Config(
        equation="heat", parameters=51, basis="BSpline(4)", steps=4, lbfgs=2, attention=True,
        hard_constraints=True, checkpoint_every="1", quiet=True,
    )  # fmt: skip
    task = EquationTask("heat", hard_constraints=True, attention=True)
    whole = trained(tmp_path / "whole", options, task=task, grids=())
    assert trained(tmp_path / "killed", options, 2, task=task, grids=()) is None
    resumed = replace(options, resume=True)
    assert trained(tmp_path / "killed", resumed, task=task, grids=()) == whole
    plain = replace(options, attention=False)
    without = EquationTask("heat", hard_constraints=True)
    assert trained(tmp_path / "plain", plain, task=without, grids=()) != whole


def test_attention_needs_points_that_stay():
    with pytest.raises(UserError, match=r"^attention is for the points of a grid: resample draws"):
        EquationTask("heat", resample=True, attention=True)
    with pytest.raises(UserError, match=r"^batch 62: attention needs all 63 points$"):
        TASK.sampler(62, 0)


def test_each_training_starts_with_equal_weights():
    first = TASK.loss
    x, y = TASK.sampler(100, 0)(Tensor([0], dtype=dtypes.int32))
    model = KAN([2, 3, 1], BSpline(4), seed=0)
    plain = EquationTask(SMALL).loss(model, x, y).item()
    assert first(model, x, y).item() == pytest.approx(plain, rel=1e-6)
    first.stepping(model, x, y).realize()
    assert first(model, x, y).item() != pytest.approx(plain, rel=1e-4)
    assert TASK.loss(model, x, y).item() == pytest.approx(plain, rel=1e-6)

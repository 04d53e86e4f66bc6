"""L-BFGS after Adam, against solutions known otherwise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special
from tinygrad import Tensor, dtypes

from tests.helpers import float64, needs_float64
from tinykan import KAN, MLP, BSpline, DivergenceError, Predictor, UserError, batches, fit
from tinykan.fitting.grids import knot_vectors
from tinykan.fitting.least_squares import b_splines
from tinykan.fitting.moving_grids import FIRST_MARGIN
from tinykan.tensors import learnable
from tinykan.training import Training, mean_squared_error

RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, (200, 1))
Y = np.sin(4 * X) + 0.1 * RNG.normal(size=X.shape)


@pytest.fixture
def doubles():
    with float64():
        yield


def spline(intervals: int = 6) -> KAN:
    return KAN([1, 1], BSpline(intervals), base=None, spline_weight=False, bias=False, seed=0)


@needs_float64
def test_a_linear_problem_is_solved(doubles):
    """Least squares of noisy data: its minimum is NumPy's."""
    model = spline()
    history = fit(model, batches(X, Y), steps=0, lbfgs=200, progress=False)
    bases = b_splines(X.T, knot_vectors(model.layers[0].basis, 1), 3)[0]
    solution, residual, *_ = np.linalg.lstsq(bases, Y, rcond=None)
    assert history.losses[-1] == pytest.approx(residual[0] / len(X), rel=1e-12)
    np.testing.assert_allclose(model.layers[0].coefficients.numpy()[0], solution, atol=1e-6)


def of_outputs(prediction: Tensor, target: Tensor) -> Tensor:
    return mean_squared_error(prediction, target)


def of_the_model(model: KAN, x: Tensor, y: Tensor) -> Tensor:
    return mean_squared_error(model(x), y)


@needs_float64
@pytest.mark.parametrize(
    ("loss", "penalty", "preconditioned"),
    [
        (of_outputs, None, True),
        (of_the_model, None, False),
        (of_outputs, lambda values: 0 * values[0].sum(), False),
    ],
    ids=["outputs", "model", "penalty"],
)
def test_what_asks_for_more_than_outputs_has_no_preconditioner(
    doubles, loss, penalty, preconditioned
):
    """The first iteration then goes down the gradient with respect to the parameters."""
    model = KAN([1, 2, 1], BSpline(5), seed=2)
    weights = learnable(model)
    before = [weight.numpy().copy() for weight in weights]
    slopes = mean_squared_error(model(Tensor(X)), Tensor(Y)).gradient(*weights)
    slope = np.concatenate([slope.numpy().ravel() for slope in slopes])
    options = {"loss": loss, "penalty": penalty, "progress": False}
    fit(model, batches(X, Y), steps=0, lbfgs=1, grid_updates=0, **options)
    change = np.concatenate([(w.numpy() - b).ravel() for w, b in zip(weights, before, strict=True)])
    cosine = -change @ slope / np.linalg.norm(change) / np.linalg.norm(slope)
    assert (cosine == pytest.approx(1, abs=1e-10)) != preconditioned


@needs_float64
def test_it_ends_where_no_lower_loss_is_found(doubles, capsys):
    model = spline()
    history = fit(model, batches(X, Y), steps=0, lbfgs=5000, log_every=1)
    assert len(history.losses) < 1000
    done = len(history.losses)
    assert f"L-BFGS found no lower loss after {done} iterations" in capsys.readouterr().err
    # The last search starts from the lowest loss, in coordinates to which the weights are rounded.
    assert history.losses[-1] == pytest.approx(min(history.losses), rel=1e-14, abs=0)
    loss = float(np.mean((model(Tensor(X)).numpy() - Y) ** 2))
    assert loss == pytest.approx(history.losses[-1], rel=1e-12)


@pytest.mark.long
def test_after_adam_it_goes_on_in_the_models_own_type():
    after = []
    model = KAN([1, 3, 1], BSpline(5), seed=1)
    training = Training(
        model,
        batches(X.astype(np.float32), np.sin(4 * X).astype(np.float32)),
        steps=30,
        lbfgs=40,
        log_every=10,
    )
    adam = list(training)
    training.refine(after.append)
    history = training.history
    steps = [step.number for step in adam + after if step.loss is not None]
    assert steps == history.steps == [1, 10, 20, 30, 40, 50, 60, 70]
    assert [step.number for step in adam] == list(range(1, 31))
    assert [step.number for step in after] == list(range(31, 71))
    assert {weight.dtype for weight in learnable(model)} == {dtypes.float32}
    assert history.losses[-1] < 0.2 * history.losses[3]
    x = Tensor(X.astype(np.float32))
    loss = float(np.mean((model(x).numpy() - np.sin(4 * X)) ** 2))
    assert loss == pytest.approx(history.losses[-1], rel=1e-2)


def test_it_ends_when_asked_to_with_the_weights_of_that_moment():
    model = KAN([1, 2, 1], BSpline(4), seed=1)
    sample = batches(X.astype(np.float32), Y.astype(np.float32))
    training = Training(model, sample, steps=2, lbfgs=50, log_every=1)
    assert len(list(training)) == 2
    training.refine(lambda step: step.number == 9)
    history = training.history
    assert history.steps[-1] == 9
    loss = float(np.mean((model(Tensor(X.astype(np.float32))).numpy() - Y) ** 2))
    assert loss == pytest.approx(history.losses[-1], rel=1e-4)


@pytest.mark.long
def test_grids_move_before_and_between():
    x = (2 * X + 3).astype(np.float32)
    model = KAN([1, 2, 1], BSpline(6), base=None, seed=0)
    options = {"steps": 0, "progress": False}
    history = fit(model, batches(x, np.sin(3 * X)), lbfgs=120, grid_updates=2, **options)
    assert history.outside[0] == 0 and history.losses[-1] < 1e-3
    low, high = model.layers[0].basis.knots.numpy()[0, [3, 9]]
    beyond = FIRST_MARGIN * np.ptp(x)
    np.testing.assert_allclose((low, high), (x.min() - beyond, x.max() + beyond), rtol=1e-5)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(5))
def test_a_small_network_on_a_fine_grid_by_default(doubles, seed):
    """Rough splines at the start leave errors of 0.3 and more; 20 intervals permit about 0.014."""
    rng = np.random.default_rng(seed)
    x, test = (rng.uniform(-1, 1, (1000, 2)) for _ in range(2))

    def target(x: np.ndarray) -> np.ndarray:
        return np.exp(special.j0(20 * x[:, :1]) + x[:, 1:] ** 2)

    model = KAN([2, 1, 1], BSpline(20), seed=seed)
    fit(model, batches(x, target(x)), lbfgs=200, progress=False)
    assert np.sqrt(np.mean((Predictor(model)(test) - target(test)) ** 2)) < 0.02


@needs_float64
def test_grids_that_never_move_stay_uniform(doubles):
    model = spline()
    uniform = model.layers[0].basis
    fit(model, batches(X, Y), steps=0, lbfgs=3, progress=False)
    assert model.layers[0].basis is uniform


def test_numbers_that_are_not_finite_are_no_start():
    model = spline()
    model.layers[0].coefficients.assign(model.layers[0].coefficients * float("nan")).realize()
    with pytest.raises(DivergenceError, match="diverged by step 0"):
        fit(model, batches(X, Y), steps=0, lbfgs=5, progress=False)


def test_a_line_search_backs_off_from_infinity():
    """Large steps meet an infinite loss; it goes on with smaller ones."""
    model = MLP([1, 1], "identity", seed=0)

    def barrier(prediction: Tensor, target: Tensor) -> Tensor:
        return (prediction - target).square().mean() - 1e-3 * (1.5 - prediction).log().mean()

    sample = batches(X, 0.9 * X + 0.5)
    history = fit(model, sample, steps=0, lbfgs=60, loss=barrier, progress=False)
    assert np.isfinite(history.losses).all() and history.losses[-1] < 2e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lbfgs": -1}, "lbfgs -1"),
        ({"steps": 0}, "steps 0"),
        ({"grid_updates": 1.5}, "grid_updates 1.5"),
    ],
)
def test_what_cannot_be_trained_is_one_line(options, message):
    with pytest.raises(UserError, match=message):
        fit(spline(), batches(X, Y), progress=False, **options)


def test_a_resumed_run_repeats_it_with_the_same_bits():
    sample = batches(X.astype(np.float32), Y.astype(np.float32), 50)
    options = {"steps": 6, "lbfgs": 12, "grid_updates": 2, "log_every": 3}
    whole, part = (KAN([1, 2, 1], BSpline(4), seed=3) for _ in range(2))
    expected = fit(whole, sample, progress=False, **options)
    training = Training(part, sample, **options)
    assert len(list(training)) == 6
    resumed = Training(part, sample, resume=training.state(), **options)
    assert not list(resumed)
    resumed.refine(lambda step: None)
    found = resumed.history
    assert found.losses == expected.losses
    for ours, others in zip(learnable(part), learnable(whole), strict=True):
        np.testing.assert_array_equal(ours.numpy(), others.numpy())

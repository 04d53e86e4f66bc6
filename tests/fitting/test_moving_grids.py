"""Grids that follow their inputs during training."""

from __future__ import annotations

import numpy as np
import pytest
from tinygrad import Tensor

from tests.helpers import float64, needs_float64
from tinykan import KAN, BSpline, Training, batches, fit
from tinykan.fitting import GridMover, moving_grids, own_knots
from tinykan.optim import Adam
from tinykan.training import objective_of

RNG = np.random.default_rng(0)


def test_own_knots_change_nothing():
    model = KAN([2, 3, 1], BSpline(5, 2), seed=0)
    x = Tensor(RNG.uniform(-1, 1, (100, 2)).astype(np.float32))
    before = model(x).numpy()
    own_knots(model)
    assert [layer.basis.knots.shape for layer in model.layers] == [(2, 10), (3, 10)]
    np.testing.assert_allclose(model(x).numpy(), before, atol=2e-6)


def far(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return (3 * x + 4).astype(np.float32), np.sin(3 * x).astype(np.float32)


@pytest.mark.long
def test_grids_follow_their_inputs_in_training():
    inputs, targets = far(RNG.uniform(-1, 1, (256, 1)))
    losses = {}
    for updates in (0, 4):
        model = KAN([1, 3, 1], BSpline(8), base=None, seed=0)
        history = fit(
            model, batches(inputs, targets), steps=150, grid_updates=updates, progress=False
        )
        losses[updates] = history.losses[-1]
        assert (max(history.outside) < 0.1) == bool(updates)
    # Without, the first layer is zero everywhere, and learns nothing.
    assert losses[4] < 0.02 < 0.3 < losses[0]


@pytest.mark.parametrize("grid_eps", [1.0, 0.0, 0.5])
def test_grids_move_to_uniform_knots_or_to_quantiles(grid_eps):
    """As NumPy has them: PyKAN's grid_eps is the weight of the uniform knots in a mean of both."""
    x = 4 * RNG.uniform(0, 1, (400, 1)) ** 3
    model = KAN([1, 1], BSpline(4), seed=0)
    fit(model, batches(x, x), steps=2, grid_updates=1, grid_eps=grid_eps, progress=False)
    knots = model.layers[0].basis.knots.numpy()[0, 3:8]
    low, high = x.min() - 0.01 * np.ptp(x), x.max() + 0.01 * np.ptp(x)
    quantiles = np.array([low, *np.quantile(x, [0.25, 0.5, 0.75]), high])
    expected = grid_eps * np.linspace(low, high, 5) + (1 - grid_eps) * quantiles
    # Between two of 400 samples, a quantile may lie anywhere.
    np.testing.assert_allclose(knots, expected, atol=0.05)


@pytest.mark.parametrize("updates", [None, 2])
def test_a_loss_that_sees_the_model_has_whole_batches(updates):
    """The rows of a batch may be of different kinds. By default its grids stay."""
    inputs, targets = far(RNG.uniform(-1, 1, (moving_grids.MAX_SAMPLES + 10, 1)))
    model, seen = KAN([1, 1], BSpline(5), seed=0), set()

    def loss(model: KAN, x: Tensor, y: Tensor) -> Tensor:
        seen.add(len(x))
        return (model(x) - y).square().mean()

    options = {"loss": loss, "grid_updates": updates, "progress": False}
    fit(model, batches(inputs, targets), steps=0, lbfgs=4, **options)
    assert seen == {len(inputs)}
    assert (model.layers[0].basis.knots is not None) == bool(updates)


@pytest.mark.long
def test_a_run_with_moving_grids_resumes_with_the_same_bits():
    sample = batches(*far(RNG.uniform(-1, 1, (128, 1))), 32)
    options = {"steps": 24, "grid_updates": 4, "log_every": 6}
    whole, part = (KAN([1, 2, 1], BSpline(4), seed=3) for _ in range(2))
    fit(whole, sample, progress=False, **options)
    training = Training(part, sample, **options)
    next(step for step in training if step.number == 7)
    for _ in Training(part, sample, resume=training.state(), **options):
        pass
    for ours, others in zip(part.layers, whole.layers, strict=True):
        np.testing.assert_array_equal(ours.coefficients.numpy(), others.coefficients.numpy())
        np.testing.assert_array_equal(ours.basis.knots.numpy(), others.basis.knots.numpy())


def with_mover() -> tuple[KAN, GridMover, Adam]:
    """A layer with grid [-1, 1] and its mover, with Adam's moments set."""
    model = KAN([1, 2], BSpline(8), seed=0)
    adam = Adam([model.layers[0].coefficients], np.array([0.01]))
    for moments in (*adam.m, *adam.v):
        moments.assign(Tensor.ones(*moments.shape)).realize()
    return model, GridMover(model, objective_of(model), adam), adam


def grid(model: KAN) -> tuple[float, float]:
    knots = model.layers[0].basis.knots.numpy()[0]
    return float(knots[3]), float(knots[-4])


def test_a_grid_stays_where_its_inputs_are():
    x = RNG.uniform(-0.9, 0.3, (300, 1))
    model, mover, _ = with_mover()
    y = model(Tensor(x.astype(np.float32))).numpy()
    batch = Tensor(x.astype(np.float32)), Tensor(y + 1)
    assert not mover.wanted(*batch) and not mover(*batch)
    assert grid(model) == (-1, 1)


def test_a_grid_moves_to_the_range_of_inputs_that_have_left_it_and_keeps_its_functions():
    x = np.linspace(-1.25, 0.75, 401, dtype=np.float32)[:, None]
    model, mover, adam = with_mover()
    y = model(Tensor(x)).numpy()
    batch = Tensor(x), Tensor(y + 1)
    assert mover.wanted(*batch) and mover(*batch)
    margin = 2.0 * moving_grids.FIRST_MARGIN
    np.testing.assert_allclose(grid(model), (-1.25 - margin, 0.75 + margin), atol=1e-6)
    # A wider interval sees more samples: gradients grow with it, and their squares.
    wider = (2 + 2 * margin) / 2
    np.testing.assert_allclose(adam.m[0].numpy(), wider, rtol=1e-5)
    np.testing.assert_allclose(adam.v[0].numpy(), wider**2, rtol=1e-5)


def test_a_move_that_raises_the_loss_is_taken_back():
    # Coarser intervals cannot hold the sine that these coefficients make.
    x = np.r_[np.linspace(-1, 1, 380), np.linspace(1, 4, 20)].astype(np.float32)[:, None]
    model = KAN([1, 1], BSpline(16), base=None, seed=0)
    sine = np.sin(12 * x) * (x < 1)
    fit(model, batches(x, sine), steps=0, lbfgs=60, grid_updates=0, progress=False)
    before = model(Tensor(x)).numpy()
    mover = GridMover(model, objective_of(model), Adam([model.layers[0].coefficients], np.ones(1)))
    batch = Tensor(x), Tensor(sine)
    assert mover.wanted(*batch) and not mover(*batch)
    assert grid(model) == (-1, 1)
    np.testing.assert_allclose(model(Tensor(x)).numpy(), before, atol=1e-6)


def test_without_adam_the_grids_of_hidden_layers_shrink_to_the_part_in_use():
    """That of the network's inputs stays: what it knew of the rest would be lost."""
    x = np.linspace(0.5, 0.6, 200, dtype=np.float32)[:, None]
    model = KAN([1, 1, 1], BSpline(8), seed=0)
    hidden = model.layers[0](Tensor(x)).numpy()
    batch = Tensor(x), Tensor(np.sin(90 * x))
    assert not GridMover(model, objective_of(model), Adam([], np.ones(1))).wanted(*batch)
    mover = GridMover(model, objective_of(model))
    assert mover(*batch) and not mover.wanted(*batch)
    first, second = (layer.basis.knots.numpy()[0] for layer in model.layers)
    assert (first[3], first[-4]) == (-1, 1)
    low, high = hidden.min(), hidden.max()
    beyond = moving_grids.MARGIN * (high - low)
    np.testing.assert_allclose((second[3], second[-4]), (low - beyond, high + beyond), rtol=1e-5)


def test_a_constant_input_keeps_the_grid_that_it_was_given():
    x = np.full((50, 1), 7.0, dtype=np.float32)
    model = KAN([1, 1], BSpline(4), seed=0)
    mover = GridMover(model, objective_of(model))
    assert mover(Tensor(x), Tensor(x))
    assert grid(model) == (6.5, 7.5)
    assert not mover.wanted(Tensor(x), Tensor(x))


@needs_float64
@pytest.mark.long
def test_moving_grids_do_not_disturb_a_chirp():
    """Grids that followed samples, and moments that stayed behind, left a spike of 0.077 at 20
    intervals."""
    x = np.linspace(-1, 1, 1024)[:, None]
    y = np.sin(20 * x**2)
    with float64():
        model = KAN([1, 4, 1], BSpline(20), seed=0)
        options = {"steps": 100, "lbfgs": 120, "progress": False}
        fit(model, batches(x, y), grid_updates=5, **options)
        error = np.abs(model(Tensor(x)).numpy() - y).max()
    assert error < 0.02

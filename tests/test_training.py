"""The training loop: that it learns, that a seed fixes it, and that it stops."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest
from tinygrad import Tensor

from tests.helpers import first
from tinykan import (
    KAN,
    MLP,
    BSpline,
    DivergenceError,
    KANLayer,
    Linear,
    Polynomial,
    UserError,
    batches,
    fit,
)
from tinykan.fitting.divergence import DivergenceGuard
from tinykan.tensors import learnable

X = np.linspace(-1, 1, 64, dtype=np.float32)[:, None]
Y = np.sin(3 * X)


def test_a_spline_learns_a_sine():
    model = KAN([1, 1], BSpline(8, 3))
    history = fit(model, batches(X, Y), steps=200, learning_rate=0.05, progress=False)
    assert history.losses[-1] < 1e-4 < history.losses[0]
    assert np.abs(model(Tensor(X)).numpy() - Y).max() < 0.05
    assert history.steps[-1] == 200 and history.train_seconds > 0 and history.compile_seconds > 0


def test_one_seed_gives_the_same_bits():
    def run(seed: int) -> tuple[list[float], list[np.ndarray]]:
        model = KAN([1, 4, 1], seed=seed)
        history = fit(model, batches(X, Y, 16, seed), steps=40, progress=False)
        return history.losses, [w.numpy().copy() for w in learnable(model)]

    (losses, weights), (again, weights_again), (other, _) = run(1), run(1), run(2)
    assert losses == again and losses != other
    assert all((a == b).all() for a, b in zip(weights, weights_again, strict=True))


def test_divergence_keeps_the_last_good_weights():
    model = MLP([1, 8, 1], activation="identity")
    before = [w.numpy().copy() for w in learnable(model)]
    with pytest.raises(
        DivergenceError, match=r"diverged by step \d+ .*lower learning rate"
    ) as error:
        fit(model, batches(X, Y), steps=100, learning_rate=1e6, schedule="constant", progress=False)
    assert "\n" not in str(error.value)
    after = [w.numpy() for w in learnable(model)]
    assert all(np.isfinite(w).all() for w in after)
    assert all((a == b).all() for a, b in zip(after, before, strict=True))


@pytest.mark.parametrize("value", [0.0, 0.1])
def test_constant_targets_are_fitted_without_an_alarm(value):
    """The first loss may be 0, and the variance of the targets is, or is rounding alone."""
    model = KAN([1, 1], BSpline(4), seed=0)
    for weight in learnable(model):
        weight.assign(weight * 0).realize()
    constant = batches(X, np.full_like(Y, value))
    history = fit(model, constant, steps=40, log_every=1, progress=False)
    assert len(history.losses) == 40
    scales = DivergenceGuard(model, 0.0).scale, DivergenceGuard(model, 1e-33).scale
    assert scales == (1.0, 1.0) and DivergenceGuard(model, 0.3).scale == 0.3


def test_a_run_goes_on_with_half_the_rate_as_often_as_is_allowed(capsys):
    options = {"learning_rate": 1e4, "schedule": "constant", "log_every": 1, "progress": False}
    model = MLP([1, 8, 1], activation="identity", seed=0)
    history = fit(model, batches(X, Y), steps=60, halvings=30, **options)
    times = capsys.readouterr().err.count("half the rate")
    assert 0 < times < 30 and np.isfinite(history.losses).all()
    assert history.losses[-1] < 1000 * history.losses[0]
    with pytest.raises(DivergenceError):
        fit(MLP([1, 8, 1], activation="identity", seed=0), batches(X, Y), halvings=1, **options)


def test_nan_in_the_loss_stops_the_run():
    model = MLP([1, 4, 1])
    with pytest.raises(DivergenceError, match="nan"):
        fit(
            model,
            batches(X, Y),
            steps=10,
            loss=lambda prediction, target: (prediction - target - 3).log().mean(),
            progress=False,
        )
    assert all(np.isfinite(w.numpy()).all() for w in learnable(model))


def test_warns_once_when_inputs_leave_the_grid(capsys):
    fit(KAN([1, 1]), batches(3 * X, Y), steps=4, log_every=1)
    assert capsys.readouterr().err.count("% of the inputs of layer 1 are outside its grid") == 1
    fit(KAN([1, 1]), batches(X, Y), steps=4, log_every=1)
    assert "outside" not in capsys.readouterr().err
    fit(KAN([1, 1]), batches(3 * X, Y), steps=4, log_every=1, progress=False)
    error = capsys.readouterr().err  # whether progress is shown or not, with what cures it
    assert "outside its grid" in error and "grid_updates=5" in error


@pytest.mark.parametrize(("factor", "warned"), [(1.25, False), (8, True)])
def test_hidden_layers_may_have_some_inputs_outside_their_grid(capsys, factor, warned):
    """A fifth of them hurt no network that was measured, and all of them do."""
    model = KAN([1, 1, 1], Linear(), base=None, spline_weight=False)
    model.layers[0].coefficients.assign(Tensor([[[float(factor)]]])).realize()
    model.layers[1] = KANLayer(1, 1)
    history = fit(model, batches(X, Y), steps=1)
    assert history.outside[1] == pytest.approx(1 - 1 / factor, abs=0.05)
    error = capsys.readouterr().err
    assert ("of the inputs of layer 2 are outside its grid" in error) == warned
    assert ("normalize them or widen the domain" in error) == warned


def test_without_scipy_lbfgs_is_refused_before_any_step(monkeypatch):
    for name in ("tinykan.fitting.full_batch", "tinykan.fitting.lbfgs"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    model = KAN([1, 1])
    before = model.layers[0].coefficients.numpy()
    with pytest.raises(UserError, match=r"^L-BFGS needs scipy; install it with: pip"):
        fit(model, batches(X, Y), steps=5, lbfgs=5)
    np.testing.assert_array_equal(model.layers[0].coefficients.numpy(), before)


def test_sorted_data_that_leave_the_grid_late_are_noticed(capsys):
    late = np.linspace(-1, 3, 2048, dtype=np.float32)[:, None]
    fit(KAN([1, 1]), batches(late, late), steps=1)
    assert "50% of the inputs of layer 1 are outside its grid" in capsys.readouterr().err


def test_progress_shows_loss_speed_and_time_left_on_a_terminal(capsys, monkeypatch):
    model, sample = KAN([1, 1], Polynomial(2)), batches(X, Y)
    fit(model, sample, steps=30)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    history = fit(model, sample, steps=30)
    last = capsys.readouterr().err.split("\r")[-1]
    assert last.startswith(f"loss {history.losses[-1]:.6f}: 100%")
    assert re.search(r"30/30 \[[\d:]+<[0:]+, *[\d.]+step/s\]\n$", last), last
    fit(model, sample, steps=30, progress=False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps 0 must be"),
        ({"learning_rate": -1.0}, "learning rate -1.0"),
        ({"learning_rate": float("nan")}, "learning rate nan"),
        ({"schedule": "linear"}, "choose from constant, cosine"),
        ({"steps": 5, "warmup": 5}, "warm-up of 5"),
    ],
)
def test_bad_arguments_are_one_line(options, message):
    with pytest.raises(UserError, match=message):
        fit(MLP([1, 1]), batches(X, Y), **options)


@pytest.mark.parametrize("option", ["steps", "learning_rate", "warmup", "log_every"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_fit_refuses_odd_options_in_one_line(option, value):
    if (option, value) == ("warmup", 0):
        return
    x = np.ones((8, 1), dtype=np.float32)
    with pytest.raises(UserError) as error:
        fit(KAN([1, 1]), batches(x, x), progress=False, **{"steps": 3, option: value})
    assert "\n" not in str(error.value)


class Counted:
    """A sampler that draws with NumPy, and how often it was called."""

    def __init__(self):
        self.rng, self.calls = np.random.default_rng(0), 0

    def __call__(self, step):
        self.calls += 1
        row = self.rng.integers(0, len(X), 3)
        return Tensor(X[row]), Tensor(Y[row])


def counted_slices():
    order, state = np.random.default_rng(0).permutation(len(X)), [0]
    x, y = Tensor(X[order]).realize(), Tensor(Y[order]).realize()

    def sample(step):
        state[0] = (state[0] + 4) % len(X)
        return x[state[0] : state[0] + 4], y[state[0] : state[0] + 4]

    return sample


def read_steps():
    def sample(step):
        rng = np.random.default_rng(int(step.item()))
        row = rng.integers(0, len(X), 3)
        return Tensor(X[row]), Tensor(Y[row])

    return sample


def tinygrads_own():
    x, y = Tensor(X).realize(), Tensor(Y).realize()

    def sample(step):
        row = Tensor.randint(3, high=len(X))
        return x[row], y[row]

    return sample


@pytest.mark.parametrize(
    "make",
    first(1, [Counted, counted_slices, read_steps, tinygrads_own]),
    ids=lambda make: make.__name__,
)
def test_a_sampler_that_cannot_be_compiled_gives_every_step_its_own_batch(make):
    """Frozen, these fit three points superbly, and the rest not at all."""
    model = KAN([1, 4, 1], seed=0)
    fit(model, make(), steps=150, learning_rate=0.03, progress=False)
    assert np.square(model(Tensor(X)).numpy() - Y).mean() < 0.01 * Y.var()


def test_numpys_numbers_are_drawn_once_for_each_step():
    sample = Counted()
    fit(KAN([1, 1]), sample, steps=30, progress=False)
    assert 30 <= sample.calls <= 36


@pytest.mark.long
def test_a_network_that_fits_can_be_trained_on():
    """The loss may rise from nothing by more than a thousand times, as long as it is small."""
    model = KAN([1, 3, 1], seed=0)
    fit(model, batches(X, Y), steps=0, lbfgs=150, progress=False)
    history = fit(model, batches(X, Y), steps=60, learning_rate=0.01, progress=False)
    assert max(history.losses) > 1e3 * history.losses[0]
    assert history.losses[-1] < 0.01 * Y.var()


def test_batches_of_a_sampler_are_of_one_shape():
    rows = iter([9, 9, 9, 9, 9, 9, 4, 4, 4])

    def sample(step):
        count = next(rows)
        return Tensor(X[:count].copy()), Tensor(Y[:count].copy())

    with pytest.raises(UserError, match=r"batches of shapes \(9, 1\) and \(4, 1\)"):
        fit(KAN([1, 1]), sample, steps=20, progress=False)


def test_a_constant_target_that_fits_from_the_start_does_not_diverge():
    model = MLP([1, 2, 1], seed=0)
    for weight in learnable(model):
        weight.assign(Tensor.zeros(*weight.shape)).realize()
    history = fit(model, batches(X, 0 * Y), steps=10, log_every=1, progress=False)
    assert max(history.losses) == 0


def test_a_loss_is_a_function():
    with pytest.raises(UserError, match="loss 'mse': a function of predictions and targets"):
        fit(KAN([1, 1]), batches(X, Y), loss="mse", steps=2, progress=False)

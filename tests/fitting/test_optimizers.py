"""tinygrad's optimizers in `fit`, against themselves run by hand and PyTorch's formulas."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from tinygrad import Tensor
from tinygrad.nn import optim

from tests.helpers import some
from tinykan import KAN, MLP, BSpline, Training, UserError, batches, fit
from tinykan.kernels.tinygrad_versions import optimizers_enabled
from tinykan.optim import learning_rates
from tinykan.tensors import learnable
from tinykan.training import mean_squared_error

X = np.linspace(-1, 1, 32, dtype=np.float32)[:, None]
Y = np.sin(3 * X + 1)
MAKES = {
    "sgd": partial(optim.SGD, lr=0.05, momentum=0.9, weight_decay=0.01),
    "adamw": partial(optim.AdamW, lr=0.02, weight_decay=0.1),
    "lamb": partial(optim.LAMB, lr=0.02),
    "muon": partial(optim.Muon, lr=0.02),
}


def network() -> MLP:
    return MLP([1, 3, 1], seed=3)


def values(model) -> list[np.ndarray]:
    return [weight.numpy().copy() for weight in learnable(model)]


def fitted(model, **options):
    fit(model, batches(X, Y), steps=8, progress=False, **options)
    return values(model)


@pytest.mark.parametrize("name", some(["lamb", "sgd", "muon"], "sgd"))
def test_an_optimizer_does_what_it_does_by_hand(name):
    model = network()
    weights, x, y = learnable(model), Tensor(X), Tensor(Y)
    optimizer = MAKES[name](weights)
    peak = optimizer.lr.item()
    for share in learning_rates(1.0, 8, "cosine", warmup=2):
        optimizer.lr.assign(Tensor([peak * share], dtype=optimizer.lr.dtype)).realize()
        optimizer.zero_grad()
        mean_squared_error(model(x), y).backward()
        with optimizers_enabled():
            optimizer.step()
    found = fitted(network(), optimizer=MAKES[name], warmup=2)
    for ours, theirs in zip(found, values(model), strict=True):
        # Sums in another order, 8 steps; Muon makes steps of one size of gradients of any.
        np.testing.assert_allclose(ours, theirs, atol=2e-6)


def descended(update) -> np.ndarray:
    """The two weights of a line after 8 steps of `update(step, rate, weights, gradient)` in float64
    by PyTorch's documented formulas."""
    weights = np.array([line().layers[0].coefficients.item(), 0.0])
    x, y = X[:, 0].astype(float), 3 * X[:, 0] + 1
    for step, rate in enumerate(learning_rates(0.1, 8), 1):
        error = weights[0] * x + weights[1] - y
        gradient = np.array([2 * np.mean(error * x), 2 * np.mean(error)])
        weights = update(step, rate, weights, gradient)
    return weights


def line() -> MLP:
    return MLP([1, 1], seed=0)


def line_fitted(optimizer, **options) -> list[float]:
    model = line()
    sample = batches(X, 3 * X + 1)
    fit(model, sample, steps=8, optimizer=optimizer, progress=False, **options)
    return [model.layers[0].coefficients.item(), model.layers[0].bias.item()]


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_is_pytorchs(nesterov):
    """torch.optim.SGD: coupled weight decay, and the rate outside of the momentum."""
    memory = np.zeros(2)

    def update(step, rate, weights, gradient):
        gradient = gradient + 0.01 * weights
        memory[:] = 0.9 * memory + gradient
        return weights - rate * (gradient + 0.9 * memory if nesterov else memory)

    make = partial(optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=nesterov)
    np.testing.assert_allclose(line_fitted(make), descended(update), atol=2e-6)  # float32


def test_adamw_is_pytorchs_and_adams_with_its_decay():
    """torch.optim.AdamW, with clipped gradients; tinykan's Adam does the same."""
    m, v = np.zeros(2), np.zeros(2)

    def update(step, rate, weights, gradient):
        gradient = gradient * min(1, 0.5 / np.hypot(*gradient))
        m[:], v[:] = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        corrected = m / (1 - 0.9**step), v / (1 - 0.999**step)
        return weights * (1 - 0.1 * rate) - rate * corrected[0] / (np.sqrt(corrected[1]) + 1e-8)

    expected = descended(update)
    make = partial(optim.AdamW, lr=0.5, weight_decay=0.1)
    found = line_fitted(make, learning_rate=0.1, clip=0.5)  # which replaces the optimizer's own
    # Its 1 - 0.999 in float32 is off by 6e-5, of which steps of 0.1 have the root.
    np.testing.assert_allclose(found, expected, atol=2e-5)
    adams = line_fitted(None, learning_rate=0.1, clip=0.5, weight_decay=0.1)
    np.testing.assert_allclose(adams, expected, atol=2e-6)  # float32


@pytest.mark.parametrize("name", some(["adamw", "muon"], "adamw"))
def test_a_training_resumes_with_the_same_bits(name):
    sample = batches(X, Y, 8)
    options = {"steps": 8, "optimizer": MAKES[name], "log_every": 3, "progress": False}
    whole, part = network(), network()
    for _ in Training(whole, sample, **options):
        pass
    training = Training(part, sample, **options)
    next(step for step in training if step.number == 4)
    for _ in Training(part, sample, resume=training.state(), **options):
        pass
    assert all((a == b).all() for a, b in zip(values(part), values(whole), strict=True))


def test_a_group_has_a_rate_for_each_and_parameters_that_are_left_out_stay():
    def make(parameters):
        first, second, *_ = parameters
        return optim.OptimizerGroup(optim.SGD([first], lr=0.1), optim.SGD([second], lr=0.0))

    before, after = values(network()), fitted(network(), optimizer=make)
    changed = [bool((a != b).any()) for a, b in zip(before, after, strict=True)]
    assert changed == [True, False, False, False]


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_moments_move_with_the_grid(name):
    """As Adam's do: a grid of three times the width has gradients of three times the size."""
    model = KAN([1, 1], BSpline(4), seed=0)
    training = Training(
        model, batches(3 * X, Y), steps=4, grid_updates=1, optimizer=MAKES[name], progress=False
    )
    adam = training.adam
    (index,) = (n for n, p in enumerate(adam.parameters) if p is model.layers[0].coefficients)
    for moments in (adam.m, adam.v):
        if moments:
            moments[index].assign(Tensor.ones(*moments[index].shape)).realize()
    assert training.move_grids(*training.points(0))
    knots = model.layers[0].basis.knots.numpy()
    factor = np.ptp(knots) / np.ptp(np.linspace(-1, 1, 5)[[0, -1]]) / (10 / 4)
    assert factor == pytest.approx(3, rel=0.05)
    for moments, power in ((adam.m, 1), (adam.v, 2)):
        if moments:
            np.testing.assert_allclose(moments[index].numpy(), factor**power, rtol=1e-5)
    assert bool(adam.v) == (name == "adamw")
    for _ in training:
        pass
    assert np.isfinite(training.history.losses).all()


@pytest.mark.long
def test_half_the_rate_starts_the_optimizer_again(capsys):
    make = partial(optim.AdamW, lr=1e4)
    model = MLP([1, 4, 1], activation="identity", seed=0)
    training = Training(
        model, batches(X, Y), steps=40, optimizer=make, schedule="constant", halvings=30,
        log_every=1, progress=False,
    )  # fmt: skip
    for _ in training:
        pass
    times = capsys.readouterr().err.count("half the rate")
    assert times > 0 and np.isfinite(training.history.losses).all()
    training.adam.slow_down(0.5)
    state = training.adam.state()
    assert not any(state[name].any() for name in state if name.startswith(("m.", "v.")))
    assert state["b1_t"] == state["b2_t"] == 1
    np.testing.assert_allclose(state["table"], 1e4 * 0.5 ** (times + 1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": lambda parameters: None}, "an Optimizer is needed"),
        ({"optimizer": "sgd"}, "unknown optimizer 'sgd'; choose from adam, muon"),
        ({"optimizer": 3}, "optimizer 3 gives 3"),
        ({"optimizer": lambda p: optim.SGD([Tensor.ones(2)])}, "made with the parameters"),
        ({"optimizer": optim.AdamW, "weight_decay": 0.1}, r"weight decay 0.1 is Adam's: give it"),
        ({"optimizer": optim.AdamW, "clip": -1.0}, "clip -1.0 above 0"),
    ],
)
def test_what_cannot_be_is_one_line(options, message):
    with pytest.raises(UserError, match=message) as error:
        fit(network(), batches(X, Y), steps=2, progress=False, **options)
    assert "\n" not in str(error.value)

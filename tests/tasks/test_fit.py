"""`fit`: validation, early stopping, metrics, ends and callbacks; and the scores by name."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from tinykan import KAN, MLP, BSpline, UserError, batches, fit, split
from tinykan.fitting import own_knots, update_grid
from tinykan.tasks.fit import BestWeights
from tinykan.tasks.prediction import Predictor
from tinykan.tasks.scores import METRICS

RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, (80, 2))
Y = np.sin(3 * X[:, 0]) * X[:, 1] + 0.3 * RNG.normal(size=80)  # which can be learned by heart
TRAIN, HELD = split(X, Y, share=0.5)
OPTIONS = {"learning_rate": 0.05, "schedule": "constant", "progress": False}


def model() -> KAN:
    return KAN([2, 6, 1], seed=0)


def error_on(network, data) -> float:
    return float(np.mean((Predictor(network)(data[0]) - data[1].reshape(-1, 1)) ** 2))


def test_the_history_has_losses_and_metrics_of_the_validation_data():
    network = model()
    history = fit(
        network, batches(*TRAIN), steps=6, log_every=2, validation=HELD, metrics=["r2", "mae"],
        **OPTIONS,
    )  # fmt: skip
    assert history.steps == [1, 2, 4, 6] and history.ended_by == ""
    assert len(history.validation) == len(history.metrics["r2"]) == len(history.metrics["mae"]) == 4
    predicted = Predictor(network)(HELD[0])
    # The loss is computed in float32.
    assert history.validation[-1] == pytest.approx(error_on(network, HELD), rel=1e-5)
    assert history.metrics["r2"][-1] == pytest.approx(reference.r2_score(HELD[1], predicted))
    assert history.metrics["mae"][-1] == pytest.approx(
        reference.mean_absolute_error(HELD[1], predicted)
    )


def test_validation_changes_no_bit_of_the_training():
    networks = [model(), model()]
    plain = fit(networks[0], batches(*TRAIN), steps=5, **OPTIONS)
    watched = fit(networks[1], batches(*TRAIN), steps=5, validation=HELD, **OPTIONS)
    assert plain.losses == watched.losses
    np.testing.assert_array_equal(*(Predictor(n)(X) for n in networks))


def test_early_stopping_keeps_the_best_weights():
    network = model()
    history = fit(
        network, batches(*TRAIN), steps=400, log_every=5, validation=HELD, patience=8, **OPTIONS
    )
    best = int(np.argmin(history.validation))
    assert len(history.validation) == best + 1 + 8 and history.steps[-1] < 400
    assert history.ended_by == f"patience=8 at step {history.steps[-1]}"
    assert error_on(network, HELD) == pytest.approx(min(history.validation), rel=1e-5)
    assert min(history.validation) < 0.9 * history.validation[-1]


def test_the_best_weights_come_with_the_knots_of_their_time():
    """Grids that move later change what coefficients mean."""
    network = KAN([2, 1], BSpline(6), seed=0)
    best = BestWeights(network, patience=5)
    own_knots(network)
    best.add(1.0)
    before = Predictor(network)(X)
    update_grid(network.layers[0], 2 * X)
    best.add(2.0)
    assert np.abs(Predictor(network)(X) - before).max() > 1e-3
    best.restore()
    np.testing.assert_array_equal(Predictor(network)(X), before)


def test_without_patience_the_last_weights_are_kept():
    network = model()
    history = fit(network, batches(*TRAIN), steps=150, validation=HELD, **OPTIONS)
    assert history.steps[-1] == 150 and history.ended_by == ""
    assert error_on(network, HELD) == pytest.approx(history.validation[-1], rel=1e-5)


@pytest.mark.parametrize("validation", [None, HELD])
def test_training_stops_at_a_loss(validation):
    limit = 0.2
    history = fit(
        model(), batches(*TRAIN), steps=400, log_every=1, stop_at=limit, validation=validation,
        **OPTIONS,
    )  # fmt: skip
    losses = history.validation or history.losses
    assert losses[-1] <= limit < min(losses[:-1]) and history.steps[-1] < 400
    assert history.ended_by == f"stop_at=0.2 at step {history.steps[-1]}"


def test_callbacks_are_called_with_every_step_and_may_end_the_training():
    seen, others = [], []

    def third(step):
        seen.append((step.number, step.loss is not None))
        return step.number == 3

    history = fit(
        model(), batches(*TRAIN), steps=9, log_every=2, callbacks=[third, others.append], **OPTIONS
    )
    assert seen == [(1, True), (2, True), (3, False)] and len(others) == 3
    assert history.ended_by == "a callback at step 3"


def test_lbfgs_is_watched_too():
    history = fit(
        model(), batches(*TRAIN), steps=0, lbfgs=200, grid_updates=0, log_every=1, validation=HELD,
        patience=5, progress=False,
    )  # fmt: skip
    assert 5 < history.steps[-1] < 200 and history.ended_by.startswith("patience=5")


def test_classes_have_accuracy():
    labels = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)
    train, held = split(X, labels)
    network = MLP([2, 8, 3])

    def cross_entropy(prediction, target):
        return prediction.sparse_categorical_crossentropy(target)

    history = fit(
        network, batches(*train), steps=40, loss=cross_entropy, validation=held,
        metrics=["accuracy"], **OPTIONS,
    )  # fmt: skip
    predicted = Predictor(network)(held[0])
    assert history.metrics["accuracy"][-1] == np.mean(predicted.argmax(1) == held[1]) > 0.6
    expected = reference.log_loss(
        held[1], np.exp(predicted.astype(float)) / np.exp(predicted.astype(float)).sum(1)[:, None]
    )
    assert history.validation[-1] == pytest.approx(expected, rel=1e-5)  # of float32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patience": 3}, "patience and metrics need validation="),
        ({"metrics": ["r2"]}, "patience and metrics need validation="),
        ({"validation": HELD, "patience": 0}, "patience 0 must be a whole number"),
        ({"validation": HELD, "metrics": "r2"}, r"a list of names is needed, such as \['r2'\]"),
        ({"validation": HELD, "metrics": ["r3"]}, "unknown metric 'r3'; choose from mse, rmse"),
        ({"validation": HELD, "metrics": ["accuracy"]}, "accuracy needs class labels"),
        ({"validation": (HELD[0][:, :1], HELD[1])}, "validation inputs of shape"),
        ({"validation": (HELD[0], HELD[1][1:])}, "40 inputs and 39 targets"),
        ({"validation": (HELD[0], np.c_[HELD[1], HELD[1]])}, r"targets of shape \(40, 2\)"),
        ({"stop_at": 0.0}, "stop_at 0.0 must be a positive number"),
        ({"clip": 0.0}, "clip 0.0 above 0"),
        ({"grid_eps": 1.5}, "grid_eps 1.5 must lie between 0, adaptive, and 1, uniform"),
        ({"weight_decay": -1.0}, "weight decay -1.0 must be 0 or more"),
    ],
)
def test_what_cannot_be_is_one_line_before_any_step(options, message):
    network = model()
    with pytest.raises(UserError, match=message) as error:
        fit(network, batches(*TRAIN), steps=1, progress=False, **options)
    assert "\n" not in str(error.value)
    np.testing.assert_array_equal(Predictor(network)(X), Predictor(model())(X))


def test_a_loss_of_three_arguments_sees_the_model_the_inputs_and_the_targets():
    """The mean squared error written so is the same, in training and validation; what follows Adam
    is Broyden's method instead of L-BFGS."""

    def squared(network, x, y, power=2):
        return ((network(x) - y) ** power).mean()

    networks = [MLP([2, 4, 1]), MLP([2, 4, 1])]
    histories = [
        fit(
            network, batches(*TRAIN, 16), steps=6, lbfgs=3, validation=HELD, metrics=["mse"],
            log_every=1, progress=False, **options,
        )
        for network, options in zip(networks, ({}, {"loss": squared}), strict=True)
    ]  # fmt: skip
    plain, seen = histories
    # The same formula in float32, compiled differently.
    np.testing.assert_allclose(seen.losses[:6], plain.losses[:6], rtol=1e-4)
    np.testing.assert_allclose(seen.validation[:6], plain.validation[:6], rtol=1e-4)
    np.testing.assert_allclose(seen.validation, seen.metrics["mse"], rtol=1e-5)
    assert len(seen.losses) == 9 and all(
        np.diff(history.losses[5:]).max() < 0 for history in histories
    )


@pytest.mark.long
@pytest.mark.parametrize(
    "model",
    [KAN([1, 6, 1], BSpline(6, domain=(-2.5, 2.5)), seed=0), MLP([1, 8, 1], seed=0)],
    ids=["KAN", "MLP"],
)
def test_the_loss_may_be_the_residual_of_an_equation(model):
    """u' = -2 x u with u(0) = 1 is solved by exp(-x^2), without a single value of it."""
    for layer in model.layers:
        layer.kernels = "reference"
    x = np.linspace(0, 2, 64)[:, None]

    def residual(network, x, y):
        u = network(x)
        (slope,) = u.sum().gradient(x)
        start = network(x[:1] * 0) - 1
        return (slope + 2 * x * u).square().mean() + start.square().mean()

    fit(model, batches(x, 0 * x), steps=600, learning_rate=0.03, loss=residual, progress=False)
    # The residual falls below 1e-3, and the error to about its root; untrained it is 1.
    assert np.abs(Predictor(model)(x) - np.exp(-(x**2))).max() < 0.05


def test_labels_stay_labels_under_lbfgs():
    labels = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)
    network = MLP([2, 3])
    history = fit(
        network, batches(X, labels), steps=0, lbfgs=8, log_every=1, progress=False,
        loss=lambda logits, target: logits.sparse_categorical_crossentropy(target),
    )  # fmt: skip
    outputs = Predictor(network)(X).astype(float)
    shares = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
    assert history.losses[-1] < 0.8 * history.losses[0]
    assert history.losses[-1] == pytest.approx(reference.log_loss(labels, shares), rel=1e-5)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_scores_are_scikit_learns(scale):
    y, predicted = scale * RNG.normal(size=(50, 2)), scale * RNG.normal(size=(50, 2))
    y[:, 1] = 3.0  # constant
    expected = {
        "mse": reference.mean_squared_error(y, predicted),
        "rmse": reference.mean_squared_error(y, predicted) ** 0.5,
        "mae": reference.mean_absolute_error(y, predicted),
        "r2": reference.r2_score(y, predicted),
        "max_error": np.abs(y - predicted).max(),
    }
    for name, value in expected.items():
        assert METRICS[name](predicted, y) == pytest.approx(value, rel=1e-12)
    assert METRICS["r2"](y, y) == 1
    labels = RNG.integers(4, size=50)
    scores = RNG.normal(size=(50, 4))
    assert METRICS["accuracy"](scores, labels) == reference.accuracy_score(labels, scores.argmax(1))
    with pytest.raises(UserError, match="class labels have accuracy alone"):
        METRICS["mse"](scores, labels)

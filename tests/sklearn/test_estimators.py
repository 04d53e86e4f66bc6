"""Estimators against the functions that their data come from, and what scale, order, weights and
copies must not change."""

from __future__ import annotations

import copy
import functools
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
from joblib import parallel_config
from sklearn.base import clone
from sklearn.ensemble import BaggingRegressor
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tinygrad import Tensor
from tinygrad.helpers import DEV

from tests.helpers import ROOT
from tinykan import BSpline, Linear, Predictor, UserError, parameter_count
from tinykan.networks import KAN
from tinykan.sklearn import KANClassifier, KANRegressor, training
from tinykan.sklearn.training import HeldOut, Options, WeightedBatches, train
from tinykan.training import mean_squared_error

RNG = np.random.default_rng(0)
X, NEW = RNG.uniform(-1, 1, (300, 3)), RNG.uniform(-1, 1, (200, 3))
SMALL = {"hidden": 3, "steps": 20}  # a few steps, for what holds for any training


def additive(x: np.ndarray) -> np.ndarray:
    """Of the first two of three inputs."""
    return np.sin(3 * x[:, 0]) + x[:, 1] ** 2


@functools.cache
def reference() -> np.ndarray:
    return predicted()


def predicted(x=X, y=None, new=NEW, **options) -> np.ndarray:
    y = additive(X) if y is None else y
    return KANRegressor(**(SMALL | options)).fit(x, y).predict(new)


@pytest.mark.long
def test_an_additive_function_is_learned():
    model = KANRegressor(hidden=[], basis=BSpline(8), alpha=0.01, learning_rate=0.1, steps=400)
    error = model.fit(X, additive(X)).predict(NEW) - additive(NEW)
    # Least squares in NumPy, on the same splines, leave 0.0016; 400 steps of Adam, 0.005.
    assert np.sqrt(np.mean(np.square(error))) < 0.01


@pytest.mark.long
def test_a_product_is_learned_by_a_product():
    y, new = X[:, 0] * X[:, 1], NEW[:, 0] * NEW[:, 1]
    product, one_sum = (
        KANRegressor(hidden=[width], alpha=0.0, steps=300).fit(X, y) for width in ([0, 1], 1)
    )
    assert product.model_.widths == [3, 2, 1, 1]
    assert product.score(NEW, new) > 0.99 > one_sum.score(NEW, new)
    for options, message in [
        ({"hidden": [[1, -1]]}, "number of products -1"),
        ({"hidden": [[0, 0]]}, "at least one"),
        ({"hidden": [[0, 1]], "parameters": 90}, "has products"),
    ]:
        with pytest.raises(UserError, match=message):
            KANRegressor(**options).fit(X, y)


@pytest.mark.long
def test_noise_is_averaged_out():
    noise = 0.3 * np.random.default_rng(1).standard_normal(len(X))
    error = KANRegressor().fit(X, additive(X) + noise).predict(NEW) - additive(NEW)
    assert np.sqrt(np.mean(np.square(error))) < 0.5 * noise.std()


@pytest.mark.long
def test_several_targets():
    y = np.stack([additive(X), 100 * X[:, 2]], axis=-1)
    found = KANRegressor(alpha=0.1).fit(X, y).predict(NEW)
    assert found.shape == (200, 2)
    np.testing.assert_allclose(found[:, 0], additive(NEW), atol=0.25)
    np.testing.assert_allclose(found[:, 1], 100 * NEW[:, 2], atol=10)
    assert KANRegressor(**SMALL).fit(X, y[:, :1]).predict(NEW).shape == (200, 1)


@pytest.mark.parametrize(("inputs", "targets"), [(40, -30), (-60, 50)])
def test_powers_of_two_change_no_bit(inputs, targets):
    found = predicted(X * 2.0**inputs, additive(X) * 2.0**targets, NEW * 2.0**inputs)
    np.testing.assert_array_equal(found, reference() * 2.0**targets)


@pytest.mark.parametrize(("inputs", "targets"), [(9, -7), (-12, 8)])
def test_predictions_scale_with_the_data(inputs, targets):
    found = predicted(X * 10.0**inputs, additive(X) * 10.0**targets, NEW * 10.0**inputs)
    # Other roundings in float64 change few standardized numbers in float32, by 6e-8.
    np.testing.assert_allclose(found, reference() * 10.0**targets, rtol=1e-4)


def test_the_order_of_rows_does_not_matter():
    order = np.random.default_rng(2).permutation(len(X))
    np.testing.assert_allclose(predicted(X[order], additive(X)[order]), reference(), rtol=1e-12)


@pytest.mark.long
def test_columns_in_another_order_learn_the_same_function():
    # They start elsewhere: what both have in common is the function, not the bits.
    order = [2, 0, 1]
    found = predicted(X[:, order], new=NEW[:, order], hidden=32, steps=None)
    np.testing.assert_allclose(found, predicted(hidden=32, steps=None), atol=0.2)


@pytest.mark.parametrize("make", [KANRegressor, KANClassifier])
def test_whole_weights_are_repeated_rows(make):
    weights = np.random.default_rng(3).integers(0, 4, len(X))
    y = additive(X) if make is KANRegressor else (additive(X) > 0).astype(int)
    weighted = make(**SMALL).fit(X, y, sample_weight=weights)
    rows = np.random.default_rng(4).permutation(np.repeat(np.arange(len(X)), weights))
    repeated = make(**SMALL).fit(X[rows], y[rows])
    outputs = "predict" if make is KANRegressor else "decision_function"
    # The same bits, but for the rounding of the mean and the deviation of the targets in float64.
    found, expected = (getattr(model, outputs)(NEW) for model in (weighted, repeated))
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_batches_draw_rows_by_weight():
    weights = np.array([1.0, 0.5, 2.5, 4.0])
    rows = np.arange(4.0)[:, None]
    sample = WeightedBatches(rows, rows, weights, batch=32, steps=5, seed=0)
    for step in range(5):
        x, y = (t.numpy() for t in sample(Tensor([step])))
        np.testing.assert_array_equal(x, y)
        counts = np.bincount(x[:, 0].astype(int), minlength=4)
        assert (np.abs(counts - 32 * weights / 8) <= 1).all()  # parts at the ends are shared


def test_constant_columns_and_inputs_outside_the_range():
    fixed = np.c_[X, np.full(len(X), 5.0)]
    model = KANRegressor(**SMALL).fit(fixed, additive(X))
    inside = np.c_[NEW, np.full(len(NEW), 5.0)]
    expected = model.predict(inside)
    inside[:, 3] = np.linspace(-1e30, 1e30, len(NEW))
    np.testing.assert_array_equal(model.predict(inside), expected)
    inside[:, 0] = 1e6
    far = model.predict(inside)
    inside[:, 0] = X[:, 0].max()
    np.testing.assert_array_equal(model.predict(inside), far)


def test_probabilities_are_those_of_the_data():
    rng = np.random.default_rng(5)
    x = rng.uniform(-1, 1, (2000, 1))
    true = 1 / (1 + np.exp(-3 * x[:, 0]))
    y = np.where(rng.uniform(size=2000) < true, "up", "down")
    model = KANClassifier(hidden=4).fit(x, y)
    assert model.classes_.tolist() == ["down", "up"]
    found = model.predict_proba(x)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-12)
    # With 8 coefficients: sqrt(8 p (1 - p) / 2000) is 0.03; three times that.
    np.testing.assert_allclose(found[:, 1], true, atol=0.1)
    np.testing.assert_array_equal(model.predict(x), model.classes_[found.argmax(axis=1)])
    odds = np.log(found[:, 1] / found[:, 0])
    np.testing.assert_allclose(model.decision_function(x), odds, atol=1e-9)


@pytest.mark.parametrize("names", [[3, 7, -1], ["b", "c", "a"]])
def test_classes_of_any_kind(names):
    labels = np.digitize(X[:, 0], [-0.3, 0.3])
    expected = KANClassifier(**SMALL).fit(X, labels).predict_proba(NEW)
    model = KANClassifier(hidden=3, steps=60).fit(X, np.array(names)[labels])
    assert model.classes_.tolist() == sorted(names)
    assert (model.predict(NEW) == np.array(names)[np.digitize(NEW[:, 0], [-0.3, 0.3])]).mean() > 0.9
    assert model.predict_proba(NEW).shape == expected.shape
    ordered = model.decision_function(NEW)
    np.testing.assert_array_equal(model.classes_[ordered.argmax(axis=1)], model.predict(NEW))


def test_tables_are_arrays_with_names():
    pandas = pytest.importorskip("pandas")
    names = ["length (cm)", "width", "lambda"]
    table, new = (pandas.DataFrame(values, columns=names) for values in (X, NEW))
    model = KANRegressor(**SMALL).fit(table, pandas.Series(additive(X)))
    np.testing.assert_array_equal(model.predict(new), reference())
    assert model.feature_names_in_.tolist() == names
    with pytest.raises(ValueError, match="feature names"):
        model.predict(new[names[::-1]])


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_predict_the_same_bits(duplicate):
    model = KANRegressor(**SMALL).fit(X, additive(X))
    copied = duplicate(model)
    np.testing.assert_array_equal(copied.predict(NEW), model.predict(NEW))
    assert copied.history_ == model.history_ and copied.get_params() == model.get_params()
    assert not hasattr(duplicate(clone(model)), "model_")


@pytest.mark.long
def test_another_process_predicts_the_same_bits(tmp_path):
    model = KANRegressor(**SMALL).fit(X, additive(X))
    (tmp_path / "model.pickle").write_bytes(pickle.dumps((model, NEW)))
    code = "import pickle, sys; m, x = pickle.load(open('model.pickle', 'rb'))\n"
    code += "sys.stdout.buffer.write(m.predict(x).tobytes())"
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True).stdout
    assert found == model.predict(NEW).tobytes()


@pytest.mark.long
def test_scikit_learns_tools():
    y = additive(X)
    # What is scaled inside is not changed by a scaler outside, but for rounding.
    piped = make_pipeline(StandardScaler(), KANRegressor(**SMALL)).fit(X, y)
    np.testing.assert_allclose(piped.predict(NEW), reference(), rtol=1e-3, atol=1e-4)
    search = GridSearchCV(KANRegressor(**SMALL), {"steps": [1, 60]}, cv=2).fit(X, y)
    assert search.best_params_ == {"steps": 60}
    best = KANRegressor(hidden=3, steps=60)
    np.testing.assert_array_equal(search.predict(NEW), best.fit(X, y).predict(NEW))
    scores = cross_val_score(best, X, y, cv=2)
    half = best.fit(X[150:], y[150:])
    assert scores[0] == pytest.approx(half.score(X[:150], y[:150]), rel=1e-12)
    members = BaggingRegressor(KANRegressor(**SMALL), 2, bootstrap=False).fit(X, y).estimators_
    assert members[0].random_state != members[1].random_state
    assert not np.array_equal(members[0].predict(NEW), members[1].predict(NEW))


@pytest.mark.long
def test_random_state_none_starts_anew():
    found = [predicted(random_state=None) for _ in range(2)]
    assert not np.array_equal(*found)


def test_a_compiled_step_serves_other_data_and_starts():
    """What is fitted with the step of an earlier fit has the bits that it has without one."""
    y = additive(X)
    fits = [
        ({"random_state": 0}, X[:280], y[:280]),
        ({"random_state": 1}, X[:280], y[:280]),
        ({"alpha": 0.0}, X[40:], -3 * y[40:]),
        ({"early_stopping": True}, X[:290], y[:290]),
    ]
    alone = []
    for options, rows, targets in fits:
        training._kept.clear()
        alone.append(KANRegressor(**SMALL, **options).fit(rows, targets))
    training._kept.clear()
    after = [KANRegressor(**SMALL, **options).fit(*data) for options, *data in fits]
    assert len(training._kept) == 1
    for found, expected in zip(after, alone, strict=True):
        np.testing.assert_array_equal(found.predict(NEW), expected.predict(NEW))
        assert found.history_.losses == expected.history_.losses
        assert found.n_iter_ == expected.n_iter_


def test_threads_get_what_one_thread_gets():
    y = additive(X)
    expected = cross_val_score(KANRegressor(**SMALL), X, y, cv=3)
    with parallel_config("threading", n_jobs=3):
        found = cross_val_score(KANRegressor(**SMALL), X, y, cv=3)
    np.testing.assert_array_equal(found, expected)


def test_early_stopping_keeps_the_best_weights():
    y = np.random.default_rng(6).standard_normal((len(X), 1))  # noise: there is nothing to learn
    sample = WeightedBatches(X, y, np.ones(len(X)), batch=256, steps=400, seed=0)
    held_out = HeldOut(NEW, np.zeros((200, 1)), np.ones(200), KANRegressor._losses, 5)
    model, history, steps = train(
        lambda: KAN([3, 8, 1], BSpline(8), spline_weight=False), sample,
        Options(400, 0.03, mean_squared_error, progress=False), decay=0.0, held_out=held_out,
    )  # fmt: skip
    assert steps < 400 and len(held_out.losses) == int(np.argmin(held_out.losses)) + 6
    kept = float(np.square(Predictor(model, 1024)(NEW)).mean())
    assert kept == pytest.approx(min(held_out.losses), rel=1e-6)
    assert history.losses[-1] < history.losses[0]


@pytest.mark.long
@pytest.mark.parametrize("make", [KANRegressor, KANClassifier])
def test_early_stopping(make):
    y = additive(X) if make is KANRegressor else additive(X) > 0
    model = make(early_stopping=True, n_iter_no_change=3, steps=400, hidden=4).fit(X, y)
    lowest = int(np.argmin(model.validation_losses_))
    assert model.n_iter_ == 400 or len(model.validation_losses_) == lowest + 4
    assert model.score(NEW, additive(NEW) if make is KANRegressor else additive(NEW) > 0) > 0.9


def test_the_network_is_what_was_asked_for():
    options = {"steps": 1, "basis": Linear()}
    assert KANRegressor(hidden=[4, 5], **options).fit(X, X[:, :2]).model_.widths == [3, 4, 5, 2]
    model = KANClassifier(parameters=500, **options).fit(X, X[:, 0] > 0).model_
    assert abs(parameter_count(model) - 500) <= 10 and model.layers[1].basis == Linear()


def test_pruned_estimators_and_diagrams(tmp_path):
    model = KANRegressor(hidden=3, alpha=0.1, steps=300).fit(X, X[:, 0] ** 2)
    pruned = model.prune(edge_threshold=0.05)
    assert parameter_count(pruned.model_) <= parameter_count(model.model_)
    assert pruned.model_.layers[0].live_edges().sum() < model.model_.layers[0].live_edges().sum()
    assert model.score(NEW, NEW[:, 0] ** 2) > 0.99  # unchanged
    assert pruned.score(NEW, NEW[:, 0] ** 2) > 0.9
    pruned.plot(tmp_path / "pruned.png")
    assert (tmp_path / "pruned.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.long
def test_formulas_are_in_the_units_of_the_data():
    pandas = pytest.importorskip("pandas")
    import sympy

    x = pandas.DataFrame(10 + 5 * X[:, :1], columns=["length (m)"])
    y = 1000 * (x["length (m)"] - 10) ** 2
    found = KANRegressor(hidden=[], alpha=0.01, steps=1000).fit(x, y).formula(hidden=1)
    value = sympy.lambdify(sympy.Symbol("length_m"), found)(x["length (m)"])
    # The data have no noise: the formula is that of the data, but for rounding to float32.
    np.testing.assert_allclose(value, y, atol=1e-3 * y.std())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": 0}, "hidden 0 must be a whole number at least 1"),
        ({"hidden": [3, 2.5]}, "hidden 2.5 must be a whole number"),
        ({"basis": "spline"}, "basis 'spline': a Basis is needed"),
        ({"parameters": 10}, "no network of 1 hidden layers"),
        ({"steps": 0}, "steps 0 must be"),
        ({"batch": 0}, "batch 0 must be"),
        ({"learning_rate": -1.0}, "learning rate -1.0 must be a positive number"),
        ({"alpha": -1.0}, "alpha -1.0 must be a number of at least 0"),
        ({"alpha": "auto"}, "alpha 'auto' must be a number of at least 0"),
        ({"early_stopping": True, "validation_fraction": 1.5}, "validation_fraction 1.5 must be"),
        ({"n_iter_no_change": 0}, "n_iter_no_change 0 must be"),
        ({"device": "ABACUS"}, "device 'ABACUS' is not available here"),
    ],
)
def test_parameters_out_of_range_are_one_line(options, message):
    with pytest.raises(UserError, match=message) as raised:
        KANRegressor(**options).fit(X, X[:, 0])
    assert "\n" not in str(raised.value)


def test_a_single_class_is_one_line():
    with pytest.raises(UserError, match="y holds one class, 'a': at least two are needed"):
        KANClassifier().fit(X, ["a"] * len(X))


def test_the_device_in_use_stays():
    before = DEV.value
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = KANRegressor(device="CPU:LLVM", **SMALL).fit(X, additive(X))
    assert DEV.value == before
    np.testing.assert_allclose(model.predict(NEW), reference(), atol=1e-3)

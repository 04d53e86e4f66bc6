"""Whole trainings on data of any scale, order and type: what a network gives scales along."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tinykan import (
    KAN,
    MLP,
    EdgeTanh,
    Network,
    Predictor,
    Raw,
    Standardized,
    UserError,
    fit,
    load,
    parameter_count,
    save,
)

RNG = np.random.default_rng(0)
# Multiples of 1/64, so that products with powers of 2 and some sums are exact.
X = np.round(RNG.uniform(-1, 1, (60, 2)) * 64) / 64
Y = np.round(np.c_[np.sin(3 * X[:, 0]) * X[:, 1], X[:, 0] ** 2] * 64) / 64


def trained(x, y, steps: int = 20) -> tuple[Standardized, Network, float]:
    data, model = Standardized(x, y), KAN([2, 3, 2], seed=0)
    history = fit(model, data.batches(), steps=steps, learning_rate=0.02, progress=False)
    return data, model, history.losses[-1]


@functools.cache
def reference() -> tuple[np.ndarray, float]:
    data, model, loss = trained(X, Y)
    return data.predictor(model)(X), loss


def test_the_columns_are_standardized():
    data = Standardized(X * [3, 7] + [100, -5], Y * [1e-9, 1e9])
    np.testing.assert_allclose(data.inputs.min(0), -1, rtol=1e-12)
    np.testing.assert_allclose(data.inputs.max(0), 1, rtol=1e-12)
    np.testing.assert_allclose(data.targets.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(data.targets.std(0), 1, rtol=1e-12)
    np.testing.assert_allclose(data.target_scale, Y.std(0) * [1e-9, 1e9], rtol=1e-12)


def test_other_data_are_on_the_same_scale():
    data = Standardized(X, Y)
    for rows in (slice(None), slice(3, 9)):
        inputs, targets = data.standardized(X[rows], Y[rows])
        np.testing.assert_array_equal(inputs, data.inputs[rows])
        np.testing.assert_array_equal(targets, data.targets[rows])
    with pytest.raises(UserError, match="60 inputs and 59 targets"):
        data.standardized(X, Y[1:])


@settings(max_examples=settings.default.max_examples // 5)
@given(inputs=st.integers(-100, 100), targets=st.integers(-100, 100))
@example(inputs=-100, targets=100)
def test_powers_of_two_change_no_bit(inputs, targets):
    data, model, loss = trained(X * 2.0**inputs, Y * 2.0**targets)
    expected, expected_loss = reference()
    assert loss == expected_loss
    found = data.predictor(model)(X * 2.0**inputs)
    np.testing.assert_array_equal(found, expected * 2.0**targets)


@settings(max_examples=settings.default.max_examples // 5)
@given(
    power=st.integers(-12, 12),
    input_shift=st.integers(-(10**4), 10**4),
    target_shift=st.integers(-(10**4), 10**4),
)
def test_powers_of_ten_and_shifts_change_the_last_digits(power, input_shift, target_shift):
    x, y = (X + input_shift) * 10.0**power, (Y + target_shift) * 10.0**-power
    data, model, loss = trained(x, y)
    expected, expected_loss = reference()
    # The same numbers but for roundings of float64, at up to 1e4 times their spread, and float32's
    # of the standardized ones, which twenty steps of Adam make larger.
    assert loss == pytest.approx(expected_loss, rel=1e-3)
    found = data.predictor(model)(x) * 10.0**power - target_shift
    np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize(
    "convert",
    [
        lambda values: values.tolist(),
        lambda values: values.astype(np.float32),
        lambda values: values.astype(np.float16),
        np.asfortranarray,
        lambda values: values[::-1][::-1],
        lambda values: values.astype(object),
    ],
    ids=["list", "float32", "float16", "columns", "negative strides", "objects"],
)
def test_any_type_of_the_same_numbers_gives_the_same_bits(convert):
    data, model, loss = trained(convert(X), convert(Y))
    expected, expected_loss = reference()
    assert loss == expected_loss
    np.testing.assert_array_equal(data.predictor(model)(convert(X)), expected)


def test_order_and_repetition_change_the_last_digits():
    expected, expected_loss = reference()
    for rows in (RNG.permutation(60), np.repeat(np.arange(60), 2), np.tile(np.arange(60), 3)):
        data, model, loss = trained(X[rows], Y[rows])
        assert loss == pytest.approx(expected_loss, rel=1e-3)
        np.testing.assert_allclose(data.predictor(model)(X), expected, atol=2e-3)


def test_weights_count_rows():
    weights = RNG.integers(1, 5, 60)
    weighted = Standardized(X, Y, weights)
    repeated = Standardized(np.repeat(X, weights, axis=0), np.repeat(Y, weights, axis=0))
    for name in ("input_shift", "input_scale", "target_shift", "target_scale"):
        expected = getattr(repeated, name)
        np.testing.assert_allclose(getattr(weighted, name), expected, rtol=1e-12, atol=1e-15)
    with pytest.raises(UserError, match="60 weights, of which the least is 0: 60 above 0"):
        Standardized(X, Y, np.arange(60))
    for wrong in (np.ones(59), np.ones((60, 2)), np.full(60, np.nan), ["a"] * 60, 1.0):
        with pytest.raises(UserError, match="weights"):
            Standardized(X, Y, wrong)


def test_constant_columns_are_learned_as_they_are():
    x, y = np.c_[X[:, 0], np.full(60, 7.0)], np.c_[Y[:, 0], np.full(60, -3e8)]
    data, model, _ = trained(x, y)
    assert (data.targets[:, 1] == 0).all() and (data.inputs[:, 1] == 0).all()
    found = data.predictor(model)(x)
    assert np.isfinite(found).all() and np.abs(found[:, 1] + 3e8).max() < 3
    np.testing.assert_allclose(Predictor(data.in_units(model))(x), found, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("make", [KAN, MLP], ids=["kan", "mlp"])
def test_a_network_in_units_is_saved_and_gives_the_same(make, bias, tmp_path):
    x, y = X * [1e6, 1e-6] + [3e6, 0], Y * [1e-9, 1e9] + [0, 5e8]
    data, model = Standardized(x, y), make([2, 4, 2], bias=bias, seed=0)
    fit(model, data.batches(), steps=30, progress=False)
    before = parameter_count(model)
    save(data.in_units(model), tmp_path / "model.safetensors")
    loaded = load(tmp_path / "model.safetensors")
    found = Predictor(loaded)(x)
    difference = (found - data.predictor(model)(x)) / data.target_scale
    np.testing.assert_allclose(difference, 0, atol=1e-4)
    assert parameter_count(loaded) == before + (0 if bias else 2)
    assert parameter_count(model) == before  # the model itself stays as it is


@pytest.mark.parametrize(
    ("x", "y", "model", "message"),
    [
        (X, Y + 1e8, KAN([2, 2]), "the targets in column 1 vary by .* around 1e.08, too little"),
        (
            X + [1e8, 0],
            Y,
            KAN([2, 2]),
            "the inputs in column 0 vary by 0.984 around 1e.08, too little",
        ),
        (X, Y, KAN([2, 2], encoding=Raw(2)), "only networks without an encoding"),
        (X, Y, Network([EdgeTanh(2, 2)]), "that end in a KANLayer"),
    ],
)
def test_what_has_no_units_is_one_line(x, y, model, message):
    with pytest.raises(UserError, match=message) as raised:
        Standardized(x, y).in_units(model)
    assert "\n" not in str(raised.value)


def test_inputs_and_targets_must_be_as_many():
    with pytest.raises(UserError, match="60 inputs and 59 targets"):
        Standardized(X, Y[1:])

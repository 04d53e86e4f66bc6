"""A network on several devices gives the result of one."""

from __future__ import annotations

import numpy as np
import pytest
from tinygrad import Device
from tinygrad.nn.state import get_parameters

from tinykan import (
    KAN,
    MLP,
    BSpline,
    DeviceError,
    Gaussian,
    Predictor,
    UserError,
    batches,
    fit,
)
from tinykan.runs.devices import spread_across
from tinykan.tensors import learnable

X = np.linspace(-1, 1, 64, dtype=np.float32)[:, None]
Y = np.sin(3 * X)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: MLP([1, 8, 1], seed=0), marks=pytest.mark.long),
        pytest.param(lambda: KAN([1, 4, 1], BSpline(5, 3), seed=0), marks=pytest.mark.long),
        lambda: MLP([4, 6, 1], "relu", encoding=Gaussian(1, 2), seed=0),
    ],
    ids=["dense", "spline", "encoded"],
)
def test_two_devices_give_the_result_of_one(make):
    first = Device.DEFAULT
    one, two = make(), make()
    sample, predict = batches(X, np.sin(3 * X + 1), 32, seed=1), Predictor(two, chunk=16)
    fit(one, sample, steps=12, progress=False)
    before = predict(X)
    with spread_across(get_parameters(two), [first, f"{first}:1"]):
        fit(two, sample, steps=12, progress=False)
        during = predict(X)
    assert np.abs(before - during).max() > 1e-3
    # On one device other kernels compute the same.
    np.testing.assert_allclose(during, predict(X), atol=1e-6)
    for a, b in zip(learnable(one), learnable(two), strict=True):
        assert b.device == first
        # Sums over the batch are taken in another order; Adam makes 12 steps of them.
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=2e-5)


def test_devices_that_cannot_be_used_are_one_line():
    model, first = KAN([1, 1]), Device.DEFAULT
    pair = [first, f"{first}:1"]
    with spread_across(get_parameters(model), pair), pytest.raises(UserError, match="batch of 9"):
        fit(model, batches(X[:9], Y[:9]), steps=1, progress=False)
    for names, message in (([first, first], "named twice"), (["FOO", first], "'FOO' is not")):
        with (
            pytest.raises(DeviceError, match=message),
            spread_across(get_parameters(model), names),
        ):
            pass

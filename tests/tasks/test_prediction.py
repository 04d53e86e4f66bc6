"""Prediction on NumPy arrays."""

from __future__ import annotations

import numpy as np
import pytest
from tinygrad import Tensor

from tinykan import MLP, Predictor, UserError


def test_predictor_takes_any_number_of_points():
    model = MLP([2, 3, 1])
    x = np.random.default_rng(0).uniform(-1, 1, (10, 2)).astype(np.float32)
    predict = Predictor(model, chunk=4)
    np.testing.assert_allclose(predict(x), model(Tensor(x)).numpy(), atol=1e-6)
    np.testing.assert_allclose(predict(x[:1]), model(Tensor(x)).numpy()[:1], atol=1e-6)


def test_one_row_is_one_prediction_and_shapes_are_checked():
    model = MLP([2, 3, 1])
    predict = Predictor(model, chunk=4)
    row = np.array([0.5, -0.25])
    expected = model(Tensor(row.astype(np.float32)[None])).numpy()
    np.testing.assert_allclose(predict(row), expected, atol=1e-6)
    np.testing.assert_allclose(predict(row.tolist()), expected, atol=1e-6)
    for wrong in (np.zeros((5, 1)), np.zeros((0, 2)), np.zeros((5, 3)), np.zeros(5), [[np.nan, 0]]):
        with pytest.raises(UserError, match="inputs"):
            predict(wrong)
    assert Predictor(MLP([1, 2]))(np.zeros(7)).shape == (7, 2)

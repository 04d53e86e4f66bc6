"""Prediction on NumPy arrays."""

from __future__ import annotations

import numpy as np
from tinygrad import Tensor

from tinykan import MLP, Predictor


def test_predictor_takes_any_number_of_points():
    model = MLP([2, 3, 1])
    x = np.random.default_rng(0).uniform(-1, 1, (10, 2)).astype(np.float32)
    predict = Predictor(model, chunk=4)
    np.testing.assert_allclose(predict(x), model(Tensor(x)).numpy(), atol=1e-6)
    np.testing.assert_allclose(predict(x[:1]), model(Tensor(x)).numpy()[:1], atol=1e-6)

"""Shared by the tests of kernels."""

from __future__ import annotations

import numpy as np
import pytest
from tinygrad import Tensor

from tinykan import KANLayer, UserError
from tinykan.kernels import launch
from tinykan.runs import devices
from tinykan.tensors import learnable

threaded, grouped = (
    serve(Tensor.ones(1, 1)) for serve in (launch.runs_on_threads, launch.runs_on_work_groups)
)
reason = f"plain path only on {devices.summary()}"


def results(layer: KANLayer, x: np.ndarray, upstream: np.ndarray, mode: str) -> list[np.ndarray]:
    """The output, the gradient to the input and those to the weights."""
    layer.kernels = mode
    inputs, factor = Tensor(x).realize(), Tensor(upstream).realize()
    y = layer(inputs)
    gradients = (y * factor).sum().gradient(inputs, *learnable(layer))
    return [t.numpy().copy() for t in (y, *gradients)]


def assert_paths_agree(layer: KANLayer, x: np.ndarray, tolerance: float = 1e-5) -> None:
    upstream = np.random.default_rng(9).normal(size=(len(x), layer.out_features)).astype(x.dtype)
    ours, plain = (results(layer, x, upstream, mode) for mode in ("auto", "reference"))
    for a, b in zip(ours, plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * np.abs(b).max())


def assert_no_second_derivative(layer: KANLayer) -> None:
    x = Tensor.uniform(8, layer.in_features)
    with pytest.raises(UserError, match="second derivatives") as error:
        layer(x).sum().gradient(x)[0].sum().gradient(x)[0].realize()
    assert "\n" not in str(error.value)

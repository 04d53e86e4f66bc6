"""Prediction: a network as a function of NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tinygrad import Tensor, TinyJit, dtypes

from tinykan.errors import UserError
from tinykan.networks import Network
from tinykan.tensors import learnable


class Predictor:
    """A network for NumPy arrays: any number of points, `chunk` at a time, in bounded memory. The
    forward pass is compiled once, at the first call."""

    def __init__(self, model: Network, chunk: int = 16384) -> None:
        if chunk < 1:
            raise UserError(f"{chunk} points at a time: at least 1 is needed")
        self.model, self.in_features, self.chunk = model, model.in_features, chunk
        self._memory: object = None  # that holds the weights
        self._forward: Callable[[Tensor], Tensor]

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """`[n, in_features]` to `[n, out_features]`."""
        weight, results = learnable(self.model)[0].realize(), []
        # Compiled code is bound to the memory of the weights, which moves from device to device.
        if weight.uop.base.realized is not self._memory:
            self._memory = weight.uop.base.realized
            self._forward = TinyJit(lambda x: self.model(x).realize())
        for start in range(0, len(x), self.chunk):
            part = x[start : start + self.chunk]
            padded = np.zeros(
                (self.chunk, self.in_features),
                dtype=np.float64 if weight.dtype == dtypes.float64 else np.float32,
            )
            padded[: len(part)] = part
            y = self._forward(Tensor(padded).to(weight.device).realize())
            results.append(y.numpy()[: len(part)].copy())
        return np.concatenate(results)

"""Prediction: a network as a function of NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tinygrad import Tensor, TinyJit, dtypes

from tinykan.errors import check_integer
from tinykan.networks import Network
from tinykan.tasks.arrays import as_rows
from tinykan.tensors import learnable


class Predictor:
    """A network for arrays of any kind (tinykan.tasks.arrays) and length, `chunk` rows at a time,
    in bounded memory. The forward pass is compiled once, at the first call."""

    def __init__(self, model: Network, chunk: int = 16384) -> None:
        check_integer("chunk", chunk, 1)
        self.model, self.in_features, self.chunk = model, model.in_features, chunk
        self._memory: object = None  # that holds the weights
        self._forward: Callable[[Tensor], Tensor]

    def __call__(self, x: Any) -> np.ndarray:
        """`[n, in_features]` to `[n, out_features]`. One row `[in_features]` is n = 1; `[n]` will
        do for one input. Raises UserError as tinykan.tasks.arrays.as_rows."""
        x = as_rows(x, self.in_features)
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

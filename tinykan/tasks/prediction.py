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
        self._forward = Compiled(model, model)

    def __call__(self, x: Any) -> np.ndarray:
        """`[n, in_features]` to `[n, out_features]`. One row `[in_features]` is n = 1; `[n]` will
        do for one input. Raises UserError as tinykan.tasks.arrays.as_rows."""
        x, results = as_rows(x, self.in_features), []
        for start in range(0, len(x), self.chunk):
            part = x[start : start + self.chunk]
            padded = np.zeros((self.chunk, self.in_features))
            padded[: len(part)] = part
            results.append(self._forward(padded)[: len(part)].copy())
        return np.concatenate(results)


class Compiled:
    """A `function` of tensors that evaluates `model`, for arrays of always the same shapes. It is
    compiled at the first call, and again when the weights have moved."""

    def __init__(self, model: Network, function: Callable[..., Tensor]) -> None:
        self.model, self.function = model, function
        self._memory: object = None  # that holds the weights
        self._compiled: Callable[..., Tensor]

    def __call__(self, *arrays: np.ndarray) -> np.ndarray:
        """Its value for `arrays`, in the type of the weights but for integers, which are int32."""
        weight = learnable(self.model)[0].realize()
        # Compiled code is bound to the memory of the weights, which moves from device to device.
        if weight.uop.base.realized is not self._memory:
            self._memory = weight.uop.base.realized
            self._compiled = TinyJit(lambda *tensors: self.function(*tensors).realize())
        number = np.float64 if weight.dtype == dtypes.float64 else np.float32
        given = [a.astype(np.int32 if a.dtype.kind == "i" else number) for a in arrays]
        return self._compiled(*(Tensor(a).to(weight.device).realize() for a in given)).numpy()

"""Tools for tensors that bases, layers and optimizers share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tinygrad import Tensor, UOp, dtypes
from tinygrad.function import function
from tinygrad.nn.state import get_parameters


def with_derivative(x: Tensor, value: Callable[..., Any], derivative: Callable[..., Any]) -> Tensor:
    """`value(x)`, elementwise or with functions in a last dimension, with `derivative(x)`, of the
    same shape, as its custom vector-Jacobian product. There is no second derivative."""

    def gradient(upstream: UOp, call: UOp) -> tuple[UOp | None, ...]:
        # In one more dimension: tinygrad copies what two kernels read through the same view.
        product = derivative(Tensor(call.src[1]).unsqueeze(0)) * Tensor(upstream).unsqueeze(0)
        product = product if upstream.ndim == x.ndim else product.sum(-1)
        return (product.squeeze(0).uop, *[None] * (len(call.src) - 2))

    return function(value, grad_fxn=gradient, allow_implicit=True)(x)


def parameter(values: np.ndarray) -> Tensor:
    """A parameter from values drawn by NumPy, so that a seed gives the same start everywhere."""
    return Tensor(values.astype(np.float64), dtype=dtypes.default_float)


def learnable(model: object) -> list[Tensor]:
    """The parameters of a layer or network: its tensors without knots, masks and frequencies."""
    return [tensor for tensor in get_parameters(model) if tensor.is_param]


def like(tensor: Tensor, values: np.ndarray) -> Tensor:
    """`values` in the type and on the device of `tensor`, a parameter if that is one."""
    made = Tensor(np.ascontiguousarray(values, dtype=np.float64), dtype=tensor.dtype)
    return made.to(tensor.device).realize().is_param_(tensor.is_param)


def overwrite(tensor: Tensor, values: np.ndarray) -> None:
    """Puts `values` into the memory of `tensor`, which compiled steps go on using."""
    tensor.assign(Tensor(values, dtype=tensor.dtype).to(tensor.device)).realize()

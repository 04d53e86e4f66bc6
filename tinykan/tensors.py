"""Functions whose gradient is written down instead of derived through their evaluation."""

from __future__ import annotations

from collections.abc import Callable

from tinygrad import Tensor, UOp
from tinygrad.function import function


def with_derivative(x: Tensor, value: Callable, derivative: Callable) -> Tensor:
    """`value(x)`, elementwise or with functions in a last dimension, whose gradient is
    `derivative(x)`, of the same shape. Differentiable once."""

    def gradient(upstream: UOp, call: UOp) -> tuple[UOp | None, ...]:
        # With a dimension more than in the forward pass: tinygrad copies what two kernels read
        # through one and the same view.
        product = derivative(Tensor(call.src[1]).unsqueeze(0)) * Tensor(upstream).unsqueeze(0)
        change = product if upstream.ndim == x.ndim else product.sum(-1)
        return (change.squeeze(0).uop, *[None] * (len(call.src) - 2))

    return function(value, grad_fxn=gradient, allow_implicit=True)(x)

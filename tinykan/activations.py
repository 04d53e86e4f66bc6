"""Functions of one variable by name: activations of nodes, and base functions of edges.

Made of arithmetic that compilers vectorize. tinygrad's own exponential and sine have branches for
huge arguments, which prevent that: SiLU took five times as long, a SIREN's sine three times.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from tinygrad import Tensor, UOp, dtypes

from tinykan.errors import Families
from tinykan.tensors import with_derivative

# Formulas are for tensors, and for scalars inside a kernel.
Number = TypeVar("Number", Tensor, UOp)


@dataclass(frozen=True)
class Activation:
    """A function of one variable with its derivative, both for tensors and inside kernels."""

    value: Callable[..., Any]
    derivative: Callable[..., Any]

    def __call__(self, x: Tensor) -> Tensor:
        """Differentiable once, through `derivative`."""
        return with_derivative(x, self.value, self.derivative)


def bounded(x: Number, limit: float) -> Number:
    """`x`, but just beyond `limit` wherever it is farther from 0. NaN stays NaN."""
    # With `limit` twice tinygrad would make it a maximum, which differs for NaN by device.
    beyond = 1.00001 * limit
    x = (x < -limit).where(-beyond, x)
    return (x > limit).where(beyond, x)


def exponential(x: Number) -> Number:
    """e^x; in float32 to 2e-7 relative for -44 <= x <= 87, 0 below, and as at 87 beyond."""
    return decaying(bounded(x, 87.0)) if x.dtype == dtypes.float32 else x.exp()


def decaying(x: Number) -> Number:
    """The same for -10^5 <= x <= 87, with one comparison instead of three."""
    if x.dtype != dtypes.float32:
        return x.exp()
    # The nearest power of two: positive values are truncated, which takes no comparison.
    biased: Any = (x * math.log2(math.e) + 127.5).cast(dtypes.int32)
    biased = biased.detach() if isinstance(biased, Tensor) else biased  # or e^x would have slope 0
    rest = x - (biased.cast(dtypes.float32) - 127) * math.log(2)
    # 0 below 2^-64: products would reach denormal numbers, on which CPUs are slow.
    power = (biased > 63).where(biased * 2**23, 0).bitcast(dtypes.float32)
    # Taylor's series on |rest| <= log(2) / 2, up to where the next term is lost in rounding.
    return power * _series(rest, [1 / math.factorial(k) for k in range(8)])


def sigmoid(x: Number) -> Number:
    return (1 + exponential(-x)).reciprocal()


def sigmoid_slope(x: Number) -> Number:
    return (s := sigmoid(x)) * (1 - s)


def tanh(x: Number) -> Number:
    return 2 * sigmoid(2 * x) - 1


def _reduced(x: Number) -> tuple[Number, Number]:
    """The angle less its nearest multiple of pi, and the sign of sine and cosine there."""
    half_turns = x * (1 / math.pi)
    nearest = (half_turns + 0.5).floor()
    return (half_turns - nearest) * math.pi, 1 - 2 * (nearest - 2 * (nearest * 0.5).floor())


def sine(x: Number) -> Number:
    """As exact as x itself is known, to half a unit in its last place, for |x| up to 10^6."""
    y, sign = _reduced(x)
    terms = [(-1) ** k / math.factorial(2 * k + 1) for k in range(_terms(x))]
    return sign * (y * _series(y * y, terms))


def cosine(x: Number) -> Number:
    y, sign = _reduced(x)
    return sign * _series(y * y, [(-1) ** k / math.factorial(2 * k) for k in range(_terms(x) + 1)])


def _terms(x: Number) -> int:
    """Of Taylor's series on |y| <= pi / 2, up to where the next one is lost in rounding."""
    return 11 if x.dtype == dtypes.float64 else 6


def _series(x: Number, coefficients: list[float]) -> Number:
    total = x.const_like(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = total * x + coefficient
    return total


ACTIVATIONS = Families({
    "identity": Activation(lambda x: x, lambda x: x.const_like(1.0)),
    "tanh": Activation(tanh, lambda x: 4 * sigmoid_slope(2 * x)),
    "relu": Activation(lambda x: x * (x > 0).cast(x.dtype), lambda x: (x > 0).cast(x.dtype)),
    "silu": Activation(lambda x: x * sigmoid(x), lambda x: sigmoid(x) + x * sigmoid_slope(x)),
    "sine": Activation(sine, cosine),
})  # fmt: skip

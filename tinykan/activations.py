"""Functions of one variable by name: activations of nodes, and base functions of edges."""

from __future__ import annotations

import math
from collections.abc import Callable

from tinygrad import Tensor, dtypes


def sine(x: Tensor) -> Tensor:
    """sin x as exactly as x itself is known, to half a unit in its last place, for |x| up to 10^6;
    its gradient is written down.

    Tensor.sin is exact for the largest numbers too, for which it reduces the argument in two ways
    and picks one; the angles of a network are small, and this takes a fraction of the time.
    """
    fixed = x.detach()
    half_turns = fixed * (1 / math.pi)
    nearest = (half_turns + 0.5).floor()
    y = (half_turns - nearest) * math.pi
    sign = 1 - 2 * (nearest - 2 * (nearest * 0.5).floor())
    # Taylor series on |y| <= pi / 2, up to where the next term is lost in rounding.
    terms, square = (11 if x.dtype == dtypes.float64 else 6), y * y
    value = y * _series(square, [(-1) ** k / math.factorial(2 * k + 1) for k in range(terms)])
    slope = _series(square, [(-1) ** k / math.factorial(2 * k) for k in range(terms + 1)])
    return sign * (value + slope * (x - fixed))


def _series(x: Tensor, coefficients: list[float]) -> Tensor:
    total = x.const_like(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = total * x + coefficient
    return total


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda x: x,
    "tanh": Tensor.tanh,
    "relu": Tensor.relu,
    "silu": Tensor.silu,
    "gelu": Tensor.gelu,
    "sine": sine,
    "sine30": lambda x: sine(30.0 * x),
}

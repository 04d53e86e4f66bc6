"""The symbolic library: the functions that formulas are composed of."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tinygrad import Tensor

from tinykan.activations import ACTIVATIONS, Activation, bounded, cosine, exponential, sine

# The closest that tensor forms come to a pole or to the end of the domain: beyond, they are
# constant, so that a training step out of the domain does not end the training with NaN.
NEAREST = 1e-12


@dataclass(frozen=True)
class SymbolicFunction:
    """A function f of one variable: on tensors, on arrays, and as text for SymPy.

    `simplest(a, b)` returns `(a', b', factor, shift)` with f(a x + b) = factor f(a' x + b') + shift
    and as many as possible of a' = 1 and b' = 0. `search` names the search space of a and b in
    candidates.py. The higher the `complexity`, the better a fit must be to be preferred.
    """

    tensor: Callable[[Tensor], Tensor]  # differentiable once
    numpy: Callable[[np.ndarray], np.ndarray]
    sympy: str  # of x
    complexity: int
    search: str
    simplest: Callable[[float, float], tuple[float, float, float, float]]
    domain: str = "every x"


def _scaled(degree: int) -> Callable[[float, float], tuple[float, float, float, float]]:
    """For x^degree."""
    return lambda a, b: (1.0, b / a, a**degree, 0.0) if a else (a, b, 1.0, 0.0)


def _scaled_abs(a: float, b: float) -> tuple[float, float, float, float]:
    return (1.0, b / a, abs(a), 0.0) if a else (a, b, 1.0, 0.0)


def _scaled_sqrt(a: float, b: float) -> tuple[float, float, float, float]:
    if a == 0:
        return a, b, 1.0, 0.0
    return math.copysign(1, a), b / abs(a), math.sqrt(abs(a)), 0.0


def _scaled_log(a: float, b: float) -> tuple[float, float, float, float]:
    if a == 0:
        return a, b, 1.0, 0.0
    return math.copysign(1, a), b / abs(a), 1.0, math.log(abs(a))


def _scaled_exp(a: float, b: float) -> tuple[float, float, float, float]:
    # Beyond, the factor and its cofactor would leave the range of float32.
    return (a, 0.0, math.exp(b), 0.0) if abs(b) <= 20 else (a, b, 1.0, 0.0)


def _odd(a: float, b: float) -> tuple[float, float, float, float]:
    sign = math.copysign(1, a)
    return sign * a, sign * b, sign, 0.0


def _even(a: float, b: float) -> tuple[float, float, float, float]:
    return abs(a), math.copysign(1, a) * b, 1.0, 0.0


def _turned(a: float, b: float) -> tuple[float, float, float, float]:
    """For the sine: a phase between -pi/2 and pi/2."""
    a, b, sign, _ = _odd(a, b)
    half_turns = math.floor(b / math.pi + 0.5)
    return a, b - half_turns * math.pi, sign * (-1) ** half_turns, 0.0


def _away(x: Tensor) -> Tensor:
    # Like the functions below, it keeps NaN: a comparison with NaN is false.
    return (x.abs() < NEAREST).where(NEAREST, x)


def _inside(x: Tensor) -> Tensor:
    return (x < NEAREST).where(NEAREST, x)


def _arctan(x: Tensor) -> Tensor:
    # The angle is halved three times; twelve terms of the series are then exact in float64.
    y = bounded(x, 1e9)
    for _ in range(3):
        y = y / (1 + (1 + y * y).sqrt())
    square, total = y * y, y.const_like(0.0)
    for k in reversed(range(12)):
        total = total * square + (-1) ** k / (2 * k + 1)
    return 8 * y * total


def _inside_one(x: Tensor) -> Tensor:
    # Of float32, 1 - 2^-24 is the number below 1.
    edge = 1 - 2.0**-24
    x = (x > edge).where(edge, x)
    return (x < -edge).where(-edge, x)


def _arctanh(x: Tensor) -> Tensor:
    x = _inside_one(x)
    return 0.5 * ((1 + x).log() - (1 - x).log())


def _tan(x: Tensor) -> Tensor:
    return sine(x) / cosine(x)


def _gaussian(x: Tensor) -> Tensor:
    return exponential(-(x * x))


# A cosine is a sine with other affine parameters, and a sigmoid a tanh.
LIBRARY: dict[str, SymbolicFunction] = {
    "0": SymbolicFunction(
        Activation(lambda x: x.const_like(0.0), lambda x: x.const_like(0.0)),
        np.zeros_like, "0", 0, "nothing", lambda a, b: (1.0, 0.0, 1.0, 0.0),
    ),
    "x": SymbolicFunction(
        ACTIVATIONS["identity"], lambda x: x, "x", 1, "nothing", lambda a, b: (1.0, 0.0, a, b)
    ),
    "x^2": SymbolicFunction(
        Activation(lambda x: x * x, lambda x: 2 * x), np.square, "x**2", 2, "shift", _scaled(2)
    ),
    "x^3": SymbolicFunction(
        Activation(lambda x: x * x * x, lambda x: 3 * x * x),
        lambda x: x**3, "x**3", 3, "shift", _scaled(3),
    ),
    "x^4": SymbolicFunction(
        Activation(lambda x: (x * x) * (x * x), lambda x: 4 * x * x * x),
        lambda x: x**4, "x**4", 4, "shift", _scaled(4),
    ),
    "1/x": SymbolicFunction(
        Activation(lambda x: _away(x).reciprocal(), lambda x: -_away(x).reciprocal().square()),
        np.reciprocal, "1/x", 2, "pole", _scaled(-1), "x other than 0",
    ),
    "1/x^2": SymbolicFunction(
        Activation(
            lambda x: _away(x).reciprocal().square(),
            lambda x: -2 * _away(x).reciprocal().square() * _away(x).reciprocal(),
        ),
        lambda x: 1 / x**2, "1/x**2", 3, "pole", _scaled(-2), "x other than 0",
    ),
    "sqrt": SymbolicFunction(
        Activation(
            lambda x: (x < 0).where(0.0, x).sqrt(),
            lambda x: (x < NEAREST).where(0.0, 0.5 * _inside(x).rsqrt()),
        ),
        np.sqrt, "sqrt(x)", 2, "edge", _scaled_sqrt, "x >= 0",
    ),
    "exp": SymbolicFunction(
        Activation(exponential, exponential), np.exp, "exp(x)", 2, "rate", _scaled_exp
    ),
    "log": SymbolicFunction(
        Activation(
            lambda x: _inside(x).log(),
            lambda x: (x < NEAREST).where(0.0, _inside(x).reciprocal()),
        ),
        np.log, "log(x)", 2, "edge", _scaled_log, "x > 0",
    ),
    "abs": SymbolicFunction(
        Activation(lambda x: x.abs(), lambda x: x.sign()), np.abs, "Abs(x)", 3, "kink", _scaled_abs
    ),
    "sin": SymbolicFunction(ACTIVATIONS["sine"], np.sin, "sin(x)", 3, "wave", _turned),
    "tan": SymbolicFunction(
        Activation(_tan, lambda x: 1 + _tan(x).square()),
        np.tan, "tan(x)", 4, "branch", _odd, "x between two poles",
    ),
    "tanh": SymbolicFunction(ACTIVATIONS["tanh"], np.tanh, "tanh(x)", 3, "place", _odd),
    "arctan": SymbolicFunction(
        Activation(_arctan, lambda x: (1 + bounded(x, 1e9).square()).reciprocal()),
        np.arctan, "atan(x)", 3, "place", _odd,
    ),
    "arctanh": SymbolicFunction(
        Activation(
            _arctanh,
            lambda x: (x.abs() < 1).where((1 - _inside_one(x).square()).reciprocal(), 0.0),
        ),
        np.arctanh, "atanh(x)", 4, "interval", _odd, "-1 < x < 1",
    ),
    "gaussian": SymbolicFunction(
        Activation(_gaussian, lambda x: -2 * bounded(x, 1e9) * _gaussian(x)),
        lambda x: np.exp(-np.square(x)), "exp(-x**2)", 3, "place", _even,
    ),
}  # fmt: skip

"""Functions of one variable with three derivatives: activations of nodes, base functions of edges,
and bases. The third is needed for the gradient of the second."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from tinygrad import Tensor

from tinykan.activations import (
    ACTIVATIONS,
    bounded,
    cosine,
    decaying,
    exponential,
    sigmoid,
    sine,
    tanh,
)
from tinykan.basis import Basis, BSpline, Linear
from tinykan.errors import Families, UserError
from tinykan.taylor.splines import spline_derivative
from tinykan.tensors import with_derivative

Derivatives = list[Any]  # a function's value and its derivatives at one place, tensors or scalars
KINKED = ("relu",)  # whose second derivative does not exist


@dataclass(frozen=True)
class Smooth:
    """`at(order, x)` is the derivative of that order, 0 to 3, at x: for tensors, and, if
    `in_kernels`, for a scalar inside a kernel."""

    at: Callable[[int, Any], Any]
    in_kernels: bool = False

    def __call__(self, order: int, x: Tensor) -> Tensor:
        """The same for tensors, differentiable once more if `order` is at most 2."""
        return with_derivative(x, lambda x: self.at(order, x), lambda x: self.at(order + 1, x))


def activation(name: str, order: int) -> Smooth:
    """One of ACTIVATIONS, of which derivatives up to `order` are asked for. Raises UserError where
    the second does not exist."""
    if name in KINKED and order > 1:
        raise UserError(f"{name} has no second derivative: choose a smooth function, as silu")
    if name in WRITTEN_OUT:
        written_out = WRITTEN_OUT[name]
        return Smooth(lambda order, x: written_out(x)[order], in_kernels=True)
    known = ACTIVATIONS[name]
    return Smooth(_differentiated(known.value, known.derivative))


def basis_functions(basis: Basis, order: int) -> Smooth:
    """All functions of a basis, in a last dimension, as `activation`."""
    if isinstance(basis, BSpline):
        if basis.order < order:
            raise UserError(f"splines of order {basis.order} have no derivative of order {order}")
        return Smooth(lambda order, x: spline_derivative(basis, x, order))
    if isinstance(basis, Linear):
        return Smooth(lambda order, x: WRITTEN_OUT["identity"](x.unsqueeze(-1))[order])
    if names := getattr(basis, "activations", None):
        parts = [activation(name, order) for name in names]
        return Smooth(lambda order, x: Tensor.stack(*(p.at(order, x) for p in parts), dim=-1))
    return Smooth(_differentiated(basis.evaluate, basis.derivative))


def _differentiated(value: Callable, slope: Callable) -> Callable[[int, Tensor], Tensor]:
    """Derivatives beyond the first by tinygrad's own differentiation of `slope`."""

    def at(order: int, x: Tensor) -> Tensor:
        if order < 2:
            return slope(x) if order else value(x)
        below = at(order - 1, x)
        if below.ndim == x.ndim:
            return below.sum().gradient(x)[0]
        each = (below[..., n].sum().gradient(x)[0] for n in range(below.shape[-1]))
        return Tensor.stack(*each, dim=-1)

    return at


def _product(f: Derivatives, g: Derivatives) -> Derivatives:
    """Leibniz's rule."""
    return [
        sum((math.comb(n, k) * (f[k] * g[n - k]) for k in range(1, n + 1)), f[0] * g[n])
        for n in range(4)
    ]


def _composed(f: Derivatives, g: Derivatives) -> Derivatives:
    """The chain rule (Faa di Bruno's formula): `f` are derivatives at the value of `g`."""
    return [
        f[0],
        f[1] * g[1],
        f[2] * (g[1] * g[1]) + f[1] * g[2],
        f[3] * (g[1] * g[1] * g[1]) + 3 * (f[2] * (g[1] * g[2])) + f[1] * g[3],
    ]


def _powers(x: Any, coefficients: list[float]) -> Derivatives:
    """Of the polynomial with these coefficients, the constant first."""
    found = []
    for _ in range(4):
        total = x.const_like(0.0)
        for c in reversed(coefficients):
            total = total * x + c
        found.append(total)
        coefficients = [n * c for n, c in enumerate(coefficients)][1:] or [0.0]
    return found


def _sigmoid(x: Any) -> Derivatives:
    s = sigmoid(x)
    slope = s * (1 - s)
    return [s, slope, slope * (1 - 2 * s), slope * (1 - 6 * slope)]


def _tanh(x: Any) -> Derivatives:
    t = tanh(x)
    slope = 1 - t * t
    return [t, slope, -2 * (t * slope), slope * (6 * (t * t) - 2)]


def _sine(x: Any) -> Derivatives:
    s, c = sine(x), cosine(x)
    return [s, c, -s, -c]


def _gelu(x: Any) -> Derivatives:
    scale = math.sqrt(8 / math.pi)
    inner = _powers(x, [0.0, scale, 0.0, scale * 0.044715])
    return _product(_powers(x, [0.0, 1.0]), _composed(_sigmoid(inner[0]), inner))


def _sine_of(angle: Derivatives) -> Derivatives:
    return _composed(_sine(angle[0]), angle)


def _scaled_sine(omega: float, x: Any) -> Derivatives:
    return [omega**n * d for n, d in enumerate(_sine(omega * x))]


def _finer(omega: float, x: Any) -> Derivatives:
    """Of the function, in which |x| + 1 is no constant, as it is for the gradient in training. The
    second derivative jumps at 0, where it is 0."""
    distance, sign = x.maximum(-x), (x > 0).cast(x.dtype) - (x < 0).cast(x.dtype)
    zero = x.const_like(0.0)
    angle = [(distance + 1) * x, 2 * distance + 1, 2 * sign, zero]
    return _sine_of([omega * d for d in angle])


def _gauss(scale: float, x: Any) -> Derivatives:
    """Hermite's polynomials of u = scale x, times exp(-u^2 / 2)."""
    u = scale * bounded(x, 400 / scale)
    e, square = decaying(-0.5 * (u * u)), u * u
    factors = [x.const_like(1.0), -u, square - 1, u * (3 - square)]
    return [scale**n * (f * e) for n, f in enumerate(factors)]


def _wire(omega: float, x: Any) -> Derivatives:
    scale = omega / math.sqrt(2)
    s, c = _sine(omega * bounded(x, 400 / scale))[:2]
    wave = [omega**n * d for n, d in enumerate([c, -s, -c, s])]
    return _product(wave, _gauss(scale, x))


def _hsine(omega: float, x: Any) -> Derivatives:
    rising, falling = (exponential(bounded(sign * 2 * x, 24.0)) for sign in (1, -1))
    odd, even = 0.5 * omega * (rising - falling), 0.5 * omega * (rising + falling)
    return _sine_of([odd, 2 * even, 4 * odd, 8 * even])


WRITTEN_OUT = Families({
    "identity": lambda x: [x, x.const_like(1.0), x.const_like(0.0), x.const_like(0.0)],
    "tanh": _tanh,
    "silu": lambda x: _product(_powers(x, [0.0, 1.0]), _sigmoid(x)),
    "sine": _sine,
    "gelu": _gelu,
})  # fmt: skip
FAMILIES: dict[str, Callable[[float, Any], Derivatives]] = {
    "sine": _scaled_sine, "finer": _finer, "gauss": _gauss, "wire": _wire, "hsine": _hsine,
}  # fmt: skip
WRITTEN_OUT.of |= {name: partial(partial, function) for name, function in FAMILIES.items()}

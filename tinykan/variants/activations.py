"""Activations beyond the core's: GELU, and families with a frequency or a scale in their names, as
SIREN's sine30; and layer normalization."""

from __future__ import annotations

import math
from functools import partial

from tinygrad import Tensor

from tinykan.activations import (
    ACTIVATIONS,
    Activation,
    Number,
    bounded,
    cosine,
    decaying,
    exponential,
    sigmoid,
    sigmoid_slope,
    sine,
)
from tinykan.networks import NORMS


def _gelu_argument(x: Number) -> Number:
    """Hendrycks and Gimpel 2016, sec. 2: x Phi(x) is nearly x sigmoid(this)."""
    return math.sqrt(8 / math.pi) * (x + 0.044715 * (x * x * x))


def _gelu_slope(x: Number) -> Number:
    inner, slope = _gelu_argument(x), math.sqrt(8 / math.pi) * (1 + 3 * 0.044715 * (x * x))
    return sigmoid(inner) + x * sigmoid_slope(inner) * slope


def _sine(omega: float) -> Activation:
    """sin(omega x), SIREN's (arXiv:2006.09661) with 30."""
    return Activation(lambda x: sine(omega * x), lambda x: omega * cosine(omega * x))


def _finer(omega: float) -> Activation:
    """sin(omega (|x| + 1) x), FINER's (arXiv:2312.02434). Its gradient takes |x| + 1 for a
    constant, as the paper's program does: between half of the derivative and all of it. L-BFGS,
    whose line search compares gradients with values, may end early with it."""

    def rate(x: Number) -> Number:
        return omega * (x.maximum(-x) + 1)

    return Activation(lambda x: sine(rate(x) * x), lambda x: rate(x) * cosine(rate(x) * x))


def _gauss(scale: float) -> Activation:
    """exp(-(scale x)^2 / 2), of Ramasinghe and Lucey (arXiv:2111.15135), 1 / scale being
    its standard deviation."""
    bell = partial(_bell, scale=scale)
    return Activation(bell, lambda x: -(scale * scale) * (_near(x, scale) * bell(x)))


def _wire(omega: float) -> Activation:
    """cos(omega x) exp(-(omega x / 2)^2), the real part of WIRE's complex Gabor wavelet
    (arXiv:2301.05187) for real x, with the usual ratio of its two scales, 20 to 10."""
    scale = omega / math.sqrt(2)

    def slope(x: Number) -> Number:
        angle = omega * _near(x, scale)
        return -omega * ((sine(angle) + 0.5 * (angle * cosine(angle))) * _bell(x, scale))

    return Activation(lambda x: cosine(omega * _near(x, scale)) * _bell(x, scale), slope)


def _hsine(omega: float) -> Activation:
    """sin(omega sinh(2 x)), of H-SIREN's first layer (arXiv:2410.04716), and beyond |x| = 12
    as there, where float32 has long lost its angle."""

    def power(x: Number) -> Number:
        return exponential(bounded(2 * x, 24.0))

    def angle(x: Number) -> Number:
        return 0.5 * omega * (power(x) - power(-x))

    return Activation(
        lambda x: sine(angle(x)), lambda x: omega * (power(x) + power(-x)) * cosine(angle(x))
    )


def _near(x: Number, scale: float) -> Number:
    """`x`, no farther than where the bell has vanished: infinity times zero is NaN."""
    return bounded(x, 400 / scale)


def _bell(x: Number, scale: float) -> Number:
    """exp(-(scale x)^2 / 2)"""
    u = scale * _near(x, scale)
    return decaying(-0.5 * (u * u))


ACTIVATIONS |= {"gelu": Activation(lambda x: x * sigmoid(_gelu_argument(x)), _gelu_slope)}
ACTIVATIONS.of |= {
    "sine": _sine, "finer": _finer, "gauss": _gauss, "wire": _wire, "hsine": _hsine,
}  # fmt: skip
LISTED = "sine30", "finer30", "gauss10", "wire20", "hsine30"  # others are known, too
ACTIVATIONS |= {name: ACTIVATIONS[name] for name in LISTED}


def layer_norm(x: Tensor) -> Tensor:
    """Layer normalization (Ba et al. 2016) without learned scales; a single feature, which would
    always become 0, is left as it is."""
    return x.layernorm(eps=1e-5) if x.shape[-1] > 1 else x


NORMS["layer"] = layer_norm

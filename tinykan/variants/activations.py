"""Activations beyond the core's, GELU and the sine of SIREN, and layer normalization."""

from __future__ import annotations

import math

from tinygrad import Tensor

from tinykan.activations import ACTIVATIONS, Activation, cosine, sigmoid, sigmoid_slope, sine
from tinykan.basis import Number
from tinykan.networks import NORMS


def _gelu_argument(x: Number) -> Number:
    """Hendrycks and Gimpel 2016, sec. 2: x Phi(x) is nearly x sigmoid(this)."""
    return math.sqrt(8 / math.pi) * (x + 0.044715 * (x * x * x))


def _gelu_slope(x: Number) -> Number:
    inner, slope = _gelu_argument(x), math.sqrt(8 / math.pi) * (1 + 3 * 0.044715 * (x * x))
    return sigmoid(inner) + x * sigmoid_slope(inner) * slope


ACTIVATIONS |= {
    "gelu": Activation(lambda x: x * sigmoid(_gelu_argument(x)), _gelu_slope),
    "sine30": Activation(lambda x: sine(30.0 * x), lambda x: 30.0 * cosine(30.0 * x)),
}


def layer_norm(x: Tensor) -> Tensor:
    """Layer normalization (Ba et al. 2016) without learned scales; a single feature, which would
    always become 0, is left as it is."""
    return x.layernorm(eps=1e-5) if x.shape[-1] > 1 else x


NORMS["layer"] = layer_norm

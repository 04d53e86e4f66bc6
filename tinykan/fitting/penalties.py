"""Regularization of KANs towards sparse and smooth edges: penalties for `fit`."""

from __future__ import annotations

from dataclasses import dataclass

from tinygrad import Tensor

from tinykan.basis import BSpline
from tinykan.errors import UserError
from tinykan.layers import Layer
from tinykan.networks import Network

MAX_SAMPLES = 512  # of a batch, over which edges are averaged: each edge is evaluated separately
TINY = 1e-12  # added to shares before their logarithm


@dataclass(frozen=True)
class Regularization:
    """`strength` times the sum, over the layers of `model`, of

        l1             sum over edges of the mean |edge(x)|      (KAN paper, eq. 2.17)
        entropy        entropy of the edges' shares of that sum  (eq. 2.19)
        coefficients   sum over edges of the mean |coefficient|
        differences    sum over edges of the mean |difference of neighboring coefficients|

    each weighted by the option of its name (0 or more): PyKAN's lamb, lamb_l1, lamb_entropy,
    lamb_coef and lamb_coefdiff. The last two apply to spline layers only, and their coefficients
    are multiplied by the spline weights. Raises UserError for weights that are not in that range.

    `fit(model, sample, penalty=Regularization(model, 1e-3))` adds it to the loss.

    >>> from tinykan import KAN
    >>> Regularization(KAN([2, 1]), strength=1e-3)([Tensor.zeros(4, 2)]).shape
    ()
    """

    model: Network
    strength: float
    l1: float = 1.0
    entropy: float = 2.0
    coefficients: float = 0.0
    differences: float = 0.0

    def __post_init__(self) -> None:
        for name in ("strength", "l1", "entropy", "coefficients", "differences"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise UserError(f"{name} {value} must be a number of at least 0")

    def __call__(self, values: list[Tensor]) -> Tensor:
        """The penalty, a scalar, for `Network.layer_inputs`, `values` `[n, in]` of each layer."""
        total = Tensor.zeros(1, dtype=values[0].dtype).to(values[0].device).sum()
        for layer, x in zip(self.model.layers, values, strict=False):
            total = total + self._of_layer(layer, x[:: -(-len(x) // MAX_SAMPLES)])
        return self.strength * total

    def _of_layer(self, layer: Layer, x: Tensor) -> Tensor:
        sizes = layer.edges(x).abs().mean(0)
        total = sizes.sum()
        shares = sizes / (total + TINY)
        value = self.l1 * total - self.entropy * (shares * (shares + TINY).log()).sum()
        splines = layer.on_basis
        wanted = self.coefficients or self.differences
        if wanted and splines is not None and isinstance(splines.basis, BSpline):
            scaled = splines.scaled_coefficients()
            differences = scaled[:, 1:] - scaled[:, :-1]
            value = value + self.coefficients * scaled.abs().mean(1).sum()
            value = value + self.differences * differences.abs().mean(1).sum()
        return value

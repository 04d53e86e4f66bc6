"""What makes KANs sparse and smooth enough to read: penalties for `fit`."""

from __future__ import annotations

from dataclasses import dataclass

from tinygrad import Tensor

from tinykan.basis import BSpline
from tinykan.errors import UserError
from tinykan.layers import EdgeTanh, KANLayer
from tinykan.networks import Network

SAMPLES = 512  # of a batch, over which edges are averaged: each edge is evaluated for itself
TINY = 1e-12  # added to shares before their logarithm


@dataclass(frozen=True)
class Regularization:
    """`strength` times the sum, over the layers of `model`, of

        l1          sum over edges of the mean |edge(x)|                  (KAN paper, eq. 2.17)
        entropy     entropy of the edges' shares of that sum              (eq. 2.19)
        coefficients     sum over edges of the mean |coefficient|
        differences      and of the mean |difference of neighbouring coefficients|

    each times its number: PyKAN's lamb, lamb_l1, lamb_entropy, lamb_coef and lamb_coefdiff. The
    last two count spline layers only, with spline weights.

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
        """`values` are the inputs of the layers `[n, in]`, as `Network.trace` gives them."""
        total = Tensor.zeros(1, dtype=values[0].dtype).to(values[0].device).sum()
        for layer, x in zip(self.model.layers, values, strict=False):
            total = total + self._of_layer(layer, x[:: -(-len(x) // SAMPLES)])
        return self.strength * total

    def _of_layer(self, layer: KANLayer | EdgeTanh, x: Tensor) -> Tensor:
        sizes = layer.edges(x).abs().mean(0)
        total = sizes.sum()
        shares = sizes / (total + TINY)
        value = self.l1 * total - self.entropy * (shares * (shares + TINY).log()).sum()
        if (self.coefficients or self.differences) and isinstance(layer.basis, BSpline):
            assert isinstance(layer, KANLayer)
            scaled = layer.scaled_coefficients()
            differences = scaled[:, 1:] - scaled[:, :-1]
            value = value + self.coefficients * scaled.abs().mean(1).sum()
            value = value + self.differences * differences.abs().mean(1).sum()
        return value

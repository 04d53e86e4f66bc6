"""Regularization of KANs towards sparse and smooth edges: penalties for `fit`."""

from __future__ import annotations

from dataclasses import dataclass

from tinygrad import Tensor

from tinykan.basis import BSpline
from tinykan.errors import UserError
from tinykan.layers import Layer
from tinykan.networks import Network
from tinykan.tensors import learnable

MAX_SAMPLES = 512  # of a batch, over which edges are averaged: each edge is evaluated separately
# What pykan adds to deviations of inputs, to sums of sizes, and to shares before their logarithm.
INPUT, SUM, SHARE = 0.1, 1.0, 1e-4
TINY = 1e-12  # added to variances, whose square root has no slope at 0


@dataclass(frozen=True)
class Regularization:
    """`strength` times the sum, over the layers of `model`, of

        l1             sum over edges of their sizes, std(edge(x)) / (std(x) + 0.1)
        entropy        mean over nodes of the entropy of the shares of their incoming edges in the
                       sum of these sizes, plus the same of outgoing edges, in bits
        coefficients   sum over inputs and basis functions of the mean |coefficient| over outputs
        differences    the same for differences of neighboring coefficients

    each weighted by the option of its name (0 or more). They are what pykan 0.2.8 computes, whose
    lamb, lamb_l1, lamb_entropy, lamb_coef and lamb_coefdiff have the same values; the KAN paper
    (arXiv:2404.19756, eq. 2.17 to 2.20) has means of |edge(x)| for sizes, and one entropy for a
    layer. Standard deviations are over samples of the batch. Symbolic edges and factors of products
    have no size. The last two apply to spline layers only. Raises UserError for weights that are
    not in that range.

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
            if any(p.ndim > 1 for p in learnable(layer)):  # others, of products, have no functions
                total = total + self._of_layer(layer, x[:: -(-len(x) // MAX_SAMPLES)])
        return self.strength * total

    def _of_layer(self, layer: Layer, x: Tensor) -> Tensor:
        splines = layer.on_basis
        sizes = _deviation((splines or layer).edges(x)) / (_deviation(x).unsqueeze(-1) + INPUT)
        value = self.l1 * sizes.sum()
        for axis in (0, 1):
            shares = sizes / (sizes.sum(axis, keepdim=True) + SUM)
            entropy = -(shares * (shares + SHARE).log2()).sum(axis).mean()
            value = value + self.entropy * entropy
        wanted = self.coefficients or self.differences
        if wanted and splines is not None and isinstance(splines.basis, BSpline):
            own = splines.coefficients
            differences = own[:, 1:] - own[:, :-1]
            value = value + self.coefficients * own.abs().mean(2).sum()
            value = value + self.differences * differences.abs().mean(2).sum()
        return value


def _deviation(values: Tensor) -> Tensor:
    """The standard deviations over the first dimension, with a slope where they are 0."""
    return (values.var(0, correction=min(1, len(values) - 1)) + TINY).sqrt()

"""A layer with a tanh on each edge."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from tinygrad import Tensor

from tinykan.errors import check_integer
from tinykan.initializers import glorot
from tinykan.layers import LAYERS, check_input, copy_between
from tinykan.tensors import like, parameter
from tinykan.variants.bases import Polynomial


class EdgeTanh:
    """A tanh on each edge, before the sum, where `Polynomial` with tanh has it on the node, after:

        y[o] = sum_i weight[i, o] tanh(sum_n coefficients[i, n, o] x[i]^n) + bias[o]

    with n = 1 .. degree; degree 2 is tanh(a x^2 + b x). Each edge is evaluated for itself, which
    takes in_features * out_features tanh for each sample: slower than any basis of KANLayer.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        degree: int = 2,
        *,
        bias: bool = True,
        rng: np.random.Generator | None = None,
    ) -> None:
        check_integer("in_features", in_features, 1)
        check_integer("out_features", out_features, 1)
        self.in_features, self.out_features = in_features, out_features
        self.basis = Polynomial(degree)
        rng = rng or np.random.default_rng()
        # Edges of unit slope whose signs and curvatures differ, summed with Glorot's weights.
        self.coefficients = parameter(rng.uniform(-1.5, 1.5, (in_features, degree, out_features)))
        self.weight = parameter(glorot(rng, (in_features, 1, out_features))[:, 0])
        self.bias = parameter(np.zeros(out_features)) if bias else None

    def __call__(self, x: Tensor) -> Tensor:
        y = self.edges(x).sum(-2)
        return y if self.bias is None else y + self.bias

    def edges(self, x: Tensor) -> Tensor:
        check_input(self, x)
        inner = (self.basis(x).unsqueeze(-1) * self.coefficients).sum(-2)
        return self.weight * inner.tanh()

    def outside(self, x: Tensor) -> Tensor:
        return self.basis.outside(x).cast(x.dtype).mean()

    def live_edges(self) -> np.ndarray:
        return self.weight.numpy() != 0

    def pruned(
        self, inputs: np.ndarray, outputs: np.ndarray, live: np.ndarray, shift: np.ndarray
    ) -> EdgeTanh:
        cut, live = copy_between(self, inputs, outputs, shift), live[inputs][:, outputs]
        # With both at 0 their gradients are 0 too: training does not bring the edge back.
        cut.weight = like(cut.weight, cut.weight.numpy() * live)
        cut.coefficients = like(cut.coefficients, cut.coefficients.numpy() * live[:, None])
        return cut

    @property
    def on_basis(self) -> None:
        return None

    @property
    def config(self) -> dict:
        return {
            "in_features": self.in_features,
            "out_features": self.out_features,
            "degree": self.basis.degree,
            "bias": self.bias is not None,
        }

    @classmethod
    def from_config(cls, config: dict, tensors: Mapping[str, Tensor]) -> EdgeTanh:
        return cls(**config)

    def __repr__(self) -> str:
        return f"EdgeTanh({self.in_features}, {self.out_features}, degree={self.basis.degree})"


LAYERS["EdgeTanh"] = EdgeTanh

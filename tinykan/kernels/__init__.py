"""Kernels: layers, activations and the optimizer again, written as loops instead of tensor
operations, which is many times as fast: local-support spline layers and dense layers, on CPUs and
GPUs, and Adam.

Layers ask `layer_output`, networks `activated`, Muon asks `product`, Adam imports
tinykan.kernels.adam, and tinykan.device asks tinykan.kernels.hardware what the machine has; nothing
else knows of them. A kernel's reference is the plain path of what it replaces.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad import Tensor

from tinykan.activations import ACTIVATIONS, Activation
from tinykan.basis import Basis, BSpline, DenseBasis
from tinykan.kernels import dense, gpu, node_spline, spline, spline_derivatives
from tinykan.kernels.launch import is_computed, runs_on_threads, runs_on_work_groups
from tinykan.kernels.spline_derivatives import Edge, Pairs

__all__ = [
    "activated", "edge_functions", "edge_weights", "layer_derivatives", "layer_output",
    "node_splines", "product", "scaled",
]  # fmt: skip


def layer_output(
    x: Tensor,
    basis: Basis,
    base: Activation | None,
    coefficients: Tensor,
    scale: Tensor | None,
    base_weight: Tensor | None,
    bias: Tensor | None,
) -> Tensor | None:
    """A layer's output `[batch, out]` for `x` `[batch, in]`, or None where no kernel supports such
    a tensor. `coefficients` are `[in, n_functions, out]`, what scales them (if anything) and
    `base_weight` are `[in, out]`."""
    on_threads, on_work_groups = runs_on_threads(x), runs_on_work_groups(x)
    if not (on_threads or on_work_groups):
        return None
    if isinstance(basis, BSpline) and on_work_groups:
        return gpu.spline_layer(x, basis, base, coefficients, scale, base_weight, bias)
    coefficients = scaled(coefficients, scale)
    if isinstance(basis, BSpline):
        given = [coefficients] if base_weight is None else [coefficients, base_weight]
        return spline.spline_layer(x, basis, base, given, bias)
    weights = edge_weights(coefficients, base_weight)
    if on_threads and isinstance(basis, DenseBasis):
        features = dense.features(x, basis, base)
        return dense.linear(features, weights.transpose(0, 1).flatten(0, 1), bias)
    features = edge_functions(x, basis, base).flatten(1)
    if on_threads:
        return dense.linear(features, weights.flatten(0, 1), bias)
    # Realized, or the functions would be evaluated again for every output.
    return gpu.linear(features.contiguous(), weights.flatten(0, 1).contiguous(), bias)


def layer_derivatives(
    jet: Tensor,
    pairs: Pairs,
    basis: Basis,
    base: Callable[[int, Any], Any] | None,
    coefficients: Tensor,
    base_weight: Tensor | None,
    bias: Tensor | None,
) -> Tensor | None:
    """What a layer makes of values and derivatives along d directions, and along `pairs` of them,
    `[1 + d + pairs, batch, in]`: the same of its outputs, or None where no kernel supports them.
    `base(m, x)` is the m-th derivative of the base function, for scalars inside a kernel."""
    if not isinstance(basis, BSpline) or not runs_on_threads(jet):
        return None
    given = [coefficients] if base_weight is None else [coefficients, base_weight]
    return spline_derivatives.spline_layer(jet, Edge(basis, base, pairs), given, bias)


def node_splines(x: Tensor, basis: Basis, coefficients: Tensor) -> Tensor | None:
    """Splines on nodes: `[batch, in, rank]` for `x` `[batch, in]` and coefficients `[in or 1,
    n_functions, rank]`, or None where no kernel supports them."""
    if not isinstance(basis, BSpline) or basis.knots is not None or not runs_on_threads(x):
        return None
    found = node_spline.node_splines(x, basis, coefficients)
    return found.reshape(*x.shape, coefficients.shape[2])


def activated(x: Tensor, activation: Activation, kernels: str = "auto") -> Tensor:
    """`activation` of the features `x` `[..., n]`, computed once for whatever reads it; with
    `kernels` "reference", as those of a KANLayer, by plain tensor operations."""
    if activation is ACTIVATIONS["identity"]:
        return x if is_computed(x) else x.contiguous()
    if kernels == "reference" or not runs_on_threads(x):
        return activation(x).contiguous()
    return dense.activated(x.reshape(-1, x.shape[-1]), activation).reshape(x.shape)


def product(a: Tensor, b: Tensor) -> Tensor:
    """`a` `[n, k]` times `b` `[k, m]`, of which no gradient is needed."""
    return dense.product(a, b) if runs_on_threads(a) else a @ b


def scaled(coefficients: Tensor, scale: Tensor | None) -> Tensor:
    """`coefficients` `[in, n_functions, out]` times the `scale` `[in, out]` of each edge."""
    return coefficients if scale is None else coefficients * scale.unsqueeze(1)


def edge_functions(x: Tensor, basis: Basis, base: Activation | None) -> Tensor:
    """The basis functions, then the base function `[..., in, n]` at `x` `[..., in]`."""
    phi = basis(x)
    return phi if base is None else phi.cat(base(x).unsqueeze(-1), dim=-1)


def edge_weights(coefficients: Tensor, base_weight: Tensor | None) -> Tensor:
    """The weights `[in, n, out]` of `edge_functions`."""
    if base_weight is None:
        return coefficients
    return coefficients.cat(base_weight.unsqueeze(1), dim=1)

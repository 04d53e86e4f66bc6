"""The models that the scripts know by name, built to a number of parameters."""

from __future__ import annotations

from dataclasses import dataclass, field

from tinykan.basis import Basis, BSpline, Linear, Polynomial
from tinykan.encoding import Encoding
from tinykan.errors import lookup
from tinykan.networks import (
    KAN,
    MLP,
    EdgeTanhNetwork,
    Network,
    Siren,
    edge_widths,
    widths_for,
)


@dataclass(frozen=True)
class Model:
    """A kind of network that the scripts know by name."""

    formula: str
    learning_rate: float  # of Adam; a good start on images
    encoding: str = "seed"  # what suits it on images
    basis: Basis = field(default_factory=Linear)
    activation: str = "identity"
    base: str | None = None


MODELS = {
    "tanh": Model("tanh(sum_i w x_i + b)", 5e-3, activation="tanh"),
    "relu": Model("max(0, sum_i w x_i + b)", 2e-3, activation="relu"),
    "siren": Model("sin(30 (sum_i w x_i + b))", 5e-4, encoding="none", activation="sine30"),
    "quadratic": Model(
        "tanh(sum_i (a x_i^2 + b x_i) + c)", 5e-3, basis=Polynomial(2), activation="tanh"
    ),
    "cubic": Model(
        "tanh(sum_i (a x_i^3 + b x_i^2 + c x_i) + d)", 5e-3, basis=Polynomial(3), activation="tanh"
    ),
    # Without PyKAN's spline weight, which scales coefficients that are free already.
    "spline": Model(
        "sum_i (spline(x_i) + w silu(x_i)) + b", 1e-2, basis=BSpline(5, 3), base="silu"
    ),
    "edge-tanh": Model("sum_i w tanh(a x_i^2 + b x_i) + c", 5e-3, basis=Polynomial(2)),
}


def build(
    name: str,
    in_features: int,
    out_features: int,
    parameters: int,
    depth: int,
    *,
    encoding: Encoding | None = None,
    basis: Basis | None = None,
    seed: int = 0,
) -> Network:
    """The model of that name in MODELS with `depth` hidden layers and `parameters` learnable
    numbers, to 2 %. `basis` stands in for the spline model's own."""
    model = lookup("model", name, MODELS)
    basis = basis or model.basis
    first = encoding.out_features if encoding else in_features
    if name == "edge-tanh":
        widths = edge_widths(parameters, depth, basis.n_functions + 1, first, out_features)
        return EdgeTanhNetwork(widths, encoding=encoding, seed=seed)
    widths = widths_for(
        parameters, depth, basis, first, out_features, base=model.base, spline_weight=False
    )
    if name == "siren":
        return Siren(widths, encoding=encoding, seed=seed)
    if isinstance(basis, Linear):
        return MLP(widths, model.activation, encoding=encoding, seed=seed)
    return KAN(
        widths,
        basis,
        activation=model.activation,
        base=model.base,
        spline_weight=False,
        encoding=encoding,
        seed=seed,
    )

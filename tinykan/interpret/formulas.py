"""Formulas of networks whose edges are symbolic (needs SymPy, of the `interpret` extra)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tinykan.errors import Families, UserError, lookup, need
from tinykan.interpret.library import LIBRARY
from tinykan.interpret.products import MultiplicationLayer
from tinykan.interpret.rounding import rounded, variable_names
from tinykan.interpret.symbolic import nonzero_edges, symbolic_edges
from tinykan.interpret.symbolification import auto_symbolic  # noqa: F401  (its former place)
from tinykan.layers import Layer
from tinykan.networks import Network

if TYPE_CHECKING:
    import sympy
else:
    sympy = need("sympy", extra="interpret", purpose="writing formulas")

# The activations of nodes, as functions of x.
ACTIVATION_FORMULAS = Families({
    "identity": "x",
    "tanh": "tanh(x)",
    "relu": "Max(0, x)",
    "silu": "x / (1 + exp(-x))",
    "sine": "sin(x)",
})  # fmt: skip
ACTIVATION_FORMULAS.of |= {
    "sine": lambda omega: f"sin({omega:g}*x)",
    "finer": lambda omega: f"sin({omega:g}*(Abs(x) + 1)*x)",
    "gauss": lambda scale: f"exp(-({scale:g}*x)**2/2)",
    "wire": lambda omega: f"cos({omega:g}*x)*exp(-({omega:g}*x/2)**2)",
    "hsine": lambda omega: f"sin({omega:g}*sinh(2*x))",
}


def formula(
    model: Network, *, input_names: Sequence[str] | None = None, digits: int | None = None
) -> list[sympy.Expr]:
    """The function that the network computes: an expression for each output, in x1, x2, ... or
    `input_names`.

    With `digits`, numbers are rounded to that many significant digits by `rounded`. Raises
    UserError for the first edge that is neither symbolic nor 0, and for a network with an encoding,
    a norm, or an activation that is not in ACTIVATION_FORMULAS.
    """
    if model.encoding is not None or model.norm is not None:
        part = model.encoding if model.encoding is not None else f"norm {model.norm}"
        raise UserError(f"no formula of a network with {part!r}: only layers and activations")
    activation = lookup("activation for a formula", model.activation, ACTIVATION_FORMULAS)
    names = variable_names(input_names, model.in_features)
    nodes = [sympy.Symbol(name) for name in names]
    for index, layer in enumerate(model.layers):
        nodes = [_at(activation, node) for node in nodes] if index else nodes
        nodes = _outputs(layer, index, nodes)
    return [node if digits is None else rounded(node, digits) for node in nodes]


def _outputs(layer: Layer, index: int, nodes: list[sympy.Expr]) -> list[sympy.Expr]:
    bias = np.zeros(layer.out_features) if layer.bias is None else layer.bias.numpy()
    sums = [number(b) for b in bias]
    if isinstance(layer, MultiplicationLayer):
        products = [sympy.Mul(*(nodes[i] for i in group)) for group in layer.groups]
        return [product + b for product, b in zip(products, sums, strict=True)]
    functions, live = symbolic_edges(layer), nonzero_edges(layer)
    for i, o in np.argwhere(live).tolist():
        if (i, o) not in functions:
            raise UserError(
                f"edge {i} -> {o} of layer {index} is not symbolic: fix it with fix_symbolic or "
                "auto_symbolic, or mask it"
            )
    for (i, o), (name, affine) in functions.items():
        # Trained parameters are redundant: (2 x)^2 is 4 x^2.
        a, b, factor, shift = LIBRARY[name].simplest(*affine[:2])
        c, d = affine[2] * factor, affine[2] * shift + affine[3]
        inner = number(a) * nodes[i] + number(b)
        sums[o] += number(c) * _at(LIBRARY[name].sympy, inner) + number(d)
    return sums


def number(value: float) -> sympy.Expr:
    """An integer, if it is one."""
    return sympy.Integer(int(value)) if value == int(value) else sympy.Float(float(value))


def _at(text: str, inner: sympy.Expr) -> sympy.Expr:
    return sympy.sympify(text).subs(sympy.Symbol("x"), inner)

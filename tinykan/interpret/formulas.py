"""Formulas of networks whose edges are symbolic (needs SymPy, of the `interpret` extra)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tinykan.errors import UserError, check_integer, lookup, need
from tinykan.interpret.library import LIBRARY
from tinykan.interpret.symbolic import nonzero_edges, symbolic_edges
from tinykan.layers import Layer
from tinykan.networks import Network

if TYPE_CHECKING:
    import sympy
else:
    sympy = need("sympy", extra="interpret", purpose="writing formulas")

# The activations of nodes, as functions of x.
ACTIVATION_FORMULAS = {
    "identity": "x",
    "tanh": "tanh(x)",
    "relu": "Max(0, x)",
    "silu": "x / (1 + exp(-x))",
    "sine": "sin(x)",
    "sine30": "sin(30*x)",
}


def formula(
    model: Network, *, input_names: Sequence[str] | None = None, digits: int | None = None
) -> list[sympy.Expr]:
    """The function that the network computes: an expression for each output, in x1, x2, ... or
    `input_names`.

    With `digits`, numbers are rounded to that many decimals by `rounded`. Raises UserError for the
    first edge that is neither symbolic nor 0, and for a network with an encoding, a norm, or an
    activation that is not in ACTIVATION_FORMULAS.
    """
    if model.encoding is not None or model.norm is not None:
        part = model.encoding if model.encoding is not None else f"norm {model.norm}"
        raise UserError(f"no formula of a network with {part!r}: only layers and activations")
    activation = lookup("activation for a formula", model.activation, ACTIVATION_FORMULAS)
    count = model.in_features
    names = [f"x{n + 1}" for n in range(count)] if input_names is None else list(input_names)
    if len(set(names)) != count:
        raise UserError(f"input names {names}: {count} different ones are needed")
    nodes = [sympy.Symbol(name) for name in names]
    for index, layer in enumerate(model.layers):
        nodes = [_at(activation, node) for node in nodes] if index else nodes
        nodes = _outputs(layer, index, nodes)
    return [node if digits is None else rounded(node, digits) for node in nodes]


def rounded(expression: sympy.Expr, digits: int) -> sympy.Expr:
    """`expression` with its numbers rounded to `digits` decimals (0 to 15). Whole numbers become
    integers, and numbers that agree with a multiple of pi/2 up to 10 pi, to as many decimals and at
    least 3, become that multiple."""
    check_integer("digits", digits, 0, 15)

    def near(number: sympy.Float) -> sympy.Expr:
        value = float(number)
        quarters = round(value / (math.pi / 2))
        far = abs(value - quarters * math.pi / 2)
        if 0 < abs(quarters) <= 20 and far < 0.5 * 10.0 ** -max(digits, 3):
            return quarters * sympy.pi / 2
        value = round(value, digits)
        return sympy.Integer(value) if value == int(value) else sympy.Float(str(value))

    # Twice: numbers that are combined in a product or a sum are rounded again.
    for _ in range(2):
        expression = expression.xreplace({n: near(n) for n in expression.atoms(sympy.Float)})
    return expression


def expanded(expression: sympy.Expr, digits: int) -> sympy.Expr:
    """`expression`, multiplied out, so that terms can cancel, and `rounded`."""
    return rounded(sympy.expand(expression, power_exp=False), digits)


def _outputs(layer: Layer, index: int, nodes: list[sympy.Expr]) -> list[sympy.Expr]:
    functions, live = symbolic_edges(layer), nonzero_edges(layer)
    for i, o in np.argwhere(live).tolist():
        if (i, o) not in functions:
            raise UserError(
                f"edge {i} -> {o} of layer {index} is not symbolic: fix it with fix_symbolic or "
                "auto_symbolic, or mask it"
            )
    bias = None if layer.on_basis is None else layer.on_basis.bias
    sums = [_number(b) for b in (np.zeros(layer.out_features) if bias is None else bias.numpy())]
    for (i, o), (name, affine) in functions.items():
        # Trained parameters are redundant: (2 x)^2 is 4 x^2.
        a, b, factor, shift = LIBRARY[name].simplest(*affine[:2])
        c, d = affine[2] * factor, affine[2] * shift + affine[3]
        inner = _number(a) * nodes[i] + _number(b)
        sums[o] += _number(c) * _at(LIBRARY[name].sympy, inner) + _number(d)
    return sums


def _number(value: float) -> sympy.Expr:
    return sympy.Integer(int(value)) if value == int(value) else sympy.Float(float(value))


def _at(text: str, inner: sympy.Expr) -> sympy.Expr:
    return sympy.sympify(text).subs(sympy.Symbol("x"), inner)

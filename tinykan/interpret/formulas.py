"""From a trained network to a formula (KAN paper, arXiv:2404.19756, sec. 2.5): its edges replaced
one by one, or all at once, by functions with a name, and what it then computes as text. Needs SciPy
and SymPy, the `interpret` extra.

>>> from tinykan import KAN, Polynomial
>>> model = KAN([1, 1], Polynomial(2), base=None, seed=0)
>>> network, chosen = auto_symbolic(model, np.linspace(-1, 1, 64)[:, None])
>>> chosen[0].best.name
'x^2'
>>> formula(network, digits=2)
[0.05 - 0.56*(x1 - 0.3)**2]

Between the two, `fit(network, ...)` trains the numbers in the functions further.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tinygrad import Tensor

from tinykan.errors import UserError, check_integer, lookup
from tinykan.interpret.candidates import Affine, Candidate, candidates, fit_function
from tinykan.interpret.library import LIBRARY
from tinykan.interpret.symbolic import SymbolicLayer, copied, live_edges, with_mask
from tinykan.layers import KANLayer, learnable
from tinykan.networks import Network

try:
    import sympy
except ImportError:
    raise UserError(
        "formulas need SymPy; install it with: pip install 'tinykan[interpret]'"
    ) from None

MOST_SAMPLES = 4096  # of the rows of x no more are looked at

# What stands on the nodes, of x.
ACTIVATION_FORMULAS = {
    "identity": "x",
    "tanh": "tanh(x)",
    "relu": "Max(0, x)",
    "silu": "x / (1 + exp(-x))",
    "sine": "sin(x)",
    "sine30": "sin(30*x)",
}


@dataclass(frozen=True)
class Choice:
    """What `auto_symbolic` made of the edge from input `i` to output `o` of a layer: `best` is the
    candidate it was replaced by, or, if not `fixed`, the best of those that were not good enough.
    """

    layer: int
    i: int
    o: int
    best: Candidate
    fixed: bool


def suggest_symbolic(
    model: Network,
    x: np.ndarray,
    layer: int,
    i: int,
    o: int,
    *,
    library: Sequence[str] | None = None,
    top: int = 5,
) -> list[Candidate]:
    """The `top` functions that the edge from input `i` to output `o` of `model.layers[layer]` is
    most like, for the inputs it gets at samples `x` `[n, in_features]` of the network's inputs.

    Ranked by how well they fit, with a price on complexity: see Candidate.score. `library` names
    those of LIBRARY to be tried. Raises UserError for an edge that is not there, and where `x` has
    too few different values to tell.
    """
    check_integer("top", top, 1)
    _existing(model, layer, i, o)
    inputs, values = _curves(model, _samples(model, x), layer)
    return candidates(inputs[:, i], values[:, i, o], library)[:top]


def fix_symbolic(
    model: Network,
    layer: int,
    i: int,
    o: int,
    name: str,
    affine: Affine | None = None,
    x: np.ndarray | None = None,
) -> Network:
    """A new network, with weights of its own, in which the edge from input `i` to output `o` of
    `model.layers[layer]` is c f(a x + b) + d: f is `name` of LIBRARY, and `affine` = (a, b, c, d).
    Without `affine` they are fitted at samples `x` `[n, in_features]` of the network's inputs."""
    lookup("function", name, LIBRARY)
    _existing(model, layer, i, o)
    if affine is None:
        if x is None:
            raise UserError("to fix an edge, give its affine numbers (a, b, c, d), or samples x")
        inputs, values = _curves(model, _samples(model, x), layer)
        fitted = fit_function(name, inputs[:, i], values[:, i, o])
        if fitted is None:
            raise UserError(
                f"{name} cannot be fitted to edge {i} -> {o} of layer {layer} at "
                f"{len(np.unique(inputs[:, i]))} different inputs"
            )
        affine = fitted.affine
    elif np.shape(affine) != (4,) or not np.isfinite(affine).all():
        raise UserError(f"affine numbers {affine}: four finite numbers (a, b, c, d) are needed")
    layers: list[Any] = [copied(part) for part in model.layers]
    layers[layer] = _fixed(model.layers[layer], {(i, o): (name, affine)})
    return Network(layers, model.activation, model.encoding, model.norm)


def auto_symbolic(
    model: Network,
    x: np.ndarray,
    *,
    library: Sequence[str] | None = None,
    minimum_r2: float = 0.0,
) -> tuple[Network, list[Choice]]:
    """A new network in which every edge is the best of its candidates that has an R^2 of at least
    `minimum_r2`, and what was chosen for each. Edges without such a candidate stay as they are;
    those of a mask or weight 0 are left out.

    Layers are fixed in turn, each for what the fixed ones before it give at samples `x`
    `[n, in_features]`: so that the numbers it meets are in the domain of its functions.
    """
    network, chosen = model, []
    samples = _samples(model, x)
    for index in range(len(model.layers)):
        inputs, values = _curves(network, samples, index)
        layer = network.layers[index]
        live, symbolic, edges = _live(layer), _functions(layer), {}
        for i, o in np.argwhere(live).tolist():
            if (i, o) in symbolic:
                continue
            found = candidates(inputs[:, i], values[:, i, o], library)
            good = [candidate for candidate in found if candidate.r2 >= minimum_r2]
            if found:
                chosen.append(Choice(index, i, o, (good or found)[0], bool(good)))
            if good:
                edges[i, o] = (good[0].name, good[0].affine)
        layers: list[Any] = [copied(part) for part in network.layers]
        if isinstance(layer, KANLayer):
            layer = with_mask(layer, live)
        layers[index] = _fixed(layer, edges) if edges else layer
        network = Network(layers, model.activation, model.encoding, model.norm)
    return network, chosen


def straightened(model: Network, x: np.ndarray, *, minimum_r2: float = 0.999) -> Network:
    """`model` with a line for every symbolic edge whose function is nearly one, with an R^2 of
    `minimum_r2` or more at samples `x` `[n, in_features]` of the network's inputs: a parabola far
    from its vertex, say, whose numbers are large, cancel each other, and are learned slowly."""
    samples = _samples(model, x)
    for index, layer in enumerate(model.layers):
        inputs, values = _curves(model, samples, index)
        for (i, o), (name, _) in _functions(layer).items():
            line = fit_function("x", inputs[:, i], values[:, i, o])
            if name != "x" and line is not None and line.r2 >= minimum_r2:
                model = fix_symbolic(model, index, i, o, "x", line.affine)
    return model


def formula(
    model: Network, *, input_names: Sequence[str] | None = None, digits: int | None = None
) -> list[sympy.Expr]:
    """What the network computes, an expression for each output, in x1, x2, ... or `input_names`.

    With `digits`, numbers are rounded to so many after the decimal point, by `rounded`. Raises
    UserError, naming the first, if an edge is neither symbolic nor 0, and for a network with an
    encoding, a norm or an activation that is none of ACTIVATION_FORMULAS.
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
    """The same with its numbers rounded to `digits` after the decimal point. What is then whole
    becomes an integer, and a multiple of pi/2 up to 10 pi that is as near, and to 3 digits at
    least, is written as one."""
    check_integer("digits", digits, 0, 15)

    def near(number: sympy.Float) -> sympy.Expr:
        value = float(number)
        quarters = round(value / (math.pi / 2))
        far = abs(value - quarters * math.pi / 2)
        if 0 < abs(quarters) <= 20 and far < 0.5 * 10.0 ** -max(digits, 3):
            return quarters * sympy.pi / 2
        value = round(value, digits)
        return sympy.Integer(value) if value == int(value) else sympy.Float(str(value))

    # Twice: numbers that come together in a product, or in a sum, are rounded again.
    for _ in range(2):
        expression = expression.xreplace({n: near(n) for n in expression.atoms(sympy.Float)})
    return expression


def expanded(expression: sympy.Expr, digits: int) -> sympy.Expr:
    """The same without brackets around sums, where numbers may cancel, and `rounded`."""
    return rounded(sympy.expand(expression, power_exp=False), digits)


def _outputs(layer: Any, index: int, nodes: list[sympy.Expr]) -> list[sympy.Expr]:
    functions, live = _functions(layer), _live(layer)
    for i, o in np.argwhere(live).tolist():
        if (i, o) not in functions:
            raise UserError(
                f"edge {i} -> {o} of layer {index} is not symbolic: fix it with fix_symbolic or "
                "auto_symbolic, or mask it"
            )
    bias = getattr(layer.layer if isinstance(layer, SymbolicLayer) else layer, "bias", None)
    sums = [_number(b) for b in (np.zeros(layer.out_features) if bias is None else bias.numpy())]
    for (i, o), (name, affine) in functions.items():
        # Trained numbers say the same in more than one way: (2 x)^2 is 4 x^2.
        a, b, factor, shift = LIBRARY[name].simplest(*affine[:2])
        c, d = affine[2] * factor, affine[2] * shift + affine[3]
        inner = _number(a) * nodes[i] + _number(b)
        sums[o] += _number(c) * _at(LIBRARY[name].sympy, inner) + _number(d)
    return sums


def _number(value: float) -> sympy.Expr:
    return sympy.Integer(int(value)) if value == int(value) else sympy.Float(float(value))


def _at(text: str, inner: sympy.Expr) -> sympy.Expr:
    return sympy.sympify(text).subs(sympy.Symbol("x"), inner)


def _functions(layer: Any) -> dict[tuple[int, int], tuple[str, Affine]]:
    """The symbolic edges of a layer, with their affine numbers."""
    if not isinstance(layer, SymbolicLayer):
        return {}
    rows = layer.affine.numpy().astype(np.float64).tolist()
    return {
        (i, o): (name, tuple(row)) for (i, o, name), row in zip(layer.functions, rows, strict=True)
    }


def _live(layer: Any) -> np.ndarray:
    """Which edges of a layer are there, `[in, out]`: symbolic ones, and those of splines that are
    neither masked nor 0."""
    live, inner = live_edges(layer), layer.layer if isinstance(layer, SymbolicLayer) else layer
    if isinstance(inner, KANLayer):
        weights = np.abs(inner.coefficients.numpy()).max(1)
        if inner.spline_weight is not None:
            weights = weights * np.abs(inner.spline_weight.numpy())
        if inner.base_weight is not None:
            weights = weights + np.abs(inner.base_weight.numpy())
        live &= weights > 0
    for i, o in _functions(layer):
        live[i, o] = True
    return live


def _fixed(layer: Any, edges: Mapping[tuple[int, int], tuple[str, Affine]]) -> SymbolicLayer:
    """`layer` with these edges symbolic, beside those that are already."""
    inner = layer.layer if isinstance(layer, SymbolicLayer) else layer
    if not isinstance(inner, KANLayer):
        raise UserError(f"{layer!r}: only the edges of a KANLayer can be made symbolic")
    edges = _functions(layer) | dict(edges)
    functions = [(i, o, name) for (i, o), (name, _) in edges.items()]
    return SymbolicLayer(inner, functions, np.array([affine for _, affine in edges.values()]))


def _existing(model: Network, layer: int, i: int, o: int) -> None:
    """Raises UserError if there is no such edge."""
    check_integer("layer", layer, 0, len(model.layers) - 1)
    check_integer("input", i, 0, model.layers[layer].in_features - 1)
    check_integer("output", o, 0, model.layers[layer].out_features - 1)
    if not _live(model.layers[layer])[i, o]:
        raise UserError(f"edge {i} -> {o} of layer {layer} is not there: it is masked or 0")


def _samples(model: Network, x: np.ndarray) -> np.ndarray:
    x = np.asarray(x)
    if x.ndim != 2 or x.shape[1] != model.in_features or not len(x) or not np.isfinite(x).all():
        raise UserError(
            f"samples of shape {x.shape}: finite numbers [n, {model.in_features}] are needed"
        )
    return x[:: -(-len(x) // MOST_SAMPLES)]


def _curves(model: Network, x: np.ndarray, layer: int) -> tuple[np.ndarray, np.ndarray]:
    """The inputs `[n, in]` of a layer at samples `x`, and its edges there `[n, in, out]`."""
    weight = learnable(model)[0]
    inputs = model.layer_inputs(Tensor(x, dtype=weight.dtype).to(weight.device))[layer]
    values = model.layers[layer].edges(inputs).numpy()
    if not np.isfinite(values).all():
        raise UserError(f"the edges of layer {layer} are not finite at the samples")
    return inputs.numpy(), values

"""Networks that compute a given formula, edge by edge (needs SymPy, of the `interpret` extra)."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tinykan.basis import Linear
from tinykan.errors import UserError, need
from tinykan.interpret.library import LIBRARY
from tinykan.interpret.products import MultiplicationLayer
from tinykan.interpret.rounding import check_names, parsed
from tinykan.interpret.symbolic import Affine, SymbolicLayer
from tinykan.layers import KANLayer, Layer
from tinykan.networks import Network
from tinykan.tensors import like

if TYPE_CHECKING:
    import sympy
else:
    sympy = need("sympy", extra="interpret", purpose="reading formulas")

POWERS = {2: "x^2", 3: "x^3", 4: "x^4", -1: "1/x", -2: "1/x^2", sympy.Rational(1, 2): "sqrt"}
# Functions that the library does without, and what they are.
OTHERS = {
    "sinh": "(exp(x) - exp(-x))/2",
    "cosh": "(exp(x) + exp(-x))/2",
    "coth": "1/tanh(x)",
    "sec": "1/cos(x)",
    "csc": "1/sin(x)",
    "cot": "1/tan(x)",
    "asin": "atan(x/sqrt(1 - x**2))",
    "acos": "pi/2 - atan(x/sqrt(1 - x**2))",
    "asinh": "log(x + sqrt(x**2 + 1))",
    "acosh": "log(x + sqrt(x**2 - 1))",
}
W = sympy.Wild("w")


def from_formula(formula: Any, *, input_names: Sequence[str] | None = None) -> Network:
    """The network of symbolic edges and products that computes a formula, a text or a SymPy
    expression, or a list of them, one for each output:

        from_formula("exp(sin(pi*x1) + x2**2)")

    Its inputs are x1, x2, ..., up to the highest number in the formula, or `input_names`. Each sum
    is a node, each function of one variable an edge, and each product of several variables a node
    that multiplies (KAN 2.0, arXiv:2408.10205, sec. 3.3); what is needed twice is computed once. As
    many layers as functions are nested: values pass layers that they skip on edges x.

    Powers other than 2, 3, 4, -1, -2 and 1/2 are composed of these, or are exp(p log(x)), which is
    defined for x > 0 alone. `expand` gives the network more room, to be trained further.

    Raises UserError for a text that is no formula, other names of variables, functions that are not
    in LIBRARY nor made of those in it, and numbers that are not real and finite.

    >>> from_formula("x1*x2").widths
    [2, 2, 1]
    """
    several = isinstance(formula, Sequence) and not isinstance(formula, str)
    given = list(formula) if several else [formula]
    names = None if input_names is None else list(input_names)
    if names is not None:
        check_names(names)
    expressions = [_read(each, names) for each in given]
    found = {str(symbol) for each in expressions for symbol in each.free_symbols}
    if names is None:
        numbers = [int(m[1]) for name in found if (m := re.fullmatch(r"x([1-9]\d*)", name))]
        names = [f"x{n}" for n in range(1, max(numbers, default=0) + 1)]
    if not names or found - set(names):
        wrong = ", ".join(sorted(found - set(names))) or "no variables"
        raise UserError(f"a formula of {wrong}: inputs are x1, x2, ..., or those of input_names=")
    graph = _Graph(names)
    outputs = [graph.node(each) for each in expressions]
    return _network(graph, outputs)


def _read(given: Any, names: Sequence[str] | None) -> sympy.Expr:
    try:
        expression = parsed(given, names or []) if isinstance(given, str) else given
        fine = isinstance(expression, sympy.Expr)
    except Exception:  # the parser raises errors of many kinds
        fine = False
    if not fine:
        raise UserError(f"formula {given!r}: an expression such as 'exp(x1) + x2' is needed")
    for name, text in OTHERS.items():
        form = sympy.sympify(text)
        expression = expression.replace(
            getattr(sympy, name), lambda inner, form=form: form.subs(sympy.Symbol("x"), inner)
        )
    return expression


Term = tuple[str, Affine, int]  # the function of an edge, its parameters, and the node it is of


@dataclass(frozen=True)
class _Sum:
    terms: tuple[Term, ...]
    bias: float


@dataclass(frozen=True)
class _Node:
    """The product of `factors`, after so many layers, and a bias; an input has no factors."""

    level: int
    factors: tuple[_Sum, ...] = ()
    bias: float = 0.0


class _Graph:
    """The nodes of a network, inputs first, by number and by what they compute."""

    def __init__(self, names: Sequence[str]) -> None:
        self.nodes = [_Node(0) for _ in names]
        self.numbers: dict[sympy.Expr, int] = {sympy.Symbol(n): k for k, n in enumerate(names)}
        self.inputs = len(names)

    def node(self, expression: sympy.Expr) -> int:
        """The number of the node that computes it, which is made if there is none."""
        if expression not in self.numbers:
            constant, rest = self.split(expression, sympy.Add)
            factor, core = self.split(rest, sympy.Mul)
            if core.is_Mul:
                first, *others = [self.sum(f) for f in core.args]
                first = _Sum(tuple(_scaled(t, factor) for t in first.terms), first.bias * factor)
                factors, bias = (first, *others), constant
            else:
                factors, bias = (self.sum(expression),), 0.0
            sources = [source for each in factors for _, _, source in each.terms]
            level = 1 + max((self.nodes[source].level for source in sources), default=0)
            self.nodes.append(_Node(level, factors, bias))
            self.numbers[expression] = len(self.nodes) - 1
        return self.numbers[expression]

    def named(self, expression: sympy.Expr) -> sympy.Symbol:
        """A symbol for what it computes, which SymPy does not combine with other terms."""
        symbol = sympy.Dummy()
        self.numbers[symbol] = self.node(expression)
        return symbol

    def sum(self, expression: sympy.Expr) -> _Sum:
        """Its terms, with one function for each node: others of the same node get a node before."""
        bias, rest = self.split(expression, sympy.Add)
        found: dict[int, Term] = {}
        for term in sympy.Add.make_args(rest) if rest != 0 else ():
            factor, core = self.split(term, sympy.Mul)
            edge = _scaled(self.edge(core), factor)
            if edge[2] in found:
                edge = "x", (1.0, 0.0, factor, 0.0), self.node(core)
            found[edge[2]] = edge
        return _Sum(tuple(found.values()), bias)

    def edge(self, core: sympy.Expr) -> Term:
        """A function of one node."""
        if core in self.numbers or core.is_Mul or core.is_Add:
            return "x", (1.0, 0.0, 1.0, 0.0), self.node(core)
        if isinstance(core, sympy.cos):
            return self.function("sin", core.args[0], math.pi / 2)
        if core.is_Pow:
            return self.power(*core.args)
        for name, function in LIBRARY.items():
            pattern = sympy.sympify(function.sympy).subs(sympy.Symbol("x"), W)
            found = core.match(pattern) if core.func == pattern.func else None
            if found and W in pattern.args:
                return self.function(name, found[W])
        raise UserError(f"{core} has no function that the symbolic library has; see add_function")

    def power(self, base: sympy.Expr, exponent: sympy.Expr) -> Term:
        if exponent in POWERS:
            return self.function(POWERS[exponent], base)
        if exponent.is_Integer and exponent > 0 and exponent % 2 == 0:
            return self.function("x^2", self.named(base ** (exponent / 2)))
        if exponent.is_Integer and exponent > 0:
            even = self.named(base ** (exponent - 1))
            return self.edge(even * self.named(base))
        if exponent.is_Rational and exponent < 0:
            return self.function("1/x", self.named(base ** (-exponent)))
        if (2 * exponent).is_Integer:
            return self.edge(self.named(sympy.sqrt(base)) ** (2 * exponent))
        logarithm = sympy.log(base) if base.is_number else self.named(sympy.log(base))
        return self.function("exp", exponent * logarithm)

    def function(self, name: str, argument: sympy.Expr, shift: float = 0.0) -> Term:
        """f(a x + b) of a node x."""
        b, rest = self.split(argument, sympy.Add)
        a, core = self.split(rest, sympy.Mul)
        return name, (a, b + shift, 1.0, 0.0), self.node(core)

    def split(self, expression: sympy.Expr, kind: Any) -> tuple[float, sympy.Expr]:
        """The number in a sum or a product, and the rest."""
        value, rest = expression.as_independent(*expression.free_symbols, as_Add=kind is sympy.Add)
        if not expression.free_symbols:
            value, rest = expression, kind.identity
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.inf
        if not math.isfinite(number):
            raise UserError(f"{value} in the formula is not a finite real number")
        return number, rest


def _scaled(term: Term, factor: float) -> Term:
    name, (a, b, c, d), source = term
    return name, (a, b, c * factor, d * factor), source


def _network(graph: _Graph, outputs: list[int]) -> Network:
    """The layers that compute these nodes. What a later layer needs passes the others."""
    depth = max(1, *(graph.nodes[n].level for n in outputs))
    needed = [set(outputs)]  # level by level, from the last on
    for level in range(depth, 0, -1):
        sources: set[int] = set()
        for number in needed[-1]:
            made = graph.nodes[number].level == level
            sources |= set(_sources(graph.nodes[number])) if made else {number}
        needed.append(sources)
    layers: list[Layer] = []
    before = list(range(graph.inputs))
    for level in range(1, depth + 1):
        # Sums first, as in PyKAN.
        after = sorted(needed[depth - level], key=lambda n: (len(graph.nodes[n].factors) > 1, n))
        after = outputs if level == depth else after
        layers += _layers(graph, level, before, after)
        before = after
    return Network(layers)


def _sources(node: _Node) -> list[int]:
    return [source for each in node.factors for _, _, source in each.terms]


def _layers(graph: _Graph, level: int, before: list[int], after: list[int]) -> list[Layer]:
    """The layer from the nodes `before` to those `after` it, and one that multiplies if need be."""
    functions: list[tuple[int, int, str]] = []
    affine: list[Affine] = []
    biases: list[float] = []
    groups, product_biases = [], []
    for number in after:
        node = graph.nodes[number]
        passing = _Sum((("x", (1.0, 0.0, 1.0, 0.0), number),), 0.0)
        factors = node.factors if node.level == level else (passing,)
        groups.append(list(range(len(biases), len(biases) + len(factors))))
        product_biases.append(node.bias if node.level == level else 0.0)
        for each in factors:
            terms = each.terms or (("0", (1.0, 0.0, 1.0, 0.0), before[0]),)
            functions += [(before.index(source), len(biases), name) for name, _, source in terms]
            affine += [parameters for _, parameters, _ in terms]
            biases.append(each.bias)
    mask = np.zeros((len(before), len(biases)))
    sums = KANLayer(*mask.shape, Linear(), base=None, spline_weight=False, mask=mask)
    sums.bias = like(sums.coefficients, np.array(biases))
    made: list[Layer] = [SymbolicLayer(sums, functions, np.array(affine))]
    if len(biases) > len(groups):
        products = MultiplicationLayer(groups)
        products.bias = like(sums.coefficients, np.array(product_biases))
        made.append(products)
    return made

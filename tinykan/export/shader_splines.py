"""Splines in shaders: one function for each term, from four inputs and the places of their weights
to four outputs."""

from __future__ import annotations

import math
from functools import reduce
from operator import add

import numpy as np

from tinykan.export.expressions import X, simplified
from tinykan.export.form import Combination, Splines
from tinykan.export.shader_definitions import Definitions
from tinykan.export.shader_languages import in_formula, literal
from tinykan.export.tables import blocks, cells_of, padded

# Where splines are 0: inputs that do not exist are there.
NOWHERE = "9e9"


def has_few_functions(term: Splines) -> bool:
    """Whether all its functions are computed sooner than those that are not 0 are found in an array
    of constants, which compilers keep in slow memory."""
    return term.knots is None and term.weights.shape[1] <= 4 * (term.order + 1)


def as_combination(term: Splines) -> Combination:
    """The same on functions of x alone, for uniform knots. With v = |u - m| for the middle m of
    function n,

        B_n = sum_k (-1)^k binomial(order + 1, k) max((order + 1) / 2 - k - v, 0)^order / order!

    over k = 0 .. order / 2 (Schoenberg 1946): near the middle all of these terms, beyond less.
    """
    order, functions = term.order, []
    u = (X - term.center if term.center else X) * (1 / term.spacing)
    for n in range(term.weights.shape[1]):
        v = (u + (term.phase + term.first - n - (order + 1) / 2)).abs()
        terms = [
            (-1) ** k
            * math.comb(order + 1, k)
            / math.factorial(order)
            * (((order + 1) / 2 - k) - v).maximum(0.0) ** order
            for k in range(order // 2 + 1)
        ]
        functions.append(simplified(reduce(add, terms)))
    return Combination(tuple(functions), term.weights)


def spline_function(definitions: Definitions, term: Splines, out: int) -> tuple[str, bool]:
    """The name of a function of x and `at`, the rows of weights of the first basis function of each
    input for the block of outputs; and whether it gives a number, the only output. On knots of
    their own for each input it takes the indices of their first cells, too."""
    language, functions = definitions.language, term.weights.shape[1]
    integers, count = language.integers, blocks(out)
    single = out == 1 and definitions.tables is None
    if single:
        gather = definitions.gather_numbers(term.weights.ravel())
    else:
        axes = (0, 2) if definitions.tables else (2,)
        gather = definitions.gather(padded(term.weights, axes).reshape(-1, 4))
    uneven = term.knots is not None
    lines, values = (_uneven if uneven else _uniform)(definitions, term)
    sums = []
    for r, value in enumerate(values):
        shifted = f"k+{r}" if r else "k"
        bounded = f"clamp({shifted},{integers}(0),{integers}({functions - 1}))"
        lines.append(language.declared(f"n{r}", bounded, integers))
        if not uneven:  # pieces of functions that do not exist are 0 there
            value = language.chosen.format(language.equal.format(f"n{r}", shifted), value)
        row = f"{gather}(at+n{r}{f'*{count}' if count > 1 else ''})"
        factor = f"({value})" if uneven else value
        sums.append(f"dot({row},{value})" if single else f"{row}*{factor}")
    arguments = {"x": language.vector, "at": integers}
    if has_own_cells(term):
        arguments["q"] = integers
    kind = language.types[0] if single else None
    body = "\n" + "\n".join(lines) + "\n"
    value = "\n+".join(sums)
    return definitions.function("spline", arguments, value, body=body, returned=kind), single


def has_own_cells(term: Splines) -> bool:
    """Whether inputs have knots of their own."""
    return term.knots is not None and max(len(term.knots), len(term.pieces)) > 1


def _uniform(definitions: Definitions, term: Splines) -> tuple[list[str], list[str]]:
    """Statements that give k, the first of the order + 1 functions that are not 0 at x, which may
    be negative, and the values of these functions."""
    language, order = definitions.language, term.order
    low, high = -term.first - 0.5, term.cells - term.first + 0.5
    u = f"(x-{in_formula(term.center)})" if term.center else "x"
    u += f"*{in_formula(1 / term.spacing)}"
    u += f"+{in_formula(term.phase)}" if term.phase else ""
    limits = [f"{language.vector}({literal(limit)})" for limit in (low, high)]
    lines = [
        language.declared("u", f"clamp({u},{','.join(limits)})"),
        language.declared("t", "u-floor(u)"),
        language.declared(
            "k", f"{language.integers}(floor(u)){term.first - order:+d}", language.integers
        ),
    ]
    pieces = term.pieces[0, 0].tolist()
    return lines, [_polynomial([in_formula(value) for value in row]) for row in pieces]


def _uneven(definitions: Definitions, term: Splines) -> tuple[list[str], list[str]]:
    language, order, cells = definitions.language, term.order, cells_of(term)
    declared, integers = language.declared, language.integers
    stride = cells.rows.shape[2]
    rows = padded(cells.rows, (0,)) if has_own_cells(term) else cells.rows
    gather = definitions.gather(rows.reshape(-1, 4), digits=9)
    passed = language.not_less.format("x", f"transpose({gather}(c+(m+1)*{stride}))[2]")
    lines = [
        declared("c", "q" if has_own_cells(term) else f"{integers}(0)", integers),
        declared("k", f"{integers}(0)", integers),
        language.loop.format(name="m", count=term.cells + 1) + f"k+={integers}({passed});}}",
        f"c+=k*{stride};",
        declared("e", f"transpose({gather}(c))", language.matrix),
        declared("t", "(x-e[0])*e[1]"),
        f"k-={integers}({order + 1});",
    ]
    values = []
    for r in range(order + 1):
        names = []
        for part in range(cells.vectors):
            name, at = f"e{r}_{part}", 1 + r * cells.vectors + part
            lines.append(declared(name, f"transpose({gather}(c+{at}))", language.matrix))
            names += [f"{name}[{column}]" for column in range(4)]
        values.append(_polynomial(names[: order + 1]))
    return lines, values


def places(definitions: Definitions, step: int, width: int, j: str) -> str:
    """`step` times the indices of the four inputs of block j; of the last for those beyond it."""
    if definitions.tables:
        return f"ivec4(0,{step},{2 * step},{3 * step})+j*{4 * step}"
    indices = np.minimum(4 * int(j) + np.arange(4), width - 1) * step
    return f"{definitions.language.integers}({','.join(map(str, indices))})"


def _polynomial(coefficients: list[str]) -> str:
    """By Horner's rule, of t."""
    text = coefficients[-1]
    for coefficient in reversed(coefficients[:-1]):
        inner = f"({text})" if "+" in text else text
        text = f"t*{inner}" if coefficient == "0." else f"{coefficient}+t*{inner}"
    return text

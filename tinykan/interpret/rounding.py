"""Formulas with as few digits as their data can tell apart (needs SymPy, the `interpret` extra)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tinykan.errors import UserError, check_integer, need
from tinykan.interpret.pareto import complexity

if TYPE_CHECKING:
    import sympy
else:
    sympy = need("sympy", extra="interpret", purpose="writing formulas")

MOST_DIGITS = 17  # of a float64
ALLOWED = 1.01  # times the error of the formula before rounding
# Of the data's root mean square: numbers of a network, and often data, are in float32.
FLOAT32 = 2.0**-24


def rounded(
    expression: sympy.Expr,
    digits: int,
    names: Sequence[str] = (),
    x: np.ndarray | None = None,
) -> sympy.Expr:
    """`expression` with its numbers rounded to `digits` significant digits (1 to 17).

    Whole numbers become integers, and numbers that agree with a multiple of pi/2 up to 10 pi, to as
    many digits and at least 3, become that multiple. Of a sum, terms are left out that are below
    half a unit in the last digit of the largest one: by their root mean square at samples `x`
    `[n, len(names)]` of the variables, or without any by their coefficients.
    """
    check_integer("digits", digits, 1, MOST_DIGITS)

    def size(term: sympy.Expr) -> float:
        if x is None or not term.free_symbols:
            numbers = [abs(float(n)) for n in sympy.Mul.make_args(term) if n.is_number]
            return math.prod(numbers)
        return float(np.sqrt(np.mean(np.square(evaluated(term, names, x)))))

    def shortened(part: sympy.Expr) -> sympy.Expr:
        if part.is_Float:
            return _near(float(part), digits)
        if not part.args:
            return part
        arguments = list(part.args)
        if part.is_Add:
            sizes = [size(term) for term in arguments]
            least = 0.5 * 10.0**-digits * max((s for s in sizes if math.isfinite(s)), default=0)
            pairs = zip(arguments, sizes, strict=True)
            arguments = [term for term, s in pairs if not s < least]
        return part.func(*map(shortened, arguments))

    # Twice: numbers that are combined in a product or a sum are rounded again.
    return shortened(shortened(expression))


def written(
    expression: sympy.Expr, names: Sequence[str], x: np.ndarray, y: np.ndarray, digits: int
) -> tuple[sympy.Expr, float]:
    """The formula that is printed for `expression`, in variables of these `names` with samples `x`
    `[n, len(names)]` and targets `y` `[n]`: multiplied out, so that terms can cancel, unless that
    makes it longer, and with as few digits, but at least `digits`, as keep its mean squared error
    within 1 % of that before rounding. Returns it, and that error of it, parsed back from its text.
    """
    exact = mean_squared_error(expression, names, x, y)
    enough = ALLOWED * exact + FLOAT32**2 * float(np.mean(np.square(y)))
    multiplied = sympy.expand(expression, power_exp=False)
    for count in range(max(1, digits), MOST_DIGITS + 1):
        forms = [rounded(form, count, names, x) for form in (multiplied, expression)]
        for found in sorted(dict.fromkeys(forms), key=complexity):
            error = mean_squared_error(parsed(str(found), names), names, x, y)
            if error <= enough:
                return found, error
    return expression, exact


def parsed(text: str, names: Sequence[str]) -> sympy.Expr:
    """The expression that `text` writes in variables of these `names`."""
    symbols = {name: sympy.Symbol(name) for name in names}
    return sympy.parse_expr(text, local_dict=symbols)


def mean_squared_error(
    expression: sympy.Expr, names: Sequence[str], x: np.ndarray, y: np.ndarray
) -> float:
    """Of an expression, in float64, at samples `x` `[n, len(names)]`; infinite where it is not a
    real number."""
    error = float(np.mean(np.square(evaluated(expression, names, x) - y)))
    return error if math.isfinite(error) else math.inf


def evaluated(expression: sympy.Expr, names: Sequence[str], x: np.ndarray) -> np.ndarray:
    """The values `[n]` of an expression, NaN where they are not real."""
    symbols = [sympy.Symbol(name) for name in names]
    function = sympy.lambdify(symbols, expression, ["scipy", "numpy"])
    with np.errstate(all="ignore"):
        values = np.asarray(function(*np.asarray(x, dtype=np.float64).T))
    if np.iscomplexobj(values):
        values = np.where(values.imag == 0, values.real, np.nan)
    return np.broadcast_to(values.astype(np.float64), (len(x),))


def variable_names(given: Sequence[str] | None, count: int) -> list[str]:
    """The names of `count` inputs: those that are `given`, or x1, x2, ... Raises a UserError unless
    they are so many different ones."""
    names = [f"x{n + 1}" for n in range(count)] if given is None else list(given)
    if len(names) != count or len(set(names)) != count:
        raise UserError(f"input names {names}: {count} different ones are needed")
    return names


def check_names(names: Sequence[str]) -> None:
    """Raises a UserError for a name that a formula cannot be parsed back with."""
    for name in names:
        try:
            fine = parsed(name, [name]) == sympy.Symbol(name)
        except Exception:  # whatever the parser does with what is no name
            fine = False
        if not fine:
            raise UserError(f"input name {name!r}: an identifier that is no keyword is needed")


def _near(value: float, digits: int) -> sympy.Expr:
    quarters = round(value / (math.pi / 2)) if abs(value) < 1e3 else 0
    far = abs(value - quarters * math.pi / 2)
    if 0 < abs(quarters) <= 20 and far < 0.5 * 10.0 ** -max(digits, 3):
        return quarters * sympy.pi / 2
    short = float(f"{value:.{digits - 1}e}")
    whole = abs(short) < 10**MOST_DIGITS and short == int(short)
    return sympy.Integer(int(short)) if whole else sympy.Float(f"{value:.{digits - 1}e}")

"""From one formula to simpler ones: its constants settled, then one part after another left out
(needs SciPy and SymPy, of the `interpret` extra)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from tinykan.errors import need
from tinykan.interpret.constants import Constants, Data
from tinykan.interpret.pareto import complexity

if TYPE_CHECKING:
    import sympy
else:
    sympy = need("sympy", extra="interpret", purpose="writing formulas")

LARGEST = 80  # complexity of a formula whose parts are left out one by one
EXPANDED = 150  # and of one that is multiplied out


def settled(
    expression: sympy.Expr, data: Data, stop: Callable[[], bool] = lambda: False
) -> list[sympy.Expr]:
    """`expression` as it is and multiplied out, so that terms can cancel, each with its constants
    fitted and rounded as the `data` allow, and then without common factors of numerators and
    denominators. Those that are not real numbers there are left out. `stop()` ends the rounding."""
    forms = [expression]
    if complexity(expression) <= LARGEST:
        multiplied = sympy.expand(expression, power_exp=False)
        sums = sympy.expand_trig(expression)  # tanh(artanh(u) + artanh(v)) is a quotient
        forms += [f for f in (multiplied, sums) if complexity(f) <= EXPANDED]
    found = []
    for form in dict.fromkeys(forms):
        constants = Constants(form, data)
        if constants.settle(stop):
            result = constants.result()
            found.append(_decimal(min(sympy.factor_terms(result), result, key=complexity)))
    return list(dict.fromkeys(found))


def simpler(expression: sympy.Expr, data: Data, stop: Callable[[], bool]) -> Iterator[sympy.Expr]:
    """Ever simpler formulas, down to a constant: at each step that part of the formula is left out
    without which the others, fitted again, have the lowest error. `stop()` ends it."""
    while not stop() and expression.free_symbols and complexity(expression) <= LARGEST:
        best, lowest = None, float("inf")
        for part in dict.fromkeys(_with_one_part_less(expression)):
            constants = Constants(1.0 * _loosened(part) * _ONE + _ZERO, data)
            fit = constants.fit({})
            if fit is not None and fit.squares < lowest:
                best, lowest = constants, fit.squares
            if stop():
                return
        if best is None or not best.settle(stop):
            return
        expression = _decimal(best.result())
        yield expression


_ONE, _ZERO = sympy.Float(1.0), sympy.Float(0.0)


def _with_one_part_less(expression: sympy.Expr) -> Iterator[sympy.Expr]:
    """The expression without one of its terms, factors, functions or powers, for each of these."""
    if not expression.free_symbols:
        return
    if not expression.args:
        yield sympy.Integer(0)
        return
    arguments = list(expression.args)
    for k, argument in enumerate(arguments):
        others = arguments[:k] + arguments[k + 1 :]
        if argument.is_number:
            continue
        if expression.is_Add or expression.is_Mul:
            yield expression.func(*others)
        else:
            yield argument
        for less in _with_one_part_less(argument):
            if less != 0:
                yield expression.func(*arguments[:k], less, *arguments[k + 1 :])


def _loosened(expression: sympy.Expr) -> sympy.Expr:
    """The expression with free constants for its coefficients and shifts; exponents stay."""
    if not expression.args:
        return expression
    arguments = [_loosened(argument) for argument in expression.args]
    if expression.is_Add or expression.is_Mul:
        arguments = [
            sympy.Float(float(a)) if a.is_number and a.is_real and a != -1 else a for a in arguments
        ]
    return expression.func(*arguments)


def _decimal(expression: sympy.Expr) -> sympy.Expr:
    """The expression with 0.5 for 1/2, except in exponents."""
    if expression.is_Rational and expression.q == 2:
        return sympy.Float(str(float(expression)))
    if not expression.args:
        return expression
    if expression.is_Pow:
        return expression.func(_decimal(expression.args[0]), expression.args[1])
    return expression.func(*map(_decimal, expression.args))

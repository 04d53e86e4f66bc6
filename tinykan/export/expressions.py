"""Formulas of one variable as expressions that every export format can print.

The functions of the core are written once, for tensors and for scalars inside kernels. Here they
are called with a symbol instead, which records what they do to it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tinykan.activations import ACTIVATIONS, cosine, sine, tanh
from tinykan.basis import power
from tinykan.errors import UserError


@dataclass(frozen=True, eq=False)
class Expression:
    """An operation on other expressions. Equal ones are one object, so that a value that is used
    twice is computed once; compare them with `is`.

    `op` is one of

        x, parameter, constant      without operands; `value` is the parameter's index or the number
        add, subtract, multiply, divide, maximum, minimum, less     of two operands
        negate, floor, abs, sqrt, exp, log, sin, cos, tanh          of one
        where                                                       condition, then, otherwise

    `less` gives a condition, which `where` alone takes. Expressions are for numbers of any
    precision, and are used like tensors: `2 * x.exp() + 1`.
    """

    op: str
    operands: tuple[Expression, ...] = ()
    value: float = 0.0

    dtype = None  # functions of the core then use `exp` instead of the bits of float32

    def __add__(self, other: Any) -> Expression:
        return _node("add", self, other)

    def __radd__(self, other: Any) -> Expression:
        return _node("add", other, self)

    def __sub__(self, other: Any) -> Expression:
        return _node("subtract", self, other)

    def __rsub__(self, other: Any) -> Expression:
        return _node("subtract", other, self)

    def __mul__(self, other: Any) -> Expression:
        return _node("multiply", self, other)

    def __rmul__(self, other: Any) -> Expression:
        return _node("multiply", other, self)

    def __truediv__(self, other: Any) -> Expression:
        return _node("divide", self, other)

    def __rtruediv__(self, other: Any) -> Expression:
        return _node("divide", other, self)

    def __pow__(self, exponent: int) -> Expression:
        return power(self, exponent)  # type: ignore[type-var]

    def __neg__(self) -> Expression:
        return _node("negate", self)

    def __lt__(self, other: Any) -> Expression:
        return _node("less", self, other)

    def __gt__(self, other: Any) -> Expression:
        return _node("less", other, self)

    def where(self, then: Any, otherwise: Any) -> Expression:
        return _node("where", self, then, otherwise)

    def cast(self, dtype: Any) -> Expression:
        return self.where(1.0, 0.0) if self.op == "less" else self

    def const_like(self, value: float) -> Expression:
        return constant(value)

    def maximum(self, other: Any) -> Expression:
        return _node("maximum", self, other)

    def minimum(self, other: Any) -> Expression:
        return _node("minimum", self, other)

    def reciprocal(self) -> Expression:
        return _node("divide", 1.0, self)

    def square(self) -> Expression:
        return self * self

    def floor(self) -> Expression:
        return _node("floor", self)

    def abs(self) -> Expression:
        return _node("abs", self)

    def sqrt(self) -> Expression:
        return _node("sqrt", self)

    def exp(self) -> Expression:
        return _node("exp", self)

    def log(self) -> Expression:
        return _node("log", self)

    def sin(self) -> Expression:
        return _node("sin", self)

    def cos(self) -> Expression:
        return _node("cos", self)

    def tanh(self) -> Expression:
        return _node("tanh", self)


@functools.cache
def _interned(op: str, operands: tuple[Expression, ...], value: float) -> Expression:
    return Expression(op, operands, value)


def constant(value: float) -> Expression:
    return _interned("constant", (), float(value))


def parameter(index: int) -> Expression:
    """A number that differs from edge to edge."""
    return _interned("parameter", (), index)


X = _interned("x", (), 0.0)


def _node(op: str, *operands: Any) -> Expression:
    made = tuple(o if isinstance(o, Expression) else constant(o) for o in operands)
    return _interned(op, made, 0.0)


def traced(what: str, function: Callable[[Any], Any]) -> tuple[Expression, ...]:
    """What `function`, one of the core's or of a user's, computes from a symbol x: the values of
    one function or of a list of functions. Raises UserError, with `what` it is, if it does what
    expressions cannot."""
    try:
        made = function(X)
        values = tuple(made) if isinstance(made, list | tuple) else (made,)
        return tuple(simplified(value) for value in values)
    except (AttributeError, TypeError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:100]
        problem = f"{what} cannot be exported: its formula is not plain arithmetic ({reason})"
        raise UserError(problem) from None


def simplified(expression: Expression) -> Expression:
    """The same with sines, cosines, hyperbolic tangents and max(x, 0), which the core computes from
    arithmetic, as the operations that every language has."""
    made: dict[Expression, Expression] = {}
    for node in in_order([expression]):
        operands = tuple(made[o] for o in node.operands)
        again = _interned(node.op, operands, node.value)
        made[node] = next(filter(None, (form(again) for form in _known_forms())), again)
    return made[expression]


def in_order(expressions: Sequence[Expression]) -> Iterator[Expression]:
    """Everything that `expressions` consist of, each once, operands before what uses them."""
    seen: set[Expression] = set()
    stack = [(e, False) for e in reversed(expressions)]
    while stack:
        node, ready = stack.pop()
        if node in seen:
            continue
        if ready:
            seen.add(node)
            yield node
        else:
            stack.append((node, True))
            stack += [(o, False) for o in reversed(node.operands)]


@functools.cache
def _known_forms() -> list[Callable[[Expression], Expression | None]]:
    templates: list[tuple[Any, Callable[[Expression], Expression]]] = [
        (sine, Expression.sin),
        (cosine, Expression.cos),
        (tanh, Expression.tanh),
        (ACTIVATIONS["relu"].value, lambda x: x.maximum(0.0)),
    ]

    def form(template: Expression, op: Callable[[Expression], Expression]) -> Callable:
        def replaced(node: Expression) -> Expression | None:
            found = _argument(template, node)
            return None if found is None else op(found)

        return replaced

    return [form(function(X), op) for function, op in templates]


def _argument(template: Expression, node: Expression) -> Expression | None:
    """The expression that stands in `node` where `template` has x, if all else is the same."""
    found: set[Expression] = set()
    pairs, seen = [(template, node)], set()
    while pairs:
        pair = pairs.pop()
        if pair in seen:
            continue
        seen.add(pair)
        wanted, given = pair
        if wanted is X:
            found.add(given)
        elif (wanted.op, wanted.value) != (given.op, given.value) or len(found) > 1:
            return None
        else:
            pairs += zip(wanted.operands, given.operands, strict=True)
    return found.pop() if len(found) == 1 else None

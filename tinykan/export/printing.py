"""Expressions and numbers as text in languages like C."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tinykan.errors import UserError
from tinykan.export.expressions import Expression, in_order


@dataclass(frozen=True)
class Syntax:
    """How a language writes operations, as a format of their operands, and numbers; what it calls
    x and a parameter of an index; and how it declares an intermediate result."""

    operations: dict[str, str]
    number: Callable[[float], str]
    declaration: str
    x: str = "x"
    parameter: Callable[[int], str] = "p{}".format


def statements(
    functions: Sequence[Expression], syntax: Syntax, prefix: str = "t"
) -> tuple[list[str], list[str]]:
    """Statements that compute what `functions` use more than once, in variables called `prefix` and
    a number, and the text of each function in these variables."""
    nodes = list(in_order(functions))
    uses = Counter(operand for node in nodes for operand in node.operands)
    uses.update(functions)
    lines: list[str] = []
    texts: dict[Expression, str] = {}
    for node in nodes:
        match node.op:
            case "x":
                text = syntax.x
            case "constant":
                text = syntax.number(node.value)
            case "parameter":
                text = syntax.parameter(int(node.value))
            case op:
                text = syntax.operations[op].format(*(texts[o] for o in node.operands))
                if uses[node] > 1 and op != "less":
                    name = f"{prefix}{len(lines)}"
                    lines.append(syntax.declaration.format(name=name, value=text))
                    text = name
        texts[node] = text
    return lines, [without_outer(texts[function]) for function in functions]


def without_outer(text: str) -> str:
    """The text without brackets around all of it."""
    depth = 0
    for position, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0 and position < len(text) - 1:
            return text
    return text[1:-1] if text.startswith("(") else text


def number(value: float) -> str:
    """The shortest decimal that is `value` in float32, with a point or an exponent, whatever the
    locale. Raises UserError where float32 has no such number."""
    with np.errstate(over="ignore"):
        rounded = np.float32(value)
    if not np.isfinite(rounded):
        raise UserError(f"the network has the parameter {value:.3g}, which is beyond float32")
    return re.sub(r"e([+-])0*", r"e\1", str(rounded)).replace("e+", "e")


def wrapped(items: Iterable[str], width: int = 100, indent: str = "    ") -> str:
    """Items separated by commas, on lines of at most `width` characters."""
    lines, line = [], indent
    for item in items:
        if len(line) + len(item) + 1 > width:
            lines.append(line.rstrip())
            line = indent
        line += f"{item}, "
    return "\n".join([*lines, line.rstrip(", ")])

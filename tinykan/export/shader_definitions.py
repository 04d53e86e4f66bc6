"""What the statements of a shader refer to: functions and arrays of constants, each there once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

from tinykan.export.expressions import Expression, in_order
from tinykan.export.printing import statements
from tinykan.export.shader_languages import DIGITS, Language, literal
from tinykan.export.tables import Tables

LANES = "xyzw"
ARITHMETIC = {"add", "subtract", "multiply", "divide", "negate"}


class Definitions:
    """Definitions as they are added, in `language`. With `tables`, parameters go there and are read
    by `row(n)`, `rows(n, step)` and `rows_at(ivec4)`; else they are constants."""

    def __init__(self, language: Language, tables: Tables | None = None) -> None:
        self.language = language
        self.tables = tables
        self._names: dict[str, str] = {}

    @property
    def texts(self) -> list[str]:
        """All definitions, each after those that it needs."""
        return [text.replace("?", name, 1) for text, name in self._names.items()]

    def _defined(self, prefix: str, text: Callable[[str], str]) -> str:
        key = text("?")
        return self._names.setdefault(key, f"{prefix}{len(self._names)}")

    def function(
        self,
        prefix: str,
        arguments: dict[str, str],
        value: str,
        *,
        body: str = "",
        returned: str | None = None,
    ) -> str:
        """The name of a function of `arguments` with their types; it returns a vector unless a type
        is given."""
        language = self.language
        listed = [language.argument.format(name=n, type=t) for n, t in arguments.items()]
        options = {"arguments": ",".join(listed), "body": body, "value": value}
        options["type"] = returned or language.vector
        return self._defined(prefix, lambda name: language.function.format(name=name, **options))

    def array(self, values: np.ndarray, digits: int) -> str:
        """The name of an array of numbers, or of vectors `[n, 4]`."""
        language = self.language
        if values.ndim == 1:
            kind, items = language.types[0], [_point(v, digits) for v in values.tolist()]
        else:
            kind = language.vector
            items = [language.constant(row, digits) for row in values.tolist()]
        options = {"type": kind, "count": len(items), "items": ",".join(items)}
        return self._defined("rows", lambda name: language.array.format(name=name, **options))

    def gather(self, rows: np.ndarray, digits: int = DIGITS) -> str:
        """The name of a function from four indices to a matrix of these of the `rows` `[n, 4]`."""
        language = self.language
        if self.tables:
            value = f"rows_at(n+{self.tables.place(rows)})"
        else:
            name = self.array(rows, digits)
            value = f"{language.matrix}({','.join(f'{name}[n.{lane}]' for lane in LANES)})"
        arguments = {"n": language.integers}
        return self.function("gather", arguments, value, returned=language.matrix)

    def gather_numbers(self, numbers: np.ndarray) -> str:
        """The name of a function from four indices to a vector of these `numbers` `[n]`."""
        name = self.array(numbers, DIGITS)
        value = f"{self.language.vector}({','.join(f'{name}[n.{lane}]' for lane in LANES)})"
        return self.function("gather", {"n": self.language.integers}, value)

    def call(self, function: Expression, x: str, parameters: list[str]) -> str:
        """The value of a function of vectors: in place if it is short, else by one defined."""
        nodes = list(in_order([function]))
        uses = Counter(operand for node in nodes for operand in node.operands)
        given = {n: [x, *parameters][int(n.value) + 1 if n.op == "parameter" else 0]
                 for n in nodes if n.op in ("x", "parameter")}  # fmt: skip
        lines, (text,) = statements([function], self.language.syntax(x, lambda n: parameters[n]))
        if not given:
            return f"{self.language.vector}({text})"
        if not lines and all(uses[n] < 2 or len(name) <= 5 for n, name in given.items()):
            return f"({text})" if function.op in ARITHMETIC else text
        names = ["x", *(f"p{n}" for n in range(len(parameters)))]
        lines, (text,) = statements([function], self.language.syntax("x", "p{}".format))
        arguments = dict.fromkeys(names, self.language.vector)
        name = self.function("phi", arguments, text, body="".join(lines))
        return f"{name}({','.join([x, *parameters])})"

    def kept(self, value: str, lanes: np.ndarray) -> str:
        """The value's numbers on `lanes`, and 0 on the others, whatever they would be."""
        if lanes.all():
            return value
        texts = [f"x.{LANES[k]}" if lane else "0" for k, lane in enumerate(lanes)]
        whole = f"{self.language.vector}({','.join(texts)})"
        return f"{self.function('kept', {'x': self.language.vector}, whole)}({value})"


def _point(value: float, digits: int) -> str:
    """A rounded number with a point or an exponent, which GLSL needs in arrays of numbers."""
    text = literal(value, digits)
    return text if "." in text or "e" in text else f"{text}."

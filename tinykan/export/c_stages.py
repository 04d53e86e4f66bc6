"""The stages of a network as C functions, and the arrays that they read."""

from __future__ import annotations

import re

import numpy as np

from tinykan.export.expressions import X
from tinykan.export.form import Combination, Edges, Multiply, Normalize, Splines, Stage, Sum
from tinykan.export.printing import Syntax, number, statements, wrapped

OPERATIONS = {
    "add": "({} + {})", "subtract": "({} - {})", "multiply": "({} * {})", "divide": "({} / {})",
    "less": "{} < {}", "where": "({} ? {} : {})", "negate": "(-{})",
    "maximum": "maximum({}, {})", "minimum": "minimum({}, {})", "floor": "whole({})",
    "abs": "fabsf({})", "sqrt": "sqrtf({})", "log": "logf({})", "exp": "exponential({})",
    "sin": "sine({})", "cos": "cosine({})", "tanh": "hyperbolic_tangent({})",
}  # fmt: skip


def literal(value: float) -> str:
    text = f"{number(value)}f"
    return f"({text})" if text.startswith("-") else text


SYNTAX = Syntax(OPERATIONS, literal, "const float {name} = {value};", x="v")


def padded(out: int) -> int:
    """The length of a vector with room for whole vector registers."""
    step = 8 if out > 8 else 4 if out > 4 else 1
    return -(-out // step) * step


class Stages:
    """`functions` named stage_1, stage_2, ..., and the definitions of `arrays`, as they are added.

    A function makes its vector y from the one before, x. Bases are evaluated for all inputs first,
    in loops that compilers vectorize; then the rows of weights are summed, of splines only those
    that go with the order + 1 functions that are not 0. Rows of zeros before and after the weights
    of splines stand for the functions that do not exist, in the first and last cells and outside.
    """

    def __init__(self) -> None:
        self.functions: list[str] = []
        self.arrays: list[str] = []

    def add(self, stage: Stage, width: int, *, last: bool) -> None:
        """The stage after a vector of `width` numbers. All but the last one may write more numbers
        than they have features, up to `padded` ones."""
        index = len(self.functions) + 1
        if isinstance(stage, Normalize):
            lines = _normalization(stage)
        elif isinstance(stage, Multiply):
            lines = _products(stage)
        else:
            lines = self._sum(index, stage, width, last)
        if not any(re.search(r"\bx\b", line) for line in lines):
            lines.insert(0, "(void)x;")
        head = f"static void stage_{index}(const float *restrict x, float *restrict y)"
        self.functions.append("\n".join([head, "{", *_indented(lines), "}\n"]))

    def _array(self, name: str, values: np.ndarray) -> str:
        integers = np.issubdtype(values.dtype, np.integer)
        items = [str(v) if integers else f"{number(v)}f" for v in values.ravel().tolist()]
        kind = "int" if integers else "float"
        text = f"static const {kind} {name}[{len(items)}] = {{\n{wrapped(items)}\n}};\n"
        self.arrays.append(text)
        return name

    def _sum(self, index: int, stage: Sum, width: int, last: bool) -> list[str]:
        out = stage.out_features
        edges = [term for term in stage.terms if isinstance(term, Edges)]
        bases = [term for term in stage.terms if not isinstance(term, Edges)]
        targets = np.concatenate([np.zeros(0, int), *(term.targets for term in edges)])
        assigned = not (bases or stage.bias.any()) and sorted(targets.tolist()) == [*range(out)]
        columns = padded(out) if bases and not last else out
        lines = []
        if not assigned:
            bias = np.pad(stage.bias, (0, columns - out))
            start = self._array(f"bias_{index}", bias) + "[o]" if stage.bias.any() else "0.0f"
            lines += [f"for (int o = 0; o < {columns}; o++)", f"    y[o] = {start};"]
        if bases:
            lines += self._bases(index, bases, width, columns)
        for n, edge_term in enumerate(edges):
            lines += self._edges(f"{index}_{n}", edge_term, width, out, "=" if assigned else "+=")
        return lines

    def _bases(
        self, index: int, terms: list[Combination | Splines], width: int, out: int
    ) -> list[str]:
        declared, before, rows, products = [], [], [], []
        for n, term in enumerate(terms):
            name, start, weights = f"{index}_{n}", "i", term.weights
            more = term.order + 1 if isinstance(term, Splines) else 0
            columns = out - weights.shape[2]
            weights = np.pad(weights, [(0, 0), (more, more), (0, columns)])
            if isinstance(term, Splines):
                lines, functions = self._splines(name, term)
                declared.append(f"int32_t row_{n}[{width}];")
                before += _loop(width, [*lines, f"row_{n}[i] = row;"], functions, n)
                start = f"(i * {weights.shape[1]} + row_{n}[i])"
            elif term.functions == (X,):
                functions = ["x[i]"]
            else:
                lines, functions = statements(term.functions, SYNTAX)
                before += _loop(width, ["const float v = x[i];", *lines], functions, n)
                start = f"i * {weights.shape[1]}"
            kept = functions == ["x[i]"]
            if not kept:
                declared.append(f"float f{n}[{len(functions)}][{width}];")
            rows.append(f"const float *const w{n} = {self._array(f'weights_{name}', weights)} + ")
            rows[-1] += f"{start} * {out};"
            for k in range(len(functions)):
                value = "x[i]" if kept else f"f{n}[{k}][i]"
                rows.append(f"const float v{n}_{k} = {value};")
                products.append(f"v{n}_{k} * w{n}[{f'{k * out} + o' if k else 'o'}]")
        inner = [*rows, f"for (int o = 0; o < {out}; o++)"]
        inner += [f"    y[o] += {products[0]}", *(f"        + {p}" for p in products[1:])]
        inner[-1] += ";"
        return [*declared, *before, *_block(f"for (int i = 0; i < {width}; i++)", inner)]

    def _splines(self, name: str, term: Splines) -> tuple[list[str], list[str]]:
        """Statements that give the first row of weights and t, and the functions of t."""
        powers = range(term.order, -1, -1)
        if term.knots is None:
            coefficients = [[literal(v) for v in row] for row in term.pieces[0, 0]]
            low, high = -term.first - 1, term.cells - term.first
            u = f"(x[i] - {literal(term.center)})" if term.center else "x[i]"
            u += f" * {literal(1 / term.spacing)}" + (
                f" + {literal(term.phase)}" if term.phase else ""
            )
            lines = [
                f"const float u = clamped({u}, {literal(low + 0.5)}, {literal(high + 0.5)});",
                f"const int32_t row = integer(u + {literal(-low)});",
                f"const float t = u - (float)(row - {-low});",
            ]
        else:
            knots, count = self._array(f"knots_{name}", term.knots), term.cells + 1
            square = (term.order + 1) ** 2
            outer = np.pad(term.pieces, [(0, 0), (1, 1), (0, 0), (0, 0)])
            pieces = self._array(f"pieces_{name}", outer)
            own = len(term.knots) > 1
            row_of_cell = f"(i * {count + 1} + row)" if own else "row"
            lines = [
                f"const float *const knots = {knots}{f' + i * {count}' if own else ''};",
                f"const float v = clamped(x[i], knots[0], knots[{count - 1}]);",
                f"const int32_t row = cell(knots, {count}, x[i]);",
                "const float left = knots[row > 0 ? row - 1 : 0];",
                f"const float right = knots[row < {count} ? row : {count - 1}];",
                "const float t = (v - left) / (right > left ? right - left : 1.0f);",
                f"const float *const p = {pieces} + {row_of_cell} * {square};",
            ]
            size = term.order + 1
            coefficients = [[f"p[{r * size + q}]" for q in range(size)] for r in range(size)]
        functions = []
        for row in coefficients:
            text = row[term.order]
            for power in powers[1:]:
                text = f"{row[power]} + t * {text if power == term.order - 1 else f'({text})'}"
            functions.append(text)
        return lines, functions

    def _edges(self, name: str, term: Edges, width: int, out: int, sign: str) -> list[str]:
        count = len(term.sources)
        grid = np.divmod(np.arange(width * out), out)
        every = count == width * out > out and all(
            np.array_equal(*pair) for pair in zip(grid, (term.sources, term.targets), strict=True)
        )
        place = f"i * {out} + o" if every else "k"
        parameters = []
        for n, column in enumerate(term.parameters.T):
            if (column == column[0]).all():
                parameters.append(literal(column[0]))
            else:
                parameters.append(f"{self._array(f'parameters_{name}_{n}', column)}[{place}]")
        syntax = Syntax(OPERATIONS, literal, SYNTAX.declaration, "v", lambda n: parameters[n])
        lines, (value,) = statements([term.function], syntax)
        if every:
            inner = _block(f"for (int o = 0; o < {out}; o++)", [*lines, f"y[o] {sign} {value};"])
            return _block(f"for (int i = 0; i < {width}; i++)", ["const float v = x[i];", *inner])
        source, target = (
            self._place(f"{kind}_{name}", places)
            for kind, places in (("sources", term.sources), ("targets", term.targets))
        )
        lines.append(f"y[{target}] {sign} {value};")
        if any(re.search(r"\bv\b", line) for line in lines):
            lines.insert(0, f"const float v = x[{source}];")
        return _block(f"for (int k = 0; k < {count}; k++)", lines)

    def _place(self, name: str, places: np.ndarray) -> str:
        """Where edge k is found in a vector."""
        first = places[0]
        if (places == first).all():
            return str(first)
        if np.array_equal(places, np.arange(first, first + len(places))):
            return f"k + {first}" if first else "k"
        return f"{self._array(name, places)}[k]"


def _loop(width: int, lines: list[str], functions: list[str], index: int) -> list[str]:
    """Computes the functions of all inputs into the array f of that index."""
    stored = [f"f{index}[{k}][i] = {function};" for k, function in enumerate(functions)]
    return _block(f"for (int i = 0; i < {width}; i++)", [*lines, *stored])


def _block(head: str, lines: list[str]) -> list[str]:
    return [f"{head} {{", *_indented(lines), "}"]


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _products(stage: Multiply) -> list[str]:
    lines = []
    for o, (group, bias) in enumerate(zip(stage.groups, stage.bias.tolist(), strict=True)):
        factors = " * ".join(f"x[{i}]" for i in group)
        lines.append(f"y[{o}] = {factors}{f' + {literal(bias)}' if bias else ''};")
    return lines


def _normalization(stage: Normalize) -> list[str]:
    count = stage.out_features
    each = f"for (int o = 0; o < {count}; o++)"
    return [
        "float mean = 0.0f, variance = 0.0f;",
        each,
        "    mean += x[o];",
        f"mean /= {literal(count)};",
        each,
        "    variance += (x[o] - mean) * (x[o] - mean);",
        f"variance = variance / {literal(count)} + {literal(stage.epsilon)};",
        "const float scale = 1.0f / sqrtf(variance);",
        each,
        "    y[o] = (x[o] - mean) * scale;",
    ]

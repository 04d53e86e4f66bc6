"""The stages of a network as statements of a shader.

Vectors are held in blocks of four numbers, and what is computed is computed for four inputs at a
time. Parameters are constants in statements that are written out for each block, or they are rows
of a texture, which loops read.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tinykan.export.form import Combination, Edges, Multiply, Normalize, Splines, Stage
from tinykan.export.shader_definitions import LANES, Definitions
from tinykan.export.shader_languages import in_formula
from tinykan.export.shader_splines import (
    NOWHERE,
    as_combination,
    has_few_functions,
    has_own_cells,
    places,
    spline_function,
)
from tinykan.export.tables import blocks, cells_of, is_elementwise, packs_of, padded, rows_of


class Stages:
    """Statements of stages, which refer to the `definitions`."""

    def __init__(self, definitions: Definitions) -> None:
        self.definitions = definitions
        self.language = definitions.language
        self.tables = definitions.tables

    def block(self, vector: str, index: str) -> str:
        return f"{vector}[{index}]" if self.tables else f"{vector}{index}"

    def stage(self, stage: Stage, width: int, x: str, y: str) -> list[str]:
        """From the vector x of `width` numbers to y."""
        if isinstance(stage, Normalize):
            return self._normalization(stage, x, y)
        if isinstance(stage, Multiply):
            return self._products(stage, x, y)
        out = stage.out_features
        lines = self._start(stage.bias, y)
        for term in stage.terms:
            if isinstance(term, Splines) and not self.tables and has_few_functions(term):
                term = as_combination(term)
            if isinstance(term, Edges):
                lines += self._edges(term, width, out, x, y)
            elif isinstance(term, Splines):
                lines += self._splines(term, width, out, x, y)
            else:
                lines += self._combination(term, width, out, x, y)
        return lines

    def _loop(self, name: str, count: int, body: Callable[[str], list[str]]) -> list[str]:
        """The statements that `body` gives for an index: in a loop, or one after another."""
        if self.tables:
            head = self.language.loop.format(name=name, count=count)
            return [head, *body(name), "}"]
        return [line for index in range(count) for line in body(str(index))]

    def _start(self, bias: np.ndarray, y: str) -> list[str]:
        vectors = padded(bias, (0,)).reshape(-1, 4)
        if self.tables:
            start = f"row({self.tables.place(vectors)}+o)" if bias.any() else "vec4(0)"
            return self._loop("o", len(vectors), lambda o: [f"{self.block(y, o)}={start};"])
        constants = [self.language.constant(vector.tolist()) for vector in vectors]
        return [self.language.declared(f"{y}{o}", text) for o, text in enumerate(constants)]

    def _combination(self, term: Combination, width: int, out: int, x: str, y: str) -> list[str]:
        weights = padded(term.weights, (0, 2))

        def at_input(j: str) -> list[str]:
            lines, values = [], []
            for n, function in enumerate(term.functions):
                text = self.definitions.call(function, self.block(x, j), [])
                if blocks(out) > 1 and len(text) > 5:
                    lines.append(self.language.declared(f"fn{n}", text))
                    text = f"fn{n}"
                values.append(text)

            def at_output(o: str) -> list[str]:
                terms = [
                    self._product(weights, width, out, (j, n, o), v) for n, v in enumerate(values)
                ]
                known = [text for text in terms if text]
                return [f"{self._target(y, o, out)}+={'+'.join(known)};"] if known else []

            inner = self._loop("o", blocks(out), at_output)
            return ["{", *lines, *inner, "}"] if lines else inner

        return self._loop("j", blocks(width), at_input)

    def _product(
        self, weights: np.ndarray, width: int, out: int, index: tuple[str, int, str], value: str
    ) -> str:
        """What function n of the inputs of block j adds to the outputs of block o, for `index` j,
        n, o; empty if that is nothing."""
        j, n, o = index
        constant = self.language.constant
        if self.tables:
            step = weights[0].size // 4
            place = self.tables.place(weights) + n * blocks(out)
            return f"rows({place}+j*{4 * step}+o,{step})*{value}"
        first, start = 4 * int(j), 4 * int(o)
        matrix = weights[first : first + 4, n, start : start + 4]
        if not matrix.any():
            return ""
        if out - start == 1:
            return f"dot({constant(matrix[:, 0].tolist())},{value})"
        if width - first > 2:
            return f"{constant(matrix.ravel().tolist())}*{value}"
        columns = zip(matrix[: width - first].tolist(), LANES, strict=False)
        return "+".join(f"{constant(column)}*{value}.{lane}" for column, lane in columns)

    def _target(self, y: str, o: str, out: int) -> str:
        """Constants for one output alone are vectors instead of matrices."""
        single = not self.tables and out - 4 * int(o) == 1
        return self.block(y, o) + (".x" if single else "")

    def _splines(self, term: Splines, width: int, out: int, x: str, y: str) -> list[str]:
        name, single = spline_function(self.definitions, term, out)
        step = term.weights.shape[1] * (1 if single else blocks(out))
        cells = cells_of(term).rows.shape[1:3] if has_own_cells(term) else (0, 0)

        def at_input(j: str) -> list[str]:
            at = places(self.definitions, step, width, j)
            own = "," + places(self.definitions, cells[0] * cells[1], width, j) if cells[0] else ""
            given = self._beyond(self.block(x, j), width, j)

            def at_output(o: str) -> list[str]:
                shifted = at if o == "0" else f"{at}+{o}"
                target = self.block(y, o) + (".x" if single else "")
                return [f"{target}+={name}({given},{shifted}{own});"]

            return self._loop("o", blocks(out), at_output)

        return self._loop("j", blocks(width), at_input)

    def _beyond(self, block: str, width: int, j: str) -> str:
        """The block of inputs, with those that do not exist where splines are 0. Tables have rows
        of zeros for them."""
        rest = width - 4 * int(j) if not self.tables else 4
        if rest >= 4:
            return block
        return f"{self.language.vector}({block}.{LANES[:rest]}{f',{NOWHERE}' * (4 - rest)})"

    def _edges(self, term: Edges, width: int, out: int, x: str, y: str) -> list[str]:
        if width == out and is_elementwise(term, width):
            return self._elementwise(term, out, x, y)
        packs, call = packs_of(term), self.definitions.call
        if self.tables is None:
            lines = []
            for pack in packs:
                parameters = [self.language.constant(p.tolist(), 9) for p in pack.parameters]
                value = call(term.function, self._picked(x, pack.sources), parameters)
                kept = self.definitions.kept(value, pack.sources >= 0)
                lines.append(f"{y}{pack.target}+={kept};")
            return lines
        rows = rows_of(packs)
        parameters = [f"row(q+{n + 2})" for n in range(term.parameters.shape[1])]
        picked = ",".join(f"{x}[s.{lane}>>2][s.{lane}&3]" for lane in LANES)
        value = call(term.function, "v", parameters)
        body = [
            f"int q={self.tables.place(rows)}+m*{rows.shape[1]};",
            "ivec4 g=ivec4(row(q)),s=max(g,0);",
            f"vec4 v=vec4({picked});",
            f"{y}[int(row(q+1).x)]+=mix(vec4(0),{value},equal(g,s));",
        ]
        return self._loop("m", len(packs), lambda m: body)

    def _picked(self, x: str, sources: np.ndarray) -> str:
        """A vector of four numbers of x, at `sources`; any where there is none."""
        known = np.where(sources < 0, sources[sources >= 0][0], sources)
        lanes = "".join(LANES[source % 4] for source in known)
        first = f"{x}{known[0] // 4}"
        if (known // 4 == known[0] // 4).all():
            return first if lanes == LANES else f"{first}.{lanes}"
        texts = [f"{x}{source // 4}.{lane}" for source, lane in zip(known, lanes, strict=True)]
        return f"{self.language.vector}({','.join(texts)})"

    def _elementwise(self, term: Edges, out: int, x: str, y: str) -> list[str]:
        vector, call = self.language.vector, self.definitions.call
        parameters = [f"{vector}({in_formula(value)})" for value in term.parameters[0].tolist()]

        def at(j: str) -> list[str]:
            value = call(term.function, self.block(x, j), parameters)
            if not self.tables:
                value = self.definitions.kept(value, 4 * int(j) + np.arange(4) < out)
            return [f"{self.block(y, j)}+={value};"]

        lines = self._loop("j", blocks(out), at)
        if self.tables and out % 4:
            last = self.block(y, str(out // 4))
            lines.append(f"{last}={self.definitions.kept(last, np.arange(4) < out % 4)};")
        return lines

    def _products(self, stage: Multiply, x: str, y: str) -> list[str]:
        texts = []
        for group, bias in zip(stage.groups, stage.bias.tolist(), strict=True):
            factors = [f"{self.block(x, str(i // 4))}.{LANES[i % 4]}" for i in group]
            texts.append("*".join(factors) + (f"+{in_formula(bias)}" if bias else ""))
        texts += ["0."] * (-len(texts) % 4)
        lines = []
        for o in range(len(texts) // 4):
            value = f"{self.language.vector}({','.join(texts[4 * o : 4 * o + 4])})"
            target = self.block(y, str(o))
            declared = self.language.declared(target, value)
            lines.append(f"{target}={value};" if self.tables else declared)
        return lines

    def _normalization(self, stage: Normalize, x: str, y: str) -> list[str]:
        language, out, block = self.language, stage.out_features, self.block
        count, total, one = blocks(out), in_formula(out), f"{language.vector}(1)"
        lines = [language.declared(f"mean{y}", "0.", language.types[0])]
        lines += [language.declared(f"scale{y}", "0.", language.types[0])]
        lines += self._loop("o", count, lambda o: [f"mean{y}+=dot({block(x, o)},{one});"])
        lines.append(f"mean{y}/={total};")

        def centered(o: str) -> list[str]:
            value = f"{block(x, o)}-mean{y}"
            known = language.declared(block(y, o), value)
            return [f"{block(y, o)}={value};" if self.tables else known]

        lines += self._loop("o", count, centered)
        if out % 4:
            last = block(y, str(count - 1))
            lines.append(f"{last}={self.definitions.kept(last, np.arange(4) < out % 4)};")
        lines += self._loop("o", count, lambda o: [f"scale{y}+=dot({block(y, o)},{block(y, o)});"])
        lines.append(f"scale{y}=1./sqrt(scale{y}/{total}+{in_formula(stage.epsilon)});")
        return lines + self._loop("o", count, lambda o: [f"{block(y, o)}*=scale{y};"])

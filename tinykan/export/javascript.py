"""Networks as JavaScript, for pages where there is no GPU: it reads the tables of shaders."""

from __future__ import annotations

from collections.abc import Callable

from tinykan.export.form import Combination, Edges, Multiply, Normalize, Program, Splines, Stage
from tinykan.export.printing import Syntax, number, statements
from tinykan.export.tables import Tables, cells_of, is_elementwise, packs_of, padded, rows_of

OPERATIONS = {
    "add": "({} + {})", "subtract": "({} - {})", "multiply": "({} * {})", "divide": "({} / {})",
    "less": "({} < {})", "where": "({} ? {} : {})", "negate": "(-{})",
    "maximum": "Math.max({}, {})", "minimum": "Math.min({}, {})", "floor": "Math.floor({})",
    "abs": "Math.abs({})", "sqrt": "Math.sqrt({})", "log": "Math.log({})", "exp": "Math.exp({})",
    "sin": "Math.sin({})", "cos": "Math.cos({})", "tanh": "Math.tanh({})",
}  # fmt: skip


def literal(value: float) -> str:
    text = number(value)
    return f"({text})" if text.startswith("-") else text


def javascript_source(program: Program, tables: Tables) -> str:
    """A function `network` of the tables as a Float32Array, which gives `vectors`, those before the
    first stage and after each, and `run`, which computes all others from the first."""
    widths = program.widths
    stages = [
        f"{{\nconst x = vectors[{n}], y = vectors[{n + 1}];\n{_stage(stage, widths[n], tables)}\n}}"
        for n, stage in enumerate(program.stages)
    ]
    return "\n".join(
        [
            "function network(W) {",
            f"const vectors = {widths}.map(n => new Float64Array(n));",
            "const b = new Float64Array(6);",
            "function run() {",
            *stages,
            "}",
            "return {vectors, run};",
            "}",
        ]
    )


def _stage(stage: Stage, width: int, tables: Tables) -> str:
    if isinstance(stage, Normalize):
        n = stage.out_features
        return (
            "let mean = 0, variance = 0;\n"
            f"for (let o = 0; o < {n}; o++) mean += x[o] / {n};\n"
            f"for (let o = 0; o < {n}; o++) variance += (x[o] - mean) ** 2 / {n};\n"
            f"for (let o = 0; o < {n}; o++) "
            f"y[o] = (x[o] - mean) / Math.sqrt(variance + {literal(stage.epsilon)});"
        )
    if isinstance(stage, Multiply):
        products = [" * ".join(f"x[{i}]" for i in group) for group in stage.groups]
        pairs = zip(products, stage.bias.tolist(), strict=True)
        return "\n".join(f"y[{o}] = {p} + {literal(b)};" for o, (p, b) in enumerate(pairs))
    start = 4 * tables.place(padded(stage.bias, (0,)))
    lines = [f"for (let o = 0; o < {stage.out_features}; o++) y[o] = W[{start} + o];"]
    for term in stage.terms:
        if isinstance(term, Edges):
            lines.append(_edges(term, width, stage.out_features, tables))
        elif isinstance(term, Splines):
            lines.append(_splines(term, width, stage.out_features, tables))
        else:
            lines.append(_combination(term, width, stage.out_features, tables))
    return "\n".join(lines)


def _combination(term: Combination, width: int, out: int, tables: Tables) -> str:
    weights = padded(term.weights, (0, 2))
    lines, values = statements(term.functions, _syntax())
    step = weights.shape[2]
    declared = "".join(f"const f{n} = {value};\n" for n, value in enumerate(values))
    products = " + ".join(f"f{n} * W[w + {n * step} + o]" for n in range(len(values)))
    return (
        f"for (let i = 0; i < {width}; i++) {{\n"
        f"const v = x[i], w = {4 * tables.place(weights)} + i * {weights[0].size};\n"
        f"{''.join(lines)}{declared}"
        f"for (let o = 0; o < {out}; o++) y[o] += {products};\n}}"
    )


def _splines(term: Splines, width: int, out: int, tables: Tables) -> str:
    weights = padded(term.weights, (0, 2))
    functions, step = weights.shape[1:]
    found = _uniform(term) if term.knots is None else _uneven(term, tables)
    return (
        f"for (let i = 0; i < {width}; i++) {{\n{found}"
        f"for (let r = 0; r < {term.order + 1}; r++) {{\nconst n = k + r;\n"
        f"if (n < 0 || n >= {functions}) continue;\n"
        f"const w = {4 * tables.place(weights)} + (i * {functions} + n) * {step}, f = b[r];\n"
        f"for (let o = 0; o < {out}; o++) y[o] += f * W[w + o];\n}}\n}}"
    )


def _uniform(term: Splines) -> str:
    u = f"(x[i] - {literal(term.center)}) * {literal(1 / term.spacing)} + {literal(term.phase)}"
    lines = [f"const u = {u}, whole = Math.floor(u), t = u - whole;"]
    lines.append(f"const k = whole + {term.first - term.order};")
    for r, row in enumerate(term.pieces[0, 0].tolist()):
        lines.append(f"b[{r}] = {_polynomial([literal(value) for value in row])};")
    return "\n".join(lines) + "\n"


def _uneven(term: Splines, tables: Tables) -> str:
    cells = cells_of(term)
    rows, stride = cells.rows, 4 * cells.rows.shape[2]
    own = len(rows) > 1
    place = 4 * tables.place(padded(rows, (0,)) if own else rows)
    start = f"{place} + i * {rows.shape[1] * stride}" if own else str(place)
    lines = [
        f"let q = {start}, k = 0;",
        f"while (k < {term.cells + 1} && x[i] >= W[q + (k + 1) * {stride} + 2]) k++;",
        f"q += k * {stride};",
        f"k -= {term.order + 1};",
        "const t = (x[i] - W[q]) * W[q + 1];",
    ]
    for r in range(term.order + 1):
        at = 4 * (1 + r * cells.vectors)
        text = _polynomial([f"W[q + {at + p}]" for p in range(term.order + 1)])
        lines.append(f"b[{r}] = {text};")
    return "\n".join(lines) + "\n"


def _polynomial(coefficients: list[str]) -> str:
    text = coefficients[-1]
    for coefficient in reversed(coefficients[:-1]):
        text = f"{coefficient} + t * ({text})"
    return text


def _edges(term: Edges, width: int, out: int, tables: Tables) -> str:
    if width == out and is_elementwise(term, width):
        lines, (value,) = statements(
            [term.function], _syntax(lambda n: literal(term.parameters[0, n]))
        )
        return (
            f"for (let o = 0; o < {out}; o++) {{\nconst v = x[o];\n"
            f"{''.join(lines)}y[o] += {value};\n}}"
        )
    lines, (value,) = statements([term.function], _syntax(lambda n: f"W[p + {4 * n}]"))
    rows = rows_of(packs_of(term))
    return (
        f"for (let m = 0; m < {4 * len(rows)}; m++) {{\n"
        f"const q = {4 * tables.place(rows)} + (m >> 2) * {4 * rows.shape[1]} + (m & 3);\n"
        "if (W[q] < 0) continue;\n"
        "const v = x[W[q]], p = q + 8;\n"
        f"{''.join(lines)}y[4 * W[q + 4] + (m & 3)] += {value};\n}}"
    )


def _syntax(parameter: Callable[[int], str] = str) -> Syntax:
    """Of expressions of v; those of bases have no parameters."""
    return Syntax(OPERATIONS, literal, "const {name} = {value};\n", "v", parameter)

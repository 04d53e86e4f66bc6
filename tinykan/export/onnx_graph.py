"""Networks as ONNX models of standard operators, for any number of points at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinykan.errors import UserError, need
from tinykan.export.expressions import Expression, in_order
from tinykan.export.form import (
    Combination,
    Edges,
    Multiply,
    Normalize,
    Program,
    Splines,
    Stage,
    Sum,
)

OPSET = 17
IR_VERSION = 8  # the one of opset 17's release, ONNX 1.12
OPERATORS = {
    "add": "Add", "subtract": "Sub", "multiply": "Mul", "divide": "Div", "less": "Less",
    "where": "Where", "negate": "Neg", "maximum": "Max", "minimum": "Min", "floor": "Floor",
    "abs": "Abs", "sqrt": "Sqrt", "exp": "Exp", "log": "Log", "tanh": "Tanh",
}  # fmt: skip


def onnx_bytes(program: Program, version: str = "") -> bytes:
    """A model of opset 17 with the input `x` `[points, in]` and the output `y` `[points, out]`, in
    float32. Raises UserError for parameters beyond float32, and where onnx is not installed."""
    onnx = need("onnx", extra="onnx", purpose="export to ONNX")
    graph, value = Graph(onnx), "x"
    for stage, width in zip(program.stages, program.widths, strict=False):
        value = graph.stage(value, stage, width)
    graph.nodes[-1].output[0] = "y"
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            graph.nodes,
            "network",
            [graph.declared("x", program.in_features)],
            [graph.declared("y", program.out_features)],
            graph.constants,
        ),
        producer_name="tinykan",
        producer_version=version,
        doc_string=program.text,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


class Graph:
    """Nodes and constants, as they are added. A value is known by its name."""

    def __init__(self, onnx: Any) -> None:
        self.onnx = onnx
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._known: dict[bytes, str] = {}

    def declared(self, name: str, width: int) -> Any:
        return self.onnx.helper.make_tensor_value_info(
            name, self.onnx.TensorProto.FLOAT, ["points", width]
        )

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """The result of an operator."""
        name = f"{operator.lower()}_{len(self.nodes)}"
        made = self.onnx.helper.make_node(operator, list(inputs), [name], name=name, **attributes)
        self.nodes.append(made)
        return name

    def constant(self, values: Any) -> str:
        """An array, of float32 unless it is of integers."""
        array = np.asarray(values)
        if array.dtype.kind == "f":
            with np.errstate(over="ignore"):
                array = array.astype(np.float32)
            if not np.isfinite(array).all():
                raise UserError("the network has parameters that are beyond float32")
        else:
            array = array.astype(np.int64)
        key = repr((array.dtype, array.shape)).encode() + array.tobytes()
        if key not in self._known:
            self._known[key] = f"constant_{len(self.constants)}"
            self.constants.append(self.onnx.numpy_helper.from_array(array, self._known[key]))
        return self._known[key]

    def stage(self, x: str, stage: Stage, width: int) -> str:
        """From a vector of `width` numbers."""
        if isinstance(stage, Normalize):
            return self.normalized(x, stage)
        if isinstance(stage, Multiply):
            return self.products(x, stage, width)
        return self.sum(x, stage, width)

    def sum(self, x: str, stage: Sum, width: int) -> str:
        parts = [self._term(x, term, width, stage.out_features) for term in stage.terms]
        if stage.bias.any() or not parts:
            # A sum of nothing has no points to count: those of x are, times 0.
            nothing = self.node("Mul", x, self.constant(0.0)) if not parts else ""
            rows = self.node("ReduceSum", nothing, self.constant([1])) if not parts else ""
            parts += [*([rows] if rows else []), self.constant(stage.bias)]
        total = parts[0]
        for part in parts[1:]:
            total = self.node("Add", total, part)
        return self.node("Identity", total) if total == x else total

    def normalized(self, x: str, stage: Normalize) -> str:
        ones, zeros = np.ones(stage.out_features), np.zeros(stage.out_features)
        scale, bias = self.constant(ones), self.constant(zeros)
        return self.node("LayerNormalization", x, scale, bias, epsilon=stage.epsilon)

    def products(self, x: str, stage: Multiply, width: int) -> str:
        longest = max(map(len, stage.groups))
        if any(len(group) < longest for group in stage.groups):  # one more factor is 1
            x = self.node("Pad", x, self.constant([0, 0, 0, 1]), self.constant(1.0))
        factors = [[*group, *[width] * (longest - len(group))] for group in stage.groups]
        each = [self.node("Gather", x, self.constant(list(column)), axis=1)
                for column in zip(*factors, strict=True)]  # fmt: skip
        total = each[0]
        for factor in each[1:]:
            total = self.node("Mul", total, factor)
        return self.node("Add", total, self.constant(stage.bias)) if stage.bias.any() else total

    def _term(self, x: str, term: Combination | Splines | Edges, width: int, out: int) -> str:
        if isinstance(term, Edges):
            return self._edges(x, term, width, out)
        count = term.weights.shape[1]
        if isinstance(term, Splines):
            functions = self._splines(x, term)
        elif count == 1:
            (functions,) = self.expressions(term.functions, x)
        else:
            each = [self._apart(f) for f in self.expressions(term.functions, x)]
            functions = self.node("Concat", *each, axis=2)
        if count > 1:
            functions = self.node("Reshape", functions, self.constant([-1, width * count]))
        weights = self.constant(term.weights.reshape(width * count, out))
        return self.node("MatMul", functions, weights)

    def _edges(self, x: str, term: Edges, width: int, out: int) -> str:
        count = len(term.sources)
        if not np.array_equal(term.sources, np.arange(width)):
            x = self.node("Gather", x, self.constant(term.sources), axis=1)
        (values,) = self.expressions([term.function], x, term.parameters.T)
        if np.array_equal(term.targets, np.arange(out)):
            return values
        if count == width * out and np.array_equal(term.targets, np.arange(count) % out):
            values = self.node("Reshape", values, self.constant([-1, width, out]))
            return self.node("ReduceSum", values, self.constant([1]), keepdims=0)
        return self.node("MatMul", values, self.constant(np.eye(out)[term.targets]))

    def expressions(
        self, functions: Sequence[Expression], x: str, parameters: Sequence[Any] | np.ndarray = ()
    ) -> list[str]:
        """The values of `functions` at `x`, all of its shape."""
        found: dict[Expression, str] = {}
        for node in in_order(functions):
            operands = [found[o] for o in node.operands]
            match node.op:
                case "x":
                    found[node] = x
                case "constant":
                    found[node] = self.constant(node.value)
                case "parameter":
                    column = np.asarray(parameters[int(node.value)])
                    same = (column == column[0]).all()
                    found[node] = self.constant(column[0] if same else column)
                case "sin" | "cos":
                    found[node] = self._wave("Sin" if node.op == "sin" else "Cos", *operands)
                case op:
                    found[node] = self.node(OPERATORS[op], *operands)
        constants = {node for node in found if not _depends_on_x(node)}
        zero = self.node("Mul", x, self.constant(0.0)) if constants & set(functions) else ""
        return [self.node("Add", zero, found[f]) if f in constants else found[f] for f in functions]

    def _wave(self, operator: str, angle: str) -> str:
        """The sine or cosine of the angle less its nearest multiple of pi, rounded as the networks
        round it: other reductions differ by more than 1e-5 for angles of some hundreds."""
        turns = self.node("Mul", angle, self.constant(1 / np.pi))
        nearest = self.node("Floor", self.node("Add", turns, self.constant(0.5)))
        half = self.node("Floor", self.node("Mul", nearest, self.constant(0.5)))
        odd = self.node("Sub", nearest, self.node("Add", half, half))
        sign = self.node("Sub", self.constant(1.0), self.node("Add", odd, odd))
        rest = self.node("Mul", self.node("Sub", turns, nearest), self.constant(np.pi))
        return self.node("Mul", sign, self.node(operator, rest))

    def _splines(self, x: str, term: Splines) -> str:
        """All functions `[points, in, functions]` by the recursion of Cox and de Boor."""
        if term.knots is None:
            # In cells from the left end of the first one.
            if term.center:
                x = self.node("Sub", x, self.constant(term.center))
            x = self.node("Mul", x, self.constant(1 / term.spacing))
            knots = (np.arange(term.cells + 1) - term.first - term.phase)[None]
        else:
            knots = term.knots
        x, ends = self._apart(x), self.constant(knots[None])
        last = knots[:, -1:]
        # 1 from each knot on, but for the last one only beyond it.
        beyond = self.node("Greater", x, ends)
        reached = self.node("And", self.node("GreaterOrEqual", x, ends),
                            self._condition(knots < last))  # fmt: skip
        steps = self.node("Cast", self.node("Or", beyond, reached), to=1)
        values = self.node("Sub", self._slice(steps, 0, -1), self._slice(steps, 1, None))
        low, high = self.constant(knots[None, :, :1]), self.constant(knots[None, :, -1:])
        at = self.node("Min", self.node("Max", x, low), high)
        for p in range(1, term.order + 1):
            rising = _reciprocal(knots[:, p:-1] - knots[:, : -p - 1])
            falling = _reciprocal(knots[:, p + 1 :] - knots[:, 1:-p])
            from_left = self.node("Sub", at, self.constant(knots[None, :, : -p - 1]))
            from_right = self.node("Sub", self.constant(knots[None, :, p + 1 :]), at)
            left = self.node("Mul", from_left, self.constant(rising[None]))
            right = self.node("Mul", from_right, self.constant(falling[None]))
            left = self.node("Mul", left, self._slice(values, 0, -1))
            right = self.node("Mul", right, self._slice(values, 1, None))
            values = self.node("Add", left, right)
        return values

    def _condition(self, values: np.ndarray) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(self.onnx.numpy_helper.from_array(values[None], name))
        return name

    def _slice(self, values: str, start: int, stop: int | None) -> str:
        """Along the last axis."""
        end = np.iinfo(np.int64).max if stop is None else stop
        bounds = [self.constant([bound]) for bound in (start, end, 2)]
        return self.node("Slice", values, *bounds)

    def _apart(self, values: str) -> str:
        """With an axis for functions."""
        return self.node("Unsqueeze", values, self.constant([2]))


def _depends_on_x(expression: Expression) -> bool:
    return any(node.op == "x" for node in in_order([expression]))


def _reciprocal(width: np.ndarray) -> np.ndarray:
    return np.where(width > 0, 1 / np.where(width > 0, width, 1), 0)

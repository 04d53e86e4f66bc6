"""Formulas as tasks: written as text, with SciPy's special functions, drawn at random points."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tinykan.errors import UserError, check_domain, check_integer, need
from tinykan.tasks.boxes import to_box
from tinykan.tasks.sampling import batches
from tinykan.tasks.task import Prediction, Task
from tinykan.training import Sampler

OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
WITH_INVERSES = ("sin", "cos", "tan", "sinh", "cosh", "tanh")
FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: getattr(np, name) for name in ("exp", "log", "sqrt", "abs", *WITH_INVERSES)},
    **{f"a{name}": getattr(np, f"arc{name}") for name in WITH_INVERSES},
}
CONSTANTS = {"pi": np.pi}
DERIVATIVES = ("jvp", "yvp", "kvp", "ivp")  # of Bessel functions: no ufuncs, as the others are


class Formula:
    """An expression of Python's operators, `pi`, FUNCTIONS, and functions of `scipy.special` by
    their names there, as a function of its `variables`, which are in alphabetical order. Nothing
    else in the text is executed: a UserError."""

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            self._tree = ast.parse(text.strip(), mode="eval").body
        except (AttributeError, SyntaxError, TypeError, ValueError):
            raise UserError(
                f"formula {text!r}: an expression such as 'exp(x1) + x2**2' is needed"
            ) from None
        called = {id(node.func) for node in ast.walk(self._tree) if isinstance(node, ast.Call)}
        names = (node for node in ast.walk(self._tree) if isinstance(node, ast.Name))
        found = {node.id for node in names if id(node) not in called} - CONSTANTS.keys()
        self.variables = sorted(found)
        if not found:
            raise UserError(f"formula {text!r} has no variables")
        self({name: np.ones(1) for name in found})  # what is not allowed is found here

    def __call__(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """Its value for an array of each variable, in float64; not finite where it has none."""
        with np.errstate(all="ignore"):
            return np.asarray(self._value(self._tree, {**CONSTANTS, **values}), dtype=np.float64)

    def _value(self, node: ast.expr, values: Mapping[str, Any]) -> Any:
        match node:
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                return float(number)
            case ast.Name(id=name) if name in values:
                return values[name]
            case ast.UnaryOp(op=op, operand=inner) if type(op) in OPERATORS:
                return OPERATORS[type(op)](self._value(inner, values))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
                return OPERATORS[type(op)](self._value(left, values), self._value(right, values))
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                function = self._function(name)
                try:
                    return function(*(self._value(each, values) for each in arguments))
                except UserError:
                    raise
                except (TypeError, ValueError):
                    count = len(arguments)
                    raise UserError(
                        f"formula {self.text!r}: {name} does not take {count} arguments"
                    ) from None
        raise UserError(
            f"formula {self.text!r}: {ast.unparse(node)!r} is not allowed; an expression such as "
            "'exp(x1) + x2**2' is needed"
        )

    def _function(self, name: str) -> Callable[..., Any]:
        if name in FUNCTIONS:
            return FUNCTIONS[name]
        special = need("scipy.special", extra="lbfgs", purpose=f"the function {name}")
        function: Any = getattr(special, name, None)
        if isinstance(function, np.ufunc) or name in DERIVATIVES:
            return function
        raise UserError(
            f"formula {self.text!r}: unknown function {name!r}; choose from "
            f"{', '.join(FUNCTIONS)}, or of scipy.special"
        )


@dataclass(frozen=True)
class FormulaTask(Task):
    """A formula of some variables, in alphabetical order, each in a `domain`: one for all, or one
    for each. It is trained on `points` random points, and scored on `tested` others; `seed` draws
    both. Networks see the domain scaled to [-1, 1].

    `FormulaTask("exp(j0(20*x) + y**2)", domain=((-1, 1), (0, 2)))`: see `Formula` for what it may
    have. Raises UserError for others, and where it is not finite on the points.
    """

    formula: str
    domain: tuple[Any, ...] = (-1.0, 1.0)
    points: int = 1000
    tested: int = 1000
    seed: int = 0
    out_features = 1
    score = "rmse"
    encoding = "none"

    def __post_init__(self) -> None:
        check_integer("points", self.points, 1)
        check_integer("tested", self.tested, 1)
        check_integer("seed", self.seed, 0)
        if not isinstance(self.domain, tuple | list):
            check_domain(self.domain)
        for each in self.domains:
            check_domain(each)
        if not all(np.isfinite(values).all() for values in self.data):
            raise UserError(f"formula {self.formula!r} is not finite everywhere on {self.domain}")

    @cached_property
    def function(self) -> Formula:
        return Formula(self.formula)

    @property
    def domains(self) -> list[tuple[float, float]]:
        """The domain of each variable."""
        single = not any(isinstance(each, tuple | list) for each in self.domain)
        found = [self.domain] * self.in_features if single else list(self.domain)
        if len(found) != self.in_features:
            raise UserError(
                f"domain {self.domain}: one pair is needed, or one for each of "
                f"{', '.join(self.function.variables)}"
            )
        return found

    @property
    def in_features(self) -> int:  # type: ignore[override]
        return len(self.function.variables)

    @cached_property
    def data(self) -> list[np.ndarray]:
        """Inputs in [-1, 1] and targets, to train on and to test with."""
        rng = np.random.default_rng(self.seed)
        found = []
        for count in (self.points, self.tested):
            # Such as float32 has, for their targets to be those of what a network sees.
            unit = rng.uniform(-1, 1, (count, self.in_features)).astype(np.float32)
            found += [unit, self.evaluate(unit)[:, None]]
        return found

    def evaluate(self, unit: np.ndarray) -> np.ndarray:
        """The formula for inputs `[n, in_features]` in [-1, 1]: `[n]`."""
        x = to_box(unit.astype(np.float64), self.domains)
        values = self.function(dict(zip(self.function.variables, x.T, strict=True)))
        return np.broadcast_to(values, len(unit))

    @property
    def target(self) -> np.ndarray:
        """`[n]`, at the points it is tested with."""
        return self.data[3][:, 0]

    def sampler(self, batch: int, seed: int) -> Sampler:
        inputs, targets, *_ = self.data
        return batches(inputs, targets, batch, seed)

    def fitted(self, predict: Prediction) -> np.ndarray:
        return predict(self.data[2])[:, 0].astype(float)

    def scores(self, fitted: np.ndarray) -> dict[str, float]:
        error = fitted - self.target
        return {
            "rmse": float(np.mean(error**2)) ** 0.5,
            "mean_error": float(np.abs(error).mean()),
            "max_error": float(np.abs(error).max()),
        }

"""Functions of the user's own in the symbolic library (needs SymPy, of the `interpret` extra)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.polynomial import chebyshev
from tinygrad import Tensor

from tinykan.activations import Activation, bounded, cosine, exponential
from tinykan.errors import UserError, check_domain, check_integer, need
from tinykan.interpret.library import LIBRARY, SymbolicFunction
from tinykan.interpret.rounding import evaluated

if TYPE_CHECKING:
    import sympy
else:
    sympy = need("sympy", extra="interpret", purpose="adding functions")

BUILT_IN = frozenset(LIBRARY)
X = sympy.Symbol("x")
# SymPy's functions on tensors: those of the library, and a few more.
FORMS: dict[str, Any] = {
    function.sympy.removesuffix("(x)"): getattr(function.tensor, "value", None)
    for function in LIBRARY.values()
    if function.sympy.endswith("(x)") and function.sympy.count("(") == 1
} | {
    "cos": cosine,
    "sinh": lambda x: (exponential(x) - exponential(-x)) / 2,
    "cosh": lambda x: (exponential(x) + exponential(-x)) / 2,
    "sign": lambda x: x.sign(),
    "erf": lambda x: x.erf(),
}
POINTS = 121  # at which the forms of a function are compared
AGREE = 1e-3  # of tensors in float32, relative to the largest value; of NumPy and SymPy 1e-6
DEGREES = (15, 31, 63, 127, 255)  # of polynomials on an interval
ACCURATE = 1e-9  # their error, relative to the largest value


def add_function(
    name: str,
    numpy: Callable[[np.ndarray], np.ndarray],
    sympy: Any,
    *,
    tensor: Callable[[Tensor], Tensor] | None = None,
    interval: tuple[float, float] | None = None,
    complexity: int = 4,
) -> None:
    """Adds a function of one variable to LIBRARY: from then on it has a `name` for `fix_symbolic`,
    and `auto_symbolic`, `suggest_symbolic` and `recover` try it, in c f(a x + b) + d.

    `numpy` computes it on arrays `[n]`, as NaN where it is not defined, and `sympy`, a text in x or
    an expression, writes it. Its form on tensors follows from that where it consists of arithmetic
    and the functions in FORMS. Others, such as Bessel functions, need an `interval` (low, high), on
    which a polynomial in Chebyshev's form approximates `numpy` to 1e-9 of its largest value, and
    beyond which it is constant on tensors; or `tensor`, which computes and differentiates it. The
    higher the `complexity` (of sin: 3), the better a fit must be to be preferred.

    Files of networks with the function are loaded after it has been added under the same name.

    Raises UserError for a name of tinykan's own, a text that is no expression in x, forms that
    differ, and a function that no polynomial approximates.

    >>> add_function("sinc", lambda x: np.sinc(x / np.pi), "sin(x)/x")
    >>> LIBRARY.pop("sinc").complexity  # and takes it away again
    4
    """
    if not isinstance(name, str) or not name or name in BUILT_IN:
        raise UserError(f"name {name!r}: a name that tinykan's library does not have is needed")
    check_integer("complexity", complexity, 1)
    expression = _expression(name, sympy)
    if interval is not None:
        check_domain(interval)
    x = np.linspace(*(interval or (-3.0, 3.0)), POINTS)
    values = _values(name, numpy, x)
    _compare(name, "sympy", evaluated(expression, ["x"], x[:, None]), x, values, 1e-6)
    if tensor is None:
        form = (
            _of_expression(expression) if interval is None else _polynomial(name, numpy, interval)
        )
        if form is None:
            raise UserError(
                f"{name}: {expression} has no form on tensors, where it may consist of arithmetic, "
                f"{', '.join(FORMS)}; give tensor=, or an interval= for a polynomial"
            )
        tensor = form
    _compare(name, "tensor", _on_tensors(name, tensor, x), x, values, AGREE)
    text, simplest = str(expression), lambda a, b: (a, b, 1.0, 0.0)
    LIBRARY[name] = SymbolicFunction(tensor, numpy, text, complexity, "any", simplest)


def _expression(name: str, given: Any) -> sympy.Expr:
    try:
        expression = sympy.sympify(given, locals={"x": X})
    except Exception:  # the parser raises errors of many kinds
        expression = None
    if not isinstance(expression, sympy.Expr) or expression.free_symbols != {X}:
        raise UserError(f"{name}: {given!r} is no expression in x, such as 'sin(x)/x'")
    return expression


def _values(name: str, function: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        values = np.asarray(function(x))
    if values.shape != x.shape or values.dtype.kind != "f":
        raise UserError(f"{name}: numpy gives {values.dtype} {values.shape} for {x.shape}")
    if np.isfinite(values).sum() < POINTS // 8:
        raise UserError(f"{name} is hardly defined from {x[0]:g} to {x[-1]:g}: give an interval=")
    return values


def _compare(
    name: str, form: str, found: np.ndarray, x: np.ndarray, values: np.ndarray, tolerance: float
) -> None:
    both = np.isfinite(found) & np.isfinite(values)
    far = np.abs(found - values) > tolerance * np.maximum(1e-9, np.abs(values))
    wrong = np.flatnonzero(both & far & (np.abs(found - values) > tolerance * _size(values)))
    if not both.any() or wrong.size:
        at = int(wrong[0]) if wrong.size else 0
        raise UserError(
            f"{name}: numpy is {values[at]:.6g} and {form} {found[at]:.6g} at x = {x[at]:.6g}"
        )


def _size(values: np.ndarray) -> float:
    return float(np.abs(values[np.isfinite(values)]).max())


def _on_tensors(name: str, form: Callable[[Tensor], Tensor], x: np.ndarray) -> np.ndarray:
    try:
        found = form(Tensor(x.astype(np.float32)))
        return found.numpy().astype(np.float64)
    except Exception as error:  # of a function that is not ours
        raise UserError(f"{name}: tensor fails ({' '.join(str(error).split())[:100]})") from None


def _of_expression(expression: sympy.Expr) -> Activation | None:
    """Its form on tensors, or None if it has functions that these have not."""
    made = []
    for part in (expression, sympy.diff(expression, X)):
        plain = part.replace(lambda e: e.is_number and not e.is_Rational, lambda e: e.evalf(17))
        heads = {type(f).__name__ for f in plain.atoms(sympy.Function)}
        if heads - FORMS.keys() or plain.has(sympy.Derivative, sympy.I):
            return None
        function = sympy.lambdify(X, plain, modules=[FORMS])
        made.append(partial(_filled, function))
    return Activation(*made)


def _filled(function: Callable[[Any], Any], x: Any) -> Any:
    """`function(x)`, which is a number where it does not depend on x."""
    return 0.0 * x + function(x)


def _polynomial(
    name: str, function: Callable[[np.ndarray], np.ndarray], interval: tuple[float, float]
) -> Activation:
    """A polynomial in Chebyshev's form that approximates it on the interval."""
    low, high = interval
    middle, half = (low + high) / 2, (high - low) / 2
    points = np.linspace(low, high, 2003)
    wanted = function(points)
    for degree in DEGREES:
        found = chebyshev.Chebyshev.interpolate(function, degree, domain=list(interval))
        with np.errstate(all="ignore"):
            far = np.abs(found(points) - wanted).max()
        if far <= ACCURATE * _size(wanted):
            break
    else:
        raise UserError(f"{name}: no polynomial of degree {degree} approximates it on {interval}")
    value, slope = found.coef, found.deriv().coef

    def inside(x: Any) -> Any:
        return bounded((x - middle) / half, 1.0)

    return Activation(
        lambda x: _clenshaw(value, inside(x)),
        lambda x: ((x < low) | (x > high)).where(0.0, _clenshaw(slope, inside(x))),
    )


def _clenshaw(coefficients: np.ndarray, z: Any) -> Any:
    """sum_k coefficients[k] T_k(z)."""
    after, last = 0.0 * z, 0.0 * z
    for value in coefficients[:0:-1].tolist():
        after, last = value + 2 * z * after - last, after
    return float(coefficients[0]) + z * after - last

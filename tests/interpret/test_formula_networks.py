"""Networks made from formulas compute them, and give them back."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import some
from tinykan import Predictor, UserError, load, save
from tinykan.interpret import LIBRARY
from tinykan.interpret.formula_networks import from_formula
from tinykan.interpret.formulas import formula
from tinykan.interpret.own_functions import add_function

X = np.random.default_rng(0).uniform(0.2, 1.5, (80, 3))
WIDTHS = {
    "exp(sin(pi*x1) + x2**2)": [2, 1, 1],
    "x1": [1, 1],
    "x1*x2": [2, 2, 1],
    "3*x1*x2 + 2": [2, 2, 1],
    "x1/x2": [2, 2, 1],
    "sqrt(x1**2 + x2**2 + x3**2)": [3, 1, 1],
    "1/(1/x1 + 1/x2)": [2, 1, 1],
    "2**x1": [1, 1],
    "x1*x2*(x1 + x2)*(x1 - x2)": [2, 4, 1],
    "x1**1.5": [1, 1, 1],
    "x1 + 0*x2 + x3": [3, 1],
}
OTHERS = [
    "sin(x1) + x1**2 + x1",
    "(x1 + x2)/(x1 - 3*x3)",
    "x1**5 - x1**7*x2 + x2**6",
    "x1**(-3) + x2**(-5/2)",
    "x1**0.3 + x2**(-0.7)",
    "x1**x2",
    "cosh(x1)*cos(5*x2)*exp(-x3) - sinh(x2)",
    "tanh(atanh(x1/2) + atanh(x2/3))",
    "x1**2*x2 + x1**2 + 1/(1 + exp(-x3))",
    "acos(x1/2) + asin(x2/2) + atan(x3) + asinh(x1) + acosh(x2 + 1)",
    "1/cos(x1/2) + 1/sin(x2) + cot(x3) + coth(x1)",
    "log(x1*x2*x3) + tan(x1/2)",
    "x1*(x2 + sin(x3)) + x1*x2 + Abs(x1 - x2)",
    "exp(-x1**2/2)/sqrt(2*pi)",
]


def values(expression, names: list[str], x: np.ndarray) -> np.ndarray:
    function = sympy.lambdify(sympy.symbols(names), expression, ["scipy", "numpy"])
    return np.broadcast_to(function(*x.T), len(x))


@pytest.mark.parametrize(
    "text",
    some(
        [*WIDTHS, *OTHERS],
        "exp(sin(pi*x1) + x2**2), x1, 1/(1/x1 + 1/x2), x1*x2*(x1 + x2)*(x1 - x2), x1**x2, "
        "x1**0.3 + x2**(-0.7), log(x1*x2*x3) + tan(x1/2), x1*(x2 + sin(x3)) + x1*x2 + Abs(x1 - x2)",
    ),
)
def test_a_network_computes_its_formula(text):
    model = from_formula(text)
    names = [f"x{n + 1}" for n in range(model.in_features)]
    x = X[:, : len(names)]
    wanted = values(sympy.sympify(text), names, x)
    # Of float32: some ten roundings of values that cancel by less than a digit.
    size = np.abs(wanted).max()
    np.testing.assert_allclose(Predictor(model)(x)[:, 0], wanted, rtol=0, atol=5e-6 * size)
    # Constants are in float32.
    (found,) = formula(model)
    np.testing.assert_allclose(values(found, names, x), wanted, rtol=0, atol=5e-6 * size)
    if text in WIDTHS:
        assert model.widths == WIDTHS[text]


LEAVES = st.sampled_from(["x1", "x2", "x3", "2", "0.5"])
EXPRESSIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(st.sampled_from(["sin", "cos", "tanh", "atan"]), inner).map(
            lambda t: f"{t[0]}({t[1]})"
        ),
        inner.map(lambda t: f"({t})**2"),
    ),
    max_leaves=8,
)


@given(EXPRESSIONS)
@settings(max_examples=settings.default.max_examples // 2)
def test_any_expression_gives_itself_back(text):
    expression = sympy.sympify(text)
    if not expression.free_symbols:
        return
    model = from_formula(text, input_names=["x1", "x2", "x3"])
    (found,) = formula(model)
    wanted = values(expression, ["x1", "x2", "x3"], X)
    size = max(1.0, np.abs(wanted).max())
    np.testing.assert_allclose(values(found, ["x1", "x2", "x3"], X), wanted, atol=1e-5 * size)


def test_outputs_share_what_they_need_and_pass_layers():
    model = from_formula(["x1*x2", "sin(x1*x2)", "x3", "7"], input_names=["x1", "x2", "x3"])
    assert model.widths == [3, 4, 3, 4]  # the product and x3, of which the last one needs neither
    product = X[:, 0] * X[:, 1]
    wanted = np.stack([product, np.sin(product), X[:, 2], np.full(80, 7.0)], axis=1)
    np.testing.assert_allclose(Predictor(model)(X), wanted, rtol=1e-6)


def test_names_and_expressions_of_ones_own(tmp_path):
    mass, velocity = sympy.symbols("mass velocity")
    model = from_formula(mass * velocity**2 / 2, input_names=["mass", "velocity"])
    (found,) = formula(model, input_names=["mass", "velocity"])
    assert sympy.nsimplify(found) == mass * velocity**2 / 2
    save(model, tmp_path / "energy.safetensors")
    again = Predictor(load(tmp_path / "energy.safetensors"))(X[:, :2])
    np.testing.assert_array_equal(again, Predictor(model)(X[:, :2]))


def test_functions_of_ones_own_are_known():
    add_function("J0", scipy.special.j0, "besselj(0, x)", interval=(-9, 9))
    try:
        model = from_formula("besselj(0, 2*x1) + x2")
    finally:
        del LIBRARY["J0"]
    assert model.layers[0].functions[1][2] == "J0" and model.widths == [2, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sin(x", "formula 'sin(x': an expression such as"),
        ("", "formula '': an expression"),
        (None, "formula None: an expression"),
        ("x1 = 3", "an expression such as"),
        ("x1 < 3", "an expression such as"),
        ("y + x1", "a formula of y: inputs are x1, x2, ..., or those of input_names="),
        ("5", "a formula of no variables"),
        ([], "a formula of no variables"),
        ("gamma(x1)", "gamma(x1) has no function that the symbolic library has; see add_function"),
        ("I*x1", "I in the formula is not a finite real number"),
        ("x1/0", "zoo in the formula is not a finite real number"),
        ("oo*x1", "oo in the formula is not a finite real number"),
        ("x1 + 10**400", "in the formula is not a finite real number"),
    ],
)
def test_what_is_no_formula_is_one_line(text, message):
    with pytest.raises(UserError) as error:
        from_formula(text)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_names_that_do_not_fit_are_one_line():
    with pytest.raises(UserError, match="a formula of x3"):
        from_formula("x1 + x3", input_names=["x1", "x2"])
    with pytest.raises(UserError, match="input name 'a b'"):
        from_formula("x1", input_names=["a b"])

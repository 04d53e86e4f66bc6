"""Networks with symbolic edges, and the formulas that they compute."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest
import sympy
from tinygrad import Tensor

from tests.helpers import some
from tests.interpret.helpers import exponential_network, named_network, points, spline_network
from tinykan import (
    KAN,
    BSpline,
    EdgeTanh,
    KANLayer,
    Linear,
    Network,
    Sines,
    UserError,
    parameter_count,
)
from tinykan.interpret.formulas import formula
from tinykan.interpret.library import LIBRARY
from tinykan.interpret.rounding import rounded
from tinykan.interpret.symbolic import SymbolicLayer
from tinykan.interpret.symbolification import (
    auto_symbolic,
    fix_symbolic,
    straightened,
    suggest_symbolic,
)
from tinykan.tensors import learnable


def product_network() -> Network:
    """x1 x2 = ((x1 + x2)^2 - (x1 - x2)^2) / 4."""
    first = [[lambda x: x, lambda x: x], [lambda x: x, lambda x: -x]]
    second = [[lambda x: x**2 / 4], [lambda x: -(x**2) / 4]]
    return spline_network([first, second], [(-1, 1), (-2.1, 2.1)])


def evaluated(expression: sympy.Expr, x: np.ndarray) -> np.ndarray:
    return sympy.lambdify(sympy.symbols("x1 x2"), expression, "numpy")(*x.T)


def test_the_formula_of_the_papers_first_example():
    x, model = points(), exponential_network()
    symbolic, chosen = auto_symbolic(model, x)
    assert [(c.layer, c.i, c.o, c.best.name) for c in chosen] == [
        (0, 0, 0, "sin"),
        (0, 1, 0, "x^2"),
        (1, 0, 0, "exp"),
    ]
    assert all(c.fixed and c.best.r2 > 1 - 1e-6 for c in chosen)
    target = np.exp(np.sin(np.pi * x[:, 0]) + x[:, 1] ** 2)
    (expression,) = formula(symbolic)
    assert np.abs(evaluated(expression, x) - target).max() < 1e-3
    network = symbolic(Tensor(x.astype(np.float32))).numpy()[:, 0]
    np.testing.assert_allclose(network, evaluated(expression, x), rtol=2e-5, atol=2e-5)
    x1, x2 = sympy.symbols("x1 x2")
    (text,) = formula(symbolic, digits=3)
    assert sympy.simplify(text / sympy.exp(sympy.sin(sympy.pi * x1) + x2**2)) == 1


def test_the_formula_of_a_product():
    symbolic, chosen = auto_symbolic(product_network(), points())
    assert [c.best.name for c in chosen] == ["x"] * 4 + ["x^2"] * 2
    a, b = sympy.symbols("a b")
    (expression,) = formula(symbolic, input_names=["a", "b"])
    assert rounded(sympy.expand(expression), 4) == a * b


def test_a_parabola_far_from_its_vertex_is_a_line():
    model, x = spline_network([[[np.sin], [np.cos]]], [(-1, 1)]), points()
    for i, affine in enumerate([(0.1, 20.0, 0.2, -80.0), (1.0, 0.3, 2.0, 0.0)]):
        model = fix_symbolic(model, 0, i, 0, "x^2", affine)
    straight = straightened(model, x)
    assert sorted(straight.layers[0].functions) == [(0, 0, "x"), (1, 0, "x^2")]
    given_x = Tensor(x.astype(np.float32))
    np.testing.assert_allclose(straight(given_x).numpy(), model(given_x).numpy(), atol=2e-3)
    assert straightened(straight, x).layers[0].functions == straight.layers[0].functions


def test_what_is_not_good_enough_stays_as_it_is():
    x = points()
    wild = spline_network(
        [[[lambda x: np.sin(6 * x) + np.abs(x - 0.2)], [lambda x: x**2]]], [(-1, 1)]
    )
    symbolic, chosen = auto_symbolic(wild, x, minimum_r2=0.99)
    assert [(c.best.name, c.fixed) for c in chosen][1] == ("x^2", True)
    assert not chosen[0].fixed
    given_x = Tensor(x.astype(np.float32))
    edges = symbolic.layers[0].edges(given_x).numpy(), wild.layers[0].edges(given_x).numpy()
    np.testing.assert_allclose(*edges, atol=1e-4)
    with pytest.raises(UserError, match="edge 0 -> 0 of layer 0 is not symbolic"):
        formula(symbolic)
    again, chosen = auto_symbolic(symbolic, x)
    assert [(c.i, c.best.name) for c in chosen] == [(0, "sin")]
    assert sorted(again.layers[0].functions) == [(0, 0, "sin"), (1, 0, "x^2")]


def test_masked_and_zero_edges_are_left_out():
    model = spline_network([[[np.exp, None], [None, lambda x: 0 * x]]], [(-1, 1)])
    symbolic, chosen = auto_symbolic(model, points())
    assert [(c.i, c.o, c.best.name) for c in chosen] == [(0, 0, "exp")]
    # Of the splines, of weight 0, none is left to be trained.
    assert isinstance(symbolic.layers[0].on_basis.basis, Linear)
    text = formula(symbolic, digits=3)
    assert text == [sympy.exp(sympy.Symbol("x1")), 0]
    with pytest.raises(UserError, match="edge 0 -> 1 of layer 0 is not there"):
        suggest_symbolic(model, points(), 0, 0, 1)


@pytest.mark.parametrize("name", some(LIBRARY, "x, x^2, 1/x, sqrt, exp, log, abs, tanh, gaussian"))
def test_the_formula_computes_what_the_network_does(name):
    """With numbers that can be simplified, and a bias."""
    inside = {"tan": (-0.6, 0.5), "arctanh": (-0.5, 0.4)}  # of the domain, for x from -1 to 1
    affine = (*inside.get(name, (-1.7, 2.4)), 0.8, -0.3)
    model = KAN([1, 1], BSpline(3))
    model.layers[0].bias = Tensor([0.6])
    symbolic = fix_symbolic(model, 0, 0, 0, name, affine)
    x = np.linspace(-1, 1, 21)
    expression = formula(symbolic)[0] + 0 * sympy.Symbol("x1")
    network = symbolic(Tensor(x[:, None].astype(np.float32))).numpy()[:, 0]
    values = sympy.lambdify(sympy.Symbol("x1"), expression, "numpy")(x) * np.ones_like(x)
    np.testing.assert_allclose(network, values, rtol=2e-5, atol=1e-5)


def test_layers_are_fixed_for_what_fixed_ones_give():
    x, model = points(), exponential_network()
    _, chosen = auto_symbolic(model, x, library=["x"])
    partly = model
    for c in chosen[:2]:
        partly = fix_symbolic(partly, c.layer, c.i, c.o, "x", c.best.affine)
    (best,), (other,) = (suggest_symbolic(m, x, 1, 0, 0, library=["x"]) for m in (partly, model))
    np.testing.assert_allclose(chosen[2].best.affine, best.affine, rtol=1e-4)
    assert not np.allclose(other.affine, best.affine, rtol=1e-2)


def test_suggestions_see_the_inputs_of_the_edge():
    model = exponential_network()
    found = suggest_symbolic(model, points(), 1, 0, 0, top=3)
    assert len(found) == 3 and found[0].name == "exp"
    np.testing.assert_allclose(found[0].affine, [1, 0, 1, 0], atol=1e-3)
    few = suggest_symbolic(model, points(), 1, 0, 0, library=["x", "x^2"])
    assert {c.name for c in few} == {"x", "x^2"}


def test_one_edge_is_fixed_and_the_rest_is_as_before():
    model = KAN([2, 3, 1], BSpline(4), seed=1)
    x = points(50).astype(np.float32)
    fixed = fix_symbolic(model, 0, 1, 2, "tanh", (2.0, 0.5, -1.0, 0.25))
    before, after = (m.layers[0].edges(Tensor(x)).numpy() for m in (model, fixed))
    np.testing.assert_allclose(after[:, 0], before[:, 0], atol=1e-6)
    np.testing.assert_allclose(after[:, 1, :2], before[:, 1, :2], atol=1e-6)
    expected = 0.25 - np.tanh(2 * x[:, 1] + 0.5)
    np.testing.assert_allclose(after[:, 1, 2], expected, atol=1e-6)
    sums = fixed.layers[0].edges(Tensor(x)).sum(-2).numpy()
    np.testing.assert_allclose(fixed.layers[0](Tensor(x)).numpy(), sums, atol=1e-6)
    batch = Tensor(x.reshape(5, 10, 2))
    np.testing.assert_allclose(fixed.layers[0](batch).numpy().reshape(50, 3), sums, atol=1e-6)
    own = {id(t) for t in learnable(model)}
    assert not own & {id(t) for t in learnable(fixed)}
    assert parameter_count(fixed) == parameter_count(model) + 4


def test_rounding_writes_whole_numbers_and_multiples_of_pi():
    x = sympy.Symbol("x")
    expression = 2.00001 * sympy.sin(3.14159 * x + 1.5708) - 4.71234 * x + 0.00001 + 1.23456 * x**2
    half = sympy.Rational(1, 2)
    expected = 2 * sympy.cos(sympy.pi * x) - 3 * sympy.pi * half * x + sympy.Float("1.23") * x**2
    assert rounded(expression, 3) == expected
    assert rounded(sympy.Float(3.1), 2) == sympy.Float("3.1")
    assert rounded(0.00040003 * x**2, 3) == sympy.Float("0.0004") * x**2  # digits, not decimals
    large = rounded(1e6 * x + 0.7, 3, ["x"], np.array([[1e-6], [2e-6]]))
    assert large == 1000000 * x + sympy.Float("0.7")  # both terms count where x is small


@pytest.mark.parametrize("activation", some(["tanh", "relu", "silu", "sine", "sine30"], "sine30"))
def test_activations_are_in_the_formula(activation):
    x, symbolic = points(40), named_network()
    symbolic.activation = activation
    values = symbolic(Tensor(x.astype(np.float32))).numpy()[:, 0]
    # The sine of 30 x amplifies the rounding of x thirty times.
    np.testing.assert_allclose(evaluated(formula(symbolic)[0], x), values, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [
        ("candidates", "scipy.optimize", "interpret"),
        ("formulas", "sympy", "interpret"),
        ("diagram", "matplotlib.collections", "demo"),
    ],
)
def test_a_missing_package_is_one_line(monkeypatch, module, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"tinykan.interpret.{module}", raising=False)
    name = package.partition(".")[0]
    with pytest.raises(UserError, match=rf"needs {name};.* pip install {name} .*'{extra}'"):
        importlib.import_module(f"tinykan.interpret.{module}")


ONE_EDGE = lambda: fix_symbolic(KAN([1, 1]), 0, 0, 0, "sin", (1.0, 0.0, 1.0, 0.0))  # noqa: E731


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fix_symbolic(KAN([1, 1]), 0, 0, 0, "cosh"), "unknown function 'cosh'; choose"),
        (lambda: fix_symbolic(KAN([1, 1]), 0, 0, 0, "sin"), r"give its affine parameters \(a, b"),
        (lambda: fix_symbolic(KAN([1, 1]), 0, 0, 0, "sin", (1.0, 2.0)), "four finite numbers"),
        (lambda: fix_symbolic(KAN([1, 1]), 1, 0, 0, "sin"), "layer 1 must be a whole number from"),
        (lambda: fix_symbolic(KAN([1, 1]), 0, 0, 3, "sin"), "output 3 must be a whole number from"),
        (
            lambda: fix_symbolic(KAN([1, 1]), 0, 0, 0, "sin", x=np.ones((9, 1))),
            "sin cannot be fitted to edge 0 -> 0 of layer 0 at 1 different inputs",
        ),
        (
            lambda: fix_symbolic(Network([EdgeTanh(1, 1)]), 0, 0, 0, "sin", (1.0, 0.0, 1.0, 0.0)),
            "only the edges of a KANLayer",
        ),
        (
            lambda: auto_symbolic(KAN([2, 1]), np.ones((9, 3))),
            r"samples of shape \(9, 3\): the last dimension must be 2",
        ),
        (lambda: suggest_symbolic(KAN([1, 1]), np.ones((0, 1)), 0, 0, 0), "samples of shape"),
        (
            lambda: suggest_symbolic(KAN([1, 1]), points()[:, :1], 0, 0, 0, library=["sin", "cos"]),
            "unknown function 'cos'; choose",
        ),
        (lambda: formula(KAN([1, 1])), "edge 0 -> 0 of layer 0 is not symbolic"),
        (lambda: formula(KAN([4, 1], encoding=Sines(2, 2))), "no formula of a network with Sines"),
        (lambda: formula(KAN([1, 1, 1], norm="layer")), "no formula of a network with 'norm layer"),
        (lambda: formula(KAN([1, 1], activation="gelu")), "unknown activation for a formula"),
        (lambda: formula(ONE_EDGE(), input_names=["a", "b"]), "1 different ones are needed"),
        (lambda: SymbolicLayer(KANLayer(1, 1), []), "0 functions and affine parameters of shape"),
        (lambda: SymbolicLayer(KANLayer(1, 1), [(0, 1, "x")]), "edge 0 -> 1: a layer of 1 inputs"),
        (lambda: SymbolicLayer(KANLayer(1, 1), [(0, 0, "x")] * 2), "one function for each"),
    ],
)
def test_errors_are_one_line(call, message):
    with pytest.raises(UserError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)

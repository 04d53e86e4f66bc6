"""Functions with a name on the edges of a network: found, trained, and written as formulas."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st
from tinygrad import Tensor

from tests.helpers import central_difference, double, needs_float64
from tinykan import (
    KAN,
    BSpline,
    EdgeTanhNetwork,
    KANLayer,
    Linear,
    Network,
    Sines,
    UserError,
    batches,
    fit,
    load,
    parameter_count,
    save,
)
from tinykan.interpret.attribution import attribution, edge_count, prune
from tinykan.interpret.candidates import candidates, fit_function
from tinykan.interpret.formulas import (
    auto_symbolic,
    fix_symbolic,
    formula,
    rounded,
    straightened,
    suggest_symbolic,
)
from tinykan.interpret.library import LIBRARY
from tinykan.interpret.symbolic import SymbolicLayer
from tinykan.layers import learnable

NAMES = [name for name in LIBRARY if name != "0"]
POSITIVE = ("sqrt", "log", "1/x", "1/x^2")  # here, where they are looked for


def arguments(name: str) -> np.ndarray:
    """Numbers of all sizes where the function is defined, poles apart."""
    x = np.linspace(-1.4, 1.4, 57)
    if name in ("sqrt", "log"):
        return np.geomspace(1e-3, 1e3, 50)
    if name in ("1/x", "1/x^2"):
        return np.concatenate([-np.geomspace(1e-3, 1e3, 30), np.geomspace(1e-3, 1e3, 30)])
    return x if name == "tan" else np.concatenate([x, 3 * x, 20 * x])


def inner(name: str, draw: st.DrawFn) -> tuple[float, float]:
    """a and b for x from -1 to 1 where the function differs from a line and has no pole."""
    number = lambda low, high: draw(st.floats(low, high))  # noqa: E731
    sign = draw(st.sampled_from([-1, 1]))
    if name in POSITIVE:
        size = number(0.2, 5)
        return sign * size * number(0.3, 0.97), size
    if name == "tan":
        return sign * number(0.5, 1.1), number(-0.3, 0.3)
    if name == "sin":
        return sign * number(0.5, 30), number(-3, 3)
    if name in ("tanh", "arctan", "gaussian"):
        a = number(0.8, 12)
        return sign * a, a * number(-0.7, 0.7)
    if name == "exp":
        return sign * number(0.3, 6), number(-1, 1)
    return sign * number(0.5, 3), number(-0.5, 0.5)


@st.composite
def curves(draw: st.DrawFn) -> tuple[str, np.ndarray, np.ndarray]:
    """A function of the library with affine numbers, sampled somewhere on the line."""
    name = draw(st.sampled_from(NAMES))
    a, b = inner(name, draw)
    middle, half = draw(st.floats(-5, 5)), draw(st.floats(0.05, 20))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    z = rng.uniform(-1, 1, 300)
    c, d = draw(st.sampled_from([-1, 1])) * draw(st.floats(0.01, 100)), draw(st.floats(-10, 10))
    return name, middle + half * z, c * LIBRARY[name].numpy(a * z + b) + d


@needs_float64
@pytest.mark.parametrize("name", LIBRARY)
def test_the_forms_agree_and_the_derivative_is_that_of_differences(name):
    function, x = LIBRARY[name], arguments(name)
    expected = function.numpy(x)
    given_x = double(x)
    y = function.tensor(given_x)
    # A few roundings in float64; tan and 1 / x^2 multiply them by their steepness.
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-12, atol=1e-14)
    text = sympy.lambdify(sympy.Symbol("x"), sympy.sympify(function.sympy), "numpy")
    np.testing.assert_allclose(text(x) * np.ones_like(x), expected, rtol=1e-12, atol=1e-14)
    (slope,) = y.sum().gradient(given_x)
    h = 1e-5 * np.abs(x) + (1e-5 if x.min() < 0 and "/" not in name else 0)
    smooth = np.abs(x) > h if name == "abs" else np.ones_like(x, dtype=bool)
    differences = central_difference(function.numpy, x, h)
    # The error of central differences: h^2 f''' / 6, and rounding, 1e-16 f / h.
    np.testing.assert_allclose(slope.numpy()[smooth], differences[smooth], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", LIBRARY)
def test_float32_is_as_exact_as_float32(name):
    x = arguments(name).astype(np.float32)
    y = LIBRARY[name].tensor(Tensor(x)).numpy()
    np.testing.assert_allclose(y, LIBRARY[name].numpy(x.astype(np.float64)), rtol=4e-6, atol=2e-6)


@pytest.mark.parametrize("name", ["1/x", "1/x^2", "sqrt", "log"])
def test_beyond_the_domain_is_no_nan_but_nan_stays(name):
    x = Tensor([-2.0, -1e-30, 0.0, 1e-30, float("nan")])
    y = LIBRARY[name].tensor(x)
    (slope,) = y.sum().gradient(x)
    assert np.isfinite(y.numpy()).tolist() == [True] * 4 + [False]
    assert np.isfinite(slope.numpy()[:4]).all()


@pytest.mark.parametrize("name", LIBRARY)
@given(a=st.floats(0.1, 5), b=st.floats(-30, 30), sign=st.sampled_from([-1, 1]))
def test_simplest_numbers_give_the_same_function(name, a, b, sign):
    function, a = LIBRARY[name], sign * a
    x = (arguments(name) - b) / a
    simple_a, simple_b, factor, shift = function.simplest(a, b)
    simple = factor * function.numpy(simple_a * x + simple_b) + shift
    # x is exact to 1e-16 of b: so are differences from a pole at 1e-3, to 1e-11 of themselves.
    np.testing.assert_allclose(simple, function.numpy(a * x + b), rtol=1e-9, atol=1e-12)


@given(curves())
def test_every_function_is_found_again(curve):
    name, x, y = curve
    found = fit_function(name, x, y)
    assert found.r2 > 1 - 1e-6
    a, b, c, d = found.affine
    again = c * LIBRARY[name].numpy(a * x + b) + d
    assert np.square(again - y).mean() <= 1e-6 * y.var()
    noise = 0.01 * y.std() * np.random.default_rng(0).standard_normal(len(y))
    # Of a hundredth of the spread as noise, 1e-4 of the variance, nothing can be explained.
    assert fit_function(name, x, y + noise).r2 > 1 - 1.5e-4


@pytest.mark.parametrize("noise", [0.0, 0.01])
@pytest.mark.parametrize(
    ("name", "low", "high", "function"),
    [
        ("x", -1, 1, lambda x: 3 * x - 1),
        ("x^2", -1, 1, lambda x: x**2),
        ("x^2", 0.5, 1, lambda x: 4 - (x + 0.5) ** 2),
        ("sin", -1, 1, lambda x: np.sin(np.pi * x)),
        ("sin", -3, 3, lambda x: np.cos(2 * x)),
        ("exp", -1, 2, np.exp),
        ("log", 0.01, 1, np.log),
        ("sqrt", 0, 1, np.sqrt),
        ("1/x", 0.2, 2, lambda x: 1 / x),
        ("abs", -1, 1, np.abs),
        ("tan", -1, 1, lambda x: np.tan(1.3 * x)),
        ("tanh", -4, 4, lambda x: 1 / (1 + np.exp(-2 * x))),
        ("arctan", -1, 1, lambda x: np.arctan(5 * x)),
        ("gaussian", -3, 3, lambda x: np.exp(-(x**2))),
        ("x^3", -1, 1, lambda x: x**3),
        ("x^4", -1, 1, lambda x: x**4),
    ],
)
def test_the_simplest_function_that_fits_comes_first(name, low, high, function, noise):
    x = np.linspace(low, high, 300)
    rng = np.random.default_rng(0)
    y = function(x) + noise * function(x).std() * rng.standard_normal(300)
    ranked = candidates(x, y)
    assert ranked[0].name == name
    assert [c.score for c in ranked] == sorted(c.score for c in ranked)


def test_edges_that_are_not_quite_what_they_mean():
    x = np.linspace(-1, 1, 300)
    # 1 - R^2 is 0.005 with a line, and a hundredth of that with a tangent, of a trained edge.
    assert candidates(x, np.tan(0.7 * x) + 0.003 * np.sin(25 * x))[0].name == "x"
    # R^2 is 0.2 with a line, and 0.9 with a sine.
    assert candidates(x, np.sin(6 * x) + np.abs(x - 0.2))[0].name == "sin"


def test_constants_and_few_samples():
    (constant,) = candidates(np.array([1.0, 2.0]), np.array([0.5, 0.5]))
    assert (constant.name, constant.affine[3], constant.r2) == ("0", 0.5, 1.0)
    assert candidates(np.full(9, 2.0), np.full(9, 1e-30))[0].name == "0"
    with pytest.raises(UserError, match="2 different inputs: at least 3"):
        candidates(np.array([1.0, 2.0, 2.0]), np.array([1.0, 2.0, 3.0]))
    # With as many numbers as points everything fits: that is not looked at.
    assert {c.name for c in candidates(np.arange(3.0), np.arange(3.0) ** 2)} == {"x"}
    assert fit_function("sin", np.arange(4.0), np.arange(4.0) ** 2) is None


def test_what_is_not_defined_at_all_samples_is_not_offered():
    x = np.linspace(-1, 1, 101)
    for candidate in candidates(x, np.where(np.abs(x) < 0.02, 40, 1 / np.where(x == 0, 1, x))):
        a, b, _, _ = candidate.affine
        if candidate.name in POSITIVE:
            assert (a * x + b > 0).all() or (a * x + b < 0).all()


def spline_network(edges: list[list[list]], domains: list[tuple[float, float]]) -> Network:
    """A network of splines whose coefficients are the least squares fit of the functions
    `edges[layer][i][o]`, with 30 intervals on each domain; None is a masked edge."""
    layers = []
    for functions, (low, high) in zip(edges, domains, strict=True):
        mask = np.array([[f is not None for f in row] for row in functions])
        basis = BSpline(30, 3, (low, high))
        layer = KANLayer(*mask.shape, basis, base=None, spline_weight=False, mask=mask)
        x = np.linspace(low, high, 400)
        phi = basis(Tensor(x[:, None].astype(np.float32))).numpy()[:, 0].astype(np.float64)
        values = np.stack([[f(x) if f else 0 * x for f in row] for row in functions])
        flat = values.reshape(-1, len(x)).T
        fitted = np.linalg.lstsq(phi, flat, rcond=None)[0].reshape(-1, *mask.shape)
        layer.coefficients = Tensor(fitted.transpose(1, 0, 2).astype(np.float32)).realize()
        layers.append(layer)
    return Network(layers)


def exponential_network() -> Network:
    """exp(sin(pi x1) + x2^2), the first example of the KAN paper's."""
    first = [[lambda x: np.sin(np.pi * x)], [lambda x: x**2]]
    return spline_network([first, [[np.exp]]], [(-1, 1), (-1.2, 2.2)])


def product_network() -> Network:
    """x1 x2 = ((x1 + x2)^2 - (x1 - x2)^2) / 4."""
    first = [[lambda x: x, lambda x: x], [lambda x: x, lambda x: -x]]
    second = [[lambda x: x**2 / 4], [lambda x: -(x**2) / 4]]
    return spline_network([first, second], [(-1, 1), (-2.1, 2.1)])


def named_network() -> Network:
    """The same example with functions instead of splines."""
    model = KAN([2, 1, 1], BSpline(3, 2))
    model = fix_symbolic(model, 0, 0, 0, "sin", (np.pi, 0.0, 1.0, 0.0))
    model = fix_symbolic(model, 0, 1, 0, "x^2", (1.0, 0.0, 1.0, 0.0))
    return fix_symbolic(model, 1, 0, 0, "exp", (1.0, 0.0, 1.0, 0.0))


def points(n: int = 1000) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (n, 2))


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
    assert isinstance(symbolic.layers[0].basis, Linear)
    text = formula(symbolic, digits=3)
    assert text == [sympy.exp(sympy.Symbol("x1")), 0]
    with pytest.raises(UserError, match="edge 0 -> 1 of layer 0 is not there"):
        suggest_symbolic(model, points(), 0, 0, 1)


@pytest.mark.parametrize("name", LIBRARY)
def test_the_formula_computes_what_the_network_does(name):
    """With numbers that can be simplified, and a bias."""
    affine = (-1.7, 2.4, 0.8, -0.3) if name != "tan" else (-0.6, 0.5, 0.8, -0.3)
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


def test_inputs_of_symbolic_edges_are_on_no_grid():
    layer = SymbolicLayer(KANLayer(2, 1), [(0, 0, "x^2")])
    x = Tensor([[5.0, 0.0], [5.0, 2.0]])
    assert layer.outside(x).item() == 0.5
    assert SymbolicLayer(KANLayer(1, 1), [(0, 0, "x")]).outside(Tensor([[9.0]])).item() == 0


@needs_float64
def test_gradients_of_the_affine_numbers_are_those_of_differences():
    functions = [(0, 0, "sin"), (1, 0, "exp"), (0, 1, "sin"), (1, 2, "gaussian"), (0, 2, "0")]
    numbers = np.random.default_rng(0).uniform(0.5, 1.5, (5, 4))
    x, weights = points(7), np.random.default_rng(1).uniform(-1, 1, 3)

    def value(affine: np.ndarray) -> tuple[SymbolicLayer, Tensor]:
        layer = SymbolicLayer(KANLayer(2, 3, BSpline(3), mask=np.zeros((2, 3))), functions)
        layer.affine = double(affine)
        layer.layer.coefficients, layer.layer.bias = double(np.zeros((2, 1, 3))), double(weights)
        layer.layer.mask = double(np.zeros((2, 3)))
        return layer, (layer(double(x)) * double(weights)).square().sum()

    layer, loss = value(numbers)
    (gradient,) = loss.gradient(layer.affine)
    for seed in range(3):
        way = np.random.default_rng(seed).standard_normal((5, 4))
        slope = central_difference(lambda t, way=way: value(numbers + t * way)[1].item(), 0.0)
        # Central differences of h = 1e-5 in float64 are exact to about 1e-9.
        assert slope == pytest.approx((gradient.numpy() * way).sum(), rel=1e-6)


def test_training_moves_the_affine_numbers_to_the_truth():
    x = points(256)
    target = np.exp(np.sin(np.pi * x[:, :1]) + x[:, 1:] ** 2)
    model = named_network()
    model.layers[0].affine = Tensor(model.layers[0].affine.numpy() * np.float32(1.03))
    sample = batches(x, target)
    start = model.layers[0].affine.numpy()
    history = fit(model, sample, steps=150, learning_rate=5e-3, progress=False)
    assert history.losses[-1] < 1e-2 * history.losses[0]
    assert np.abs(model.layers[0].affine.numpy() - start).max() > 0.005


@pytest.mark.parametrize("all_edges", [True, False])
def test_a_symbolic_network_is_saved_and_loaded(tmp_path, all_edges):
    model = exponential_network()
    model.layers[0].basis = BSpline(30, 3, (-1, 1), knots=np.linspace(-1.2, 1.2, 37))
    one = fix_symbolic(model, 0, 1, 0, "x^2", (1.0, 0.0, 1.0, 0.0))
    symbolic = named_network() if all_edges else one
    save(symbolic, tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    x = Tensor(points(9).astype(np.float32))
    np.testing.assert_array_equal(again(x).numpy(), symbolic(x).numpy())
    assert repr(again) == repr(symbolic)


def test_rounding_writes_whole_numbers_and_multiples_of_pi():
    x = sympy.Symbol("x")
    expression = 2.00001 * sympy.sin(3.14159 * x + 1.5708) - 4.71234 * x + 0.00001 + 1.23456 * x**2
    half = sympy.Rational(1, 2)
    expected = 2 * sympy.cos(sympy.pi * x) - 3 * sympy.pi * half * x + sympy.Float("1.235") * x**2
    assert rounded(expression, 3) == expected
    assert rounded(sympy.Float(3.1), 1) == sympy.Float("3.1")


@pytest.mark.parametrize("activation", ["tanh", "relu", "silu", "sine", "sine30"])
def test_activations_are_in_the_formula(activation):
    x, symbolic = points(40), named_network()
    symbolic.activation = activation
    values = symbolic(Tensor(x.astype(np.float32))).numpy()[:, 0]
    # The sine of 30 x amplifies the rounding of x thirty times.
    np.testing.assert_allclose(evaluated(formula(symbolic)[0], x), values, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize(
    ("module", "package"), [("candidates", "scipy.optimize"), ("formulas", "sympy")]
)
def test_a_missing_package_is_one_line(monkeypatch, module, package):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"tinykan.interpret.{module}")
    with pytest.raises(UserError, match=r"pip install 'tinykan\[interpret\]'"):
        importlib.import_module(f"tinykan.interpret.{module}")


ONE_EDGE = lambda: fix_symbolic(KAN([1, 1]), 0, 0, 0, "sin", (1.0, 0.0, 1.0, 0.0))  # noqa: E731


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fix_symbolic(KAN([1, 1]), 0, 0, 0, "cosh"), "unknown function 'cosh'; choose"),
        (lambda: fix_symbolic(KAN([1, 1]), 0, 0, 0, "sin"), r"give its affine numbers \(a, b, c"),
        (lambda: fix_symbolic(KAN([1, 1]), 0, 0, 0, "sin", (1.0, 2.0)), "four finite numbers"),
        (lambda: fix_symbolic(KAN([1, 1]), 1, 0, 0, "sin"), "layer 1 must be a whole number from"),
        (lambda: fix_symbolic(KAN([1, 1]), 0, 0, 3, "sin"), "output 3 must be a whole number from"),
        (
            lambda: fix_symbolic(KAN([1, 1]), 0, 0, 0, "sin", x=np.ones((9, 1))),
            "sin cannot be fitted to edge 0 -> 0 of layer 0 at 1 different inputs",
        ),
        (
            lambda: fix_symbolic(EdgeTanhNetwork([1, 1]), 0, 0, 0, "sin", (1.0, 0.0, 1.0, 0.0)),
            "only the edges of a KANLayer",
        ),
        (
            lambda: auto_symbolic(KAN([2, 1]), np.ones((9, 3))),
            r"finite numbers \[n, 2\] are needed",
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
        (lambda: SymbolicLayer(KANLayer(1, 1), []), "0 functions and affine numbers of shape"),
        (lambda: SymbolicLayer(KANLayer(1, 1), [(0, 1, "x")]), "edge 0 -> 1: a layer of 1 inputs"),
        (lambda: SymbolicLayer(KANLayer(1, 1), [(0, 0, "x")] * 2), "one function for each"),
    ],
)
def test_errors_are_one_line(call, message):
    with pytest.raises(UserError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_attribution_counts_symbolic_edges_and_pruning_refuses_them():
    model = fix_symbolic(KAN([2, 1], seed=0), 0, 1, 0, "x^2", (1.0, 0.0, 2.0, 0.0))
    assert edge_count(model) == 2
    x = np.random.default_rng(0).uniform(-1, 1, (500, 2))
    deviations = np.std(model.layers[0].edges(Tensor(x.astype(np.float32))).numpy(), axis=0)
    shares = attribution(model, x).edges[0]
    np.testing.assert_allclose(shares[0] / shares[1], deviations[0] / deviations[1], rtol=1e-4)
    with pytest.raises(UserError, match="prune before edges are made symbolic"):
        prune(model, x)


def test_grids_move_beside_symbolic_edges():
    model = fix_symbolic(KAN([2, 1], seed=0), 0, 1, 0, "x^2", (1.0, 0.0, 2.0, 0.0))
    x = np.random.default_rng(0).uniform(2, 3, (200, 2)).astype(np.float32)
    y = np.sin(3 * x[:, :1]) + x[:, 1:] ** 2
    history = fit(model, batches(x, y), steps=0, lbfgs=60, grid_updates=2, progress=False)
    assert history.losses[-1] < 1e-4  # of targets whose variance is above 2
    assert 1.9 < model.layers[0].layer.basis.knots.numpy()[0, 3] < 2.1

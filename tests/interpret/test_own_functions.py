"""Functions that users add to the symbolic library."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
import sympy
from tinygrad import Tensor

from tests.helpers import double, needs_float64, some
from tests.interpret.helpers import spline_network
from tinykan import KAN, BSpline, CheckpointError, Predictor, UserError, load, save
from tinykan.export import evaluate, lowered
from tinykan.interpret import LIBRARY
from tinykan.interpret.affine_fit import fit_affine
from tinykan.interpret.candidates import candidates
from tinykan.interpret.formulas import formula
from tinykan.interpret.own_functions import add_function
from tinykan.interpret.rounding import rounded, written
from tinykan.interpret.symbolification import auto_symbolic, fix_symbolic

OWN = {
    "softplus": (lambda x: np.log1p(np.exp(x)), "log(1 + exp(x))", None),
    "sinc": (lambda x: np.sinc(x / np.pi), "sin(x)/x", None),
    "cosh": (np.cosh, sympy.cosh(sympy.Symbol("x")), None),
    "normal": (scipy.special.ndtr, "(1 + erf(x/sqrt(2)))/2", None),
    "J0": (scipy.special.j0, "besselj(0, x)", (-20, 20)),
}


@pytest.fixture
def own():
    """The library with these functions, until the end of the test."""
    before = dict(LIBRARY)
    for name, (numpy, text, interval) in OWN.items():
        add_function(name, numpy, text, interval=interval)
    yield
    LIBRARY.clear()
    LIBRARY.update(before)


@needs_float64
@pytest.mark.parametrize("name", some(OWN, "J0, softplus"))
def test_forms_on_tensors_and_their_slopes(own, name):
    x = np.linspace(-2.9, 3.1, 40)
    wanted, given = OWN[name][0], double(x)
    y = LIBRARY[name].tensor(given)
    # Of J0, the polynomial's accuracy; of the others, tinygrad's erf has 7 digits.
    tolerance = {"J0": 1e-9, "normal": 1e-6}.get(name, 1e-12)
    np.testing.assert_allclose(y.numpy(), wanted(x), rtol=0, atol=tolerance * 12)
    (slope,) = y.sum().gradient(given)
    h = 1e-5
    differences = (wanted(x + h) - wanted(x - h)) / (2 * h)
    np.testing.assert_allclose(slope.numpy(), differences, rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", some(OWN, "J0, softplus"))
def test_a_curve_is_recognized(own, name):
    x = np.linspace(-5, 6, 200)
    best = candidates(x, 2 * OWN[name][0](-1.3 * x + 0.4) - 1)[0]
    assert best.name == name and best.r2 > 1 - 1e-10
    fitted = best.affine[2] * OWN[name][0](best.affine[0] * x + best.affine[1]) + best.affine[3]
    np.testing.assert_allclose(fitted, 2 * OWN[name][0](-1.3 * x + 0.4) - 1, atol=1e-5)


def test_formulas_and_files_have_the_function(own, tmp_path):
    x = np.random.default_rng(0).uniform(-4, 4, (200, 2))
    y = scipy.special.j0(1.5 * x[:, :1]) + x[:, 1:]
    model = fix_symbolic(KAN([2, 1], BSpline(3)), 0, 0, 0, "J0", (1.4, 0.1, 0.9, 0.0))
    model = fit_affine(fix_symbolic(model, 0, 1, 0, "x", (1.0, 0.0, 1.0, 0.0)), x, y)
    np.testing.assert_allclose(Predictor(model)(x), y, atol=2e-6)  # of float32
    (found,) = formula(model)
    assert rounded(found, 3) == sympy.sympify("besselj(0, 1.5*x1) + x2")
    shown, error = written(found, ["x1", "x2"], x, y[:, 0], 3)
    assert str(shown) == "x2 + besselj(0, 1.5*x1)" and error < 1e-9
    save(model, tmp_path / "own.safetensors")
    np.testing.assert_array_equal(
        Predictor(load(tmp_path / "own.safetensors"))(x), Predictor(model)(x)
    )
    del LIBRARY["J0"]
    with pytest.raises(CheckpointError, match="a network of J0: add it with add_function before"):
        load(tmp_path / "own.safetensors")


@pytest.mark.long
def test_automatic_choice_and_export_know_it(own):
    x = np.linspace(-3, 3, 300)[:, None]
    spline = spline_network([[[lambda x: np.log1p(np.exp(4 * x + 0.5))]]], [(-3, 3)])
    symbolic, (choice,) = auto_symbolic(spline, x)
    assert choice.best.name == "softplus"
    exported = evaluate(lowered(symbolic), x)
    np.testing.assert_allclose(exported, Predictor(symbolic)(x), atol=1e-5)


def test_beyond_its_interval_a_polynomial_is_constant(own):
    ends = LIBRARY["J0"].tensor(Tensor([-30.0, -20.0, 20.0, 1e6, 1e30])).numpy()
    np.testing.assert_allclose(ends, scipy.special.j0(20.0), atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("sin", np.sin, "sin(x)"), {}, "a name that tinykan's library does not have"),
        (("", np.sin, "sin(x)"), {}, "a name that tinykan's library does not have"),
        (("f", np.sin, "cos(x)"), {}, r"numpy is -0.14112 and sympy -0.989992 at x = -3"),
        (("f", np.sin, "sin(y)"), {}, "no expression in x"),
        (("f", np.sin, "sin(x"), {}, "no expression in x"),
        (("f", np.sin, 3), {}, "no expression in x"),
        (("f", scipy.special.j1, "besselj(1, x)"), {}, r"besselj\(1, x\) has no form on tensors"),
        (("f", np.abs, "Abs(x)"), {"interval": (-1, 1)}, "no polynomial of degree 255"),
        (("f", np.sin, "sin(x)"), {"interval": (1, -1)}, "two finite numbers"),
        (("f", np.sin, "sin(x)"), {"tensor": lambda x: x.cos()}, "and tensor -0.989992 at x = -3"),
        (("f", np.sin, "sin(x)"), {"tensor": lambda x: x.nothing()}, "tensor fails"),
        (("f", np.sin, "sin(x)"), {"complexity": 0}, "complexity 0 must be a whole number"),
        (("f", lambda x: 1.0, "x"), {}, r"numpy gives float64 \(\) for \(121,\)"),
        (("f", lambda x: np.sqrt(x - 9), "sqrt(x - 9)"), {}, "hardly defined from -3 to 3"),
    ],
)
def test_what_is_no_function_is_one_line(arguments, options, message):
    before = dict(LIBRARY)
    with pytest.raises(UserError, match=message) as error:
        add_function(*arguments, **options)
    assert "\n" not in str(error.value) and before == LIBRARY

"""What users of pykan reported that its symbolic part does, on data of our own: losses, ranges and
formulas that are NaN (its issues 379, 396, 457), divisions by zero while formulas are rounded (174,
289, 480), constants, and inputs of any size."""

from __future__ import annotations

import numpy as np
import pytest
import sympy

from tests.helpers import first
from tinykan import KAN, BSpline, Network, Predictor, UserError, batches, fit
from tinykan.fitting.penalties import Regularization
from tinykan.interpret import attribution, edge_curve, prune
from tinykan.interpret.formulas import formula
from tinykan.interpret.rounding import evaluated, rounded
from tinykan.interpret.symbolification import auto_symbolic, fix_symbolic, suggest_symbolic
from tinykan.tensors import like

X = np.random.default_rng(0).uniform(-1, 1, (60, 3))
YES = (X[:, :1] > 0).astype(float)
CONSTANT = np.full((60, 1), 0.7)
# By what is special about them: inputs and targets.
DATA = {
    "noise": (X[:, :2], np.random.default_rng(1).normal(size=(60, 1))),
    "a constant input": (np.hstack([X[:, :1], CONSTANT]), np.sin(3 * X[:, :1])),
    "yes and no": (np.hstack([YES, X[:, 1:2]]), YES * X[:, 1:2]),
    "a dozen rows": (X[:12, :2], X[:12, :1] * X[:12, 1:2]),
    "large units": (1e6 * X[:, :2], 1e6 * X[:, :1] * X[:, 1:2]),
    "small units": (1e-6 * X[:, :2], X[:, :1] * X[:, 1:2]),
}


@pytest.mark.long
@pytest.mark.parametrize("name", DATA)
def test_from_data_to_a_formula_all_is_finite(name):
    x, y = DATA[name]
    model = KAN([2, 2, 1], BSpline(4), seed=1)
    options = {"learning_rate": 0.02, "grid_updates": 3, "progress": False}
    fit(model, batches(x, y), steps=60, penalty=Regularization(model, 0.01), **options)
    small = prune(model, x)
    history = fit(small, batches(x, y), steps=60, **options)  # after pruning, too
    assert np.isfinite(history.losses).all()
    symbolic, choices = auto_symbolic(small, x)
    predicted = Predictor(symbolic)(x)[:, 0]
    assert np.isfinite(predicted).all()
    assert np.isfinite([choice.best.affine for choice in choices]).all()
    (exact,), (short,) = formula(symbolic), formula(symbolic, digits=2)
    names, size = ["x1", "x2"], np.abs(predicted).max()
    # The formula's constants, in float32, multiply and cancel in several layers.
    np.testing.assert_allclose(evaluated(exact, names, x), predicted, atol=1e-3 * size)
    assert not short.has(sympy.nan, sympy.zoo, sympy.oo, sympy.I)


@pytest.mark.long
def test_a_deep_network_is_made_symbolic_by_the_whole_library():
    model = KAN([3, 2, 2, 1], BSpline(4), seed=2)
    symbolic, choices = auto_symbolic(model, X)
    assert len(choices) == 12
    predicted = Predictor(symbolic)(X)[:, 0]
    found = evaluated(formula(symbolic)[0], ["x1", "x2", "x3"], X)
    np.testing.assert_allclose(found, predicted, atol=1e-3 * np.abs(predicted).max())
    (short,) = formula(symbolic, digits=1)
    assert not short.has(sympy.nan, sympy.zoo, sympy.oo, sympy.I)


@pytest.mark.parametrize(
    "text", ["0.0*x1 + 1e-300*x2", "x1/(1e-30 + 0.0*x2)", "1e-9*exp(1e-9*x1) + 1e30*x2", "0.0"]
)
def test_numbers_of_any_size_are_rounded(text):
    for digits in (1, 3, 17):
        found = rounded(sympy.sympify(text), digits)
        assert not found.has(sympy.nan, sympy.zoo, sympy.oo)


def broken(value: float) -> Network:
    model = KAN([3, 2, 1], BSpline(3), seed=3)
    coefficients = model.layers[0].coefficients
    model.layers[0].coefficients = like(coefficients, np.full(coefficients.shape, value))
    return model


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    "call",
    [
        lambda model: auto_symbolic(model, X),
        lambda model: suggest_symbolic(model, X, 0, 0, 0),
        lambda model: fix_symbolic(model, 0, 0, 0, "sin", x=X),
        lambda model: edge_curve(model, X, 0, 0, 0),
        lambda model: attribution(model, X),
        lambda model: prune(model, X),
    ],
)
def test_a_network_that_is_not_finite_is_one_line(call, value):
    with pytest.raises(UserError, match="finite") as error:
        call(broken(value))
    assert "\n" not in str(error.value)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", first(2, [1e-6, 1e37, 1e-30, 1e6, 1e18]))
def test_inputs_of_any_size_give_a_formula_or_one_line(scale):
    model = KAN([3, 2, 1], BSpline(3), seed=4)
    try:
        (found,) = formula(auto_symbolic(model, scale * X)[0], digits=3)
    except UserError as error:
        assert scale > 1e17 and "finite" in str(error) and "\n" not in str(error)
    else:
        assert not found.has(sympy.nan, sympy.zoo, sympy.oo, sympy.I)

"""Networks by name and from the text of their options."""

from __future__ import annotations

import pytest

from tinykan import (
    BSpline,
    Linear,
    Network,
    Polynomial,
    Sines,
    UserError,
    parameter_count,
)
from tinykan.runs.presets import MODELS, ModelOptions, build


def built(**options) -> Network:
    return build(ModelOptions(**options), 2, 1)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("parameters", [1000, 10_000, 66_000])
def test_every_model_meets_the_budget(name, parameters):
    options = ModelOptions(model=name, parameters=parameters, depth=2)
    model = build(options, 2, 1, encoding=Sines(2, 4))
    assert abs(parameter_count(model) - parameters) <= 0.02 * parameters


def test_layers_of_several_bases():
    model = built(
        basis="Polynomial(3), BSpline(4, order=2), Linear", parameters=3000, depth=2, no_bias=True
    )
    assert [la.basis for la in model.layers] == [Polynomial(3), BSpline(4, 2), Linear()]
    assert [la.base for la in model.layers] == ["silu", "silu", None]
    assert abs(parameter_count(model) - 3000) <= 60
    assert all(la.bias is None and la.spline_weight is None for la in model.layers)
    scaled = built(spline_weight=True, base="none", activation="sine")
    assert scaled.activation == "sine"
    assert all(la.base is None and la.spline_weight is not None for la in scaled.layers)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: built(model="foo"), "unknown model 'foo'; choose from tanh"),
        (lambda: built(basis="Foo(3)"), r"unknown basis 'Foo\(3\)'; choose from Linear, BSpline"),
        (lambda: built(basis="BSpline(-1)"), "intervals -1 must be a whole number"),
        (lambda: built(basis="BSpline(nodes=3)"), "unexpected keyword argument 'nodes'"),
        (lambda: built(basis="BSpline(open('x'))"), "unknown basis"),
        (lambda: built(basis="Linear, Linear, Linear, Linear"), "names 4 bases; at most three"),
        (lambda: built(model="edge-tanh", basis="BSpline"), "takes one Polynomial"),
        (lambda: built(model="edge-tanh", base="silu"), "edge-tanh has no base function"),
    ],
)
def test_bad_arguments_are_one_line(make, message):
    with pytest.raises(UserError, match=message) as error:
        make()
    assert "\n" not in str(error.value).replace("\n  ", " ")

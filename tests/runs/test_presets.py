"""Networks by name and from the text of their options."""

from __future__ import annotations

import numpy as np
import pytest

from tinykan import (
    BSpline,
    Fourier,
    Functions,
    Linear,
    Network,
    Polynomial,
    Sines,
    UserError,
    parameter_count,
)
from tinykan.runs.presets import MODELS, ModelOptions, build
from tinykan.runs.records import network_options


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


def test_frequencies_are_options():
    """SIREN's hidden weights are drawn for their frequency; its first ones are not."""
    plain, slow = (built(model="siren", omega=omega) for omega in (None, 15.0))
    assert (plain.activation, slow.activation) == ("sine30", "sine15")
    first, hidden = ([m.layers[n].coefficients.numpy() for m in (plain, slow)] for n in (0, 1))
    np.testing.assert_array_equal(*first)
    np.testing.assert_allclose(2 * hidden[0], hidden[1], rtol=1e-6)  # float32
    assert built(model="siren-kan", omega=15.0).layers[1].basis == Fourier(1, 0.418879)
    assert built(model="wire", omega=2.5).activation == "wire2.5"
    bases = [layer.basis for layer in built(model="h-siren", omega=20.0).layers]
    assert bases == [Linear(), Functions("hsine20"), *[Functions("sine20")] * 2]


def test_first_biases_of_finer_are_wide():
    model = built(model="finer", first_bias=5.0, parameters=10_000)
    first, hidden = (np.abs(layer.bias.numpy()).max() for layer in model.layers[:2])
    assert 4 < first < 5 and hidden < 0.2  # of some 57 biases, and 1 / sqrt(57)


def test_the_last_of_several_bases_is_repeated():
    model = built(basis="Linear, BSpline(9), BSpline(4), ...", depth=4)
    nine, four = BSpline(9), BSpline(4)
    assert [layer.basis for layer in model.layers] == [Linear(), nine, four, four, four]
    text = network_options(model)["basis"]
    again = built(basis=text, depth=4)
    assert [la.basis for la in again.layers] == [la.basis for la in model.layers]
    assert len(built(basis="Linear, Linear, ...", depth=1).layers) == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: built(model="foo"), "unknown model 'foo'; choose from tanh"),
        (lambda: built(basis="Foo(3)"), r"unknown basis 'Foo\(3\)'; choose from Linear, BSpline"),
        (lambda: built(basis="BSpline(-1)"), "intervals -1 must be a whole number"),
        (lambda: built(basis="BSpline(nodes=3)"), "unexpected keyword argument 'nodes'"),
        (lambda: built(basis="BSpline(open('x'))"), "unknown basis"),
        (lambda: built(basis="Linear, Linear, Linear, Linear"), "names 4 bases; at most three"),
        (lambda: built(basis="Linear, Linear, Linear, ...", depth=1), "names 3 bases for 2 layers"),
        (lambda: built(model="tanh", omega=3.0), "--omega 3 is for the models siren, h-siren"),
        (lambda: built(model="siren", first_bias=3.0), "--first-bias 3 is for the models finer"),
        (lambda: built(model="edge-tanh", basis="BSpline"), "takes one Polynomial"),
        (lambda: built(model="edge-tanh", base="silu"), "edge-tanh has no base function"),
    ],
)
def test_bad_arguments_are_one_line(make, message):
    with pytest.raises(UserError, match=message) as error:
        make()
    assert "\n" not in str(error.value).replace("\n  ", " ")

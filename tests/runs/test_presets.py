"""Networks by name and from the text of their options."""

from __future__ import annotations

import numpy as np
import pytest
import scipy
from tinygrad import Tensor

from tinykan import (
    BSpline,
    Fourier,
    Functions,
    Linear,
    Network,
    Polynomial,
    Scaled,
    Sines,
    UserError,
    parameter_count,
)
from tinykan.runs.presets import MODELS, ModelOptions, build, encoding_for, network_for
from tinykan.runs.records import network_options
from tinykan.tasks import FunctionTask, ImageTask, SlicesTask, Task
from tinykan.tasks.spectrum import highest_frequency


def built(**options) -> Network:
    return build(ModelOptions(**options), 2, 1)


def auto(task: Task, model: str, text: str = "auto") -> Network:
    return network_for(task, ModelOptions(model=model, encoding=text), 0)


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


def test_spline_sines_are_splines_before_sines_and_cosines():
    """Against SciPy's splines and the formula in float64."""
    model = built(model="spline-sines", parameters=3000, depth=2, omega=2.0)
    x = np.random.default_rng(0).uniform(-1, 1, (200, 2)).astype(np.float32)
    first, second, last = ([p.numpy().astype(float) for p in (layer.coefficients, layer.bias)]
                           for layer in model.layers)  # fmt: skip
    knots = -1 + np.arange(-2, 67) / 32
    splines = [scipy.interpolate.BSpline(knots, c, 2)(x[:, i]) for i, c in enumerate(first[0])]
    hidden = sum(splines) + first[1]
    for coefficients, bias in (second, last):
        waves = np.stack([np.sin(2 * hidden), np.cos(2 * hidden)], axis=-1)
        hidden = np.einsum("bin,ino->bo", waves, coefficients) + bias
    np.testing.assert_allclose(model(Tensor(x)).numpy(), hidden, atol=1e-5)


def test_fkan_is_a_fourier_layer_before_sines():
    """Against its formula in float64; and the first layer starts with a variance of 1."""
    model = built(model="fkan", parameters=3000, depth=2, omega=20.0)
    x = np.random.default_rng(0).uniform(-1, 1, (200, 2)).astype(np.float32)
    angles = 0.5 * np.pi * x.astype(float)[:, :, None] * np.arange(1, 17)
    functions = np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)
    first, second, last = ([p.numpy().astype(float) for p in (layer.coefficients, layer.bias)]
                           for layer in model.layers)  # fmt: skip
    nodes = np.einsum("bin,ino->bo", functions, first[0]) + first[1]
    hidden = np.sin(20 * (nodes @ second[0][:, 0] + second[1]))
    expected = hidden @ last[0][:, 0] + last[1]
    np.testing.assert_allclose(model(Tensor(x)).numpy(), expected, atol=1e-4)  # 20 times rounding
    assert nodes.var() == pytest.approx(1, rel=0.2)  # of some 40 nodes


def test_sl2a_is_a_chebyshev_layer_before_relu():
    """Against NumPy's polynomials; and the first layer starts with a variance of 1."""
    model = built(model="sl2a", parameters=6000, depth=2)
    x = np.random.default_rng(0).uniform(-1, 1, (200, 2)).astype(np.float32)
    functions = np.polynomial.chebyshev.chebvander(np.tanh(x.astype(float)), 64)[..., 1:]
    first, second, last = ([p.numpy().astype(float) for p in (layer.coefficients, layer.bias)]
                           for layer in model.layers)  # fmt: skip
    nodes = np.einsum("bin,ino->bo", functions, first[0]) + first[1]
    hidden = np.maximum(0, np.maximum(0, nodes) @ second[0][:, 0] + second[1])
    expected = hidden @ last[0][:, 0] + last[1]
    np.testing.assert_allclose(model(Tensor(x)).numpy(), expected, atol=1e-4)  # of the recurrence
    assert nodes.var() == pytest.approx(1, rel=0.2)  # of some 40 nodes


@pytest.mark.parametrize(
    ("task", "options", "rate"),
    [
        (ImageTask(size=32), {}, 30),
        (ImageTask(size=32), {"omega": 20.0, "model": "finer"}, 20),
        (ImageTask(size=32, held_out=True), {"model": "shared-spline"}, 30),
        (SlicesTask(), {"model": "siren-kan"}, 30),
    ],
)
def test_the_first_frequency_follows_from_the_image_that_is_trained_on(task, options, rate):
    """Up to 0.18 of that below which lie 98 % of the energy: of rate * factor * a weight below
    1 / in_features."""
    options = ModelOptions(**{"model": "siren", **options}, encoding="auto", parameters=2000)
    encoding = network_for(task, options, 0).encoding
    image = np.moveaxis(task.slices, 0, -1) if isinstance(task, SlicesTask) else task.image
    if getattr(task, "held_out", False):
        image = image[::2, ::2]
    expected = 0.18 * highest_frequency(image, 0.98)
    assert rate * encoding.factor / task.in_features == pytest.approx(expected, rel=5e-3)  # digits


def test_less_energy_has_lower_frequencies_and_one_color_has_none():
    task = ImageTask(size=32)
    lower, usual = (encoding_for(task, text, 30.0) for text in ("auto(0.5)", "auto"))
    assert 0 < lower.factor < usual.factor
    task.image[:] = 0.5
    assert encoding_for(task, "auto", 30.0) == Scaled(2, 1.0)


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
        (lambda: auto(ImageTask(size=8), "spline"), "auto is for the models siren, h-siren, finer"),
        (lambda: auto(FunctionTask(), "siren"), "auto is for images; for others name a factor"),
        (lambda: auto(ImageTask(size=8), "siren", "auto(2)"), "share 2 of the energy must be"),
        (lambda: built(model="edge-tanh", basis="BSpline"), "takes one Polynomial"),
        (lambda: built(model="edge-tanh", base="silu"), "edge-tanh has no base function"),
    ],
)
def test_bad_arguments_are_one_line(make, message):
    with pytest.raises(UserError, match=message) as error:
        make()
    assert "\n" not in str(error.value).replace("\n  ", " ")

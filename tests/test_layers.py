"""Layers against pykan's own numbers, finite differences, and their own formula."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tinygrad import Tensor, dtypes
from tinygrad.nn.state import get_state_dict

from tests.helpers import (
    DENSE_BASES,
    central_difference,
    double,
    needs_float64,
    numeric_gradient,
    pykan_layer,
)
from tinykan import BSpline, EdgeTanh, KANLayer, Linear, Polynomial, UserError
from tinykan.activations import ACTIVATIONS
from tinykan.initializers import INITIALIZERS
from tinykan.layers import learnable


@needs_float64
@pytest.mark.parametrize("moment", ["before", "after"])
def test_golden_layer_before_and_after_a_grid_update(golden, moment):
    data = golden("pykan_layer")
    after = moment == "after"
    layer = pykan_layer(
        data["grid_after_update" if after else "state/grid"],
        data["coef_after_update" if after else "state/coef"],
        *(data[f"state/{name}"] for name in ("scale_base", "scale_sp", "mask")),
    )
    expected = data["y_after_update" if after else "y"]
    np.testing.assert_allclose(layer(double(data["x"])).numpy(), expected, atol=1e-11)


@needs_float64
def test_golden_model_gives_pykans_outputs(golden):
    data = golden("pykan_model_2_5_1")
    y = double(data["x"])
    for index in range(2):
        names = ("grid", "coef", "scale_base", "scale_sp", "mask")
        layer = pykan_layer(*(data[f"state/act_fun.{index}.{name}"] for name in names))
        y = layer(y)
        y = y * double(data[f"state/subnode_scale_{index}"]) + double(
            data[f"state/subnode_bias_{index}"]
        )
        y = y * double(data[f"state/node_scale_{index}"]) + double(data[f"state/node_bias_{index}"])
    np.testing.assert_allclose(y.numpy(), data["y"], atol=1e-11)


@pytest.mark.parametrize("basis", [BSpline(3), Polynomial(2), Linear()], ids=repr)
@pytest.mark.parametrize("spline_weight", [True, False])
def test_a_masked_edge_is_not_there(basis, spline_weight):
    mask = np.array([[1, 0, 1], [0, 0, 1]])
    layer = KANLayer(2, 3, basis, spline_weight=spline_weight, mask=mask)
    x = Tensor(np.random.default_rng(0).uniform(-1, 1, (16, 2)).astype(np.float32))
    assert np.abs(layer.edges(x).numpy()).max(0).astype(bool).tolist() == mask.astype(bool).tolist()
    np.testing.assert_allclose(layer(x).numpy(), layer.edges(x).sum(-2).numpy(), atol=1e-6)
    weights = [layer.coefficients, layer.base_weight]
    for gradient in layer(x).square().sum().gradient(*weights):
        live = np.abs(gradient.numpy().reshape(2, -1, 3)).max(1)
        assert live.astype(bool).tolist() == mask.astype(bool).tolist()
    assert all(tensor is not layer.mask for tensor in learnable(layer))


@pytest.mark.parametrize("mask", [np.ones((3, 2)), np.full((2, 3), 0.5)])
def test_what_is_no_mask_is_one_line(mask):
    with pytest.raises(UserError, match="a mask is 2 x 3 numbers, 0 or 1"):
        KANLayer(2, 3, mask=mask)


LAYERS = {
    "spline": lambda rng: KANLayer(3, 4, BSpline(5, 3), rng=rng),
    "spline alone": lambda rng: KANLayer(
        3, 4, BSpline(4, 2), base=None, spline_weight=False, bias=False, rng=rng
    ),
    "quadratic": lambda rng: KANLayer(3, 4, Polynomial(2), base="tanh", rng=rng),
    "dense": lambda rng: KANLayer(3, 4, Linear(), base=None, spline_weight=False, rng=rng),
    **{
        type(basis).__name__: lambda rng, basis=basis: KANLayer(3, 4, basis, rng=rng)
        for basis in DENSE_BASES[1:]
    },
    "edge tanh": lambda rng: EdgeTanh(3, 4, rng=rng),
}


@pytest.mark.parametrize("name", LAYERS)
@needs_float64
def test_gradients_match_finite_differences(name):
    rng = np.random.default_rng(0)
    layer = LAYERS[name](rng)
    for key, tensor in get_state_dict(layer).items():
        setattr(layer, key, double(tensor.numpy() + rng.normal(0, 0.1, tensor.shape)))
    x, target = double(rng.uniform(-1, 1, (6, 3))), double(rng.normal(size=(6, 4)))

    def loss() -> Tensor:
        return (layer(x) * target).sum()

    tensors = [x, *learnable(layer)]
    Tensor.realize(*tensors, target)
    gradients = [g.numpy().ravel().copy() for g in loss().gradient(*tensors)]
    for tensor, found in zip(tensors, gradients, strict=True):
        values = tensor.numpy().copy()

        def loss_at(moved: np.ndarray, tensor: Tensor = tensor) -> float:
            tensor.assign(double(moved)).realize()
            return loss().item()

        positions = rng.choice(values.size, min(values.size, 5), replace=False)
        numeric = numeric_gradient(loss_at, values, positions)
        tensor.assign(double(values)).realize()
        # Central differences in float64: 1e-10 of curvature and 1e-11 of rounding.
        assert found[positions] == pytest.approx(numeric, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("name", LAYERS)
def test_output_is_the_sum_of_the_edges_and_the_bias(name):
    layer = LAYERS[name](np.random.default_rng(1))
    if layer.bias is not None:
        layer.bias.assign(Tensor([1.0, 2.0, 3.0, 4.0])).realize()
    x = Tensor(np.random.default_rng(2).uniform(-1, 1, (7, 3)).astype(np.float32))
    total = layer.edges(x).numpy().sum(axis=1) + (0 if layer.bias is None else layer.bias.numpy())
    np.testing.assert_allclose(layer(x).numpy(), total, atol=1e-5)


def test_layer_follows_its_formula():
    rng = np.random.default_rng(3)
    layer = KANLayer(2, 3, BSpline(5, 3), rng=rng)
    x = rng.uniform(-1, 1, (11, 2)).astype(np.float32)
    phi = layer.basis(Tensor(x)).numpy()
    spline = np.einsum("bin,ino->bio", phi, layer.coefficients.numpy())
    silu = (x / (1 + np.exp(-x)))[:, :, None]
    expected = (layer.spline_weight.numpy() * spline + layer.base_weight.numpy() * silu).sum(axis=1)
    np.testing.assert_allclose(layer(Tensor(x)).numpy(), expected, atol=1e-5)


@given(lead=st.lists(st.integers(1, 3), max_size=3), edge=st.booleans())
def test_drop_in_for_a_dense_layer(lead, edge):
    layer = EdgeTanh(2, 3) if edge else KANLayer(2, 3)
    assert layer(Tensor.zeros(*lead, 2)).shape == (*lead, 3)


def test_bases_own_state_that_no_optimizer_moves():
    knots = np.linspace(-2.2, 2.2, 12)
    layer = KANLayer(2, 1, BSpline(5, 3, knots=knots))
    assert "basis.knots" in get_state_dict(layer)
    assert len(learnable(layer)) == 4  # coefficients, spline weight, base weight, bias


@pytest.mark.parametrize("name", INITIALIZERS)
def test_initial_scale_follows_fan_in(name):
    draw = INITIALIZERS[name]
    few, many = (draw(np.random.default_rng(0), (n, 4, n)).std() for n in (16, 256))
    power = 1.0 if name == "siren-first" else 0.5
    assert few / many == pytest.approx(16**power, rel=0.1)


@pytest.mark.parametrize("basis", [BSpline(), *DENSE_BASES], ids=repr)
def test_the_first_output_is_about_as_large_as_the_input(basis):
    """Layers of unit variance and layers of the inputs' own are a factor of 1.7 apart."""
    x = np.random.default_rng(0).uniform(-1, 1, (64, 32)).astype(np.float32)
    y = KANLayer(32, 32, basis, rng=np.random.default_rng(1))(Tensor(x)).numpy()
    assert 0.4 < y.std() / x.std() < 2


def test_the_seed_fixes_the_start():
    first, again, other = (KANLayer(3, 2, rng=np.random.default_rng(s)) for s in (5, 5, 6))
    assert (first.coefficients.numpy() == again.coefficients.numpy()).all()
    assert (first.coefficients.numpy() != other.coefficients.numpy()).any()


def test_share_of_inputs_outside_the_grid():
    layer = KANLayer(2, 1)
    assert layer.outside(Tensor([[0.0, 2.0], [0.5, -0.5]])).item() == pytest.approx(0.25)


def test_nan_in_one_sample_stays_there():
    layer = KANLayer(2, 3, base=None)
    y = layer(Tensor([[0.1, float("nan")], [0.1, 0.2]])).numpy()
    assert np.isnan(y[0]).all() and np.isfinite(y[1]).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: KANLayer(2, 3)(Tensor.zeros(4, 3)), r"\(4, 3\).*must be 2"),
        (lambda: EdgeTanh(2, 3)(Tensor.zeros(4, 3)), r"\(4, 3\).*must be 2"),
        (lambda: KANLayer(2, 3)(Tensor([[1, 2]])), "floating-point"),
        (lambda: KANLayer(0, 3), "at least 1"),
        (lambda: KANLayer(2, 3, base="sin"), "choose from " + ", ".join(ACTIVATIONS)),
        (lambda: KANLayer(2, 3, kernels="fast"), "choose from auto, reference"),
        (lambda: KANLayer(2, 3, initializer="xavier"), "choose from " + ", ".join(INITIALIZERS)),
    ],
)
def test_bad_arguments_are_one_line(make, message):
    with pytest.raises(UserError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


def logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


REFERENCES = {
    "identity": lambda x: x,
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x * logistic(x),
    "gelu": lambda x: x * logistic(np.sqrt(8 / np.pi) * (x + 0.044715 * x**3)),
    "sine": np.sin,
    "sine30": lambda x: np.sin(30 * x),
}


@pytest.mark.parametrize("kind", [pytest.param("float64", marks=needs_float64), "float32"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_functions_and_their_slopes(name, kind):
    x = np.random.default_rng(0).uniform(-10, 10, 5001).astype(kind)
    tensor, exact = Tensor(x, dtype=getattr(dtypes, kind)), x.astype(float)
    reference, tolerance = REFERENCES[name], 10 * np.finfo(kind).eps
    # An angle of 300 is known to half a unit in its last place only.
    tolerance *= 30 if name == "sine30" else 1
    np.testing.assert_allclose(
        ACTIVATIONS[name](tensor).numpy(), reference(exact), rtol=tolerance, atol=tolerance
    )
    slope = ACTIVATIONS[name](tensor).sum().gradient(tensor)[0].numpy()
    expected = central_difference(reference, exact)
    # A central difference is off by 2e-11 of the third derivative, which is 30^3 at most.
    error = 30 * tolerance + (1e-5 if name == "sine30" else 1e-9)
    smooth = np.abs(exact) > 1e-5
    np.testing.assert_allclose(slope[smooth], expected[smooth], rtol=tolerance, atol=error)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_functions_of_extreme_numbers(name):
    y = ACTIVATIONS[name](Tensor([-1e30, -1e4, 1e4, 1e30, float("nan")])).numpy()
    assert np.isfinite(y[1:3]).all() and np.isnan(y[4])
    if not name.startswith("sine"):  # whose angles are not known to a whole turn any more
        assert np.isfinite(y[[0, 3]]).all()

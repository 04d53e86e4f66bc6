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
    double,
    needs_float64,
    numeric_gradient,
    pykan_layer,
)
from tinykan import (
    KAN,
    RBF,
    BSpline,
    Chebyshev,
    EdgeTanh,
    Fourier,
    KANLayer,
    Linear,
    Polynomial,
    UserError,
    Wavelet,
)
from tinykan.activations import ACTIVATIONS
from tinykan.initializers import INITIALIZERS
from tinykan.tensors import learnable


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


odd = st.one_of(
    st.integers(-2, 3),
    st.floats(allow_nan=True),
    st.none(),
    st.text(max_size=3),
    st.booleans(),
    st.lists(st.integers(-1, 2), max_size=2),
)


@given(odd, odd)
def test_bases_and_layers_refuse_odd_arguments_in_one_line(first, second):
    for make in (
        lambda: BSpline(first, second),
        lambda: BSpline(3, 3, (first, second)),
        lambda: Polynomial(first),
        lambda: RBF(first, second),
        lambda: Chebyshev(first),
        lambda: Fourier(first, second),
        lambda: Wavelet(first, second),
        lambda: KANLayer(first, second),
        lambda: KANLayer(2, 2, base=first, initializer=second),
    ):
        try:
            made = make()
        except UserError as error:
            assert "\n" not in str(error)
        else:
            assert repr(made)


@pytest.mark.parametrize(
    "x",
    [
        Tensor.ones(3, 3),
        Tensor.ones(2, dtype=dtypes.int32),
        Tensor(1.0),
        Tensor.ones(0),
        Tensor.ones(4, 2, dtype=dtypes.bool),
    ],
    ids=lambda x: f"{x.shape}-{x.dtype.name}",
)
def test_wrong_inputs_are_refused_in_one_line(x):
    with pytest.raises(UserError) as error:
        KAN([2, 3, 1])(x)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("basis", [BSpline(5, 3), Linear(), *DENSE_BASES], ids=repr)
def test_second_derivatives_of_plain_tensors_are_right(basis):
    """Also in float32, whose exponential is made of bits."""
    layer = KANLayer(2, 3, basis, kernels="reference", rng=np.random.default_rng(0))
    at, h = np.random.default_rng(1).uniform(-0.9, 0.9, (20, 2)), 1e-3

    def slope(points: np.ndarray) -> tuple[Tensor, Tensor]:
        x = Tensor(points.astype(np.float32))
        return x, layer(x).sum().gradient(x)[0]

    x, first = slope(at)
    second = first.sum().gradient(x)[0].numpy()
    differences = (slope(at + h)[1].numpy() - slope(at - h)[1].numpy()) / (2 * h)
    # Rounding of float32 over the step, and what the step passes over at knots.
    size = np.abs(differences).max()
    np.testing.assert_allclose(second, differences, atol=2e-3 * max(size, 1) + 0.02 * size)
    assert size > 0.05

"""Layers that multiply, and networks of them."""

from __future__ import annotations

import numpy as np
import pytest
import sympy
from tinygrad import Tensor

from tinykan import (
    KAN,
    BSpline,
    KANLayer,
    Network,
    Predictor,
    UserError,
    batches,
    fit,
    load,
    save,
)
from tinykan.fitting.penalties import Regularization
from tinykan.interpret import (
    MultiplicationLayer,
    attribution,
    edge_count,
    prune,
    remove,
    summary,
)
from tinykan.interpret.affine_fit import fit_affine
from tinykan.interpret.diagram import diagram
from tinykan.interpret.formulas import formula
from tinykan.interpret.rounding import rounded
from tinykan.interpret.symbolification import auto_symbolic, fix_symbolic

X = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)


def random_network() -> Network:
    rng = np.random.default_rng(1)
    layer = MultiplicationLayer([[2, 0], [3], [1, 4, 5]])
    layer.bias.assign(Tensor([0.5, -1.0, 2.0])).realize()
    return Network([KANLayer(3, 6, BSpline(4, 3), rng=rng), layer])


def symbolic_network() -> Network:
    """(2 x1 + 1) (sin(x2) - 0.5) + 3."""
    multiplied = MultiplicationLayer([[0, 1]])
    multiplied.bias.assign(Tensor([3.0])).realize()
    layer = KAN([2, 2], BSpline(3, 2), base=None).layers[0]
    layer.mask = Tensor(np.eye(2, dtype=np.float32)).is_param_(False)
    model = fix_symbolic(Network([layer, multiplied]), 0, 0, 0, "x", (1.0, 0.0, 2.0, 1.0))
    return fix_symbolic(model, 0, 1, 1, "sin", (1.0, 0.0, 1.0, -0.5))


def test_outputs_are_products_and_a_bias():
    model = random_network()
    sums = model.layers[0](Tensor(X)).numpy()
    wanted = np.stack([sums[:, [2, 0]].prod(1), sums[:, 3], sums[:, [1, 4, 5]].prod(1)], axis=1)
    # Two roundings of float32 for each factor.
    np.testing.assert_allclose(Predictor(model)(X), wanted + [0.5, -1.0, 2.0], rtol=1e-6, atol=1e-6)


def test_gradients_are_those_of_a_product():
    x = Tensor([[2.0, 3.0, 5.0]])
    layer = MultiplicationLayer([[0, 2], [1]])
    (slope,) = (layer(x) * Tensor([[1.0, 10.0]])).sum().gradient(x)
    assert slope.tolist() == [[5.0, 10.0, 2.0]]


def test_a_saved_network_is_the_same(tmp_path):
    model = random_network()
    save(model, tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    assert repr(again) == repr(model) and again.layers[1].groups == [[2, 0], [3], [1, 4, 5]]
    np.testing.assert_array_equal(Predictor(again)(X), Predictor(model)(X))


def test_a_summary_and_a_diagram_name_the_products():
    model = symbolic_network()
    row = next(line for line in repr(summary(model)).splitlines() if "Multiplication" in line)
    assert row.split() == ["MultiplicationLayer", "product", "2", "→", "1", "2", "1"]
    texts = [text.get_text() for text in diagram(model, X[:, :2]).axes[0].texts]
    assert texts.count("×") == 1 and {"x", "sin"} <= set(texts)


def test_factors_have_the_score_of_their_product():
    model = random_network()
    scores = attribution(model, X, output_scores=np.array([1.0, 2.0, 4.0]))
    np.testing.assert_array_equal(scores.nodes[1], [1, 4, 1, 2, 4, 4])
    edges = model.layers[0].edges(Tensor(X)).numpy().astype(np.float64)
    shares = edges.std(axis=0) / edges.sum(axis=1).std(axis=0)
    np.testing.assert_allclose(scores.edges[0], shares * [1, 4, 1, 2, 4, 4], rtol=1e-5)


def test_sums_are_pruned_and_factors_stay():
    model = random_network()
    pruned = prune(model, X, node_threshold=0, edge_threshold=0.5)
    scores = attribution(model, X).edges[0]
    assert edge_count(pruned) == (scores >= 0.5).sum() + 6 < edge_count(model)
    np.testing.assert_array_equal(pruned.layers[0].live_edges(), scores >= 0.5)
    factors, whole = (Network(m.layers[:1]) for m in (pruned, model))
    means = Predictor(factors)(X).mean(axis=0), Predictor(whole)(X).mean(axis=0)
    np.testing.assert_allclose(*means, atol=1e-5)  # of float32 sums of 50 rows
    strict = prune(model, X, node_threshold=10, edge_threshold=0)
    assert strict.widths == model.widths  # outputs remain, and so their factors


def mixed_network() -> Network:
    """Two sums, a product of two and one of three factors, and two outputs."""
    rng = np.random.default_rng(2)
    layers = [KANLayer(3, 7, BSpline(4, 3), rng=rng), KANLayer(4, 2, BSpline(4, 3), rng=rng)]
    groups = MultiplicationLayer([[0], [1], [2, 3], [4, 5, 6]])
    groups.bias.assign(Tensor([0.1, 0.2, 0.3, 0.4])).realize()
    layers[0].bias.assign(Tensor(rng.normal(size=7).astype(np.float32))).realize()
    return Network([layers[0], groups, layers[1]])


def without(model: Network, node: int) -> np.ndarray:
    """The outputs if that node after the products were a constant in each of its edges."""
    inputs = model.layer_inputs(Tensor(X))[2]
    edges = model.layers[2].edges(inputs).numpy().astype(np.float64)
    edges[:, node] = edges[:, node].mean(axis=0)
    return edges.sum(axis=1) + model.layers[2].bias.numpy()


@pytest.mark.long
def test_a_product_is_removed_with_its_factors():
    model = mixed_network()
    for node, widths, groups in (
        (2, [3, 5, 3, 2], [[0], [1], [2, 3, 4]]),
        (3, [3, 4, 3, 2], [[0], [1], [2, 3]]),
        (0, [3, 6, 3, 2], [[0], [1, 2], [3, 4, 5]]),
    ):
        smaller = remove(model, X, nodes=[(2, node)])
        assert smaller.widths == widths and smaller.layers[1].groups == groups
        # Sums of ten terms of size 1 in float32.
        np.testing.assert_allclose(Predictor(smaller)(X), without(model, node), atol=1e-5)
    assert remove(model, X, nodes=[(1, 0)]).widths == [3, 6, 3, 2]  # a sum before its product of 1
    with pytest.raises(UserError, match="a product has no factor that could be left out"):
        remove(model, X, nodes=[(1, 2)])
    with pytest.raises(UserError, match="a product has no factor that could be left out"):
        remove(model, X, edges=[(1, 2, 2)])
    with pytest.raises(UserError, match="layer 1 would have no inputs left"):
        remove(model, X, nodes=[(2, n) for n in range(4)])


def test_pruning_keeps_products_whole():
    model = mixed_network()
    scores = attribution(model, X).nodes[2]
    for rank in range(4):
        threshold = float(np.sort(scores)[rank])
        smaller = prune(model, X, node_threshold=threshold, edge_threshold=0)
        kept = [g for g, s in zip(model.layers[1].groups, scores, strict=True) if s >= threshold]
        assert [len(g) for g in smaller.layers[1].groups] == [len(g) for g in kept]
        assert smaller.widths == [3, sum(map(len, kept)), 4 - rank, 2]


def test_a_factor_without_edges_is_a_constant():
    model = mixed_network()
    model.layers[0].mask = Tensor(np.eye(3, 7, 2, dtype=np.float32)).is_param_(False)
    smaller = prune(model, X, edge_threshold=0)  # only factors 2, 3 and 4 have edges
    assert smaller.layers[1].groups == [[0, 1], [2, 3, 4]]
    np.testing.assert_allclose(Predictor(smaller)(X), Predictor(model)(X), atol=1e-5)


def test_nothing_is_left_but_one_whole_product():
    model = mixed_network()
    dead = Tensor(np.zeros((3, 7), dtype=np.float32)).is_param_(False)
    model.layers[0].mask = dead
    smaller = prune(model, X)
    assert edge_count(smaller) == len(smaller.layers[1].groups[0]) and smaller.widths[2] == 1
    np.testing.assert_allclose(Predictor(smaller)(X), Predictor(model)(X), atol=1e-5)


def test_widths_are_sums_and_products():
    model = KAN([2, [3, 2], 1], seed=3)
    assert model.widths == [2, 7, 5, 1]
    assert model.layers[1].groups == [[0], [1], [2], [3, 4], [5, 6]]
    x = Tensor(X[:, :2])
    sums = model.layers[0](x).numpy()
    nodes = np.concatenate([sums[:, :3], sums[:, 3::2] * sums[:, 4::2]], axis=1)
    wanted = model.layers[2](Tensor(nodes)).numpy()
    np.testing.assert_allclose(model(x).numpy(), wanted, rtol=1e-5, atol=1e-6)
    assert KAN([2, (0, 1), 2]).widths == [2, 2, 1, 2] and KAN([2, [0, 1]]).widths == [2, 2, 1]
    # Without products a width says the same in either way.
    same = KAN([2, [3, 0], 1], seed=4)(x).numpy()
    np.testing.assert_array_equal(same, KAN([2, 3, 1], seed=4)(x).numpy())


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        ([2, [3], 1], r"width \[3\]: a number of sums, or \[sums, products\], is needed"),
        ([2, [3, 2, 1], 1], r"width \[3, 2, 1\]: a number of sums"),
        ([2, [0, 0], 1], r"width \[0, 0\]: at least one sum or product is needed"),
        ([2, [1, -1], 1], "the number of products -1 must be a whole number at least 0"),
        ([2, [1.5, 1], 1], "the number of sums 1.5 must be a whole number at least 0"),
        ([[1, 1], 1], r"in_features \[1, 1\] must be a whole number at least 1"),
    ],
)
def test_other_widths_are_one_line(widths, message):
    with pytest.raises(UserError, match=message) as error:
        KAN(widths)
    assert "\n" not in str(error.value)


def test_factors_are_not_penalized():
    model = KAN([2, [1, 1], 1], BSpline(4))
    values = model.layer_inputs(Tensor(X[:, :2]))
    parts = [
        Regularization(Network([model.layers[k]]), 1.0, coefficients=0.5)([values[k]]).item()
        for k in (0, 2)
    ]
    whole = Regularization(model, 1.0, coefficients=0.5)(values).item()
    assert whole == pytest.approx(sum(parts), rel=1e-5)  # float32


@pytest.mark.long
def test_a_product_is_learned_without_squares(tmp_path):
    x = np.random.default_rng(0).uniform(-1, 1, (300, 2))
    y = x[:, :1] * x[:, 1:]
    model = KAN([2, [0, 1]], BSpline(5), spline_weight=False)
    fit(model, batches(x, y), steps=0, lbfgs=100, progress=False)
    save(model, tmp_path / "product.safetensors")
    pruned = prune(load(tmp_path / "product.safetensors"), x)
    symbolic, choices = auto_symbolic(pruned, x)
    assert [choice.best.name for choice in choices] == ["x", "x"]
    (found,) = formula(fit_affine(symbolic, x, y))
    assert rounded(sympy.expand(found), 4) == sympy.sympify("x1*x2")


def test_the_formula_is_the_product():
    (found,) = formula(symbolic_network())
    assert sympy.simplify(found - sympy.sympify("(2*x1 + 1)*(sin(x2) - 0.5) + 3")) == 0


def test_affine_parameters_of_factors_are_fitted():
    x = X[:, :2].astype(float)
    y = (1.8 * x[:, :1] + 1.3) * (1.1 * np.sin(1.1 * x[:, 1:] + 0.2) - 0.6) - 11
    fitted = fit_affine(symbolic_network(), x, y)
    # The parameters are in float32.
    np.testing.assert_allclose(Predictor(fitted)(x), y, atol=2e-6 * np.abs(y).max())
    assert fitted.layers[1].bias.item() == pytest.approx(-11, abs=0.01)


@pytest.mark.parametrize("groups", [[], [[0], []], [[0], [0]], [[0], [2]], [[-1, 0]]])
def test_what_are_no_groups_is_one_line(groups):
    with pytest.raises(UserError) as error:
        MultiplicationLayer(groups)
    assert "\n" not in str(error.value)

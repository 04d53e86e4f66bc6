"""Layers that multiply, and networks of them."""

from __future__ import annotations

import numpy as np
import pytest
import sympy
from tinygrad import Tensor

from tinykan import KAN, BSpline, KANLayer, Network, Predictor, UserError, load, save
from tinykan.interpret import MultiplicationLayer, attribution, edge_count, prune, summary
from tinykan.interpret.affine_fit import fit_affine
from tinykan.interpret.diagram import diagram
from tinykan.interpret.formulas import formula
from tinykan.interpret.symbolification import fix_symbolic

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
    assert texts.count("×") == 2 and {"x", "sin"} <= set(texts)


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
    with pytest.raises(UserError, match="a product has no factor that could be left out"):
        prune(model, X, node_threshold=10, edge_threshold=0)


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

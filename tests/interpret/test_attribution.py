"""Attribution against closed forms and pykan's own numbers; what pruning may and may not change."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tinygrad import Tensor, dtypes
from tinygrad.nn.state import get_state_dict

from tests.helpers import float64, needs_float64, some
from tinykan import (
    KAN,
    BSpline,
    Chebyshev,
    EdgeTanh,
    Fourier,
    Gaussian,
    KANLayer,
    Linear,
    Network,
    Polynomial,
    Siren,
    UserError,
    batches,
    fit,
    load,
    parameter_count,
    save,
)
from tinykan.interpret import attribution, edge_count, prune, remove

KNOTS = np.sort(np.random.default_rng(5).uniform(-3, 3, (6, 8)), axis=1)
MODELS = {
    "spline": lambda: KAN([2, 6, 2], BSpline(3, 2)),
    "deep": lambda: KAN([2, 5, 5, 2], Polynomial(2), activation="tanh"),
    "knots": lambda: Network(
        [KANLayer(2, 6, Polynomial(2)), KANLayer(6, 2, BSpline(3, 2, knots=KNOTS))]
    ),
    "shared knots": lambda: KAN([2, 6, 2], [Polynomial(2), BSpline(3, 2, knots=KNOTS[0])]),
    "no bias": lambda: KAN([2, 6, 2], Chebyshev(3), bias=False, spline_weight=False),
    "mask": lambda: Network(
        [KANLayer(2, 6, Linear(), mask=np.eye(2, 6) + np.eye(2, 6, 3)), KANLayer(6, 2, Linear())]
    ),
    "encoding": lambda: KAN([6, 4, 2], Polynomial(2), encoding=Gaussian(2, 3)),
    "norm": lambda: KAN([2, 6, 2], Chebyshev(2), norm="layer"),
    "edge tanh": lambda: Network([EdgeTanh(2, 6), EdgeTanh(6, 2)]),
    "siren": lambda: Siren([2, 6, 2]),
}


def samples(n: int = 64, width: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (n, width)).astype(np.float32)


def linear(*weights: np.ndarray) -> Network:
    """Layers of straight edges with these weights `[in, out]`, and no bias."""
    layers = []
    for weight in map(np.array, weights):
        layer = KANLayer(*weight.shape, Linear(), base=None, spline_weight=False, bias=False)
        layer.coefficients = Tensor(weight[:, None].astype(np.float32))
        layers.append(layer)
    return Network(layers)


def outputs(model: Network, x: np.ndarray) -> np.ndarray:
    return model(Tensor(x)).numpy()


def state(model: Network) -> dict[str, np.ndarray]:
    return {name: tensor.numpy().copy() for name, tensor in get_state_dict(model).items()}


def widths(model: Network) -> list[int]:
    return [model.layers[0].in_features, *(layer.out_features for layer in model.layers)]


def assert_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name], err_msg=name)
        assert values.dtype == other[name].dtype


def test_attribution_of_a_known_function():
    """y = 3 sin(pi x1) + 0.1 cos(pi x2) on full periods, where the parts are uncorrelated and of
    variances 9/2 and 0.01/2."""
    layer = KANLayer(2, 1, Fourier(1), base=None, spline_weight=False)
    layer.coefficients = Tensor(np.array([[[3.0], [0.0]], [[0.0], [0.1]]], dtype=np.float32))
    steps = np.arange(-1, 1, 0.125)
    x = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    found = attribution(Network([layer]), x)
    expected = np.array([3.0, 0.1]) / np.sqrt(9.01)
    np.testing.assert_allclose(found.edges[0][:, 0], expected, rtol=1e-5)  # float32
    np.testing.assert_allclose(found.nodes[0], expected, rtol=1e-5)
    np.testing.assert_array_equal(found.nodes[1], [1.0])


def test_attribution_passes_backwards_through_layers():
    """h1 = x1 + x2, h2 = x3 and y = 3 h1 + 4 h2 on orthogonal unit inputs."""
    model = linear([[1, 0], [1, 0], [0, 1]], [[3], [4]])
    x = np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)])
    found = attribution(model, x)
    root = np.sqrt(2)
    deviation = np.sqrt(9 * 2 + 16)
    hidden = np.array([3 * root, 4]) / deviation
    np.testing.assert_allclose(found.edges[1][:, 0], hidden, rtol=1e-6)
    expected = [[hidden[0] / root, 0], [hidden[0] / root, 0], [0, hidden[1]]]
    np.testing.assert_allclose(found.edges[0], expected, rtol=1e-6)
    np.testing.assert_allclose(found.nodes[0], np.sum(expected, axis=1), rtol=1e-6)


@needs_float64
def test_golden_attribution_is_pykans(golden):
    data = golden("pykan_attribution")
    layers = []
    for index in range(2):
        grid, coef, scale_base, scale_sp, mask = (
            data[f"layer_{index}/{name}"]
            for name in ("grid", "coef", "scale_base", "scale_sp", "mask")
        )
        basis = BSpline(grid.shape[1] - 7, 3, knots=Tensor(grid, dtype=dtypes.float64))
        layer = KANLayer(*coef.shape[:2], basis, bias=False, mask=mask)
        layer.coefficients = Tensor(coef.transpose(0, 2, 1), dtype=dtypes.float64)
        layer.spline_weight = Tensor(scale_sp, dtype=dtypes.float64)
        layer.base_weight = Tensor(scale_base, dtype=dtypes.float64)
        layers.append(layer)
    found = attribution(Network(layers), data["x"], output_scores=np.full(2, 0.5))
    # pykan adds 1e-4 to the deviation of every node, which here is 0.095 or more.
    for index in range(2):
        expected = data[f"edges_{index}"].T
        np.testing.assert_allclose(found.edges[index], expected, rtol=(2 - index) * 1.1e-3)
        np.testing.assert_allclose(
            found.nodes[index], data[f"nodes_{index}"], rtol=(2 - index) * 1.1e-3
        )
    np.testing.assert_array_equal(found.nodes[2], data["nodes_2"])
    assert data["layer_0/mask"][1, 2] == 0 == found.edges[0][1, 2]


@pytest.mark.parametrize("name", some(MODELS, "deep, knots, mask, encoding, edge tanh"))
def test_attribution_is_the_share_of_what_the_layers_compute(name):
    model, x = MODELS[name](), samples()
    found = attribution(model, x)
    assert [len(nodes) for nodes in found.nodes] == widths(model)
    for index, (layer, values) in enumerate(
        zip(model.layers, model.layer_inputs(Tensor(x)), strict=True)
    ):
        edges = layer.edges(values).numpy().astype(np.float64)
        for o in range(layer.out_features):
            node = edges[:, :, o].sum(axis=1).std()
            share = edges[:, :, o].std(axis=0) / node if node else np.zeros(len(edges[0]))
            expected = share * found.nodes[index + 1][o]
            np.testing.assert_allclose(found.edges[index][:, o], expected, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found.nodes[index], found.edges[index].sum(axis=1))


def test_what_does_not_vary_scores_nothing():
    x = samples(width=3)
    x[:, 2] = 0.3  # of a constant input
    model = KAN([3, 4, 2], BSpline(3, 2))
    values = model.layers[0].coefficients.numpy().copy()
    values[1] = 7.0  # the functions of the basis add up to 1
    model.layers[0].coefficients.assign(Tensor(values)).realize()
    model.layers[0].base_weight.assign(model.layers[0].base_weight * Tensor([[1.0], [0], [1]]))
    model.layers[1].coefficients.assign(model.layers[1].coefficients * Tensor([1.0, 0.0]))
    model.layers[1].base_weight.assign(model.layers[1].base_weight * Tensor([1.0, 0.0]))
    found = attribution(model, x)
    np.testing.assert_array_equal(found.edges[0][1:], 0)
    np.testing.assert_array_equal(found.edges[1][:, 1], 0)  # a constant output
    assert (found.edges[0][0] > 0).all() and (found.edges[1][:, 0] > 0).all()
    cancelling = attribution(linear([[1.0, 1.0]], [[0.7], [-0.7]]), samples(width=1))
    for scores in (*cancelling.edges, *cancelling.nodes[:-1]):
        np.testing.assert_array_equal(scores, 0)


def test_attribution_is_linear_in_the_scores_of_the_outputs():
    model, x = MODELS["deep"](), samples()
    first, second, both = (
        attribution(model, x, output_scores=np.array(scores)) for scores in ((1, 0), (0, 1), (2, 3))
    )
    for a, b, c in zip(first.edges, second.edges, both.edges, strict=True):
        np.testing.assert_allclose(2 * a + 3 * b, c)
    with pytest.raises(UserError, match=r"^output scores must be 2 numbers of 0 or more$"):
        attribution(model, x, output_scores=np.array([1.0, -1.0]))


@pytest.mark.parametrize("name", some(MODELS, "knots, mask, siren"))
def test_thresholds_of_zero_change_nothing(name):
    model, x = MODELS[name](), samples()
    pruned = prune(model, x, node_threshold=0, edge_threshold=0)
    assert_same(state(pruned), state(model))
    np.testing.assert_array_equal(outputs(pruned, x), outputs(model, x))
    assert edge_count(pruned) == edge_count(model)
    tensors = {id(tensor) for tensor in get_state_dict(model.layers).values() if tensor.is_param}
    assert not tensors & {id(tensor) for tensor in get_state_dict(pruned.layers).values()}


@pytest.mark.parametrize("name", some(MODELS, "deep, knots, no bias, siren"))
def test_a_pruned_network_is_smaller_and_whole(tmp_path, name):
    model, x = MODELS[name](), samples()
    before, scores = state(model), attribution(model, x)
    node_threshold = float(np.median(scores.nodes[-2]))
    pruned = prune(model, x, node_threshold=node_threshold, edge_threshold=node_threshold / 8)
    assert_same(state(model), before)
    assert edge_count(pruned) < edge_count(model)
    if model.norm is None:
        assert parameter_count(pruned) < parameter_count(model)
    else:
        assert widths(pruned) == widths(model)
    assert widths(pruned)[0] == widths(model)[0] and widths(pruned)[-1] == widths(model)[-1]
    for layer in pruned.layers:  # nothing dangles
        if model.norm is None and layer is not pruned.layers[0]:
            assert layer.live_edges().any(axis=1).all()
    save(pruned, tmp_path / "pruned.safetensors")
    again = load(tmp_path / "pruned.safetensors")
    assert_same(state(again), state(pruned))
    np.testing.assert_array_equal(outputs(again, x), outputs(pruned, x))
    assert np.isfinite(outputs(pruned, x)).all()


@pytest.mark.parametrize(
    "name", some(["spline", "knots", "no bias", "mask", "edge tanh", "siren"], "spline, edge tanh")
)
def test_a_pruned_node_leaves_its_mean(name):
    """On other points too: the pruned network is the original less the nodes, plus their mean."""
    model, x, others = MODELS[name](), samples(), samples(seed=1)
    scores = attribution(model, x)
    threshold = float(np.median(scores.nodes[1]))
    kept = scores.nodes[1] >= threshold
    pruned = prune(model, x, node_threshold=threshold, edge_threshold=0)
    assert widths(pruned) == [2, kept.sum(), 2]
    assert 0 < kept.sum() < 6

    def last_edges(points: np.ndarray) -> np.ndarray:
        return model.layers[-1].edges(model.layer_inputs(Tensor(points))[-1]).numpy()

    bias = 0.0 if model.layers[-1].bias is None else model.layers[-1].bias.numpy()
    left = last_edges(others)[:, kept].sum(axis=1) + bias
    removed = last_edges(x)[:, ~kept].mean(axis=0).sum(axis=0)
    np.testing.assert_allclose(outputs(pruned, others), left + removed, atol=1e-5)


weights = st.lists(st.floats(-2, 2, width=32), min_size=10, max_size=10)


def weighted(model: Network, last: int, scales: list[float]) -> None:
    """Multiplies the edges of layer `last`, those from one input by one number."""
    layer = model.layers[last]
    scale = Tensor(np.array(scales[: layer.in_features], dtype=np.float32))
    layer.coefficients.assign(layer.coefficients * scale.reshape(-1, 1, 1)).realize()
    layer.base_weight.assign(layer.base_weight * scale.unsqueeze(-1)).realize()


@pytest.mark.long
@given(weights, st.floats(0, 1.2))
@settings(max_examples=settings.default.max_examples // 3)
def test_outputs_deviate_by_the_scores_of_the_removed_nodes_at_most(scales, threshold):
    model, x = KAN([2, 5, 1], Polynomial(2)), samples()
    weighted(model, 1, scales)
    scores, y = attribution(model, x).nodes[1], outputs(model, x)
    pruned = prune(model, x, node_threshold=threshold, edge_threshold=0)
    kept = scores >= threshold
    assert widths(pruned)[1] == max(1, kept.sum())
    change = (outputs(pruned, x) - y).astype(np.float64)
    rounding = 1e-5 * (1 + np.abs(y).max())
    assert change.std() <= scores[~kept].sum() * y.std() + rounding
    assert abs(change.mean()) <= rounding
    assert (parameter_count(pruned) < parameter_count(model)) == (widths(pruned)[1] < 5)


@given(weights, st.floats(0, 1.2))
@settings(max_examples=settings.default.max_examples // 3)
def test_outputs_deviate_by_the_scores_of_the_removed_edges_at_most(scales, threshold):
    model, x = KAN([3, 2], Polynomial(2)), samples(width=3)
    weighted(model, 0, scales)
    scores, y = attribution(model, x).edges[0], outputs(model, x)
    pruned = prune(model, x, edge_threshold=threshold)
    np.testing.assert_array_equal(pruned.layers[0].live_edges(), scores >= threshold)
    change = (outputs(pruned, x) - y).astype(np.float64)
    rounding = 1e-5 * (1 + np.abs(y).max())
    bound = np.where(scores < threshold, scores, 0).sum(axis=0) * y.std(axis=0)
    assert (change.std(axis=0) <= bound + rounding).all()
    assert (np.abs(change.mean(axis=0)) <= rounding).all()


@given(
    st.lists(st.sampled_from(["live", "constant", "unread"]), min_size=5, max_size=5),
    st.lists(st.floats(-3, 3, width=32), min_size=5, max_size=5),
)
@settings(max_examples=settings.default.max_examples // 3)
def test_removing_what_is_constant_or_unread_changes_no_output(kinds, bias):
    model, x = KAN([2, 5, 2], Polynomial(2), base=None), samples()
    kinds = np.array(["live", *kinds[1:]])
    first, last = model.layers
    first.coefficients.assign(first.coefficients * Tensor((kinds != "constant").tolist()))
    first.bias.assign(Tensor(bias))
    last.coefficients.assign(
        last.coefficients * Tensor((kinds != "unread").tolist()).reshape(5, 1, 1)
    )
    Tensor.realize(*get_state_dict(model).values())
    y = outputs(model, x)
    pruned = prune(model, x, node_threshold=1e-6, edge_threshold=1e-6)
    assert widths(pruned) == [2, (kinds == "live").sum(), 2]
    np.testing.assert_allclose(outputs(pruned, x), y, atol=2e-5 * (1 + np.abs(y).max()))


def test_nodes_that_lost_their_edges_go_too():
    """h1 = 3 x1; h2 = x1 + ... + x12 and h3 = h2 / 10 reach y = h1 + h3 by edges of low score."""
    first = np.stack([3 * np.eye(12)[0], np.ones(12)], axis=1)
    model = linear(first, [[1, 0], [0, 0.1]], [[1], [1]])
    x = samples(512, 12)
    scores = attribution(model, x)
    assert (scores.nodes[1] > 0.03).all() and (scores.edges[0][:, 1] < 0.06).all()
    pruned = prune(model, x, node_threshold=0.03, edge_threshold=0.06)
    assert widths(pruned) == [12, 1, 1, 1]
    assert edge_count(pruned) == 3
    mean = 0.1 * x.sum(axis=1).mean()
    np.testing.assert_allclose(outputs(pruned, x)[:, 0], 3 * x[:, 0] + mean, atol=1e-5)
    kept = prune(model, x, node_threshold=0, edge_threshold=0.06)
    assert widths(kept) == [12, 2, 2, 1]


def test_nodes_that_nothing_reads_any_more_go_too():
    """Twelve outputs 10 x1 + x2, by way of a node for each: the second matters to all, a little."""
    model = linear(np.eye(2), [[10] * 12, [1] * 12])
    x = samples(512)
    scores = attribution(model, x)
    assert scores.nodes[1][1] > 1 and (scores.edges[1][1] < 0.15).all()
    pruned = prune(model, x, node_threshold=0.5, edge_threshold=0.15)
    assert widths(pruned) == [2, 1, 12]
    assert edge_count(pruned) == 13
    expected = 10 * x[:, :1] + x[:, 1].mean()
    np.testing.assert_allclose(outputs(pruned, x), np.tile(expected, 12), atol=1e-5)


def test_a_constant_network_keeps_a_node_in_every_layer():
    model, x = linear([[0, 0]] * 2, [[0] * 3] * 2, [[0]] * 3), samples()
    for layer in model.layers:
        layer.bias = Tensor(np.full(layer.out_features, 0.5, dtype=np.float32))
    pruned = prune(model, x)
    assert widths(pruned) == [2, 1, 1, 1]
    assert edge_count(pruned) == 0
    np.testing.assert_array_equal(outputs(pruned, x), outputs(model, x))


@pytest.mark.parametrize("name", some(["spline", "edge tanh"], "edge tanh"))
def test_training_does_not_bring_an_edge_back(name):
    model, x = MODELS[name](), samples()
    pruned = prune(model, x, node_threshold=0.2, edge_threshold=0.15)
    before, start = [layer.live_edges() for layer in pruned.layers], state(pruned)
    assert not all(live.all() for live in before)
    fit(pruned, batches(x, x), steps=3, progress=False)
    for layer, live in zip(pruned.layers, before, strict=True):
        np.testing.assert_array_equal(layer.live_edges(), live)
        edges = layer.edges(Tensor(samples(width=layer.in_features))).numpy()
        np.testing.assert_array_equal(np.abs(edges).max(axis=0) > 0, live)
    assert any((values != start[key]).any() for key, values in state(pruned).items())


@needs_float64
def test_weights_keep_their_type():
    with float64():
        model = KAN([2, 5, 1], Chebyshev(3), bias=False)
    pruned = prune(model, samples(), node_threshold=0.3, edge_threshold=0.3)
    assert {tensor.dtype for tensor in get_state_dict(pruned).values()} == {dtypes.float64}
    assert {"layers.1.bias", "layers.0.mask"} <= get_state_dict(pruned).keys()


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((0, 2)), r"samples of shape \(0, 2\): there must be at least one row and column"),
        (np.zeros((1, 2)), r"samples of shape \(1, 2\): at least 2 rows are needed"),
        (np.zeros((4, 3)), r"samples of shape \(4, 3\): the last dimension must be 2"),
        (np.zeros(4), r"samples of shape \(4,\): \[n, 2\] is needed"),
        (
            np.array([[0, 0], [np.nan, 0]]),
            "samples hold nan in row 1, column 0: .*finite.*",
        ),
        (
            np.array([[0, np.inf], [0, 0]]),
            "samples hold inf in row 0, column 1: .*finite.*",
        ),
        ("points", "samples of type str: an array of numbers is needed"),
        ([[1, 2], [3]], "samples cannot be made an array of numbers .*"),
    ],
)
def test_what_are_no_samples_is_one_line(x, message):
    for use in (attribution, prune):
        with pytest.raises(UserError, match=f"^{message}$"):
            use(KAN([2, 3, 1]), x)


@pytest.mark.parametrize("option", ["node_threshold", "edge_threshold"])
@pytest.mark.parametrize("value", [-0.1, np.nan, np.inf, "low", None])
def test_what_is_no_threshold_is_one_line(option, value):
    with pytest.raises(UserError, match=f"^{option} .* must be a number of 0 or more$"):
        prune(KAN([2, 3, 1]), samples(), **{option: value})


def test_a_network_that_is_not_finite_is_one_line():
    model = linear([[1.0], [np.nan]], [[1.0]])
    with pytest.raises(UserError, match=r"^layer 1 is not finite on these samples: [^\n]*$"):
        attribution(model, samples())


def test_nodes_and_edges_are_removed_by_number():
    model = KAN([3, 4, 2], BSpline(4), seed=0)
    x = np.random.default_rng(0).uniform(-1, 1, (200, 3)).astype(np.float32)
    _, second = (
        layer.edges(v).numpy()
        for layer, v in zip(model.layers, model.layer_inputs(Tensor(x)), strict=True)
    )
    without = remove(model, x, nodes=[(1, 2)], edges=[(1, 0, 1)])
    assert without.widths == [3, 3, 2]
    kept = second.copy()
    kept[:, 2], kept[:, 0, 1] = second[:, 2].mean(0), second[:, 0, 1].mean()
    expected = kept.sum(1) + model.layers[1].bias.numpy()
    # Sums of some terms of size 1 in float32.
    np.testing.assert_allclose(without(Tensor(x)).numpy(), expected, atol=1e-5)


def test_an_input_is_removed_by_number():
    model = KAN([3, 4, 2], BSpline(4), seed=0)
    x = np.random.default_rng(0).uniform(-1, 1, (200, 3)).astype(np.float32)
    without = remove(model, x, nodes=[(0, 1)])
    layer = model.layers[0]
    edges = layer.edges(Tensor(x)).numpy()
    edges[:, 1] = edges[:, 1].mean(0)
    nodes = Tensor((edges.sum(1) + layer.bias.numpy()).astype(np.float32))
    expected = model.layers[1](nodes).numpy()
    np.testing.assert_allclose(without(Tensor(x[:, [0, 2]])).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nodes": [(2, 0)]}, "layer 2 must be a whole number from 0 to 1"),
        ({"nodes": [(1, 3)]}, "input of layer 1 3"),
        ({"nodes": [(0, 0), (0, 1)]}, "layer 0 would have no inputs left"),
        ({"edges": [(0, 0, 3)]}, "output of layer 0 3"),
        ({"edges": [(0, 1, 0), (0, 1, 0)]}, r"edge \(0, 1, 0\) is not there"),
    ],
)
def test_what_cannot_be_removed_is_one_line(options, message):
    model = KAN([2, 3, 1], BSpline(3))
    with pytest.raises(UserError, match=message):
        remove(model, np.random.default_rng(0).uniform(-1, 1, (20, 2)), **options)

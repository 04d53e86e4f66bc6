"""A network for everything that a saved file can hold, and points inside and outside its range."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tinygrad import Tensor

from tests.helpers import some
from tinykan import (
    KAN,
    MLP,
    RBF,
    BSpline,
    Chebyshev,
    EdgeTanh,
    Fourier,
    Gaussian,
    KANLayer,
    Linear,
    Network,
    Polynomial,
    Sines,
    Siren,
    Wavelet,
)
from tinykan.activations import ACTIVATIONS
from tinykan.export import evaluate, lowered
from tinykan.interpret.library import LIBRARY
from tinykan.interpret.products import MultiplicationLayer
from tinykan.interpret.symbolic import SymbolicLayer
from tinykan.layers import Layer
from tinykan.runs.presets import MODELS, ModelOptions, build
from tinykan.tasks.standardization import Units
from tinykan.tensors import learnable, like
from tinykan.variants import Functions, NeRF, NodeLayer, Raw, Scaled


def moved(intervals: int, order: int, seed: int, rows: int = 2) -> BSpline:
    """Splines on uneven knots, other ones for each input if there are several `rows`."""
    gaps = np.random.default_rng(seed).uniform(0.2, 1.0, (rows, intervals + 2 * order + 1))
    knots = np.cumsum(gaps, axis=1)
    inside = slice(order, order + intervals + 1)
    low, high = knots[:, inside].min(1, keepdims=True), knots[:, inside].max(1, keepdims=True)
    return BSpline(intervals, order, knots=2 * (knots - low) / (high - low) - 1)


def repeated() -> BSpline:
    """Knots that coincide, at the ends and inside."""
    return BSpline(4, 3, knots=[-1.0] * 4 + [-0.5, 0.25, 0.25] + [1.0] * 4)


def kan_layer(*arguments, **options) -> KANLayer:
    return KANLayer(*arguments, **options, rng=np.random.default_rng(7))


def edge_tanh(*arguments, **options) -> EdgeTanh:
    return EdgeTanh(*arguments, **options, rng=np.random.default_rng(8))


def layers(*made: Layer, **options) -> Network:
    return Network(list(made), **options)


def masked(basis, base: str | None = "silu") -> Network:
    mask = np.array([[1, 0, 1], [0, 0, 1]])
    return layers(
        kan_layer(2, 3, basis, base=base, mask=mask), kan_layer(3, 1, mask=[[1], [0], [1]])
    )


def symbolic() -> Network:
    """Every function of the library, on edges whose arguments lie within their domains."""
    names = list(LIBRARY)
    rng = np.random.default_rng(4)
    affine = np.stack([rng.uniform(0.1, 0.2, len(names)), np.full(len(names), 0.6)], axis=1)
    affine = np.concatenate([affine, rng.uniform(-1, 1, (len(names), 2))], axis=1)
    edges = [(n % 2, n // 2, name) for n, name in enumerate(names)]
    first = SymbolicLayer(kan_layer(2, (len(names) + 2) // 2), edges, affine)
    one = SymbolicLayer(kan_layer(first.out_features, 1, BSpline(3, 2)), [(0, 0, "sin")])
    return layers(first, one)


def standardized() -> Network:
    return layers(kan_layer(2, 3), kan_layer(3, 2), encoding=Units((0.3, -0.2), (1.5, 0.7)))


def trained(model: Network, seed: int = 0) -> Network:
    """Biases, weights and scales as training leaves them: all different, and none at its start."""
    rng = np.random.default_rng(seed)
    for tensor in learnable(model):
        start = tensor.numpy()
        tensor.replace(like(tensor, start + rng.normal(0, 0.05, start.shape)))
    return model


def preset(name: str) -> Network:
    # Where layers are normalized, or frequencies rise with their arguments, errors of float32 grow
    # from layer to layer.
    one_hidden = {"rbf": 985, "wavelet": 1023, "finer": 601}
    parameters, depth = (one_hidden[name], 1) if name in one_hidden else (600, 2)
    # Of degree 64, polynomials multiply the last bit of tanh by up to 4,096.
    basis = "Chebyshev(8), Linear, ..." if name == "sl2a" else None
    options = ModelOptions(model=name, parameters=parameters, depth=depth, basis=basis)
    encodings = {"octaves": Sines(2, 4), "none": None, "scaled(2)": Scaled(2, 2.0)}
    return build(options, 2, 1, encoding=encodings[MODELS[name].encoding])


NETWORKS: dict[str, Callable[[], Network]] = {
    **{name: (lambda name=name: preset(name)) for name in MODELS},
    **{
        f"activation {name}": (lambda name=name: MLP([2, 4, 2], name))
        for name in ACTIVATIONS
    },
    **{
        f"base {name}": (lambda name=name: KAN([2, 2], BSpline(3, 2), base=name))
        for name in (None, *ACTIVATIONS)
    },
    **{
        f"spline of order {order}": (lambda order=order: KAN([2, 3, 1], BSpline(6 - order, order)))
        for order in range(1, 6)
    },
    **{
        f"moved knots of order {order}": (
            lambda order=order: layers(
                kan_layer(2, 3, moved(4, order, 1)), kan_layer(3, 1, moved(5, order, 2, rows=1))
            )
        )
        for order in range(1, 6)
    },
    "repeated knots": lambda: layers(kan_layer(2, 3, repeated()), kan_layer(3, 2, repeated())),
    "another domain": lambda: KAN([2, 3, 1], [BSpline(7, 3, (-0.3, 1.1)), RBF(4, (-2.0, 0.5))]),
    "many intervals": lambda: KAN([2, 3, 1], BSpline(100, 3)),
    "one interval": lambda: KAN([2, 3, 1], BSpline(1, 3)),
    "polynomial of degree 5": lambda: KAN([2, 3, 1], Polynomial(5), base=None),
    "Gaussians": lambda: KAN([2, 3, 1], RBF(5)),
    "Chebyshev of degree 6": lambda: KAN([2, 3, 1], Chebyshev(6)),
    "period": lambda: KAN([2, 3, 1], Fourier(5, 3.5), base=None),
    "mexican hat": lambda: KAN([2, 3, 1], Wavelet(3)),
    "morlet": lambda: KAN([2, 3, 1], Wavelet(2, "morlet")),
    "dog": lambda: KAN([2, 3, 1], Wavelet(2, "dog")),
    "mixed": lambda: KAN([2, 3, 1], [Polynomial(3), Linear()], activation="tanh", base="tanh"),
    "norm": lambda: KAN([2, 3, 1, 3, 1], BSpline(4, 3, (-2, 2)), activation="gelu", norm="layer"),
    "no bias": lambda: KAN([2, 3, 1], bias=False, spline_weight=False),
    "one layer": lambda: KAN([2, 3]),
    "masked": lambda: masked(BSpline(4, 3)),
    "masked, dense": lambda: masked(Fourier(2)),
    "no edges": lambda: layers(kan_layer(2, 3, mask=np.zeros((2, 3))), kan_layer(3, 2)),
    "edge tanh": lambda: layers(edge_tanh(2, 3, 3), edge_tanh(3, 1, 2, bias=False)),
    "nodes of rank 2": lambda: layers(
        NodeLayer(2, 3, BSpline(6, 3), rank=2, start="sine"),
        NodeLayer(3, 2, Fourier(2), shared=True, rank=2, start="sine", bias=False),
    ),
    "copies on nodes": lambda: layers(
        NodeLayer(2, 3, Functions("sine"), copies=2, omega=3.0),
        NodeLayer(3, 1, Functions("gauss1"), copies=3, shared=True, omega=2.0),
    ),
    "products": lambda: KAN([2, [3, 2], [0, 1], 5]),
    "products of several": lambda: layers(
        kan_layer(2, 6), MultiplicationLayer([[4, 0, 2], [1], [5, 3]]), kan_layer(3, 1),
        MultiplicationLayer([[0]]),
    ),
    "functions": lambda: KAN([2, 3, 1], Functions("sine2 gauss1 tanh"), base=None),
    "symbolic": symbolic,
    "units": standardized,
    "three channels": lambda: Siren([2, 8, 8, 3]),
    "raw": lambda: MLP([2, 3, 1], encoding=Raw(2)),
    "scaled": lambda: Siren([2, 4, 1], encoding=Scaled(2, 2.5)),
    "sines": lambda: KAN([16, 3, 1], encoding=Sines(2, 8)),
    "sines of one channel": lambda: KAN([2, 3, 1], encoding=Sines(2, 1)),
    "sines of other channels": lambda: KAN([10, 3, 1], encoding=Sines(3, (1, 6, 3))),
    "nerf": lambda: KAN([16, 3, 1], encoding=NeRF(2, 4)),
    "gaussian": lambda: MLP([12, 3, 1], "relu", encoding=Gaussian(2, 6, scale=3.0, seed=7)),
}  # fmt: skip


# All of them where long tests run, else one of each kind.
EVERY_NETWORK = some(
    NETWORKS,
    "tanh, siren, finer, sine-quadratic, siren-kan, spline-sines, sl2a, staf, shared-spline, "
    "spline, rbf, chebyshev, wavelet, edge-tanh, activation gelu, base None, base relu, "
    "moved knots of order 3, repeated knots, another domain, one interval, norm, no bias, masked, "
    "no edges, nodes of rank 2, copies on nodes, products of several, symbolic, units, "
    "three channels, sines of other channels, nerf, gaussian",
)


def points(model: Network, count: int = 400) -> np.ndarray:
    """Half of them within [-1, 1], half far beyond; and the corners `[n, in]`, float32."""
    rng = np.random.default_rng(3)
    shape = (count // 2, model.in_features)
    corners = np.array([np.full(model.in_features, v) for v in (-1.0, 0.0, 1.0, 2.0, -2.0)])
    rows = [rng.uniform(-1, 1, shape), rng.uniform(-3, 3, shape), corners]
    return np.concatenate(rows).astype(np.float32)


def outputs(model: Network, x: np.ndarray) -> np.ndarray:
    return model(Tensor(x)).numpy()


def settled(model: Network) -> tuple[np.ndarray, np.ndarray]:
    """Points and the outputs of `model` there, but for points where float32 cannot compute the
    network to 1e-5: where its own error, or that of rounding the point, exceeds a third of it."""
    x, program = points(model), lowered(model)
    given, exact = outputs(model, x), evaluate(program, x)
    nearby = [evaluate(program, x * (1 + sign * 2.0**-23)) for sign in (-1, 1)]
    errors = np.abs(np.stack([given, *nearby]) - exact) / (1 + np.abs(exact))
    known = errors.max(axis=(0, 2)) < 3e-6
    assert known.mean() > 0.25
    return x[known], given[known]

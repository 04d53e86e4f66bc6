"""Networks: lists of layers with a node activation between them; their size, and their use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from tinygrad import Tensor, TinyJit, dtypes

from tinykan.activations import ACTIVATIONS
from tinykan.basis import Basis, BSpline, Linear
from tinykan.encoding import Encoding
from tinykan.errors import UserError, lookup
from tinykan.layers import EdgeTanh, KANLayer, learnable


def layer_norm(x: Tensor) -> Tensor:
    """Each sample's features less their mean and divided by their spread (Ba et al. 2016), without
    learned scales. Equal features become 0. A single feature is left as it is: it would be 0
    always."""
    return x.layernorm(eps=1e-5) if x.shape[-1] > 1 else x


NORMS = {"layer": layer_norm}


class Network:
    """An optional encoding, then layers with a node activation, a name of ACTIVATIONS, between
    them: `[..., in_features]` to `[..., out_features]`. `norm` names one of NORMS, for the input
    of each layer but the first, after the activation. Most features are then within (-2, 2): with
    it, give bases that domain, as FastKAN does."""

    def __init__(
        self,
        layers: Sequence[KANLayer | EdgeTanh],
        activation: str = "identity",
        encoding: Encoding | None = None,
        norm: str | None = None,
    ) -> None:
        lookup("activation", activation, ACTIVATIONS)
        if norm is not None:
            lookup("norm", norm, NORMS)
        self.layers, self.activation, self.encoding = list(layers), activation, encoding
        self.norm = norm
        chain = [*([encoding] if encoding else []), *self.layers]
        for before, after in pairwise(chain):
            if before.out_features != after.in_features:
                raise UserError(
                    f"{before!r} gives {before.out_features} features, "
                    f"{after!r} takes {after.in_features}"
                )
        self.in_features, self.out_features = chain[0].in_features, chain[-1].out_features

    def __call__(self, x: Tensor) -> Tensor:
        return self.layers[-1](self.layer_inputs(x)[-1])

    def layer_inputs(self, x: Tensor) -> list[Tensor]:
        """The input of every layer `[..., its in_features]`, in order, for the network's `x`."""
        if x.ndim < 1 or x.shape[-1] != self.in_features:
            raise UserError(
                f"input of shape {x.shape}: the last dimension must be {self.in_features}"
            )
        values = [x if self.encoding is None else self.encoding(x).contiguous()]
        for layer in self.layers[:-1]:
            nodes = layer(values[-1])
            if self.activation != "identity":
                nodes = ACTIVATIONS[self.activation](nodes)
            # Realized, or the next layer's product would activate each node once for every output.
            nodes = nodes.contiguous()
            values.append(NORMS[self.norm](nodes).contiguous() if self.norm else nodes)
        return values

    @property
    def widths(self) -> list[int]:
        """The number of features before the first layer, and after each layer."""
        return [self.layers[0].in_features, *(layer.out_features for layer in self.layers)]

    def __repr__(self) -> str:
        parts = ",\n  ".join(map(repr, self.layers))
        encoding = "" if self.encoding is None else f", encoding={self.encoding!r}"
        norm = "" if self.norm is None else f", norm={self.norm!r}"
        return f"Network([\n  {parts}],\n  activation={self.activation!r}{encoding}{norm})"


class KAN(Network):
    """A Kolmogorov-Arnold network: `KAN([2, 5, 1])` is PyKAN's [2, 5, 1] with cubic splines.

    `basis` is one for all layers, or a list with one for each. `activation` names what stands on
    the nodes, `norm` what normalises them; PyKAN has nothing there.
    """

    def __init__(
        self,
        widths: Sequence[int],
        basis: Basis | Sequence[Basis] | None = None,
        *,
        activation: str = "identity",
        base: str | None = "silu",
        spline_weight: bool = True,
        bias: bool = True,
        encoding: Encoding | None = None,
        norm: str | None = None,
        seed: int = 0,
    ) -> None:
        pairs = _pairs(widths)
        basis = BSpline() if basis is None else basis
        bases = [basis] * len(pairs) if isinstance(basis, Basis) else list(basis)
        if len(bases) != len(pairs):
            raise UserError(f"{len(bases)} bases for {len(pairs)} layers")
        rng = np.random.default_rng(seed)
        layers = [
            KANLayer(i, o, b, base=base, spline_weight=spline_weight, bias=bias, rng=rng)
            for (i, o), b in zip(pairs, bases, strict=True)
        ]
        super().__init__(layers, activation, encoding, norm)


class MLP(Network):
    """A multilayer perceptron: the same network on the basis `Linear`."""

    def __init__(
        self,
        widths: Sequence[int],
        activation: str = "tanh",
        *,
        bias: bool = True,
        encoding: Encoding | None = None,
        seed: int = 0,
    ) -> None:
        rng = np.random.default_rng(seed)
        initializer = "uniform" if activation == "relu" else "glorot"
        layers = [_dense(i, o, initializer, rng, bias) for i, o in _pairs(widths)]
        super().__init__(layers, activation, encoding)


class Siren(Network):
    """A network of sines (Sitzmann et al. 2020) with their initialization and frequency, 30."""

    def __init__(
        self, widths: Sequence[int], *, encoding: Encoding | None = None, seed: int = 0
    ) -> None:
        rng = np.random.default_rng(seed)
        kinds = ["siren-first"] + ["siren-hidden"] * len(widths)
        pairs = _pairs(widths)
        layers = [_dense(i, o, kind, rng) for (i, o), kind in zip(pairs, kinds, strict=False)]
        super().__init__(layers, "sine30", encoding)


class EdgeTanhNetwork(Network):
    """Layers of EdgeTanh, with nothing on the nodes."""

    def __init__(
        self,
        widths: Sequence[int],
        degree: int = 2,
        *,
        encoding: Encoding | None = None,
        seed: int = 0,
    ) -> None:
        rng = np.random.default_rng(seed)
        layers = [EdgeTanh(i, o, degree, rng=rng) for i, o in _pairs(widths)]
        super().__init__(layers, "identity", encoding)


class Predictor:
    """A network for NumPy arrays: any number of points, `chunk` at a time, in bounded memory. One
    compiled forward pass serves them all; it is compiled at the first call."""

    def __init__(self, model: Network, chunk: int = 16384) -> None:
        if chunk < 1:
            raise UserError(f"{chunk} points at a time: at least 1 is needed")
        self.model, self.in_features, self.chunk = model, model.in_features, chunk
        self._memory: object = None  # that holds the weights
        self._forward: Callable[[Tensor], Tensor]

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """`[n, in_features]` to `[n, out_features]`."""
        weight, results = learnable(self.model)[0].realize(), []
        # Compiled code is bound to the memory of the weights, which moves from device to device.
        if weight.uop.base.realized is not self._memory:
            self._memory = weight.uop.base.realized
            self._forward = TinyJit(lambda x: self.model(x).realize())
        for start in range(0, len(x), self.chunk):
            part = x[start : start + self.chunk]
            padded = np.zeros(
                (self.chunk, self.in_features),
                dtype=np.float64 if weight.dtype == dtypes.float64 else np.float32,
            )
            padded[: len(part)] = part
            y = self._forward(Tensor(padded).to(weight.device).realize())
            results.append(y.numpy()[: len(part)].copy())
        return np.concatenate(results)


def parameter_count(model: Network) -> int:
    """The number of learnable numbers in `model`."""
    return sum(int(p.numel()) for p in learnable(model))


def widths_for(
    parameters: int,
    depth: int,
    basis: Basis | Sequence[Basis],
    in_features: int,
    out_features: int,
    *,
    base: str | None = "silu",
    spline_weight: bool = True,
    bias: bool = True,
) -> list[int]:
    """Widths `[in, hidden * depth, out]` of a KAN with `parameters` learnable numbers, to 2 %.

    `basis` is one for all layers or a list with one for each. All hidden layers are equally wide
    but the last, which takes up the difference. Raises UserError, naming the nearest size, if no
    such network comes within 2 %.
    """
    bases = [basis] * (depth + 1) if isinstance(basis, Basis) else basis
    per_edge = [b.n_functions + (base is not None) + spline_weight for b in bases]
    return edge_widths(parameters, per_edge, in_features, out_features, bias=bias)


def edge_widths(
    parameters: int, per_edge: Sequence[int], inputs: int, outputs: int, *, bias: bool = True
) -> list[int]:
    """`widths_for` layers with `per_edge` learnable numbers on each edge, layer by layer."""
    depth = len(per_edge) - 1
    if parameters < 1 or depth < 1:
        raise UserError(
            f"{parameters} parameters in {depth} hidden layers: both must be at least 1"
        )

    def count(widths: list[int]) -> int:
        return sum(o * (i * e + bias) for (i, o), e in zip(pairwise(widths), per_edge, strict=True))

    def filled(width: int) -> list[int]:
        start = [inputs, *[width] * (depth - 1)]
        before, after = per_edge[depth - 1], per_edge[depth]
        unit = start[-1] * before + bias + after * outputs  # what one more node costs
        rest = parameters - count([*start, 0, outputs])
        return [*start, max(1, round(rest / unit)), outputs]

    widest = 1 if depth == 1 else int(parameters**0.5) + 1
    candidates = [filled(width) for width in range(1, widest + 1)]
    fitting = [c for c in candidates if abs(count(c) - parameters) <= 0.02 * parameters]
    if not fitting:
        nearest = min(candidates, key=lambda c: abs(count(c) - parameters))
        raise UserError(
            f"no network of {depth} hidden layers from {inputs} to {outputs} features comes within "
            f"2 % of {parameters} parameters; the nearest, {widths_text(nearest)}, "
            f"has {count(nearest)}"
        )
    return min(fitting, key=lambda c: (abs(c[-2] - c[1]), abs(count(c) - parameters)))


def widths_text(widths: Sequence[int]) -> str:
    """Widths as the scripts print them: 16-28-22-1."""
    return "-".join(map(str, widths))


def _dense(
    i: int, o: int, initializer: str, rng: np.random.Generator, bias: bool = True
) -> KANLayer:
    return KANLayer(
        i, o, Linear(), base=None, spline_weight=False, bias=bias, initializer=initializer, rng=rng
    )


def _pairs(widths: Sequence[int]) -> list[tuple[int, int]]:
    if len(widths) < 2:
        raise UserError(f"widths {list(widths)}: at least an input and an output width are needed")
    return list(pairwise(widths))

"""Networks: layers with a node activation between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from tinygrad import Tensor

from tinykan.activations import ACTIVATIONS
from tinykan.basis import Basis, BSpline, Linear
from tinykan.errors import UserError, lookup, other_names
from tinykan.kernels import activated
from tinykan.layers import LAYERS, KANLayer, Layer, check_input
from tinykan.tensors import learnable

ENCODINGS: dict[str, type[Encoding]] = {}  # by the names of their classes, for saved files
NORMS: dict[str, Callable[[Tensor], Tensor]] = {}  # of the features of a layer


class Encoding:
    """A positional encoding, `[..., in_features]` coordinates to `[..., out_features]` features.
    Subclasses are frozen dataclasses, which compare, print and are saved by their options."""

    in_features: int

    def __init_subclass__(cls) -> None:
        ENCODINGS[cls.__name__] = cls

    @property
    def out_features(self) -> int:
        raise NotImplementedError

    def __call__(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class Network:
    """An optional encoding, then layers with a node activation, a name of ACTIVATIONS, between
    them: `[..., in_features]` to `[..., out_features]`. `norm` names one of NORMS, for the input
    of each layer but the first, after the activation. Most features are then within (-2, 2): with
    it, give bases that domain, as FastKAN does."""

    def __init__(
        self,
        layers: Sequence[Layer],
        activation: str = "identity",
        encoding: Encoding | None = None,
        norm: str | None = None,
    ) -> None:
        lookup("activation", activation, ACTIVATIONS)
        if norm is not None:
            lookup("norm", norm, NORMS)
        self.layers, self.activation, self.encoding = list(layers), activation, encoding
        self.norm = norm
        chain: list[Any] = [*([encoding] if encoding else []), *self.layers]
        for before, after in pairwise(chain):
            given, taken = before.out_features, after.in_features
            if given != taken:
                raise UserError(f"{before!r} gives {given} features, {after!r} takes {taken}")
        self.in_features, self.out_features = chain[0].in_features, chain[-1].out_features

    def __call__(self, x: Tensor) -> Tensor:
        return self.layers[-1](self.layer_inputs(x)[-1])

    def layer_inputs(self, x: Tensor) -> list[Tensor]:
        """The input of every layer `[..., its in_features]`, in order, for the network's `x`."""
        check_input(self, x)
        values = [x if self.encoding is None else self.encoding(x).contiguous()]
        for layer in self.layers[:-1]:
            nodes = layer(values[-1])
            # Realized, or the next layer's product would activate each node once for every output.
            kernels = getattr(layer, "kernels", "auto")
            nodes = activated(nodes, ACTIVATIONS[self.activation], kernels)
            values.append(NORMS[self.norm](nodes).contiguous() if self.norm else nodes)
        return values

    @property
    def widths(self) -> list[int]:
        """The number of features before the first layer, and after each layer."""
        return [self.layers[0].in_features, *(layer.out_features for layer in self.layers)]

    def __repr__(self) -> str:
        parts = ",\n  ".join(map(repr, self.layers))
        options = {"encoding": self.encoding, "norm": self.norm}
        given = "".join(f", {k}={v!r}" for k, v in options.items() if v is not None)
        return f"Network([\n  {parts}],\n  activation={self.activation!r}{given})"


class KAN(Network):
    """A Kolmogorov-Arnold network: `KAN([2, 5, 1])` is PyKAN's [2, 5, 1] with cubic splines; PyKAN
    has no `activation` and no `norm`. `basis` is one for all layers, or a list. A width `[3, 2]` is
    three sums, then two products of two sums each: a layer of seven, and a MultiplicationLayer.
    `initializer` names one of INITIALIZERS for all layers, or one for the first, one for others."""

    @other_names(width="widths=", grid="basis=BSpline(grid)", k="basis=BSpline(intervals, order=k)")
    def __init__(
        self,
        widths: Sequence[int | Sequence[int]],
        basis: Basis | Sequence[Basis] | None = None,
        *,
        activation: str = "identity",
        base: str | None = "silu",
        spline_weight: bool = True,
        bias: bool = True,
        encoding: Encoding | None = None,
        norm: str | None = None,
        initializer: str | tuple[str, str] | None = None,
        seed: int = 0,
    ) -> None:
        if (count := len(widths) - 1) < 1:
            problem = "at least an input and an output width are needed"
            raise UserError(f"widths {list(widths)}: {problem}")
        basis = BSpline() if basis is None else basis
        bases = [basis] * count if isinstance(basis, Basis) else list(basis)
        if wrong := [b for b in (basis, *bases) if not isinstance(b, Basis | list | tuple)]:
            raise UserError(f"basis {wrong[0]!r}: a Basis is needed, such as BSpline(5, 3)")
        if len(bases) != count:
            raise UserError(f"{len(bases)} bases for {count} layers")
        rng = np.random.default_rng(seed)
        first, others = initializer if isinstance(initializer, tuple) else [initializer] * 2
        names = [first] + [others] * (count - 1)
        layers: list[Any] = []
        features, *rest = list[Any](widths)
        for width, b, name in zip(rest, bases, names, strict=True):
            found = isinstance(width, Sequence) and LAYERS["MultiplicationLayer"]
            products = [found.from_config({"width": width}, {})] if found else []
            o = products[0].in_features if products else width
            layer = KANLayer(
                features, o, b, base=base, spline_weight=spline_weight, bias=bias,
                initializer=name, rng=rng,
            )  # fmt: skip
            layers += [layer, *products]
            features = layers[-1].out_features
        super().__init__(layers, activation, encoding, norm)


class MLP(KAN):
    """A multilayer perceptron: the same network on the basis Linear."""

    def __init__(
        self, widths: Sequence[int], activation: str = "tanh", *, bias: bool = True,
        encoding: Encoding | None = None, initializer: str | tuple[str, str] | None = None,
        seed: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(
            widths, Linear(), activation=activation, base=None, spline_weight=False, bias=bias,
            initializer=initializer or ("uniform" if activation == "relu" else None),
            encoding=encoding, seed=seed,
        )  # fmt: skip


def parameter_count(model: Network) -> int:
    """The number of parameters of `model`."""
    return sum(int(p.numel()) for p in learnable(model))

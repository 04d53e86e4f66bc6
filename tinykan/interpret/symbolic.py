"""Layers with symbolic edges (KAN paper, arXiv:2404.19756, sec. 2.5.1)."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TypeVar

import numpy as np
from tinygrad import Tensor

from tinykan.basis import Linear
from tinykan.checkpoint import CheckpointError
from tinykan.errors import UserError, lookup
from tinykan.interpret.library import LIBRARY
from tinykan.layers import LAYERS, KANLayer, Layer
from tinykan.tensors import like

Affine = tuple[float, float, float, float]  # a, b, c, d of c f(a x + b) + d


class SymbolicLayer:
    """A layer some of whose edges are functions of LIBRARY with four affine parameters each:

        y[o] = layer(x)[o] + sum_i (c f(a x[i] + b) + d)   over the symbolic edges from i to o

    `functions` lists the symbolic edges as (i, o, name), at most one for each i and o; `affine`
    `[len(functions), 4]` has their a, b, c, d, by default 1, 0, 1, 0. The other edges are those of
    `layer`, of which a copy without the symbolic edges is kept; if no other edge is left, only its
    bias. Raises UserError for an unknown function, for edges outside the layer or listed twice, and
    for affine parameters of another shape.

    >>> SymbolicLayer(KANLayer(2, 1), [(0, 0, "sin")])(Tensor.zeros(5, 2)).shape
    (5, 1)
    """

    def __init__(
        self,
        layer: KANLayer,
        functions: Sequence[tuple[int, int, str]],
        affine: np.ndarray | None = None,
    ) -> None:
        self.in_features, self.out_features = layer.in_features, layer.out_features
        affine = np.tile([1.0, 0.0, 1.0, 0.0], (len(functions), 1)) if affine is None else affine
        if not functions or np.shape(affine) != (len(functions), 4):
            raise UserError(
                f"{len(functions)} functions and affine parameters of shape {np.shape(affine)}: "
                "each function, at least one, has four"
            )
        symbolic = np.zeros((self.in_features, self.out_features), dtype=bool)
        for i, o, name in functions:
            lookup("function", name, LIBRARY)
            if not (0 <= i < self.in_features and 0 <= o < self.out_features) or symbolic[i, o]:
                raise UserError(
                    f"edge {i} -> {o}: a layer of {self.in_features} inputs and "
                    f"{self.out_features} outputs has one function for each at most"
                )
            symbolic[i, o] = True
        # Functions of one name are adjacent: they are computed together.
        order = sorted(range(len(functions)), key=lambda n: list(LIBRARY).index(functions[n][2]))
        self.functions = [(functions[n][0], functions[n][1], functions[n][2]) for n in order]
        self.affine = like(layer.coefficients, np.asarray(affine)[order])
        self.layer = _without(layer, symbolic)
        splines = np.flatnonzero(self.layer.live_edges().any(1))
        self._on_splines: list[int] = splines.tolist() or list(range(self.in_features))

    def __call__(self, x: Tensor) -> Tensor:
        rest, values = self.layer(x), self._values(x)
        columns = [
            sum((v for (_, to, _), v in values if to == o), x[..., 0].const_like(0.0))
            for o in range(self.out_features)
        ]
        return rest + Tensor.stack(*columns, dim=-1)

    def edges(self, x: Tensor) -> Tensor:
        rest, values = self.layer.edges(x), {(i, o): v for (i, o, _), v in self._values(x)}
        none = x[..., 0].const_like(0.0)
        rows = [
            Tensor.stack(*(values.get((i, o), none) for o in range(self.out_features)), dim=-1)
            for i in range(self.in_features)
        ]
        return rest + Tensor.stack(*rows, dim=-2)

    def outside(self, x: Tensor) -> Tensor:
        """The fraction of the entries of `x` outside the grid, over inputs that splines use."""
        outside = self.layer.basis.outside(x).cast(x.dtype)
        return Tensor.stack(*(outside[..., i] for i in self._on_splines)).mean()

    def live_edges(self) -> np.ndarray:
        live = self.layer.live_edges()
        for i, o, _ in self.functions:
            live[i, o] = True
        return live

    def pruned(
        self, inputs: np.ndarray, outputs: np.ndarray, live: np.ndarray, shift: np.ndarray
    ) -> SymbolicLayer:
        raise UserError("prune before edges are made symbolic: symbolic ones cannot be pruned")

    @property
    def bias(self) -> Tensor | None:
        return self.layer.bias

    @property
    def on_basis(self) -> KANLayer:
        return self.layer

    @property
    def config(self) -> dict:
        return {"layer": self.layer.config, "functions": [list(f) for f in self.functions]}

    @classmethod
    def from_config(cls, config: dict, tensors: Mapping[str, Tensor]) -> SymbolicLayer:
        if unknown := sorted({name for *_, name in config["functions"]} - LIBRARY.keys()):
            names = ", ".join(unknown)
            raise CheckpointError(f"a network of {names}: add it with add_function before loading")
        own = {k.removeprefix("layer."): v for k, v in tensors.items() if k.startswith("layer.")}
        return cls(KANLayer.from_config(config["layer"], own), config["functions"])

    def __repr__(self) -> str:
        return f"SymbolicLayer({self.layer!r}, {self.functions})"

    def _values(self, x: Tensor) -> list[tuple[tuple[int, int, str], Tensor]]:
        """Each symbolic edge, and the values `[...]` of its function at `x` `[..., in]`."""
        result, start = [], 0
        for name, group in groupby(self.functions, key=lambda function: function[2]):
            edges = list(group)
            a, b, c, d = (self.affine[start : start + len(edges), n] for n in range(4))
            inputs = Tensor.stack(*(x[..., i] for i, _, _ in edges), dim=-1)
            # Realized, or each would be evaluated again for every output.
            values = (c * LIBRARY[name].tensor(a * inputs + b) + d).contiguous()
            result += [(edge, values[..., n]) for n, edge in enumerate(edges)]
            start += len(edges)
        return result


LAYERS["SymbolicLayer"] = SymbolicLayer
Kind = TypeVar("Kind", bound=Layer)


def symbolic_edges(layer: Layer) -> dict[tuple[int, int], tuple[str, Affine]]:
    """The name and the affine parameters of every symbolic edge (i, o) of a layer."""
    if not isinstance(layer, SymbolicLayer):
        return {}
    rows = layer.affine.numpy().astype(np.float64).tolist()
    return {
        (i, o): (name, (a, b, c, d))
        for (i, o, name), (a, b, c, d) in zip(layer.functions, rows, strict=True)
    }


def nonzero_edges(layer: Layer) -> np.ndarray:
    """Which edges of a layer exist, Boolean `[in, out]`: symbolic ones, and others that are neither
    masked nor identically 0."""
    live, inner = layer.live_edges(), layer.on_basis
    if inner is not None:
        weights = np.abs(inner.coefficients.numpy()).max(1)
        if inner.spline_weight is not None:
            weights = weights * np.abs(inner.spline_weight.numpy())
        if inner.base_weight is not None:
            weights = weights + np.abs(inner.base_weight.numpy())
        live &= weights != 0  # NaN is no edge that is 0
    for i, o in symbolic_edges(layer):
        live[i, o] = True
    return live


def copied(layer: Kind) -> Kind:
    """A copy of the layer with parameters of its own."""
    twin = copy.copy(layer)
    for name, value in vars(layer).items():
        if isinstance(value, Tensor) and value.is_param:
            setattr(twin, name, like(value, value.numpy()))
        elif isinstance(value, KANLayer):
            setattr(twin, name, copied(value))
    return twin


def with_mask(layer: KANLayer, mask: np.ndarray) -> KANLayer:
    """A copy of `layer` with only the edges of `mask`, Boolean `[in, out]`."""
    twin = copied(layer)
    twin.mask = like(layer.coefficients, mask).is_param_(False)
    return twin


def _without(layer: KANLayer, edges: np.ndarray) -> KANLayer:
    """A copy without the given edges, Boolean `[in, out]`; if none is left, the cheapest layer with
    the same bias."""
    left = layer.live_edges() & ~edges
    if left.any():
        return with_mask(layer, left)
    cheap = KANLayer(
        layer.in_features,
        layer.out_features,
        Linear(),
        base=None,
        spline_weight=False,
        bias=layer.bias is not None,
    )
    cheap.coefficients = like(layer.coefficients, np.zeros(cheap.coefficients.shape))
    cheap.bias = layer.bias
    return with_mask(cheap, left)

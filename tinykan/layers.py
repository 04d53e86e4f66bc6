"""Layers: sums of learnable univariate functions."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

import numpy as np
from tinygrad import Tensor, dtypes

from tinykan.activations import ACTIVATIONS, Activation
from tinykan.basis import Basis, BSpline
from tinykan.errors import UserError, check_integer, lookup
from tinykan.initializers import DRAWN_BIAS, INITIALIZERS
from tinykan.kernels import edge_functions, edge_weights, layer_output, scaled
from tinykan.tensors import learnable, like, parameter


class Layer(Protocol):
    """What a network is a list of, and what the wings may ask of a layer."""

    in_features: int
    out_features: int

    @property
    def bias(self) -> Tensor | None:
        """`[out_features]`, if there is one."""

    def __call__(self, x: Tensor) -> Tensor:
        """`[..., in_features]` to `[..., out_features]`."""

    def edges(self, x: Tensor) -> Tensor:
        """Every edge's function `[..., in_features, out_features]` at `x` `[..., in_features]`."""

    def outside(self, x: Tensor) -> Tensor:
        """The share of the entries of `x` outside the grid, where the spline part ends."""

    def live_edges(self) -> np.ndarray:
        """Which edges are there, neither masked nor of weight 0 `[in_features, out_features]`."""

    def pruned(
        self, inputs: np.ndarray, outputs: np.ndarray, live: np.ndarray, shift: np.ndarray
    ) -> Layer:
        """A copy between the kept `inputs` `[in]` and `outputs` `[out]`, with `live` edges
        `[in, out]` alone, and with `shift` `[out]` added to its bias. Raises UserError if its edges
        cannot be removed."""

    @property
    def on_basis(self) -> KANLayer | None:
        """The layer with the coefficients of these edges on a basis, if there is one."""

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of `__init__` that make this layer again, but for its tensors."""

    @classmethod
    def from_config(cls, config: dict[str, Any], tensors: Mapping[str, Tensor]) -> Layer:
        """A layer of that `config` with the shapes of `tensors`, its state by name."""


LAYERS: dict[str, type[Layer]] = {}  # by the names of their classes, for saved files


class KANLayer:
    """A drop-in for `nn.Linear` whose every edge is a learnable function of one variable:

        y[o] = sum_i (spline_weight[i, o] sum_n coefficients[i, n, o] phi_n(x[i])
                      + base_weight[i, o] base(x[i])) + bias[o]

    (KAN paper, arXiv:2404.19756, eq. 2.10). `[..., in_features]` becomes `[..., out_features]`.
    `base` names one of ACTIVATIONS, or is None for no base term; `spline_weight` and `bias` can be
    left out. `mask` `[in_features, out_features]` is 0 where there is no edge, as after pruning; it
    is not learned. `initializer` names one of INITIALIZERS; the default goes with the basis.

    >>> KANLayer(2, 3, BSpline(5, 3))(Tensor.zeros(4, 2)).shape
    (4, 3)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        basis: Basis | None = None,
        *,
        base: str | None = "silu",
        spline_weight: bool = True,
        bias: bool = True,
        mask: np.ndarray | Tensor | None = None,
        kernels: str = "auto",
        initializer: str | None = None,
        rng: np.random.Generator | None = None,
    ) -> None:
        check_integer("in_features", in_features, 1)
        check_integer("out_features", out_features, 1)
        if kernels not in ("auto", "reference"):
            raise UserError(f"unknown kernels {kernels!r}; choose from auto, reference")
        if base is not None:
            lookup("base function", base, ACTIVATIONS)
        self.in_features, self.out_features = in_features, out_features
        self.basis, self.base, self.kernels = basis or BSpline(), base, kernels
        name = initializer or (not base and self.basis.lone_initializer) or self.basis.initializer
        draw = lookup("initializer", name, INITIALIZERS)
        rng = rng or np.random.default_rng()
        edges = (in_features, self.basis.n_functions, out_features)
        pair, scale = (in_features, out_features), 1 / np.sqrt(in_features)
        self.coefficients = parameter(draw(rng, edges))
        self.spline_weight = parameter(np.ones(pair)) if spline_weight else None
        self.base_weight = parameter(rng.uniform(-scale, scale, pair)) if base else None
        limit = DRAWN_BIAS[name](in_features) if name in DRAWN_BIAS else 0
        start = rng.uniform(-limit, limit, out_features) if limit else np.zeros(out_features)
        self.bias = parameter(start) if bias else None
        self.mask = None if mask is None else _checked_mask(mask, pair)

    def __call__(self, x: Tensor) -> Tensor:
        check_input(self, x)
        rows, y = x.reshape(-1, self.in_features), None
        if self.kernels == "auto":
            parts = self.coefficients, self._scale(), self.masked_base_weight(), self.bias
            y = layer_output(rows, self.basis, self._base_function, *parts)
        y = self.reference(rows) if y is None else y
        return y.reshape(*x.shape[:-1], self.out_features)

    def reference(self, x: Tensor) -> Tensor:
        """The layer as plain tensor operations, every function of the basis evaluated: the kernels'
        reference, and the path for what they do not support."""
        functions, weights = self._functions_and_weights(x)
        # Realized, or the functions would be evaluated again for every output inside the product.
        functions = functions.flatten(-2).contiguous()
        return functions.linear(weights.flatten(0, 1).contiguous(), self.bias)

    def edges(self, x: Tensor) -> Tensor:
        check_input(self, x)
        functions, weights = self._functions_and_weights(x)
        return (functions.contiguous().unsqueeze(-1) * weights).sum(-2)

    def outside(self, x: Tensor) -> Tensor:
        return self.basis.outside(x).cast(x.dtype).mean()

    def live_edges(self) -> np.ndarray:
        if self.mask is None:
            return np.ones((self.in_features, self.out_features), dtype=bool)
        return self.mask.numpy() > 0

    def pruned(
        self, inputs: np.ndarray, outputs: np.ndarray, live: np.ndarray, shift: np.ndarray
    ) -> KANLayer:
        cut = copy_between(self, inputs, outputs, shift)
        live = live[inputs][:, outputs]
        if cut.mask is not None or not live.all():
            cut.mask = like(cut.coefficients, live).is_param_(False)
        knots = cut.basis.knots if isinstance(cut.basis, BSpline) else None
        if knots is not None and len(knots) > 1:
            cut.basis = dataclasses.replace(cut.basis, knots=like(knots, knots.numpy()[inputs]))  # type: ignore[type-var]
        return cut

    @property
    def on_basis(self) -> KANLayer:
        return self

    @property
    def config(self) -> dict[str, Any]:
        values = {n: getattr(self, n) for n in ("in_features", "out_features", "basis", "base")}
        present = {n: getattr(self, n) is not None for n in ("spline_weight", "bias")}
        return values | present

    @classmethod
    def from_config(cls, config: dict[str, Any], tensors: Mapping[str, Tensor]) -> KANLayer:
        if (knots := tensors.get("basis.knots")) is not None:
            config = config | {"basis": dataclasses.replace(config["basis"], knots=knots)}
        return cls(**config, mask=tensors.get("mask"))

    def __repr__(self) -> str:
        defaults = {"base": "silu", "spline_weight": True, "bias": True}
        changed = [(n, self.config[n]) for n, value in defaults.items() if self.config[n] != value]
        options = "".join(f", {name}={value!r}" for name, value in changed)
        return f"KANLayer({self.in_features}, {self.out_features}, {self.basis!r}{options})"

    def scaled_coefficients(self) -> Tensor:
        """Coefficients times spline weights `[in, n_functions, out]`."""
        return scaled(self.coefficients, self._scale())

    def _scale(self) -> Tensor | None:
        factor, mask = self.spline_weight, self.mask
        return mask if factor is None else factor if mask is None else factor * mask

    def masked_base_weight(self) -> Tensor | None:
        """`[in, out]`, 0 where there is no edge."""
        weight, mask = self.base_weight, self.mask
        return weight if weight is None or mask is None else weight * mask

    def _functions_and_weights(self, x: Tensor) -> tuple[Tensor, Tensor]:
        weights = edge_weights(self.scaled_coefficients(), self.masked_base_weight())
        return edge_functions(x, self.basis, self._base_function), weights

    @property
    def _base_function(self) -> Activation | None:
        return None if self.base is None else ACTIVATIONS[self.base]


LAYERS["KANLayer"] = KANLayer
Kind = TypeVar("Kind", bound=Layer)


def copy_between(layer: Kind, inputs: np.ndarray, outputs: np.ndarray, shift: np.ndarray) -> Kind:
    """A copy of `layer` between the kept `inputs` and `outputs`, with a `shift` of its bias."""
    sizes = int(inputs.sum()), int(outputs.sum())
    changed: dict[str, Any] = dict(zip(("in_features", "out_features"), sizes, strict=True))
    for name, tensor in vars(layer).items():
        if isinstance(tensor, Tensor):  # [in, ..., out], and the bias [out]
            values = tensor.numpy()[inputs] if tensor.ndim > 1 else tensor.numpy()
            changed[name] = like(tensor, values[..., outputs])
    if shift[outputs].any():
        before = 0.0 if layer.bias is None else changed["bias"].numpy()
        changed["bias"] = like(learnable(layer)[0], before + shift[outputs])
    cut = copy.copy(layer)
    vars(cut).update(changed)
    return cut


def _checked_mask(mask: np.ndarray | Tensor, shape: tuple[int, int]) -> Tensor:
    values = mask.numpy() if isinstance(mask, Tensor) else np.asarray(mask, dtype=float)
    if values.shape != shape or not np.isin(values, (0, 1)).all():
        raise UserError(f"a mask is {shape[0]} x {shape[1]} numbers, 0 or 1, [in, out]")
    return parameter(values).realize().is_param_(False)


def check_input(part: Any, x: Any) -> None:
    """Raises a UserError unless `x` is a Tensor of floats for the `part.in_features`."""
    if not isinstance(x, Tensor):
        kind = f"{type(x).__module__}.{type(x).__qualname__}"
        raise UserError(f"input of type {kind}: a Tensor is needed; Predictor(model) takes arrays")
    if x.ndim < 1 or x.shape[-1] != part.in_features:
        raise UserError(f"input of shape {x.shape}: the last dimension must be {part.in_features}")
    if not dtypes.is_float(x.dtype):
        raise UserError(f"input of type {x.dtype.name}: a layer takes floating-point numbers")

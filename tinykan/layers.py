"""The layers: sums of learnable univariate functions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tinygrad import Tensor, dtypes
from tinygrad.nn.state import get_parameters

from tinykan.activations import ACTIVATIONS
from tinykan.basis import Basis, BSpline, DenseBasis, Polynomial
from tinykan.errors import UserError, check_integer, lookup
from tinykan.initializers import DRAWN_BIAS, INITIALIZERS, glorot
from tinykan.kernels import dense as dense_kernels
from tinykan.kernels import gpu as gpu_kernels
from tinykan.kernels import spline as spline_kernels
from tinykan.kernels import work as kernels


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
        self.in_features, self.out_features = in_features, out_features
        if kernels not in ("auto", "reference"):
            raise UserError(f"unknown kernels {kernels!r}; choose from auto, reference")
        self.kernels = kernels
        self.basis = BSpline() if basis is None else basis
        self.base = base
        if base is not None:
            lookup("base function", base, ACTIVATIONS)
        name = initializer or self.basis.initializer
        draw = lookup("initializer", name, INITIALIZERS)
        rng = rng or np.random.default_rng()
        edges = (in_features, self.basis.n_functions, out_features)
        pair, scale = (in_features, out_features), 1 / np.sqrt(in_features)
        self.coefficients = parameter(draw(rng, edges))
        self.spline_weight = parameter(np.ones(pair)) if spline_weight else None
        self.base_weight = parameter(rng.uniform(-scale, scale, pair)) if base else None
        drawn = name in DRAWN_BIAS
        start = rng.uniform(-scale, scale, out_features) if drawn else np.zeros(out_features)
        self.bias = parameter(start) if bias else None
        self.mask = None if mask is None else _checked_mask(mask, pair)

    def __call__(self, x: Tensor) -> Tensor:
        """`[..., in_features]` to `[..., out_features]`."""
        _check_input(self, x)
        y = self._rows(x.reshape(-1, self.in_features))
        return y.reshape(*x.shape[:-1], self.out_features)

    def _rows(self, x: Tensor) -> Tensor:
        """`[batch, in_features]` to `[batch, out_features]`, with the kernels that serve."""
        if self.kernels == "reference":
            return self.reference(x)
        base = None if self.base is None else ACTIVATIONS[self.base]
        if (spline_layer := _spline_layer(self.basis, x)) is not None:
            parts = [self.scaled_coefficients()]
            parts += [] if self.base_weight is None else [self._masked(self.base_weight)]
            return spline_layer(x, self.basis, base, parts, self.bias)
        if kernels.grouped(x):
            return self._plain(x, gpu_kernels.linear)
        if not kernels.threaded(x):
            return self.reference(x)
        weights = self._weights()
        if isinstance(self.basis, DenseBasis):
            features = dense_kernels.features(x, self.basis, base)
            weights = weights.transpose(0, 1)
        else:
            features = self._features(x).flatten(1)
        return dense_kernels.linear(features, weights.flatten(0, 1), self.bias)

    def reference(self, x: Tensor) -> Tensor:
        """The same as plain tensor operations, every function of the basis evaluated: what the
        kernels are tested against, and what stands in where they do not serve."""
        return self._plain(x, Tensor.linear)

    def _plain(self, x: Tensor, product: Callable[..., Tensor]) -> Tensor:
        # Realized, or the functions would be evaluated again for every output inside the product.
        features = self._features(x).flatten(-2).contiguous()
        return product(features, self._weights().flatten(0, 1).contiguous(), self.bias)

    def edges(self, x: Tensor) -> Tensor:
        """Every edge's function `[..., in_features, out_features]` at `x` `[..., in_features]`."""
        _check_input(self, x)
        return (self._features(x).unsqueeze(-1) * self._weights()).sum(-2)

    def outside(self, x: Tensor) -> Tensor:
        """The share of the entries of `x` outside the grid, where the spline part ends."""
        return self.basis.outside(x).cast(x.dtype).mean()

    @property
    def config(self) -> dict:
        """What `__init__` needs to make this layer again, but for its weights and its mask."""
        return {
            "in_features": self.in_features,
            "out_features": self.out_features,
            "basis": self.basis,
            "base": self.base,
            "spline_weight": self.spline_weight is not None,
            "bias": self.bias is not None,
        }

    def __repr__(self) -> str:
        options = "".join(
            f", {name}={value!r}"
            for name, value, default in (
                ("base", self.base, "silu"),
                ("spline_weight", self.spline_weight is not None, True),
                ("bias", self.bias is not None, True),
            )
            if value != default
        )
        return f"KANLayer({self.in_features}, {self.out_features}, {self.basis!r}{options})"

    def _features(self, x: Tensor) -> Tensor:
        """The basis functions, then the base function `[..., in, n]`."""
        phi = self.basis(x)
        return (
            phi if self.base is None else phi.cat(ACTIVATIONS[self.base](x).unsqueeze(-1), dim=-1)
        )

    def scaled_coefficients(self) -> Tensor:
        """Coefficients times spline weights `[in, n_functions, out]`."""
        factor = self.mask if self.spline_weight is None else self._masked(self.spline_weight)
        return self.coefficients if factor is None else self.coefficients * factor.unsqueeze(1)

    def _masked(self, weight: Tensor) -> Tensor:
        """`weight` `[in, out]`, 0 where there is no edge."""
        return weight if self.mask is None else weight * self.mask

    def _weights(self) -> Tensor:
        """What multiplies them `[in, n, out]`."""
        weights = self.scaled_coefficients()
        return (
            weights
            if self.base_weight is None
            else weights.cat(self._masked(self.base_weight).unsqueeze(1), dim=1)
        )


def _spline_layer(basis: Basis, x: Tensor) -> Callable[..., Tensor] | None:
    """The spline layer's kernels for this basis, and these numbers on their device, if any."""
    if not isinstance(basis, BSpline):
        return None
    if kernels.threaded(x):
        return spline_kernels.spline_layer
    return gpu_kernels.spline_layer if kernels.grouped(x) else None


class EdgeTanh:
    """A tanh on each edge, before the sum, where `Polynomial` with tanh has it on the node, after:

        y[o] = sum_i weight[i, o] tanh(sum_n coefficients[i, n, o] x[i]^n) + bias[o]

    with n = 1 .. degree; degree 2 is tanh(a x^2 + b x). Each edge is evaluated for itself, which
    takes in_features * out_features tanh for each sample: slower than any basis of KANLayer.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        degree: int = 2,
        *,
        bias: bool = True,
        rng: np.random.Generator | None = None,
    ) -> None:
        check_integer("in_features", in_features, 1)
        check_integer("out_features", out_features, 1)
        self.in_features, self.out_features = in_features, out_features
        self.basis = Polynomial(degree)
        rng = rng or np.random.default_rng()
        # Edges of unit slope whose signs and curvatures differ, summed with Glorot's weights.
        self.coefficients = parameter(rng.uniform(-1.5, 1.5, (in_features, degree, out_features)))
        self.weight = parameter(glorot(rng, (in_features, 1, out_features))[:, 0])
        self.bias = parameter(np.zeros(out_features)) if bias else None

    def __call__(self, x: Tensor) -> Tensor:
        """`[..., in_features]` to `[..., out_features]`."""
        y = self.edges(x).sum(-2)
        return y if self.bias is None else y + self.bias

    def edges(self, x: Tensor) -> Tensor:
        """Every edge's function `[..., in_features, out_features]` at `x` `[..., in_features]`."""
        _check_input(self, x)
        inner = (self.basis(x).unsqueeze(-1) * self.coefficients).sum(-2)
        return self.weight * inner.tanh()

    def outside(self, x: Tensor) -> Tensor:
        """The share of inputs outside the domain: none, tanh is defined everywhere."""
        return self.basis.outside(x).cast(x.dtype).mean()

    @property
    def config(self) -> dict:
        """What `__init__` needs to make this layer again, but for its weights."""
        return {
            "in_features": self.in_features,
            "out_features": self.out_features,
            "degree": self.basis.degree,
            "bias": self.bias is not None,
        }

    def __repr__(self) -> str:
        return f"EdgeTanh({self.in_features}, {self.out_features}, degree={self.basis.degree})"


LAYERS = {"KANLayer": KANLayer, "EdgeTanh": EdgeTanh}


def parameter(values: np.ndarray) -> Tensor:
    """A learnable tensor; drawn by NumPy, so that a seed gives the same start on every device."""
    return Tensor(values.astype(np.float64), dtype=dtypes.default_float)


def _checked_mask(mask: np.ndarray | Tensor, shape: tuple[int, int]) -> Tensor:
    values = mask.numpy() if isinstance(mask, Tensor) else np.asarray(mask, dtype=float)
    if values.shape != shape or not np.isin(values, (0, 1)).all():
        raise UserError(f"a mask is {shape[0]} x {shape[1]} numbers, 0 or 1, [in, out]")
    return parameter(values).realize().is_param_(False)


def like(tensor: Tensor, values: np.ndarray) -> Tensor:
    """`values` in the type and on the device of `tensor`, learnable or not as that."""
    made = Tensor(np.ascontiguousarray(values, dtype=np.float64), dtype=tensor.dtype)
    return made.to(tensor.device).realize().is_param_(tensor.is_param)


def learnable(model: object) -> list[Tensor]:
    """The learnable tensors of a layer or network: its state without knots and frequencies."""
    return [tensor for tensor in get_parameters(model) if tensor.is_param]


def _check_input(layer: KANLayer | EdgeTanh, x: Tensor) -> None:
    if x.ndim < 1 or x.shape[-1] != layer.in_features:
        raise UserError(f"input of shape {x.shape}: the last dimension must be {layer.in_features}")
    if not dtypes.is_float(x.dtype):
        raise UserError(f"input of type {x.dtype.name}: a layer takes floating-point numbers")

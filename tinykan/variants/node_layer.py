"""A layer with a learnable function on each node, before a dense layer: KANs of low rank; STAF."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
from tinygrad import Tensor, UOp
from tinygrad.function import function

from tinykan.activations import ACTIVATIONS, Activation
from tinykan.basis import Basis, BSpline, Linear
from tinykan.errors import UserError, check_integer, lookup
from tinykan.kernels import node_splines
from tinykan.layers import LAYERS, KANLayer, check_input, copy_between
from tinykan.tensors import like, parameter


class NodeLayer:
    """Learnable functions on the nodes, then a dense layer:

        y[o] = sum_i sum_r weight[i, r, o] g[i, r](x[i]) + bias[o]
        g[i, r](x) = sum_n coefficients[i, n, r] phi_n(x)

    With r = 1 .. `rank` it is a KANLayer whose coefficients `[in, n, out]` have that rank for each
    input; with rank 1 (the default) a dense layer after activations that are learned, one for each
    node or, if `shared`, one for the whole layer. Their number of parameters does not depend on
    `out_features`, so that a node may have a spline of 50 intervals; on CPUs kernels evaluate the
    functions that are not zero, whose time does not depend on the intervals either.

    With `copies`, the basis has one function phi, of which every g has that many copies
    phi(scales[i, n] x + shifts[i, n]) with scales and shifts of its own, which are learned too:
    `NodeLayer(64, 64, Functions("sine"), copies=5, shared=True)` is a layer of STAF
    (arXiv:2502.00869), with amplitudes, frequencies and phases for each layer.

    The functions start as the activation `start`, as nearly as the basis has it on its domain (by
    default [-1, 1]); copies as in STAF, with outputs of variance 1 and scales up to `omega`.
    `initializer` is the dense layer's.

    >>> NodeLayer(2, 3, BSpline(50, 3), start="sine10")(Tensor.zeros(4, 2)).shape
    (4, 3)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        basis: Basis | None = None,
        *,
        rank: int = 1,
        shared: bool = False,
        copies: int = 0,
        bias: bool = True,
        start: str = "identity",
        omega: float = 30.0,
        initializer: str | None = None,
        rng: np.random.Generator | None = None,
    ) -> None:
        check_integer("in_features", in_features, 1)
        check_integer("rank", rank, 1)
        check_integer("copies", copies, 0)
        self.in_features, self.out_features = in_features, out_features
        self.basis, self.rank, self.shared, self.copies = basis or BSpline(), rank, shared, copies
        if copies and self.basis.n_functions != 1:
            raise UserError(f"copies are of a basis of one function, not of {self.basis!r}")
        if isinstance(self.basis, BSpline) and self.basis.knots is not None:
            raise UserError("the splines of a NodeLayer are on uniform knots: give no knots")
        wanted = lookup("activation", start, ACTIVATIONS)
        rng = rng or np.random.default_rng()
        rows = 1 if shared else in_features
        self.scales: Tensor | None = None
        self.shifts: Tensor | None = None
        if copies:
            size = (rows, copies, rank)
            drawn = np.sqrt(np.abs(rng.laplace(0, 2 / copies, size))) * rng.choice([-1, 1], size)
            # No matrices, for optimizers that orthogonalize these.
            self.scales = parameter(rng.uniform(0, omega, (rows, copies, 1)))
            self.shifts = parameter(rng.uniform(-np.pi, np.pi, (rows, copies, 1)))
        else:
            drawn = np.zeros((rows, self.basis.n_functions, rank)) + _nearest(self.basis, wanted)
        self.coefficients = parameter(drawn)
        self.dense = KANLayer(
            in_features * rank, out_features, Linear(), base=None, spline_weight=False, bias=bias,
            initializer=initializer, rng=rng,
        )  # fmt: skip

    @property
    def bias(self) -> Tensor | None:
        return self.dense.bias

    def __call__(self, x: Tensor) -> Tensor:
        check_input(self, x)
        return self.dense(self.nodes(x).flatten(-2).contiguous())

    def nodes(self, x: Tensor) -> Tensor:
        """The functions g `[..., in_features, rank]` at `x` `[..., in_features]`."""
        if isinstance(self.basis, BSpline) and not self.copies:
            rows = x.reshape(-1, self.in_features)
            found = node_splines(rows, self.basis, self.coefficients)
            found = _summed(rows, self.basis, self.coefficients) if found is None else found
            return found.reshape(*x.shape, self.rank)
        return self.combined(self.basis(self.arguments(x)).reshape(*x.shape, -1))

    def arguments(self, x: Tensor, affine: bool = True) -> Tensor:
        """What the basis is evaluated at `[..., in_features * copies]`; without `affine`, what is
        linear in `x` alone, as derivatives need it."""
        if self.scales is None or self.shifts is None:
            return x
        scaled = x.unsqueeze(-1) * self.scales.squeeze(-1)
        return (scaled + self.shifts.squeeze(-1) if affine else scaled).flatten(-2)

    def combined(self, functions: Tensor) -> Tensor:
        """Sums of values of the basis `[..., in_features, n]`, to `[..., in_features, rank]`."""
        return (functions.contiguous().unsqueeze(-1) * self.coefficients).sum(-2)

    def edges(self, x: Tensor) -> Tensor:
        check_input(self, x)
        return (self.nodes(x).unsqueeze(-1) * self.weight).sum(-2)

    @property
    def weight(self) -> Tensor:
        """Of the dense layer, `[in_features, rank, out_features]`."""
        return self.dense.coefficients.reshape(self.in_features, self.rank, -1)

    def outside(self, x: Tensor) -> Tensor:
        return self.basis.outside(self.arguments(x)).cast(x.dtype).mean()

    def live_edges(self) -> np.ndarray:
        return (self.weight.numpy() != 0).any(axis=1)

    def pruned(
        self, inputs: np.ndarray, outputs: np.ndarray, live: np.ndarray, shift: np.ndarray
    ) -> NodeLayer:
        if not live[inputs][:, outputs].all():
            raise UserError("single edges of a NodeLayer cannot be removed, since they share it")
        cut = copy.copy(self)
        cut.in_features, cut.out_features = int(inputs.sum()), int(outputs.sum())
        cut.dense = copy_between(self.dense, inputs.repeat(self.rank), outputs, shift)
        for name in ("coefficients", "scales", "shifts"):
            tensor = getattr(self, name)
            if tensor is not None and not self.shared:
                setattr(cut, name, like(tensor, tensor.numpy()[inputs]))
        return cut

    @property
    def on_basis(self) -> None:
        return None

    @property
    def config(self) -> dict[str, Any]:
        names = "in_features", "out_features", "basis", "rank", "shared", "copies"
        return {n: getattr(self, n) for n in names} | {"bias": self.bias is not None}

    @classmethod
    def from_config(cls, config: dict[str, Any], tensors: Mapping[str, Tensor]) -> NodeLayer:
        return cls(**config)

    def __repr__(self) -> str:
        defaults = {"rank": 1, "shared": False, "copies": 0, "bias": True}
        changed = [(n, self.config[n]) for n, value in defaults.items() if self.config[n] != value]
        options = "".join(f", {name}={value!r}" for name, value in changed)
        return f"NodeLayer({self.in_features}, {self.out_features}, {self.basis!r}{options})"


LAYERS["NodeLayer"] = NodeLayer


def _summed(x: Tensor, basis: Basis, coefficients: Tensor) -> Tensor:
    """Sums of the basis' functions `[batch, in, rank]` at `x` `[batch, in]`, none of whose values
    is stored: there may be many."""

    def value(x: Tensor, coefficients: Tensor) -> Tensor:
        return (basis.evaluate(x).unsqueeze(-1) * coefficients).sum(-2)

    def gradient(upstream: UOp, call: UOp) -> tuple[UOp | None, ...]:
        x, weights, u = (Tensor(uop) for uop in (*call.src[1:3], upstream))
        dx = ((basis.derivative(x).unsqueeze(-1) * weights).sum(-2) * u).sum(-1)
        sums = (basis.evaluate(x).unsqueeze(-1) * u.unsqueeze(-2)).sum(0)
        sums = sums if weights.shape[0] == sums.shape[0] else sums.sum(0, keepdim=True)
        return (dx.uop, sums.uop, *[None] * (len(call.src) - 3))

    return function(value, grad_fxn=gradient, allow_implicit=True)(x, coefficients)


def _nearest(basis: Basis, wanted: Activation) -> np.ndarray:
    """The coefficients `[n_functions, 1]` with which `basis` is nearest to `wanted`, in the sense
    of least squares on its domain."""
    low, high = basis.domain or (-1.0, 1.0)
    x = Tensor(np.linspace(low, high, 2001, dtype=np.float32)[:, None])
    functions, values = basis.evaluate(x).numpy()[:, 0], wanted.value(x).numpy()
    return np.linalg.lstsq(functions.astype(float), values.astype(float), rcond=1e-6)[0]

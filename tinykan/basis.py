"""Univariate bases, whose functions the edges of a network combine; lines and B-splines.

A basis maps `[..., in]` to `[..., in, n_functions]`; `derivative` is its vector-Jacobian product.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tinygrad import Tensor

from tinykan.activations import Number
from tinykan.errors import UserError, check_domain, check_integer
from tinykan.tensors import parameter, with_derivative

BASES: dict[str, type[Basis]] = {}


class Basis:
    """Functions phi_1 .. phi_n of one variable, with derivatives. Subclasses, by name in BASES, are
    frozen dataclasses, which compare, print and are saved by their options."""

    domain: tuple[float, float] | None = None  # where the functions are meant to be used
    initializer = "polynomial"  # of INITIALIZERS: how coefficients start,
    lone_initializer = ""  # and where there is no base function, if otherwise

    def __init_subclass__(cls, abstract: bool = False) -> None:
        if not abstract:
            BASES[cls.__name__] = cls

    @property
    def n_functions(self) -> int:
        raise NotImplementedError

    def evaluate(self, x: Tensor) -> Tensor:
        """Values `[..., in, n_functions]` at `x` `[..., in]`."""
        raise NotImplementedError

    def derivative(self, x: Tensor) -> Tensor:
        """d phi_n / dx `[..., in, n_functions]` at `x` `[..., in]`."""
        raise NotImplementedError

    def __call__(self, x: Tensor) -> Tensor:
        """Values `[..., in, n_functions]`; differentiable once, through `derivative`."""
        return with_derivative(x, self.evaluate, self.derivative)

    def outside(self, x: Tensor) -> Tensor:
        """For each entry of `x`, whether it lies outside the domain."""
        if self.domain is None:
            return x.const_like(0.0) > 0
        low, high = self.domain
        return (x < low) + (x > high) > 0


class DenseBasis(Basis, abstract=True):
    """A basis whose functions are all non-zero, so that its layers are dense products. A subclass
    gives its functions one by one; a kernel then computes once what they share."""

    def values(self, x: Number) -> list[Number]:
        """phi_1(x) .. phi_n(x), for tensors, and for a scalar inside a kernel."""
        raise NotImplementedError

    def slopes(self, x: Number) -> list[Number]:
        """Their derivatives there."""
        raise NotImplementedError

    def evaluate(self, x: Tensor) -> Tensor:
        return Tensor.stack(*self.values(x), dim=-1)

    def derivative(self, x: Tensor) -> Tensor:
        return Tensor.stack(*self.slopes(x), dim=-1)


@dataclass(frozen=True)
class Linear(Basis):
    """phi(x) = x: a layer on it is the dense layer of an MLP."""

    initializer = "glorot"

    @property
    def n_functions(self) -> int:
        return 1

    def evaluate(self, x: Tensor) -> Tensor:
        return x.unsqueeze(-1)

    def derivative(self, x: Tensor) -> Tensor:
        return x.unsqueeze(-1).const_like(1.0)

    __call__ = evaluate  # a view: nothing is computed, and nothing copied


@dataclass(frozen=True)
class BSpline(Basis):
    """B-splines of `order` (degree of the pieces, 1 to 5) on `intervals` intervals, as in PyKAN.

    Without `knots` they are uniform on `domain`, and extended beyond it by `order` more intervals
    on each side: `intervals + order` functions, summing to 1 on the domain and falling to 0 within
    the extension. `knots`, for other grids, are complete non-decreasing knot vectors of
    `intervals + 2 order + 1` entries, one for each input `[in, knots]` or one for all `[knots]`;
    the domain is then each input's own, from knot `order` to knot `order + intervals`.

    Uniform splines are evaluated in closed form: with v the distance to the center of a function in
    units of the knot spacing, the cardinal B-spline of order k is
        B(v) = 1/k! sum_j (-1)^j binomial(k+1, j) max(0, (k+1)/2 - j - |v|)^k,   0 <= j <= k/2
    (de Boor, A Practical Guide to Splines, ch. IX, using the symmetry, without which float32 loses
    four digits). Others use the recursion of Cox and de Boor.

    >>> BSpline(5, 3)(Tensor([[0.1, 0.2]])).shape
    (1, 2, 8)
    """

    intervals: int = 5
    order: int = 3
    domain: tuple[float, float] = (-1.0, 1.0)
    knots: Tensor | None = field(default=None, compare=False, repr=False)
    initializer, lone_initializer = "spline", "lines"

    def __post_init__(self) -> None:
        check_integer("intervals", self.intervals, 1, 100_000)
        check_integer("order", self.order, 1, 5)
        check_domain(self.domain)
        if self.knots is not None:
            object.__setattr__(self, "knots", self._checked_knots(self.knots))

    def _checked_knots(self, knots: Tensor | np.ndarray | list[Any]) -> Tensor:
        tensor = knots if isinstance(knots, Tensor) else parameter(np.asarray(knots))
        tensor = tensor.unsqueeze(0) if tensor.ndim == 1 else tensor
        expected = self.intervals + 2 * self.order + 1
        if tensor.ndim != 2 or tensor.shape[1] != expected:
            wanted = f"{self.intervals} intervals of order {self.order} need"
            shapes = f"[in, {expected}] or [{expected}]"
            raise UserError(f"knots of shape {tensor.shape}: {wanted} {shapes}")
        values = tensor.numpy()
        if not np.isfinite(values).all() or (np.diff(values, axis=1) < 0).any():
            raise UserError("knots must be finite and must not decrease")
        return tensor.contiguous().realize().is_param_(False)

    @property
    def n_functions(self) -> int:
        return self.intervals + self.order

    def evaluate(self, x: Tensor) -> Tensor:
        if self.knots is None:
            return self.closed_form(self._offsets(x))
        return recursion(x, self.knots_like(x), self.order)

    def derivative(self, x: Tensor) -> Tensor:
        own = self.knots is not None
        return self._recursion_derivative(x) if own else self.closed_slope(self._offsets(x))

    def outside(self, x: Tensor) -> Tensor:
        if self.knots is None:
            return super().outside(x)
        low, high = self.knots[:, self.order], self.knots[:, self.order + self.intervals]
        return (x < low) + (x > high) > 0

    @property
    def _spacing(self) -> float:
        return (self.domain[1] - self.domain[0]) / self.intervals

    def position(self, x: Number) -> Number:
        """`x` in knot spacings from the middle of the domain, where centers are half-integers."""
        low, high = self.domain
        return (x - (low + high) / 2) / self._spacing

    def _offsets(self, x: Tensor) -> Tensor:
        """Signed distance to each function's center `[..., n_functions]`."""
        centers = Tensor.arange(self.n_functions).to(x.device).cast(x.dtype)
        return self.position(x).unsqueeze(-1) - (centers - (self.n_functions - 1) / 2)

    def closed_form(self, offset: Number) -> Number:
        """The value of a function at a signed distance from its center, in knot spacings."""
        terms = [c * power(r, self.order) for c, r in self._truncated(offset)]
        return sum(terms[1:], terms[0])

    def closed_slope(self, offset: Number) -> Number:
        """Its derivative with respect to x there."""
        k = self.order
        pairs = self._truncated(offset)
        lower = [power(r, k - 1) if k > 1 else (r > 0).cast(offset.dtype) for _, r in pairs]
        terms = [k * c * r for (c, _), r in zip(pairs, lower, strict=True)]
        slope = sum(terms[1:], terms[0]) / self._spacing
        return (offset < 0).where(slope, -slope)

    def _truncated(self, offset: Number) -> list[tuple[float, Number]]:
        """The terms of the cardinal B-spline: weights, and max(0, (order + 1) / 2 - j - |v|)."""
        k, distance, count = self.order, offset.maximum(-offset), range(self.order // 2 + 1)
        weights = [(-1) ** j * math.comb(k + 1, j) / math.factorial(k) for j in count]
        edges = [(k + 1) / 2 - j for j in count]
        # Written so that NaN stays NaN: a comparison with NaN is false.
        clipped = [(distance > edge).where(0.0, edge - distance) for edge in edges]
        return list(zip(weights, clipped, strict=True))

    def _recursion_derivative(self, x: Tensor) -> Tensor:
        """k (B[n, k-1] / (t[n+k] - t[n]) - B[n+1, k-1] / (t[n+k+1] - t[n+1])), de Boor ch. X."""
        k, knots = self.order, self.knots_like(x)
        lower = recursion(x, knots, k - 1) * _reciprocal(knots[:, k:] - knots[:, :-k])
        return k * (lower[..., :-1] - lower[..., 1:])

    def knots_like(self, x: Tensor) -> Tensor:
        assert self.knots is not None
        if self.knots.shape[0] not in (1, x.shape[-1]):
            raise UserError(f"knots for {self.knots.shape[0]} inputs met {x.shape[-1]} inputs")
        return self.knots.cast(x.dtype)


def recursion(x: Tensor, knots: Tensor, order: int) -> Tensor:
    """All B-splines of `order` on `knots` `[in or 1, n]`, at `x` `[..., in]`, each order realized,
    or every function would be computed from all that it is made of."""
    x = x.unsqueeze(-1)
    # Half-open; the last interval holds both ends. Floats: the x86 renderer mixes up booleans.
    at_knot = (x == knots).cast(x.dtype) * (knots < knots[:, -1:]).cast(x.dtype)
    step = (x > knots).cast(x.dtype) + at_knot
    values = step[..., :-1] - step[..., 1:]
    at = x.maximum(knots[:, :1]).minimum(knots[:, -1:])  # infinity times 0 is not 0
    for p in range(1, order + 1):
        rising = (at - knots[:, : -p - 1]) * _reciprocal(knots[:, p:-1] - knots[:, : -p - 1])
        falling = (knots[:, p + 1 :] - at) * _reciprocal(knots[:, p + 1 :] - knots[:, 1:-p])
        values = (rising * values[..., :-1] + falling * values[..., 1:]).contiguous()
    return (x != x).where(x, values)


def power(x: Number, exponent: int) -> Number:
    """x^exponent by multiplication, with 0^0 = 1."""
    if exponent < 2:
        return x if exponent else x.const_like(1.0)
    half = power(x, exponent // 2)
    return half * half * x if exponent % 2 else half * half


def _reciprocal(width: Tensor) -> Tensor:
    """1 / width, and 0 for the empty intervals of repeated knots, whose functions are 0."""
    return (width > 0).where((width > 0).where(width, 1.0).reciprocal(), 0.0)

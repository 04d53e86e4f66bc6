"""Features of a network together with their derivatives along directions of its input, and how
functions carry these along: Taylor mode, to second order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from tinygrad import Tensor

from tinykan.taylor.functions import Smooth


@dataclass(frozen=True)
class Jet:
    """`value` `[n, features]`; `first` `[d, n, features]`, the derivatives along d directions; and
    `second` `[p, n, features]`, those along p pairs of directions, `pairs` of their numbers."""

    value: Tensor
    first: Tensor
    second: Tensor | None = None
    pairs: tuple[tuple[int, int], ...] = ()

    @property
    def order(self) -> int:
        return 1 if self.second is None else 2

    def stacked(self) -> Tensor:
        """All of it `[1 + d + p, n, features]`."""
        parts = [self.value.unsqueeze(0), self.first]
        return Tensor.cat(*parts, *([] if self.second is None else [self.second]), dim=0)

    def like(self, stacked: Tensor) -> Jet:
        """A jet along the same directions, from its `stacked` form."""
        d = self.first.shape[0]
        second = None if self.second is None else stacked[1 + d :]
        return Jet(stacked[0], stacked[1 : 1 + d], second, self.pairs)

    def products(self) -> Tensor:
        """x'_a x'_b of each pair `[p, n, features]`."""
        return Tensor.stack(*(self.first[a] * self.first[b] for a, b in self.pairs))


def elementwise(jet: Jet, function: Smooth) -> Jet:
    """f(x), f'(x) x'_a and f''(x) x'_a x'_b + f'(x) x''_ab. The function of a basis gives several
    values for each feature, in a last dimension; then so does the result."""
    at = [function(order, jet.value).contiguous() for order in range(jet.order + 1)]
    more = at[0].ndim - jet.value.ndim

    def wide(x: Tensor) -> Tensor:
        return x.unsqueeze(-1) if more else x

    first = at[1] * wide(jet.first)
    if jet.second is None:
        return Jet(at[0], first)
    second = at[2] * wide(jet.products()) + at[1] * wide(jet.second)
    return Jet(at[0], first, second, jet.pairs)


def linear(jet: Jet, weights: Tensor, bias: Tensor | None) -> Jet:
    """A dense layer, of which only the value has the bias."""
    product = jet.stacked() @ weights
    result = jet.like(product)
    return result if bias is None else replace(result, value=result.value + bias)


def pushforward(function: Callable[[Tensor], Tensor], jet: Jet) -> Jet:
    """Any function of tensor operations: its derivative along v is that of its vector-Jacobian
    product u J with respect to u, times v. Slower than what knows the function."""
    x = jet.value
    along = [_along(function, jet.first[a]) for a in range(jet.first.shape[0])]
    first = Tensor.stack(*(derivative(x) for derivative in along))
    if jet.second is None:
        return Jet(function(x), first)
    second = [
        _along(along[a], jet.first[b])(x) + _along(function, jet.second[q])(x)
        for q, (a, b) in enumerate(jet.pairs)
    ]
    return Jet(function(x), first, Tensor.stack(*second), jet.pairs)


def _along(function: Callable[[Tensor], Tensor], v: Tensor) -> Callable[[Tensor], Tensor]:
    """The derivative of `function` along v, as a function."""

    def derivative(x: Tensor) -> Tensor:
        y = function(x)
        u = Tensor.zeros(*y.shape, dtype=y.dtype, device=y.device).contiguous()
        product = (y * u).sum().gradient(x)[0]
        return (product * v).sum().gradient(u)[0]

    return derivative

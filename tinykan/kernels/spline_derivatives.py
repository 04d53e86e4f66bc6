"""Local-support spline layer on CPUs with derivatives along directions: forward pass and gradients.

With the order + 1 functions that are not zero at x_i and their derivatives, for each input

    A_m[o] = sum_j phi_j^(m)(x_i) coefficients[i, first + j, o] + base^(m)(x_i) base_weight[i, o]

and a layer's values, first derivatives along a and second ones along a and b are sums over i of

    A_0        A_1 x'_a        A_2 x'_a x'_b + A_1 x''_ab

so that one reading of k + 2 rows of weights serves all of them, whatever the grid. The gradients
are written down in the same way: that to the inputs needs A_3. The reference is
`tinykan.taylor.networks.layer_jet` on tensor operations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tinygrad import Tensor
from tinygrad.uop.ops import AxisType, KernelInfo, UOp

from tinykan.basis import BSpline
from tinykan.kernels.launch import (
    empty,
    lane_range,
    lanes_for,
    loop_over,
    no_second_derivative,
    pad_columns,
    padded_size,
    split_across_threads,
    summed,
)
from tinykan.kernels.local_support import bounded, find_interval
from tinykan.kernels.tinygrad_versions import cpu_threads

CHUNK = 16  # samples whose functions are evaluated together, at least
LANES = 16  # outputs computed side by side
Pairs = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Edge:
    """The functions on a layer's edges; `base(m, x)` is the base function's m-th derivative."""

    basis: BSpline
    base: Callable[[int, Any], Any] | None
    pairs: Pairs

    @property
    def rows(self) -> int:
        """How many functions are not zero at an input, with the base function."""
        return self.basis.order + 1 + (self.base is not None)

    @property
    def orders(self) -> int:
        """How many derivatives are needed, with the values, for a layer's gradient."""
        return 4 if self.pairs else 3

    def at(self, x: UOp, knots: Sequence[UOp], i: UOp) -> list[UOp]:
        """The index of the first function that is not zero, then the derivatives of `rows`
        functions, one order after the other."""
        first, near, t, spacing = self._interval(x, knots, i)
        basis, k = self.basis, self.basis.order
        found = [local_derivative(t, near, k, m, spacing) for m in range(self.orders)]
        shift = first.maximum(0).minimum(basis.intervals - 1) - first
        moved = [shift.eq(float(n)).cast(x.dtype) for n in range(-k, k + 1)]
        values = [shift + first]
        for m, local in enumerate(found):
            # Those of functions that exist only, of which the first may be another.
            for j in range(k + 1):
                terms = [local[n] * moved[n - j + k] for n in range(k + 1)]
                values.append(sum(terms[1:], terms[0]))
            if self.base is not None:
                values.append(self.base(m, x))
        return values

    def _interval(self, x: UOp, knots: Sequence[UOp], i: UOp) -> tuple[UOp, list[Any], UOp, float]:
        """The number of the first function that is not zero, of all there would be if the knots
        went on; the 2k knots around x and x, in units of the last result."""
        basis, k = self.basis, self.basis.order
        if knots:
            interval, *near = find_interval(x, basis, knots[0], i)
            inside = x.maximum(near[0]).minimum(near[-1])
            return interval - k, near, (x != x).where(x, inside), 1.0
        low, high = basis.domain
        position = basis.position(x) + basis.intervals / 2
        # Far outside all functions are 0, and the end of the domain belongs to the last interval.
        position = (position < -k - 1).where(-k - 1, position)
        position = (position > basis.intervals + k + 1).where(basis.intervals + k + 1, position)
        cell = position.floor() - position.eq(float(basis.intervals)).cast(x.dtype)
        places: list[Any] = [float(n) for n in range(1 - k, k + 1)]
        return cell, places, position - cell, (high - low) / basis.intervals


def local_derivative(t: UOp, near: Sequence[Any], k: int, order: int, spacing: float) -> list[Any]:
    """The derivatives of that order at t of the k + 1 splines of order k which are not zero between
    the middle two of the 2k knots `near` (de Boor, A Practical Guide to Splines, ch. X); t and
    knots are in units of `spacing`."""
    zero = t.const_like(0.0)
    values = [(t != t).where(t, 1.0)]  # NaN stays NaN, for all are multiples of this
    if order > k:
        return [zero * values[0]] * (k + 1)
    for p in range(1, k + 1):
        left, right = near[k - p : k], near[k : k + p]
        # Constants are multiplied into single terms: tinygrad may or may not take them out of sums,
        # and fails if it does both.
        factor = p / spacing if p > k - order else 1.0
        terms = [v * _inverse(a, b, factor) for v, a, b in zip(values, left, right, strict=True)]
        if p > k - order:
            values = [a - b for a, b in zip([zero, *terms], [*terms, zero], strict=True)]
        else:
            rising = [zero, *((t - a) * term for a, term in zip(left, terms, strict=True))]
            falling = [*((b - t) * term for b, term in zip(right, terms, strict=True)), zero]
            values = [a + b for a, b in zip(rising, falling, strict=True)]
    return values


def _inverse(a: Any, b: Any, factor: float) -> Any:
    """factor / (b - a), for numbers and for knots; 0 for repeated knots, which belong to functions
    that are 0."""
    if isinstance(a, float):
        return factor / (b - a)
    width = b - a
    return (width > 0).where(factor * width.maximum(1e-30).reciprocal(), 0.0)


def spline_layer(jet: Tensor, edge: Edge, weights: Sequence[Tensor], bias: Tensor | None) -> Tensor:
    """`[1 + d + p, n, in]`, values and derivatives along d directions and p pairs of them, to
    `[1 + d + p, n, out]`. `weights` are the coefficients `[in, n_functions, out]` and, with a base
    function, the base weights `[in, out]`; the bias is `[out]`."""
    (count, batch, inputs), out = jet.shape, weights[0].shape[2]
    lanes = lanes_for(out, LANES)
    weights = [pad_columns(w, lanes) for w in weights]
    samples = padded_size(batch, CHUNK * min(cpu_threads(), -(-batch // CHUNK)))
    knots = [] if edge.basis.knots is None else [edge.basis.knots_like(jet).contiguous()]
    jet = jet.pad((None, (0, samples - batch), None)).contiguous()
    numbers = 1 + edge.orders * edge.rows
    functions = empty((inputs, numbers, samples), jet).custom_kernel(
        *(jet, *knots), fxn=partial(_functions, edge=edge), grad_fxn=no_second_derivative
    )[0]

    def gradient(upstream: UOp, call: UOp) -> tuple[UOp | None, ...]:
        dy, functions, x = Tensor(upstream).contiguous(), Tensor(call.src[2]), Tensor(call.src[3])
        dx = empty((count, samples, inputs), x).custom_kernel(
            *(functions, x, dy, *weights),
            fxn=partial(_input_gradient, edge=edge),
            grad_fxn=no_second_derivative,
        )[0]
        sums = [empty(w.shape, x) for w in weights]
        found = sums[0].custom_kernel(
            *(*sums[1:], functions, x, dy),
            fxn=partial(_weight_gradient, edge=edge),
            grad_fxn=no_second_derivative,
        )[: len(sums)]
        return (None, None, dx.uop, *(f.uop for f in found))

    y = empty((count, samples, padded_size(out, lanes)), jet).custom_kernel(
        *(functions, jet, *weights), fxn=partial(_forward, edge=edge), grad_fxn=gradient
    )[0][:, :batch, :out]
    if bias is None:
        return y
    # Values have it, derivatives do not.
    return y + bias.reshape(1, 1, out).pad(((0, count - 1), None, None))


def _functions(functions: UOp, x: UOp, *knots: UOp, edge: Edge) -> UOp:
    """The functions of every input and sample `[in, 1 + orders * rows, n]`."""
    inputs, _, samples = functions.shape
    block, inner, thread = split_across_threads(samples // CHUNK)
    i, lane = UOp.range(inputs, 2), UOp.range(CHUNK, 3)
    sample = block * CHUNK + lane
    values = edge.at(x[0, sample, i].load(), knots, i)
    stored = [functions[i, r, sample].store(value) for r, value in enumerate(values)]
    ended = UOp.group(*stored).end(lane, i, inner, thread)
    return ended.sink(arg=KernelInfo(name="spline_derivatives_functions", opts_to_apply=()))


def _rows(functions: UOp, i: UOp | int, sample: UOp, edge: Edge) -> tuple[UOp, list[list[UOp]]]:
    """The first function's index, and the derivatives of each order."""
    first, *values = (functions[i, r, sample].load() for r in range(functions.shape[1]))
    n = edge.rows
    return first, [values[at : at + n] for at in range(0, len(values), n)]


def _weights_at(first: UOp, weights: Sequence[UOp], i: UOp | int, o: UOp, edge: Edge) -> list[UOp]:
    local = edge.basis.order + 1
    first = bounded(first, weights[0].shape[1] - local)
    return [weights[0][i, first + j, o] for j in range(local)] + [w[i, o] for w in weights[1:]]


def _dot(values: Sequence[UOp], rows: Sequence[UOp]) -> UOp:
    terms = [v * r for v, r in zip(values, rows, strict=True)]
    return sum(terms[1:], terms[0])


def _forward(y: UOp, functions: UOp, x: UOp, *weights: UOp, edge: Edge) -> UOp:
    (count, samples, inputs), out, pairs = x.shape, y.shape[2], edge.pairs
    d, lanes = count - 1 - len(pairs), lanes_for(out, LANES)
    s, inner, thread = split_across_threads(samples)
    part, lane = UOp.range(out // lanes, 2), lane_range(lanes, 3)
    i, sums = loop_over(inputs, 4)
    o = part * lanes + lane
    first, orders = _rows(functions, i, s, edge)
    used = _weights_at(first, weights, i, o, edge)
    at = [_dot(values, used) for values in orders[:-1]]
    along = [x[1 + a, s, i].load() for a in range(d)]
    terms = [at[0], *(at[1] * v for v in along)]
    terms += [
        at[2] * (along[a] * along[b]) + at[1] * x[1 + d + q, s, i].load()
        for q, (a, b) in enumerate(pairs)
    ]
    stored = [y[n, s, o].store(summed(term, sums)) for n, term in enumerate(terms)]
    ended = UOp.group(*stored).end(lane, part, inner, thread)
    return ended.sink(arg=KernelInfo(name="spline_derivatives", opts_to_apply=()))


def _input_gradient(
    gradient: UOp, functions: UOp, x: UOp, dy: UOp, *weights: UOp, edge: Edge
) -> UOp:
    (count, samples, inputs), out, pairs = x.shape, dy.shape[2], edge.pairs
    d, lanes = count - 1 - len(pairs), lanes_for(out, LANES)
    s, inner, thread = split_across_threads(samples)
    i = UOp.range(inputs, 2)
    part, parts = loop_over(out // lanes, 3)
    lane, lane_sums = loop_over(lanes, 4, AxisType.UNROLL)
    o = part * lanes + lane
    first, orders = _rows(functions, i, s, edge)
    used = _weights_at(first, weights, i, o, edge)
    at = [_dot(values, used) for values in orders]
    up = [dy[n, s, o].load() for n in range(count)]
    along = [x[1 + a, s, i].load() for a in range(d)]
    terms = [at[1] * u for u in up]
    for a in range(d):
        terms[0] = terms[0] + at[2] * (along[a] * up[1 + a])
    for q, (a, b) in enumerate(pairs):
        u, second = up[1 + d + q], x[1 + d + q, s, i].load()
        terms[0] = terms[0] + (at[3] * (along[a] * along[b]) + at[2] * second) * u
        terms[1 + a] = terms[1 + a] + at[2] * (along[b] * u)
        terms[1 + b] = terms[1 + b] + at[2] * (along[a] * u)
    totals = [summed(term, [*lane_sums, *parts]) for term in terms]
    stored = [gradient[n, s, i].store(total) for n, total in enumerate(totals)]
    ended = UOp.group(*stored).end(i, inner, thread)
    return ended.sink(arg=KernelInfo(name="spline_derivatives_input", opts_to_apply=()))


def _weight_gradient(*given: UOp, edge: Edge) -> UOp:
    """Each thread owns some inputs, or some outputs of them, and goes through the samples in order:
    no atomics, and the same bits in every run."""
    kinds = 1 + (edge.base is not None)
    sums, (functions, x, dy) = given[:kinds], given[kinds:]
    (count, samples, inputs), out, pairs = x.shape, dy.shape[2], edge.pairs
    d, lanes = count - 1 - len(pairs), lanes_for(out, LANES)
    parts = out // lanes
    unit, inner, thread = split_across_threads(inputs * parts)
    i, part = unit // parts, unit % parts
    cleared = []
    for number, total in enumerate(sums):
        lane = lane_range(lanes, 3 + 2 * number)
        n = [UOp.range(total.shape[1], 2 + 2 * number)] if total.ndim == 3 else []
        stored = total[i, *n, part * lanes + lane].store(0.0).end(lane, *n)
        cleared.append(total.after(stored))
    s, lane = UOp.range(samples, 10), lane_range(lanes, 11)
    o = part * lanes + lane
    first, orders = _rows(functions, i, s, edge)
    along = [x[1 + a, s, i].load() for a in range(d)]
    up = [dy[n, s, o].load() for n in range(count)]
    factors = [up[0], _dot(along, up[1 : 1 + d])]
    if pairs:
        second = [x[1 + d + q, s, i].load() for q in range(len(pairs))]
        factors[1] = factors[1] + _dot(second, up[1 + d :])
        factors.append(_dot([along[a] * along[b] for a, b in pairs], up[1 + d :]))
    present = [c.after(s) for c in cleared]
    places, old = (_weights_at(first, w, i, o, edge) for w in (cleared, present))
    added = []
    for r, (place, before) in enumerate(zip(places, old, strict=True)):
        change = _dot([values[r] for values in orders[: len(factors)]], factors)
        added.append(place.store(before.load() + change))
    ended = UOp.group(*added).end(lane, s, inner, thread)
    return ended.sink(arg=KernelInfo(name="spline_derivatives_weights", opts_to_apply=()))

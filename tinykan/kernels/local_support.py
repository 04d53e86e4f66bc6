"""The B-splines that can be non-zero at a scalar, inside a kernel.

Of a basis of order k these are k + 1 neighbors. On uniform knots they follow from the distances to
their centers. On given knots `find_interval` searches the interval, and the recursion of Cox and
de Boor is taken over the 2k knots around it alone (de Boor, A Practical Guide to Splines, ch. X).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tinygrad import UOp, dtypes

from tinykan.activations import Activation
from tinykan.basis import BSpline

NARROWEST = 1e-30  # width of repeated knots' intervals, whose functions are 0: no division by 0


@dataclass(frozen=True)
class Functions:
    """The functions on a layer's edges that are not zero, as CPU kernels evaluate them."""

    basis: BSpline
    base: Activation | None

    @property
    def rows(self) -> int:
        """The numbers for an input: the index of the first function, the values, the base's."""
        return self.basis.order + 2 + (self.base is not None)

    @property
    def found_rows(self) -> int:
        """The numbers that `find_interval` gives for an input; none on uniform knots."""
        return 0 if self.basis.knots is None else 1 + 2 * self.basis.order

    def evaluated(
        self, x: UOp, found: Sequence[UOp], i: UOp, b: UOp, slopes: bool = False
    ) -> list[UOp]:
        """These numbers for input `i` of sample `b` of `x` `[batch, in]`, or with slopes in the
        place of the values. `found` is the result of `find_interval` `[in, found_rows, batch]`, for
        given knots."""
        near = [f[i, r, b].load() for f in found for r in range(self.found_rows)]
        values, derivatives = local_functions(x[b, i].load(), self.basis, self.base, near)
        return [values[0], *derivatives] if slopes else values


def find_interval(x: UOp, basis: BSpline, knots: UOp, i: UOp) -> list[UOp]:
    """The index of the interval of `x` on the knots of input `i` (-1 before them, that of the last
    knot after them, any of these for NaN), and the `2 order` knots around it, in x's type."""
    k, count, own = basis.order, basis.intervals + 2 * basis.order + 1, knots.shape[0] > 1

    def knot(number: UOp) -> UOp:
        return knots[i if own else 0, bounded(number, count - 1)]

    high = knots[i if own else 0, count - 1]
    # Intervals are half-open to the right, but the last one holds its end: that is searched for as
    # a number just below it.
    digits = 52 if x.dtype == dtypes.float64 else 23
    below = (x < high).where(x, high - (high.abs() * 2**-digits).maximum(1e-37))
    passed = x.const_like(0).cast(dtypes.int32)
    for bit in reversed(range(count.bit_length())):
        step = 2**bit
        passed = passed + step * (knot(passed + (step - 1)) <= below).cast(dtypes.int32)
    interval = (x > high).where(count, passed.minimum(count)) - 1
    return [interval.cast(x.dtype), *(knot(interval + n) for n in range(1 - k, k + 1))]


def local_functions(
    x: UOp, basis: BSpline, base: Activation | None, found: Sequence[UOp]
) -> tuple[list[UOp], list[UOp]]:
    """The index of the first non-zero function, 0 to `intervals - 1`, in x's type, the values of it
    and the next `order` functions, and that of the base function; then their derivatives. `found`
    is the result of `find_interval`, for given knots."""
    first, values, derivatives = (
        _on_knots(x, basis, *found) if found else _on_uniform_knots(x, basis)
    )
    if base is not None:
        values, derivatives = [*values, base.value(x)], [*derivatives, base.derivative(x)]
    return [first, *values], derivatives


def _on_uniform_knots(x: UOp, basis: BSpline) -> tuple[UOp, list[UOp], list[UOp]]:
    position = basis.position(x)
    first = (position + basis.intervals / 2).floor().maximum(0).minimum(basis.intervals - 1)
    nearest = position - (first - (basis.n_functions - 1) / 2)
    offsets = [nearest - float(j) for j in range(basis.order + 1)]
    return first, [basis.closed_form(v) for v in offsets], [basis.closed_slope(v) for v in offsets]


def _on_knots(
    x: UOp, basis: BSpline, interval: UOp, *near: UOp
) -> tuple[UOp, list[UOp], list[UOp]]:
    k, zero = basis.order, x.const_like(0.0)
    # NaN stays NaN, and so does every value, for all are multiples of this.
    values = terms = [(x != x).where(x, 1.0)]
    x = x.maximum(near[0]).minimum(near[-1])  # finite; what is outside is made 0 below
    for p in range(1, k + 1):
        left, right = near[k - p : k], near[k : k + p]
        widths = [(b - a).maximum(NARROWEST) for a, b in zip(left, right, strict=True)]
        terms = [value / width for value, width in zip(values, widths, strict=True)]
        rising = [zero, *((x - a) * term for a, term in zip(left, terms, strict=True))]
        falling = [*((b - x) * term for b, term in zip(right, terms, strict=True)), zero]
        values = [a + b for a, b in zip(rising, falling, strict=True)]
    derivatives = [k * (a - b) for a, b in zip([zero, *terms], [*terms, zero], strict=True)]
    # These are of functions interval - k to interval, not all of which exist outside the domain.
    first = (interval - k).maximum(0).minimum(basis.intervals - 1)
    shift = first - (interval - k)
    moved = [shift.eq(float(n)).cast(x.dtype) for n in range(-k, k + 1)]

    def from_first(numbers: list[UOp]) -> list[UOp]:
        places = range(k + 1)
        return [sum((numbers[n] * moved[n - j + k] for n in places), zero) for j in places]

    return first, from_first(values), from_first(derivatives)


def weight_rows(first: UOp, weights: Sequence[UOp], rows: int, i: UOp, o: UOp) -> list[UOp]:
    """What one sample's functions of input `i` are multiplied by: the rows of the functions that
    are not zero, and the base weight. `rows` is `Functions.rows`, or that many."""
    local = rows - len(weights)
    first = bounded(first, weights[0].shape[1] - local)
    return [weights[0][i, first + j, o] for j in range(local)] + [w[i, o] for w in weights[1:]]


def bounded(index: UOp, last: int) -> UOp:
    """An index that was read from memory, from 0 to `last` whatever it was, so that no access is
    out of range. tinygrad knows its range then, which is also what makes loads vector loads."""
    return index.cast(dtypes.int32).maximum(0).minimum(last).cast(dtypes.weakint)

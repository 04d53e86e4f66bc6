"""Splines on nodes on CPUs: a sum of the functions that are not zero, and both gradients.

    y[b, i * rank + r] = sum_j value_j(x[b, i]) coefficients[i, first(x[b, i]) + j, r]

reads k + 1 coefficients for each number, whatever the grid. Coefficients of one row are shared by
all inputs. In the gradient to the coefficients each thread owns some of the inputs, and goes
through the batch in order: repeated runs give the same bits. Their reference is the plain path of
NodeLayer, which evaluates every function.
"""

from __future__ import annotations

from functools import partial

from tinygrad import Tensor
from tinygrad.uop.ops import AxisType, KernelInfo, UOp

from tinykan.basis import BSpline
from tinykan.kernels.dense import elements
from tinykan.kernels.launch import as_computed, empty, no_second_derivative, threads_for
from tinykan.kernels.local_support import bounded, local_functions


def node_splines(x: Tensor, basis: BSpline, coefficients: Tensor) -> Tensor:
    """`[batch, in]` to `[batch, in * rank]`, from coefficients `[in or 1, n_functions, rank]` on
    uniform knots."""
    inputs, (rows, functions, rank) = x.shape[1], coefficients.shape
    x = as_computed(x)  # which may have more columns, whose results are cut off

    def gradient(upstream: UOp, call: UOp) -> tuple[UOp | None, ...]:
        dy, x, weights = Tensor(upstream).contiguous(), *(Tensor(s) for s in call.src[2:4])
        dx = empty(x.shape, x).custom_kernel(
            x, weights, dy, fxn=partial(_input_gradient, basis=basis), grad_fxn=no_second_derivative
        )[0]
        sums = empty((inputs, functions, rank), x).custom_kernel(
            x, dy, fxn=partial(_weight_gradient, basis=basis), grad_fxn=no_second_derivative
        )[0]
        return (None, dx.uop, (sums if rows > 1 or inputs == 1 else sums.sum(0, keepdim=True)).uop)

    return empty((x.shape[0], x.shape[1] * rank), x).custom_kernel(
        x, coefficients.contiguous(), fxn=partial(_forward, basis=basis), grad_fxn=gradient
    )[0][:, : inputs * rank]


def _forward(y: UOp, x: UOp, weights: UOp, basis: BSpline) -> UOp:
    row, i, loops = elements(x)
    (first, *values), _ = local_functions(x[row, i].load(), basis, None, [])
    near = _coefficients(weights, first, i, len(values))
    stored = UOp.group(
        *(y[row, i * len(near) + r].store(_dot(values, column)) for r, column in enumerate(near))
    )
    return stored.end(*loops).sink(arg=KernelInfo(name="node_splines", opts_to_apply=()))


def _input_gradient(dx: UOp, x: UOp, weights: UOp, dy: UOp, basis: BSpline) -> UOp:
    row, i, loops = elements(x)
    (first, *_), slopes = local_functions(x[row, i].load(), basis, None, [])
    near = _coefficients(weights, first, i, len(slopes))
    upstream = [dy[row, i * len(near) + r].load() for r in range(len(near))]
    terms = [_dot(slopes, column) for column in near]
    stored = dx[row, i].store(_dot(upstream, terms)).end(*loops)
    return stored.sink(arg=KernelInfo(name="node_splines_input", opts_to_apply=()))


def _weight_gradient(sums: UOp, x: UOp, dy: UOp, basis: BSpline) -> UOp:
    inputs, functions, rank = sums.shape
    threads = threads_for(inputs)
    thread, pieces = UOp.range(threads, 0, AxisType.THREAD), inputs // threads
    piece, n, r = UOp.range(pieces, 1), UOp.range(functions, 2), UOp.range(rank, 3)
    cleared = sums[thread * pieces + piece, n, r].store(0.0).end(r, n, piece)
    sums = sums.after(cleared)
    piece, row = UOp.range(pieces, 4), UOp.range(x.shape[0], 5)
    i = thread * pieces + piece
    (first, *values), _ = local_functions(x[row, i].load(), basis, None, [])
    start, before = bounded(first, functions - len(values)), sums.after(piece, row)
    places = [(i, start + j, r) for j in range(len(values)) for r in range(rank)]
    added = [value * dy[row, i * rank + r].load() for value in values for r in range(rank)]
    stored = UOp.group(
        *(
            sums[place].store(before[place].load() + term)
            for place, term in zip(places, added, strict=True)
        )
    )
    ended = stored.end(row, piece, thread)
    return ended.sink(arg=KernelInfo(name="node_splines_weights", opts_to_apply=()))


def _coefficients(weights: UOp, first: UOp, i: UOp, count: int) -> list[list[UOp]]:
    """Those of the functions that are not zero `[rank][count]`."""
    rows, functions, rank = weights.shape
    i, first = i.minimum(rows - 1), bounded(first, functions - count)
    return [[weights[i, first + j, r].load() for j in range(count)] for r in range(rank)]


def _dot(a: list[UOp], b: list[UOp]) -> UOp:
    terms = [p * q for p, q in zip(a, b, strict=True)]
    return sum(terms[1:], terms[0])

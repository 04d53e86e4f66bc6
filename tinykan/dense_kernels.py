"""Dense layers and Adam on CPUs: functions of the inputs, a matrix product, sums over the batch,
and the update.

The product has tiles in registers and a thread for each core, in the place of tinygrad's schedule,
which is made for larger matrices.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from tinygrad import Tensor, dtypes
from tinygrad.helpers import CPU_COUNT
from tinygrad.uop.ops import AxisType, KernelInfo, Ops, UOp

from tinykan.activations import Function
from tinykan.basis import DenseBasis
from tinykan.kernels import (
    empty,
    lane_range,
    lanes_for,
    largest_divisor,
    settled,
    shared,
    threads_for,
    vector_length,
    widen,
    widened,
)

TILE_ROWS, TILE_COLUMNS = 4, 32  # of the matrix product: as many sums as registers hold
CHUNK = 256  # rows of both factors at a time, where the sum is over them
LANES = 64  # columns summed side by side
FUNCTION_LANES = 16  # inputs whose functions are computed side by side


def features(x: Tensor, basis: DenseBasis, base: Function | None) -> Tensor:
    """The functions of the basis, then the base function, of `x` `[n, in]`: `[n, functions * in]`,
    neighbouring inputs side by side, so that they are computed and stored as vectors."""
    rows, inputs = x.shape
    count = basis.n_functions + (base is not None)

    def values(at: UOp) -> list[UOp]:
        return [*basis.values(at), *([] if base is None else [base.value(at)])]

    def slopes(at: UOp) -> list[UOp]:
        return [*basis.slopes(at), *([] if base is None else [base.derivative(at)])]

    def gradient(upstream: UOp, call: UOp) -> tuple[UOp | None, ...]:
        dx = empty((rows, inputs), x).custom_kernel(
            Tensor(call.src[2]),
            Tensor(upstream).contiguous(),
            fxn=lambda *arguments: _chain(*arguments, slopes=slopes),
        )[0]
        return (None, dx.uop)

    return empty((rows, count * inputs), x).custom_kernel(
        settled(x), fxn=lambda *arguments: _evaluate(*arguments, values=values), grad_fxn=gradient
    )[0]


def _evaluate(y: UOp, x: UOp, *, values: Callable) -> UOp:
    row, i, loops = _elements(x)
    found = enumerate(values(x[row, i].load()))
    stored = UOp.group(*(y[row, n * x.shape[1] + i].store(value) for n, value in found))
    return stored.end(*loops).sink(arg=KernelInfo(name="features", opts_to_apply=()))


def _chain(dx: UOp, x: UOp, upstream: UOp, *, slopes: Callable) -> UOp:
    row, i, loops = _elements(x)
    found = enumerate(slopes(x[row, i].load()))
    terms = [slope * upstream[row, n * x.shape[1] + i] for n, slope in found]
    stored = dx[row, i].store(sum(terms[1:], terms[0]))
    return stored.end(*loops).sink(arg=KernelInfo(name="features_gradient", opts_to_apply=()))


def _elements(x: UOp) -> tuple[UOp, UOp, tuple[UOp, ...]]:
    """Row and column of each number, and the loops over them; each thread its rows."""
    rows, inputs = x.shape
    lanes = vector_length(inputs, FUNCTION_LANES)
    row, inner, thread = shared(rows)
    part, lane = UOp.range(inputs // lanes, 2), lane_range(lanes, 3)
    return row, part * lanes + lane, (lane, part, inner, thread)


def linear(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """`a` `[n, k]` times `b` `[k, m]`, plus `bias` `[m]` if there is one."""
    biases = [] if bias is None else [bias]

    def gradient(upstream: UOp, call: UOp) -> tuple[UOp | None, ...]:
        # As wide as the kernel's own output and weights, which may be wider than b.
        dy = Tensor(upstream).contiguous()
        to_a = _product(dy, Tensor(call.src[3]).transpose())
        to_b = _product_over_rows(a, dy)
        return (None, to_a.uop, to_b.uop, *(column_sums(dy).uop for _ in biases))

    return _product(a, b, *biases, grad_fxn=gradient)


def _product(a: Tensor, b: Tensor, *biases: Tensor, grad_fxn: Callable | None = None) -> Tensor:
    """`a @ b` plus a bias; left to tinygrad where `b` is too narrow for vectors."""
    rows, out = a.shape[0], b.shape[1]
    if out < 4:
        return sum(biases, a @ b)
    lanes = lanes_for(out, TILE_COLUMNS)
    return empty((rows, widened(out, lanes)), a).custom_kernel(
        settled(a),
        *(widen(w, lanes) for w in (b, *biases)),
        fxn=lambda *arguments: _tiles(*arguments, lanes=lanes),
        grad_fxn=grad_fxn,
    )[0][:, :out]


def _tiles(y: UOp, a: UOp, b: UOp, *biases: UOp, lanes: int) -> UOp:
    """Each thread its rows; a tile of rows and columns stays in registers while the sum runs."""
    (n, m), k = y.shape, b.shape[0]
    rows = largest_divisor(n, TILE_ROWS)
    tile, inner, thread = shared(n // rows)
    part, row, lane = UOp.range(m // lanes, 2), lane_range(rows, 3), lane_range(lanes, 4)
    i, j = tile * rows + row, part * lanes + lane
    value = _summed(k, 5, lambda at: a[i, at] * b[at, j])
    value = sum([bias[j] for bias in biases], value)
    stored = y[i, j].store(value).end(row, lane, part, inner, thread)
    return stored.sink(arg=KernelInfo(name="matmul", opts_to_apply=()))


def _product_over_rows(a: Tensor, b: Tensor) -> Tensor:
    """`a.T @ b`, the gradient to weights: `[n, k]` and `[n, m]` to `[k, m]`."""
    k, out = a.shape[1], b.shape[1]
    if out < 4:
        return Tensor.stack(*(column_sums(a, b[:, j].contiguous()) for j in range(out)), dim=-1)
    lanes = lanes_for(out, TILE_COLUMNS)
    # Inputs are any number: whole tiles are computed for every thread, and what they have beyond
    # the end repeats the last one.
    height = widened(k, TILE_ROWS * min(CPU_COUNT.value, -(-k // TILE_ROWS)))
    sums = empty((height, widened(out, lanes)), a)
    return sums.custom_kernel(settled(a), widen(b, lanes), fxn=_tiles_over_rows)[0][:k, :out]


def _tiles_over_rows(y: UOp, a: UOp, b: UOp) -> UOp:
    """Each thread its rows of `y`. As many rows of `a` and `b` at a time as stay in the second
    cache, for every tile goes through them all."""
    (height, m), (n, k) = y.shape, a.shape
    lanes, even = lanes_for(m, TILE_COLUMNS), largest_divisor(n, CHUNK)
    chunk = even if even >= CHUNK // 8 else n
    tiles, columns = height // TILE_ROWS, m // lanes
    threads = threads_for(tiles)
    thread = UOp.range(threads, 0, AxisType.THREAD)

    def place(loops: tuple[UOp, UOp, UOp, UOp]) -> tuple[UOp, UOp]:
        tile, part, row, lane = loops
        return (thread * (tiles // threads) + tile) * TILE_ROWS + row, part * lanes + lane

    def loops(first: int) -> tuple[UOp, UOp, UOp, UOp]:
        tile, part = UOp.range(tiles // threads, first), UOp.range(columns, first + 1)
        return tile, part, lane_range(TILE_ROWS, first + 2), lane_range(lanes, first + 3)

    clearing = loops(1)
    y = y.after(y[place(clearing)].store(0.0).end(*reversed(clearing)))
    block = UOp.range(n // chunk, 5)
    adding = loops(6)
    i, j = place(adding)
    row = i.minimum(k - 1)
    total = _summed(chunk, 10, lambda at: a[block * chunk + at, row] * b[block * chunk + at, j])
    present = y.after(block, adding[0], adding[1])[i, j].load()
    stored = y[i, j].store(present + total).end(*reversed(adding), block, thread)
    return stored.sink(arg=KernelInfo(name="matmul_over_rows", opts_to_apply=()))


def _summed(count: int, number: int, term: Callable[[UOp], UOp]) -> UOp:
    """The sum of `term(0)` to `term(count - 1)`."""
    if count == 1:  # tinygrad makes such a range a constant, which can't be summed over
        return term(UOp.const(dtypes.weakint, 0))
    at = UOp.range(count, number, AxisType.REDUCE)
    return term(at).reduce(at, arg=Ops.ADD)


def column_sums(values: Tensor, *factors: Tensor) -> Tensor:
    """`[n, columns]` to `[columns]`, each row multiplied by its factor `[n]` if there is one; each
    thread sums its rows."""
    n, columns = values.shape
    threads = threads_for(n)
    if n == threads:
        return math.prod((f.unsqueeze(-1) for f in factors), start=values).sum(0)
    partial = empty((threads, columns), values)
    return partial.custom_kernel(settled(values), *factors, fxn=_sums)[0].sum(0)


def _sums(sums: UOp, values: UOp, *factors: UOp) -> UOp:
    threads, columns = sums.shape
    lanes, rows = vector_length(columns, LANES), values.shape[0] // threads
    thread, part = UOp.range(threads, 0, AxisType.THREAD), UOp.range(columns // lanes, 1)
    lane, row = lane_range(lanes, 2), UOp.range(rows, 3, AxisType.REDUCE)
    column = part * lanes + lane
    at = thread * rows + row
    total = math.prod((f[at] for f in factors), start=values[at, column]).reduce(row, arg=Ops.ADD)
    stored = sums[thread, column].store(total).end(lane, part, thread)
    return stored.sink(arg=KernelInfo(name="column_sums", opts_to_apply=()))


def adam_step(
    parameter: Tensor, m: Tensor, v: Tensor, gradient: Tensor, rate: Tensor, b1: float, b2: float
) -> list[Tensor]:
    """Updates the first three in place; they are realised, and so is the gradient, or what computes
    it might read the new parameters. `rate` is Adam's step size and epsilon `[2]`."""
    return parameter.flatten().custom_kernel(
        *(t.flatten() for t in (m, v, gradient)), rate, fxn=lambda *a: _adam_step(*a, b1=b1, b2=b2)
    )[:3]


def _adam_step(
    parameter: UOp, m: UOp, v: UOp, gradient: UOp, rate: UOp, *, b1: float, b2: float
) -> UOp:
    size = parameter.shape[0]
    lanes = vector_length(size, 16)
    block, inner, thread = shared(size // lanes)
    lane = lane_range(lanes, 2)
    at = block * lanes + lane
    g = gradient[at].load()
    first = b1 * m[at].load() + (1 - b1) * g
    second = b2 * v[at].load() + (1 - b2) * (g * g)
    new = parameter[at].load() - rate[0].load() * first / (second.sqrt() + rate[1].load())
    stored = UOp.group(m[at].store(first), v[at].store(second), parameter[at].store(new))
    return stored.end(lane, inner, thread).sink(arg=KernelInfo(name="adam", opts_to_apply=()))

"""Dense layers on CPUs: basis functions of the inputs, a matrix product, sums over the batch, and
activations of nodes.

The product has tiles in registers and a thread for each core, instead of tinygrad's schedule, which
is made for larger matrices.
"""

from __future__ import annotations

from collections.abc import Callable

from tinygrad import Tensor
from tinygrad.uop.ops import AxisType, KernelInfo, Ops, UOp

from tinykan.activations import Activation
from tinykan.basis import DenseBasis
from tinykan.kernels.hardware import vector_floats
from tinykan.kernels.launch import (
    as_computed,
    empty,
    lane_range,
    lanes_for,
    largest_divisor,
    loop_over,
    no_second_derivative,
    pad_columns,
    padded_size,
    split_across_threads,
    strip_reshapes,
    summed,
    threads_for,
    vector_length,
)
from tinykan.kernels.tinygrad_versions import cpu_threads

# Of the matrix product: enough sums to keep the units busy that multiply and add, and no more than
# registers hold (32 of AVX-512 and NEON, 16 of AVX2).
TILE_ROWS, TILE_COLUMNS = 4, max(16, 2 * vector_floats())
BLOCK = 64  # samples whose features and gradients stay in a cache
LANES = 64  # columns summed side by side
FUNCTION_LANES = 16  # inputs whose functions are computed side by side


def features(x: Tensor, basis: DenseBasis, base: Activation | None) -> Tensor:
    """The functions of the basis, then the base function, of `x` `[n, in]`: `[n, functions * in]`,
    neighboring inputs side by side, so that they are computed and stored as vectors."""

    def values(at: UOp) -> list[UOp]:
        return [*basis.values(at), *([] if base is None else [base.value(at)])]

    def slopes(at: UOp) -> list[UOp]:
        return [*basis.slopes(at), *([] if base is None else [base.derivative(at)])]

    return _elementwise(x, basis.n_functions + (base is not None), values, slopes)


def activated(x: Tensor, activation: Activation) -> Tensor:
    """`activation` of `x` `[n, m]`, a kernel's output, and of what that has beyond `m` columns."""
    values, slopes = (lambda at, f=f: [f(at)] for f in (activation.value, activation.derivative))
    return _elementwise(as_computed(x), 1, values, slopes)[:, : x.shape[1]]


def _elementwise(x: Tensor, count: int, values: Callable, slopes: Callable) -> Tensor:
    """`count` functions of `x` `[n, in]`: `[n, count * in]`, the first of all inputs first."""
    rows, inputs = x.shape

    def gradient(upstream: UOp, call: UOp) -> tuple[UOp | None, ...]:
        dx = empty((rows, inputs), x).custom_kernel(
            Tensor(call.src[2]),
            Tensor(upstream).contiguous(),
            fxn=lambda *arguments: _chain(*arguments, slopes=slopes),
            grad_fxn=no_second_derivative,
        )[0]
        return (None, dx.uop)

    return empty((rows, count * inputs), x).custom_kernel(
        strip_reshapes(x),
        fxn=lambda *arguments: _evaluate(*arguments, values=values),
        grad_fxn=gradient,
    )[0]


def _evaluate(y: UOp, x: UOp, *, values: Callable) -> UOp:
    row, i, loops = elements(x)
    found = enumerate(values(x[row, i].load()))
    stored = UOp.group(*(y[row, n * x.shape[1] + i].store(value) for n, value in found))
    return stored.end(*loops).sink(arg=KernelInfo(name="features", opts_to_apply=()))


def _chain(dx: UOp, x: UOp, upstream: UOp, *, slopes: Callable) -> UOp:
    row, i, loops = elements(x)
    found = enumerate(slopes(x[row, i].load()))
    terms = [slope * upstream[row, n * x.shape[1] + i] for n, slope in found]
    stored = dx[row, i].store(sum(terms[1:], terms[0]))
    return stored.end(*loops).sink(arg=KernelInfo(name="features_gradient", opts_to_apply=()))


def elements(x: UOp) -> tuple[UOp, UOp, tuple[UOp, ...]]:
    """Row and column of each number, and the loops over them; each thread its rows."""
    rows, inputs = x.shape
    lanes = vector_length(inputs, FUNCTION_LANES)
    row, inner, thread = split_across_threads(rows)
    part, lane = UOp.range(inputs // lanes, 2), lane_range(lanes, 3)
    return row, part * lanes + lane, (lane, part, inner, thread)


def linear(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """`a` `[n, k]` times `b` `[k, m]`, plus `bias` `[m]` if there is one."""
    biases, inputs, a = [] if bias is None else [bias], a.shape[1], as_computed(a)

    def gradient(upstream: UOp, call: UOp) -> tuple[UOp | None, ...]:
        # As wide as the kernel's own output and weights, which may be wider than b.
        dy = Tensor(upstream).contiguous()
        weights = Tensor(call.src[3]).pad(((0, a.shape[1] - inputs), (0, 0)))
        to_a = product(dy, weights.transpose())
        # Inputs are any number. Whole tiles are computed, as many for every thread; what they have
        # beyond the end repeats the last input.
        height = padded_size(inputs, TILE_ROWS * min(cpu_threads(), -(-inputs // TILE_ROWS)))
        to_b = empty((height, dy.shape[1]), a).custom_kernel(
            a, dy, fxn=_outer, grad_fxn=no_second_derivative
        )[0]
        return (None, to_a.uop, to_b[:inputs].uop, *(column_sums(dy).uop for _ in biases))

    return product(a, b, *biases, grad_fxn=gradient)


def product(a: Tensor, b: Tensor, *biases: Tensor, grad_fxn: Callable | None = None) -> Tensor:
    """`a @ b`, plus a bias; `a` may have more columns than `b` has rows, which do not count."""
    out = b.shape[1]
    lanes = TILE_COLUMNS if out > TILE_COLUMNS else max(4, lanes_for(out, TILE_COLUMNS))
    return empty((a.shape[0], padded_size(out, lanes)), a).custom_kernel(
        a,
        *(pad_columns(w, lanes) for w in (b, *biases)),
        fxn=lambda *arguments: _tiles(*arguments, lanes=lanes),
        grad_fxn=grad_fxn,
    )[0][:, :out]


def _tiles(y: UOp, a: UOp, b: UOp, *biases: UOp, lanes: int) -> UOp:
    """Each thread its rows; a tile of rows and columns stays in registers while the sum runs."""
    (n, m), k = y.shape, b.shape[0]
    rows = largest_divisor(n, TILE_ROWS)
    tile, inner, thread = split_across_threads(n // rows)
    part, row, lane = UOp.range(m // lanes, 2), lane_range(rows, 3), lane_range(lanes, 4)
    i, j = tile * rows + row, part * lanes + lane
    at, terms = loop_over(k, 5)
    value = sum([bias[j] for bias in biases], summed(a[i, at] * b[at, j], terms))
    stored = y[i, j].store(value).end(row, lane, part, inner, thread)
    return stored.sink(arg=KernelInfo(name="matmul", opts_to_apply=()))


def _outer(y: UOp, a: UOp, b: UOp) -> UOp:
    """`a.T @ b`: sums over the samples, by blocks of them that stay in a cache for all tiles of the
    result. Each thread owns its rows of the result."""
    (height, m), (n, k) = y.shape, a.shape
    lanes = vector_length(m, TILE_COLUMNS)
    even = largest_divisor(n, BLOCK)
    samples = even if even >= BLOCK // 4 else n
    threads = threads_for(height // TILE_ROWS)
    thread, pieces = UOp.range(threads, 0, AxisType.THREAD), height // TILE_ROWS // threads

    def tile(number: int) -> tuple[UOp, UOp, tuple[UOp, ...]]:
        piece, part = UOp.range(pieces, number), UOp.range(m // lanes, number + 1)
        row, lane = lane_range(TILE_ROWS, number + 2), lane_range(lanes, number + 3)
        i, j = (thread * pieces + piece) * TILE_ROWS + row, part * lanes + lane
        return i, j, (lane, row, part, piece)

    i, j, loops = tile(1)
    y = y.after(y[i, j].store(0.0).end(*loops))
    block, (i, j, loops) = UOp.range(n // samples, 5), tile(6)
    before = y.after(block, *loops[2:])[i, j].load()
    term, terms = loop_over(samples, 10)
    sample = block * samples + term
    added = summed(a[sample, i.minimum(k - 1)] * b[sample, j], terms)
    stored = y[i, j].store(before + added).end(*loops, block, thread)
    return stored.sink(arg=KernelInfo(name="outer", opts_to_apply=()))


def column_sums(values: Tensor) -> Tensor:
    """`[n, columns]` to `[columns]`; each thread sums its rows."""
    n, columns = values.shape
    threads = threads_for(n)
    if n == threads:
        return values.sum(0)
    return (
        empty((threads, columns), values)
        .custom_kernel(values, fxn=_sums, grad_fxn=no_second_derivative)[0]
        .sum(0)
    )


def _sums(sums: UOp, values: UOp) -> UOp:
    threads, columns = sums.shape
    lanes, rows = vector_length(columns, LANES), values.shape[0] // threads
    thread, part = UOp.range(threads, 0, AxisType.THREAD), UOp.range(columns // lanes, 1)
    lane, row = lane_range(lanes, 2), UOp.range(rows, 3, AxisType.REDUCE)
    column = part * lanes + lane
    total = values[thread * rows + row, column].reduce(row, arg=Ops.ADD)
    stored = sums[thread, column].store(total).end(lane, part, thread)
    return stored.sink(arg=KernelInfo(name="column_sums", opts_to_apply=()))

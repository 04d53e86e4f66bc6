"""Kernels: a spline layer that touches only the functions that are not zero, and a matrix product.

Of the n functions of a B-spline basis of order k, k + 1 are non-zero at any x. With `first[i, b]`
the first of them and `value[i, j, b]` their values,

    y[b, o] = sum_i ( sum_j value[i, j, b] coefficients[i, first[i, b] + j, o]
                      + base[i, b] base_weight[i, o] ) + bias[o]

reads k + 2 rows of weights for each input, whatever the grid. The gradient to the coefficients adds
to those rows only, and each thread owns its inputs, so that there are no atomics and the sums are
always taken in the same order: repeated runs give the same bits.

Three kernels: the layer, in chunks of samples within which one input's weights and the outputs stay
in the first cache, which also stores the values and their slopes for the other two; the gradient to
the weights; and that to the inputs. The plain path, which says what they compute, is
`KANLayer.reference`.

The matrix product is for dense layers and dense bases: tiles in registers and a thread for each
core, in the place of tinygrad's schedule, which is made for larger ones.

All of them are for devices with threads, CPUs; gpu_kernels.py has the spline layer for others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeGuard

from tinygrad import Device, Tensor, dtypes
from tinygrad.helpers import CPU_COUNT
from tinygrad.uop.ops import AxisType, KernelInfo, Ops, UOp

from tinykan.activations import Function
from tinykan.basis import Basis, BSpline

CHUNK = 64  # samples, whose outputs and one input's features and weights fit into the first cache
LANES = 64  # outputs computed side by side
SUMMED_LANES = 8  # the same, where they are then summed up
TILE_ROWS, TILE_COLUMNS = 8, 24  # of the matrix product: as many sums as registers hold


def supported(x: Tensor) -> bool:
    """Whether there are kernels for such numbers on their device: one with threads, a CPU."""
    device = x.device
    threaded = isinstance(device, str) and Device[device].renderer.has_threads
    return threaded and x.dtype == dtypes.float32 and x.numel() > 0


def local(basis: Basis) -> TypeGuard[BSpline]:
    """Whether the spline layer serves this basis: splines on uniform knots."""
    return isinstance(basis, BSpline) and basis.knots is None


def linear(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """`a` `[n, k]` times `b` `[k, m]`, plus `bias` `[m]` if there is one."""
    biases = [] if bias is None else [bias]

    def gradient(upstream: UOp, call: UOp) -> tuple[UOp | None, ...]:
        # As wide as the kernel's own output and weights, which may be wider than b.
        dy = Tensor(upstream).contiguous()
        to_a = _product(dy, Tensor(call.src[3]).transpose())
        to_b = _product(a, dy, transposed=True)
        return (None, to_a.uop, to_b.uop, *(_column_sums(dy).uop for _ in biases))

    return _product(a, b, *biases, grad_fxn=gradient)


def _product(
    a: Tensor,
    b: Tensor,
    *biases: Tensor,
    transposed: bool = False,
    grad_fxn: Callable | None = None,
) -> Tensor:
    """`a @ b`, or `a.T @ b`, plus a bias; left to tinygrad where `b` is too narrow for vectors."""
    rows, out = a.shape[1] if transposed else a.shape[0], b.shape[1]
    if out < 4:
        return sum(biases, (a.transpose() if transposed else a) @ b)
    lanes = lanes_for(out, TILE_COLUMNS)
    return empty((rows, _widened(out, lanes)), a).custom_kernel(
        _settled(a),
        *(widen(w, lanes) for w in (b, *biases)),
        fxn=lambda *arguments: _tiles(*arguments, lanes=lanes, transposed=transposed),
        grad_fxn=grad_fxn,
    )[0][:, :out]


def _tiles(y: UOp, a: UOp, b: UOp, *biases: UOp, lanes: int, transposed: bool) -> UOp:
    """Each thread its rows; a tile of rows and columns stays in registers while the sum runs."""
    (n, m), k = y.shape, b.shape[0]
    rows = largest_divisor(n, TILE_ROWS)
    tile, inner, thread = _shared(n // rows)
    part, row, lane = UOp.range(m // lanes, 2), lane_range(rows, 3), lane_range(lanes, 4)
    i, j = tile * rows + row, part * lanes + lane
    terms = [UOp.range(k, 5, AxisType.REDUCE)] if k > 1 else []
    at = sum(terms, UOp.const(dtypes.weakint, 0))
    value = (a[at, i] if transposed else a[i, at]) * b[at, j]
    value = value.reduce(*terms, arg=Ops.ADD) if terms else value
    value = sum([bias[j] for bias in biases], value)
    stored = y[i, j].store(value).end(row, lane, part, inner, thread)
    return stored.sink(arg=KernelInfo(name="matmul", opts_to_apply=()))


def _column_sums(values: Tensor) -> Tensor:
    """`[n, columns]` to `[columns]`; each thread sums its rows."""
    n, columns = values.shape
    threads = _threads(n)
    if n == threads:
        return values.sum(0)
    return empty((threads, columns), values).custom_kernel(values, fxn=_sums)[0].sum(0)


def _sums(sums: UOp, values: UOp) -> UOp:
    threads, columns = sums.shape
    lanes, rows = vector_length(columns, LANES), values.shape[0] // threads
    thread, part = UOp.range(threads, 0, AxisType.THREAD), UOp.range(columns // lanes, 1)
    lane, row = lane_range(lanes, 2), UOp.range(rows, 3, AxisType.REDUCE)
    column = part * lanes + lane
    total = values[thread * rows + row, column].reduce(row, arg=Ops.ADD)
    stored = sums[thread, column].store(total).end(lane, part, thread)
    return stored.sink(arg=KernelInfo(name="column_sums", opts_to_apply=()))


def spline_layer(
    x: Tensor,
    basis: BSpline,
    coefficients: Tensor,
    base: Function | None = None,
    base_weight: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """`[batch, in]` to `[batch, out]`, with coefficients `[in, n_functions, out]`; for a base
    function, base weights `[in, out]`; and a bias `[out]`, if any."""
    batch, inputs = x.shape
    rows = basis.order + 1 + (base is not None)
    blocks, chunk = _blocks(batch, basis.n_functions)
    padding = blocks * chunk - batch
    out = coefficients.shape[2]
    lanes = lanes_for(out, LANES)
    weights = [widen(w, lanes) for w in (coefficients, base_weight) if w is not None]
    biases = [] if bias is None else [widen(bias, lanes)]

    def gradient(upstream: UOp, call: UOp) -> tuple[UOp | None, ...]:
        dy = Tensor(upstream).contiguous()
        sums = [empty(w.shape, x) for w in weights]
        sums = sums[0].custom_kernel(*sums[1:], features, dy, fxn=_weight_gradient)
        dx = empty((batch + padding, inputs), x)
        dx = dx.custom_kernel(*weights, features, slopes, dy, fxn=_input_gradient)[0]
        to_weights = [s.uop for s in sums[: len(weights)]]
        return (None, None, None, dx.uop, *to_weights, *(_column_sums(dy).uop for _ in biases))

    y, features, slopes = empty((batch + padding, _widened(out, lanes)), x).custom_kernel(
        empty((blocks, inputs, 1 + rows, chunk), x),
        empty((blocks, inputs, rows, chunk), x),
        x.pad(((0, padding), (0, 0))),
        *weights,
        *biases,
        fxn=lambda *arguments: _forward(
            *arguments, basis=basis, base=base, biased=bias is not None
        ),
        grad_fxn=gradient,
    )[:3]
    return y[:batch, :out]


def _blocks(batch: int, functions: int) -> tuple[int, int]:
    """How many chunks of how many samples: each thread as many, in steps of a vector's length.

    On large grids, whose weights do not fit into a cache, a chunk has about two samples for each
    function, so that weights are fetched for several samples at once.
    """
    if batch < CHUNK:
        return 1, batch
    threads = min(CPU_COUNT.value, batch // CHUNK)
    # A power of two, as batches mostly are: then no samples have to be added.
    wanted = max(CHUNK, 1 << (2 * functions - 1).bit_length())
    blocks = threads * -(-batch // (threads * wanted))
    return blocks, -(-batch // (16 * blocks)) * 16


def _settled(x: Tensor) -> Tensor:
    """`x` without reshapes that lead back to its own shape: a kernel that reads through them would
    be given a copy."""
    base = x.uop
    while base.op is Ops.RESHAPE:
        base = base.src[0]
    return Tensor(base) if base.shape == x.shape else x


def empty(shape: tuple, like: Tensor) -> Tensor:
    return Tensor.empty(*shape, dtype=like.dtype, device=like.device)


def _forward(
    y: UOp,
    features: UOp,
    slopes: UOp,
    x: UOp,
    *weights: UOp,
    basis: BSpline,
    base: Function | None,
    biased: bool,
) -> UOp:
    """The layer, from the inputs and the weights of splines, of the base, and the bias; and what
    its gradients need: for each input the number of its first function, the values, the base
    function; and the derivatives of the latter two."""
    (blocks, inputs, rows, chunk), out = features.shape, y.shape[1]
    lanes = lanes_for(out, LANES)
    block, inner, thread = _shared(blocks)
    sample, part, lane = UOp.range(chunk, 2), UOp.range(out // lanes, 3), lane_range(lanes, 4)
    b, o = block * chunk + sample, part * lanes + lane
    initial = weights[-1][o] if biased else 0.0
    y = y.after(y[b, o].store(initial).end(lane, part, sample))

    together = vector_length(chunk, 16)
    i, part, lane = UOp.range(inputs, 5), UOp.range(chunk // together, 6), lane_range(together, 7)
    sample = part * together + lane
    at = x[block * chunk + sample, i].load()
    values, derivatives = local_functions(at, basis, base)
    stored = [features[block, i, r, sample].store(value) for r, value in enumerate(values)]
    stored += [slopes[block, i, r, sample].store(value) for r, value in enumerate(derivatives)]
    features = features.after(UOp.group(*stored).end(lane, part))

    sample, part, lane = UOp.range(chunk, 8), UOp.range(out // lanes, 9), lane_range(lanes, 10)
    b, o = block * chunk + sample, part * lanes + lane
    total = y.after(i, sample)[b, o].load()
    feature = [features[block, i, r, sample].load() for r in range(rows)]
    used = weight_rows(feature[0], weights[: len(weights) - biased], rows, i, o)
    for factor, weight in zip(feature[1:], used, strict=True):
        total = total + factor * weight
    stored = y[b, o].store(total).end(lane, part, sample, i, inner, thread)
    return stored.sink(arg=KernelInfo(name="spline_forward", opts_to_apply=()))


def local_functions(x: Any, basis: BSpline, base: Function | None) -> tuple[list, list]:
    """The number of the first function, the values, the base function; their derivatives. For a
    number inside a kernel, and for tensors."""
    first, offsets = basis.local_offsets(x)
    values = [first, *(basis.closed_form(v) for v in offsets)]
    derivatives = [basis.closed_slope(v) for v in offsets]
    if base is not None:
        values.append(base.value(x))
        derivatives.append(base.derivative(x))
    return values, derivatives


def _weight_gradient(*arguments: UOp) -> UOp:
    """The sums for coefficients and base weights, from the features and the gradient to y."""
    *sums, features, upstream = arguments
    (blocks, inputs, rows, chunk), (_, functions, out) = features.shape, sums[0].shape
    lanes = vector_length(out, LANES)
    columns = inputs * (out // lanes)
    threads = _threads(columns)
    thread = UOp.range(threads, 0, AxisType.THREAD)

    def place(column: UOp) -> tuple[UOp, UOp]:
        column = thread * (columns // threads) + column
        return column // (out // lanes), column % (out // lanes) * lanes

    column, n, lane = (
        UOp.range(columns // threads, 1),
        UOp.range(functions, 2),
        lane_range(lanes, 3),
    )
    i, start = place(column)
    cleared = [sums[0][i, n, start + lane].store(0.0).end(lane, n, column)]
    column, lane = UOp.range(columns // threads, 4), lane_range(lanes, 5)
    i, start = place(column)
    cleared += [s[i, start + lane].store(0.0).end(lane, column) for s in sums[1:]]
    sums = [s.after(c) for s, c in zip(sums, cleared, strict=True)]
    block, column, sample = (
        UOp.range(blocks, 6),
        UOp.range(columns // threads, 7),
        UOp.range(chunk, 8),
    )
    lane = lane_range(lanes, 9)
    i, start = place(column)
    o, b = start + lane, block * chunk + sample
    feature = [features[block, i, r, sample] for r in range(rows)]
    places = weight_rows(feature[0], sums, rows, i, o)
    values = weight_rows(feature[0], [s.after(block, column, sample) for s in sums], rows, i, o)
    added = [
        p.store(v.load() + f * upstream[b, o])
        for p, v, f in zip(places, values, feature[1:], strict=True)
    ]
    stored = UOp.group(*added).end(lane, sample, column, block, thread)
    return stored.sink(arg=KernelInfo(name="spline_weight_gradient", opts_to_apply=()))


def _input_gradient(gradient: UOp, *arguments: UOp) -> UOp:
    """The gradient `[batch, in]`, from weights, features, their slopes, and that to y."""
    *weights, features, slopes, upstream = arguments
    (blocks, inputs, rows, chunk), out = features.shape, upstream.shape[1]
    lanes = vector_length(out, SUMMED_LANES)
    block, inner, thread = _shared(blocks)
    i, sample = UOp.range(inputs, 2), UOp.range(chunk, 3)
    # Only ranges longer than one: tinygrad makes the others constants, which can't be summed over.
    parts = [UOp.range(out // lanes, 4, AxisType.REDUCE)] if out > lanes else []
    inside = [UOp.range(lanes, 5, AxisType.UNROLL)] if lanes > 1 else []
    o = sum([p * lanes for p in parts] + inside, UOp.const(dtypes.weakint, 0))
    used = weight_rows(features[block, i, 0, sample], weights, rows, i, o)
    products = [slopes[block, i, r, sample] * w for r, w in enumerate(used)]
    b = block * chunk + sample
    value = sum(products[1:], products[0]) * upstream[b, o]
    for loop in parts + inside:
        value = value.reduce(loop, arg=Ops.ADD)
    stored = gradient[b, i].store(value).end(sample, i, inner, thread)
    return stored.sink(arg=KernelInfo(name="spline_input_gradient", opts_to_apply=()))


def weight_rows(first: UOp, weights: Sequence[UOp], rows: int, i: UOp, o: UOp) -> list[UOp]:
    """What one sample's features of input `i` are multiplied by: the rows of the functions that are
    not zero, and the base weight.

    The first row is bounded, so that whatever the features hold no access is out of range. tinygrad
    knows its range then, which is also what makes loads vector loads.
    """
    local = rows - len(weights)
    first = first.cast(dtypes.int32).maximum(0).minimum(weights[0].shape[1] - local)
    first = first.cast(dtypes.weakint)
    return [weights[0][i, first + j, o] for j in range(local)] + [w[i, o] for w in weights[1:]]


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
    block, inner, thread = _shared(size // lanes)
    lane = lane_range(lanes, 2)
    at = block * lanes + lane
    g = gradient[at].load()
    first = b1 * m[at].load() + (1 - b1) * g
    second = b2 * v[at].load() + (1 - b2) * (g * g)
    new = parameter[at].load() - rate[0].load() * first / (second.sqrt() + rate[1].load())
    stored = UOp.group(m[at].store(first), v[at].store(second), parameter[at].store(new))
    return stored.end(lane, inner, thread).sink(arg=KernelInfo(name="adam", opts_to_apply=()))


def _shared(count: int) -> tuple[UOp, UOp, UOp]:
    """Work shared among the threads: the number of a piece, the loop over a thread's pieces, and
    the thread."""
    threads = _threads(count)
    thread, inner = UOp.range(threads, 0, AxisType.THREAD), UOp.range(count // threads, 1)
    return thread * (count // threads) + inner, inner, thread


def lane_range(count: int, number: int) -> UOp:
    return UOp.range(count, number, AxisType.UPCAST)


def _threads(count: int) -> int:
    """As many threads as divide `count` pieces of work evenly, up to the cores."""
    return largest_divisor(max(count, 1), CPU_COUNT.value)


def lanes_for(out: int, limit: int) -> int:
    """How many columns to compute side by side: a multiple of 4, for vector loads need rows that
    start at one, with the least waste; below 4 there is nothing to gain."""
    if out <= limit:
        return 1 if out < 4 else -(-out // 4) * 4
    return min(range(limit, limit // 2 - 1, -4), key=lambda lanes: _widened(out, lanes))


def _widened(out: int, lanes: int) -> int:
    return -(-out // lanes) * lanes


def widen(weights: Tensor, lanes: int) -> Tensor:
    """With zero columns up to a multiple of `lanes`; contiguous."""
    missing = _widened(weights.shape[-1], lanes) - weights.shape[-1]
    return weights.pad((*[None] * (weights.ndim - 1), (0, missing))).contiguous()


def vector_length(out: int, limit: int) -> int:
    """The largest divisor of `out` up to `limit` that is a multiple of 4, else 1: tinygrad's checks
    fail on vectors of other lengths."""
    return 4 * largest_divisor(out // 4, limit // 4) if out % 4 == 0 else 1


def largest_divisor(number: int, limit: int) -> int:
    """The largest divisor of `number` up to `limit`."""
    return next(d for d in range(min(number, limit), 0, -1) if number % d == 0)

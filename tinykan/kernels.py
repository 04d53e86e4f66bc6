"""Kernels: a spline layer that touches only the functions that are not zero, and a matrix product.

Of the n functions of a B-spline basis of order k, k + 1 are non-zero at any x. With `first[i, b]`
the first of them and `value[i, j, b]` their values,

    y[b, o] = sum_i ( sum_j value[i, j, b] coefficients[i, first[i, b] + j, o]
                      + base[i, b] base_weight[i, o] ) + bias[o]

reads k + 2 rows of weights for each input, whatever the grid. The gradient to the coefficients adds
to those rows only, and each thread owns its inputs, so that there are no atomics and the sums are
always taken in the same order: repeated runs give the same bits.

Four kernels: the features of all inputs with their slopes, in one pass, stored input by input; the
layer, in chunks of samples within which one input's weights and the outputs stay in the first
cache; the gradient to the weights; and that to the inputs. The plain path, which says what they
compute, is `KANLayer.reference`.

The matrix product is for dense layers and dense bases: tiles in registers and a thread for each
core, in the place of tinygrad's schedule, which is made for larger ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeGuard

from tinygrad import Device, Tensor, dtypes
from tinygrad.gradient import compute_gradient
from tinygrad.helpers import CPU_COUNT
from tinygrad.uop.ops import AxisType, KernelInfo, Ops, UOp

from tinykan.basis import Basis, BSpline

CHUNK = 32  # samples: their outputs, features and one input's weights fit into 48 KiB
LANES = 64  # outputs computed side by side
TILE_ROWS, TILE_COLUMNS = 4, 16  # of the matrix product: as many sums as registers hold


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
        return (None, to_a.uop, to_b.uop, *(dy.sum(0).uop for _ in biases))

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
    lanes = _lanes(out, TILE_COLUMNS)
    return _empty((rows, _widened(out, lanes)), a).custom_kernel(
        a,
        *(_widen(w, lanes) for w in (b, *biases)),
        fxn=lambda *arguments: _tiles(*arguments, lanes=lanes, transposed=transposed),
        grad_fxn=grad_fxn,
    )[0][:, :out]


def _tiles(y: UOp, a: UOp, b: UOp, *biases: UOp, lanes: int, transposed: bool) -> UOp:
    """Each thread its rows; a tile of rows and columns stays in registers while the sum runs."""
    (n, m), k = y.shape, b.shape[0]
    rows = _divisor(n, TILE_ROWS)
    tile, inner, thread = _shared(n // rows)
    part, row, lane = UOp.range(m // lanes, 2), _lane(rows, 3), _lane(lanes, 4)
    i, j = tile * rows + row, part * lanes + lane
    terms = [UOp.range(k, 5, AxisType.REDUCE)] if k > 1 else []
    at = sum(terms, UOp.const(dtypes.weakint, 0))
    value = (a[at, i] if transposed else a[i, at]) * b[at, j]
    value = value.reduce(*terms, arg=Ops.ADD) if terms else value
    value = sum([bias[j] for bias in biases], value)
    stored = y[i, j].store(value).end(row, lane, part, inner, thread)
    return stored.sink(arg=KernelInfo(name="matmul", opts_to_apply=()))


def spline_layer(
    x: Tensor,
    basis: BSpline,
    coefficients: Tensor,
    base: Callable | None = None,
    base_weight: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """`[batch, in]` to `[batch, out]`, with coefficients `[in, n_functions, out]`; for a base
    function, base weights `[in, out]`; and a bias `[out]`, if any."""
    batch, inputs = x.shape
    # Whole chunks for every thread; small batches take one thread and one chunk.
    tile = CHUNK * _threads(batch // CHUNK) if batch >= CHUNK else batch
    padding = -batch % tile
    rows = basis.order + 1 + (base is not None)
    chunk = min(CHUNK, batch)
    blocks = (batch + padding) // chunk
    features, slopes = _empty((blocks, inputs, 1 + rows, chunk), x).custom_kernel(
        _empty((blocks, inputs, rows, chunk), x),
        x.pad(((0, padding), (0, 0))),
        fxn=lambda *arguments: _features(*arguments, basis=basis, base=base),
        grad_fxn=lambda upstream, call: (None, None, _by_sample(upstream[:, :, 0])),
    )[:2]
    out = coefficients.shape[2]
    lanes = _lanes(out, LANES)
    weights = [_widen(w, lanes) for w in (coefficients, base_weight) if w is not None]
    biases = [] if bias is None else [_widen(bias, lanes)]

    def gradient(upstream: UOp, call: UOp) -> tuple[UOp | None, ...]:
        dy = Tensor(upstream).contiguous()
        sums = [_empty(w.shape, x) for w in weights]
        sums = sums[0].custom_kernel(*sums[1:], features, dy, fxn=_weight_gradient)
        dx = _empty((blocks, inputs, chunk), x)
        dx = dx.custom_kernel(*weights, features, slopes, dy, fxn=_input_gradient)[0]
        # All of it belongs to the inputs: the features kernel hands its row 0 on to them.
        to_features = dx.unsqueeze(2).expand(*features.shape)
        to_bias = [dy.sum(0).uop for _ in biases]
        return (None, to_features.uop, *(s.uop for s in sums[: len(weights)]), *to_bias)

    y = _empty((batch + padding, _widened(out, lanes)), x)
    y = y.custom_kernel(
        features,
        *weights,
        *biases,
        fxn=lambda *arguments: _forward(*arguments, lanes=lanes, biased=bias is not None),
        grad_fxn=gradient,
    )[0]
    return y[:batch, :out]


def _empty(shape: tuple, like: Tensor) -> Tensor:
    return Tensor.empty(*shape, dtype=like.dtype, device=like.device)


def _by_sample(blocked: UOp) -> UOp:
    """`[blocks, in, chunk]` to `[batch, in]`."""
    blocks, inputs, chunk = blocked.shape
    return blocked.permute((0, 2, 1)).reshape((blocks * chunk, inputs))


def _features(features: UOp, slopes: UOp, x: UOp, *, basis: BSpline, base: Callable | None) -> UOp:
    """For each input: the number of its first function, the values, the base function; and the
    derivatives of the latter two."""
    blocks, inputs, _, chunk = features.shape
    lanes = _divisor(chunk, 16)
    block, inner, thread = _shared(blocks)
    i, part = UOp.range(inputs, 2), UOp.range(chunk // lanes, 3)
    lane = _lane(lanes, 4)
    sample = part * lanes + lane
    at = x[block * chunk + sample, i].load()
    first, offsets = basis.local_offsets(at)
    values = [first, *(basis.closed_form(v) for v in offsets)]
    derivatives = [basis.closed_slope(v) for v in offsets]
    if base is not None:
        values.append(base(at))
        derivatives.append(compute_gradient(values[-1], at.const_like(1.0), {at})[at])
    stored = [features[block, i, r, sample].store(value) for r, value in enumerate(values)]
    stored += [slopes[block, i, r, sample].store(value) for r, value in enumerate(derivatives)]
    sink = UOp.group(*stored).end(lane, part, i, inner, thread)
    return sink.sink(arg=KernelInfo(name="spline_features", opts_to_apply=()))


def _forward(y: UOp, features: UOp, *weights: UOp, lanes: int, biased: bool) -> UOp:
    """The layer, from the features and the weights of splines, of the base, and the bias."""
    (blocks, inputs, rows, chunk), out = features.shape, y.shape[1]
    block, inner, thread = _shared(blocks)
    sample, part = UOp.range(chunk, 2), UOp.range(out // lanes, 3)
    lane = _lane(lanes, 4)
    b, o = block * chunk + sample, part * lanes + lane
    initial = weights[-1][o] if biased else 0.0
    y = y.after(y[b, o].store(initial).end(lane, part, sample))
    i, sample, part = UOp.range(inputs, 5), UOp.range(chunk, 6), UOp.range(out // lanes, 7)
    lane = _lane(lanes, 8)
    b, o = block * chunk + sample, part * lanes + lane
    total = y.after(i, sample)[b, o].load()
    feature = [features[block, i, r, sample] for r in range(rows)]
    used = _rows(feature[0], weights[: len(weights) - biased], rows, i, o)
    for factor, weight in zip(feature[1:], used, strict=True):
        total = total + factor * weight
    stored = y[b, o].store(total).end(lane, part, sample, i).end(inner, thread)
    return stored.sink(arg=KernelInfo(name="spline_forward", opts_to_apply=()))


def _weight_gradient(*arguments: UOp) -> UOp:
    """The sums for coefficients and base weights, from the features and the gradient to y."""
    *sums, features, upstream = arguments
    (blocks, inputs, rows, chunk), (_, functions, out) = features.shape, sums[0].shape
    lanes = _vector(out, LANES // 2)
    columns = inputs * (out // lanes)
    threads = _threads(columns)
    thread = UOp.range(threads, 0, AxisType.THREAD)

    def place(column: UOp) -> tuple[UOp, UOp]:
        column = thread * (columns // threads) + column
        return column // (out // lanes), column % (out // lanes) * lanes

    column, n, lane = UOp.range(columns // threads, 1), UOp.range(functions, 2), _lane(lanes, 3)
    i, start = place(column)
    cleared = [sums[0][i, n, start + lane].store(0.0).end(lane, n, column)]
    column, lane = UOp.range(columns // threads, 4), _lane(lanes, 5)
    i, start = place(column)
    cleared += [s[i, start + lane].store(0.0).end(lane, column) for s in sums[1:]]
    sums = [s.after(c) for s, c in zip(sums, cleared, strict=True)]
    block, column, sample = (
        UOp.range(blocks, 6),
        UOp.range(columns // threads, 7),
        UOp.range(chunk, 8),
    )
    lane = _lane(lanes, 9)
    i, start = place(column)
    o, b = start + lane, block * chunk + sample
    feature = [features[block, i, r, sample] for r in range(rows)]
    places = _rows(feature[0], sums, rows, i, o)
    values = _rows(feature[0], [s.after(block, column, sample) for s in sums], rows, i, o)
    added = [
        p.store(v.load() + f * upstream[b, o])
        for p, v, f in zip(places, values, feature[1:], strict=True)
    ]
    stored = UOp.group(*added).end(lane, sample, column, block, thread)
    return stored.sink(arg=KernelInfo(name="spline_weight_gradient", opts_to_apply=()))


def _input_gradient(gradient: UOp, *arguments: UOp) -> UOp:
    """The gradient `[blocks, in, chunk]`, from weights, features, their slopes, and that to y."""
    *weights, features, slopes, upstream = arguments
    (blocks, inputs, rows, chunk), out = features.shape, upstream.shape[1]
    lanes = _vector(out, 8)
    block, inner, thread = _shared(blocks)
    i, sample = UOp.range(inputs, 2), UOp.range(chunk, 3)
    # Only ranges longer than one: tinygrad makes the others constants, which can't be summed over.
    parts = [UOp.range(out // lanes, 4, AxisType.REDUCE)] if out > lanes else []
    inside = [UOp.range(lanes, 5, AxisType.UNROLL)] if lanes > 1 else []
    o = sum([p * lanes for p in parts] + inside, UOp.const(dtypes.weakint, 0))
    used = _rows(features[block, i, 0, sample], weights, rows, i, o)
    products = [slopes[block, i, r, sample] * w for r, w in enumerate(used)]
    value = sum(products[1:], products[0]) * upstream[block * chunk + sample, o]
    for loop in parts + inside:
        value = value.reduce(loop, arg=Ops.ADD)
    stored = gradient[block, i, sample].store(value).end(sample, i, inner, thread)
    return stored.sink(arg=KernelInfo(name="spline_input_gradient", opts_to_apply=()))


def _rows(first: UOp, weights: Sequence[UOp], rows: int, i: UOp, o: UOp) -> list[UOp]:
    """What one sample's features of input `i` are multiplied by: the rows of the functions that are
    not zero, and the base weight.

    The first row is bounded, so that whatever the features hold no access is out of range. tinygrad
    knows its range then, which is also what makes loads vector loads.
    """
    local = rows - len(weights)
    first = first.cast(dtypes.int32).maximum(0).minimum(weights[0].shape[1] - local)
    first = first.cast(dtypes.weakint)
    return [weights[0][i, first + j, o] for j in range(local)] + [w[i, o] for w in weights[1:]]


def _shared(count: int) -> tuple[UOp, UOp, UOp]:
    """Work shared among the threads: the number of a piece, the loop over a thread's pieces, and
    the thread."""
    threads = _threads(count)
    thread, inner = UOp.range(threads, 0, AxisType.THREAD), UOp.range(count // threads, 1)
    return thread * (count // threads) + inner, inner, thread


def _lane(count: int, number: int) -> UOp:
    return UOp.range(count, number, AxisType.UPCAST)


def _threads(count: int) -> int:
    """As many threads as divide `count` pieces of work evenly, up to the cores."""
    return _divisor(max(count, 1), CPU_COUNT.value)


def _lanes(out: int, limit: int) -> int:
    """How many columns to compute side by side: a multiple of 4, for vector loads need rows that
    start at one, with the least waste; below 4 there is nothing to gain."""
    if out <= limit:
        return out if out < 4 else -(-out // 4) * 4
    return min(range(limit, limit // 2 - 1, -4), key=lambda lanes: _widened(out, lanes))


def _widened(out: int, lanes: int) -> int:
    return -(-out // lanes) * lanes


def _widen(weights: Tensor, lanes: int) -> Tensor:
    """With zero columns up to a multiple of `lanes`; contiguous."""
    missing = _widened(weights.shape[-1], lanes) - weights.shape[-1]
    return weights.pad((*[None] * (weights.ndim - 1), (0, missing))).contiguous()


def _vector(out: int, limit: int) -> int:
    """The largest divisor of `out` up to `limit` that is a multiple of 4, if there is one."""
    return 4 * _divisor(out // 4, limit // 4) if out % 4 == 0 else _divisor(out, limit)


def _divisor(number: int, limit: int) -> int:
    """The largest divisor of `number` up to `limit`."""
    return next(d for d in range(min(number, limit), 0, -1) if number % d == 0)

"""Local-support spline layer on CPUs: forward pass and both gradients.

Of the n functions of a B-spline basis of order k, k + 1 are non-zero at any x. With `first[i, b]`
the first of them and `value[i, j, b]` their values,

    y[b, o] = sum_i ( sum_j value[i, j, b] coefficients[i, first[i, b] + j, o]
                      + base[i, b] base_weight[i, o] ) + bias[o]

reads k + 2 rows of weights for each input, whatever the grid. The gradient to the coefficients adds
to those rows only, and each thread owns its inputs, so that there are no atomics and the sums are
always taken in the same order: repeated runs give the same bits.

Three kernels: the layer, in chunks of samples within which one input's weights and the outputs stay
in the first-level cache, which also stores the values and their slopes for the other two; the
gradient to the weights; and the gradient to the inputs. Their reference is `KANLayer.reference`.
local_support.py finds the non-zero functions on uniform and on given knots; gpu.py has the same
layer for devices with work-groups.
"""

from __future__ import annotations

from collections.abc import Sequence

from tinygrad import Tensor, dtypes
from tinygrad.helpers import CPU_COUNT
from tinygrad.uop.ops import AxisType, KernelInfo, UOp

from tinykan.activations import Activation
from tinykan.basis import BSpline
from tinykan.kernels.dense import column_sums
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
    threads_for,
    vector_length,
)
from tinykan.kernels.local_support import find_interval, local_functions

CHUNK = 64  # samples, whose outputs and one input's features and weights fit into the first cache
LANES = 64  # outputs computed side by side
SUMMED_LANES = 8  # the same, where they are then summed up


def spline_layer(
    x: Tensor,
    basis: BSpline,
    base: Activation | None,
    weights: Sequence[Tensor],
    bias: Tensor | None,
) -> Tensor:
    """`[batch, in]` to `[batch, out]`. `weights` are the coefficients `[in, n_functions, out]` and,
    with a base function, the base weights `[in, out]`; the bias is `[out]`."""
    batch, inputs = x.shape
    rows = basis.order + 1 + (base is not None)
    blocks, chunk = _blocks(batch, basis.n_functions)
    padding = blocks * chunk - batch
    out = weights[0].shape[2]
    lanes = lanes_for(out, LANES)
    weights = [pad_columns(w, lanes) for w in weights]
    biases = [] if bias is None else [pad_columns(bias, lanes)]
    given: list[Tensor] = []
    if basis.knots is not None:
        scratch = empty((threads_for(blocks), 1 + 2 * basis.order, chunk), x)
        given = [basis.knots_like(x), scratch]

    def gradient(upstream: UOp, call: UOp) -> tuple[UOp | None, ...]:
        dy = Tensor(upstream).contiguous()
        sums = [empty(w.shape, x) for w in weights]
        once = {"grad_fxn": no_second_derivative}
        sums = sums[0].custom_kernel(*sums[1:], features, dy, fxn=_weight_gradient, **once)
        dx = empty((batch + padding, inputs), x)
        dx = dx.custom_kernel(*weights, features, slopes, dy, fxn=_input_gradient, **once)[0]
        to_weights = [s.uop for s in sums[: len(weights)]]
        to_biases = [column_sums(dy).uop for _ in biases]
        return (None, None, None, dx.uop, *(None for _ in given), *to_weights, *to_biases)

    y, features, slopes = empty((batch + padding, padded_size(out, lanes)), x).custom_kernel(
        empty((blocks, inputs, 1 + rows, chunk), x),
        empty((blocks, inputs, rows, chunk), x),
        x.pad(((0, padding), (0, 0))),
        *given,
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


def _forward(
    y: UOp,
    features: UOp,
    slopes: UOp,
    x: UOp,
    *others: UOp,
    basis: BSpline,
    base: Activation | None,
    biased: bool,
) -> UOp:
    """The layer, from the inputs; given knots, with room for what is looked up on them; and the
    weights of splines, of the base, and the bias. And what its gradients need: for each input the
    number of its first function, the values, the base function; and the derivatives of the latter
    two."""
    (blocks, inputs, rows, chunk), out = features.shape, y.shape[1]
    given, weights = (others[:2], others[2:]) if basis.knots is not None else ((), others)
    lanes = lanes_for(out, LANES)
    block, inner, thread = split_across_threads(blocks)
    sample, part, lane = UOp.range(chunk, 2), UOp.range(out // lanes, 3), lane_range(lanes, 4)
    b, o = block * chunk + sample, part * lanes + lane
    initial = weights[-1][o] if biased else 0.0
    y = y.after(y[b, o].store(initial).end(lane, part, sample))

    i = UOp.range(inputs, 5)
    if given:  # looked up one by one first, else compilers make no vectors of what follows
        (knots, found), sample = given, UOp.range(chunk, 6)
        looked_up = find_interval(x[block * chunk + sample, i].load(), basis, knots, i)
        stored = [found[thread, r, sample].store(value) for r, value in enumerate(looked_up)]
        found = found.after(UOp.group(*stored).end(sample))

    together = vector_length(chunk, 16)
    part, lane = UOp.range(chunk // together, 7), lane_range(together, 8)
    sample = part * together + lane
    near = [found[thread, r, sample].load() for r in range(found.shape[1])] if given else []
    at = x[block * chunk + sample, i].load()
    values, derivatives = local_functions(at, basis, base, near)
    stored = [features[block, i, r, sample].store(value) for r, value in enumerate(values)]
    stored += [slopes[block, i, r, sample].store(value) for r, value in enumerate(derivatives)]
    features = features.after(UOp.group(*stored).end(lane, part))

    sample, part, lane = UOp.range(chunk, 9), UOp.range(out // lanes, 10), lane_range(lanes, 11)
    b, o = block * chunk + sample, part * lanes + lane
    total = y.after(i, sample)[b, o].load()
    feature = [features[block, i, r, sample].load() for r in range(rows)]
    used = weight_rows(feature[0], weights[: len(weights) - biased], rows, i, o)
    for factor, weight in zip(feature[1:], used, strict=True):
        total = total + factor * weight
    stored = y[b, o].store(total).end(lane, part, sample, i, inner, thread)
    return stored.sink(arg=KernelInfo(name="spline_forward", opts_to_apply=()))


def _weight_gradient(*arguments: UOp) -> UOp:
    """The sums for coefficients and base weights, from the features and the gradient to y."""
    *sums, features, upstream = arguments
    (blocks, inputs, rows, chunk), (_, functions, out) = features.shape, sums[0].shape
    lanes = vector_length(out, LANES)
    columns = inputs * (out // lanes)
    threads = threads_for(columns)
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
    added = added_to_rows(sums, (block, column, sample), feature, upstream[b, o], i, o)
    stored = added.end(lane, sample, column, block, thread)
    return stored.sink(arg=KernelInfo(name="spline_weight_gradient", opts_to_apply=()))


def _input_gradient(gradient: UOp, *arguments: UOp) -> UOp:
    """The gradient `[batch, in]`, from weights, features, their slopes, and that to y."""
    *weights, features, slopes, upstream = arguments
    (blocks, inputs, rows, chunk), out = features.shape, upstream.shape[1]
    lanes = vector_length(out, SUMMED_LANES)
    block, inner, thread = split_across_threads(blocks)
    i, sample = UOp.range(inputs, 2), UOp.range(chunk, 3)
    part, parts = loop_over(out // lanes, 4)
    lane, inside = loop_over(lanes, 5, AxisType.UNROLL)
    o = part * lanes + lane
    used = weight_rows(features[block, i, 0, sample], weights, rows, i, o)
    products = [slopes[block, i, r, sample] * w for r, w in enumerate(used)]
    b = block * chunk + sample
    value = summed(sum(products[1:], products[0]) * upstream[b, o], parts + inside)
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


def added_to_rows(
    sums: Sequence[UOp], loops: tuple[UOp, ...], feature: list[UOp], upstream: UOp, i: UOp, o: UOp
) -> UOp:
    """One sample's part of the gradient to the weights, stored: its features of input `i` times the
    gradient to y, added to the rows that `weight_rows` gives of `sums`, once in each pass of
    `loops`."""
    places = weight_rows(feature[0], sums, len(feature), i, o)
    present = weight_rows(feature[0], [s.after(*loops) for s in sums], len(feature), i, o)
    return UOp.group(
        *(
            place.store(value.load() + factor * upstream)
            for place, value, factor in zip(places, present, feature[1:], strict=True)
        )
    )

"""Local-support spline layer on CPUs: forward pass and both gradients.

Of the n functions of a B-spline basis of order k, k + 1 are non-zero at any x. With `first[i, b]`
the first of them and `value[i, j, b]` their values,

    y[b, o] = sum_i ( sum_j value[i, j, b] coefficients[i, first[i, b] + j, o]
                      + base[i, b] base_weight[i, o] ) + bias[o]

reads k + 2 rows of weights for each input, whatever the grid. Three kernels: the layer; the
gradient to the inputs, the same sum with slopes in the place of values; and, in spline_weights.py,
the gradient to the weights. Each goes through the batch in chunks of samples, within which the
weights of a few inputs and the outputs stay in the first-level cache, and evaluates the functions
anew: that costs less than to store them in one kernel and to load them in another. Their reference
is `KANLayer.reference`; local_support.py finds the non-zero functions on uniform and on given
knots; gpu.py has the same layer for devices with work-groups.
"""

from __future__ import annotations

from collections.abc import Sequence

from tinygrad import Tensor
from tinygrad.uop.ops import KernelInfo, UOp

from tinykan.activations import Activation
from tinykan.basis import BSpline
from tinykan.kernels.dense import column_sums
from tinykan.kernels.hardware import vector_floats
from tinykan.kernels.launch import (
    empty,
    lane_range,
    lanes_for,
    largest_divisor,
    no_second_derivative,
    pad_columns,
    padded_size,
    split_across_threads,
    threads_for,
    vector_length,
)
from tinykan.kernels.local_support import Functions, find_interval, weight_rows
from tinykan.kernels.spline_weights import weight_gradient
from tinykan.kernels.tinygrad_versions import cpu_threads

CHUNK = 64  # samples, at least, whose outputs and functions stay in the first-level cache
CACHE = 2**15  # bytes of weights that stay there, too
TOGETHER = 4  # inputs, at most, whose terms are added up before the sum is stored
LANES = 64  # outputs computed side by side
SUMMED_LANES = max(8, vector_floats())  # the same, where they are then summed up
FOLDED_LANES = 8  # of these, at most, that are summed up one by one


def spline_layer(
    x: Tensor,
    basis: BSpline,
    base: Activation | None,
    weights: Sequence[Tensor],
    bias: Tensor | None,
) -> Tensor:
    """`[batch, in]` to `[batch, out]`. `weights` are the coefficients `[in, n_functions, out]` and,
    with a base function, the base weights `[in, out]`; the bias is `[out]`."""
    (batch, inputs), out = x.shape, weights[0].shape[2]
    lanes = lanes_for(out, LANES)
    weights = [pad_columns(w, lanes) for w in weights]
    biases = [] if bias is None else [pad_columns(bias, lanes)]
    functions, columns = Functions(basis, base), padded_size(out, lanes)
    blocks, chunk = _blocks(batch, basis.n_functions)
    samples, threads = blocks * chunk, threads_for(blocks)
    cached = CACHE // (x.dtype.itemsize * basis.n_functions * columns)
    width = largest_divisor(inputs, max(1, min(TOGETHER, cached)))
    scratch = empty((threads, width, functions.rows, chunk), x)
    # What is looked up on given knots is kept for the gradients.
    given: list[Tensor] = []
    if basis.knots is not None:
        given = [empty((inputs, functions.found_rows, samples), x), basis.knots_like(x)]

    def gradient(upstream: UOp, call: UOp) -> tuple[UOp | None, ...]:
        dy, x = Tensor(upstream).contiguous(), Tensor(call.src[3])
        partial = empty((threads, chunk, width, vector_length(columns, SUMMED_LANES)), x)
        dx = empty((samples, inputs), x).custom_kernel(
            *(scratch, partial, x, dy, *found, *weights),
            fxn=lambda *arguments: _input_gradient(*arguments, functions=functions),
            grad_fxn=no_second_derivative,
        )[0]
        sums = weight_gradient(x, dy, found, weights, functions, chunk)
        to_weights = [s.uop for s in sums]
        to_biases = [column_sums(dy).uop for _ in biases]
        return (None, None, dx.uop, *(None for _ in given), *to_weights, *to_biases)

    y, _, _, *found = empty((samples, columns), x).custom_kernel(
        *(scratch, x.pad(((0, samples - batch), (0, 0))), *given, *weights, *biases),
        fxn=lambda *arguments: _forward(*arguments, functions=functions, biased=bias is not None),
        grad_fxn=gradient,
    )[: 3 + (basis.knots is not None)]
    return y[:batch, :out]


def _blocks(batch: int, functions: int) -> tuple[int, int]:
    """How many chunks of how many samples: each thread as many, in steps of a vector's length.

    On large grids, whose weights do not fit into a cache, a chunk has about four samples for each
    function, so that weights are fetched for several samples at once.
    """
    if batch < CHUNK:
        return 1, batch
    threads = min(cpu_threads(), batch // CHUNK)
    # A power of two, as batches mostly are: then no samples have to be added.
    wanted = max(CHUNK, 1 << (4 * functions - 1).bit_length())
    blocks = threads * -(-batch // (threads * wanted))
    return blocks, -(-batch // (16 * blocks)) * 16


def _forward(y: UOp, scratch: UOp, x: UOp, *others: UOp, functions: Functions, biased: bool) -> UOp:
    """The layer, from the inputs; given knots, with room for what is looked up on them; and the
    weights of splines, of the base, and the bias."""
    (_, width, rows, chunk), (samples, inputs), out = scratch.shape, x.shape, y.shape[1]
    given, weights = (others[:2], others[2:]) if functions.found_rows else ((), others)
    lanes = lanes_for(out, LANES)
    block, inner, thread = split_across_threads(samples // chunk)
    start = block * chunk
    sample, part, lane = UOp.range(chunk, 2), UOp.range(out // lanes, 3), lane_range(lanes, 4)
    b, o = start + sample, part * lanes + lane
    initial = weights[-1][o] if biased else 0.0
    y = y.after(y[b, o].store(initial).end(lane, part, sample))

    group = UOp.range(inputs // width, 5)
    found = given[:1]
    if given:  # looked up one by one first, else compilers make no vectors of what follows
        q, sample = UOp.range(width, 6), UOp.range(chunk, 7)
        i, b = group * width + q, start + sample
        looked_up = find_interval(x[b, i].load(), functions.basis, given[1], i)
        stored = [found[0][i, r, b].store(value) for r, value in enumerate(looked_up)]
        found = (found[0].after(UOp.group(*stored).end(sample, q)),)
    scratch = functions.stored(scratch, thread, x, found, start, group, chunk, (8, 9))

    sample, part, lane = UOp.range(chunk, 11), UOp.range(out // lanes, 12), lane_range(lanes, 13)
    b, o = start + sample, part * lanes + lane
    total = y.after(group, sample)[b, o].load()
    for q in range(width):
        first, *values = (scratch[thread, q, r, sample].load() for r in range(rows))
        used = weight_rows(first, weights[: len(weights) - biased], rows, group * width + q, o)
        for value, weight in zip(values, used, strict=True):
            total = total + value * weight
    stored = y[b, o].store(total).end(lane, part, sample, group, inner, thread)
    return stored.sink(arg=KernelInfo(name="spline_forward", opts_to_apply=()))


def _input_gradient(
    gradient: UOp,
    scratch: UOp,
    partial: UOp,
    x: UOp,
    upstream: UOp,
    *others: UOp,
    functions: Functions,
) -> UOp:
    """The gradient `[batch, in]`, from the inputs, that to y, what was looked up on given knots,
    and the weights. For each input the sums over lanes of outputs go to `partial` first: to add up
    the lanes of several inputs in one loop costs less than those of each by itself."""
    (_, width, rows, chunk), (samples, inputs), out = scratch.shape, x.shape, upstream.shape[1]
    found, weights = (others[:1], others[1:]) if functions.found_rows else ((), others)
    lanes = partial.shape[3]
    parts = largest_divisor(out // lanes, LANES // SUMMED_LANES)
    stretches = out // (parts * lanes)
    block, inner, thread = split_across_threads(samples // chunk)
    start, group = block * chunk, UOp.range(inputs // width, 2)
    scratch = functions.stored(scratch, thread, x, found, start, group, chunk, (3, 4), slopes=True)
    if stretches > 1:
        sample, q, lane = UOp.range(chunk, 6), UOp.range(width, 7), lane_range(lanes, 8)
        cleared = partial.after(inner, group)[thread, sample, q, lane].store(0.0)
        partial = partial.after(cleared.end(lane, q, sample))
    stretch, sample, lane = UOp.range(stretches, 9), UOp.range(chunk, 10), lane_range(lanes, 11)
    stored = []
    for q in range(width):
        first, *slopes = (scratch[thread, q, r, sample].load() for r in range(rows))
        dots: list = [0.0] * len(slopes)
        for part in range(parts):
            o = (stretch * parts + part) * lanes + lane
            dy = upstream[start + sample, o].load()
            used = weight_rows(first, weights, rows, group * width + q, o)
            dots = [dot + weight * dy for dot, weight in zip(dots, used, strict=True)]
        value = sum(slope * dot for slope, dot in zip(slopes, dots, strict=True))
        if stretches > 1:
            value = value + partial.after(stretch, sample)[thread, sample, q, lane].load()
        stored.append(partial[thread, sample, q, lane].store(value))
    partial = partial.after(UOp.group(*stored).end(lane, sample, stretch))

    folded = FOLDED_LANES if lanes % FOLDED_LANES == 0 else lanes
    if folded < lanes:
        sample, q, lane = UOp.range(chunk, 12), UOp.range(width, 13), lane_range(folded, 14)
        halves = (partial[thread, sample, q, first + lane] for first in range(0, lanes, folded))
        value = sum(half.load() for half in halves)
        partial = partial.after(partial[thread, sample, q, lane].store(value).end(lane, q, sample))
    sample, q = UOp.range(chunk, 15), lane_range(width, 16)
    value = sum(partial[thread, sample, q, lane].load() for lane in range(folded))
    stored = gradient[start + sample, group * width + q].store(value)
    stored = stored.end(q, sample, group, inner, thread)
    return stored.sink(arg=KernelInfo(name="spline_input_gradient", opts_to_apply=()))

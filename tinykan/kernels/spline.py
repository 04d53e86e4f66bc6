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

from collections.abc import Callable, Sequence

from tinygrad import Tensor
from tinygrad.uop.ops import KernelInfo, UOp

from tinykan.activations import Activation
from tinykan.basis import BSpline
from tinykan.kernels.dense import column_sums
from tinykan.kernels.hardware import vector_floats
from tinykan.kernels.launch import (
    as_computed,
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
WIDTHS = 8, 4  # inputs whose functions are evaluated side by side
TOGETHER = 4  # inputs, at most, whose terms are added up before the sum is stored
LANES = 64 if vector_floats() == 4 else 128  # outputs, at most, computed side by side
SUMMED_LANES = max(8, vector_floats())  # the same, where they are then summed up
PARTS = 9  # vectors of as many outputs, at most, that are multiplied before these sums are stored
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
    (batch, inputs), out, lanes = x.shape, weights[0].shape[2], _lanes(weights[0].shape[2])
    weights = [pad_columns(w, lanes) for w in weights]
    biases = [] if bias is None else [pad_columns(bias, lanes)]
    functions, columns = Functions(basis, base), padded_size(out, lanes)
    blocks, chunk = _blocks(batch, basis.n_functions)
    samples, threads = blocks * chunk, threads_for(blocks)
    cached = CACHE // (x.dtype.itemsize * basis.n_functions * columns)
    width = _width(inputs)
    together = largest_divisor(width, max(1, min(TOGETHER, cached)))
    scratch = empty((threads, functions.rows, chunk, width), x)
    # What is looked up on given knots is kept for the gradients.
    given: list[Tensor] = []
    if basis.knots is not None:
        given = [empty((inputs, functions.found_rows, samples), x), basis.knots_like(x)]
    x = as_computed(x)  # which may have more columns than there are inputs

    def gradient(upstream: UOp, call: UOp) -> tuple[UOp | None, ...]:
        dy, x = Tensor(upstream).contiguous(), Tensor(call.src[3])
        partial = empty((threads, chunk, width, vector_length(columns, SUMMED_LANES)), x)
        dx = empty(x.shape, x).custom_kernel(
            *(scratch, partial, x, dy, *found, *weights),
            fxn=lambda *arguments: _input_gradient(
                *arguments, functions=functions, together=together
            ),
            grad_fxn=no_second_derivative,
        )[0]
        sums = weight_gradient(x, dy, found, weights, functions, chunk)
        to_weights = [s.uop for s in sums]
        to_biases = [column_sums(dy).uop for _ in biases]
        return (None, None, dx.uop, *(None for _ in given), *to_weights, *to_biases)

    y, _, _, *found = empty((samples, columns), x).custom_kernel(
        *(scratch, x.pad(((0, samples - batch), (0, 0))), *given, *weights, *biases),
        fxn=lambda *arguments: _forward(
            *arguments, functions=functions, together=together, biased=bias is not None
        ),
        grad_fxn=gradient,
    )[: 3 + (basis.knots is not None)]
    return y[:batch, :out]


def _lanes(out: int) -> int:
    """How many outputs are computed side by side: whole vectors, and whole lines of the cache where
    there are enough outputs to make up for the padding."""
    return lanes_for(out, LANES, 4 if vector_floats() == 4 else 8 if out <= 32 else 16)


def _width(inputs: int) -> int:
    """How many inputs' functions are evaluated side by side. Where these do not divide the inputs,
    some are evaluated twice; to store sums again for each group costs about as much as an input."""
    widths = [width for width in WIDTHS if width <= inputs]
    return min(widths, key=lambda width: -(-inputs // width) * (width + 1), default=inputs)


def _groups(inputs: int, width: int, number: int) -> tuple[UOp, UOp]:
    """A loop over groups of inputs, and the first input of a group: the last group also has inputs
    of the one before, if it would otherwise go beyond the end."""
    group = UOp.range(-(-inputs // width), number)
    return group, group * width if inputs % width == 0 else (group * width).minimum(inputs - width)


def _stored(
    scratch: UOp, thread: UOp, numbers: Callable[[UOp, UOp], list[UOp]], inputs: int, loop: int
) -> UOp:
    """`scratch` `[threads, rows, samples, width]` after a thread has stored the numbers of each of
    `width` inputs and each sample in it, in loops of which the first has the number `loop`."""
    # Compilers vectorize the inner loop, which costs less than to write out its vectors.
    _, _, chunk, width = scratch.shape
    if width == inputs:  # one loop, since they are few
        loops = [UOp.range(chunk * width, loop)]
        sample, q = loops[0] // width, loops[0] % width
    else:
        loops = [q := UOp.range(width, loop + 1), sample := UOp.range(chunk, loop)]
    rows = enumerate(numbers(q, sample))
    stored = UOp.group(*(scratch[thread, r, sample, q].store(value) for r, value in rows))
    return scratch.after(stored.end(*loops))


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


def _forward(
    y: UOp,
    scratch: UOp,
    x: UOp,
    *others: UOp,
    functions: Functions,
    together: int,
    biased: bool,
) -> UOp:
    """The layer, from the inputs; given knots, with room for what is looked up on them; and the
    weights of splines, of the base, and the bias."""
    (_, rows, chunk, width), (samples, out) = scratch.shape, y.shape
    given, weights = (others[:2], others[2:]) if functions.found_rows else ((), others)
    inputs = weights[0].shape[0]
    lanes = _lanes(out)
    block, inner, thread = split_across_threads(samples // chunk)
    start = block * chunk
    sample, part, lane = UOp.range(chunk, 2), UOp.range(out // lanes, 3), lane_range(lanes, 4)
    b, o = start + sample, part * lanes + lane
    initial = weights[-1][o] if biased else 0.0
    y = y.after(y[b, o].store(initial).end(lane, part, sample))

    group, first = _groups(inputs, width, 5)
    found = given[:1]
    if given:  # looked up one by one first, else compilers make no vectors of what follows
        q, sample = UOp.range(width, 6), UOp.range(chunk, 7)
        i, b = first + q, start + sample
        looked_up = find_interval(x[b, i].load(), functions.basis, given[1], i)
        stored = [found[0][i, r, b].store(value) for r, value in enumerate(looked_up)]
        found = (found[0].after(UOp.group(*stored).end(sample, q)),)

    def numbers(q: UOp, sample: UOp) -> list[UOp]:
        n, *values = functions.evaluated(x, found, first + q, start + sample)
        if inputs % width:  # what the group before has added already is not added again
            values = [(first + q < group * width).where(0.0, value) for value in values]
        return [n, *values]

    scratch = _stored(scratch, thread, numbers, inputs, 8)

    piece, sample = UOp.range(width // together, 11), UOp.range(chunk, 12)
    part, lane = UOp.range(out // lanes, 13), lane_range(lanes, 14)
    b, o = start + sample, part * lanes + lane
    total = y.after(group, piece, sample)[b, o].load()
    for member in range(together):
        q = piece * together + member
        n, *values = (scratch[thread, r, sample, q].load() for r in range(rows))
        used = weight_rows(n, weights[: len(weights) - biased], rows, first + q, o)
        for value, weight in zip(values, used, strict=True):
            total = total + value * weight
    stored = y[b, o].store(total).end(lane, part, sample, piece, group, inner, thread)
    return stored.sink(arg=KernelInfo(name="spline_forward", opts_to_apply=()))


def _input_gradient(
    gradient: UOp,
    scratch: UOp,
    partial: UOp,
    x: UOp,
    upstream: UOp,
    *others: UOp,
    functions: Functions,
    together: int,
) -> UOp:
    """The gradient of the shape of x, from the inputs `[batch, in or more]`, the gradient to y,
    what was looked up on given knots, and the weights. For each input the sums over lanes of
    outputs go to `partial` first: to add up the lanes of several inputs in one loop costs less than
    those of each by itself."""
    (_, rows, chunk, width), (samples, out) = scratch.shape, upstream.shape
    found, weights = (others[:1], others[1:]) if functions.found_rows else ((), others)
    inputs = weights[0].shape[0]
    lanes = partial.shape[3]
    parts = largest_divisor(out // lanes, PARTS)
    stretches = out // (parts * lanes)
    block, inner, thread = split_across_threads(samples // chunk)
    start = block * chunk
    if gradient.shape[1] > inputs:
        sample, column = UOp.range(chunk, 2), UOp.range(gradient.shape[1] - inputs, 3)
        cleared = gradient[start + sample, inputs + column].store(0.0)
        gradient = gradient.after(cleared.end(column, sample))
    group, first = _groups(inputs, width, 4)
    scratch = _stored(
        scratch,
        thread,
        lambda q, sample: functions.evaluated(x, found, first + q, start + sample, slopes=True),
        inputs,
        5,
    )
    if stretches > 1:
        sample, q, lane = UOp.range(chunk, 8), UOp.range(width, 9), lane_range(lanes, 10)
        cleared = partial.after(inner, group)[thread, sample, q, lane].store(0.0)
        partial = partial.after(cleared.end(lane, q, sample))
    stretch, piece = UOp.range(stretches, 11), UOp.range(width // together, 12)
    sample, lane = UOp.range(chunk, 13), lane_range(lanes, 14)
    stored = []
    for member in range(together):
        q = piece * together + member
        n, *slopes = (scratch[thread, r, sample, q].load() for r in range(rows))
        dots: list = [0.0] * len(slopes)
        for part in range(parts):
            o = (stretch * parts + part) * lanes + lane
            dy = upstream[start + sample, o].load()
            used = weight_rows(n, weights, rows, first + q, o)
            dots = [dot + weight * dy for dot, weight in zip(dots, used, strict=True)]
        value = sum(slope * dot for slope, dot in zip(slopes, dots, strict=True))
        if stretches > 1:
            value = value + partial.after(stretch, sample)[thread, sample, q, lane].load()
        stored.append(partial[thread, sample, q, lane].store(value))
    partial = partial.after(UOp.group(*stored).end(lane, sample, piece, stretch))

    folded = FOLDED_LANES if lanes % FOLDED_LANES == 0 else lanes
    if folded < lanes:
        sample, q, lane = UOp.range(chunk, 15), UOp.range(width, 16), lane_range(folded, 17)
        halves = (partial[thread, sample, q, at + lane] for at in range(0, lanes, folded))
        value = sum(half.load() for half in halves)
        partial = partial.after(partial[thread, sample, q, lane].store(value).end(lane, q, sample))
    sample, q = UOp.range(chunk, 18), lane_range(width, 19)
    value = sum(partial[thread, sample, q, lane].load() for lane in range(folded))
    stored = gradient[start + sample, first + q].store(value)
    stored = stored.end(q, sample, group, inner, thread)
    return stored.sink(arg=KernelInfo(name="spline_input_gradient", opts_to_apply=()))

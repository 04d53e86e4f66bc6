"""The gradient to the weights of a spline layer on CPUs.

It adds each sample's functions times its gradient to y to k + 2 rows of sums. Done one by one,
that takes a load and a store for each product. So the samples of a chunk are sorted by interval,
for each input: those of one interval add to the same rows, whose sums then stay in registers for a
tile of samples. What fills up the last tile of an interval is a sample of zeros, so that all loops
have lengths which are known when the kernel is compiled.

Each thread owns some of the inputs, or some outputs of each of them, and goes through the batch in
order: there are no atomics, and repeated runs give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count

from tinygrad import Tensor, dtypes
from tinygrad.uop.ops import AxisType, KernelInfo, UOp

from tinykan.kernels.hardware import vector_floats
from tinykan.kernels.launch import (
    empty,
    lane_range,
    largest_divisor,
    loop_over,
    no_second_derivative,
    summed,
    threads_for,
    vector_length,
)
from tinykan.kernels.local_support import Functions, bounded, weight_rows

# Outputs whose sums, for all rows, stay in registers: 32 of AVX-512 and NEON, 16 of AVX2.
LANES = {16: 64, 8: 16, 4: 16}[vector_floats()]
TOGETHER = 4  # inputs, at most, that are sorted together
SAMPLES = 256, 4096  # in a chunk, at least and at most
LINE = 16  # numbers in a line of the cache; threads that write to one line wait for each other


def weight_gradient(
    x: Tensor,
    dy: Tensor,
    found: Sequence[Tensor],
    weights: Sequence[Tensor],
    functions: Functions,
    step: int,
) -> list[Tensor]:
    """The gradients to `weights`, of their shapes, from the inputs `[batch, in or more]`, the
    gradient to y `[batch, out]` and what was looked up on given knots. The batch is a multiple of
    `step`."""
    batch, inputs, intervals = x.shape[0], weights[0].shape[0], functions.basis.intervals
    chunk, tile = _sizes(batch, step, intervals)
    columns = dy.shape[1]
    # Half as many outputs side by side, where only that gives every thread work.
    choices = [vector_length(columns, limit, 8) for limit in (LANES, LANES // 2)]
    lanes = max(choices, key=lambda lanes: threads_for(inputs * (columns // lanes)))
    parts = columns // lanes
    sections = _sections(inputs, parts)
    threads = threads_for(inputs * sections)
    widths = (w for w in range(1, TOGETHER + 1) if inputs % w == 0)
    width = max(w for w in widths if inputs // w * sections % threads == 0)
    places = (chunk + min(intervals, chunk) * (tile - 1)) // tile * tile

    def integers(size: int) -> Tensor:
        shape = threads, width, size + LINE
        return Tensor.empty(*shape, dtype=dtypes.int32, device=x.device)

    sums = [empty(w.shape, x) for w in weights]
    return sums[0].custom_kernel(
        *sums[1:],
        empty((threads, width, functions.rows, chunk + LINE), x),
        *(integers(size) for size in (places, chunk, intervals + 1)),
        empty((threads, parts, chunk + 1, lanes), x),
        *(x, dy, *found),
        fxn=lambda *arguments: _weight_gradient(
            arguments[: len(sums)],
            *arguments[len(sums) :],
            functions=functions,
            chunk=chunk,
            tile=tile,
            tiles=places // tile,
            sections=sections,
        ),
        grad_fxn=no_second_derivative,
    )[: len(sums)]


def _sizes(batch: int, step: int, intervals: int) -> tuple[int, int]:
    """How many samples are sorted together, and how many of one interval are a tile: large enough
    to save stores, and small enough that few are filled up."""
    least, most = SAMPLES
    wanted = min(max(least, 1 << (16 * intervals - 1).bit_length()), most)
    chunk = step * largest_divisor(batch // step, max(1, wanted // step))
    return chunk, next((t for t in (8, 4) if chunk >= 4 * t * intervals), 2)


def _sections(inputs: int, parts: int) -> int:
    """Into how many sections the outputs are divided, so that all threads have work."""
    divisors = [d for d in range(1, parts + 1) if parts % d == 0]
    return max(divisors, key=lambda d: (threads_for(inputs * d), -d))


def _weight_gradient(
    sums: Sequence[UOp],
    scratch: UOp,
    order: UOp,
    rank: UOp,
    starts: UOp,
    upstream: UOp,
    x: UOp,
    dy: UOp,
    *found: UOp,
    functions: Functions,
    chunk: int,
    tile: int,
    tiles: int,
    sections: int,
) -> UOp:
    (threads, width, rows, _), samples, inputs = scratch.shape, x.shape[0], sums[0].shape[0]
    _, parts, _, lanes = upstream.shape
    thread, units = UOp.range(threads, 0, AxisType.THREAD), inputs // width * sections // threads
    numbers = count(1)

    def loop(length: int) -> UOp:
        return UOp.range(length, next(numbers))

    def side_by_side() -> UOp:
        return lane_range(lanes, next(numbers))

    def work() -> tuple[UOp, UOp, UOp]:
        """A loop over a thread's work; the first input, and the first part of the outputs."""
        unit = loop(units)
        at = thread * units + unit
        return unit, at // sections * width, at % sections * (parts // sections)

    # Clear the sums, and make the sample of zeros.
    cleared = []
    for total in sums:
        unit, i, first = work()
        q, part, lane = loop(width), loop(parts // sections), side_by_side()
        n = [loop(total.shape[1])] if total.ndim == 3 else []
        stored = total[i + q, *n, (first + part) * lanes + lane].store(0.0)
        cleared.append(total.after(stored.end(lane, *n, part, q, unit)))
    q, r = loop(width), loop(rows)
    scratch = scratch.after(scratch[thread, q, r, chunk].store(0.0).end(r, q))
    part, lane = loop(parts), side_by_side()
    upstream = upstream.after(upstream[thread, part, chunk, lane].store(0.0).end(lane, part))

    # The gradient to y by parts: strides of a power of two would share few lines of the cache.
    block = loop(samples // chunk)
    start = block * chunk
    sample, part, lane = loop(chunk), loop(parts), side_by_side()
    gradient = dy[start + sample, part * lanes + lane].load()
    moved = upstream[thread, part, sample, lane].store(gradient)
    upstream = upstream.after(moved.end(lane, part, sample))

    unit, i, first = work()
    # Compilers vectorize the inner loop, which costs less than to write out its vectors.
    q, sample = loop(width), loop(chunk)
    evaluated = enumerate(functions.evaluated(x, found, i + q, start + sample))
    stored = UOp.group(*(scratch[thread, q, r, sample].store(value) for r, value in evaluated))
    scratch = scratch.after(stored.end(sample, q))
    order = _sorted(
        scratch,
        order,
        rank,
        starts,
        thread=thread,
        outer=(block, unit),
        intervals=functions.basis.intervals,
        chunk=chunk,
        tile=tile,
        tiles=tiles,
        loop=loop,
    )

    part, q, number, lane = loop(parts // sections), loop(width), loop(tiles), side_by_side()
    member, members = loop_over(tile, next(numbers))
    sample = bounded(order[thread, q, number * tile + member].load(), chunk)
    gradient = upstream[thread, first + part, sample, lane].load()
    totals = [
        summed(scratch[thread, q, r, sample].load() * gradient, members) for r in range(1, rows)
    ]
    o = (first + part) * lanes + lane
    n = scratch[thread, q, 0, bounded(order[thread, q, number * tile].load(), chunk)].load()
    present = [c.after(block, unit, part, q, number) for c in cleared]
    places, old = (weight_rows(n, buffers, rows, i + q, o) for buffers in (cleared, present))
    added = zip(places, old, totals, strict=True)
    stored = UOp.group(*(place.store(before.load() + total) for place, before, total in added))
    stored = stored.end(lane, number, q, part, unit, block, thread)
    return stored.sink(arg=KernelInfo(name="spline_weight_gradient", opts_to_apply=()))


def _sorted(
    scratch: UOp,
    order: UOp,
    rank: UOp,
    starts: UOp,
    *,
    thread: UOp,
    outer: tuple[UOp, ...],
    intervals: int,
    chunk: int,
    tile: int,
    tiles: int,
    loop: Callable[[int], UOp],
) -> UOp:
    """`order` `[threads, width, tiles * tile]` with the samples of a chunk by interval, for each of
    `width` inputs, in each pass of the loops `outer`; the sample of zeros is number `chunk`.
    `starts` has an entry for each interval, and one for the place after the last tile so far."""
    width = scratch.shape[1]

    def interval(k: int, sample: UOp) -> UOp:
        return bounded(scratch[thread, k, 0, sample].load(), intervals - 1)

    # How many samples of its interval are before each sample, and how many there are:
    q, n = loop(width), loop(intervals + 1)
    starts = starts.after(starts.after(*outer)[thread, q, n].store(0).end(n, q))
    sample, stored = loop(chunk), []
    for k in range(width):
        n = interval(k, sample)
        before = starts.after(sample)[thread, k, n].load()
        stored += [rank[thread, k, sample].store(before), starts[thread, k, n].store(before + 1)]
    counted = UOp.group(*stored).end(sample)
    starts, rank = starts.after(counted), rank.after(counted)
    # where the tiles of an interval start:
    n, stored = loop(intervals), []
    for k in range(width):
        here = starts.after(n)[thread, k, intervals].load()
        length = starts[thread, k, n].load()
        following = here + (length + (tile - 1)) // tile * tile
        stored += [starts[thread, k, n].store(here), starts[thread, k, intervals].store(following)]
    starts = starts.after(UOp.group(*stored).end(n))
    # and each sample to its place, among samples of zeros.
    q, place = loop(width), loop(tiles * tile)
    order = order.after(order.after(*outer)[thread, q, place].store(chunk).end(place, q))
    sample, stored = loop(chunk), []
    for k in range(width):
        found = starts[thread, k, interval(k, sample)].load() + rank[thread, k, sample].load()
        place = bounded(found, tiles * tile - 1)
        stored.append(order[thread, k, place].store(sample.cast(dtypes.int32)))
    return order.after(UOp.group(*stored).end(sample))

"""The gradients to the weights of a spline layer on GPUs.

They are sums over the batch, which is cut into slices: an item goes through the samples of one, for
one input and 4 outputs, and another kernel adds up what the slices gave. On small grids all sums of
an item stay in registers, those of functions that are zero at a sample, too: to find the others in
memory, and to store them again, takes longer.
"""

from __future__ import annotations

from collections.abc import Sequence

from tinygrad import Tensor
from tinygrad.uop.ops import AxisType, KernelInfo, Ops, UOp

from tinykan.kernels.launch import (
    GROUP,
    empty,
    lane_range,
    largest_divisor,
    loop_over,
    no_second_derivative,
    padded_size,
    shared,
    store_if,
    summed,
    vector_length,
    when_all_have,
    work_group,
)
from tinykan.kernels.local_support import Functions, bounded, find_interval, local_functions

LANES = 4  # outputs of one item: the longest vector that every GPU loads at once
PARTS = 16  # of the outputs, at most, that a group computes
TOGETHER = 32  # inputs, at most, of a group
DENSE = 12  # functions of an input whose sums stay in registers
SAMPLES = 4  # whose functions a group evaluates at once, at least
UNROLLED = 4  # of these, at most, in one pass of the loop over them
STEP = 32  # samples by which a slice grows
ITEMS = 2**15  # that keep a GPU busy
SUMS = 2**24  # numbers that the slices' sums may take, if they are more than one slice's
ROWS, WIDTH = 8, 32  # of an input's sums, at most, that a group adds up


def weight_gradients(
    x: Tensor,
    dy: Tensor,
    knots: Sequence[Tensor],
    functions: Functions,
    scaling: Sequence[Tensor],
    shapes: Sequence[tuple[int, ...]],
    biased: bool,
) -> list[Tensor]:
    """The gradients to the coefficients `[in, n_functions, out]`, to their scale `[in, out]` if
    `scaling` has them both, and to the base weights `[in, out]` and the bias `[out]`, if there are
    any; from the inputs `[batch, in]` and the gradient to y `[batch, out]`. `shapes` are those of
    the coefficients, the base weights and the bias."""
    (batch, inputs), (_, count, out) = x.shape, shapes[0]
    slices, length = _slices(batch, inputs, count, out)
    sums = empty((slices, inputs, count + len(shapes) - 1, out), x).custom_kernel(
        *(x, dy, *knots),
        fxn=lambda *arguments: _slice_sums(
            *arguments, functions=functions, biased=biased, length=length
        ),
        grad_fxn=no_second_derivative,
    )[0]
    wanted = [shapes[0], *(t.shape for t in scaling[1:]), *shapes[1:]]
    gradients = [empty(shape, x) for shape in wanted]
    return gradients[0].custom_kernel(
        *(*gradients[1:], sums, *scaling),
        fxn=lambda *arguments: _added_up(
            arguments[: len(gradients)], *arguments[len(gradients) :], biased=biased
        ),
        grad_fxn=no_second_derivative,
    )[: len(gradients)]


def _slices(batch: int, inputs: int, functions: int, out: int) -> tuple[int, int]:
    """How many slices of how many samples: as many as keep a GPU busy. Each slice's sums are stored
    and added up, which must cost less than taking them, so that a slice has a sample for each
    function or more."""
    if batch < STEP:
        return 1, batch
    busy = ITEMS // (inputs * -(-out // LANES))
    wanted = min(busy, batch // max(functions, STEP), SUMS // (inputs * functions * out))
    wanted = 1 << max(wanted, 1).bit_length() - 1  # a power of two, as batches mostly are
    length = -(-batch // (wanted * STEP)) * STEP
    return -(-batch // length), length


def _slice_sums(
    sums: UOp, x: UOp, dy: UOp, *knots: UOp, functions: Functions, biased: bool, length: int
) -> UOp:
    """Each slice's sums `[slices, in, rows, out]`: those of the functions, of the base function,
    and of 1, which are the bias's (the same for each input)."""
    group = _Group(sums, x, knots, functions, biased, length)
    stored = (_in_registers if group.dense else _in_memory)(group, sums, dy)
    stored = stored.end(group.part, group.stretch, group.item, group.block, group.slice)
    return stored.sink(arg=KernelInfo(name="spline_weight_gradient", opts_to_apply=()))


class _Group:
    """A work-group that goes through a slice of the batch, for some inputs and parts of the
    outputs: the indices of an item, and the functions that the items share."""

    def __init__(
        self,
        sums: UOp,
        x: UOp,
        knots: Sequence[UOp],
        functions: Functions,
        biased: bool,
        length: int,
    ) -> None:
        slices, inputs, self.rows, out = sums.shape
        self.x, self.knots, self.functions, self.biased = x, knots, functions, biased
        self.length, self.dense = length, functions.basis.n_functions <= DENSE
        self.lanes = vector_length(out, LANES)
        self.parts = largest_divisor(out // self.lanes, PARTS)
        self.together = largest_divisor(inputs, min(TOGETHER, GROUP // self.parts))
        self.chunk = padded_size(SAMPLES, self.parts)
        self.slice, _ = work_group(slices, 1, 2)
        self.block, self.item = work_group(inputs, self.together, 1)
        self.stretch, self.part = work_group(out // self.lanes, self.parts, 0)
        self.input = self.block * self.together + self.item
        self.turn, self.turns = loop_over(-(-length // self.chunk), 10)  # over a slice's chunks

    def output(self, lane: UOp) -> UOp:
        return (self.stretch * self.parts + self.part) * self.lanes + lane

    def sample(self, t: UOp | int) -> UOp:
        """The number of the `t`th sample of a chunk: that of the last one, beyond the batch."""
        return self._number(t).minimum(self.x.shape[0] - 1)

    def _number(self, t: UOp | int) -> UOp:
        return self.slice * self.length + self.turn * self.chunk + t

    def evaluated(self) -> UOp:
        """The functions of the group's inputs at a chunk's samples, the base function and 1,
        `[together, chunk + 1, ...]`, 0 beyond the slice: of all functions or, after the number of
        the first, of those that are not zero. Lines are whole vectors, which compilers then load;
        with one more, those of several inputs are in different banks of memory."""
        basis = self.functions.basis
        width = self.rows if self.dense else self.functions.rows + self.biased
        memory = shared((self.together, self.chunk + 1, padded_size(width, 4)), 0)
        if self.turns:  # what the last pass of the loop left is still read
            memory = when_all_have(memory, self.x[self.sample(self.part), self.input].load())
        each, every = loop_over(self.chunk // self.parts, 11)
        t = each * self.parts + self.part
        inside = self._number(t) < self.x.shape[0]
        inside = inside & (self.turn * self.chunk + t < self.length)
        at = self.x[self.sample(t), self.input].load()
        found = [v for row in self.knots for v in find_interval(at, basis, row, self.input)]
        (first, *values), _ = local_functions(at, basis, self.functions.base, found)
        values += [at.const_like(1.0)] * self.biased
        values = [inside.where(value, 0.0) for value in values]
        line = memory
        if self.dense:
            start = bounded(first, basis.intervals - 1)
            places: list[UOp | int] = [start + j for j in range(basis.order + 1)]
            places += range(basis.n_functions, width)
            clear = [memory[self.item, t, n].store(0.0) for n in range(basis.n_functions)]
            line = memory.after(UOp.group(*clear))
        else:
            places, values = list(range(width)), [first, *values]
        pairs = zip(places, values, strict=True)
        stored = [line[self.item, t, n].store(value) for n, value in pairs]
        return when_all_have(memory, UOp.group(*stored).end(*every))


def _in_registers(group: _Group, sums: UOp, dy: UOp) -> UOp:
    memory, lane = group.evaluated(), lane_range(group.lanes, 12)
    # Several samples at once, so that an item does not wait for each one's gradient to y.
    several = largest_divisor(group.chunk, UNROLLED)
    (t, terms), (u, unrolled) = (
        loop_over(group.chunk // several, 13),
        loop_over(several, 14, AxisType.UNROLL),
    )
    t, o = t * several + u, group.output(lane)
    upstream = dy[group.sample(t), o]
    stored = [
        sums[group.slice, group.input, n, o].store(
            (memory[group.item, t, n].load() * upstream).reduce(
                *unrolled, *terms, *group.turns, arg=Ops.ADD
            )
        )
        for n in range(group.rows)
    ]
    return UOp.group(*stored).end(lane)


def _in_memory(group: _Group, sums: UOp, dy: UOp) -> UOp:
    basis = group.functions.basis
    n, lane = loop_over(group.rows, 12)[0], lane_range(group.lanes, 13)
    cleared = sums[group.slice, group.input, n, group.output(lane)].store(0.0)
    sums = sums.after(cleared.end(lane, n))
    memory, lane = group.evaluated(), lane_range(group.lanes, 14)
    t, terms = loop_over(group.chunk, 15)
    o = group.output(lane)
    upstream = dy[group.sample(t), o].load()
    count = group.functions.rows + group.biased
    first, *values = (memory[group.item, t, n].load() for n in range(count))
    first = bounded(first, basis.intervals - 1)
    places = [first + j for j in range(basis.order + 1)]
    places += range(basis.n_functions, group.rows)
    before = sums.after(*group.turns, *terms)
    stored = [
        sums[at].store(before[at].load() + value * upstream)
        for n, value in zip(places, values, strict=True)
        for at in [(group.slice, group.input, n, o)]
    ]
    return UOp.group(*stored).end(lane, *terms, *group.turns)


def _added_up(gradients: Sequence[UOp], sums: UOp, *scaling: UOp, biased: bool) -> UOp:
    """The gradients of `weight_gradients` from the sums of the slices: an item for each output and
    one of a few rows of an input's sums. Of an edge's scale it is the sum of the gradients to the
    scaled coefficients times the coefficients."""
    (inputs, functions, out), (slices, _, rows, _) = gradients[0].shape, sums.shape
    passes = -(-rows // ROWS)
    side, width = -(-rows // passes), largest_divisor(out, WIDTH)
    i, _ = work_group(inputs, 1, 2)
    (_, k), (stretch, q) = work_group(side, side, 1), work_group(out, width, 0)
    turn, turns = loop_over(passes, 10)
    piece, pieces = loop_over(slices, 11)
    n, o = turn * side + k, stretch * width + q
    total = summed(sums[piece, i, n.minimum(rows - 1), o], pieces)
    if scaling:
        to_coefficients, to_scale, *others = gradients
        coefficients, scale = scaling
        partial = shared((side, width), 0)
        partial = partial.after(partial[k, q].store(0.0))
        term = total * coefficients[i, n.minimum(functions - 1), o]
        term = partial.after(*turns)[k, q].load() + (n < functions).where(term, 0.0)
        stored = [store_if(to_coefficients, (i, n, o), n < functions, total * scale[i, o])]
        stored.append(partial[k, q].store(term))
    else:
        to_coefficients, *others = gradients
        stored = [store_if(to_coefficients, (i, n, o), n < functions, total)]
    if rows > functions + biased:
        stored.append(store_if(others[0], (i, o), n.eq(functions), total))
    if biased:
        stored.append(store_if(others[-1], (o,), n.eq(rows - 1) & i.eq(0), total))
    done = UOp.group(*stored).end(*turns)
    if scaling:
        partial = when_all_have(partial, done)
        row, terms = loop_over(side, 12)
        done = store_if(to_scale, (i, o), k.eq(0), summed(partial[row, q].load(), terms))
    done = done.end(q, stretch, k, i)
    return done.sink(arg=KernelInfo(name="spline_weight_sums", opts_to_apply=()))

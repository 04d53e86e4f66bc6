"""Local-support spline layers and dense layers on GPUs: forward pass and gradients.

A spline layer takes three kernels in a step, and a fourth that adds up (gpu_weights.py):

    the layer                        an item for each sample and 4 outputs, a loop over the inputs
    the gradient to the inputs       the same, with slopes; a group's items then add up their parts
    the gradient to the weights      an item for each slice of the batch, input and 4 outputs, a
                                     loop over the slice's samples

Each evaluates the functions anew, once in a work-group, in memory that its items share: that costs
less than to store them in one kernel and to load them in another. An item owns what it stores, and
sums have a fixed order, so that there are no atomics and repeated runs give the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence

from tinygrad import Tensor
from tinygrad.uop.ops import AxisType, KernelInfo, UOp

from tinykan.activations import Activation
from tinykan.basis import BSpline
from tinykan.kernels.gpu_weights import weight_gradients
from tinykan.kernels.launch import (
    GROUP,
    empty,
    lane_range,
    lanes_for,
    largest_divisor,
    loop_over,
    no_second_derivative,
    pad_columns,
    padded_size,
    shared,
    store_if,
    summed,
    vector_length,
    when_all_have,
    work_group,
)
from tinykan.kernels.local_support import Functions, find_interval, local_functions, weight_rows

LANES = 4  # outputs of one item: the longest vector that every GPU loads at once
PARTS = 16  # of the outputs, at most, that a group computes
TOGETHER = 32  # samples, at most, of a group
INPUTS = 8  # whose functions a group evaluates at once, at least
TILE = 16  # rows and columns of a dense layer's weights that its product takes together
SLICE = 64  # samples, at least, of a slice of a dense layer's batch
SPREAD = 2**20  # weights and slices of a dense layer that keep a GPU busy


def spline_layer(
    x: Tensor,
    basis: BSpline,
    base: Activation | None,
    coefficients: Tensor,
    scale: Tensor | None,
    base_weight: Tensor | None,
    bias: Tensor | None,
) -> Tensor:
    """`[batch, in]` to `[batch, out]`: the arguments are those of `kernels.layer_output`."""
    batch, out = x.shape[0], coefficients.shape[2]
    lanes, functions = lanes_for(out, LANES), Functions(basis, base)
    coefficients = pad_columns(coefficients, lanes)
    biases = [] if bias is None else [pad_columns(bias, lanes)]
    weights = [] if base_weight is None else [pad_columns(base_weight, lanes)]
    knots = [] if basis.knots is None else [basis.knots_like(x)]
    scaling: list[Tensor] = []
    if scale is None:
        weights.insert(0, coefficients)
    else:
        scaling = [coefficients, pad_columns(scale, lanes)]
        weights.insert(0, (scaling[0] * scaling[1].unsqueeze(1)).contiguous())

    def gradient(upstream: UOp, call: UOp) -> tuple[UOp | None, ...]:
        x, dy = Tensor(call.src[2]), Tensor(upstream).contiguous()
        dx = empty(x.shape, x).custom_kernel(
            *(x, dy, *knots, *weights),
            fxn=lambda *arguments: _input_gradient(*arguments, functions=functions),
            grad_fxn=no_second_derivative,
        )[0]
        shapes = [t.shape for t in (*weights, *biases)]
        found = weight_gradients(x, dy, knots, functions, scaling, shapes, bool(biases))
        to_weights: list[UOp | None] = [t.uop for t in found]
        if scaling:  # the gradients to the coefficients and their scale, not to their product
            to_weights = [None, *to_weights[2:], *to_weights[:2]]
        return (None, dx.uop, *(None for _ in knots), *to_weights)

    # The kernel has no use for the last arguments, but they are what gradients go to.
    y = empty((batch, padded_size(out, lanes)), x).custom_kernel(
        *(x, *knots, *weights, *biases, *scaling),
        fxn=lambda y, *arguments: _forward(
            y, *arguments[: len(arguments) - len(scaling)], functions=functions, biased=bool(biases)
        ),
        grad_fxn=gradient,
    )[0]
    return y[:, :out]


def linear(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """`a` `[n, k]` times `b` `[k, m]`, plus `bias` `[m]` if there is one: tinygrad's product, but
    of whole tiles; the gradient to `b` is summed by slices of the batch side by side (an item for
    each weight would leave most of a GPU idle), and that to the result is stored before it is used
    twice."""
    (n, k), m = a.shape, b.shape[1]
    height, width = (size if size < TILE else padded_size(size, TILE) for size in (k, m))
    slices = largest_divisor(n, max(1, min(n // SLICE, SPREAD // (height * width))))
    rows = a.pad(((0, 0), (0, height - k))).contiguous().reshape(slices, n // slices, height)
    weights = b.pad(((0, height - k), (0, width - m))).contiguous()
    weights = weights.expand(slices, height, width).contiguous_backward()
    y = (rows @ weights).reshape(n, width)
    y = y if bias is None else y + bias.pad(((0, width - m),))
    return y.contiguous_backward()[:, :m]


class _Group:
    """A work-group that computes some samples and parts of the outputs: the indices of an item, and
    the functions of an input that its items share."""

    def __init__(self, x: UOp, knots: Sequence[UOp], functions: Functions, out: int) -> None:
        self.x, self.knots, self.functions = x, knots, functions
        self.batch, self.inputs = x.shape
        self.lanes = vector_length(out, LANES)
        self.parts = largest_divisor(out // self.lanes, PARTS)
        self.together = min(TOGETHER, GROUP // self.parts)
        self.block, self.item = work_group(self.batch, self.together, 1)
        self.sample = self.block * self.together + self.item
        self.stretch, self.part = work_group(out // self.lanes, self.parts, 0)
        self.chunk = padded_size(INPUTS, self.parts)
        self.chunks = -(-self.inputs // self.chunk)

    def input(self, chunk: UOp | int, k: UOp | int) -> UOp:
        """The number of the `k`th input of a chunk, which may be beyond the last."""
        return self.part.const_like(0) + chunk * self.chunk + k

    def evaluated(self, chunk: UOp | int, number: int, slopes: bool) -> UOp:
        """The functions of a chunk's inputs, or their slopes, `[together, chunk, rows]`; 0 beyond
        the last input. Rows are whole vectors, which compilers then load."""
        memory = shared((self.together, self.chunk, padded_size(self.functions.rows, 4)), 0)
        b = self.sample.minimum(self.batch - 1)
        if isinstance(chunk, UOp):  # what the last pass of the loop left is still read
            memory = when_all_have(memory, self.x[b, chunk * self.chunk].load())
        turn, turns = loop_over(self.chunk // self.parts, number)
        k = turn * self.parts + self.part
        i = self.input(chunk, k)
        inside, i = i < self.inputs, i.minimum(self.inputs - 1)
        at = self.x[b, i].load()
        basis = self.functions.basis
        found = [value for row in self.knots for value in find_interval(at, basis, row, i)]
        values, derivatives = local_functions(at, basis, self.functions.base, found)
        kept = [values[0], *derivatives] if slopes else values
        stored = [
            memory[self.item, k, r].store(inside.where(value, 0.0)) for r, value in enumerate(kept)
        ]
        return when_all_have(memory, UOp.group(*stored).end(*turns))


def _forward(y: UOp, x: UOp, *others: UOp, functions: Functions, biased: bool) -> UOp:
    """The layer, from the inputs, given knots, the weights of splines and of the base, and the
    bias."""
    count = functions.basis.knots is not None
    knots, weights = others[:count], others[count:]
    group = _Group(x, knots, functions, y.shape[1])
    lane = lane_range(group.lanes, 10)
    o = (group.stretch * group.parts + group.part) * group.lanes + lane
    chunk, chunks = loop_over(group.chunks, 11)
    memory = group.evaluated(chunk, 12, slopes=False)
    k, terms = loop_over(group.chunk, 13)
    i = group.input(chunk, k).minimum(group.inputs - 1)
    first, *values = (memory[group.item, k, r].load() for r in range(functions.rows))
    used = weight_rows(first, weights[: len(weights) - biased], functions.rows, i, o)
    products = [value * weight for value, weight in zip(values, used, strict=True)]
    value = summed(summed(sum(products[1:], products[0]), terms), chunks)
    value = value + weights[-1][o] if biased else value
    stored = store_if(y, (group.sample, o), group.sample < group.batch, value)
    stored = stored.end(lane, group.part, group.stretch, group.item, group.block)
    return stored.sink(arg=KernelInfo(name="spline_forward", opts_to_apply=()))


def _input_gradient(
    gradient: UOp, x: UOp, upstream: UOp, *others: UOp, functions: Functions
) -> UOp:
    """The gradient `[batch, in]`, from the inputs, that to y, given knots and the weights. Each
    item of a group takes its part of the outputs; their sums for an input are then added up."""
    count = functions.basis.knots is not None
    knots, weights = others[:count], others[count:]
    out = upstream.shape[1]
    group = _Group(x, knots, functions, out)
    chunk, chunks = loop_over(group.chunks, 10)
    memory = group.evaluated(chunk, 11, slopes=True)
    k, terms = loop_over(group.chunk, 12)
    i = group.input(chunk, k).minimum(group.inputs - 1)
    stretch, stretches = loop_over(out // group.lanes // group.parts, 13)
    lane, lanes = loop_over(group.lanes, 14, AxisType.UNROLL)
    o = (stretch * group.parts + group.part) * group.lanes + lane
    first, *slopes = (memory[group.item, k, r].load() for r in range(functions.rows))
    used = weight_rows(first, weights, functions.rows, i, o)
    slope = [slope * weight for slope, weight in zip(slopes, used, strict=True)]
    b = group.sample.minimum(group.batch - 1)
    value = summed(sum(slope[1:], slope[0]) * upstream[b, o], stretches + lanes)
    # Rows of one more than a power of two: neighboring items then use different banks of memory.
    found = shared((group.together, group.chunk, group.parts + 1), 1)
    found = when_all_have(found, found[group.item, k, group.part].store(value).end(*terms))
    turn, turns = loop_over(group.chunk // group.parts, 15)
    k = turn * group.parts + group.part
    part, parts = loop_over(group.parts, 16)
    i = group.input(chunk, k)
    value = summed(found[group.item, k, part].load(), parts)
    present = (group.sample < group.batch) & (i < group.inputs)
    stored = store_if(gradient, (group.sample, i), present, value)
    stored = stored.end(*turns, *chunks, group.part, group.item, group.block)
    return stored.sink(arg=KernelInfo(name="spline_input_gradient", opts_to_apply=()))

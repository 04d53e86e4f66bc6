"""Local-support spline layers and dense layers on GPUs: forward pass and gradients.

In the spline layer, each work-item owns what it computes, so that there are no atomics and repeated
runs give the same bits:

    the functions' values            an item for each input and sample
    the layer                        an item for each sample and 4 outputs, a loop over the inputs
    the gradient to the values       an item for each input and sample, a loop over the outputs
    the gradient to the weights      an item for each slice of the batch, input and 4 outputs, a
                                     loop over the slice's samples; the slices' sums are added up

The gradient from the functions' values to the inputs is an ordinary tensor operation.
Values are stored by input, function and sample: neighboring items, which read neighboring samples,
then read neighboring addresses.
"""

from __future__ import annotations

from collections.abc import Sequence

from tinygrad import Tensor
from tinygrad.uop.ops import AxisType, KernelInfo, UOp

from tinykan.activations import Activation
from tinykan.basis import BSpline
from tinykan.kernels.launch import (
    empty,
    lane_range,
    lanes_for,
    largest_divisor,
    loop_over,
    no_second_derivative,
    pad_columns,
    padded_size,
    summed,
    vector_length,
    work_items,
)
from tinykan.kernels.local_support import find_interval, local_functions, weight_rows

LANES = 4  # outputs of one item: the longest vector that every GPU loads at once
STEP = 32  # samples by which a slice grows, so that groups are full
TILE = 16  # rows and columns of a dense layer's weights that its product takes together
SLICE = 64  # samples, at least, of a slice of a dense layer's batch
SPREAD = 2**20  # weights and slices of a dense layer that keep a GPU busy
SUMS = 2**24  # numbers that the slices' sums may take, if they are more than one slice's


def spline_layer(
    x: Tensor,
    basis: BSpline,
    base: Activation | None,
    weights: Sequence[Tensor],
    bias: Tensor | None,
) -> Tensor:
    """`[batch, in]` to `[batch, out]`: the arguments are those of `spline.spline_layer`."""
    batch, out = x.shape[0], weights[0].shape[2]
    lanes = lanes_for(out, LANES)
    weights = [pad_columns(w, lanes) for w in weights]
    slices, length = _slices(batch, *weights[0].shape)
    samples, inputs, values = slices * length, x.shape[1], basis.order + 1 + (base is not None)
    knots = [] if basis.knots is None else [basis.knots_like(x)]

    def to_inputs(upstream: UOp, call: UOp) -> tuple[UOp | None, ...]:
        dx = (Tensor(upstream)[:, 1:] * slopes).sum(1).transpose()
        return (None, None, dx.uop, *(None for _ in knots))

    features, slopes = empty((inputs, 1 + values, samples), x).custom_kernel(
        empty((inputs, values, samples), x),
        x.pad(((0, samples - batch), (0, 0))),
        *knots,
        fxn=lambda *arguments: _features(*arguments, basis=basis, base=base),
        grad_fxn=to_inputs,
    )[:2]

    def gradient(upstream: UOp, call: UOp) -> tuple[UOp | None, ...]:
        dy = Tensor(upstream).contiguous()
        to_values = empty((inputs, values, samples), x)
        once = {"grad_fxn": no_second_derivative}
        to_values = to_values.custom_kernel(dy, *weights, features, fxn=_value_gradient, **once)[0]
        sums = [empty((slices * inputs, *w.shape[1:]), x) for w in weights]
        sums = sums[0].custom_kernel(*sums[1:], features, dy, fxn=_weight_gradient, **once)
        to_weights = [
            s.reshape(slices, *w.shape).sum(0).uop for s, w in zip(sums, weights, strict=False)
        ]
        return (None, to_values.pad(((0, 0), (1, 0), (0, 0))).uop, *to_weights)

    y = empty((samples, weights[0].shape[2]), x)
    y = y.custom_kernel(features, *weights, fxn=_forward, grad_fxn=gradient)[0][:batch, :out]
    return y if bias is None else y + bias


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


def _slices(batch: int, inputs: int, functions: int, out: int) -> tuple[int, int]:
    """How many slices of how many samples: each slice's sums are cleared and added up, which must
    cost less than taking them, so that a slice has a sample for each function or more."""
    if batch < STEP:
        return 1, batch
    wanted = min(batch // max(functions, 2 * STEP), SUMS // (inputs * functions * out))
    wanted = 1 << max(wanted, 1).bit_length() - 1  # a power of two, as batches mostly are
    length = -(-batch // (wanted * STEP)) * STEP
    return -(-batch // length), length


def _features(
    features: UOp, slopes: UOp, x: UOp, *knots: UOp, basis: BSpline, base: Activation | None
) -> UOp:
    """What `_forward` needs, and the derivatives `[in, values, batch]` of all but the first row;
    from the inputs, and given knots."""
    inputs, _, batch = features.shape
    (i, b), ranges = work_items(inputs, batch)
    at = x[b, i]
    found = [value for row in knots for value in find_interval(at, basis, row, i)]
    values, derivatives = local_functions(at, basis, base, found)
    stored = [features[i, r, b].store(value) for r, value in enumerate(values)]
    stored += [slopes[i, r, b].store(value) for r, value in enumerate(derivatives)]
    return _kernel("spline_features", UOp.group(*stored), ranges)


def _forward(y: UOp, features: UOp, *weights: UOp) -> UOp:
    """The layer `[batch, out]` but for its bias, from the weights and the features
    `[in, 1 + values, batch]`: the number of the first function, the functions' values, the base
    function."""
    (inputs, rows, batch), out = features.shape, y.shape[1]
    lanes = vector_length(out, LANES)
    (b, part), ranges = work_items(batch, out // lanes)
    lane = lane_range(lanes, 10)
    i, terms = loop_over(inputs, 11)
    o = part * lanes + lane
    used = weight_rows(features[i, 0, b], weights, rows, i, o)
    products = [features[i, r, b] * w for r, w in enumerate(used, start=1)]
    value = summed(sum(products[1:], products[0]), terms)
    return _kernel("spline_forward", y[b, o].store(value).end(lane), ranges)


def _value_gradient(gradient: UOp, upstream: UOp, *others: UOp) -> UOp:
    """The gradient to the functions' values `[in, values, batch]`, from that to y, the weights and
    the features; these come last, as on a single interval they are not used: an unused argument
    before others makes tinygrad 0.13 mix those up."""
    *weights, features = others
    (inputs, rows, batch), out = features.shape, upstream.shape[1]
    lanes = vector_length(out, LANES)
    (i, b), ranges = work_items(inputs, batch)
    part, parts = loop_over(out // lanes, 10)
    lane, inside = loop_over(lanes, 11, AxisType.UNROLL)
    o = part * lanes + lane
    used = weight_rows(features[i, 0, b], weights, rows, i, o)
    sums = [summed(w * upstream[b, o], parts + inside) for w in used]
    stored = UOp.group(*[gradient[i, r, b].store(s) for r, s in enumerate(sums)])
    return _kernel("spline_value_gradient", stored, ranges)


def _weight_gradient(*arguments: UOp) -> UOp:
    """Each slice's sums `[slices in, n_functions, out]` and, for base weights, `[slices in, out]`,
    from the features and the gradient to y."""
    *sums, features, upstream = arguments
    (rows_of_sums, functions, out), (inputs, rows, batch) = sums[0].shape, features.shape
    lanes, slices = vector_length(out, LANES), rows_of_sums // inputs
    (piece, i, part), ranges = work_items(slices, inputs, out // lanes)
    own = piece * inputs + i
    n, lane = UOp.range(functions, 10), lane_range(lanes, 11)
    cleared = [sums[0][own, n, part * lanes + lane].store(0.0).end(lane, n)]
    lane = lane_range(lanes, 12)
    cleared += [s[own, part * lanes + lane].store(0.0).end(lane) for s in sums[1:]]
    sums = [s.after(c) for s, c in zip(sums, cleared, strict=True)]
    sample, lane = UOp.range(batch // slices, 13), lane_range(lanes, 14)
    b, o = piece * (batch // slices) + sample, part * lanes + lane
    feature = [features[i, r, b] for r in range(rows)]
    stored = _added_to_rows(sums, (sample,), feature, upstream[b, o], own, o).end(lane, sample)
    return _kernel("spline_weight_gradient", stored, ranges)


def _added_to_rows(
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


def _kernel(name: str, stored: UOp, ranges: list[UOp]) -> UOp:
    return stored.end(*ranges).sink(arg=KernelInfo(name=name, opts_to_apply=()))

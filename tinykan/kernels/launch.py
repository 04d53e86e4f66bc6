"""What the kernels share: which tensors they support, how work is divided among threads and
work-items, and how columns are padded."""

from __future__ import annotations

from typing import NoReturn

from tinygrad import Device, Tensor, dtypes
from tinygrad.dtype import AddrSpace, DType
from tinygrad.uop.ops import AxisType, Ops, UOp

from tinykan.errors import UserError
from tinykan.kernels.tinygrad_versions import cpu_threads

GROUP = 128  # work-items in a work-group; no device's limit is below 256


def runs_on_threads(x: Tensor) -> bool:
    """Whether the CPU kernels support this tensor: float32 or float64, on a threaded device."""
    return _usable(x, "has_threads", dtypes.float32, dtypes.float64)


def runs_on_work_groups(x: Tensor) -> bool:
    """Whether the GPU kernels support this tensor: float32, on a device with work-groups."""
    return _usable(x, "has_local", dtypes.float32)


def _usable(x: Tensor, trait: str, *types: DType) -> bool:
    able = isinstance(x.device, str) and getattr(Device[x.device].renderer, trait)
    return able and x.dtype in types and x.numel() > 0


def empty(shape: tuple, like: Tensor) -> Tensor:
    return Tensor.empty(*shape, dtype=like.dtype, device=like.device)


def strip_reshapes(x: Tensor) -> Tensor:
    """`x` without reshapes that lead back to its own shape: tinygrad would copy it for a kernel."""
    base = x.uop
    while base.op is Ops.RESHAPE:
        base = base.src[0]
    return Tensor(base) if base.shape == x.shape else x


def as_computed(x: Tensor) -> Tensor:
    """The output `[n, columns]` of a kernel, if `x` `[n, m]` is the first columns of one: another
    kernel reads it without a copy. Else `x`."""
    x = strip_reshapes(x)
    if x.uop.op is Ops.SHRINK and (whole := x.uop.src[0]).op is Ops.AFTER:
        (top, bottom), (left, _) = x.uop.marg
        if (top, bottom, left) == (0, whole.shape[0], 0):
            return Tensor(whole)
    return x


def is_computed(x: Tensor) -> bool:
    """Whether `x` `[..., m]` is the first columns of a kernel's output, which another kernel on
    CPUs reads as it is."""
    rows = x.reshape(-1, x.shape[-1])
    return runs_on_threads(x) and as_computed(rows).uop.op is Ops.AFTER


def split_across_threads(count: int) -> tuple[UOp, UOp, UOp]:
    """`count` pieces of work divided among the threads: the index of a piece, the loop over a
    thread's pieces, and the range of threads."""
    threads = threads_for(count)
    thread, inner = UOp.range(threads, 0, AxisType.THREAD), UOp.range(count // threads, 1)
    return thread * (count // threads) + inner, inner, thread


def work_items(*counts: int) -> tuple[list[UOp], list[UOp]]:
    """A work-item for each combination of indices below `counts`, the last of which varies fastest:
    these indices, and the ranges that they are made of."""
    numbers: list[UOp] = []
    ranges: list[UOp] = []
    free = GROUP
    for count in reversed(counts):
        size = largest_divisor(count, free)
        free //= size
        group, item = work_group(count, size, len(numbers))
        numbers.insert(0, group * size + item)
        ranges += [group, item]
    return numbers, ranges


def work_group(count: int, size: int, dimension: int) -> tuple[UOp, UOp]:
    """`count` work-items, or the next more, in groups of `size`: the range of the groups and that
    of a group's items. Items vary fastest in dimension 0."""
    group = UOp.range(-(-count // size), 5 - dimension, AxisType.GLOBAL)
    return group, UOp.range(size, 6 + dimension, AxisType.LOCAL)


def shared(shape: tuple[int, ...], number: int) -> UOp:
    """Memory that the items of a work-group share, of float32: the `number`th of a kernel."""
    return UOp.placeholder(shape, dtypes.float32, number, AddrSpace.LOCAL)


def when_all_have(memory: UOp, done: UOp) -> UOp:
    """`memory` after all items of the work-group have done `done`."""
    return memory.after(UOp.barrier(done))


def store_if(memory: UOp, place: tuple[UOp, ...], condition: UOp, value: UOp) -> UOp:
    """`memory[place]` is `value` where `condition` holds, which must come from every item of a
    work-group that stores. tinygrad drops a condition of one of several indices."""
    flat = place[0]
    for size, index in zip(memory.shape[1:], place[1:], strict=True):
        flat = flat * size + index
    return memory.base[flat.valid(condition)].store(value)


def lane_range(count: int, number: int) -> UOp:
    return UOp.range(count, number, AxisType.UPCAST)


def loop_over(
    count: int, number: int, kind: AxisType = AxisType.REDUCE
) -> tuple[UOp | int, list[UOp]]:
    """The index of a term, and the ranges to sum over: none for a single term, since tinygrad makes
    such a range a constant, which cannot be summed over."""
    ranges = [UOp.range(count, number, kind)] if count > 1 else []
    return (ranges[0] if ranges else 0), ranges


def summed(term: UOp, ranges: list[UOp]) -> UOp:
    """The sum of `term` over the ranges of `loop_over`."""
    for each in ranges:
        term = term.reduce(each, arg=Ops.ADD)
    return term


def threads_for(count: int) -> int:
    """As many threads as divide `count` pieces of work evenly, up to the cores."""
    return largest_divisor(max(count, 1), cpu_threads())


def lanes_for(out: int, limit: int, unit: int = 4) -> int:
    """How many columns to compute side by side: a multiple of `unit`, with the least padding, then
    in whole 64-byte vectors; of 4 below that, since vector loads need rows that start at one; below
    4, one."""
    if out <= limit:
        return 1 if out < 4 else padded_size(out, unit if out > unit else 4)
    choices = range(limit, limit // 2 - 1, -unit)
    return min(choices, key=lambda lanes: (padded_size(out, lanes), lanes % 16 > 0))


def padded_size(out: int, lanes: int) -> int:
    return -(-out // lanes) * lanes


def pad_columns(weights: Tensor, lanes: int) -> Tensor:
    """`weights` with zero columns up to a multiple of `lanes`; contiguous."""
    missing = padded_size(weights.shape[-1], lanes) - weights.shape[-1]
    return weights.pad((*[None] * (weights.ndim - 1), (0, missing))).contiguous()


def vector_length(out: int, limit: int, unit: int = 4) -> int:
    """The largest divisor of `out` up to `limit` that is a multiple of `unit`, or else of 4, else
    1: tinygrad's checks fail on vectors of other lengths."""
    unit = next((u for u in (unit, 4) if out % u == 0), 1)
    return unit * largest_divisor(out // unit, limit // unit) if unit > 1 else 1


def largest_divisor(number: int, limit: int) -> int:
    """The largest divisor of `number` up to `limit`."""
    return next(d for d in range(min(number, limit), 0, -1) if number % d == 0)


def no_second_derivative(*_: object) -> NoReturn:
    """The gradient of kernels that compute gradients: there is none."""
    path = "KANLayer(..., kernels='reference')"
    raise UserError(
        "second derivatives with respect to the inputs: tinykan.derivatives(model, x) gives them; "
        f"the kernels cannot be differentiated twice, tensor operations can, with {path}"
    )

"""Adam's update in one kernel: of a tensor on CPUs, of many on GPUs, where to start a kernel takes
longer than to update most tensors."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from tinygrad import Tensor
from tinygrad.uop.ops import KernelInfo, UOp

from tinykan.kernels.launch import (
    GROUP,
    padded_size,
    runs_on_threads,
    runs_on_work_groups,
    split_across_threads,
    store_if,
    vector_length,
    work_group,
)

LANES = 16  # values updated side by side on CPUs
SMALL = 2**15  # values of a parameter on GPUs that shares a kernel: the more, the longer each takes
PARAMETERS = {"METAL": 7, "WEBGPU": 1}  # in a kernel: their limits are 31 and 8 tensors
MOST_PARAMETERS = 16  # elsewhere

Update = tuple[Tensor, Tensor, Tensor, Tensor]  # a parameter, its two moments, its gradient


def supports(parameter: Tensor) -> bool:
    return runs_on_threads(parameter) or runs_on_work_groups(parameter)


def adam_step(updates: Sequence[Update], rate: Tensor, b1: float, b2: float) -> list[Tensor]:
    """Updates parameters and moments in place. They must be realized, and the gradients too, or
    their computation might read the new parameters. `rate` starts with Adam's step size and
    epsilon."""
    updated: list[Tensor] = []
    for together in _groups(updates):
        kernel = _on_threads if runs_on_threads(together[0][0]) else _on_work_groups
        first, *others = (t.flatten() for update in together for t in update)
        results = first.custom_kernel(
            *(*others, rate), fxn=lambda *arguments, f=kernel: f(*arguments, b1=b1, b2=b2)
        )
        updated += [t for n, t in enumerate(results[:-1]) if n % 4 < 3]
    return updated


def _groups(updates: Sequence[Update]) -> list[Sequence[Update]]:
    """The updates that a kernel takes together."""
    alone = [u for u in updates if runs_on_threads(u[0]) or u[0].numel() > SMALL]
    others = [u for u in updates if all(u is not each for each in alone)]
    device = str(others[0][0].device).split(":")[0] if others else ""
    count = PARAMETERS.get(device, MOST_PARAMETERS)
    return [*([u] for u in alone), *(others[n : n + count] for n in range(0, len(others), count))]


def _on_threads(
    parameter: UOp, m: UOp, v: UOp, gradient: UOp, rate: UOp, *, b1: float, b2: float
) -> UOp:
    size = parameter.shape[0]
    lanes = vector_length(size, LANES)
    block, *loops = split_across_threads(size // lanes)
    # Compilers vectorize this loop, which costs less than to write out its vectors.
    lane = UOp.range(lanes, 10)
    at = block * lanes + lane
    old = [t[at].load() for t in (parameter, m, v, gradient)]
    new, first, second = _updated(old, rate, b1, b2)
    stored = UOp.group(m[at].store(first), v[at].store(second), parameter[at].store(new))
    return stored.end(lane, *loops).sink(arg=KernelInfo(name="adam", opts_to_apply=()))


def _on_work_groups(*arguments: UOp, b1: float, b2: float) -> UOp:
    """An item for each value; each parameter has work-groups of its own."""
    *tensors, rate = arguments
    updates = [tensors[n : n + 4] for n in range(0, len(tensors), 4)]
    sizes = [parameter.shape[0] for parameter, *_ in updates]
    ends = list(accumulate(padded_size(size, GROUP) for size in sizes))
    group, item = work_group(ends[-1], GROUP, 0)
    number = group * GROUP + item
    places = [number - start for start in [0, *ends[:-1]]]
    own = [(at > -1) & (at < size) for at, size in zip(places, sizes, strict=True)]
    # What is not an item's own is read as 0, and not read at all.
    old = [
        sum(t[at.valid(c)].load() for t, at, c in zip(same, places, own, strict=True))
        for same in zip(*updates, strict=True)
    ]
    new = _updated(old, rate, b1, b2)
    stored = [
        store_if(tensor, (at,), mine, value)
        for update, at, mine in zip(updates, places, own, strict=True)
        for tensor, value in zip(update, new, strict=False)
    ]
    done = UOp.group(*stored).end(item, group)
    return done.sink(arg=KernelInfo(name="adam", opts_to_apply=()))


def _updated(old: list[Any], rate: UOp, b1: float, b2: float) -> tuple[UOp, UOp, UOp]:
    """The new parameter and moments, from the old ones and the gradient."""
    parameter, m, v, g = old
    first = b1 * m + (1 - b1) * g
    second = b2 * v + (1 - b2) * (g * g)
    return parameter - rate[0].load() * first / (second.sqrt() + rate[1].load()), first, second

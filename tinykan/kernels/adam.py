"""Adam's update of a tensor in one kernel, on CPUs and GPUs."""

from __future__ import annotations

from tinygrad import Tensor
from tinygrad.uop.ops import KernelInfo, UOp

from tinykan.kernels.launch import (
    lane_range,
    runs_on_threads,
    runs_on_work_groups,
    split_across_threads,
    vector_length,
    work_items,
)

LANES = {"threads": 16, "items": 4}  # values updated side by side


def supports(parameter: Tensor) -> bool:
    return runs_on_threads(parameter) or runs_on_work_groups(parameter)


def adam_step(
    parameter: Tensor, m: Tensor, v: Tensor, gradient: Tensor, rate: Tensor, b1: float, b2: float
) -> list[Tensor]:
    """Updates the first three tensors in place. They must be realized, and the gradient too, or its
    computation might read the new parameters. `rate` starts with Adam's step size and epsilon."""
    kind = "threads" if runs_on_threads(parameter) else "items"
    return parameter.flatten().custom_kernel(
        *(t.flatten() for t in (m, v, gradient)),
        rate,
        fxn=lambda *arguments: _adam_step(*arguments, b1=b1, b2=b2, kind=kind),
    )[:3]


def _adam_step(
    parameter: UOp, m: UOp, v: UOp, gradient: UOp, rate: UOp, *, b1: float, b2: float, kind: str
) -> UOp:
    size = parameter.shape[0]
    lanes = vector_length(size, LANES[kind])
    if kind == "threads":
        block, *loops = split_across_threads(size // lanes)
    else:
        (block,), loops = work_items(size // lanes)
    # On CPUs compilers vectorize this loop, which costs less than to write out its vectors.
    lane = UOp.range(lanes, 10) if kind == "threads" else lane_range(lanes, 10)
    at = block * lanes + lane
    g = gradient[at].load()
    first = b1 * m[at].load() + (1 - b1) * g
    second = b2 * v[at].load() + (1 - b2) * (g * g)
    new = parameter[at].load() - rate[0].load() * first / (second.sqrt() + rate[1].load())
    stored = UOp.group(m[at].store(first), v[at].store(second), parameter[at].store(new))
    return stored.end(lane, *loops).sink(arg=KernelInfo(name="adam", opts_to_apply=()))

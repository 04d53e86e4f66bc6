"""Lists the kernels of a training step, and the least time they can take on an H100."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from tinygrad import Tensor, TinyJit
from tinygrad.uop.ops import Ops, UOp, sym_infer

from tinykan import KAN, MLP, BSpline
from tinykan.errors import UserError
from tinykan.optim import Adam
from tinykan.runs.command_line import option, run
from tinykan.tensors import learnable

# Of an H100 SXM: float32 operations and bytes of its memory in a second, and bytes that 132
# multiprocessors at 1.755 GHz exchange with their first-level caches, 128 in a cycle each.
OPERATIONS, MEMORY, CACHES = 67e12, 3.35e12, 132 * 1.755e9 * 128


@dataclass
class Config:
    """Lists the kernels of one compiled training step (forward, gradients, Adam; mean squared
    error) with their work-groups, floating-point operations, the size of their tensors, the bytes
    that they load and store, and what the largest of these takes an H100 at least. No GPU is
    needed: DEV=NULL:NVCC:sm_90 compiles for one, DEV=NULL:METAL writes the source."""

    model: str = option("spline", "kind of network", choices=("spline", "tanh"))
    network: str = option("32-64-64-64-1", "widths of the layers")
    grid: int = option(5, "number of intervals of splines", minimum=1)
    batch: int = option(4096, "batch size", minimum=1)


def main(config: Config) -> None:
    rows = [measures(call) for call in programs(captured_step(config))]
    print(
        "| kernel | number | work-groups x items | MFLOP | tensors, MB | traffic, MB | least, µs |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|")
    for row in dict.fromkeys(rows):
        name, groups, items, *numbers = row
        values = " | ".join(f"{value:.2f}" for value in numbers)
        print(f"| {name} | {rows.count(row)} | {groups} x {items} | {values} |")
    sums = " | ".join(f"{sum(column):.1f}" for column in list(zip(*rows, strict=True))[3:])
    print(f"| all | {len(rows)} | | {sums} |")


def captured_step(config: Config) -> UOp:
    """What the compiled step runs."""
    try:
        widths = [int(width) for width in config.network.split("-")]
    except ValueError:
        raise UserError(
            f"network {config.network!r}: widths such as 2-64-64-1 are needed"
        ) from None
    model = MLP(widths) if config.model == "tanh" else KAN(widths, BSpline(config.grid))
    shapes = (config.batch, widths[0]), (config.batch, widths[-1])
    x, y = (Tensor.zeros(*shape).contiguous().realize() for shape in shapes)
    optimizer = Adam(learnable(model), np.full(3, 1e-3))

    def step() -> Tensor:
        loss = (model(x) - y).square().mean()
        optimizer.minimize(loss, loss)
        return loss

    compiled = TinyJit(step)
    for _ in range(2):
        compiled()
    assert compiled.captured is not None
    return compiled.captured.linear


def programs(linear: UOp) -> Iterator[UOp]:
    """The calls of kernels in order, those inside graphs, too."""
    for call in linear.src:
        if call.src[0].op is Ops.CUSTOM_FUNCTION:
            yield from programs(call.src[0].src[0])
        elif call.src[0].op is Ops.PROGRAM:
            yield call


def measures(call: UOp) -> tuple[Any, ...]:
    """A row of the table, in its units."""
    about, estimates = call.src[0].arg, call.src[0].src[0].arg.estimates
    name = re.sub(r"\x1b\[[0-9;]*m", "", about.name)
    operations, traffic = (float(sym_infer(v, {})) for v in (estimates.ops, estimates.lds))
    tensors = sum(prod(t.shape) * t.dtype.itemsize for t in call.src[1:])
    least = max(operations / OPERATIONS, tensors / MEMORY, traffic / CACHES)
    sizes = prod(about.global_size), prod(about.local_size or (1,))
    return name, *sizes, operations / 1e6, tensors / 1e6, traffic / 1e6, least * 1e6


if __name__ == "__main__":
    run(main, Config)

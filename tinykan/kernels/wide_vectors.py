"""Vectors of up to 16 values in memory for tinygrad 0.14's CPU.

tinygrad joins neighboring loads and stores into vectors of at most 4, and compilers do not widen
them further: a spline network's step takes twice as long. tinygrad 0.13 has an option for longer
ones (`tinygrad_versions.WIDE_VECTORS`), 0.14 has not.
"""

# mypy: disable-error-code="attr-defined, call-arg"
# which is about tinygrad 0.13, where mypy runs

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from tinygrad import codegen, dtypes
from tinygrad.dtype import AddrSpace, Invalid
from tinygrad.renderer import Renderer
from tinygrad.uop.ops import Ops, UOp

LENGTHS = (16, 8, 4, 2)
TYPES = (dtypes.float32, dtypes.int32, dtypes.uint32)  # which tinygrad has vectors of

_join_up_to_four: Any = codegen.memory_coalescing
_shape_of: Any = UOp.__dict__["_shape"].fxn


def install() -> None:
    setattr(codegen, "memory_coalescing", join)  # noqa: B010, a function, to mypy
    UOp.__dict__["_shape"].fxn = shape


def join(sink: UOp, renderer: Renderer) -> UOp:
    """As tinygrad's `memory_coalescing`: the kernel with neighboring loads and stores joined."""
    target = renderer.target
    if target.device != "CPU" or target.renderer == "X86" or not renderer.supports_float4:
        return _join_up_to_four(sink, renderer)
    accesses: dict[tuple, dict[int, list[UOp]]] = defaultdict(lambda: defaultdict(list))
    for access in sink.toposort():
        if access.op in (Ops.LOAD, Ops.STORE) and access.src[0].op is Ops.INDEX:
            memory, index = access.src[0].src
            if memory.addrspace != AddrSpace.REG and memory.dtype in TYPES:
                start, offset = _split(index.get_idx())
                accesses[access.op, memory, start, index.get_valid()][offset].append(access)
    replaced: dict[UOp, UOp] = {}
    for (kind, memory, start, valid), offsets in accesses.items():
        for first, length in _vectors(sorted(offsets), start):
            if length > 1:
                where = _plus(start, first).valid(valid)
                vector = UOp(Ops.SHRINK, src=(memory, where, UOp.const(length)))
                joined = [offsets[first + k] for k in range(length)]
                replaced |= _replace(kind, vector, joined)
    return sink.substitute(replaced, name="join neighbors")


def shape(uop: UOp) -> tuple | None:
    """As tinygrad's: that of a vector in memory is its length. At each stage of lowering, tinygrad
    would simplify where it starts, to see that it ends in the buffer, for a quarter of the time."""
    if uop.op is Ops.SHRINK and uop.src[1].op not in (Ops.CONST, Ops.STACK):
        length = uop.src[2]
        while length.op is Ops.CAST:
            length = length.src[0]
        if length.op is Ops.CONST:
            return (length.val,)
    return _shape_of(uop)


def _split(index: UOp) -> tuple[UOp | None, int]:
    """An index as what varies, if anything does, and a constant."""
    if index.op is Ops.CONST and index.val is not Invalid:
        return None, index.val
    if index.op is Ops.ADD:
        for variable, constant in (index.src, index.src[::-1]):
            if constant.op is Ops.CONST:
                return variable, constant.val
    return index, 0


def _plus(start: UOp | None, offset: int) -> UOp:
    return UOp.const(offset) if start is None else start + offset


def _vectors(offsets: list[int], start: UOp | None) -> Iterator[tuple[int, int]]:
    """The first offset and the length of each vector: as long as there are neighbors, and as
    divides where it starts."""
    present, following = set(offsets), offsets[0]
    for first in offsets:
        if first >= following:
            place = _plus(start, first)
            fitting = (n for n in LENGTHS if present.issuperset(range(first, first + n)))
            length = next((n for n in fitting if place.divides(n) is not None), 1)
            yield first, length
            following = first + length


def _replace(kind: Ops, vector: UOp, joined: list[list[UOp]]) -> dict[UOp, UOp]:
    """What takes the place of accesses that are joined, which may be several of one value."""
    if kind is Ops.STORE:
        single = [access for (access,) in joined]  # no place is written twice
        store = vector.store(UOp.stack(*(access.src[1] for access in single)))
        return dict.fromkeys(single, store)
    loaded = vector.load()
    return {access: loaded.index(k) for k, accesses in enumerate(joined) for access in accesses}

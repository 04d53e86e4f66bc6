"""Kernels that are needed together are compiled side by side. Most of the time of a cold start goes
into lowering them, in Python, one after the other; here, forked processes take a share each.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tinygrad import Context, Device
from tinygrad.engine import jit, realize
from tinygrad.helpers import BEAM
from tinygrad.renderer import Renderer
from tinygrad.uop.ops import Ops, UOp

from tinykan.kernels import program_cache
from tinykan.kernels.tinygrad_versions import cpu_threads

# Operations of kernels: a thousand take about two seconds to lower.
SMALL, WORTHWHILE = 50, 300  # what is not looked at, and the least for which processes are forked
PATIENCE = 10  # seconds to wait for processes, which should be done, before it is all done here
_seen: set[bytes] = set()  # keys of kernels that are compiled, or will be in a moment


class Job(NamedTuple):
    """A kernel to be compiled, the `key` of its program in the cache, and its number of
    operations."""

    ast: UOp
    renderer: Renderer
    key: str
    size: int


def install() -> None:
    """Puts `compile_ahead` before tinygrad's compilation of the kernels that a computation needs,
    one after the other, on Linux: libraries of other systems do not survive a fork."""
    if sys.platform != "linux":
        return
    compile_linear = realize.compile_linear

    def ahead(linear: UOp, *arguments: Any, **options: Any) -> UOp:
        compile_ahead(linear)
        return compile_linear(linear, *arguments, **options)

    for module in (realize, jit):
        setattr(module, "compile_linear", ahead)  # noqa: B010, a function, to mypy


def compile_ahead(linear: UOp) -> None:
    """Compiles the kernels of `linear` for the CPU that no cache has, if they are worth it, in as
    many processes as kernels have threads."""
    asts = [call.src[0] for call in linear.src if call.op is Ops.CALL and call.device == "CPU"]
    new = {ast.key: ast for ast in asts if ast.op is Ops.SINK and ast.key not in _seen}
    _seen.update(new)
    if len(new) < 2 or cpu_threads() < 2 or BEAM:
        return
    renderer = Device["CPU"].renderer
    jobs = []
    for ast in new.values():
        size = len(ast.toposort())
        key = program_cache.program_key(ast, renderer) if size >= SMALL else None
        if key is None:
            continue
        found = program_cache.stored(key)
        if found is None:
            jobs.append(Job(ast, renderer, key, size))
        else:
            program_cache.compiled_ahead[key] = found
    if len(jobs) > 1 and sum(job.size for job in jobs) >= WORTHWHILE:
        for job, program in zip(jobs, compiled(jobs, cpu_threads()), strict=True):
            program_cache.store(job.key, program)
            program_cache.compiled_ahead[job.key] = program


def compiled(jobs: Sequence[Job], processes: int) -> list[UOp]:
    """The programs of `jobs`, compiled by this process and by forked ones; what one of these cannot
    do is done here in the end, with its error if there is one."""
    shares: list[list[int]] = [[] for _ in range(min(processes, len(jobs)))]
    work = [0] * len(shares)
    for n in sorted(range(len(jobs)), key=lambda n: -jobs[n].size):
        least = work.index(min(work))
        shares[least].append(n)
        work[least] += jobs[n].size
    children = [_forked([jobs[n] for n in share]) for share in shares[1:]]
    programs: dict[int, UOp] = {}
    start = time.monotonic()
    try:
        for n in shares[0]:
            programs[n] = program_cache.lowered(jobs[n].ast, jobs[n].renderer)
        patience = PATIENCE + 5 * (time.monotonic() - start)
        for share, (_, pipe) in zip(shares[1:], children, strict=True):
            programs |= zip(share, _received(pipe, patience), strict=False)
    finally:
        for process, pipe in children:
            os.close(pipe)
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
    for n, job in enumerate(jobs):
        if n not in programs:
            programs[n] = program_cache.lowered(job.ast, job.renderer)
    return [programs[n] for n in range(len(jobs))]


def _received(pipe: int, seconds: float) -> list[UOp]:
    """The programs that a process writes to `pipe`; none if it fails, or has not ended after that
    many seconds."""
    sent, end = b"", time.monotonic() + seconds
    while select.select([pipe], [], [], max(0.0, end - time.monotonic()))[0]:
        part = os.read(pipe, 1 << 20)
        if not part:
            break
        sent += part
    try:
        return list(pickle.loads(sent))
    except (EOFError, pickle.UnpicklingError):
        return []


def _forked(jobs: Sequence[Job]) -> tuple[int, int]:
    """A process that compiles `jobs`, and the end of a pipe from which to read their programs; it
    writes nothing if it fails."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # there are threads, which it does without
        process = os.fork()
    if process:
        os.close(write)
        return process, read
    try:
        # Locks on files and connections are the parent's, which may end before this process.
        for number in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
            if number > 2 and number != write:
                with contextlib.suppress(OSError):  # that of the listing is closed already
                    os.close(number)
        with Context(CACHELEVEL=0):
            programs = [program_cache.lowered(job.ast, job.renderer) for job in jobs]
        with os.fdopen(write, "wb") as file:
            pickle.dump(programs, file)
    finally:
        os._exit(0)

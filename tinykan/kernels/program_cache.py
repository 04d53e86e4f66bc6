"""A disk cache of lowered and compiled kernels. tinygrad caches on disk what compilers return; but
most of the time of a cold start goes into lowering kernels to source code, in Python, before there
is a compiler to ask. This cache holds the result of both, in tinygrad's own database.
"""

from __future__ import annotations

import gc
import hashlib
from importlib.metadata import version
from typing import Any

from tinygrad import codegen, helpers
from tinygrad.helpers import DEBUG, VIZ, ContextVar
from tinygrad.renderer import Renderer
from tinygrad.uop.ops import Ops, UOp

TINYGRAD = version("tinygrad")
FORMAT = 2  # of what is stored, and of the code that tinykan makes tinygrad generate
# Variables that change nothing about a program; DEV is part of the renderer's target.
IRRELEVANT = {"DEBUG", "DEV", "CACHELEVEL", "JIT", "JIT_BATCH_SIZE", "PROFILE", "VIZ", "SPEC"}

_lower_and_compile = codegen.do_to_program
compiled_ahead: dict[str, UOp] = {}  # by their keys, until they are asked for


def install() -> None:
    """Puts the cache between tinygrad's `to_program`, which has a cache in memory, and the function
    that lowers and compiles a kernel which is not in that."""
    setattr(codegen, "do_to_program", compiled_program)  # noqa: B010, a function, to mypy


def compiled_program(ast: UOp, renderer: Renderer) -> UOp:
    """As tinygrad's `do_to_program`: the compiled program of a kernel."""
    key = program_key(ast, renderer)
    if key is None:
        return _lower_and_compile(ast, renderer)
    found = compiled_ahead.pop(key, None)
    found = stored(key) if found is None else found
    if found is None:
        found = lowered(ast, renderer)
        store(key, found)
    return found


def program_key(ast: UOp, renderer: Renderer) -> str | None:
    """What names a kernel's program in the cache, or None if it is not to be cached."""
    # What debugging prints comes from lowering. Compilers without a key are not to be cached.
    compiler = renderer.compiler.cachekey if renderer.compiler else None
    if compiler is None or DEBUG >= 4 or VIZ or ast.op is not Ops.SINK:
        return None
    variables = ContextVar._cache.items()
    settings = sorted((name, v.value) for name, v in variables if name not in IRRELEVANT)
    kernel = ast.key.hex(), type(renderer).__name__, renderer.target, compiler
    text = repr((FORMAT, TINYGRAD, *kernel, settings))
    return hashlib.sha256(text.encode()).hexdigest()


def stored(key: str) -> UOp | None:
    """The program of that key on disk."""
    found: UOp | None = helpers.diskcache_get("tinykan_programs", key)
    return found


def store(key: str, program: UOp) -> None:
    helpers.diskcache_put("tinykan_programs", key, program)


def lowered(ast: UOp, renderer: Renderer) -> UOp:
    """A kernel's program, compiled now. Python's search for garbage in cycles, which the thousands
    of new objects would start again and again, waits: it takes a tenth of the time."""
    searching = gc.isenabled()
    gc.disable()
    try:
        return _runnable(_lower_and_compile(ast, renderer))
    finally:
        if searching:
            gc.enable()


def _runnable(program: UOp) -> UOp:
    """The program with all that is needed to run it: of its kernel the parameters and the estimates
    of its cost, of its instructions the machine code."""
    sink, *device, instructions, source, binary = program.src  # no device from tinygrad 0.14 on
    parameters = tuple(u for u in sink.toposort() if u.op is Ops.PARAM)
    kept: tuple[Any, ...] = (
        sink.replace(src=parameters),
        *device,
        instructions.replace(src=tuple(u for u in instructions.src if u.op is Ops.PARAM)),
        source.replace(arg=""),
        binary,
    )
    return program.replace(src=kept)

"""Kernels that are compiled side by side: the same programs, whatever happens to the processes."""

from __future__ import annotations

import fcntl
import os
import pickle
import sys
import time

import numpy as np
import pytest
from tinygrad import Context, Device, Tensor, codegen, helpers
from tinygrad.engine import realize
from tinygrad.uop.ops import Ops

from tinykan import KAN, BSpline
from tinykan.kernels import parallel_compilation, program_cache
from tinykan.kernels.parallel_compilation import Job, compiled

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or Device.DEFAULT != "CPU" or not Device["CPU"].renderer.compiler,
    reason="kernels of the CPU, on Linux",
)


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """Empty caches, on disk and in memory."""
    for name, value in {"CACHEDB": str(tmp_path / "cache.db"), "_db_connection": None}.items():
        monkeypatch.setattr(helpers, name, value)
    monkeypatch.setattr(helpers, "_db_tables", set())
    monkeypatch.setattr(parallel_compilation, "_seen", set())
    monkeypatch.setattr(parallel_compilation, "cpu_threads", lambda: 3)
    in_memory = dict(codegen.to_program_cache)
    codegen.to_program_cache.clear()
    yield
    codegen.to_program_cache.update(in_memory)


@pytest.fixture
def forks(monkeypatch):
    """The numbers of kernels that processes were forked for."""
    counts, fork = [], parallel_compilation._forked
    monkeypatch.setattr(
        parallel_compilation, "_forked", lambda jobs: counts.append(len(jobs)) or fork(jobs)
    )
    return counts


def gradients() -> list[np.ndarray]:
    model = KAN([3, 5, 2], BSpline(4), seed=1)
    x = Tensor(np.random.default_rng(0).uniform(-1, 1, (9, 3)).astype(np.float32))
    weights = [layer.coefficients for layer in model.layers]
    found = model(x).square().sum().gradient(*weights)
    Tensor.realize(*found)
    return [g.numpy() for g in found]


def jobs() -> list[Job]:
    """The kernels of three spline layers."""
    found: list[Job] = []

    def collect(linear):
        renderer = Device["CPU"].renderer
        for call in linear.src:
            ast = call.src[0]
            if call.op is Ops.CALL and ast.op is Ops.SINK and len(ast.toposort()) > 50:
                found.append(Job(ast, renderer, ast.key.hex(), len(ast.toposort())))

    x = Tensor.zeros(9, 3).contiguous().realize()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(realize, "compile_linear", collected(collect, realize.compile_linear))
        KAN([3, 5, 4, 2], BSpline(4))(x).realize()
    return found


def collected(collect, compile_linear):
    def collecting(linear, *arguments, **options):
        collect(linear)
        return compile_linear(linear, *arguments, **options)

    return collecting


def test_results_are_those_of_kernels_compiled_one_by_one(empty, forks, monkeypatch):
    side_by_side = gradients()
    assert len(forks) >= 1
    with monkeypatch.context() as patch:
        patch.setattr(parallel_compilation, "compile_ahead", lambda linear: None)
        codegen.to_program_cache.clear()
        with Context(CACHELEVEL=0):
            for a, b in zip(gradients(), side_by_side, strict=True):
                assert np.array_equal(a, b) and np.any(a)


def test_what_is_on_disk_is_not_compiled_again(empty, forks, monkeypatch):
    first = gradients()
    forks.clear()
    parallel_compilation._seen.clear()
    codegen.to_program_cache.clear()
    lowered = []
    monkeypatch.setattr(program_cache, "lowered", lambda ast, _: lowered.append(ast.arg.name))
    for a, b in zip(gradients(), first, strict=True):
        assert np.array_equal(a, b)
    assert not forks and not lowered


def test_one_thread_compiles_alone(empty, forks, monkeypatch):
    monkeypatch.setattr(parallel_compilation, "cpu_threads", lambda: 1)
    gradients()
    assert not forks


def test_programs_are_in_the_order_of_their_kernels(empty):
    kernels = jobs()
    assert len(kernels) > 2
    for job, program in zip(kernels, compiled(kernels, 3), strict=True):
        alone = program_cache.lowered(job.ast, job.renderer)
        assert program.src[-1].arg == alone.src[-1].arg  # the machine code


@pytest.mark.long
def test_what_a_process_fails_to_do_is_done_here(empty, monkeypatch):
    """With an error, by its death, or for ever."""
    kernels, here, lowered = jobs(), os.getpid(), program_cache.lowered
    whole = [program_cache.lowered(job.ast, job.renderer).src[-1].arg for job in kernels]

    def fails(ast, renderer):
        if os.getpid() != here:
            raise MemoryError
        return lowered(ast, renderer)

    def dies(ast, renderer):
        if os.getpid() != here:
            os.kill(os.getpid(), 9)
        return lowered(ast, renderer)

    def hangs(ast, renderer):
        time.sleep(0 if os.getpid() == here else 60)
        return lowered(ast, renderer)

    monkeypatch.setattr(parallel_compilation, "PATIENCE", 1)
    for broken in (fails, dies, hangs):
        monkeypatch.setattr(program_cache, "lowered", broken)
        assert [program.src[-1].arg for program in compiled(kernels, 3)] == whole


def test_half_of_a_message_is_none():
    read, write = os.pipe()
    os.write(write, pickle.dumps([1, 2, 3])[:-3])
    os.close(write)
    assert parallel_compilation._received(read, 1) == []
    os.close(read)


def test_an_error_is_raised_here_and_no_process_is_left(empty, monkeypatch):
    def fails(ast, renderer):
        raise ValueError("no such instruction")

    kernels, fork, processes = jobs(), os.fork, []
    monkeypatch.setattr(program_cache, "lowered", fails)
    monkeypatch.setattr(os, "fork", lambda: processes.append(fork()) or processes[-1])
    with pytest.raises(ValueError, match="no such instruction"):
        compiled(kernels, 3)
    assert len(processes) == 2
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_a_lock_does_not_outlive_its_owner_in_a_process_that_compiles(tmp_path, monkeypatch):
    monkeypatch.setattr(program_cache, "lowered", lambda *_: time.sleep(30))
    owner = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR)
    fcntl.flock(owner, fcntl.LOCK_EX)
    process, pipe = parallel_compilation._forked([Job(None, None, "", 0)])
    try:
        os.close(owner)
        other = os.open(tmp_path / "lock", os.O_RDWR)
        for _ in range(100):  # until the process has closed its copy
            try:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.05)
        else:
            pytest.fail("the lock is still held")
        os.close(other)
    finally:
        os.close(pipe)
        os.kill(process, 9)
        os.waitpid(process, 0)

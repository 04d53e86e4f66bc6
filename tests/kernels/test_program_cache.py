"""The disk cache of programs: what it serves, and what it must not."""

from __future__ import annotations

import numpy as np
import pytest
from tinygrad import Context, Device, Tensor, codegen, helpers

from tinykan.kernels import program_cache

pytestmark = pytest.mark.skipif(
    not (compiler := Device[Device.DEFAULT].renderer.compiler) or compiler.cachekey is None,
    reason="tinygrad caches nothing for this device's compiler",
)
X = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)


@pytest.fixture
def lowered(tmp_path, monkeypatch):
    """Empty caches; and the names of the kernels that tinygrad lowers."""
    for name, value in {"CACHEDB": str(tmp_path / "cache.db"), "_db_connection": None}.items():
        monkeypatch.setattr(helpers, name, value)
    monkeypatch.setattr(helpers, "_db_tables", set())
    names, lower = [], program_cache._lower_and_compile

    def counted(ast, renderer):
        names.append(ast.arg.name)
        return lower(ast, renderer)

    monkeypatch.setattr(program_cache, "_lower_and_compile", counted)
    in_memory = dict(codegen.to_program_cache)
    in_a_new_process()
    yield names
    codegen.to_program_cache.update(in_memory)


def in_a_new_process():
    """Forgets what is in memory, in place: other modules of tinygrad have the same dictionary."""
    codegen.to_program_cache.clear()


def result(x=X):
    return (Tensor(x).sin() @ Tensor(x).T).numpy()


def test_a_kernel_is_lowered_once_and_computes_the_same_bits(lowered):
    first = result()
    count = len(lowered)
    assert count > 0
    in_a_new_process()
    assert np.array_equal(result(), first) and len(lowered) == count


def test_other_shapes_and_other_settings_are_other_kernels(lowered):
    result()
    count = len(lowered)
    in_a_new_process()
    result(X[:, :4])
    other_shape = len(lowered)
    assert other_shape > count
    with Context(NOOPT=1):
        result()
    assert len(lowered) > other_shape


def test_programs_of_another_tinygrad_are_not_served(lowered, monkeypatch):
    first = result()
    count = len(lowered)
    assert count > 0
    in_a_new_process()
    monkeypatch.setattr(program_cache, "TINYGRAD", "0.0.0")
    assert np.array_equal(result(), first) and len(lowered) == 2 * count


def test_without_a_cache_nothing_is_written(lowered):
    with Context(CACHELEVEL=0):
        first = result()
    in_a_new_process()
    count = len(lowered)
    assert count > 0
    assert np.array_equal(result(), first) and len(lowered) == 2 * count

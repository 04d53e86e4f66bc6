"""A lock on a file."""

from __future__ import annotations

import os
import signal

import pytest

from tinykan.runs.lock import FileLock


def test_a_lock_is_held_by_one(tmp_path):
    first = FileLock(tmp_path / "lock")
    with pytest.raises(BlockingIOError):
        FileLock(tmp_path / "lock")
    first.release()
    assert not (tmp_path / "lock").exists()
    second = FileLock(tmp_path / "lock")
    first.release()  # again: nothing is its own any more
    assert (tmp_path / "lock").exists()
    second.release()


def test_a_lock_whose_file_was_removed_leaves_the_next_one_alone(tmp_path):
    first = FileLock(tmp_path / "lock")
    (tmp_path / "lock").unlink()
    second = FileLock(tmp_path / "lock")
    first.release()
    with pytest.raises(BlockingIOError):
        FileLock(tmp_path / "lock")
    second.release()


def test_a_lock_ends_with_its_process(tmp_path):
    ready, told = os.pipe()
    if (holder := os.fork()) == 0:
        lock = FileLock(tmp_path / "lock")
        os.write(told, b"held")
        signal.pause()
        lock.release()
    assert os.read(ready, 4) == b"held"
    with pytest.raises(BlockingIOError):
        FileLock(tmp_path / "lock")
    os.kill(holder, signal.SIGKILL)
    os.waitpid(holder, 0)
    FileLock(tmp_path / "lock").release()

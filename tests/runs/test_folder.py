"""The folder of a run: its lock, and writes that fail."""

from __future__ import annotations

import json
import math

import pytest

from tinykan import UserError
from tinykan.runs.folder import LOCK, RunFolder


def test_one_run_at_a_time(tmp_path):
    first = RunFolder(tmp_path / "run")
    with pytest.raises(UserError, match="is in use by another run"):
        RunFolder(tmp_path / "run")
    first.release()
    assert not (tmp_path / "run" / LOCK).exists()
    RunFolder(tmp_path / "run").release()


def test_the_lock_of_a_folder_that_is_gone_is_released(tmp_path):
    folder = RunFolder(tmp_path / "run")
    (tmp_path / "run" / LOCK).unlink()
    (tmp_path / "run").rmdir()
    folder.release()
    RunFolder(tmp_path / "run").release()


def test_temporary_files_of_a_killed_process_are_removed(tmp_path):
    (tmp_path / ".model.safetensors.1.tmp").write_bytes(b"left")
    RunFolder(tmp_path).release()
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_is_one_warning(tmp_path, capsys):
    def fail() -> None:
        raise OSError(28, "No space left on device")

    folder = RunFolder(tmp_path)
    for _ in range(2):
        folder.attempt("metrics.jsonl", fail)
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "metrics.jsonl: No space left on device" in error
    folder.release()


def test_infinity_becomes_null(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_json("summary.json", {"psnr": math.inf, "mse": 0.0})
    assert json.loads((tmp_path / "summary.json").read_text()) == {"psnr": None, "mse": 0.0}
    folder.release()

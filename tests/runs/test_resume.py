"""Runs that are interrupted: by signals, kills, full disks, lost folders; and what comes of them.

Each test compares with the files of a run that was never interrupted: weights, losses and pictures
must have the same bytes.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers import ROOT

STEPS = 400
OPTIONS = f"--size 16 --model tanh --parameters 300 --depth 2 --batch 64 --steps {STEPS}".split()
COMMAND = [sys.executable, "scripts/fit_image.py", "images/camera.png", *OPTIONS]
FILES = ["model.safetensors", "reconstruction.png", "comparison.png", "loss.png", "progress.gif"]


def start(folder: Path, *options: str, **about) -> subprocess.Popen:
    command = [*COMMAND, "--out", str(folder), "--checkpoint-every", "20", *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, **pipes, **about)


def finish(process: subprocess.Popen) -> subprocess.CompletedProcess:
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def results(folder: Path) -> dict[str, bytes]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    losses = [(entry["step"], entry["loss"]) for entry in map(json.loads, lines)]
    summary = json.loads((folder / "summary.json").read_text())
    scores = {name: summary[name] for name in ("psnr", "ssim", "mse", "steps", "finished")}
    found = {name: (folder / name).read_bytes() for name in FILES}
    return {**found, "losses": str(losses).encode(), "scores": str(scores).encode()}


def assert_same(folder: Path, whole: Path) -> None:
    ours, theirs = results(folder), results(whole)
    assert [name for name in theirs if ours[name] != theirs[name]] == []
    assert sorted(p.name for p in folder.iterdir()) == sorted(p.name for p in whole.iterdir())


def wait_for_checkpoint(process: subprocess.Popen, folder: Path) -> None:
    limit = time.monotonic() + 120
    while not (folder / "checkpoint.safetensors").exists() and time.monotonic() < limit:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.002)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The folder of a run that was never interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    result = finish(start(folder))
    assert result.returncode == 0, result.stderr
    return folder


@pytest.mark.long
def test_a_run_of_muon_goes_on_with_the_same_bits(tmp_path):
    options = ("--optimizer", "muon", "--quiet")
    whole, folder = tmp_path / "whole", tmp_path / "run"
    assert finish(start(whole, *options)).returncode == 0
    process = start(folder, *options)
    wait_for_checkpoint(process, folder)
    process.send_signal(signal.SIGINT)
    stopped = finish(process)
    assert stopped.returncode == 128 + signal.SIGINT, stopped.stderr
    again = finish(start(folder, *options, "--resume"))
    assert again.returncode == 0, again.stderr
    assert_same(folder, whole)


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)]
)
def test_a_signal_ends_a_run_with_what_it_has_and_it_goes_on_with_the_same_bits(
    tmp_path, whole, number
):
    folder = tmp_path / "run"
    process = start(folder, "--quiet")
    wait_for_checkpoint(process, folder)
    process.send_signal(number)
    result = finish(process)
    assert result.returncode == 128 + number, result.stderr
    assert f"stopped by {number.name}" in result.stderr and result.stderr.count("\n") == 1
    summary = json.loads((folder / "summary.json").read_text())
    assert not summary["finished"] and 0 < summary["steps"] < STEPS
    assert all((folder / name).exists() for name in FILES)

    result = finish(start(folder, "--resume"))
    assert result.returncode == 0 and "resuming after step" in result.stderr, result.stderr
    assert_same(folder, whole)


def test_a_finished_run_is_not_run_again(tmp_path, whole):
    folder = shutil.copytree(whole, tmp_path / "run")
    before = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    result = finish(start(folder, "--resume"))
    assert result.returncode == 0 and result.stdout.splitlines()[-1].startswith("psnr ")
    assert {p.name: p.stat().st_mtime_ns for p in folder.iterdir()} == before


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory) -> Path:
    """The folder of a run that was killed after its second checkpoint."""
    folder = tmp_path_factory.mktemp("unfinished") / "run"
    process = start(folder, "--quiet")
    both = [folder / f"checkpoint{which}.safetensors" for which in (".previous", "")]
    limit = time.monotonic() + 120
    while not all(path.exists() for path in both) and time.monotonic() < limit:
        time.sleep(0.002)
    process.kill()
    finish(process)
    assert not (folder / "summary.json").exists()
    return folder


def copied(unfinished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(unfinished, tmp_path / "run")


def test_a_killed_run_goes_on_with_the_same_bits(tmp_path, whole, unfinished):
    folder = copied(unfinished, tmp_path)
    (folder / ".checkpoint.safetensors.1.tmp").write_bytes(b"left by a killed process")
    assert finish(start(folder, "--resume")).returncode == 0
    assert_same(folder, whole)


def test_another_number_of_threads_is_named(tmp_path, unfinished, whole):
    """They divide sums in another way, so that last digits differ."""
    threads = json.loads((whole / "summary.json").read_text()).get("threads")
    if threads is None:
        pytest.skip("the device is no CPU")
    other = {"CPU_COUNT": str(threads + 1), "NUM_CPU_THREADS": str(threads + 1)}
    resumed = start(copied(unfinished, tmp_path), "--resume", env=os.environ | other)
    assert f"threads was {threads} and is {threads + 1}: the bits may" in finish(resumed).stderr


def test_an_unfinished_run_is_not_replaced_unasked(tmp_path, unfinished):
    folder = copied(unfinished, tmp_path)
    before = (folder / "checkpoint.safetensors").read_bytes()
    result = finish(start(folder))
    assert result.returncode == 1 and "--resume" in result.stderr
    assert (folder / "checkpoint.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "named"),
    [(["--lr", "0.5"], "lr was 0.005 and is 0.5"), (["--seed", "3"], "seed was 0 and is 3")],
)
def test_another_configuration_is_refused_by_name(tmp_path, unfinished, options, named):
    result = finish(start(copied(unfinished, tmp_path), "--resume", *options))
    assert result.returncode == 1 and named in result.stderr, result.stderr


def test_another_image_under_the_same_name_is_refused(tmp_path, unfinished):
    folder = copied(unfinished, tmp_path)
    (tmp_path / "images").mkdir()
    Image.linear_gradient("L").save(tmp_path / "images" / "camera.png")
    command = [COMMAND[0], str(ROOT / COMMAND[1]), *COMMAND[2:], "--resume", "--out", str(folder)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert result.returncode == 1 and "other data" in result.stderr, result.stderr


@pytest.mark.parametrize(
    "damage", ["flipped", *(pytest.param(how, marks=pytest.mark.long) for how in ("cut", "empty"))]
)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, whole, unfinished, damage):
    folder = copied(unfinished, tmp_path)
    path = folder / "checkpoint.safetensors"
    content = path.read_bytes()
    flipped = content[:-9] + bytes([content[-9] ^ 4]) + content[-8:]
    path.write_bytes({"cut": content[:-50], "flipped": flipped, "empty": b""}[damage])
    result = finish(start(folder, "--resume"))
    assert result.returncode == 0 and "warning: " in result.stderr, result.stderr
    assert_same(folder, whole)


def test_two_damaged_checkpoints_are_said_to_be_so(tmp_path, unfinished):
    folder = copied(unfinished, tmp_path)
    for path in folder.glob("checkpoint*"):
        path.write_bytes(b"")
    result = finish(start(folder, "--resume"))
    assert result.returncode == 1 and "no checkpoint in" in result.stderr


@pytest.mark.long
def test_two_runs_do_not_share_a_folder(tmp_path, whole):
    folder = tmp_path / "run"
    first = start(folder)
    wait_for_checkpoint(first, folder)
    first.send_signal(signal.SIGSTOP)  # or it might end before the second has begun
    second = finish(start(folder, "--resume"))
    first.send_signal(signal.SIGCONT)
    assert second.returncode == 1 and "in use by another run" in second.stderr, second.stderr
    assert finish(first).returncode == 0
    assert_same(folder, whole)


def test_a_full_disk_loses_nothing(tmp_path, whole):
    """Files can not grow beyond 8 kB here: checkpoints fail as they do on a full disk."""
    folder = tmp_path / "run"
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))  # noqa: E731
    # Without tinygrad's cache of kernels, which is a file too.
    environment = os.environ | {"CACHELEVEL": "0"}
    result = finish(start(folder, preexec_fn=limit, env=environment))
    assert result.returncode == 1 and "Traceback" not in result.stderr, result.stderr
    assert "warning: cannot write" in result.stderr and "training continues" in result.stderr
    assert not list(folder.glob(".*.tmp"))
    shutil.rmtree(folder)

    # With room again after the first checkpoints, the run is finished from those.
    process = start(folder, env=environment)
    wait_for_checkpoint(process, folder)
    if process.poll() is None:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (8192, 8192))
    result = finish(process)
    assert "Traceback" not in result.stderr
    assert finish(start(folder, "--resume")).returncode == 0
    assert_same(folder, whole)


@pytest.mark.long
def test_a_folder_that_vanishes_is_made_again(tmp_path, whole):
    folder = tmp_path / "run"
    process = start(folder)
    wait_for_checkpoint(process, folder)
    shutil.rmtree(folder, ignore_errors=True)
    result = finish(process)
    assert result.returncode == 0, result.stderr
    # What was collected before is kept in memory, but for the configuration's own file.
    folder.joinpath("config.json").write_bytes(whole.joinpath("config.json").read_bytes())
    assert_same(folder, whole)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_one_line(tmp_path):
    tmp_path.chmod(0o500)
    result = finish(start(tmp_path / "run"))
    tmp_path.chmod(0o700)
    assert result.returncode == 1 and result.stderr.count("\n") == 1


def kill_and_resume(folder: Path, whole: Path, chance: random.Random, most: int) -> int:
    """Kills a run up to `most` times in turn, each at a random moment, unless it has ended by then;
    lets it finish, compares, and returns how many times it was killed."""
    kills = 0
    for _ in range(most):
        process = start(folder, "--quiet", "--resume")
        time.sleep(chance.uniform(0, whole_seconds(whole)))
        ended = process.poll() is not None
        process.kill()
        finish(process)
        if ended:
            break
        kills += 1
    result = finish(start(folder, "--resume"))
    assert result.returncode == 0, (kills, result.stderr)
    assert_same(folder, whole)
    shutil.rmtree(folder)
    return kills


def test_a_kill_at_a_random_moment(tmp_path, whole):
    kill_and_resume(tmp_path / "run", whole, random.Random(0), 1)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1, 41))
def test_kills_at_random_moments(tmp_path, whole, seed):
    """A thousand in all, in parts that processes can share, up to five of one run."""
    chance, kills = random.Random(seed), 0
    while kills < 25:
        kills += kill_and_resume(tmp_path / "run", whole, chance, min(5, 25 - kills))


def whole_seconds(folder: Path) -> float:
    """How long a run takes, from its own record, with what starting Python and tinygrad adds."""
    summary = json.loads((folder / "summary.json").read_text())
    return 2 + summary["compile_seconds"] + summary["train_seconds"]

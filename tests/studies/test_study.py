"""Studies: their cells, the queue that workers share, and what is left after an end of any kind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.helpers import ROOT
from tinykan import UserError
from tinykan.runs.run import CHECKPOINT, PREVIOUS
from tinykan.studies.queue import DEATHS, Queue
from tinykan.studies.study import Study, expand
from tinykan.studies.worker import known_cells, run_cell

TINY = """
title = "A tiny study"
task = "ImageTask(size=12)"
[fixed]
parameters = 300
depth = 2
batch = 64
[search]
lr = [1e-3, 1e-2]
steps = 4
[[final]]
steps = 8
seed = [0, 1]
[[final]]
steps = 12
arms = ["tanh"]
[arms.tanh]
model = "tanh"
[arms.spline]
basis = ["BSpline(2)", "BSpline(3)"]
"""


@pytest.fixture
def study(tmp_path):
    def make(text: str = TINY, **options) -> Study:
        path = tmp_path / "tiny.toml"
        path.write_text(text)
        return Study(path, **options)

    return make


def test_the_search_comes_first_and_its_best_goes_on(study):
    tiny = study()
    search = tiny.cells(lambda cell: None)
    assert [(c.arm, c.phase, c.config["lr"]) for c in search] == [
        (arm, "search", lr)
        for arm in ("tanh", "spline, basis BSpline(2)", "spline, basis BSpline(3)")
        for lr in (1e-3, 1e-2)
    ]
    assert tiny.planned == 6 + 3 * 2 + 1
    # The higher PSNR wins; an arm whose search is not over waits.
    scores = {c.key: 20.0 - c.config["lr"] for c in search[:4]}
    finals = tiny.cells(lambda cell: scores.get(cell.key))[6:]
    assert [(c.arm, c.config["steps"], c.config["seed"], c.config["lr"]) for c in finals] == [
        ("tanh", 8, 0, 1e-3),
        ("spline, basis BSpline(2)", 8, 0, 1e-3),
        ("tanh", 8, 1, 1e-3),
        ("spline, basis BSpline(2)", 8, 1, 1e-3),
        ("tanh", 12, 0, 1e-3),
    ]
    scores[search[0].key] = float("nan")  # it failed
    assert tiny.cells(lambda cell: scores.get(cell.key))[6].config["lr"] == 1e-2
    scores[search[1].key] = float("nan")
    assert {c.arm for c in tiny.cells(lambda cell: scores.get(cell.key))[6:]} == {
        "spline, basis BSpline(2)"
    }


def test_a_final_may_search_for_itself_at_its_own_length(study):
    """Its first seed may be one of those that were tried: one run in two roles."""
    long = "steps = 12\nseed = [0, 5]\nsearch = {lr = [1e-3, 1e-1], seed = 5}"
    tiny = study(TINY.replace("steps = 12", long))
    scores = {c.key: c.config["lr"] for c in tiny.cells(lambda cell: None)}
    cells = tiny.cells(lambda cell: scores.get(cell.key))
    of_tanh = [c for c in cells if c.arm == "tanh"]
    assert [
        (c.config["steps"], c.config["seed"], c.config["lr"], c.phase, c.tried, c.chosen)
        for c in of_tanh
    ] == [
        (4, 0, 1e-3, "search", True, False),
        (4, 0, 1e-2, "search", True, True),
        (8, 0, 1e-2, "final", False, False),
        (8, 1, 1e-2, "final", False, False),
        (12, 5, 1e-3, "search", True, False),
        (12, 5, 1e-1, "final", True, True),
        (12, 0, 1e-1, "final", False, False),
    ]
    assert tiny.planned == len(cells) == 6 + 3 * 2 + 2 + 1


def test_keys_tell_configurations_and_data_apart(study):
    tiny = study()
    keys = [cell.key for cell in tiny.cells(lambda cell: 1.0)]
    assert len(set(keys)) == len(keys) == 13
    assert [c.key for c in study().cells(lambda cell: 1.0)] == keys
    renamed = study(TINY.replace("arms.tanh", "arms.mlp").replace('["tanh"]', '["mlp"]'))
    assert [c.key for c in renamed.cells(lambda cell: 1.0)] == keys
    other = study(TINY.replace("size=12", "size=13"))
    assert not {c.key for c in other.cells(lambda cell: 1.0)} & set(keys)
    short = study(steps=4)
    assert {c.config["steps"] for c in short.cells(lambda cell: 1.0)} == {4}
    assert short.name == "tiny-4-steps"


def test_factors_and_ranges():
    assert expand({"a": [1, 2], "b": 3, "c": ["x", "y"]}, "") == [
        {"a": a, "b": 3, "c": c} for a in (1, 2) for c in ("x", "y")
    ]
    table = {
        "draws": 200,
        "lr": {"low": 1e-4, "high": 1e-1, "log": True},
        "n": {"low": 1, "high": 4},
    }
    drawn = expand(table, "arm")
    assert drawn == expand(table, "arm") != expand(table, "other")
    rates = sorted(d["lr"] for d in drawn)
    assert rates[0] >= 1e-4 and rates[-1] <= 1e-1 and 1e-3 < rates[100] < 1e-2
    assert {d["n"] for d in drawn} == {1, 2, 3, 4}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("title =", "titel =", "unknown entry 'titel' of the study; choose from title"),
        ("[fixed]", "[fixed", "not a readable study"),
        ('task = "ImageTask(size=12)"', "", "task is missing"),
        ("size=12", "sise=12", "unexpected keyword argument 'sise'"),
        ('model = "tanh"', 'model = "tan"', "tanh: model 'tan': choose from tanh"),
        ('model = "tanh"', "widht = 3", "tanh: unknown option 'widht'; choose from model"),
        ("depth = 2", "depth = 0", "depth 0 is below the least allowed, 1"),
        ("batch = 64", "batch = 6.5", "batch 6.5 is not a whole number"),
        ('arms = ["tanh"]', 'arms = ["tan"]', "final names arm 'tan'; choose from tanh, spline"),
        ("lr = [1e-3, 1e-2]", "lr = {low = 1, high = 2}", "say how many to draw"),
        ("lr = [1e-3, 1e-2]", "draws = 2\nlr = {low = 2, high = 1}", "lr: a range is {low = 1e-4"),
        ("[arms.tanh]", "[arm.tanh]", "unknown entry 'arm'"),
        ("[fixed]", 'score = "dB"\n[fixed]', "score 'dB': choose from psnr, ssim, mse"),
        ('arms = ["tanh"]', "search = 3", "search is a table: [search]"),
    ],
)
def test_what_cannot_be_a_study_is_one_line(study, old, new, message):
    with pytest.raises(UserError) as error:
        study(TINY.replace(old, new))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_cells_in_the_queue(study, tmp_path):
    first, second, *_ = study().cells(lambda cell: None)
    queue = Queue(f"sqlite:///{tmp_path / 'deep' / 'study.db'}", "tiny")
    ran = []

    def succeed(cell, again):
        ran.append((cell, again))
        return {"score": 3.5, "shape": "1-1"}

    def fail(cell, again):
        raise UserError("it diverged")

    def die(cell, again):
        raise OSError("no space left")

    queue.work(first, succeed)
    assert ran == [(first, False)]
    record = queue.records()[first.key]
    assert record.state == "complete" and record.result == {"score": 3.5, "shape": "1-1"}
    queue.work(first, succeed)  # what is done is never run again
    assert len(ran) == 1

    queue.work(second, fail)
    assert queue.records()[second.key].state == "failed"
    assert queue.records()[second.key].reason == "it diverged"
    queue.forgive()
    assert queue.records()[second.key].state == "waiting"
    with pytest.raises(OSError, match="no space left"):
        queue.work(second, die)
    assert queue.records()[second.key].state == "waiting"
    # Another worker, in a connection of its own, sees the same and goes on.
    Queue(f"sqlite:///{tmp_path / 'deep' / 'study.db'}", "tiny").work(second, succeed)
    assert ran[1] == (second, True)
    assert queue.records()[second.key].state == "complete"


def test_a_storage_that_cannot_be_opened_is_one_line():
    with pytest.raises(UserError, match="cannot open the storage") as error:
        Queue("postgresql+psycopg://me:secret@127.0.0.1:1/none", "tiny")
    assert "secret" not in str(error.value) and "\n" not in str(error.value)


def ablate(folder: Path, *arguments: str) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / "scripts" / "ablate.py"), "tiny.toml", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, stdout=pipe, stderr=pipe, text=True)


def test_a_study_from_start_to_report(study, tmp_path):
    study(TINY + '[arms.edge]\nmodel = "edge-tanh"\nparameters = 3\n')
    worker = ablate(tmp_path)
    out, err = worker.communicate(timeout=300)
    assert worker.returncode == 0, err
    results = json.loads((tmp_path / "tiny" / "results.json").read_text())
    cells = results["cells"]
    states = [cell["state"] for cell in cells]
    # The arm that meets no budget fails in its search, with the reason, and the others go on.
    assert states.count("complete") == 13 and states.count("failed") == 2
    assert all("within 2 % of 3 parameters" in c["reason"] for c in cells if c["arm"] == "edge")
    done = [cell for cell in cells if cell["state"] == "complete"]
    assert all(abs(c["parameters"] - 300) <= 6 for c in done)
    for cell in done:
        assert cell["curve"][-1][0] == cell["config"]["steps"]
        assert cell["score"] == cell["scores"]["psnr"] and cell["versions"]["tinygrad"]
    best = {
        cell["arm"]: max(
            (c["score"], c["config"]["lr"])
            for c in done
            if c["phase"] == "search" and c["arm"] == cell["arm"]
        )[1]
        for cell in done
    }
    finals = [cell for cell in done if cell["phase"] == "final"]
    assert all(cell["config"]["lr"] == best[cell["arm"]] for cell in finals)
    assert sum(cell["picture"] is not None for cell in finals) == 4  # an arm's at some steps, once
    assert (tmp_path / "tiny" / "report.html").exists()

    again = ablate(tmp_path)
    out, err = again.communicate(timeout=300)
    assert again.returncode == 0 and "search" not in out and "final" not in out
    assert json.loads((tmp_path / "tiny" / "results.json").read_text()) == results
    # Without its database, the study takes the results from the folders of its runs.
    (tmp_path / "runs" / "tiny" / "study.db").unlink()
    third = ablate(tmp_path, "--retry")
    third.communicate(timeout=300)
    found = json.loads((tmp_path / "tiny" / "results.json").read_text())["cells"]
    assert [c.get("curve") for c in found] == [c.get("curve") for c in cells]


LONGER = TINY.replace("steps = 8", "steps = 3000").replace("steps = 4", "steps = 40")


def test_ctrl_c_loses_at_most_the_running_cell(study, tmp_path):
    study(LONGER)
    worker = ablate(tmp_path)
    lines = []
    for line in worker.stdout:
        lines.append(line)
        if line.startswith("[6/"):  # the last cell of the search has ended
            break
    time.sleep(1)
    worker.send_signal(signal.SIGINT)
    worker.communicate(timeout=60)
    assert worker.returncode == 130
    results = json.loads((tmp_path / "tiny" / "results.json").read_text())
    states = [cell["state"] for cell in results["cells"]]
    assert states.count("complete") >= 6 and "running" not in states and "failed" not in states
    done = states.count("complete")
    study(LONGER.replace("steps = 3000", "steps = 60"))  # what is done counts in a changed study
    out, err = (again := ablate(tmp_path)).communicate(timeout=300)
    assert again.returncode == 0, err
    assert "search" not in out and sum(line.startswith("[") for line in out.splitlines()) == 7
    assert done >= 6


def test_a_cell_goes_on_from_whichever_checkpoint_is_left(study, tmp_path):
    """Its worker was killed between the two renames that put a new checkpoint in its place."""
    tiny = study()
    cell, folder = tiny.cells(lambda cell: None)[0], tmp_path / "cell"
    program = (
        "import os\nfrom pathlib import Path\n"
        "from tinykan.studies.study import Study\nfrom tinykan.studies.worker import run_cell\n"
        f"tiny = Study(Path({str(tiny.path)!r}))\n"
        "type(tiny.task).fitted = lambda *_: os._exit(9)\n"  # trained, and not finished
        f"run_cell(tiny, tiny.cells(lambda cell: None)[0], Path({str(folder)!r}))\n"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 9
    (folder / CHECKPOINT).rename(folder / PREVIOUS)
    found, whole = (run_cell(tiny, cell, place) for place in (folder, tmp_path / "whole"))
    assert found["scores"] == whole["scores"]


def postgres_binaries() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found += [Path(path).resolve() for path in [shutil.which("initdb")] if path]
    return found[0].parent if found else None


@pytest.fixture
def postgres():
    """The URL of a server on loopback, with an empty database."""
    binaries = postgres_binaries()
    pytest.importorskip("psycopg")
    if binaries is None:
        pytest.skip("PostgreSQL is not installed")
    user = "nobody" if os.geteuid() == 0 else None  # the server refuses to be run by root
    home = Path(tempfile.mkdtemp(prefix="postgres"))  # pytest's folders are closed to other users
    shutil.chown(home, user or os.geteuid())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def command(name: str, *arguments: str) -> None:
        subprocess.run(
            [binaries / name, *arguments], user=user, cwd=home, check=True, capture_output=True
        )

    data = str(home / "data")
    command("initdb", "-D", data, "-U", "kan", "-A", "trust")
    options = f"-h 127.0.0.1 -p {port} -k {home}"
    command("pg_ctl", "-D", data, "-o", options, "-l", str(home / "log"), "-w", "start")
    try:
        command("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "kan", "study")
        yield f"postgresql+psycopg://kan@127.0.0.1:{port}/study"
    finally:
        command("pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(home)


def test_four_workers_of_which_two_are_killed(study, tmp_path, postgres):
    """On one study in PostgreSQL, each in a folder of its own, as on four machines."""
    tiny = study(LONGER.replace("3000", "1500"))
    workers = []
    for number in range(4):
        folder = tmp_path / f"machine{number}"
        folder.mkdir()
        shutil.copy(tiny.path, folder)
        workers.append(ablate(folder, "--storage", postgres))
    queue = Queue(postgres, "tiny")

    def finals() -> list:
        return [
            r for c, r in known_cells(tiny, queue) if c.phase == "final" and r.state == "running"
        ]

    wait_for(lambda: len(finals()) >= 3 or not all(w.poll() is None for w in workers))
    for worker in workers[:2]:
        worker.kill()
    for worker in workers:
        worker.communicate(timeout=300)
    assert [w.returncode for w in workers] == [-9, -9, 0, 0]
    after = known_cells(tiny, queue)
    assert len(after) == 13 and {record.state for _, record in after} == {"complete"}
    # The killed ones' cells were run again, and no other more than once to its end.
    assert sum(record.attempts > 1 for _, record in after) >= 1
    trials = [t for t in queue._trials() if t.state.name == "COMPLETE"]
    assert len(trials) == len({t.user_attrs["key"] for t in trials}) == 13


def test_workers_that_start_at_once_run_every_cell_once(study, tmp_path):
    tiny = study(
        'task = "ImageTask(size=12)"\n[[final]]\nsteps = 8\n'
        f"seed = {list(range(20))}\n[arms.tanh]\nmodel = 'tanh'\n"
    )
    url, log, start = f"sqlite:///{tmp_path / 'study.db'}", tmp_path / "log", time.time() + 1

    def run(cell, again):
        with log.open("a") as file:
            file.write(f"{cell.key}\n")
        time.sleep(0.02)
        return {"score": 1.0}

    def work() -> None:
        queue = Queue(url, "tiny")
        time.sleep(max(0.0, start - time.time()))
        while left := [c for c, r in known_cells(tiny, queue) if r.state == "waiting"]:
            queue.work(left[0], run)

    workers = []
    for _ in range(6):
        if (worker := os.fork()) == 0:
            status = 1
            try:
                work()
                status = 0
            finally:
                os._exit(status)
        workers.append(worker)
    assert [os.waitstatus_to_exitcode(os.waitpid(w, 0)[1]) for w in workers] == [0] * 6
    ran = log.read_text().split()
    assert len(ran) == len(set(ran)) == 20


def wait_for(condition, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.2)


def test_a_cell_that_kills_its_workers_is_given_up(study, tmp_path, monkeypatch):
    """At once, before a first heartbeat, or later."""
    for name, seconds in {"HEARTBEAT": 1, "GRACE": 2}.items():
        monkeypatch.setattr(f"tinykan.studies.queue.{name}", seconds)
    cell = study().cells(lambda cell: None)[0]
    url = f"sqlite:///{tmp_path / 'study.db'}"
    queue = Queue(url, "tiny")
    for death in range(DEATHS):
        if (worker := os.fork()) == 0:
            Queue(url, "tiny").work(cell, lambda *_, d=death: time.sleep(d) or os._exit(9))
        assert os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == 9
        wait_for(lambda: queue.revive() or queue.records()[cell.key].state != "running", 20)
    record = queue.records()[cell.key]
    assert record.state == "failed" and record.reason == f"its worker died {DEATHS} times"
